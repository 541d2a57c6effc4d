"""Very many names in little memory: one block of bytes, and where each name ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

import numpy as np
from numpy.typing import NDArray

# So many names are bytes objects of their own at a time.
_AT_ONCE = 10_000


class Names(Sequence[str]):
    """Names, such as paths, that take hardly more memory than their letters.

    A list of a million strings costs 150 MB, and a forked process that reads them copies them all: Python writes a
    count of references into each. Here they are two arrays, which processes share. Any string comes back as it was,
    file names with bytes that are no UTF-8 included.

    Args:
        names: the names, in order.
    """

    __slots__ = ("_block", "_ends")

    def __init__(self, names: Iterable[str] = ()) -> None:
        # Odd bytes of file names are lone surrogates in a string; this form keeps those and all others.
        self._block, self._ends = _joined(name.encode("utf-8", "surrogatepass") for name in names)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> Names: ...

    def __getitem__(self, place: int | slice) -> str | Names:
        if isinstance(place, slice):
            return self.take(range(*place.indices(len(self))))
        number = len(self)
        if not -number <= place < number:
            raise IndexError(f"name {place} of {number}")
        return self._bytes(place % number).decode("utf-8", "surrogatepass")

    def take(self, places: Iterable[int]) -> Names:
        """The names at these places, in this order."""
        taken = Names()
        taken._block, taken._ends = _joined(map(self._bytes, places))
        return taken

    @property
    def nbytes(self) -> int:
        """The memory that the names take."""
        return len(self._block) + self._ends.nbytes

    def _bytes(self, place: int) -> bytes:
        return self._block[self._ends[place] : self._ends[place + 1]]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Names):
            return NotImplemented
        return self._block == other._block and np.array_equal(self._ends, other._ends)

    def __hash__(self) -> int:
        return hash(self._block)

    def __repr__(self) -> str:
        return f"Names({list(self[:3])!r}{', …' if len(self) > 3 else ''})"


def _joined(pieces: Iterator[bytes]) -> tuple[bytes, NDArray[np.int64]]:
    """All pieces as one block, and where each ends, with a 0 before the first."""
    blocks, lengths = [], [np.zeros(1, np.int64)]
    while some := list(islice(pieces, _AT_ONCE)):
        blocks.append(b"".join(some))
        lengths.append(np.fromiter(map(len, some), np.int64, len(some)))
    return b"".join(blocks), np.concatenate(lengths).cumsum()
