"""Learn which label each pixel of an image has."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from recipes import images, mask_examples, mask_keys, mask_pairs
from recipes.codec import Codec
from recipes.crops import IGNORED, Dense, DensePreparation
from recipes.errors import OptionError
from recipes.image_examples import gathered
from recipes.images import Augment
from recipes.mask_prediction import MaskPrediction, first_is_shown
from recipes.masks import MaskCode
from recipes.presets import MASK_PRESETS, Preset
from recipes.results import MOST_WORST, Evaluation
from recipes.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torchmetrics import MetricCollection

    from recipes.backbones import Network
    from recipes.examples import Examples, Reading, Splits

# Images whose longer side is longer than this are shown smaller to the network, unless `scale` says otherwise.
_LONGEST = 1024

# Crops of an image in an epoch are as many as cover it, but not more than this.
_MOST_CROPS = 16


@dataclass(frozen=True)
class SegmenterCodec(Codec):
    """An image into pixels, and the scores of each pixel into a mask.

    Args:
        labels: the labels' names, in the order of the network's outputs.
        preparation: how an image becomes the network's input.
        code: how mask files are read, and the labels' colours.
        mirror: the scores are the mean of those for the image and for the mirrored image.
    """

    preparation: DensePreparation
    code: MaskCode
    mirror: bool = False
    dense: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.code.colours) != len(self.labels):
            raise OptionError(
                f"expected a colour for each of {len(self.labels)} labels, found {len(self.code.colours)}"
            )

    @property
    def crops(self) -> int:
        """Random crops of each image in an epoch."""
        return self.preparation.crops

    def encode(self, source: Any) -> Dense:
        """The whole image as uint8, shape (height × scale, width × scale, 3), and its own height and width."""
        return self.preparation.pixels(source)

    def example(
        self, source: Any, target: Any, augment: Augment | None = None, rng: np.random.Generator | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The whole image with its mask in the image's own size; with `augment`, a random crop of both."""
        if augment is not None and rng is not None:
            return self.preparation.crop(source, lambda size: self.code.read(target, size), augment, rng)
        image = self.preparation.pixels(source)
        return image.pixels, self.code.read(target, (image.width, image.height))

    def decode(self, output: NDArray[Any], source: Any) -> MaskPrediction:
        """The mask, from the label of each pixel or from the probabilities of all labels."""
        file = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
        if output.ndim == 2:
            return MaskPrediction(file, output, self.labels, self.code.colours)
        return MaskPrediction(file, output.argmax(0).astype(np.uint8), self.labels, self.code.colours, output)

    def failed(self, file: str | None, error: str) -> MaskPrediction:
        """A prediction without a mask that says why."""
        return MaskPrediction(file, None, self.labels, error=error)

    def cells(self, source: Any, target: Any, prediction: Any = None) -> list[tuple[Any, str]]:
        """The image and its mask over it in colours, and the predicted mask."""
        from recipes.mask_files import overlay

        shown = first_is_shown(self.labels)
        if prediction is None:
            return [(source, "image"), (overlay(source, target, self.code.colours, background=shown), "mask")]
        truth = self.code.read(target, images.size_of(source))
        name = os.path.basename(str(source)) if isinstance(source, (str, os.PathLike)) else "image"
        return [
            (source, name),
            (overlay(source, truth, self.code.colours, background=shown), "mask"),
            (prediction.overlay(source), "prediction"),
        ]

    def gather(self, inputs: Any) -> list[Any]:
        """Paths, directories, globs, pictures, arrays, tables, data sets, or lists of these, as a flat list."""
        return gathered(inputs, None)


