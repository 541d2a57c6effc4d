"""What all classifiers share: scores into labels, one for each input or several, and how they are judged."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.codec import Codec
from recipes.results import MOST_WORST, Evaluation, Prediction
from recipes.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torchmetrics import MetricCollection

    from recipes.presets import Preset


@dataclass(frozen=True)
class ClassifierCodec(Codec):
    """Scores into a label's name, or into the names of all labels that apply.

    Args:
        labels: the labels' names, in the order of the network's outputs.
        thresholds: where an input may have several labels, the score from which on each one applies; else None.
    """

    thresholds: tuple[float, ...] | None = field(default=None, kw_only=True)

    def target(self, places: Any) -> Any:
        """A label's place as it is; the places of several labels as a row of zeros and ones, shape (labels,)."""
        if self.thresholds is None:
            return places
        row = np.zeros(len(self.labels), np.float32)
        row[list(places)] = 1
        return row

    def decode(self, output: NDArray[np.float32], source: Any) -> Prediction:
        """The label with the highest score, and all scores: softmax of the network's output.

        Where several labels may apply, each has a score of its own, the sigmoid of its output.
        """
        scores = probabilities(output.astype(np.float64), self.thresholds is not None)
        best = int(output.argmax())
        chosen = None
        if self.thresholds is not None:
            passed = zip(self.labels, scores, self.thresholds, strict=True)
            chosen = tuple(label for label, score, threshold in passed if score >= threshold)
        file, text = self.said(source)
        found = dict(zip(self.labels, scores.tolist(), strict=True))
        return Prediction(file, self.labels[best], float(scores[best]), found, text=text, labels=chosen)

    def failed(self, source: Any, error: str) -> Prediction:
        """A prediction without label and score that says why."""
        file, text = self.said(source)
        return Prediction(file, None, None, error=error, text=text)

    def calibrated(self, rows: Iterable[tuple[Any, Any, Any]]) -> tuple[Codec, Iterable[tuple[Any, Any, Any]]]:
        """With the thresholds that give each label its best F1 on the validation examples, and the same rows."""
        if self.thresholds is None:
            return self, rows
        rows = list(rows)
        _, outputs, targets = zip(*rows, strict=True)
        truth = np.stack([self.target(places) for places in targets])
        thresholds = best_thresholds(probabilities(np.stack(outputs), True), truth)
        return dataclasses.replace(self, thresholds=thresholds), rows

    def named(self, source: Any) -> dict[str, str | None]:
        """What an input is called in a table: its file, or its text."""
        file, text = self.said(source)
        return {"file": file} if text is None else {"text": text}

    @abstractmethod
    def said(self, source: Any) -> tuple[str | None, str | None]:
        """The file of an input, and its text if it is one."""


