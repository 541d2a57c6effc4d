"""Learn which of several labels a picture shows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recipes.codec import Codec, gathered_pictures
from recipes.examples import check_folders, read_held_out, read_picture_folders
from recipes.images import Augment, Preparation
from recipes.presets import Preset
from recipes.results import MOST_WORST, Evaluation, Prediction
from recipes.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torchmetrics import MetricCollection

    from recipes.backbones import Network
    from recipes.examples import Examples, Splits

_TIMM_NAMES = {"squash": "squash", "crop": "center", "pad": "border"}


@dataclass(frozen=True)
class ImageClassifierCodec(Codec):
    """A picture into pixels, and scores into a label's name.

    Args:
        labels: the labels' names, in the order of the network's outputs.
        preparation: how a picture becomes the network's input.
        mirror: the scores are the mean of those for the picture and for the mirrored picture.
    """

    preparation: Preparation
    mirror: bool = False

    def encode(self, source: Any) -> NDArray[np.uint8]:
        """Pixels of shape (size, size, 3) as uint8."""
        return self.preparation.pixels(source)

    def example(
        self, source: Any, target: Any, augment: Augment | None = None, rng: np.random.Generator | None = None
    ) -> tuple[NDArray[np.uint8], Any]:
        """Pixels of shape (size, size, 3) as uint8, with `augment` those of a random view, and the label's place."""
        if augment is None or rng is None:
            return self.preparation.pixels(source), target
        return self.preparation.augmented(source, augment, rng), target

    def decode(self, output: NDArray[np.float32], source: Any) -> Prediction:
        """The label with the highest score (softmax of the network's output), and all scores."""
        powers = np.exp(output.astype(np.float64) - float(output.max()))
        scores = powers / powers.sum()
        best = int(output.argmax())
        file = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
        return Prediction(
            file, self.labels[best], float(scores[best]), dict(zip(self.labels, scores.tolist(), strict=True))
        )

    def failed(self, file: str | None, error: str) -> Prediction:
        """A prediction without label and score that says why."""
        return Prediction(file, None, None, error=error)

    def cells(self, source: Any, target: Any, prediction: Any = None) -> list[tuple[Any, str]]:
        """The picture with its label, and what was predicted instead."""
        said = "" if prediction is None else f" -> {prediction.label} {prediction.score:.2f}"
        return [(source, f"{self.labels[target]}{said}")]

    def gather(self, inputs: Any) -> list[Any]:
        """Paths, directories, globs, PIL images, arrays, tensors, or lists of these, as a flat list."""
        return gathered_pictures(inputs)


