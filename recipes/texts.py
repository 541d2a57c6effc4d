"""Texts into numbers: the tokens of a pretrained network, or hashed n-grams; needs no torch and no transformers.

Both give int32 arrays of shape (windows, channels, length). Negative numbers are none: -1 fills up what is shorter, and
a last -2 in the first window says that the text went on and was cut.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.artifact import digest
from recipes.errors import DataError, ModelError, OptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

Text = str | tuple[str, str]

#: The backbone that is no encoder.
NGRAMS = "ngrams"

FILLED, CUT = -1, -2

# Texts whose n-grams are hashed in one go.
_AT_ONCE = 1000

_WORD = re.compile(r"\w+")

# Odd constants with mixed bits, for hashing by multiplication (Knuth, TAOCP 6.4).
_MIX, _NEXT = np.uint64(0x9E3779B97F4A7C15), np.uint64(0x2545F4914F6CDD1D)


def checked(source: Any) -> Text:
    """A text, or a pair of texts, that can be read.

    Raises:
        DataError: it is no text, or there is nothing in it.
    """
    parts = source if isinstance(source, tuple) else (source,)
    for part in parts:
        if not isinstance(part, str):
            nothing = part is None or str(part) == "nan"  # what tables give for an empty cell
            raise DataError("is empty" if nothing else f"is no text but a {type(part).__name__}")
    if not "".join(parts).strip():
        raise DataError("is empty")
    # Half a pair of surrogates cannot be written as UTF-8.
    whole = tuple(part.encode("utf-8", "replace").decode() for part in parts)
    return whole[0] if isinstance(source, str) else (whole[0], whole[1])


@dataclass(frozen=True)
class Tokens:
    """The tokens that a pretrained network knows.

    Args:
        tokenizer: SHA-256 of the `tokenizer.json` that lies in the model's folder.
        length: the most tokens that the network sees at once.
        windows: how many windows of this length of a long text are looked at; the rest is cut off.
        types: whether the network is told which of two texts a token is of.
    """

    tokenizer: str
    length: int = 512
    windows: int = 1
    types: bool = False

    def __post_init__(self) -> None:
        if self.length < 8 or self.windows < 1:
            raise OptionError(f"length={self.length}, windows={self.windows} cannot be: 8 tokens and 1 window at least")

    def encode(self, texts: Sequence[Text]) -> list[NDArray[np.int32]]:
        """The numbers of each text's tokens, and in a second channel their types if the network wants them."""
        tokenizer = _TOKENIZERS[self.tokenizer]
        tokenizer.enable_truncation(self.length)
        found: Any = tokenizer.encode_batch(list(texts))
        return [self._array([one, *one.overflowing]) for one in found]

    def _array(self, windows: list[Any]) -> NDArray[np.int32]:
        used = windows[: self.windows]
        cut = len(windows) > len(used)
        channels = [[one.ids, one.type_ids] if self.types else [one.ids] for one in used]
        longest = max(len(one.ids) for one in used) + cut
        array = np.full((len(used), len(channels[0]), longest), FILLED, np.int32)
        for place, rows in enumerate(channels):
            array[place, :, : len(rows[0])] = rows
        if cut:
            array[0, :, -1] = CUT
        return array


_TOKENIZERS: dict[str, Tokenizer] = {}


def register(content: bytes) -> str:
    """Make a `tokenizer.json` known to this process; its SHA-256 is what `Tokens` calls it by.

    Raises:
        ModelError: it is no tokenizer.
    """
    name = digest(content)
    if name not in _TOKENIZERS:
        from tokenizers import Tokenizer

        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # or forked loader processes would be warned of
        try:
            tokenizer = Tokenizer.from_str(content.decode("utf-8"))
        except Exception as error:  # what tokenizers raises is a plain Exception
            raise ModelError(f"tokenizer.json cannot be read ({str(error)[:80]})") from error
        tokenizer.no_padding()
        _TOKENIZERS[name] = tokenizer
    return name


