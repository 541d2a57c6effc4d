"""Learn which of several labels a picture shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes import labelled
from recipes.classifier import Classifier, ClassifierCodec
from recipes.image_examples import OF_FOLDERS, PICTURES
from recipes.pictures import PictureCodec, PictureTask, file_of
from recipes.presets import Preset

if TYPE_CHECKING:
    from recipes.backbones import Network
    from recipes.codec import Codec
    from recipes.examples import Examples, Reading, Splits


@dataclass(frozen=True)
class ImageClassifierCodec(PictureCodec, ClassifierCodec):
    """A picture into pixels, and scores into a label's name."""

    def said(self, source: Any) -> tuple[str | None, None]:
        """The picture's path, if it has one."""
        return file_of(source), None

    def cells(self, source: Any, target: Any, prediction: Any = None) -> list[tuple[Any, str]]:
        """The picture with its label, and what was predicted instead."""
        said = "" if prediction is None else f" -> {prediction.label} {prediction.score:.2f}"
        places = target if isinstance(target, tuple) else np.flatnonzero(target) if np.ndim(target) else [target]
        return [(source, f"{'|'.join(self.labels[place] for place in places)}{said}")]


@dataclass
class ImageClassifier(PictureTask, Classifier):
    """Learns which of several labels a picture shows, or which of them, from folders of labels or a table.

    Args:
        label: the name of the column with the labels, or several names for columns of 0 and 1; found if not given.
        multi_label: whether a picture may have several labels, written as `a|b`; found if not given.
    """

    label: str | None = None
    multi_label: bool | None = None

    command = "image-classifier"
    codec_class = ImageClassifierCodec

    def read(self, data: Any, val: Any, reading: Reading) -> Splits:
        """Find the pictures with their labels and split them."""
        return labelled.read(
            data,
            val,
            PICTURES,
            reading,
            column=self.image,
            label=self.label,
            multi_label=self.multi_label,
        )

    def read_labelled(self, data: Any, labels: tuple[str, ...]) -> Examples:
        """Find labelled pictures to score the model on."""
        assert isinstance(self.codec, ImageClassifierCodec)
        return labelled.read_held_out(data, labels, self.codec.columns, PICTURES)

    def make(self, splits: Splits, preset: Preset) -> tuple[Codec, Network]:
        """The backbone with a last layer for these labels, and the preparation that its weights expect."""
        labels, columns = splits.train.labels, splits.code or OF_FOLDERS
        network, preparation = self.built(len(labels))
        thresholds = (0.5,) * len(labels) if columns.multi_label else None
        return ImageClassifierCodec(labels, preparation, preset.mirror, columns, thresholds=thresholds), network
