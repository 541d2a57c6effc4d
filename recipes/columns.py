"""Which columns of a table hold inputs and labels, and what their cells say."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from recipes.display import counted, listed
from recipes.errors import DataError, OptionError, did_you_mean, printable
from recipes.tables import Table

# What people call columns, without anything but letters and digits; a better name comes first.
_LABEL = (
    "label labels category categories class target intent sentiment emotion emotions topic topics tag tags genre "
    "genres y stars rating cls"
)
_NUMBER = "target y value score price age count weight rating label"
_SEVERAL = "labels categories emotions topics tags genres intents classes"
_NEITHER = "id ids date time count length url score lang language user author name"

# A list as it looks in a cell of a CSV file.
_LIST = re.compile(r"\s*\[.*\]\s*", re.DOTALL)
_ITEM = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s,'"\[\]][^,\[\]]*)""", re.DOTALL)


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold inputs and labels.

    Args:
        inputs: the column of inputs, or the two that make a pair of texts.
        label: the column of labels, or one column of 0 and 1 for each label.
        multi_label: whether an input may have several labels, or none.
        separator: what stands between the labels in a cell; nothing where cells are lists.
    """

    inputs: tuple[str, ...]
    label: tuple[str, ...]
    multi_label: bool = False
    separator: str = "|"


class Wanted(Protocol):
    """What columns of inputs are wanted: the name of the option, how many at most, and how they are found."""

    option: ClassVar[str]
    most: ClassVar[int]

    def find(self, table: Table, taken: Sequence[str]) -> tuple[tuple[str, ...], bool]:
        """The columns of inputs among those that are not taken, and whether others may do."""


def find_columns(
    table: Table, wanted: Wanted, inputs: str | None, label: str | None, multi_label: bool | None
) -> tuple[Columns, list[str]]:
    """The columns of inputs and labels, by the names given, by what they are mostly called, or by what is in them.

    Args:
        table: the table.
        wanted: what inputs are.
        inputs: the columns of inputs, separated by commas; None to find them.
        label: the same for labels.
        multi_label: whether an input may have several labels; None to find out.

    Returns:
        The columns, and a note if they were guessed.
    """
    option = wanted.option
    found, labels = _asked_apart(table, wanted, inputs, label)
    unsure = [False, False]
    if not labels:
        labels, unsure[0] = _label_by_name(table, found)
    if not found:
        found, unsure[1] = wanted.find(table, labels)
    if not labels:
        labels = _label_by_content(table, found)
    columns = _with_separator(table, _there(table, option, found), _there(table, "label", labels), multi_label)
    return columns, [_guess(columns, option)] if any(unsure) else []


def find_number_column(
    table: Table, wanted: Wanted, inputs: str | None, label: str | None
) -> tuple[Columns, list[str]]:
    """The columns of inputs and of numbers, as `find_columns` finds those of labels."""
    option = wanted.option
    found, numbers = _asked_apart(table, wanted, inputs, label)
    if len(numbers) > 1:
        raise OptionError(f"label={label!r} names {len(numbers)} columns; a regressor learns the numbers of one")
    unsure = not numbers
    if not found:
        found, guessed = wanted.find(table, numbers)
        unsure = unsure or guessed
    if not numbers:
        rest = [name for name, cells in table.columns.items() if name not in found and are_numbers(cells)]
        best = {letters(name): name for name in reversed(rest)}
        numbers = tuple([best[word] for word in _NUMBER.split() if word in best] or rest[-1:])[:1]
        unsure = len(rest) > 1
    columns = Columns(_there(table, option, found), _there(table, "label", numbers, "numbers"))
    return columns, [_guess(columns, option)] if unsure else []


def columns_in(table: Table, columns: Columns, wanted: Wanted, regression: bool = False) -> Columns:
    """The columns of training where a table has them; else those that are called like inputs and labels.

    Raises:
        DataError: it has none that can be meant.
    """
    lost = [name for name in (*columns.inputs, *columns.label) if name not in table.columns]
    if not lost:
        return columns
    inputs, labels = columns.inputs, columns.label
    if {*lost} & {*labels}:
        labels = _label_by_name(table, inputs)[0] if len(labels) == 1 else ()
    if {*lost} & {*inputs}:
        inputs = wanted.find(table, labels)[0]
    if not labels or len(inputs) != len(columns.inputs):
        what = f"{counted(len(lost), 'column')} of training: {listed(lost)}"
        raise DataError(f"{printable(table.name)} lacks {what} (columns: {listed(table.columns, 8)})")
    return Columns(inputs, labels) if regression else _with_separator(table, inputs, labels, columns.multi_label)


def _asked_apart(
    table: Table, wanted: Wanted, inputs: str | None, label: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns that the two options name, which differ.

    Raises:
        OptionError: there are no such columns, too many, or one is both.
    """
    found, labels = asked(table, inputs, wanted.option), asked(table, label, "label")
    if both := {*found} & {*labels}:
        name = printable(both.pop())
        raise OptionError(f"column {name!r} is named as {wanted.option} and as label; one of them is another")
    if len(found) > wanted.most:
        known = "name one, or two for pairs of texts" if wanted.most > 1 else "name one"
        raise OptionError(f"{wanted.option}={inputs!r} names {len(found)} columns; {known}")
    return found, labels


