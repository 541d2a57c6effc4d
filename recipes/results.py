"""What fitting, predicting and evaluating give back: plain values that print, compare and save."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from recipes.display import console, table

#: How many of the worst examples an evaluation names.
MOST_WORST = 20


@dataclass(frozen=True)
class Prediction:
    """What a model says of one input.

    Args:
        file: the input's path, or None for a picture that came without one.
        label: the label with the highest score; None where the input could not be read.
        score: that label's score, 0 to 1.
        scores: every label's score; they add up to 1, in the order of the model's labels.
        error: why the input could not be read, or None.
        text: the input itself where it is a text, or a pair of texts; else None.
        labels: where several labels may apply those that do, whose scores then do not add up to 1; else None.
    """

    file: str | None
    label: str | None
    score: float | None
    scores: Mapping[str, float] = field(default_factory=dict, repr=False)
    error: str | None = None
    text: str | tuple[str, str] | None = None
    labels: tuple[str, ...] | None = None

    def top(self, most: int) -> list[tuple[str, float]]:
        """The labels with the highest scores, best first."""
        return sorted(self.scores.items(), key=lambda item: -item[1])[:most]

    def row(self, top_k: int = 1) -> dict[str, Any]:
        """The prediction as one flat row: file (text), label, score, with more labels label_2, score_2, …, and error.

        Where several labels may apply, those that do stand before them, as `a|b`.
        """
        row: dict[str, Any] = {"file": self.file}
        if isinstance(self.text, str):
            row = {"text": self.text}
        elif self.text is not None:
            row = {"text": self.text[0], "text_2": self.text[1]}
        if self.labels is not None:
            row["labels"] = "|".join(self.labels)
        row |= {"label": self.label, "score": self.score}
        best = [*self.top(top_k), *[(None, None)] * top_k]
        for place in range(2, top_k + 1):
            row[f"label_{place}"], row[f"score_{place}"] = best[place - 1]
        return row | {"error": self.error}


@dataclass(frozen=True)
class NumberPrediction:
    """The number that a model gives for one input.

    Args:
        file: the input's path, or None for a picture that came without one.
        value: the number, in the units of the numbers in training; None where the input could not be read.
        error: why the input could not be read, or None.
    """

    file: str | None
    value: float | None
    error: str | None = None

    def row(self, top_k: int = 1) -> dict[str, Any]:
        """The prediction as one flat row: file, value and error. There is one number, whatever `top_k`."""
        return {"file": self.file, "value": self.value, "error": self.error}


@dataclass(frozen=True)
class Evaluation:
    """How well a model does on labelled data.

    Args:
        examples: how many examples were scored.
        scores: the figures over all of them, by name, 0 to 1; of numbers the errors in their own units, and R².
        labels: the labels' names, in the order of the rows below; of numbers what they are called.
        per_label: for each label its figures: precision, recall and F1 (0 to 1) and its support (examples); of masks
            IoU, Dice, precision, recall and its pixels; of numbers nothing.
        confusion: `confusion[i][j]` examples (pixels) of label i were predicted as label j; empty for numbers, and
            where an example may have several labels.
        unreadable: files that could not be read, and so were not scored.
        worst: the examples that the model does worst on, worst first, each with its file and figures; 20 at most.
    """

    examples: int
    scores: dict[str, float]
    labels: tuple[str, ...]
    per_label: dict[str, dict[str, float]] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    worst: list[dict[str, Any]] = field(default_factory=list, repr=False)

    @property
    def accuracy(self) -> float:
        """The share of examples whose label was predicted."""
        return self.scores["accuracy"]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, as the shell's JSON has it."""
        return dataclasses.asdict(self)

    def worst_csv(self) -> str:
        """The worst examples as a table, one row each, as spreadsheets read it."""
        file = io.StringIO()
        writer = csv.DictWriter(file, list(self.worst[0]) if self.worst else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: plain_cell(name, value) for name, value in row.items()} for row in self.worst)
        return file.getvalue()

    def show(self, title: str, file: IO[str] | None = None) -> None:
        """Print the scores as a table, on stderr unless another file is given."""
        names = list(next(iter(self.per_label.values()), {}))
        rows = [(label, *(_plain(name, row[name]) for name in names)) for label, row in self.per_label.items()]
        screen = console(file)
        screen.print(table(title, ("label", *names), rows) if rows else title, markup=False)
        screen.print("  ".join(f"{name} {shown(value)}" for name, value in self.scores.items()))


def shown(value: float) -> str:
    """A figure for people: three decimals, or three digits of what is smaller than that shows."""
    return f"{value:.3f}" if not 0 < abs(value) < 0.01 else f"{value:.3g}"


def _plain(name: str, value: float) -> float | int:
    return int(value) if name in ("support", "pixels") else value


def plain_cell(name: str, value: Any) -> Any:
    """A value that no spreadsheet takes for a formula: a path gets `./` before it, other text an apostrophe.

    Both leave the meaning exact: `./=1.jpg` is the same file, and a leading apostrophe is taken off again (text that
    begins with one gets a second).
    """
    if isinstance(value, float):
        return f"{value:.7g}" if name == "value" else f"{value:.6f}"
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "'")):
        return value
    if name == "file":
        return value if value.startswith("'") else os.path.join(".", value)
    return f"'{value}"


@dataclass
class History:
    """What happened in training.

    Args:
        epochs: one row for each epoch: epoch, train_loss, val_loss, the scores, examples_per_second; None for a number
            that was none.
        best_epoch: the epoch whose weights were kept; 0 is the state before the first.
        precision: what the run computed in.
        seconds: how long it took.
        stopped: what ended it early, such as SIGINT, or None.
    """

    epochs: list[dict[str, float | None]] = field(default_factory=list)
    best_epoch: int | None = None
    precision: str = "32"
    seconds: float = 0.0
    stopped: str | None = None

    def csv(self) -> str:
        """The epochs as a table, one row each."""
        names = list(dict.fromkeys(name for row in self.epochs for name in row))
        lines = [",".join(names), *(",".join(str(row.get(name, "")) for name in names) for row in self.epochs)]
        return "\n".join(lines) + "\n"

    def png(self) -> bytes:
        """The epochs as curves: losses on the left, validation scores on the right; a PNG of 1,000 × 400 pixels."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 4), layout="constrained")
        names = dict.fromkeys(name for row in self.epochs for name in row)
        losses = [name for name in names if name.endswith("loss")]
        scores = [name for name in names if name not in (*losses, "epoch", "examples_per_second")]
        kinds = {"loss": losses, "validation scores": scores}
        for axes, (title, lines) in zip(figure.subplots(1, 2), kinds.items(), strict=True):
            for name in lines:
                values = [math.nan if (value := row.get(name)) is None else value for row in self.epochs]
                axes.plot([row["epoch"] for row in self.epochs], values, marker=".", label=name)
            if self.best_epoch:
                axes.axvline(self.best_epoch, color="grey", linestyle=":", label="kept")
            axes.set(title=title, xlabel="epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.3)
            if lines:
                axes.legend()
        file = io.BytesIO()
        figure.savefig(file, dpi=100, format="png")
        return file.getvalue()
