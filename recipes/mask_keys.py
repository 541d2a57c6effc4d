"""What is known about labels besides the masks: names, values and colours, from options or from a file beside them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes import images
from recipes.display import listed
from recipes.errors import DataError, OptionError, did_you_mean, printable
from recipes.masks import MOST_LABELS, Colour

# What files with labels are called, without anything but letters; a better name comes first.
_FILES = [
    "classdict",
    "classes",
    "labelcolors",
    "labelcolours",
    "labelmap",
    "colors",
    "colours",
    "colormap",
    "codes",
    "classnames",
    "labels",
    "labelnames",
    "names",
    "legend",
]

_GAP = r"[\s,;:|]+"
_COLOUR = rf"\(?(\d{{1,3}}){_GAP}(\d{{1,3}}){_GAP}(\d{{1,3}})\)?"
_NAME = r"(.*?[^\W\d].*?)"

# A line may have: colour name; value name colour; name colour; value name; name value; name.
_LINES = tuple(
    (re.compile(pattern), order)
    for pattern, order in (
        (rf"{_COLOUR}{_GAP}{_NAME}", "cccn"),
        (rf"(\d+){_GAP}{_NAME}{_GAP}{_COLOUR}", "vnccc"),
        (rf"{_NAME}{_GAP}{_COLOUR}", "nccc"),
        (rf"(\d+){_GAP}{_NAME}", "vn"),
        (rf"{_NAME}[,;:|\t]\s*(\d+)", "nv"),
        (_NAME, "n"),
    )
)
# A label and its colour as an option has them, sky=128,128,128; several are separated by semicolons.
_ENTRY = re.compile(r"\s*(\S|\S.*?\S)\s*=\s*\(?([\d\s,]+)\)?\s*")

_HEADER = re.compile(r"(?=.*\b(name|class|label|category)\b)(?=.*\b(r|red|g|id|value|index|code|pixel)\b)")


@dataclass(frozen=True)
class Key:
    """Labels in order, with their values and colours where these are known.

    Args:
        source: the option or file that says so.
        names: the labels' names.
        values: the value of each in a mask.
        colours: the colour of each.
        given: whether the user said so: what does not fit is then an error, not a note.
    """

    source: str
    names: tuple[str, ...]
    values: tuple[int, ...] = ()
    colours: tuple[Colour, ...] = ()
    given: bool = True


def find_key(labels: Sequence[str] | None, colours: Any, folder: str | None) -> Key | None:
    """The labels from the options `labels` and `colours`, or else from a file in the data's folder.

    Raises:
        OptionError: the options cannot be, or contradict each other.
        DataError: a file given in `colours` holds no labels.
    """
    key = None
    if colours is not None:
        key = _table(colours)
    elif labels is None:
        return _beside(folder)
    if labels is None:
        return key
    names = tuple(labels) if not isinstance(labels, str) else tuple(name.strip() for name in labels.split(","))
    _check("labels", names)
    if key is None:
        beside = _beside(folder)
        return (
            _named(beside, names, "labels")
            if beside and beside.colours and {*names} <= {*beside.names}
            else Key("labels", names)
        )
    return _named(key, names, "labels")


def _named(key: Key, names: tuple[str, ...], source: str) -> Key:
    if wrong := [name for name in names if name not in key.names]:
        raise OptionError(f"{key.source} has no label {printable(wrong[0])!r}{did_you_mean(wrong[0], key.names)}")
    places = [key.names.index(name) for name in names]
    return Key(
        source,
        names,
        tuple(key.values[place] for place in places) if key.values else (),
        tuple(key.colours[place] for place in places) if key.colours else (),
    )


def _check(source: str, names: Sequence[str]) -> None:
    if not 1 < len(names) <= MOST_LABELS or not all(isinstance(name, str) and name.strip() for name in names):
        raise OptionError(f"{source}: expected 2 to {MOST_LABELS} names, found {listed(map(str, names)) or 'none'}")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if list(names).count(name) > 1})
        raise OptionError(f"{source}: each name stands for one label, found twice: {listed(twice)}")


def spelled_colours(colours: Any) -> str | None:
    """The option `colours` as one text, so that the shell and recipe.yaml can repeat it.

    Args:
        colours: a path, names with colours, or the text that stands for these: `sky=128,128,128;road=128,64,128`.

    Raises:
        OptionError: it is none of these.
    """
    if colours is None or isinstance(colours, (str, os.PathLike)):
        return None if colours is None else os.fspath(colours)
    key = _table(colours)
    table = dict(zip((name.strip() for name in key.names), key.colours, strict=True))
    text = ";".join(f"{name}={','.join(map(str, colour))}" for name, colour in table.items())
    if _spelled(text) != list(table.items()):
        raise OptionError(
            f"colours: a label's name cannot hold a semicolon or a line's end, as in {listed(map(repr, key.names))}; "
            f"give a file with lines such as sky,128,128,128"
        )
    return text


def spelled_names(labels: Any) -> Any:
    """The option `labels` as one text, names separated by commas; a list of names that hold commas stays one."""
    listed_names = isinstance(labels, (list, tuple)) and not any("," in str(name) for name in labels)
    return ",".join(map(str, labels)) if listed_names else labels


def spelled_ignore(ignore: Any) -> Any:
    """The option `ignore` as one text, with semicolons between colours; a list of names that hold commas stays one.

    Raises:
        OptionError: it is none.
    """
    if ignore is None or isinstance(ignore, str):
        return ignore
    _, _, names = wished(ignore) or ([], [], [])
    if any("," in name or ";" in name for name in names):
        return ignore
    parts = [_spelled_wish(one) for one in ([ignore] if hasattr(ignore, "__index__") else ignore)]
    return ";".join([*parts, ""]) if any("," in part for part in parts) else ",".join(parts)


def _spelled_wish(one: Any) -> str:
    if isinstance(one, (list, tuple)):
        return ",".join(map(str, colour_of(one)))
    return one if isinstance(one, str) else str(int(one))


def _spelled(text: str) -> list[tuple[str, tuple[int, ...]]] | None:
    """The labels with their numbers in a text such as `sky=128,128,128;road=128,64,128`; None if it is another."""
    entries = [_ENTRY.fullmatch(part) for part in text.rstrip("; ").split(";")]
    found = [(entry[1], tuple(map(int, re.findall(r"\d+", entry[2])))) for entry in entries if entry]
    return found if len(found) == len(entries) else None


def _table(colours: Any) -> Key:
    if isinstance(colours, (str, os.PathLike)):
        path = os.path.expanduser(os.fspath(colours))
        if not os.path.isfile(path):
            if (found := _spelled(os.fspath(colours))) is not None:
                _check("colours", [name for name, _ in found])
                return _table(dict(found))
            raise DataError(
                f"colours={printable(path)} does not exist; give a file with lines such as sky,128,128,128, or the "
                f"colours themselves, such as sky=128,128,128;road=128,64,128"
            )
        key = _read(path, given=True)
        if key is None or not key.colours:
            raise DataError(f"{printable(path)} holds no colours of labels; expected lines such as sky,128,128,128")
        return key
    if not isinstance(colours, Mapping):
        raise OptionError(
            f"colours: expected names with colours, as in {{'sky': (128, 128, 128)}}, found {colours!r:.60}"
        )
    names = tuple(colours)
    _check("colours", names)
    try:
        table = tuple(colour_of(colours[name]) for name in names)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"colours: expected red, green and blue from 0 to 255 for each label, found {error}"
        ) from error
    _check_colours("colours", names, table)
    return Key("colours", names, colours=table)


def colour_of(value: Any) -> Colour:
    """Red, green and blue as plain numbers.

    Raises:
        ValueError: they are none.
    """
    numbers = [int(number) for number in value]
    if len(numbers) != 3 or not all(0 <= number <= 255 for number in numbers):
        raise ValueError(f"{value!r:.60}")
    return numbers[0], numbers[1], numbers[2]


def _check_colours(source: str, names: Sequence[str], colours: Sequence[Colour]) -> None:
    first: dict[Colour, str] = {}
    for name, colour in zip(names, colours, strict=True):
        if colour in first:
            raise OptionError(f"{source}: {printable(first[colour])} and {printable(name)} have one colour, {colour}")
        first[colour] = name


def _beside(folder: str | None) -> Key | None:
    """The labels from a file in the data's folder whose name says that it holds them."""
    if folder is None:
        return None
    try:
        names = sorted(name for name in os.listdir(folder or ".") if not images.ignored(name))
    except OSError:
        return None
    ranked = sorted((_FILES.index(plain), name) for name in names if (plain := _plain(name)) in _FILES)
    found = (_read(os.path.join(folder, name), given=False) for _, name in ranked)
    return next((key for key in found if key), None)


