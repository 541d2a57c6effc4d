"""Masks as files and as pictures: index and binary PNG, overlays, COCO RLE, exact polygons, contact sheets.

A mask is an array of bytes, (height, width), that holds each pixel's place in the list of labels; `IGNORED` counts for
nothing. The first label is the background, which overlays leave clear and binary files, RLE and polygons leave out.
No torch is needed here. Beside itself, a mask of 12,000 × 12,000 pixels takes about 0.3 GB of memory, and for an
overlay 0.75 GB and what the file takes.
"""

from __future__ import annotations

import io
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from recipes import images
from recipes.artifact import json_bytes, write_file
from recipes.crops import IGNORED
from recipes.errors import DataError, OptionError, OutputError, did_you_mean, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.uint8]
    Colour = tuple[int, int, int]

#: The kinds of files that a mask can be written as.
FORMATS = ("index", "binary", "overlay", "rle", "polygons")

#: The value of pixels that count for nothing, and the colour they are shown in (that of Pascal VOC).
IGNORED_COLOUR = (224, 224, 192)

# Stands at the head of every file written here: only files with it are ever replaced.
_MARK = "torch-recipes"

_STRIP = 256  # rows that are worked on at a time, so that memory does not grow with the picture

# The pixels around a corner, north-west being 1, and how many outlines turn there for each set of them.
_NE, _SW, _SE = np.array([2, 4, 8], np.uint8)
_CORNERS = np.array([0, 1, 1, 0, 1, 0, 2, 1, 1, 2, 0, 1, 0, 1, 1, 0], np.uint8)


# ---------------------------------------------------------------------------------------------------------------------
# Files


def write_mask(
    folder: str | os.PathLike[str],
    name: str,
    mask: Mask,
    labels: Sequence[str],
    colours: Sequence[Colour],
    kind: str,
    picture: Any = None,
    *,
    overwrite: bool = False,
    inputs: Collection[tuple[int, int]] = (),
    least: int = 0,
    background: bool = False,
) -> list[Path]:
    """Write one mask into a folder, each file whole or not at all, and say which files it became.

    Args:
        folder: where to; made if it does not exist.
        name: the files' name without suffix, such as `output_names` gives; it may hold folders.
        mask: the places of the labels, (height, width).
        labels: the labels' names.
        colours: the labels' colours, red, green and blue, 0 to 255.
        kind: `index` is NAME.png with a palette; `binary` is NAME.png of 0 and 255 for two labels, otherwise
            NAME/LABEL.png for each; `overlay` is the mask over the picture, NAME.jpg for a JPEG, otherwise NAME.png;
            `rle` is NAME.json with COCO's run-length code for each label; `polygons` is NAME.geojson with the exact
            outline of each connected region, in pixels from the top left corner.
        picture: what the mask was predicted from: a path, a PIL image or an array; the overlay needs it, and its path
            stands in the JSON files.
        overwrite: whether files that recipes wrote may be replaced; others never are.
        inputs: the `identities` of files that must stay as they are.
        least: with `polygons`, the fewest pixels of a region that is kept.
        background: whether the first label is drawn and written as well.

    Raises:
        OptionError: there is no such kind of file, or the overlay's picture is missing.
        DataError: the mask does not fit the labels or the picture.
        OutputError: a file is there already, is an input, or cannot be written.
    """
    if kind not in FORMATS:
        raise OptionError(
            f"masks are written as {', '.join(FORMATS)}, not {printable(kind)!r}{did_you_mean(kind, FORMATS)}"
        )
    if kind == "overlay" and picture is None:
        raise OptionError("kind='overlay' needs the picture that the mask lies on; pass picture=")
    counts = _counts(mask, labels)
    shown = [place for place in range(0 if background else 1, len(labels)) if counts[place] or kind == "binary"]
    file = picture if isinstance(picture, (str, os.PathLike)) else getattr(picture, "filename", None)
    head = {"creator": _MARK, "image": os.fspath(file or name), "size": list(mask.shape)}
    make: dict[str, Callable[[], bytes]]
    if kind == "index":
        make = {".png": partial(_index, mask, colours)}
    elif kind == "binary":
        endings = dict.fromkeys(shown, ".png") if len(shown) == 1 else _endings(labels)
        make = {endings[place]: partial(_binary, mask, place) for place in shown}
    elif kind == "overlay":
        suffix = ".jpg" if _is_jpeg(picture, mask) else ".png"
        make = {suffix: lambda: _encoded(overlay(picture, mask, colours, background=background), suffix)}
    elif kind == "rle":
        make = {".json": lambda: json_bytes({**head, "annotations": list(_annotations(mask, labels, shown))})}
    else:
        make = {".geojson": lambda: _collection(head, _features(mask, labels, shown, least))}
    paths = {Path(folder) / f"{name}{ending}": content for ending, content in make.items()}
    for path in paths:
        _check_free(path, overwrite, inputs, identities([file] if file else []))
    for path, content in paths.items():
        _make_folder(path.parent)
        write_file(path, content())
    return list(paths)