def probabilities(outputs: NDArray[Any], several: bool) -> NDArray[Any]:
    """The network's outputs, shape (…, labels), as scores from 0 to 1: softmax, or sigmoid if several may apply."""
    if several:
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-outputs)))
    powers = np.exp(outputs - outputs.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def best_thresholds(scores: NDArray[Any], truth: NDArray[Any]) -> tuple[float, ...]:
    """For each label the score from which on it applies, so that its F1 is highest; 0.5 where no example has it.

    Args:
        scores: 0 to 1, shape (examples, labels).
        truth: zeros and ones, same shape.
    """
    found = []
    for values, right in zip(scores.T, truth.T, strict=True):
        order = np.argsort(-values, kind="stable")
        values, right = values[order], right[order]
        f1 = 2 * np.cumsum(right) / (np.arange(1, len(values) + 1) + max(right.sum(), 1))
        f1[:-1][values[:-1] == values[1:]] = -1  # a threshold cannot part equal scores
        last = int(f1.argmax())
        below = float(values[last + 1]) if last + 1 < len(values) else 0.0
        found.append((float(values[last]) + below) / 2 if right.any() else 0.5)
    return tuple(found)


@dataclass
class Classifier(Task):
    """A task that gives an input one of several labels, or several of them."""

    @property
    def decisive(self) -> str:
        """Accuracy; where several labels may apply mean average precision, which needs no thresholds."""
        return "map" if self._several else "accuracy"

    @property
    def _several(self) -> bool:
        return isinstance(self.codec, ClassifierCodec) and self.codec.thresholds is not None

    def loss(self, scores: Tensor, targets: Tensor, preset: Preset, weights: Tensor | None) -> Tensor:
        """Cross entropy with label smoothing, the same for labels and for the shares that mixing makes of them.

        With weights it is the mean over what the labels count. torch's own divides by the number of examples where
        the targets are shares, so that a mixed batch would count otherwise than a plain one. Where several labels may
        apply, it is the binary cross entropy of each.
        """
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

        weights = None if weights is None else weights.to(scores.device)
        if self._several:
            smooth = preset.label_smoothing
            return binary_cross_entropy_with_logits(scores, targets * (1 - smooth) + smooth / 2, weights)
        if weights is None:
            return cross_entropy(scores, targets, label_smoothing=preset.label_smoothing)
        shares = targets if targets.is_floating_point() else one_hot(targets, scores.shape[1]).float()
        summed = cross_entropy(scores, shares, weights, reduction="sum", label_smoothing=preset.label_smoothing)
        total = (shares * weights).sum()
        # A batch in which nothing counts teaches nothing, and must not end the run in NaN.
        return torch.where(total > 0, summed / total.clamp_min(1e-12), summed * 0)

    def metrics(self, labels: int) -> MetricCollection:
        """Accuracy and the mean of the labels' F1 scores; where several may apply their mean average precision."""
        from torchmetrics import MetricCollection, classification

        if self._several:
            found: dict[str, Any] = {"map": _mean_average_precision(labels)}
        else:
            found = {
                "accuracy": classification.MulticlassAccuracy(labels, average="micro"),
                "macro_f1": classification.MulticlassF1Score(labels),
            }
        return MetricCollection(found, compute_groups=False)

    def evaluation(self, rows: Iterable[tuple[Any, Any, Any]]) -> Evaluation:
        """Accuracy, macro F1, top-5 where there are more than 5 labels, and each label's precision, recall and F1.

        Where several labels may apply: mean average precision, micro and macro F1 at the model's thresholds, and the
        share of examples whose labels are all right.
        """
        sources, outputs, targets = zip(*rows, strict=True)
        return (self._several_evaluated if self._several else self._evaluated)(sources, np.stack(outputs), targets)

    def _evaluated(self, sources: Sequence[Any], outputs: NDArray[Any], places: Sequence[int]) -> Evaluation:
        import torch
        from torchmetrics.functional import classification as measure

        assert self.codec is not None
        labels, number = self.codec.labels, len(self.codec.labels)
        scores, targets = torch.from_numpy(outputs), torch.tensor(places)
        overall = {
            "accuracy": measure.multiclass_accuracy(scores, targets, number, average="micro"),
            "macro_f1": measure.multiclass_f1_score(scores, targets, number, average="macro"),
        }
        if number > 5:
            overall["top_5"] = measure.multiclass_accuracy(scores, targets, number, average="micro", top_k=5)
        columns = {
            "precision": measure.multiclass_precision(scores, targets, number, average="none"),
            "recall": measure.multiclass_recall(scores, targets, number, average="none"),
            "f1": measure.multiclass_f1_score(scores, targets, number, average="none"),
            "support": targets.bincount(minlength=number),
        }
        return Evaluation(
            len(targets),
            {name: float(value) for name, value in overall.items()},
            labels,
            _rows(labels, columns),
            measure.multiclass_confusion_matrix(scores, targets, number).tolist(),
            worst=self._mistakes(sources, probabilities(outputs, False), places),
        )

    def _several_evaluated(self, sources: Sequence[Any], outputs: NDArray[Any], places: Sequence[Any]) -> Evaluation:
        import torch
        from torchmetrics.functional import classification as measure

        assert isinstance(self.codec, ClassifierCodec)
        assert self.codec.thresholds is not None
        labels, number = self.codec.labels, len(self.codec.labels)
        found = probabilities(outputs, True)
        truth = np.stack([self.codec.target(target) for target in places])
        chosen = torch.from_numpy((found >= np.array(self.codec.thresholds)).astype(np.int64))
        scores, targets = torch.from_numpy(found), torch.from_numpy(truth.astype(np.int64))
        precision = measure.multilabel_average_precision(scores, targets, number, average="none")
        precision = precision.nan_to_num(0.0)
        there = targets.sum(0) > 0
        columns = {
            "precision": measure.multilabel_precision(chosen, targets, number, average="none"),
            "recall": measure.multilabel_recall(chosen, targets, number, average="none"),
            "f1": measure.multilabel_f1_score(chosen, targets, number, average="none"),
            "average_precision": precision,
            "threshold": self.codec.thresholds,
            "support": targets.sum(0),
        }
        overall = {
            "map": precision[there].mean() if there.any() else 0.0,
            "micro_f1": measure.multilabel_f1_score(chosen, targets, number, average="micro"),
            "macro_f1": measure.multilabel_f1_score(chosen, targets, number, average="macro"),
            "accuracy": (chosen == targets).all(1).double().mean(),
        }
        return Evaluation(
            len(targets),
            {name: float(value) for name, value in overall.items()},
            labels,
            _rows(labels, columns),
            [],
            worst=self._several_mistakes(sources, found, truth),
        )

    def _mistakes(self, sources: Sequence[Any], scores: NDArray[Any], places: Sequence[int]) -> list[dict[str, Any]]:
        """The wrong predictions that the model was surest of."""
        assert isinstance(self.codec, ClassifierCodec)
        labels, said = self.codec.labels, scores.argmax(1)
        wrong = [row for row in np.argsort(-scores.max(1), kind="stable").tolist() if said[row] != places[row]]
        return [
            {
                **self.codec.named(sources[row]),
                "label": labels[places[row]],
                "predicted": labels[said[row]],
                "score": float(scores[row, said[row]]),
            }
            for row in wrong[:MOST_WORST]
        ]

    def _several_mistakes(
        self, sources: Sequence[Any], scores: NDArray[Any], truth: NDArray[Any]
    ) -> list[dict[str, Any]]:
        """The examples with the surest wrong label, or the surest missing one."""
        assert isinstance(self.codec, ClassifierCodec)
        labels, wrong = self.codec.labels, np.abs(scores - truth)
        order = np.argsort(-wrong.max(1), kind="stable").tolist()
        return [
            {
                **self.codec.named(sources[row]),
                "label": "|".join(label for label, right in zip(labels, truth[row], strict=True) if right),
                "predicted": ("" if truth[row, at] == 0 else "not ") + labels[at],
                "score": float(wrong[row, at]),
            }
            for row in order[:MOST_WORST]
            for at in [int(wrong[row].argmax())]
            if wrong[row, at] > 0.5
        ]


def _mean_average_precision(labels: int) -> Any:
    from torchmetrics.classification import MultilabelAveragePrecision

    class MeanAveragePrecision(MultilabelAveragePrecision):
        """Of outputs: torchmetrics would guess for each batch whether its numbers are scores already."""

        def update(self, preds: Tensor, target: Tensor) -> None:
            super().update(preds.sigmoid(), target.long())

    return MeanAveragePrecision(labels, thresholds=200)


def _rows(labels: Sequence[str], columns: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {
        label: {name: float(column[place]) for name, column in columns.items()} for place, label in enumerate(labels)
    }
