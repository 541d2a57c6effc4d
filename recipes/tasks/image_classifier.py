"""Learn which of several labels a picture shows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recipes.classifier import Classifier, ClassifierCodec
from recipes.codec import gathered_pictures
from recipes.examples import check_folders, read_held_out, read_picture_folders
from recipes.images import Augment, Preparation
from recipes.presets import Preset

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recipes.backbones import Network
    from recipes.codec import Codec
    from recipes.examples import Examples, Splits

_TIMM_NAMES = {"squash": "squash", "crop": "center", "pad": "border"}


@dataclass(frozen=True)
class ImageClassifierCodec(ClassifierCodec):
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
            return self.preparation.pixels(source), self.target(target)
        return self.preparation.augmented(source, augment, rng), self.target(target)

    def said(self, source: Any) -> tuple[str | None, None]:
        """The picture's path, if it has one."""
        return (os.fspath(source) if isinstance(source, (str, os.PathLike)) else None), None

    def cells(self, source: Any, target: Any, prediction: Any = None) -> list[tuple[Any, str]]:
        """The picture with its label, and what was predicted instead."""
        said = "" if prediction is None else f" -> {prediction.label} {prediction.score:.2f}"
        return [(source, f"{self.labels[target]}{said}")]

    def gather(self, inputs: Any) -> list[Any]:
        """Paths, directories, globs, PIL images, arrays, tensors, or lists of these, as a flat list."""
        return gathered_pictures(inputs)


@dataclass
class ImageClassifier(Classifier):
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
