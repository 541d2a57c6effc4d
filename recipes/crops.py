"""An image whose pixels have labels, as the network sees it: whole for prediction, in random crops for training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recipes import images
from recipes.errors import OptionError
from recipes.images import Augment

#: What pixels that do not count have in a mask.
IGNORED = 255

# How often a crop is placed on a label drawn from those in the image, so that rare ones are seen.
_ON_A_LABEL = 0.5


class Dense(NamedTuple):
    """An image as the network sees it, and how large it was."""

    pixels: NDArray[np.uint8]
    height: int
    width: int


@dataclass(frozen=True)
class DensePreparation:
    """How an image becomes the network's input; saved with the model and the same wherever the model runs.

    Args:
        size: side of the square crops in training, in pixels of the network.
        scale: the network's pixels for each pixel of the image, along a side; 1 shows it the image as it is.
        crops: crops of each image in an epoch.
        mean: mean of the red, green and blue values, as shares of 255, that normalisation takes away.
        std: standard deviation, likewise, that normalisation divides by.
    """

    size: int = 256
    scale: float = 1.0
    crops: int = 1
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if not 32 <= self.size <= 4096 or self.size % 32:
            raise OptionError(f"size={self.size} cannot be: crops have sides of 32 to 4,096 pixels, a multiple of 32")
        if not 0.01 <= self.scale <= 4:
            raise OptionError(f"scale={self.scale} cannot be: it is a factor from 0.01 to 4")
        if self.crops < 1:
            raise OptionError(f"crops={self.crops} cannot be: each image has one or more in an epoch")
        if not all(math.isfinite(value) for value in self.mean) or not all(1e-6 < value < 1e6 for value in self.std):
            raise OptionError(f"mean={self.mean}, std={self.std} cannot be: they are shares of 255, std above 0")

    def pixels(self, source: Any) -> Dense:
        """The whole image: red, green and blue as uint8, shape (height × scale, width × scale, 3)."""
        with images.opened(source) as lazy:
            width, height = images.displayed_size(lazy)
            target = (max(1, round(width * self.scale)), max(1, round(height * self.scale)))
            picture = images.loaded(lazy, *target)
            if picture.size != target:
                picture = picture.resize(target, Image.Resampling.BILINEAR)
            return Dense(np.array(picture, dtype=np.uint8), height, width)

    def crop(
        self,
        source: Any,
        read_mask: Callable[[tuple[int, int]], NDArray[np.uint8]],
        augment: Augment,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """A random square of the image and the same square of its mask; all chance comes from `rng`.

        What moves the pixels moves both alike; the mask takes the nearest pixel, so that no label comes up that is
        not there. Beyond the border of a small image nothing counts.

        Args:
            source: the image.
            read_mask: gives the mask, shape (height, width), for the image's width and height.
            augment: how much is varied.
            rng: the source of chance.

        Returns:
            Pixels of shape (size, size, 3) and labels of shape (size, size), both uint8.
        """
        with images.opened(source) as lazy:
            width, height = images.displayed_size(lazy)
            zoom = math.exp(rng.uniform(-0.5, 0.5) * -math.log(augment.crop_scale))
            side = self.size / self.scale * zoom
            picture = images.loaded(lazy, round(width * self.size / side), round(height * self.size / side))
        mask = read_mask((width, height))
        wide, high = min(side, width), min(side, height)
        left, top = _corner(mask, wide, high, rng)
        shown = (max(1, round(self.size * wide / side)), max(1, round(self.size * high / side)))
        shrunk = picture.width / width, picture.height / height  # a large JPEG is decoded small
        box = (left * shrunk[0], top * shrunk[1], (left + wide) * shrunk[0], (top + high) * shrunk[1])
        view = picture.resize(shown, Image.Resampling.BILINEAR, box=box)
        labels = Image.fromarray(mask).resize(shown, Image.Resampling.NEAREST, box=(left, top, left + wide, top + high))
        if rng.random() < augment.hflip:
            view, labels = (part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for part in (view, labels))
        view = images.jittered(view, augment.color_jitter, rng)
        if shown != (self.size, self.size):
            ground = Image.new("RGB", (self.size, self.size), tuple(round(255 * value) for value in self.mean))
            ground.paste(view)
            beyond = Image.new("L", (self.size, self.size), IGNORED)
            beyond.paste(labels)
            view, labels = ground, beyond
        pixels, kept = np.array(view, dtype=np.uint8), np.array(labels, dtype=np.uint8)
        if rng.random() < augment.random_erasing:
            kept[images.erase(pixels, rng)] = IGNORED
        return pixels, kept


def _corner(mask: NDArray[np.uint8], wide: float, high: float, rng: np.random.Generator) -> tuple[float, float]:
    """Left and top of a crop: anywhere, or so that a pixel of a random label lies in it."""
    height, width = mask.shape
    left, top = rng.uniform(0, width - wide), rng.uniform(0, height - high)
    present = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[:IGNORED])
    if rng.random() < _ON_A_LABEL and len(present) > 1:
        places = np.flatnonzero(mask == rng.choice(present))
        y, x = divmod(int(rng.choice(places)), width)
        left, top = x + 0.5 - wide * rng.random(), y + 0.5 - high * rng.random()
    return min(max(left, 0.0), width - wide), min(max(top, 0.0), height - high)
