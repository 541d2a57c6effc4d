"""What tasks on pictures share: how a picture becomes the network's input, and the network that looks at it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recipes import labelled
from recipes.codec import Codec
from recipes.columns import Columns
from recipes.errors import OptionError
from recipes.image_examples import OF_FOLDERS, PICTURES, gathered
from recipes.images import Augment, Preparation
from recipes.presets import Preset
from recipes.task import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recipes.backbones import Network

_TIMM_NAMES = {"squash": "squash", "crop": "center", "pad": "border"}


def file_of(source: Any) -> str | None:
    """The picture's path, if it has one."""
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else None


@dataclass(frozen=True)
class PictureCodec(Codec):
    """A picture into pixels.

    Args:
        preparation: how a picture becomes the network's input.
        mirror: the scores are the mean of those for the picture and for the mirrored picture.
        columns: what the columns of the table were called that the model was fitted on.
    """

    preparation: Preparation
    mirror: bool = False
    columns: Columns = OF_FOLDERS

    def encode(self, source: Any) -> NDArray[np.uint8]:
        """Pixels of shape (size, size, 3) as uint8."""
        return self.preparation.pixels(source)

    def example(
        self, source: Any, target: Any, augment: Augment | None = None, rng: np.random.Generator | None = None
    ) -> tuple[NDArray[np.uint8], Any]:
        """Pixels of shape (size, size, 3) as uint8, with `augment` those of a random view, and the target."""
        if augment is None or rng is None:
            return self.preparation.pixels(source), self.target(target)
        return self.preparation.augmented(source, augment, rng), self.target(target)

    def gather(self, inputs: Any) -> list[Any]:
        """Paths, directories, globs, pictures, arrays, tables, data sets, or lists of these, as a flat list."""
        return gathered(inputs, self.columns)


@dataclass
class PictureTask(Task):
    """A task that looks at whole pictures with a network of timm or torchvision.

    Args:
        backbone: the network: any name of timm, `torchvision/NAME`, `local-dir:FOLDER` or `hf-hub:OWNER/NAME`.
        pretrained: start from the backbone's published weights.
        weights: start from this safetensors file instead.
        size: side of the square that the network sees, in pixels; the backbone's own if not given.
        resize: `squash` shows the network the whole picture and changes its shape; `crop` keeps the shape and takes
            the centre; `pad` keeps both and fills the rest.
        image: the name of the column with the pictures, where data are a table; found if not given.
    """

    backbone: str = "hgnetv2_b0"
    pretrained: bool = True
    weights: str | None = None
    size: int | None = None
    resize: Literal["squash", "crop", "pad"] = "squash"
    image: str | None = None

    def check(self, data: Any, preset: Preset) -> None:
        """Refuse missing data, an unknown backbone or optimizer, and settings that the task has no use for."""
        labelled.check(data, PICTURES)
        for name in self.foreign:
            # A preset of one's own has the setting's default unless it says otherwise.
            if (value := getattr(preset, name)) not in (0, "none", getattr(Preset, name)):
                raise OptionError(f"{self.command} has no use for {name}={value!r}; leave it away")

        from recipes import backbones

        backbones.check(self.backbone, pretrained=self.pretrained, weights=self.weights)
        backbones.check_optimizer(preset.optimizer)

    def reopen(self, codec: Codec, settings: Any, folder: Path, digest: str) -> Network:
        """The backbone of a model folder, with its weights."""
        from recipes import backbones

        assert isinstance(codec, PictureCodec)
        if isinstance(settings, dict) and settings.get("library") == "onnx":
            from recipes import onnx_networks

            return onnx_networks.reopen(settings, len(codec.labels), folder)
        preparation = codec.preparation
        return backbones.reopen(settings, len(codec.labels), preparation.mean, preparation.std, folder, digest)

    def library_config(self, codec: Codec, network: Network) -> dict[str, Any] | None:
        """What timm needs to open the folder by itself, with the same pixels and label names."""
        from recipes import backbones

        assert isinstance(codec, PictureCodec)
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

    def built(self, outputs: int) -> tuple[Network, Preparation]:
        """The backbone with a new last layer of so many outputs, and the preparation that its weights expect."""
        from recipes import backbones

        network, figures = backbones.build(
            self.backbone, outputs, pretrained=self.pretrained, weights=self.weights, size=self.size
        )
        return network, Preparation(
            size=figures.size,
            resize=self.resize,
            crop_pct=figures.crop_pct if self.resize == "crop" else 1.0,
            interpolation=figures.interpolation,
            mean=figures.mean,
            std=figures.std,
        )