def _there(table: Table, option: str, names: tuple[str, ...], things: str | None = None) -> tuple[str, ...]:
    if not names:
        known = listed(table.columns, 8)
        raise DataError(
            f"{printable(table.name)} has no column of {things or f'{option}s'} (columns: {known}); name it with "
            f"{option}=..."
        )
    return names


def _guess(columns: Columns, option: str) -> str:
    found = [" and ".join(repr(printable(name)) for name in names) for names in (columns.inputs, columns.label)]
    return f"took column {found[0]} as {option} and {found[1]} as label; name others with {option}=... and label=..."


def letters(name: str) -> str:
    """A name without anything but letters and digits, so that `Image_Path` and `image path` are alike."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def asked(table: Table, names: str | None, option: str) -> tuple[str, ...]:
    """The columns that an option names, separated by commas.

    Raises:
        OptionError: there is no such column.
    """
    found = []
    for name in [] if names is None else [names] if names in table.columns else names.split(","):
        alike = [column for column in table.columns if column.strip() == name.strip()] or [
            column for column in table.columns if letters(column) == letters(name)
        ]
        if len(alike) != 1:
            known = f"{did_you_mean(name, table.columns)} (columns: {listed(table.columns, 8)})"
            raise OptionError(f"{option}={name!r} is no column of {printable(table.name)}{known}")
        found += alike
    return tuple(found)


def by_name(table: Table, known: str, taken: Sequence[str], fits: Callable[[list[Any]], Any]) -> tuple[str, ...]:
    """The column with the best name, or else one whose name has such a word in it, as in `review_text`."""
    free = [name for name in table.columns if name not in taken]
    whole = {letters(name): name for name in reversed(free)}
    if best := [whole[word] for word in known.split() if word in whole]:
        return (best[0],)
    words = {name: re.findall(r"[^\W_]+", name.casefold()) for name in free}
    partly = [name for word in known.split() for name in free if word in words[name] and len(word) > 1]
    plausible = [name for name in partly if not {*words[name]} & {*_NEITHER.split()} and fits(table.columns[name])]
    return tuple(plausible[:1])


def _label_by_name(table: Table, taken: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """The column that is called like labels, and whether another may be meant."""
    names = {letters(name) for name in table.columns if name not in taken}
    return by_name(table, _LABEL, taken, _few), len(names & {*_LABEL.split()}) != 1


def _label_by_content(table: Table, taken: Sequence[str]) -> tuple[str, ...]:
    """The last column with few different values."""
    found = [name for name, cells in table.columns.items() if name not in taken and _few(cells)]
    flags = [name for name in found if {*map(plain, table.columns[name])} <= {"0", "1", "0.0", "1.0", ""}]
    if len(flags) > 1 and len(flags) == len(found):
        raise DataError(
            f"{printable(table.name)} has {len(flags)} columns of 0 and 1 ({listed(flags)}); name one, or all that are "
            f"labels, as in label={','.join(map(printable, flags[:2]))}"
        )
    return tuple(found[-1:])


def _few(cells: Sequence[Any]) -> bool:
    """Whether a column has few different values, as labels have."""
    if not all(isinstance(cell, (str, int, float)) or is_list(cell) or missing(cell) for cell in cells[:1000]):
        return False  # pictures, say
    values = {name for cell in cells for name in several(cell, None)}
    return 2 <= len(values) <= min(len(cells) // 2, 500)


def _with_separator(
    table: Table, inputs: tuple[str, ...], labels: tuple[str, ...], multi_label: bool | None
) -> Columns:
    """The columns, and whether and how a cell may hold several labels."""
    if len(labels) > 1:
        if multi_label is False:
            raise OptionError("label names several columns, so there may be several labels; leave multi_label away")
        return Columns(inputs, labels, True)
    cells = [cell for cell in table.columns[labels[0]] if not missing(cell)]
    strings = [cell for cell in cells if isinstance(cell, str)]
    lists = [cell for cell in cells if is_list(cell)]
    if (
        lists
        and len({*map(len, lists)}) == 1 < len(lists[0])
        and all({*map(plain, cell)} <= {"0", "1"} for cell in lists)
    ):
        raise DataError(f"the labels in {printable(table.name)} are lists of 0 and 1; give lists of names instead")
    if multi_label is False:
        if lists:
            raise OptionError("the labels are lists, so there may be several; leave multi_label away")
        return Columns(inputs, labels)
    if lists or (strings and all(map(_LIST.fullmatch, strings))):
        return Columns(inputs, labels, True, "")
    used = [mark for mark in "|,;" if any(mark in cell for cell in strings)]
    if multi_label or (used[:1] == ["|"] and letters(labels[0]) in _SEVERAL.split()):
        return Columns(inputs, labels, True, (used or ["|"])[0])
    return Columns(inputs, labels)


# ---------------------------------------------------------------------------------------------------------------------
# Cells


def missing(cell: Any) -> bool:
    """Whether there is nothing in a cell: None, NaN, pandas' NA, or nothing but spaces."""
    nothing = cell is None or type(cell).__name__ in ("NAType", "NaTType")
    return nothing or (isinstance(cell, float) and cell != cell) or (isinstance(cell, str) and not cell.strip())


