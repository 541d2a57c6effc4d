"""Read one mask: its file, array or regions become the places of labels, the same wherever the model runs.

Only numpy and Pillow (by way of `images`) are needed, and pycocotools where regions are outlines.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recipes import images
from recipes.crops import IGNORED
from recipes.display import listed
from recipes.errors import DataError, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

Colour = tuple[int, int, int]


#: The most labels there may be: places are bytes, and two of them mean something else.
MOST_LABELS = 254

_UNKNOWN = 254

# Okabe and Ito 2008, which people see apart whatever colours they are blind to; black is kept for the background.
_PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)

_BACKGROUND = ("background", "bg", "_background_", "backgrd")


@dataclass(frozen=True, eq=False)
class Region:
    """One region of an image in a COCO file.

    Args:
        place: the place of its label, or `IGNORED` for a crowd.
        outlines: polygons as x and y in turn, in pixels.
        runs: in place of outlines, lengths of pixels outside and inside in turn, column by column.
    """

    place: int
    outlines: tuple[NDArray[np.float64], ...] = ()
    runs: NDArray[np.int64] | None = None

    def drawn(self, width: int, height: int) -> NDArray[np.bool_]:
        """Which pixels lie inside, shape (height, width)."""
        if self.runs is not None:
            inside = np.arange(len(self.runs)) % 2 == 1
            return np.asarray(np.repeat(inside, self.runs).reshape(width, height).T)
        from pycocotools import mask

        parts = mask.frPyObjects([outline.tolist() for outline in self.outlines], height, width)
        return Region(self.place, runs=runs_of(mask.merge(parts)["counts"].decode())).drawn(width, height)


def runs_of(text: str) -> NDArray[np.int64]:
    """Lengths of runs from COCO's way of writing them as text, 5 bits to a character, as differences from the third on.

    Raises:
        ValueError: the text is damaged. pycocotools would fill the rest with what happens to lie in memory.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("damaged run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)  # the highest bit is the sign
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("run lengths that end too early")
    return np.array(runs, np.int64)


@dataclass(frozen=True, eq=False)
class Regions:
    """The mask of one image as a COCO file has it.

    Args:
        file: the COCO file.
        image: the image's name in it.
        size: width and height as the file declares them, or None if it does not.
        regions: what lies in the image; where regions overlap, the smaller one is on top.
    """

    file: str
    image: str
    size: tuple[int, int] | None
    regions: tuple[Region, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it is read from."""
        return (self.file,)


@dataclass(frozen=True, eq=False)
class Turned:
    """A mask that was drawn on its image as stored, and has to be turned as the image's EXIF orientation says."""

    mask: Any
    orientation: int

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it is read from."""
        if isinstance(self.mask, tuple):
            return tuple(path for _, path in self.mask)
        return (self.mask,) if isinstance(self.mask, str) else getattr(self.mask, "files", ())


@dataclass(frozen=True)
class MaskCode:
    """How masks become places of labels; plain values that are saved with the model.

    Args:
        kind: what the masks were that the model learned from: files of `values` or of `colours`, several `files` for
            each image with one label each, or the regions of a `coco` file.
        values: with `values`, the value of each label, in order.
        colours: a colour for each label; with `colours` those of the masks, otherwise those to draw with.
        ignore: values that do not count.
        ignore_colours: colours that do not count.
        ignore_labels: labels of files or regions that do not count.
        threshold: with two values that a lossy file has blurred, where the second begins.
    """

    kind: Literal["values", "colours", "files", "coco"]
    values: tuple[int, ...] = ()
    colours: tuple[Colour, ...] = ()
    ignore: tuple[int, ...] = ()
    ignore_colours: tuple[Colour, ...] = ()
    ignore_labels: tuple[str, ...] = ()
    threshold: int | None = None

    def read(self, target: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
        """The mask as places of labels, shape (height, width), `IGNORED` where nothing counts.

        Args:
            target: a path, an array, a PIL image, `Regions`, for several files (place, path) of each, or one of these
                `Turned`.
            size: width and height of its image as displayed.

        Raises:
            ImageError: a file cannot be read.
            DataError: the mask has another size than its image, or values that no label has.
        """
        if isinstance(target, Turned):
            return upright(self.read(target.mask, size[::-1]), target.orientation)
        if isinstance(target, (Regions, tuple)):
            return stacked(target, size)[0]
        return self.places(fitted(opened_mask(target), size))

    def places(self, mask: Mask) -> NDArray[np.uint8]:
        """Places of labels for a mask as it was read, pixel by pixel."""
        if self.kind == "colours":
            return self._colour_places(mask.packed())
        if self.kind != "values":
            raise DataError(f"{mask.name} is one file; the model learned from several files or regions for each image")
        values = mask.single_values()
        if self.threshold is not None:
            if not mask.lossy and 0 < values.max() < 48:  # as 0 and 1 would be: all of it would become the first label
                raise DataError(f"{mask.name} holds {_values(values)}; the model's masks hold 0 and 255")
            return (values >= self.threshold).astype(np.uint8)
        known = [*self.values, *self.ignore]
        meant = np.array([*range(len(self.values)), *[IGNORED] * len(self.ignore)], np.uint8)
        if values.dtype == np.uint8:  # a table needs no more memory than the mask itself
            table = np.full(256, _UNKNOWN, np.uint8)
            for value, place in zip(known, meant, strict=True):
                if 0 <= value < 256:
                    table[value] = place
            places = table[values]
        else:
            order = np.argsort(known)
            spots = order[np.clip(np.searchsorted(known, values, sorter=order), 0, len(known) - 1)]
            places = np.where(np.array(known)[spots] == values, meant[spots], np.uint8(_UNKNOWN))
        if (wrong := places == _UNKNOWN).any():
            raise DataError(
                f"{mask.name} holds {_values(values[wrong])}, which no label has (labels have "
                f"{listed(map(str, self.values), 6)}); give a name to each value in labels, or list it in ignore"
            )
        return np.asarray(places, np.uint8)

    def _colour_places(self, packed: NDArray[Any]) -> NDArray[np.uint8]:
        places = np.asarray(_places_by_colour(self.colours, self.ignore_colours)[packed], np.uint8)
        if (stray := places == _UNKNOWN).any():
            kinds, inverse = np.unique(packed[stray], return_inverse=True)
            known = pack(np.array([*self.colours, *self.ignore_colours]))
            near = nearest(kinds, known)[0]
            places[stray] = np.where(near < len(self.colours), near, IGNORED).astype(np.uint8)[inverse]
        return places


def _values(found: NDArray[Any]) -> str:
    kinds = np.unique(found).tolist()
    return f"the {'value' if len(kinds) == 1 else 'values'} {listed(map(str, kinds), 6)}"


@lru_cache(maxsize=4)
def _places_by_colour(colours: tuple[Colour, ...], ignored: tuple[Colour, ...]) -> NDArray[np.uint8]:
    """The place of each of the 2²⁴ colours; one look in a table is far quicker than to compare."""
    table = np.full(2**24, _UNKNOWN, np.uint8)
    for place, colour in [*enumerate(colours), *((IGNORED, colour) for colour in ignored)]:
        table[pack(np.array(colour))] = place
    return table


def pack(colours: NDArray[Any]) -> NDArray[Any]:
    """Red, green and blue in the last dimension as one number each."""
    red, green, blue = (colours[..., place].astype(np.int32) for place in range(3))
    return np.asarray(red << 16 | green << 8 | blue)


def unpack(packed: NDArray[Any]) -> NDArray[Any]:
    """Numbers as red, green and blue in a last dimension."""
    return np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], -1)


def nearest(packed: NDArray[Any], known: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each colour the place of the nearest known one, and how far it is in steps of red, green and blue."""
    among = unpack(known).astype(np.float32)
    place = np.empty(len(packed), np.int64)
    distance = np.empty(len(packed))
    for start in range(0, len(packed), 4096):  # a mask like a photo would otherwise fill the memory
        part = unpack(packed[start : start + 4096]).astype(np.float32)
        squares = ((part[:, None] - among[None]) ** 2).sum(-1)
        place[start : start + 4096] = squares.argmin(1)
        distance[start : start + 4096] = np.sqrt(squares.min(1))
    return place, distance


def label_colours(labels: Iterable[str], palette: Iterable[Colour] = ()) -> tuple[Colour, ...]:
    """A colour for each label: those of the palette if all differ, else ones that people can tell apart."""
    labels, palette = list(labels), list(palette)
    if len(palette) == len(labels) == len(set(palette)):
        return tuple(palette)
    start: list[Colour] = [(0, 0, 0)] if labels and is_background(labels[0]) else []
    colours = [*start, *_PALETTE]
    step = 0
    while len(colours) < len(labels):  # further ones walk through hues and shades
        step += 1
        angle, light = step * 0.618034 % 1, (235, 165, 105)[step % 3]
        rise = [max(0.0, min(1.0, abs((angle * 6 + shift) % 6 - 3) - 1)) for shift in (0, 4, 2)]
        red, green, blue = (round(light * (0.25 + 0.75 * share)) for share in rise)
        if (red, green, blue) not in colours:
            colours.append((red, green, blue))
    return tuple(colours[: len(labels)])


def is_background(label: str) -> bool:
    """Whether a label is what is left when everything else is taken away."""
    return label.strip().casefold() in _BACKGROUND


# ---------------------------------------------------------------------------------------------------------------------
# One file or array


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask as it was read.

    Args:
        name: how to call it in a message.
        pixels: values of shape (height, width), or red, green and blue of shape (height, width, 3).
        palette: the colours that values stand for, where the file says so.
        lossy: whether the file's format changes values.
    """

    name: str
    pixels: NDArray[Any]
    palette: tuple[Colour, ...] = field(default=())
    lossy: bool = False

    def packed(self) -> NDArray[Any]:
        """Each pixel's colour as one number."""
        if self.pixels.ndim == 3:
            return pack(self.pixels)
        if self.palette:
            colours = np.zeros((max(len(self.palette), int(self.pixels.max()) + 1), 3), np.int64)
            colours[: len(self.palette)] = self.palette
            return np.asarray(pack(colours)[self.pixels])
        if self.pixels.min() < 0 or self.pixels.max() > 255:
            raise DataError(f"{self.name} holds {_values(self.pixels)}; the other masks are in colours")
        return np.asarray(self.pixels.astype(np.int32) * 0x010101)

    def single_values(self) -> NDArray[Any]:
        """Each pixel's value; of a mask in red, green and blue that is grey all over, the grey."""
        if self.pixels.ndim == 2:
            return self.pixels
        grey = self.pixels[..., 0]
        if (self.pixels != grey[..., None]).any():
            raise DataError(f"{self.name} is in colours; the other masks hold one value for each pixel")
        return np.asarray(grey)

    def foreground(self) -> NDArray[np.bool_]:
        """Where a mask with one label has it."""
        values = self.pixels if self.pixels.ndim == 2 else self.pixels.max(-1)
        kinds = np.unique(values)
        if len(kinds) == 1 or (len(kinds) == 2 and kinds[0] == 0):
            return np.asarray(values != 0)
        if ((values < 48) | (values >= 208)).mean() < 0.9 or kinds[-1] < 208:
            raise DataError(f"{self.name} holds {_values(values)}; a mask of one label holds 0 and 255")
        return np.asarray(values >= 128)


def opened_mask(target: Any, name: str = "the mask") -> Mask:
    """A mask from a path, a PIL image, an array or a tensor, upright, with nothing scaled and nothing rounded.

    Raises:
        ImageError: a file cannot be read.
        DataError: it holds something that no mask holds.
    """
    if hasattr(target, "fetch"):
        return opened_mask(target.fetch(), str(target))
    encoded = isinstance(target, (str, bytes, Mapping)) or hasattr(target, "__fspath__")
    if not (encoded or hasattr(target, "getexif")):
        return Mask(name, _whole(_shaped(target, name), name))
    with images.opened(target) as picture:
        picture.load()
        pixels, palette = _picture_values(picture)
        orientation = images.orientation_of(picture)
        lossy = picture.format in ("JPEG", "MPO")
    name = printable(target) if isinstance(target, (str, os.PathLike)) else name
    return Mask(name, upright(_whole(pixels, name), orientation), palette, lossy)


def _picture_values(picture: Image) -> tuple[NDArray[Any], tuple[Colour, ...]]:
    mode = picture.mode
    if mode == "1":
        return np.asarray(picture).astype(np.uint8) * 255, ()  # as the same mask has it when saved with 8 bits
    if mode == "P":
        flat = picture.getpalette("RGB") or []
        return np.asarray(picture), tuple(zip(flat[::3], flat[1::3], flat[2::3], strict=True))
    if mode in ("L", "F") or mode.startswith("I"):
        return np.asarray(picture), ()
    if mode in ("RGBA", "LA", "PA", "La", "RGBa"):  # what is clear is the ground below
        pixels = np.array(picture.convert("RGBA"))
        pixels[pixels[..., 3] < 128] = 0
        return pixels[..., :3], ()
    return np.asarray(picture.convert("RGB")), ()


def _shaped(source: Any, name: str) -> NDArray[Any]:
    try:
        if hasattr(source, "detach"):  # a tensor, known without importing torch
            source = source.detach().cpu().numpy()
        values = np.asarray(source)
    except Exception as error:
        raise DataError(
            f"{name}: expected a path, a PIL image, an array or a tensor, found {type(source).__name__}"
        ) from (error)
    if values.dtype.kind not in "buif":
        raise DataError(f"{name}: expected a path, a PIL image, an array or a tensor, found {type(source).__name__}")
    if values.dtype.kind == "b":
        values = values.astype(np.uint8) * 255
    if values.ndim == 3 and values.shape[-1] not in (1, 3) and values.shape[0] in (1, 3):
        values = values.transpose(1, 2, 0)
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.size == 0 or values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[-1] != 3):
        raise DataError(f"{name}: expected shape (height, width) or (height, width, 3), found {np.shape(source)}")
    return values


def _whole(values: NDArray[Any], name: str) -> NDArray[Any]:
    """The values as whole numbers; a mask of shares or probabilities is none."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        raise DataError(f"{name} holds fractions; a mask holds whole numbers, one for each label")
    whole = values.astype(np.int64)
    if values.ndim == 3 and (whole.min() < 0 or whole.max() > 255):
        raise DataError(f"{name} holds colours outside 0 to 255")
    return whole


# ---------------------------------------------------------------------------------------------------------------------
# Sizes, and several layers


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The pixels turned and mirrored as an EXIF orientation says, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def fitted(mask: Mask, size: tuple[int, int]) -> Mask:
    """The mask, if it has the width and height of its image.

    Raises:
        DataError: the sizes differ.
    """
    height, width = mask.pixels.shape[:2]
    if (width, height) != size:
        raise SizeError(f"{mask.name} has {width} × {height} pixels and its image {size[0]} × {size[1]}")
    return mask


class SizeError(DataError):
    """A mask and its image have different sizes."""


def stacked(target: Any, size: tuple[int, int]) -> tuple[NDArray[np.uint8], int]:
    """The mask made of several files or regions, and how many pixels belong to several labels.

    Where labels overlap, the smaller layer is on top: a large one would hide it whole. A layer that does not count
    lies below all others.
    """
    if isinstance(target, Regions):
        if target.size not in (None, size):
            declared = " × ".join(map(str, target.size or ()))
            name = f"{printable(target.image)} in {printable(target.file)}"
            raise SizeError(f"{name} has {declared} pixels and its image {size[0]} × {size[1]}")
        return _stack(((region.place, region.drawn(*size)) for region in target.regions), *size)
    files = ((place, fitted(opened_mask(path), size)) for place, path in target)
    return _stack(((place, mask.foreground()) for place, mask in files), *size)


def _stack(layers: Iterable[tuple[int, NDArray[np.bool_]]], width: int, height: int) -> tuple[NDArray[np.uint8], int]:
    mask = np.zeros((height, width), np.uint8)
    below, ground = 2**32 - 2, 2**32 - 1
    area_on_top = np.full((height, width), ground, np.uint32)
    several = np.zeros((height, width), bool)
    for place, inside in layers:
        area = below if place == IGNORED else int(np.count_nonzero(inside))
        if place != IGNORED:
            several |= inside & (area_on_top < below) & (mask != place)
        visible = inside & (area_on_top > area)
        mask[visible], area_on_top[visible] = place, area
    return mask, int(np.count_nonzero(several))