def _plain(name: str) -> str:
    stem, ending = os.path.splitext(name.lower())
    return re.sub("[^a-z]", "", stem) if ending in (".csv", ".txt", ".tsv", ".names") else ""


def _read(path: str, given: bool) -> Key | None:
    """The labels in a file, one to a line; None if the file is something else."""
    try:
        if os.path.getsize(path) > 100_000:
            return None
        text = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    lines = [line.strip().strip("\"'").rstrip(",;:| \t") for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if lines and _HEADER.match(lines[0].lower()):
        lines = lines[1:]
    parsed = [_parsed(line) for line in lines]
    if not 1 < len(parsed) <= MOST_LABELS or None in parsed:
        return None
    found = [entry for entry in parsed if entry is not None]
    names, values, colours = (tuple(column) for column in zip(*found, strict=True))
    known = values if None not in values and len(set(values)) == len(values) else ()
    table = colours if None not in colours and len(set(colours)) == len(colours) else ()
    if len(set(names)) < len(names):
        return None
    return Key(printable(path), names, known, table, given)


def _parsed(line: str) -> tuple[str, int | None, Colour | None] | None:
    for pattern, order in _LINES:
        if found := pattern.fullmatch(line):
            by_kind: dict[str, list[str]] = {"n": [], "v": [], "c": []}
            for kind, text in zip(order, found.groups(), strict=True):
                by_kind[kind].append(text)
            colour = tuple(map(int, by_kind["c"]))
            if any(number > 255 for number in colour):
                return None
            value = int(by_kind["v"][0]) if by_kind["v"] else None
            name = by_kind["n"][0].strip().strip("\"'").strip()
            return name, value, (colour[0], colour[1], colour[2]) if colour else None
    return None


def wished(ignore: Any) -> tuple[list[int], list[Colour], list[str]] | None:
    """Values, colours and names of what is not to count, from a value, a colour, a name or several; None if not given.

    Three numbers may be three values or a colour; both are given back, and the masks decide.

    Raises:
        OptionError: it is none of these.
    """
    if ignore is None:
        return None
    if isinstance(ignore, str):
        parts = ignore.split(";")
        ignore = [one for part in parts for one in _wishes(part, alone=len(parts) == 1)]
    elif hasattr(ignore, "__index__"):
        ignore = [ignore]
    values: list[int] = []
    colours: list[Colour] = []
    names: list[str] = []
    try:
        for one in ignore:
            if isinstance(one, str):
                names.append(one.strip())
            elif isinstance(one, (list, tuple)):
                colours.append(colour_of(one))
            else:
                values.append(int(one))
    except (TypeError, ValueError) as error:
        raise OptionError(f"ignore: expected a value, a colour or a label's name, found {ignore!r:.60}") from error
    if len(values) == 3 and not colours and all(0 <= value <= 255 for value in values):
        colours.append(colour_of(values))
    return values, colours, [name for name in names if name]


def _wishes(text: str, alone: bool) -> list[Any]:
    """The values or names in a part of a text; three values are a colour where the part is not alone."""
    numbers = re.fullmatch(r"\s*\(?\s*(-?\d+(?:\s*[, ]\s*-?\d+)*)\s*\)?\s*", text)
    if not numbers:
        return list(text.split(","))
    values = [int(word) for word in re.split(r"[,\s]+", numbers[1])]
    return values if alone or len(values) != 3 else [tuple(values)]
