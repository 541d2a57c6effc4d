"""Look at pictures before training: what cannot be read, what each is like, and which show the same.

A look decodes a picture once, small, and keeps a thumbnail of 24 × 24 pixels. Two pictures are near-duplicates if their
thumbnails rise and fall alike: saved again, in another size or format, a little brighter or without colour. Mirrored or
cropped ones are not found.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import stat
import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import combinations
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from recipes import images
from recipes.errors import DataError, ImageError
from recipes.examples import MANY, in_threads, watched

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

#: Of more than `MANY` pictures so many, drawn at random, are decoded.
SAMPLE = 2_000

# Pillow's number for it; this filter takes all pixels into account, where the one called `BOX` leaves some out.
_BILINEAR = 2

# Sides of the thumbnail: of its brightness, and of each of its two colours.
_SIDE, _TINT = 24, 4
_GREY = _SIDE * _SIDE

# Brightness that varies by less than this, in levels of 255, beside slow changes from one side to the other, is noise.
# Pictures of things have 5 and more.
_STRUCTURE = 2.0

# A frequency of the thumbnail counts as there from so much on; rounding alone makes 0.3.
_PRESENT = 2.0

# Thumbnails whose slopes correlate so much show the same. Of copies 99.8 % do; of 4.4 million pairs of other pictures
# none. Eyes, which are all built alike, come to 0.946, clothes to 0.88, hands to 0.87. Digits of 28 pixels come nearer,
# because a thumbnail is all that there is of them.
_SAME, _SAME_TINY, _TINY = 0.95, 0.985, 48

# What belongs to a group by way of others may differ from its first picture by twice as much. Without that, a film
# would be one group from its first frame to its last.
_SLACK = 2.0

# The same shapes in other colours, or much darker, are another picture: a red cross and a green one, or a black one.
_CONTRAST, _COLOUR, _COLOURLESS = 0.75, 32, 6

# Hashes differ in at most so many of 64 bits, and are alike in two of their eight bytes: all that differ in six bits
# are found for sure, nine in ten of those that differ in eight.
_BITS = 8

# With so many that have the same two bytes a picture is compared, and so many that show the same are enough.
_MOST = 100

# Pairs that are compared at a time, and sources that one thread gets at a time.
_AT_ONCE, _CHUNK = 2_048, 16

# Of files of the same size, so many first bytes are compared before any is read whole. They are what one access to a
# disk brings anyway, and came when it was asked whether the file begins like a picture.
_BEGIN = 4_096


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a picture tells.

    Args:
        error: why it cannot be read, as a phrase that follows its name; None where it can.
        size: width and height as displayed.
        mode: Pillow's name for what a pixel holds: `RGB`, `L`, `RGBA`, `P`, `I;16`, …
        format: of the file, by its content: `JPEG`, `PNG`, …; empty for a picture in memory.
        hash: 64 bits that hardly change when the picture is saved again or made smaller; None where there is so little
            to see that they mean nothing.
        thumbnail: brightness on 24 × 24 pixels, then two colours on 4 × 4; empty where `hash` is None.
        orientation: how the picture lies in its file, as EXIF counts it; 1 is upright.
    """

    error: str | None = None
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    format: str = ""
    hash: int | None = None
    thumbnail: bytes = field(default=b"", repr=False)
    orientation: int = 1


def look(source: Any) -> Look:
    """What there is to know of one picture, from decoding it once."""
    try:
        return looked(source)
    except ImageError as error:
        return Look(error.reason)
    except DataError as error:
        return Look(f"is no picture: {error}")


def looked(source: Any) -> Look:
    """What there is to know of one picture.

    Raises:
        DataError: it cannot be read.
    """
    with images.opened(source) as lazy:
        size, mode, orientation = images.displayed_size(lazy), lazy.mode, images.orientation_of(lazy)
        # Telephones write JPEGs with a second picture inside; to people these are JPEGs.
        kind = "JPEG" if lazy.format == "MPO" else lazy.format or ""
        thumbnail = _thumbnail(lazy, size)
    bits = _hash(thumbnail)
    return Look(None, size, mode, kind, bits, b"" if bits is None else thumbnail, orientation)


def looks(sources: Sequence[Any], title: str = "checking pictures") -> list[Look]:
    """A look at every picture, in threads, with a bar of progress where there are many."""
    return list(watched(_in_chunks(look, sources), title, len(sources)))