def plain(cell: Any) -> str:
    """A cell as the name of a label; a whole number has no fraction."""
    if isinstance(cell, str):
        return cell.strip()
    if missing(cell):
        return ""
    value = cell.item() if hasattr(cell, "item") else cell
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def label_names(table: Table, columns: Columns) -> list[tuple[str, ...]]:
    """The names of each row's labels."""
    if len(columns.label) > 1:
        flags = [[_flag(table, name, place) for name in columns.label] for place in range(len(table))]
        return [tuple(name for name, on in zip(columns.label, row, strict=True) if on) for row in flags]
    cells = table.columns[columns.label[0]]
    if any(isinstance(cell, float) and not cell.is_integer() and not missing(cell) for cell in cells):
        numeric = [
            isinstance(cell, (int, float)) and not isinstance(cell, bool) and not missing(cell) for cell in cells
        ]
        cells = [str(float(cell)) if number else cell for cell, number in zip(cells, numeric, strict=True)]
    separator = columns.separator if columns.multi_label else None
    known: dict[str, tuple[str, ...]] = {}  # equal names are one object, of which there may be a million

    def names(cell: Any) -> tuple[str, ...]:
        if not isinstance(cell, str):
            return several(cell, separator)
        if cell not in known:
            known[cell] = several(cell, separator)
        return known[cell]

    return list(map(names, _as_whole_numbers(cells)))


