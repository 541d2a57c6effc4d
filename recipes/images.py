"""Read a picture and prepare it for a network: one way in, for training, validation and prediction alike.

Only Pillow and numpy are needed here (augmentation by policy adds torchvision, in training only), so that a prepared
picture costs no torch import.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, ImageEnhance, ImageOps, UnidentifiedImageError

from recipes.display import counted
from recipes.errors import DataError, ImageError, OptionError, RecipesError, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Formats are found by content, never by suffix. A closed list, because Pillow would start Ghostscript for a file that
# is called photo.jpg and holds EPS.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PPM")

#: Suffixes that picture files have; a file with another suffix is looked at by its first bytes.
SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in "jpg jpeg jpe jfif png apng webp bmp dib gif tif tiff avif ppm pgm pbm pnm".split()  # noqa: SIM905
)

# Files and folders that systems and programs leave behind; nobody wants to hear of them.
_JUNK = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "icon\r"})

# The first bytes of the formats above, for files without a known suffix.
_MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|II\*\x00|MM\x00\*|P[1-6]\s|RIFF....WEBP|....ftypavif|BM....\x00\x00\x00\x00",
    re.DOTALL,
)

_EXIF_ORIENTATION = 0x0112

# JPEGs can be decoded at 1/2, 1/4 or 1/8 of their size at a fraction of the cost. The decoded picture stays at least
# this many times larger than what is needed of it, so that the last step is an antialiased resize as for other files.
_SPARE = 1.5

# A picture whose size is declared too large raises in Pillow; its warning for half that size would alarm without need,
# and the ones about odd EXIF or palettes tell of things handled below.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@dataclass(frozen=True)
class Augment:
    """How a training picture is varied; nothing of this happens in validation or prediction.

    Args:
        crop_scale: the smallest share of the picture's area that a random crop keeps, 0 to 1; 1 crops nothing.
        crop_ratio: the most by which a crop's shape is stretched, as a factor, as in Szegedy et al. 2015 (4/3).
        hflip: the probability of a mirrored picture.
        color_jitter: by how much brightness, contrast and saturation vary; 0.2 is up to a fifth more or less.
        auto_augment: `none`, `trivialaugment` (Müller & Hutter 2021) or `randaugment` (Cubuk et al. 2019).
        random_erasing: the probability that a rectangle is erased (Zhong et al. 2017).
    """

    crop_scale: float = 1.0
    crop_ratio: float = 4 / 3
    hflip: float = 0.0
    color_jitter: float = 0.0
    auto_augment: str = "none"
    random_erasing: float = 0.0


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes the network's input; saved with the model and the same wherever the model runs.

    Args:
        size: side of the square that the network sees, in pixels.
        resize: `squash` keeps the whole picture and changes its shape; `crop` keeps its shape and takes the centre;
            `pad` keeps both and fills the rest with the mean colour.
        crop_pct: with `crop`, the share of the resized picture's side that the centre has; 1 for the other two.
        interpolation: `bilinear` or `bicubic`, both antialiased.
        mean: mean of the red, green and blue values, as shares of 255, that normalisation takes away.
        std: standard deviation, likewise, that normalisation divides by.
    """

    size: int = 224
    resize: Literal["squash", "crop", "pad"] = "squash"
    crop_pct: float = 1.0
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if not 8 <= self.size <= 8192:
            raise OptionError(f"size={self.size} cannot be: the network sees squares of 8 to 8,192 pixels")
        if not 0.05 <= self.crop_pct <= 1:
            raise OptionError(f"crop_pct={self.crop_pct} cannot be: it is a share from 0.05 to 1")
        if not all(math.isfinite(value) for value in self.mean) or not all(1e-6 < value < 1e6 for value in self.std):
            raise OptionError(f"mean={self.mean}, std={self.std} cannot be: they are shares of 255, std above 0")

    def pixels(self, source: Any) -> NDArray[np.uint8]:
        """The picture as the network sees it: red, green and blue as uint8, shape (size, size, 3).

        `source` is whatever `opened` takes. The three ways of resizing round as timm's own
        transforms do, so that a saved model opened in timm sees the same pixels.
        """
        with opened(source) as lazy:
            width, height = displayed_size(lazy)
            if self.resize == "squash":
                return _array(loaded(lazy, self.size, self.size).resize((self.size, self.size), self._filter))
            if self.resize == "crop":
                side = math.floor(self.size / self.crop_pct)
                long = int(side * max(width, height) / min(width, height))
                target = (side, long) if width <= height else (long, side)
                picture = loaded(lazy, *target).resize(target, self._filter)
                left, top = (round((extent - self.size) / 2.0) for extent in target)
                return _array(picture.crop((left, top, left + self.size, top + self.size)))
            ratio = max(width, height) / self.size
            target = (max(1, round(width / ratio)), max(1, round(height / ratio)))
            picture = loaded(lazy, *target).resize(target, self._filter)
            ground = Image.new("RGB", (self.size, self.size), tuple(round(255 * value) for value in self.mean))
            ground.paste(picture, ((self.size - target[0]) // 2, (self.size - target[1]) // 2))
            return _array(ground)

    def augmented(self, source: Any, augment: Augment, rng: np.random.Generator) -> NDArray[np.uint8]:
        """A random view of the picture for training, same shape and type as `pixels`; all chance comes from `rng`."""
        with opened(source) as lazy:
            left, top, right, bottom = _random_box(*displayed_size(lazy), augment, self.resize, rng)
            picture = loaded(lazy, round(self.size / (right - left)), round(self.size / (bottom - top)))
            width, height = picture.size
            box = (left * width, top * height, right * width, bottom * height)
            view = picture.resize((self.size, self.size), self._filter, box=box)
        if rng.random() < augment.hflip:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        view = jittered(view, augment.color_jitter, rng)
        if augment.auto_augment != "none":
            view = _policy(view, augment.auto_augment, int(rng.integers(2**62)))
        result = _array(view)
        if rng.random() < augment.random_erasing:
            erase(result, rng)
        return result

    @property
    def _filter(self) -> Image.Resampling:
        return Image.Resampling.BICUBIC if self.interpolation == "bicubic" else Image.Resampling.BILINEAR


def _random_box(
    width: int, height: int, augment: Augment, resize: str, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """A random crop as shares of width and height.

    Its shape is stretched around the shape that the network will see at prediction: that of the picture when it is
    squashed, a square otherwise.
    """
    area = rng.uniform(augment.crop_scale, 1.0)
    stretch = math.exp(rng.uniform(-1.0, 1.0) * math.log(augment.crop_ratio)) if augment.crop_scale < 1 else 1.0
    if resize != "squash":
        stretch *= height / width
        area *= 1.0 if resize == "pad" else min(width, height) / max(width, height)
    share_x, share_y = min(1.0, math.sqrt(area * stretch)), min(1.0, math.sqrt(area / stretch))
    left, top = rng.uniform(0.0, 1.0 - share_x), rng.uniform(0.0, 1.0 - share_y)
    return left, top, left + share_x, top + share_y


# Torch has one global generator for all threads; only one of them may have it seeded at a time.
_TORCH_GENERATOR = threading.Lock()


def _policy(view: Image.Image, name: str, seed: int) -> Image.Image:
    """The picture under a random policy of torchvision, which draws from torch's global generator: seeded, put back."""
    import torch

    with _TORCH_GENERATOR, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        varied: Image.Image = _policies(name)(view)
    return varied


@lru_cache
def _policies(name: str) -> Any:
    from torchvision.transforms import v2

    return {"trivialaugment": v2.TrivialAugmentWide, "randaugment": v2.RandAugment}[name](
        interpolation=v2.InterpolationMode.BILINEAR, fill=124
    )


def jittered(view: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """The picture with brightness, contrast and saturation each changed by a random factor of up to 1 ± strength."""
    if strength:
        for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            view = kind(view).enhance(rng.uniform(1 - strength, 1 + strength))
    return view


def erase(pixels: NDArray[np.uint8], rng: np.random.Generator) -> tuple[slice, slice]:
    """Fill a random rectangle of 2 to 33 % of the area with noise, in place; rows and columns that it covers."""
    size = pixels.shape[0]
    area, ratio = rng.uniform(0.02, 0.33) * size * size, math.exp(rng.uniform(math.log(0.3), math.log(3.3)))
    high, wide = min(size, max(1, round(math.sqrt(area * ratio)))), min(size, max(1, round(math.sqrt(area / ratio))))
    top, left = int(rng.integers(size - high + 1)), int(rng.integers(size - wide + 1))
    place = slice(top, top + high), slice(left, left + wide)
    pixels[place] = rng.integers(0, 256, (high, wide, 3), dtype=np.uint8)
    return place


# ---------------------------------------------------------------------------------------------------------------------
# Reading


@contextmanager
def opened(source: Any) -> Iterator[Image.Image]:
    """A picture from whatever holds one; the pixels of a file are not read yet.

    What goes wrong with the picture, here or inside the block, is raised as an error that names it.

    Args:
        source: a path, a PIL image, an array, a tensor, the bytes of a file, a dict with `bytes` or `path` as data sets
            have it, or what has a method `fetch` that gives one of these and is called by its `str`.

    Raises:
        ImageError: the file is missing, not a regular file, empty, damaged, or not a picture.
        DataError: an array or tensor has a shape or values that no picture has.
    """
    name = ""
    if not isinstance(source, (str, os.PathLike, Image.Image)):
        source, name = _fetched(source)
    callers = isinstance(source, Image.Image)
    if not isinstance(source, (str, os.PathLike, Image.Image, io.BytesIO)):
        source = _from_array(source, name)
    path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else ""
    name = name or printable(path or getattr(source, "filename", "")) or "the picture"
    try:
        if isinstance(source, Image.Image):
            yield source.copy() if callers else source  # what comes must not change the caller's picture
            return
        if path and not stat.S_ISREG(mode := os.stat(path).st_mode):
            raise ImageError(name, "is a folder" if stat.S_ISDIR(mode) else "is no regular file")
        with Image.open(path or source, formats=_formats()) as picture:
            if picture.format not in ("JPEG", "MPO"):
                # Once, here, and never again: asking a PNG for its EXIF loads it, too, and after a failure a second
                # load would pass with half the pixels. JPEGs wait, so that they can be decoded small.
                picture.load()
            yield picture
    except RecipesError:
        raise
    except Exception as error:
        raise ImageError(name, _reason(source if isinstance(source, io.BytesIO) else path, error)) from error


def _fetched(source: Any) -> tuple[Any, str]:
    """A path, a file in memory, a PIL image or something like an array; and its name, where it is none of a file."""
    name = ""
    if hasattr(source, "fetch"):
        # What has no words of its own would tell its address.
        own = any(getattr(type(source), one) is not getattr(object, one) for one in ("__str__", "__repr__"))
        name = printable(str(source)) if own else "the picture"
        try:
            source = source.fetch()
        except Exception as error:
            said = printable(str(error).partition("\n")[0])
            raise ImageError(name, f"cannot be fetched ({type(error).__name__}: {said})") from error
    if isinstance(source, Mapping):
        content, path = source.get("bytes"), source.get("path")
        if content is None and not path:
            known = {*source} & {"bytes", "path"}
            raise ImageError(name or "the picture", "is empty" if known else "is a dict without bytes and path")
        # What has both was read from that file, perhaps on another machine.
        source, name = (path, name) if content is None else (content, name or printable(path or ""))
    if isinstance(source, (str, os.PathLike)) and name:
        name = f"{name} ({printable(source)})"
    if isinstance(source, (bytes, bytearray, memoryview)):
        source = io.BytesIO(source)
    return source, name


def size_of(source: Any) -> tuple[int, int]:
    """Width and height of a picture from whatever `opened` takes."""
    with opened(source) as lazy:
        return displayed_size(lazy)


def displayed_size(picture: Image.Image) -> tuple[int, int]:
    """Width and height as a viewer shows the picture, its EXIF orientation applied."""
    width, height = picture.size
    return (height, width) if orientation_of(picture) >= 5 else (width, height)


def orientation_of(picture: Image.Image) -> int:
    """How the picture lies in its file, as EXIF counts it: 1 is upright, 5 to 8 are turned by a quarter."""
    try:
        value = picture.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # broken EXIF says nothing about the pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def loaded(lazy: Image.Image, width: int, height: int) -> Image.Image:
    """The decoded picture, upright, as RGB, with at least about `width` × `height` pixels where the file has them."""
    orientation = orientation_of(lazy)
    if orientation >= 5:
        width, height = height, width
    if lazy.format in ("JPEG", "MPO"):
        lazy.draft(None, (math.ceil(_SPARE * width), math.ceil(_SPARE * height)))
    lazy.load()  # once and never again: after a failure a second load would pass with half the pixels
    return as_rgb(ImageOps.exif_transpose(lazy) if orientation > 1 else lazy)


def as_rgb(picture: Image.Image) -> Image.Image:
    """Any mode as 8-bit RGB: transparency on white, 16-bit and float values scaled instead of cut off at 255."""
    mode = picture.mode
    if mode == "RGB" and "transparency" not in picture.info:
        return picture
    if mode.startswith("I"):
        values = np.asarray(picture).astype(np.float64)
        deep = mode.startswith("I;16") or values.max() > 255  # 65,535 / 255 = 257
        return _grey(values / 257.0 if deep else values)
    if mode == "F":
        values = np.nan_to_num(np.asarray(picture).astype(np.float64))
        low, high = float(values.min()), float(values.max())
        if low >= 0 and high <= 1:
            return _grey(values * 255.0)
        return _grey(values if low >= 0 and high <= 255 else (values - low) / max(high - low, 1e-12) * 255.0)
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return picture.convert("RGB")


def _grey(values: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8)).convert("RGB")


def _array(picture: Image.Image) -> NDArray[np.uint8]:
    return np.array(picture, dtype=np.uint8)


def _from_array(source: Any, name: str) -> Image.Image:
    """An array or tensor as a picture: (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels.

    Raises:
        ImageError: it is none, and was fetched by this name.
        DataError: it is none.
    """
    try:
        return _picture_of(source)
    except DataError as error:
        if not name:
            raise
        raise ImageError(name, f"cannot be used: {error}") from error


def _picture_of(source: Any) -> Image.Image:
    try:
        if hasattr(source, "detach"):  # a tensor, known without importing torch
            source = source.detach().cpu()
            source = (source.float() if source.is_floating_point() else source).numpy()  # numpy has no bfloat16
        values = np.asarray(source)
    except Exception as error:
        raise _unknown(source) from error
    if values.dtype == object or values.dtype.kind not in "buif":
        raise _unknown(source)
    channels = (1, 3, 4)
    if values.ndim == 3 and values.shape[2] not in channels and values.shape[0] in channels:
        values = values.transpose(1, 2, 0)
    if values.ndim not in (2, 3) or values.size == 0 or (values.ndim == 3 and values.shape[2] not in channels):
        raise DataError(
            f"expected one picture of shape (height, width), (height, width, channels) or (channels, height, width) "
            f"with 1, 3 or 4 channels, found shape {values.shape}"
        )
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    return Image.fromarray(_as_uint8(values))


def _unknown(source: Any) -> DataError:
    kind = type(source).__name__
    return DataError(f"expected a path, a PIL image, an array, a tensor or the bytes of a file, found {kind}")


def _as_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    low, high = float(values.min()), float(values.max())
    kind = values.dtype.kind
    if values.dtype == np.uint16:
        scale = 1 / 257.0
    elif kind == "b" or (kind == "f" and low >= 0.0 and high <= 1.0):
        scale = 255.0
    elif kind in "ui" and low >= 0 and high <= 255:
        scale = 1.0
    else:
        raise DataError(
            f"expected pixel values 0 to 255 as integers or 0 to 1 as floats, found {values.dtype} from {low:g} to "
            f"{high:g}; pass the picture before normalisation"
        )
    return np.asarray((values.astype(np.float64) * scale).round(), np.uint8)


def _reason(source: str | io.BytesIO, error: Exception) -> str:
    """Why a file is no picture, in words, from its first bytes and Pillow's error."""
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, PermissionError):
        return "may not be read (no permission)"
    if isinstance(error, Image.DecompressionBombError):
        return f"declares more pixels than is safe to open ({2 * (Image.MAX_IMAGE_PIXELS or 0):,} at most)"
    try:
        with io.BytesIO(source.getbuffer()[:32]) if isinstance(source, io.BytesIO) else open(source, "rb") as file:
            head = file.read(32)
    except (OSError, ValueError, TypeError):
        return f"cannot be read ({type(error).__name__}: {printable(str(error))})"
    if not head:
        return "is empty (0 bytes)"
    if b"ftyphei" in head or b"ftypmif1" in head or b"ftyphev" in head:
        return "is HEIC, which Pillow cannot read; convert it to JPEG first"
    if head.lstrip()[:5].lower() in (b"<!doc", b"<html", b"<?xml", b"<svg "):
        return "is a web page or drawing (HTML, XML or SVG), not a picture of pixels"
    if isinstance(error, UnidentifiedImageError):
        return "is not a picture in a known format (JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, PNM)"
    return f"is damaged ({printable(str(error)) or type(error).__name__})"


@lru_cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)  # Pillow may be built without AVIF or WebP


# ---------------------------------------------------------------------------------------------------------------------
# Finding files


def ignored(name: str) -> bool:
    """Whether a file or folder is one that systems leave behind, such as `.DS_Store`, and is passed over silently."""
    return name.startswith(".") or name.lower() in _JUNK


def looks_like_picture(path: str) -> bool:
    """Whether a file is a picture by its suffix or, without a known one, by its first bytes."""
    return os.path.splitext(path)[1].lower() in SUFFIXES or begins_like_picture(path)


def begins_like_picture(path: str) -> bool:
    """Whether a file's first bytes are those of a picture."""
    try:
        return _MAGIC.match(first_bytes(path, 16)) is not None
    except (OSError, ValueError):
        return False


# Never wait for somebody to write into a pipe that is called photo.jpg; and no line ends on Windows.
_PLAINLY = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def first_bytes(path: str | os.PathLike[str], number: int) -> bytes:
    """The first bytes of a file, as fast as can be, for very many files."""
    file = os.open(path, _PLAINLY)
    try:
        return os.read(file, number)
    finally:
        os.close(file)


def formats_of(suffix: str) -> set[str]:
    """The formats, as Pillow calls them, that a suffix such as `.jpg` stands for."""
    Image.init()
    found = Image.registered_extensions().get(suffix, "")
    return {"JPEG", "MPO"} if found in ("JPEG", "MPO") else {found}


Seen = set[tuple[int, int]]


def identity(folder: str) -> tuple[int, int]:
    """What two paths to the same real folder have in common."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a regular file; a link that leads to itself is none."""
    try:
        return entry.is_file()
    except OSError:
        return False


def leads_nowhere(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a link to what does not exist, or to itself."""
    return entry.is_symlink() and not os.path.exists(entry.path)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a folder; a link that leads to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def walk(folder: str, seen: Seen) -> Iterator[os.DirEntry[str]]:
    """All regular files below a folder, sorted by name; links are followed, each real folder is visited once.

    A link that leads nowhere is among them, so that whoever reads it says that it cannot be read.
    """
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        if identity(here) in seen:
            continue
        seen.add(identity(here))
        with os.scandir(here) as found:
            entries = sorted((entry for entry in found if not ignored(entry.name)), key=lambda entry: entry.name)
        yield from (entry for entry in entries if is_file(entry) or leads_nowhere(entry))
        waiting.extend(entry.path for entry in reversed(entries) if is_folder(entry))


def pictures_in(folder: str | Path, seen: Seen | None = None) -> tuple[list[str], list[str]]:
    """The pictures below a folder and the files that are none, both as paths in order.

    Args:
        folder: is searched to any depth.
        seen: real folders that belong elsewhere and are not entered.

    Raises:
        DataError: the folder cannot be read.
    """
    pictures: list[str] = []
    others: list[str] = []
    try:
        for entry in walk(os.fspath(folder), set() if seen is None else seen):
            (pictures if looks_like_picture(entry.path) else others).append(entry.path)
    except OSError as error:
        raise DataError(f"{printable(folder)} cannot be read ({error.strerror})") from error
    return pictures, others


def left_out(others: list[str]) -> str:
    """What was passed over, by suffix and count: `2 .heic (convert them to JPEG), 1 .txt`."""
    counts: dict[str, int] = {}
    for path in others:
        suffix = os.path.splitext(path)[1].lower() or "without a suffix"
        counts[suffix] = counts.get(suffix, 0) + 1
    remedy = {".heic": " (convert them to JPEG)", ".heif": " (convert them to JPEG)", ".svg": " (drawings)"}
    kinds = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return f"{counted(len(others), 'other file')}: " + ", ".join(
        f"{number} {printable(suffix)}{remedy.get(suffix, '')}" for suffix, number in kinds[:6]
    )