def quick_looks(sources: Sequence[Any], seed: int) -> tuple[list[Look | None], str]:
    """A look at every picture, or, where there are very many, at a sample; and a note that says so, or an empty one.

    Of more than `MANY` pictures the first bytes of every file are read. A file that does not begin like a picture gets
    a look, which says why it is none, and so do `SAMPLE` others, drawn at random. The rest get None.

    Args:
        sources: the pictures, mostly paths.
        seed: governs which are drawn.
    """
    number = len(sources)
    if number <= MANY:
        return list(looks(sources)), ""
    begins = watched(_in_chunks(_begins_like_picture, sources, 16 * _CHUNK), "reading first bytes", number)
    drawn = np.random.default_rng(seed).choice(number, SAMPLE, replace=False)
    chosen = sorted({*(place for place, fine in enumerate(begins) if not fine), *drawn.tolist()})
    found: list[Look | None] = [None] * number
    for place, one in zip(chosen, looks([sources[place] for place in chosen]), strict=True):
        found[place] = one
    return found, (
        f"{number:,} pictures are many: {SAMPLE:,} of them, drawn at random, were decoded and compared; of the others "
        f"the first bytes were read"
    )


def _begins_like_picture(source: Any) -> bool:
    return not isinstance(source, (str, os.PathLike)) or images.begins_like_picture(os.fspath(source))


def _in_chunks(function: Callable[[Any], T], sources: Sequence[Any], size: int = _CHUNK) -> Iterator[T]:
    """The function's results in order, computed in threads, which get several sources at a time.

    A million sources one by one would be a gigabyte of waiting calls.
    """
    chunks = [sources[start : start + size] for start in range(0, len(sources), size)]
    for results in in_threads(partial(_each, function), chunks):
        yield from results


def _each(function: Callable[[Any], T], sources: Sequence[Any]) -> list[T]:
    return [function(source) for source in sources]


# ---------------------------------------------------------------------------------------------------------------------
# One picture