@dataclass(frozen=True)
class NGrams:
    """Words, pairs of words and pieces of words as hashed numbers (Joulin et al. 2016; Bojanowski et al. 2017).

    Args:
        buckets: how many numbers there are, a power of two; words have the even ones, pieces the odd ones.
        shortest: the fewest characters of a piece.
        longest: the most characters of a piece.
        most: how many characters of a text are looked at; the rest is cut off.
    """

    buckets: int = 2**18
    shortest: int = 2
    longest: int = 5
    most: int = 10_000

    def __post_init__(self) -> None:
        if self.buckets < 2 or self.buckets > 2**26 or self.buckets & (self.buckets - 1):
            raise OptionError(f"buckets={self.buckets} cannot be: it is a power of two up to {2**26:,}")
        if not 1 <= self.shortest <= self.longest <= 16 or self.most < 1:
            raise OptionError(f"shortest={self.shortest}, longest={self.longest}, most={self.most} cannot be")

    def encode(self, texts: Sequence[Text]) -> list[NDArray[np.int32]]:
        """The numbers of each text's n-grams, those that occur twice twice."""
        joined = [text if isinstance(text, str) else " \x1f ".join(text) for text in texts]
        found: list[NDArray[np.int32]] = []
        for at in range(0, len(joined), _AT_ONCE):
            found += self._hashed([text[: self.most] for text in joined[at : at + _AT_ONCE]])
        return [
            (np.append(array, np.int32(CUT)) if len(text) > self.most else array)[None, None]
            for text, array in zip(joined, found, strict=True)
        ]

    def _hashed(self, texts: list[str]) -> list[NDArray[np.int32]]:
        """All texts at once: numpy's calls are dear for a short one."""
        texts = [" ".join(unicodedata.normalize("NFKC", text).lower().split()) for text in texts]
        grams: list[int] = []
        ends = []
        for text in texts:
            words = _WORD.findall(text)
            grams += map(zlib.crc32, map(str.encode, words))
            grams += [zlib.crc32(f"{one} {other}".encode()) for one, other in itertools.pairwise(words)]
            ends.append(len(grams))
        even = _parted(self._bucket(np.array(grams, np.uint64)) & ~1, ends)
        return [np.concatenate(parts) for parts in zip(even, *self._pieces(texts), strict=True)]

    def _pieces(self, texts: list[str]) -> list[list[NDArray[np.int32]]]:
        """For each length of a piece those of all texts."""
        spaced = "".join(f" {text} " for text in texts) + " " * self.longest
        points = spaced.encode("utf-32-le", "replace")
        characters = (np.frombuffer(points, np.uint32).astype(np.uint64) + np.uint64(1)) * _MIX
        lengths = np.array([len(text) + 2 for text in texts])
        ends = np.cumsum(lengths)
        blank = np.frombuffer(points, np.uint32) == ord(" ")
        spaces = np.cumsum(blank)
        piece, found = characters, []
        for length in range(1, self.longest + 1):
            if length > 1:  # the hash of a piece from that of the piece one character shorter
                piece = piece[:-1] * _NEXT + characters[length - 1 :]
            if length >= self.shortest:
                last = len(blank) - length + 1
                inside = ~blank  # a piece may begin or end with a space; with one inside it is of two words
                if length > 1:
                    inside = spaces[length - 2 : len(blank) - 1] == spaces[:last]
                    inside &= ~(blank[:last] & blank[1 : last + 1])  # nor is it of two texts
                counts = np.append(0, np.cumsum(inside))
                odd = self._bucket(piece[inside] * np.uint64(2 * length + 1)) | 1
                found.append(_parted(odd, counts[ends].tolist()))
        return found

    def _bucket(self, hashes: NDArray[np.uint64]) -> NDArray[np.int32]:
        hashes = (hashes ^ (hashes >> np.uint64(32))) * _MIX
        found: NDArray[np.int32] = ((hashes ^ (hashes >> np.uint64(29))) & np.uint64(self.buckets - 1)).astype(np.int32)
        return found


def _parted(values: NDArray[np.int32], ends: Sequence[int]) -> list[NDArray[np.int32]]:
    """Like numpy's split, ten times as fast."""
    return [values[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def cut(array: NDArray[np.int32]) -> bool:
    """Whether a text was longer than what is looked at."""
    return bool(array.size and array[0, 0, -1] == CUT)


def stacked(arrays: Sequence[NDArray[np.int32]]) -> NDArray[np.int64]:
    """Texts of a batch side by side, shape (texts, windows, channels, length), filled up with -1."""
    arrays = [array[..., :-1] if cut(array) else array for array in arrays]
    shape = tuple(max(sizes) for sizes in zip(*(array.shape for array in arrays), strict=True))
    batch = np.full((len(arrays), *shape), FILLED, np.int64)
    for row, array in zip(batch, arrays, strict=True):
        windows, channels, length = array.shape
        row[:windows, :channels, :length] = array
    return batch


def size(array: Any) -> int:
    """How many numbers of an encoded text there are in each channel; 1 for what could not be encoded."""
    return 1 if isinstance(array, DataError) else max(1, int(array.shape[0] * array.shape[2]))


def by_length(sizes: Sequence[int], batch_size: int, order: Sequence[int]) -> list[list[int]]:
    """Places in batches of similar length, each with as many numbers as `batch_size` texts have on average, or fewer.

    So a batch of short texts holds more of them, and a long one may stand alone. The batches of an epoch are as many
    as those of any other, whatever the order.

    Args:
        sizes: the `size` of each text.
        batch_size: texts of average length in a batch.
        order: all places, in the order in which those of similar length are taken.
    """
    steps = np.asarray(sizes, np.int64)
    steps = -(-steps // 8) * 8  # lengths that differ by less are mixed
    budget = math.ceil(batch_size * steps.mean()) if len(steps) else 0
    places = np.asarray(order, np.int64)
    places = places[np.argsort(-steps[places], kind="stable")]
    batches: list[list[int]] = []
    most = 0
    for place in places.tolist():
        if most == 0:
            batches.append([])
            most = max(1, budget // int(steps[place]))
        batches[-1].append(place)
        most -= 1
    return batches