def _as_whole_numbers(cells: list[Any]) -> list[Any]:
    """Texts such as `1.0` as `1`, where all of a column are whole numbers, as frames write a column with gaps.

    Also where all are numbers and one of them is written in two ways.
    """
    values = {cell.strip() for cell in cells if isinstance(cell, str) and cell.strip()}
    if not any("." in value for value in values) or not all(re.fullmatch(r"-?\d+(\.\d+)?", value) for value in values):
        return cells
    if all(value.endswith(".0") or "." not in value for value in values) or len({*map(spelled, values)}) < len(values):
        return [spelled(cell) if isinstance(cell, str) else cell for cell in cells]
    return cells


def spelled(name: str) -> str:
    """A label with one spelling for a number and for a truth value: `1` for `1.0`, `true` for `True`."""
    name = name.strip()
    if re.fullmatch(r"-?\d+\.\d+", name):
        return name.rstrip("0").removesuffix(".")
    return name.lower() if name.lower() in ("true", "false") else name


def _flag(table: Table, name: str, place: int) -> bool:
    """Whether a label applies, by the cell in its own column."""
    cell = plain(table.columns[name][place]).lower()
    if cell not in ("1", "1.0", "true", "yes", "0", "0.0", "false", "no", ""):
        where = f"{printable(table.row_name(place))}: expected 0 or 1 in column {printable(name)!r}"
        raise DataError(f"{where}, found {printable(cell)!r}")
    return cell in ("1", "1.0", "true", "yes")


def is_list(cell: Any) -> bool:
    """Whether a cell holds several values; a picture's array is none of that kind."""
    if getattr(cell, "ndim", 1) != 1:
        return False
    return isinstance(cell, (list, tuple, set, frozenset)) or (hasattr(cell, "__len__") and hasattr(cell, "tolist"))


def several(cell: Any, separator: str | None) -> tuple[str, ...]:
    """The names in a cell, each once; a string is split if there is a separator, and read as a list if it is empty."""
    parts: Iterable[Any] = cell if is_list(cell) else [cell]
    if isinstance(cell, str) and separator is not None:
        parts = cell.split(separator) if separator else _written_list(cell)
    return tuple(dict.fromkeys(name for part in parts if (name := plain(part))))


def _written_list(cell: str) -> list[Any]:
    """A list that was written into a CSV file, as JSON or as Python or numpy print it, the last without commas."""
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return [re.sub(r"\\(.)", r"\1", "".join(match.groups(""))) for match in _ITEM.finditer(cell)]
    return found if isinstance(found, list) else [found]


def numbers(table: Table, column: str) -> list[float | None]:
    """The numbers of a column; None where there is none.

    Raises:
        DataError: a cell holds something else.
    """
    found = [_number(cell) for cell in table.columns[column]]
    wrong = [place for place, value in enumerate(found) if value is not None and not math.isfinite(value)]
    if wrong:
        cell = printable(str(table.columns[column][wrong[0]]), 40)
        raise DataError(
            f"{printable(table.row_name(wrong[0]))}: expected a number in column {printable(column)!r}, found {cell!r}"
        )
    return found


def _number(cell: Any) -> float | None:
    """A cell as a number, NaN where it is none and None where nothing is there; 3,5 is read as 3.5."""
    if missing(cell):
        return None
    try:
        return float(cell)
    except (TypeError, ValueError):
        text = str(cell).strip()
        return float(text.replace(",", ".")) if re.fullmatch(r"[+-]?\d+,\d+", text) else math.nan


def are_numbers(cells: Sequence[Any]) -> bool:
    """Whether all cells of a column that hold anything hold numbers."""
    found = [
        _number(cell) if isinstance(cell, (str, int, float)) or hasattr(cell, "item") else math.nan
        for cell in cells
        if not missing(cell)
    ]
    return bool(found) and all(value is not None and math.isfinite(value) for value in found)
