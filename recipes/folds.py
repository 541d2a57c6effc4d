"""Find the split of each row of a table, from a column that names splits or from the numbers of folds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from recipes.display import listed
from recipes.errors import DataError, did_you_mean, printable
from recipes.examples import SPLITS

#: What people call a column of splits, without anything but letters and digits; a better name comes first.
SPLIT_COLUMNS = ("split", "set", "subset", "part", "partition")

#: What they call one of folds, in which numbers are folds. A 2 in a column of splits may be the test set.
FOLD_COLUMNS = ("fold", "folds", "kfold")

# A number as tables have it: 3, "3", 3.0 where other cells are missing, fold_3.
_NUMBER = re.compile(r"(?:fold[ _-]?)?(-?\d{1,9})(?:\.0*)?", re.IGNORECASE)


def split_of(name: str) -> str | None:
    """The split (train, val, test) that a name stands for: `Validation`, `reviews_train`, `test-00000-of-00001`."""
    words = re.findall("[a-z]+", name.lower())
    found = [part for part, known in SPLITS.items() if any(word in known for word in words)]
    return found[0] if len(found) == 1 else None


def parts_of(cells: Sequence[Any], where: Callable[[int], str], column: str = "fold") -> tuple[list[str], list[str]]:
    """The split of each row, and what was decided on the way.

    Words name the split. Of folds the one with the highest number is for validation, and all others are for training.

    Args:
        cells: the column, a cell for each row.
        where: what to call the row at a place.
        column: the column's name; only in one of `FOLD_COLUMNS` numbers are folds.

    Returns:
        `train`, `val` or `test` for each row, and notes.

    Raises:
        DataError: a cell is neither, or numbers and words are mixed.
    """
    texts = ["" if cell is None else str(cell).strip() for cell in cells]
    words = [split_of(text) for text in texts]
    if re.sub("[^a-z0-9]", "", column.lower()) in FOLD_COLUMNS:
        folds = [int(match[1]) if (match := _NUMBER.fullmatch(text)) else None for text in texts]
        if sum(fold is not None for fold in folds) > sum(word is not None for word in words):
            wrong = next((place for place, fold in enumerate(folds) if fold is None), None)
            if wrong is not None:
                raise DataError(
                    f"{where(wrong)}: the fold is {printable(texts[wrong])!r}; expected a whole number as in others"
                )
            return _by_fold([fold for fold in folds if fold is not None], column)
    parts = [word for word in words if word is not None]
    if len(parts) < len(words):
        wrong = words.index(None)
        known = [word for names in SPLITS.values() for word in names]
        raise DataError(
            f"{where(wrong)}: the split is {printable(texts[wrong])!r}; expected train, val or test"
            f"{did_you_mean(texts[wrong], known, 1)}"
        )
    return parts, []


def _by_fold(folds: list[int], column: str) -> tuple[list[str], list[str]]:
    *others, last = sorted({*folds})
    name = repr(printable(column))
    if not others:
        return ["train"] * len(folds), [f"column {name} is not used: all rows have the fold {last}"]
    run = len(others) > 2 and others[-1] - others[0] == len(others) - 1
    rest = f"{others[0]} to {others[-1]}" if run else listed(map(str, others), 6)
    note = f"took fold {last} of column {name} for validation, {rest} for training; a split column names others"
    return ["val" if fold == last else "train" for fold in folds], [note]
