"""Rank backbones on one's own data: the score of a quick fit, speed on this machine, size, and licence."""

from __future__ import annotations

import csv
import dataclasses
import io
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import IO, TYPE_CHECKING, Any, Literal

from recipes import accounts, presets
from recipes.accounts import Cost
from recipes.candidates import give_back_memory, in_one_line, read, split_names, with_backbone
from recipes.display import console, counted, say, table
from recipes.errors import DataError, OptionError, StoppedError, printable
from recipes.presets import Preset
from recipes.results import plain_cell, shown

if TYPE_CHECKING:
    from recipes.examples import Splits
    from recipes.task import Task

# Single predictions that are timed after the first one, which warms up, and how many seconds they may take.
_SINGLE, _MOST_SECONDS = 20, 3.0

# Inputs that are predicted in batches; fewer if they would take longer than that.
_IN_BATCHES = 64


@dataclass(frozen=True)
class Compared:
    """What one backbone is worth on some data, and what it costs.

    Args:
        backbone: its name.
        score: the validation score that decides; None if it could not be fitted.
        latency_ms: milliseconds from one input to its prediction, reading included; the median of several.
        per_second: inputs per second in batches of 32, reading included.
        megabytes: size of the fitted network's weights, in 1,000,000 bytes.
        parameters: how many numbers it has learnt.
        licence: of the pretrained weights: what their library says, `unknown`, or `no weights`.
        seconds: how long the fit took; the data are read once, before the first.
        parts: what these seconds went into, by name, such as `preparing`, `head` and `scoring`.
        scores: all validation scores by name.
        recipe: all options and settings of the fit, as its `recipe.yaml` would have them.
        error: why it could not be compared, or None.
    """

    backbone: str
    score: float | None = None
    latency_ms: float | None = None
    per_second: float | None = None
    megabytes: float | None = None
    parameters: int | None = None
    licence: str | None = None
    seconds: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict, repr=False)
    scores: Mapping[str, float] = field(default_factory=dict, repr=False)
    recipe: Mapping[str, Any] = field(default_factory=dict, repr=False)
    error: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Backbones, the best first; those that could not be compared come last.

    Args:
        task: the task, by its name in the shell.
        score: the name of the score.
        by: what they are ranked by: score or latency.
        machine: what the figures were measured on.
        rows: the backbones.
        stopped: the signal that ended the comparison before all backbones had their turn, such as SIGINT, or None.
        cost: seconds, energy and CO2e of all fits.
    """

    task: str
    score: str
    by: str
    machine: Mapping[str, Any]
    rows: list[Compared]
    stopped: str | None = None
    cost: Cost = field(default_factory=Cost)

    @property
    def best(self) -> str | None:
        """The name of the first; None if none could be compared."""
        return next((row.backbone for row in self.rows if row.error is None), None)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, as the shell's JSON has it."""
        return dataclasses.asdict(self)

    def csv(self) -> str:
        """A row for each backbone, as spreadsheets read it."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        names = [item.name for item in dataclasses.fields(Compared) if item.name not in ("parts", "scores", "recipe")]
        writer.writerow([self.score if name == "score" else name for name in names])
        writer.writerows([plain_cell(name, getattr(row, name)) for name in names] for row in self.rows)
        return file.getvalue()

    def show(self, file: IO[str] | None = None) -> None:
        """Print the table, on stderr unless another file is given, and a line for each that could not be compared."""
        good = [row for row in self.rows if row.error is None]
        cells = [
            (
                row.backbone,
                shown(row.score or 0.0),
                f"{row.latency_ms:.1f}",
                f"{row.per_second:.0f}",
                f"{row.megabytes:.1f}",
                f"{(row.parameters or 0) / 1e6:.1f}M",
                row.licence,
            )
            for row in good
        ]
        header = ("backbone", self.score, "ms", "inputs/s", "MB", "parameters", "licence")
        screen = console(file)
        if good:
            screen.print(table(f"{len(good)} backbones by {self.by}", header, cells))
        for row in self.rows:
            if row.error is not None:
                screen.print(f"{printable(row.backbone)}: {printable(row.error, 400)}", markup=False)


def compare(
    task: Task,
    data: Any,
    val: Any,
    *,
    backbones: str | Sequence[str],
    by: Literal["score", "latency"],
    preset: str | Preset,
    quiet: bool,
    settings: Mapping[str, Any],
) -> Comparison:
    """Rank backbones; `Task.compare` says what the arguments are, and has their defaults."""
    names = split_names(backbones)
    if not names:
        raise OptionError("expected networks to compare: backbones=a,b,c (--backbones a,b,c)")
    if by not in ("score", "latency"):
        raise OptionError(f"by is score or latency, found {printable(repr(by), 40)}")
    presets.find(preset, settings, task.presets)  # what no preset has is refused once, and not by each backbone
    accounts.check()
    splits: Splits | None = None
    rows: list[Compared] = []
    score, less, stopped = task.decisive, False, None
    costs: list[Cost] = []
    for place, name in enumerate(names, 1):
        one = None
        try:
            one = with_backbone(task, name)
            chosen = presets.find(preset, settings, one.presets)
            one.check(data, chosen)  # a backbone that does not exist is told before the data are read
            if splits is None or splits.reading != one.reading(chosen):
                splits = _read(one, data, val, chosen)
            with accounts.costs(costs):
                row = _fitted(one, name, splits, chosen)
            score, less = one.decisive, one.less_is_better
            row = _measured(one, row, splits.val.inputs[:_IN_BATCHES])
        except DataError:  # another backbone would not help
            raise
        except KeyboardInterrupt as error:
            stopped = error.signal if isinstance(error, StoppedError) else "SIGINT"
            if not rows:
                raise
            break
        except Exception as error:  # each library refuses in its own way, and the others still run
            row = Compared(name, error=in_one_line(error))
        one = None
        give_back_memory()
        rows.append(row)
        if not quiet:
            say(f"{place}/{len(names)}  {printable(name)}  {_told(row, score)}")
    cost = Cost.total(costs)
    if not quiet and costs:
        say(cost.line(counted(len(costs), "fit")))
    if stopped and not quiet:
        say(f"stopped by {stopped} after {len(rows)} of {counted(len(names), 'backbone')}")
    sign = 1 if less else -1
    if by == "score":
        rows.sort(key=lambda row: (row.error is not None, sign * (row.score or 0.0), row.latency_ms or 0.0))
    else:
        rows.sort(key=lambda row: (row.error is not None, row.latency_ms or 0.0))
    return Comparison(task.command, score, by, _machine(), rows, stopped, cost)


def _told(row: Compared, score: str) -> str:
    if row.error is not None:
        return f"error: {printable(row.error, 400)}"
    return f"{score} {shown(row.score or 0.0)}  {row.latency_ms:.1f} ms  fitted in {row.seconds:.0f} s"


def _read(task: Task, data: Any, val: Any, preset: Preset) -> Splits:
    """The examples that all backbones share.

    Raises:
        DataError: there are none to compare them on.
    """
    splits = read(task, data, val, preset)
    if not len(splits.val):
        raise DataError("the data have no examples for validation, which backbones are compared on; give some with val")
    return splits


def _fitted(task: Task, name: str, splits: Splits, preset: Preset) -> Compared:
    """Fit a backbone; its scores, and what it weighs."""
    began = time.perf_counter()
    task.fit(splits, preset=preset, quiet=True)
    seconds = time.perf_counter() - began
    assert task.history is not None
    assert task.network is not None
    if task.history.stopped:
        raise StoppedError(task.history.stopped)
    weights = task.network.native_state().values()
    return Compared(
        name,
        score=task._scores[task.decisive],
        megabytes=round(sum(tensor.nbytes for tensor in weights) / 1e6, 3),
        parameters=sum(value.numel() for value in task.network.parameters()),
        licence=_licence(task, name),
        seconds=round(seconds, 1),
        parts=task.account.parts if task.account else {},
        scores=task._scores,
        recipe=task._recipe,
    )


def _measured(task: Task, row: Compared, inputs: Sequence[Any]) -> Compared:
    """With the time that predictions take, as a user's program would call for them."""

    def seconds(sources: Sequence[Any], batch_size: int) -> float:
        began = time.perf_counter()
        for _ in task.predict_each(iter(sources), batch_size=batch_size):
            pass
        return time.perf_counter() - began

    seconds(inputs[:1], 1)
    times: list[float] = []
    for source in islice(cycle(inputs), _SINGLE):
        times.append(seconds([source], 1))
        if sum(times) > _MOST_SECONDS:
            break
    latency = statistics.median(times)
    several = inputs[: max(8, int(_MOST_SECONDS / latency))]
    return dataclasses.replace(
        row,
        latency_ms=round(1000 * latency, 3),
        per_second=round(len(several) / seconds(several, 32), 2),
    )


def _licence(task: Task, name: str) -> str:
    """The licence of the pretrained weights, where their library knows it; nobody is asked over the network."""
    from recipes import backbones

    assert task.network is not None
    library = task.network.config["library"]
    if getattr(task, "weights", None):
        return "unknown"
    if not getattr(task, "pretrained", True) or library == "recipes":
        return "no weights"
    if library in ("transformers", "torchvision"):
        return "unknown"
    return str(backbones.weights_config(backbones.opened_name(name)).license or "unknown")


def _machine() -> dict[str, Any]:
    import torch

    return {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
    }
