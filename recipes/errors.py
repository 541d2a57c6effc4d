"""What can go wrong, drawn as a tree; every message says what was expected, what was found and what to try.

RecipesError            everything this package raises on purpose
├── DataError           the data cannot be used as given (also a ValueError)
│   └── ImageError      one picture cannot be read
├── OptionError         an option or a name is wrong (also a ValueError)
├── WeightsError        pretrained weights could not be had
├── ModelError          a model folder cannot be opened
├── OutputError         a file or folder cannot be written
├── TrainingError       training could not go on
├── ShrinkingError      a smaller model would be worse than was allowed
└── NotFittedError      the model has not been fitted yet
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable


class RecipesError(Exception):
    """A problem with one clear line for the person who can act on it.

    `exit_code` is what the `recipes` command returns: 2 for a user's mistake, 1 for a run that failed.
    """

    exit_code = 2
    #: Whether all processes of the run know of it, so that one of them is enough to tell it.
    agreed = False


class DataError(RecipesError, ValueError):
    """The data cannot be used as it was given."""


class ImageError(DataError):
    """One picture cannot be read; `file` is its name and `reason` says why."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file} {reason}")
        self.file = file
        self.reason = reason

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        # Loader processes send their errors home pickled; the default would call __init__ with the message alone.
        return type(self), (self.file, self.reason)


class OptionError(RecipesError, ValueError):
    """An option or a name is wrong; the nearest right ones are in the message."""


class WeightsError(RecipesError):
    """Pretrained weights could not be had, from the network or from a file."""


class ModelError(RecipesError):
    """A model folder is missing, damaged, unsafe or from a newer version."""


class OutputError(RecipesError):
    """A file or folder cannot be written."""


class TrainingError(RecipesError):
    """Training could not go on."""

    exit_code = 1


class ShrinkingError(RecipesError):
    """A smaller model would be worse than was allowed; the model stays as it is."""

    exit_code = 1


class NotFittedError(RecipesError):
    """The model has not been fitted yet."""


class StoppedError(KeyboardInterrupt):
    """A signal has ended the work before there was anything to keep; `signal` is its name, such as SIGTERM."""

    def __init__(self, signal: str) -> None:
        super().__init__(signal)
        self.signal = signal


def printable(name: str | os.PathLike[str], most: int = 200) -> str:
    """A name with nothing in it that could act on a terminal: control characters and odd bytes are written out.

    A file whose name holds an escape sequence would otherwise clear the screen, and a right-to-left mark reverse the
    line.
    """
    text = os.fspath(name)
    safe = "".join(character if character.isprintable() else _escaped(character) for character in text)
    return safe if len(safe) <= most else f"{safe[: most // 2]}…{safe[-most // 2 :]}"


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8, as os.fsdecode keeps it
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def did_you_mean(name: str, known: Iterable[str], most: int = 3) -> str:
    """The end of an error message that names the nearest right names, or nothing if none is near."""
    known = list(known)
    # What is all but right leaves no room for names that are merely alike.
    near = difflib.get_close_matches(name, known, n=most, cutoff=0.9) or difflib.get_close_matches(name, known, n=most)
    if not near:  # a wrong case or a missing prefix is further away than a typing error
        lower = {entry.lower(): entry for entry in known}
        near = [lower[key] for key in difflib.get_close_matches(name.lower(), lower, n=most, cutoff=0.6)]
    return f"; did you mean {' or '.join(map(printable, near))}?" if near else ""