@dataclass
class ImageClassifier(Task):
    """Learns which of several labels a picture shows, from a folder of pictures for each label.

    Args:
        backbone: the network: any name of timm, `torchvision/NAME`, `local-dir:FOLDER` or `hf-hub:OWNER/NAME`.
        pretrained: start from the backbone's published weights.
        weights: start from this safetensors file instead.
        size: side of the square that the network sees, in pixels; the backbone's own if not given.
        resize: `squash` shows the network the whole picture and changes its shape; `crop` keeps the shape and takes
            the centre; `pad` keeps both and fills the rest.
    """

    backbone: str = "hgnetv2_b0"
    pretrained: bool = True
    weights: str | None = None
    size: int | None = None
    resize: Literal["squash", "crop", "pad"] = "squash"

    command = "image-classifier"
    codec_class = ImageClassifierCodec

    def check(self, data: Any, preset: Preset) -> None:
        """Refuse a missing folder, an unknown backbone or optimizer before pictures are looked at."""
        check_folders(data)

        from recipes import backbones

        backbones.check(self.backbone, pretrained=self.pretrained, weights=self.weights)
        backbones.check_optimizer(preset.optimizer)

    def read(self, data: Any, val: Any, preset: Preset) -> Splits:
        """Find the pictures and split them."""
        return read_picture_folders(data, val, preset.val_fraction, preset.seed)

    def read_labelled(self, data: Any, labels: tuple[str, ...]) -> Examples:
        """Find labelled pictures to score the model on."""
        return read_held_out(data, labels)

    def make(self, splits: Splits, preset: Preset) -> tuple[Codec, Network]:
        """The backbone with a last layer for these labels, and the preparation that its weights expect."""
        from recipes import backbones

        labels = splits.train.labels
        network, figures = backbones.build(
            self.backbone, len(labels), pretrained=self.pretrained, weights=self.weights, size=self.size
        )
        preparation = Preparation(
            size=figures.size,
            resize=self.resize,
            crop_pct=figures.crop_pct if self.resize == "crop" else 1.0,
            interpolation=figures.interpolation,
            mean=figures.mean,
            std=figures.std,
        )
        return ImageClassifierCodec(labels, preparation, mirror=preset.mirror), network

    def reopen(self, codec: Codec, settings: Any, folder: Path, digest: str) -> Network:
        """The backbone of a model folder, with its weights."""
        from recipes import backbones

        assert isinstance(codec, ImageClassifierCodec)
        preparation = codec.preparation
        return backbones.reopen(settings, len(codec.labels), preparation.mean, preparation.std, folder, digest)

    def library_config(self, codec: Codec, network: Network) -> dict[str, Any] | None:
        """What timm needs to open the folder by itself, with the same pixels and label names."""
        from recipes import backbones

        assert isinstance(codec, ImageClassifierCodec)
        preparation = codec.preparation
        return backbones.timm_config(
            network,
            codec.labels,
            input_size=[3, preparation.size, preparation.size],
            mean=preparation.mean,
            std=preparation.std,
            interpolation=preparation.interpolation,
            crop_pct=preparation.crop_pct,
            crop_mode=_TIMM_NAMES[preparation.resize],
        )

    def loss(self, scores: Tensor, targets: Tensor, preset: Preset, weights: Tensor | None) -> Tensor:
        """Cross entropy with label smoothing, the same for labels and for the shares that mixing makes of them.

        With weights it is the mean over what the labels count. torch's own divides by the number of pictures where
        the targets are shares, so that a mixed batch would count otherwise than a plain one.
        """
        from torch.nn.functional import cross_entropy, one_hot

        if weights is None:
            return cross_entropy(scores, targets, label_smoothing=preset.label_smoothing)
        weights = weights.to(scores.device)
        shares = targets if targets.is_floating_point() else one_hot(targets, scores.shape[1]).float()
        summed = cross_entropy(scores, shares, weights, reduction="sum", label_smoothing=preset.label_smoothing)
        return summed / (shares * weights).sum()

    def metrics(self, labels: int) -> MetricCollection:
        """Accuracy, and the mean of the labels' F1 scores."""
        from torchmetrics import MetricCollection
        from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

        return MetricCollection(
            {"accuracy": MulticlassAccuracy(labels, average="micro"), "macro_f1": MulticlassF1Score(labels)},
            compute_groups=False,
        )

    def evaluation(self, rows: Iterable[tuple[Any, Any, Any]]) -> Evaluation:
        """Accuracy, macro F1, top-5 where there are more than 5 labels, and each label's precision, recall and F1."""
        import torch
        from torchmetrics.functional import classification as measure

        assert self.codec is not None
        sources, outputs, places = zip(*rows, strict=True)
        scores, targets = torch.from_numpy(np.stack(outputs)), torch.tensor(places)
        labels = self.codec.labels
        number = len(labels)
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
            examples=len(targets),
            scores={name: float(value) for name, value in overall.items()},
            labels=labels,
            per_label={
                label: {name: float(column[place]) for name, column in columns.items()}
                for place, label in enumerate(labels)
            },
            confusion=measure.multiclass_confusion_matrix(scores, targets, number).tolist(),
            worst=_mistakes(sources, scores.softmax(1).numpy(), places, labels),
        )


def _mistakes(
    sources: Sequence[Any], scores: NDArray[np.float32], places: Sequence[int], labels: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The wrong predictions that the model was surest of."""
    said = scores.argmax(1)
    wrong = [row for row in np.argsort(-scores.max(1), kind="stable").tolist() if said[row] != places[row]]
    return [
        {
            "file": str(sources[row]) if isinstance(sources[row], (str, os.PathLike)) else None,
            "label": labels[places[row]],
            "predicted": labels[said[row]],
            "score": float(scores[row, said[row]]),
        }
        for row in wrong[:MOST_WORST]
    ]