def identities(files: Iterable[str | os.PathLike[str]]) -> set[tuple[int, int]]:
    """What `write_mask` must not touch: the files themselves, whatever path leads to them."""
    return {images.identity(os.fspath(file)) for file in files if os.path.exists(file)}


def _check_free(path: Path, overwrite: bool, *inputs: Collection[tuple[int, int]]) -> None:
    if not os.path.lexists(path):
        return
    if any(identity in some for identity in identities([path]) for some in inputs):
        raise OutputError(f"{printable(path)} is one of the inputs; choose another folder for the masks")
    if overwrite and not _ours(path):
        raise OutputError(f"{printable(path)} is there and recipes did not write it; choose another folder")
    if not overwrite:
        raise OutputError(
            f"{printable(path)} exists already; choose another folder, or replace it with overwrite=True (--overwrite)"
        )


def _ours(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return _MARK.encode() in file.read(512)
    except OSError:
        return False


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{printable(folder)} cannot be written ({reason}); choose another folder") from error


def _is_jpeg(picture: Any, mask: Mask) -> bool:
    """Whether the picture has lost what a JPEG loses, and its mask fits into one."""
    if isinstance(picture, (str, os.PathLike)):
        jpeg = os.path.splitext(picture)[1].lower() in (".jpg", ".jpeg", ".jpe", ".jfif")
    else:
        jpeg = getattr(picture, "format", None) in ("JPEG", "MPO")
    return jpeg and max(mask.shape) < 65_500


def _encoded(picture: Image.Image, suffix: str) -> bytes:
    file = io.BytesIO()
    if suffix == ".jpg":
        picture.save(file, "JPEG", quality=92, subsampling=0, comment=_MARK)  # coarser colour would blur the outlines
    else:
        mark = PngImagePlugin.PngInfo()
        mark.add_text("Software", _MARK)
        picture.save(file, "PNG", pnginfo=mark, icc_profile=None)
    return file.getvalue()


def _index(mask: Mask, colours: Sequence[Colour]) -> bytes:
    picture = Image.fromarray(mask)
    # As short as it can be: Pillow then packs masks of two labels into one bit.
    palette = _palette(colours) if mask.max() == IGNORED else np.array(colours, np.uint8)
    picture.putpalette(palette.tobytes())
    return _encoded(picture, ".png")


def _binary(mask: Mask, place: int) -> bytes:
    return _encoded(Image.fromarray((mask == place).view(np.uint8) * np.uint8(255)), ".png")


def _endings(labels: Sequence[str]) -> dict[int, str]:
    """What follows a mask's name in the file of each label: `/LABEL.png`, safe as a file name, all different."""
    taken: dict[str, int] = {}
    safe = (re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]|^\.+', "_", label)[:80] or "_" for label in labels)
    return {place: f"/{_free([one], taken)}.png" for place, one in enumerate(safe)}


def _annotations(mask: Mask, labels: Sequence[str], places: Sequence[int]) -> Iterator[dict[str, Any]]:
    from pycocotools import mask as coco

    columns = np.asfortranarray(mask)  # COCO runs down the columns
    for place in places:
        code = coco.encode((columns == place).view(np.uint8))
        segmentation = {"size": list(mask.shape), "counts": code["counts"].decode("ascii")}
        box = [int(value) for value in coco.toBbox(code)]
        yield {"label": labels[place], "segmentation": segmentation, "area": int(coco.area(code)), "bbox": box}


def _features(mask: Mask, labels: Sequence[str], places: Sequence[int], least: int) -> Iterator[dict[str, Any]]:
    for place in places:
        for area, rings in _regions(mask == place):
            if area >= least:
                geometry = {"type": "Polygon", "coordinates": rings}
                properties = {"label": labels[place], "area": area}
                yield {"type": "Feature", "properties": properties, "geometry": geometry}


def _collection(head: dict[str, Any], features: Iterable[dict[str, Any]]) -> bytes:
    """GeoJSON with a line for each feature."""
    first = json.dumps({"type": "FeatureCollection", **head})[:-1]
    lines = ",\n".join(json.dumps(feature, separators=(",", ":")) for feature in features)
    return f'{first}, "features": [\n{lines}\n]}}\n'.encode("ascii")


# ---------------------------------------------------------------------------------------------------------------------
# Figures and outlines


def areas(mask: Mask, labels: Sequence[str]) -> dict[str, float]:
    """The share of the pixels that each label has, 0 to 1; ignored pixels do not count."""
    counts = _counts(mask, labels)[: len(labels)]
    total = max(1, int(counts.sum()))
    return {label: int(count) / total for label, count in zip(labels, counts, strict=True)}


def _counts(mask: Mask, labels: Sequence[str]) -> NDArray[np.int64]:
    """How many pixels have each value, 0 to 255.

    Raises:
        DataError: it is no mask, or has values that stand for no label.
    """
    if mask.dtype != np.uint8 or mask.ndim != 2 or not mask.size:
        raise DataError(f"expected a mask of bytes, (height, width), found {mask.dtype} of shape {mask.shape}")
    counts = np.array(Image.fromarray(mask).histogram(), np.int64)
    strange = [value for value in np.flatnonzero(counts).tolist() if len(labels) <= value != IGNORED]
    if strange:
        raise DataError(f"the mask holds the values {strange[:5]}, but there are {len(labels)} labels, 0 and up")
    return counts


def _regions(inside: NDArray[np.bool_]) -> Iterator[tuple[int, list[list[list[int]]]]]:
    """Each region of pixels that hang together by their sides: how many they are, and its rings, the outer one first.

    A ring runs along the edges of pixels from corner to corner, so that it covers exactly the pixels it was made from,
    and turns as RFC 7946 wants it: outer rings from x to y, holes from y to x. A line of edges in a row is a segment,
    and the next segment of its ring begins where the column at its end leads. Where pixels of one region meet at a
    corner alone, the ring is taken apart, so that none touches itself.
    """
    x, y, code = _corners(inside)
    starts = np.arange(0, len(x), 2) + ((code[0::2] & _SE) == 0)  # to the right where the region lies below
    second = np.append(False, (x[1:] == x[:-1]) & (y[1:] == y[:-1]))  # of two corners in one place
    lower = second ^ (code == _NE | _SW)  # which of the two a column takes second: pixels that meet there stay apart
    ring, walk, columns = _traced(x, y, starts, lower)
    meeting = np.flatnonzero(second)
    own = meeting[ring[meeting // 2] == ring[meeting // 2 - 1]]
    if len(own):
        lower[own] ^= True
        lower[own - 1] ^= True
        ring, walk, columns = _traced(x, y, starts, lower)
    area = np.bincount(ring, weights=(x[starts] - x[starts ^ 1]) * y[starts]).astype(np.int64)  # below 0 for holes
    points = np.stack([x, y], axis=1)[np.stack([starts[walk], starts[walk] ^ 1], axis=1).ravel()]
    rings = np.split(points, np.cumsum(2 * np.bincount(ring))[:-1])
    members: dict[int, list[int]] = {}
    tops = columns[0::2]
    for number, outer in enumerate(_owners(inside, x[tops], y[tops], ring[tops // 2], area)):
        members.setdefault(outer, []).append(number)
    for numbers in members.values():
        yield int(area[numbers].sum()), [[*rings[one].tolist(), rings[one][0].tolist()] for one in numbers]


def _corners(inside: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """The corners of the outlines, row by row: x, y and which pixels around belong; twice where two pixels meet."""
    height, width = inside.shape
    found = []
    for top in range(0, height + 1, _STRIP):
        bottom = min(top + _STRIP, height + 1)
        around = np.zeros((bottom - top + 1, width + 2), np.uint8)
        rows = inside[max(0, top - 1) : bottom]
        first = int(top == 0)
        around[first : first + len(rows), 1:-1] = rows
        code = around[:-1, :-1] + _NE * around[:-1, 1:] + _SW * around[1:, :-1] + _SE * around[1:, 1:]
        y, x = np.nonzero(_CORNERS[code])
        found.append((x, y + top, code[y, x]))
    x, y, code = (np.concatenate(part) for part in zip(*found, strict=True))
    times = _CORNERS[code]
    return np.repeat(x, times), np.repeat(y, times), np.repeat(code, times)


def _traced(
    x: NDArray[np.int64], y: NDArray[np.int64], starts: NDArray[np.int64], lower: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The ring of each segment, the segments ring by ring, and the corners column by column."""
    columns = np.lexsort((lower, y, x))
    partner = np.empty_like(columns)
    partner[columns] = columns.reshape(-1, 2)[:, ::-1].ravel()
    following = (partner[starts ^ 1] // 2).tolist()
    ring, walk, number = [-1] * len(following), [], 0
    for first in range(len(following)):
        here = first
        while ring[here] < 0:
            ring[here] = number
            walk.append(here)
            here = following[here]
        number += ring[first] == number
    return np.array(ring), np.array(walk), columns


def _owners(
    inside: NDArray[np.bool_],
    left: NDArray[np.int64],
    top: NDArray[np.int64],
    ring: NDArray[np.int64],
    area: NDArray[np.int64],
) -> list[int]:
    """For each ring the outer ring of its region; the columns' segments are given by their upper ends and rings.

    The region's pixels beside a hole's leftmost edge reach to the left up to an edge of the same region: to its outer
    ring, or to a hole further left, whose owner is known by then.
    """
    keys = left * (inside.shape[0] + 1) + top
    first = np.unique(ring, return_index=True)[1]
    owner = list(range(len(area)))
    holes = np.flatnonzero(area < 0)
    for hole in holes[np.argsort(left[first[holes]])].tolist():
        x, y = left[first[hole]], top[first[hole]]
        reach = int(inside[y, :x][::-1].argmin()) or x  # 0 where there is no gap up to the picture's border
        beside = np.searchsorted(keys, (x - reach) * (inside.shape[0] + 1) + y, side="right") - 1
        owner[hole] = owner[ring[beside]]
    return owner


# ---------------------------------------------------------------------------------------------------------------------
# Pictures


def overlay(
    picture: Any, mask: Mask, colours: Sequence[Colour], opacity: float = 0.5, background: bool = False
) -> Image.Image:
    """The picture, upright, with the mask's colours over it and thin outlines; the background stays clear.

    Args:
        picture: a path, a PIL image or an array.
        mask: the places of the labels, of the picture's size.
        colours: the labels' colours, red, green and blue, 0 to 255.
        opacity: how much of the picture the colours hide, 0 to 1.
        background: whether the first label is coloured as well.

    Raises:
        ImageError: the picture cannot be read.
        DataError: picture and mask have different sizes.
    """
    drawn = _upright(picture)
    height, width = mask.shape
    if drawn.size != (width, height):
        sizes = f"{drawn.width} × {drawn.height} pixels and its mask {width} × {height}"
        raise DataError(f"expected a picture and a mask of one size, but the picture has {sizes}")
    paint = _palette(colours)
    strength = np.zeros(256, np.float32)
    strength[0 if background else 1 : len(colours)] = strength[IGNORED] = opacity
    thick = max(1, round(max(mask.shape) / 1000))
    for top in range(0, height, _STRIP):
        bottom = min(top + _STRIP, height)
        rows = mask[np.arange(top - thick, bottom + thick).clip(0, height - 1)]
        around = np.pad(rows, ((0, 0), (thick, thick)), mode="edge")
        here = around[thick:-thick, thick:-thick]
        rows, columns = around[:, thick:-thick], around[thick:-thick]
        beside = rows[: -2 * thick], rows[2 * thick :], columns[:, : -2 * thick], columns[:, 2 * thick :]
        edge = np.logical_or.reduce([here != other for other in beside]) & (strength[here] > 0) & (here != IGNORED)
        share = np.where(edge, np.float32(1), strength[here])[..., None]
        under = np.asarray(drawn.crop((0, top, width, bottom)), np.float32)
        mixed = under + (paint[here] - under) * share
        drawn.paste(Image.fromarray(mixed.round().astype(np.uint8)), (0, top))
    return drawn


def grid(rows: Sequence[Sequence[Any]], titles: Sequence[Sequence[str]] | None = None, width: int = 240) -> Image.Image:
    """A contact sheet: rows of pictures beside each other, with small captions above them.

    Args:
        rows: pictures as paths, PIL images or arrays; each is fitted into a square, small ones without smoothing.
        titles: a caption for each picture, or for the first few of a row; long ones are cut.
        width: the side of the squares, in pixels.
    """
    font, gap = ImageFont.load_default(12), 8
    small = [[_thumbnail(picture, width) for picture in row] for row in rows]
    line = 18 if titles else 0
    heights = [max((picture.height for picture in row), default=0) + line + gap for row in small]
    across = max((len(row) for row in small), default=0)
    sheet = Image.new("RGB", (gap + across * (width + gap), gap + sum(heights)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, row in enumerate(small):
        for place, picture in enumerate(row):
            x, y = gap + place * (width + gap), gap + sum(heights[:number])
            sheet.paste(picture, (x, y + line))
            if titles and place < len(titles[number]):
                pen.text((x, y), _cut(titles[number][place], font, width), fill="black", font=font)
    return sheet


def _upright(picture: Any) -> Image.Image:
    """A picture of one's own to draw on: RGB, as a viewer shows it."""
    with images.opened(picture) as lazy:
        return images.loaded(lazy, *images.displayed_size(lazy))


def _thumbnail(picture: Any, side: int) -> Image.Image:
    whole = _upright(picture)
    scale = side / max(whole.size)
    smooth = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return whole.resize((max(1, round(whole.width * scale)), max(1, round(whole.height * scale))), smooth)


def _cut(text: str, font: Any, width: int) -> str:
    text = whole = printable(text)
    while font.getlength(text) > width:
        whole = whole[:-1]
        text = f"{whole}…"
    return text


def _palette(colours: Sequence[Colour]) -> NDArray[np.uint8]:
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colours)] = colours
    palette[IGNORED] = IGNORED_COLOUR
    return palette


# ---------------------------------------------------------------------------------------------------------------------
# Names


def output_names(files: Iterable[str | None], root: str | None = None) -> Iterator[str]:
    """A name without suffix for the mask of each file, in order, all different, even where cases do not count.

    It is the file's path below `root` without its suffix. Where that would name two files of a list, their suffixes
    stay: `a.jpg` and `a.png` become `a.jpg` and `a.png`; the next ones get numbers. An iterator is taken as it
    arrives, so that there only the later ones change.

    Args:
        files: the inputs; None stands for one that has no path.
        root: the folder whose structure is kept; without one, bare names, or the paths below the common folder if
            a list has a bare name twice.
    """
    stems: Counter[str] = Counter()
    if isinstance(files, Sequence):
        root = root or _common_folder([file for file in files if file is not None])
        stems.update(_key(_named(file, root)[0]) for file in files)
    taken: dict[str, int] = {}
    for file in files:
        stem, full = _named(file, root)
        yield _free([full] if stems[_key(stem)] > 1 else [stem, full], taken)


def _named(file: str | None, root: str | None) -> tuple[str, str]:
    """A file's path below a folder, or its bare name if it is elsewhere: without a picture's suffix, and with it."""
    path = os.path.abspath(file or "picture")
    below = os.path.relpath(path, os.path.abspath(os.path.expanduser(root))) if root else os.pardir
    full = os.path.basename(path) if below.split(os.sep)[0] == os.pardir else below
    stem, suffix = os.path.splitext(full)
    return (stem if suffix.lower() in images.SUFFIXES else full), full


def _common_folder(files: Sequence[str]) -> str | None:
    if len({_key(os.path.basename(file)) for file in files}) == len(files):
        return None
    try:
        return os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])
    except ValueError:  # different drives
        return None


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _free(names: Sequence[str], taken: dict[str, int]) -> str:
    """The first name that is not taken yet, or the last one with a number; it is taken then."""
    for name in names:
        if taken.setdefault(_key(name), 0) == 0:
            taken[_key(name)] = 1
            return name
    taken[_key(names[-1])] += 1
    return _free([f"{names[-1]}-{taken[_key(names[-1])]}"], taken)