def _thumbnail(lazy: Any, size: tuple[int, int]) -> bytes:
    """The picture's brightness on 24 × 24 pixels and its two colours on 4 × 4 each, in a row."""
    picture = images.loaded(lazy, _SIDE, _SIDE)
    # A JPEG of 394 pixels that is decoded at an eighth has 50, of which the last is a quarter full; a PNG of the same
    # picture has no such edge.
    shrunk = 2 ** round(math.log2(size[0] / picture.width))
    box = (0.0, 0.0, min(size[0] / shrunk, picture.width), min(size[1] / shrunk, picture.height))
    small = picture.resize((_SIDE, _SIDE), _BILINEAR, box, reducing_gap=6.0).convert("YCbCr")
    tints = small.reduce(_SIDE // _TINT)
    return b"".join([small.getchannel(0).tobytes(), tints.getchannel(1).tobytes(), tints.getchannel(2).tobytes()])


def _hash(thumbnail: bytes) -> int | None:
    """Which of the lowest frequencies are there and positive, 64 bits; None for a picture with hardly any structure.

    It is the hash that is known as pHash (Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions,
    2010) but for the threshold. The median, or 0, would leave bits to noise where a picture is symmetric and half of
    its frequencies are not there.
    """
    grey = np.frombuffer(thumbnail, np.uint8, _GREY).astype(np.float32)
    shade = grey @ _shades()
    if float(grey @ grey - shade @ shade) < _GREY * _STRUCTURE**2:
        return None
    waves = _waves()
    spectrum = waves @ grey.reshape(_SIDE, _SIDE) @ waves.T
    spectrum[0, 0] = 0  # the mean
    return int.from_bytes(np.packbits(spectrum > _PRESENT).tobytes(), "big")


@lru_cache
def _shades() -> NDArray[np.float32]:
    """What changes slowly, such as skies and dark corners, which many pictures share: six shapes of length 1."""
    x, y = (axis.ravel() / _SIDE - 0.5 for axis in np.mgrid[:_SIDE, :_SIDE])
    shapes = np.linalg.qr(np.stack([np.ones(_GREY), x, y, x * x, x * y, y * y], axis=1))[0]
    return shapes.astype(np.float32)


@lru_cache
def _waves() -> NDArray[np.float32]:
    """The eight lowest frequencies of the cosine transform, each of length 1, shape (8, side of the thumbnail)."""
    phases = np.pi / _SIDE * np.outer(np.arange(8), np.arange(_SIDE) + 0.5)
    lengths = np.full((8, 1), math.sqrt(2 / _SIDE))
    lengths[0] = math.sqrt(1 / _SIDE)
    return (lengths * np.cos(phases)).astype(np.float32)


# ---------------------------------------------------------------------------------------------------------------------
# Near-duplicates


def near_duplicates(found: Sequence[Look | None]) -> list[int]:
    """For each picture the place of the first one that shows the same, or its own.

    Pictures with the same place are a group. All of a group are much like its first picture, so that no chain of small
    steps joins what is not alike. A picture without a look, or with nothing to see, is alone.

    Args:
        found: looks at pictures, of all splits one after the other.
    """
    places = np.asarray(
        [place for place, one in enumerate(found) if one is not None and one.hash is not None], np.int64
    )
    first = np.arange(len(found))
    seen = [one for one in found if one is not None and one.hash is not None]
    first[places] = places[_grouped(_pairs(seen), seen)]
    return list(map(int, first))


def _pairs(seen: Sequence[Look]) -> NDArray[np.int64]:
    """The pairs of places that show the same, the lower place first, shape (pairs, 2).

    Hashes that differ in a few of their bits are equal in some of their bytes. So pictures are compared only with those
    that have two bytes in common with them, for each choice of two bytes. Where very many share these, each is compared
    with the next ones in order alone; it meets the others by other bytes, or by way of those. Two that both show the
    same as very many others are not compared any more.
    """
    hashes, number = np.asarray([one.hash for one in seen], np.uint64), len(seen)
    tried = np.zeros(0, np.int64)
    alike = [np.zeros((0, 2), np.int64)]
    partners = np.zeros(number, np.int64)
    columns = hashes[:, None].view(np.uint8).astype(np.uint64)
    for one, other in combinations(range(8), 2):
        key = columns[:, one] << np.uint64(8) | columns[:, other]
        order = np.argsort(key << np.uint64(48) | hashes >> np.uint64(16))
        near = order[_near(key[order], hashes[order])]
        near = np.sort(near[partners[near].min(axis=1) < _MOST], axis=1)
        codes = _new(np.sort(near[:, 0] * number + near[:, 1]), tried)
        tried = np.sort(np.concatenate([tried, codes]))
        candidates = np.stack(np.divmod(codes, max(number, 1)), axis=1)
        same = candidates[_alike(candidates, seen)]
        partners += np.bincount(same.ravel(), minlength=number)
        alike.append(same)
    return np.concatenate(alike)


def _new(codes: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each of the codes once that is not among the known ones; both come sorted, which numpy's sets cannot use."""
    codes = codes[np.append(codes[:-1] != codes[1:], np.ones(min(len(codes), 1), np.bool_))]
    fresh: NDArray[np.int64] = codes[np.append(known, -1)[np.searchsorted(known, codes)] != codes]
    return fresh


def _near(keys: NDArray[np.uint64], hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The pairs of places with the same key whose hashes differ in few bits; `keys` are in order."""
    found = [np.zeros((0, 2), np.int64)]
    here = np.arange(len(keys))
    for step in range(1, _MOST + 1):
        here = here[here + step < len(keys)]
        here = here[keys[here] == keys[here + step]]
        if not len(here):
            break
        close = here[_ones(hashes[here] ^ hashes[here + step]) <= _BITS]
        found.append(np.stack([close, close + step], axis=1))
    return np.concatenate(found)


def _ones(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """How many bits of each number are 1: sums of neighbours, of pairs, of fours, then of all eight bytes."""
    twos, fours, eights = (np.uint64(int(digits * 8, 16)) for digits in ("55", "33", "0f"))
    numbers = numbers - (numbers >> np.uint64(1) & twos)
    numbers = (numbers & fours) + (numbers >> np.uint64(2) & fours)
    numbers = numbers + (numbers >> np.uint64(4)) & eights
    ones: NDArray[np.uint64] = numbers * np.uint64(0x0101010101010101) >> np.uint64(56)
    return ones


def _alike(pairs: NDArray[np.int64], seen: Sequence[Look], slack: float = 1.0) -> NDArray[np.bool_]:
    """Whether the pictures of each pair show the same; with more slack, whether they are related.

    Their thumbnails correlate in their slopes, and have like colours and contrast.
    """
    result = np.zeros(len(pairs), np.bool_)
    for start in range(0, len(pairs), _AT_ONCE):
        places, back = np.unique(pairs[start : start + _AT_ONCE], return_inverse=True)
        one, other = back.reshape(-1, 2).T
        some = [seen[place] for place in places.tolist()]
        rows = np.frombuffer(b"".join([each.thumbnail for each in some]), np.uint8).reshape(len(some), -1)
        tiny = np.asarray([max(each.size) < _TINY for each in some])
        least = 1 - slack * (1 - np.where(tiny[one] & tiny[other], _SAME_TINY, _SAME))
        slopes, lengths = _slopes(rows)
        alike = np.einsum("ij,ij->i", slopes[one], slopes[other]) >= least
        alike &= np.minimum(lengths[one], lengths[other]) >= _CONTRAST * np.maximum(lengths[one], lengths[other])
        tints = rows[:, _GREY:].astype(np.int16) - 128
        colourless = np.abs(tints).max(1) <= _COLOURLESS
        alike &= colourless[one] | colourless[other] | (np.abs(tints[one] - tints[other]).max(1) <= _COLOUR)
        result[start : start + _AT_ONCE] = alike
    return result


def _slopes(rows: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """By how much brightness changes from pixel to pixel, to the right and down, as rows of length 1; their lengths."""
    grey = rows[:, :_GREY].reshape(-1, _SIDE, _SIDE).astype(np.float32)
    right, down = grey[:, :, 1:] - grey[:, :, :-1], grey[:, 1:] - grey[:, :-1]
    slopes = np.concatenate([right.reshape(len(rows), -1), down.reshape(len(rows), -1)], axis=1)
    lengths = np.sqrt(np.einsum("ij,ij->i", slopes, slopes))
    return slopes / np.maximum(lengths, 1e-6)[:, None], lengths


def _grouped(pairs: NDArray[np.int64], seen: Sequence[Look]) -> NDArray[np.int64]:
    """For each place the first of its group: what pairs lead to from there without leaving what is like the first."""
    first = np.arange(len(seen))
    links = np.concatenate([pairs, pairs[:, ::-1]])
    links = links[np.argsort(links[:, 0], kind="stable")]
    begins = np.searchsorted(links[:, 0], np.arange(len(seen) + 1))
    free = np.ones(len(seen), np.bool_)
    for leader in np.unique(pairs[:, 0]).tolist():
        if not free[leader]:
            continue
        free[leader] = False
        new = links[begins[leader] : begins[leader + 1], 1]
        new = new[free[new]]
        while len(new):
            free[new], first[new] = False, leader
            beyond = np.concatenate([links[begins[place] : begins[place + 1], 1] for place in new.tolist()])
            beyond = np.unique(beyond[free[beyond]])
            new = beyond[_alike(np.stack([np.full_like(beyond, leader), beyond], axis=1), seen, _SLACK)]
    return first


# ---------------------------------------------------------------------------------------------------------------------
# Exact duplicates


def exact_duplicates(sources: Sequence[Any]) -> list[int]:
    """For each file the place of the first one with the same bytes, or its own.

    Only files of the same size are opened, and only those that also begin alike are read whole. What is neither a file
    nor the bytes of one, is empty or cannot be read is alone.

    Args:
        sources: paths, or pictures as they came from shards, of all splits one after the other.
    """
    keys: list[Hashable] = list(watched(_in_chunks(_size, sources, 16 * _CHUNK), "reading sizes", len(sources)))
    for mark, title in ((_begin, "comparing files"), (_whole, "comparing copies")):
        places = _shared(keys)
        files, before, keys = [sources[place] for place in places], keys, [None] * len(sources)
        marks = watched(_in_chunks(mark, files, 16 * _CHUNK), title, len(files))
        for place, found in zip(places, marks, strict=True):
            keys[place] = None if found is None else (before[place], found)
    first: dict[Hashable, int] = {}
    return [place if key is None else first.setdefault(key, place) for place, key in enumerate(keys)]


def _shared(keys: Sequence[Hashable]) -> list[int]:
    """The places of keys that are there more than once."""
    once: dict[Hashable, bool] = {}
    for key in keys:
        if key is not None:
            once[key] = key not in once
    return [place for place, key in enumerate(keys) if key is not None and not once[key]]


def _size(source: Any) -> int | None:
    """The size of a file, or None where there are no bytes to compare."""
    if isinstance(content := getattr(source, "content", None), bytes):
        return len(content) or None
    if not isinstance(source, (str, os.PathLike)):
        return None
    try:
        status = os.stat(source)
    except (OSError, ValueError):
        return None
    return (status.st_size or None) if stat.S_ISREG(status.st_mode) else None


def _begin(source: Any) -> int | None:
    """A checksum of a file's first bytes."""
    content = getattr(source, "content", None)
    try:
        return zlib.crc32(images.first_bytes(source, _BEGIN) if content is None else content[:_BEGIN])
    except OSError:
        return None


def _whole(source: Any) -> bytes | None:
    """A checksum of all of a file."""
    content = getattr(source, "content", None)
    try:
        with open(source, "rb") if content is None else io.BytesIO(content) as file:
            digest = hashlib.blake2b()
            while block := file.read(2**20):
                digest.update(block)
            return digest.digest()
    except OSError:
        return None