@dataclass
class Segmenter(Task):
    """Learns which label each pixel of an image has, from images and their masks.

    Args:
        architecture: `unet` or another name of segmentation_models_pytorch, or `torchvision/NAME`.
        backbone: the encoder: any name of timm, `local-dir:FOLDER` or `hf-hub:OWNER/NAME`, also of a saved model, which
            training goes on from; torchvision's networks bring their own.
        pretrained: start from the backbone's published weights.
        weights: start the backbone from this safetensors file instead.
        size: side of the square crops in training, in pixels; 256, or less for small images, if not given.
        scale: how large the network sees an image, as a factor; if not given 1, or less if most images are longer
            than 1,024 pixels.
        labels: the labels' names in the order of the masks' values, separated by commas; found or made up if not given.
        colours: for masks in colours a table of names and colours, as a file with lines such as `sky,128,128,128` or as
            `sky=128,128,128;road=128,64,128` (in Python a mapping, too); found if not given.
        ignore: a value (or a label's name) whose pixels do not count; found if not given.
        suffix: what the names of masks have more than those of their images, such as `_mask`; found if not given.
        criterion: the loss: cross entropy with Dice (`ce_dice`), `ce`, `dice`, `focal`, `lovasz` or `tversky`.
    """

    architecture: str = "unet"
    backbone: str = "hgnetv2_b0"
    pretrained: bool = True
    weights: str | None = None
    size: int | None = None
    scale: float | None = None
    labels: str | None = None
    colours: str | Mapping[str, Sequence[int]] | None = None
    ignore: str | None = None
    suffix: str | None = None
    criterion: Literal["ce_dice", "ce", "dice", "focal", "lovasz", "tversky"] = "ce_dice"

    command = "segmenter"
    codec_class = SegmenterCodec
    decisive = "mean_iou"
    presets = MASK_PRESETS

    def __post_init__(self) -> None:
        super().__post_init__()
        # As one text each, so that recipe.yaml and the shell can repeat what Python was given.
        self.labels = mask_keys.spelled_names(self.labels)
        self.colours = mask_keys.spelled_colours(self.colours)
        self.ignore = mask_keys.spelled_ignore(self.ignore)

    def check(self, data: Any, preset: Preset) -> None:
        """Refuse missing data, unknown networks, and settings that make no sense for masks, before images are read."""
        mask_pairs.check_masked(data)
        for name, value, reason in (
            ("mixup", preset.mixup, "a mean of two masks is none; cutmix pastes parts of images with their masks"),
            ("auto_augment", preset.auto_augment != "none", "it would move pixels away from their labels"),
        ):
            if value:
                raise OptionError(f"{name} cannot be used with masks: {reason}")
        if preset.epochs == 0:
            raise OptionError(
                "epochs=0 fits a linear last layer alone, and networks for masks have none; take 1 or more"
            )
        DensePreparation(256 if self.size is None else self.size, 1.0 if self.scale is None else self.scale)

        from recipes import backbones, mask_networks

        mask_networks.check(self.architecture, self.backbone, pretrained=self.pretrained, weights=self.weights)
        backbones.check_optimizer(preset.optimizer)

    def read(self, data: Any, val: Any, reading: Reading) -> Splits:
        """Find the images with their masks and split them."""
        splits, code = mask_examples.read_masked(
            data,
            val,
            labels=self.labels,
            colours=self.colours,
            ignore=self.ignore,
            suffix=self.suffix,
            reading=reading,
        )
        splits.code = code
        return splits

    def read_labelled(self, data: Any, labels: tuple[str, ...]) -> Examples:
        """Find images with masks to score the model on."""
        assert isinstance(self.codec, SegmenterCodec)
        return mask_examples.read_masked_held_out(data, labels, self.codec.code, self.suffix)

    def make(self, splits: Splits, preset: Preset) -> tuple[Codec, Network]:
        """The network with a score for each label, and the preparation that suits the images' sizes."""
        from recipes import mask_networks

        labels = splits.train.labels
        start: dict[str, Any] = {"pretrained": self.pretrained, "weights": self.weights}
        network = mask_networks.build(self.architecture, self.backbone, len(labels), **start)
        if note := mask_networks.starting_note(self.architecture, self.backbone, len(labels), **start):
            splits.notes.append(note)
        mean, std = (tuple(float(value) / 255 for value in figure.flatten()) for figure in (network.mean, network.std))
        sides = [images.size_of(source) for source in splits.train.inputs[:100]] or [(256, 256)]
        whole = min(1.0, _LONGEST / statistics.median(max(side) for side in sides))
        scale = whole if self.scale is None else self.scale
        longest = max(max(side) for side in sides) * scale
        size = min(256, 32 * math.ceil(longest / 32)) if self.size is None else self.size
        crops = statistics.mean(width * height for width, height in sides) * scale**2 / max(1, size) ** 2
        preparation = DensePreparation(size, scale, min(_MOST_CROPS, math.ceil(crops)), mean, std)  # type: ignore[arg-type]
        return SegmenterCodec(labels, preparation, splits.code, mirror=preset.mirror), network

    def reopen(self, codec: Codec, settings: Any, folder: Path, digest: str) -> Network:
        """The network of a model folder, with its weights."""
        from recipes import mask_networks

        assert isinstance(codec, SegmenterCodec)
        figures = (codec.preparation.mean, codec.preparation.std)
        return mask_networks.reopen(settings, len(codec.labels), figures, folder, digest)

    def library_config(self, codec: Codec, network: Network) -> dict[str, Any] | None:
        """What segmentation_models_pytorch needs to open the folder by itself."""
        from recipes import mask_networks

        return mask_networks.smp_config(network, len(codec.labels))

    def loss(self, scores: Tensor, targets: Tensor, preset: Preset, weights: Tensor | None) -> Tensor:
        """The criterion over those pixels that count."""
        from recipes import mask_losses

        return mask_losses.loss(self.criterion, scores, targets, preset.label_smoothing, weights)

    def metrics(self, labels: int) -> MetricCollection:
        """Mean IoU and mean Dice over the labels, and the share of pixels that are right."""
        from torchmetrics import MetricCollection
        from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassJaccardIndex

        return MetricCollection(
            {
                "mean_iou": MulticlassJaccardIndex(labels, ignore_index=IGNORED),
                "mean_dice": MulticlassF1Score(labels, ignore_index=IGNORED),
                "accuracy": MulticlassAccuracy(labels, average="micro", ignore_index=IGNORED),
            },
            compute_groups=False,
        )

    def evaluation(self, rows: Iterable[tuple[Any, Any, Any]]) -> Evaluation:
        """Mean IoU and Dice over the labels that are there, pixel accuracy, and each label's own figures.

        All are taken from one table of pixels over all images, as PASCAL VOC and Cityscapes do it.
        """
        assert isinstance(self.codec, SegmenterCodec)
        labels, each = self.codec.labels, list[tuple[float, str | None]]()
        table = np.zeros((len(labels), len(labels)), np.int64)
        for source, mask, target in rows:
            truth = self.codec.code.read(target, mask.shape[::-1])
            own = _table(truth, mask, len(labels))
            table += own
            file = str(source) if isinstance(source, (str, os.PathLike)) else None
            each.append((float(np.nanmean(_figures(own)["iou"])) if own.any() else 1.0, file))
        figures = _figures(table)
        per_label = {
            label: {name: float(np.nan_to_num(column[place])) for name, column in figures.items()}
            | {"pixels": int(table[place].sum())}
            for place, label in enumerate(labels)
        }
        scores = {f"mean_{name}": float(np.nanmean(figures[name])) for name in ("iou", "dice")} if table.any() else {}
        scores["accuracy"] = float(np.trace(table) / max(table.sum(), 1))
        wrong = sorted((row for row in each if row[0] < 1), key=lambda row: row[0])
        worst = [{"file": file, "mean_iou": score} for score, file in wrong[:MOST_WORST]]
        return Evaluation(len(each), scores, labels, per_label, table.tolist(), worst=worst)


def _table(truth: NDArray[np.uint8], mask: NDArray[np.uint8], labels: int) -> NDArray[np.int64]:
    """How many pixels of each true label (rows) have each predicted one (columns)."""
    counts = truth != IGNORED
    found = np.bincount(truth[counts].astype(np.int64) * labels + mask[counts], minlength=labels**2)
    return found.reshape(labels, labels)


def _figures(table: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Each label's IoU, Dice, precision and recall; NaN where it is neither there nor predicted."""
    right, true, said = np.diag(table), table.sum(1), table.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "iou": right / (true + said - right),
            "dice": 2 * right / (true + said),
            "precision": right / said,
            "recall": right / true,
        }
