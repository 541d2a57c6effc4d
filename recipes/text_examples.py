"""Find labelled texts in a table, a folder, a data frame or two lists, split them, and gather texts to predict."""

from __future__ import annotations

import codecs
import json
import os
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from recipes import images
from recipes.display import counted, listed, say
from recipes.errors import DataError, OptionError, did_you_mean, printable
from recipes.examples import (
    SPLITS,
    Examples,
    Splits,
    fingerprint,
    in_threads,
    split_folders,
    stratified_split,
    subfolders,
    watched,
)
from recipes.tables import SUFFIXES, Table, decoded, existing, frame_kind, is_table, kind_of, read_table

# What people call columns, without anything but letters and digits; a better name comes first.
_TEXT = (
    "text texts sentence review content message comment question tweet body document utterance query description title "
    "headline"
)
_PAIRS = (
    "premise hypothesis/sentence1 sentence2/question1 question2/texta textb/text1 text2/sentencea sentenceb/"
    "question answer/question sentence/query document/query passage"
)
_LABEL = (
    "label labels category categories class target intent sentiment emotion emotions topic topics tag tags genre "
    "genres y stars rating"
)
_SEVERAL = "labels categories emotions topics tags genres intents classes"
_SPLIT = "split set subset part partition"
_NEITHER = "id ids date time count length url score lang language user author name"

# Of fewer rows nothing can be said from how many different labels they have.
_LARGE = 50

# A list as it looks in a cell of a CSV file.
_LIST = re.compile(r"\s*\[.*\]\s*", re.DOTALL)
_ITEM = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s,'"\[\]][^,\[\]]*)""", re.DOTALL)

_FORMS = (
    "give a table with a column of texts and one of labels (train.csv), a folder that holds a folder of .txt files for "
    "each label, a data frame, or two lists, (texts, labels)"
)


@dataclass(frozen=True)
class TextColumns:
    """Which columns of a table hold texts and labels.

    Args:
        text: the column of texts, or the two that make a pair.
        label: the column of labels, or one column of 0 and 1 for each label.
        multi_label: whether a text may have several labels, or none.
        separator: what stands between the labels in a cell; nothing where cells are lists.
    """

    text: tuple[str, ...]
    label: tuple[str, ...]
    multi_label: bool
    separator: str = "|"


def check_texts(data: Any) -> None:
    """Refuse at once what is not there or cannot hold labelled texts.

    Raises:
        DataError: what was found instead, and what to do.
    """
    if isinstance(data, (str, os.PathLike)):
        path = existing(data)
        if os.path.isdir(path) and not _tables_in(path):
            _label_folders(path)
    elif (not hasattr(data, "__len__") and frame_kind(data) is None) or isinstance(data, (bytes, set, frozenset)):
        raise DataError(f"expected labelled texts, found {type(data).__name__}; {_FORMS}")


def read_texts(
    data: Any,
    val: Any = None,
    *,
    text: str | None,
    label: str | None,
    multi_label: bool | None,
    fraction: float,
    seed: int,
) -> Splits:
    """Texts with their labels, wherever they are, for training, for validation and perhaps for testing.

    Args:
        data: a table, a folder, a data frame, a data set, two lists, or a dict of any of these by split.
        val: the same for validation, or None to find or split it.
        text: the column of texts, or two separated by a comma; found if None.
        label: the column of labels, or several of 0 and 1, separated by commas; found if None.
        multi_label: whether a text may have several labels; found if None.
        fraction: the share of each label's texts to set aside for validation where none are given.
        seed: governs which ones.

    Raises:
        DataError: there are no texts with two labels or more.
        OptionError: there is no such column.
    """
    source, given = _source(data), None if val is None else _source(val)
    if "train" not in source.tables:
        raise DataError(
            f"found texts for {listed(source.tables)} and none for training; call these train, as in train.csv"
        )
    columns, guess = _find_columns(source.tables["train"], text, label, multi_label)
    notes = [*source.notes, *guess]
    if given is not None:
        source.tables["val"] = next(given.tables[part] for part in ("val", "train", "test") if part in given.tables)
        notes += given.notes
    rows = {"train": _rows(source.tables["train"], columns, notes)}
    for part in (part for part in SPLITS if part in source.tables and part != "train"):
        try:
            rows[part] = _rows_held_out(source.tables[part], columns, notes)
        except DataError as error:  # as in competitions, whose test.csv has no labels
            if part == "val" and given is not None:
                raise
            notes.append(f"left out what is for {_USE[part]}: {error}")
    labels = _checked_labels(rows["train"], columns, notes)
    found = {part: _examples(own, labels, columns) for part, own in rows.items()}
    forms = {part: [_form(one) for one in own.texts] for part, own in rows.items()}
    _note_copies(rows, forms, notes)
    _note_counts(found["train"], notes)
    train, held_out = found["train"], found.get("val")
    if held_out is None:
        kept, out = stratified_split(train.targets, fraction, seed, forms["train"])
        train, held_out = train.take(kept), train.take(out)
    splits = Splits(train, held_out, found.get("test"), notes, source.root, columns)
    splits.sources = _fingerprints([source, *([given] if given else [])], rows, splits.name)
    return splits


def read_texts_held_out(data: Any, labels: tuple[str, ...], columns: TextColumns) -> Examples:
    """Labelled texts to score a model on; of what is divided into splits those for testing, or else for validation.

    Args:
        data: as for `read_texts`.
        labels: the labels that the model knows.
        columns: the columns it was trained on; where they are missing, others are found.

    Raises:
        DataError: there are no labelled texts, or one has a label that is not among `labels`.
    """
    source = _source(data)
    notes = source.notes
    parts: list[str] = [part for part in ("test", "val") if part in source.tables] or ["train"]
    rows = None
    for part in parts:
        try:
            rows = _rows_held_out(source.tables[part], columns, notes)
            break
        except DataError as error:
            if part == parts[-1]:
                raise
            notes.append(f"left out what is for {_USE[part]}: {error}")
    assert rows is not None
    examples = _examples(rows, labels, columns)
    if len(source.tables) > 1:
        say(f"note: evaluating on {_USE[part]} texts of {printable(rows.title)}")
    for note in notes:
        say(f"note: {note}")
    return examples


_USE = {"train": "training", "val": "validation", "test": "testing"}


# ---------------------------------------------------------------------------------------------------------------------
# Where texts are


@dataclass
class _Source:
    """Tables by split (train alone where there are no splits), the folder around them, and the files they are from."""

    tables: dict[str, Table]
    root: str = ""
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _source(data: Any) -> _Source:
    if isinstance(data, (str, os.PathLike)):
        path = existing(data)
        return _folder(path) if os.path.isdir(path) else _file(path)
    if isinstance(data, Mapping):
        names, notes = _by_split(data, "these data")
        if names:
            return _joined({part: _source(data[name]) for part, name in names.items()}, notes)
    columns = _two_lists(data)
    if columns is None and isinstance(data, (list, tuple)) and not all(isinstance(one, Mapping) for one in data):
        raise DataError(f"expected labelled texts, found {type(data).__name__} of {len(data)}; {_FORMS}")
    return _divided(read_table(data if columns is None else columns))


def _joined(sources: dict[str, _Source], notes: list[str]) -> _Source:
    """One source of what was given for each split."""
    tables = {part: next(iter(source.tables.values())) for part, source in sources.items()}
    for part, table in tables.items():
        table.name = f"({part})" if table.name.startswith("(") else table.name
    files = [file for source in sources.values() for file in source.files]
    return _Source(tables, "", files, [*notes, *(note for source in sources.values() for note in source.notes)])


def _file(path: str) -> _Source:
    source = _divided(read_table(path))
    return _Source(source.tables, os.path.dirname(path), [path], source.notes)


def _split_of(name: str) -> str | None:
    """The split (train, val, test) that a name stands for: `Validation`, `reviews_train`, `test-00000-of-00001`."""
    words = re.findall("[a-z]+", name.lower())
    found = [part for part, known in SPLITS.items() if any(word in known for word in words)]
    return found[0] if len(found) == 1 else None


def _by_split(names: Iterable[Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """Names by the split they stand for, and a note on the others; nothing where they are no names of splits."""
    names = list(names)
    found = {part: [name for name in names if _split_of(str(name)) == part] for part in SPLITS}
    if not found["train"] and sum(map(len, found.values())) < len(names):
        return {}, []
    chosen = {}
    for part, rivals in found.items():
        exact = [name for name in rivals if str(name).lower().partition(".")[0] in SPLITS[part]]
        if part == "train" and len(rivals) > 1 and len(exact) != 1:
            raise DataError(f"{where} has {len(rivals)} tables for training: {listed(map(str, rivals))}; make them one")
        chosen.update({part: (exact or rivals)[0]} if rivals else {})
    others = [str(name) for name in names if name not in chosen.values()]
    return chosen, [f"left out {listed(others)} of {where}"] if others else []


def _two_lists(data: Any) -> dict[str, Any] | None:
    """The columns that two lists make, of texts, or pairs of texts, and of labels; None if they are something else."""
    if not isinstance(data, (list, tuple)) or len(data) != 2 or any(isinstance(one, (str, Mapping)) for one in data):
        return None
    if not all(hasattr(one, "__len__") and len(getattr(one, "shape", " ")) == 1 for one in data):
        return None
    texts, labels = (one.tolist() if hasattr(one, "tolist") else list(one) for one in data)
    if len(texts) != len(labels):
        found = f"{counted(len(texts), 'text')} and {counted(len(labels), 'label')}"
        raise DataError(f"expected as many labels as texts, found {found}")
    if texts and all(isinstance(one, (list, tuple)) and len(one) == 2 for one in texts):
        return {"text_a": [one for one, _ in texts], "text_b": [other for _, other in texts], "label": labels}
    return {"text": texts, "label": labels}


def _divided(table: Table) -> _Source:
    """A table by its column of splits, if it has one."""
    for name, cells in table.columns.items():
        parts = [_split_of(str(cell)) for cell in cells] if name.strip().lower() in _SPLIT.split() else []
        if not any(parts):
            continue
        if None in parts:
            place = parts.index(None)
            known = [word for words in SPLITS.values() for word in words]
            raise DataError(
                f"{printable(table.row_name(place))}: the split is {printable(str(cells[place]))!r}; expected train, "
                f"val or test{did_you_mean(str(cells[place]), known, 1)}"
            )
        del table.columns[name]
        places = {part: [place for place, own in enumerate(parts) if own == part] for part in SPLITS if part in parts}
        return _Source({part: table.take(own) for part, own in places.items()}, notes=table.notes)
    return _Source({"train": table}, notes=table.notes)


def _folder(root: str) -> _Source:
    """A folder of tables, or of folders of text files."""
    names = _tables_in(root)
    if not names:
        notes: list[str] = []
        tables = {part: _text_files(folder, root, notes) for part, folder in _label_folders(root).items()}
        files = [os.path.join(root, name) for table in tables.values() for name in table.names or ()]
        return _Source(tables, root, files, notes)
    chosen, notes = _by_split(names, printable(root))
    if len(names) == 1:
        return _file(os.path.join(root, names[0]))
    if not chosen:
        raise DataError(
            f"{printable(root)} holds {len(names)} tables ({listed(names)}); give one of them, or call them train.csv "
            f"and test.csv"
        )
    files = [os.path.join(root, name) for name in chosen.values()]
    tables = {part: read_table(file) for part, file in zip(chosen, files, strict=True)}
    return _Source(tables, root, files, [*notes, *(note for table in tables.values() for note in table.notes)])


def _tables_in(folder: str) -> list[str]:
    """The names of a folder's tables."""
    subfolders(folder)  # which refuses a folder that cannot be read
    found = [entry.name for entry in os.scandir(folder) if entry.is_file() and is_table(entry.name)]
    return sorted(name for name in found if not images.ignored(name))


def _label_folders(root: str) -> dict[str, str]:
    """By split, the folder that holds a folder of text files for each label.

    Raises:
        DataError: there is none.
    """
    parts = split_folders(root) or {"train": root}
    for folder in parts.values():
        if not any(_text_paths(entry.path) for entry in subfolders(folder)):
            below = [entry.path for entry in subfolders(root) if _tables_in(entry.path)]
            raise DataError(
                f"{printable(folder)} holds no table ({', '.join(SUFFIXES)}) and no folders of .txt files for labels, "
                f"as in reviews/good/1.txt" + (f"; did you mean {printable(below[0])}?" if len(below) == 1 else "")
            )
    return parts


def _text_paths(folder: str) -> list[str]:
    """The text files below a folder."""
    try:
        return [entry.path for entry in images.walk(folder, set()) if entry.name.lower().endswith(".txt")]
    except OSError as error:
        raise DataError(f"{printable(folder)} cannot be read ({error.strerror})") from error


def _text_files(folder: str, root: str, notes: list[str]) -> Table:
    """The texts of a folder that holds a folder of text files for each label."""
    found = [(path, entry.name) for entry in subfolders(folder) for path in _text_paths(entry.path)]
    names = [os.path.relpath(path, root) for path, _ in found]
    columns = {
        "text": _contents([path for path, _ in found], names, notes),
        "label": [label for _, label in found],
    }
    title = os.path.basename(os.path.abspath(folder))
    return Table(title, columns, list(range(1, len(found) + 1)), names=names)


def _contents(paths: Sequence[str], names: Sequence[str], notes: list[str]) -> list[Any]:
    """What text files hold; None for those that hold no text."""
    texts: list[Any] = []
    foreign, broken = [], []
    for name, content in zip(names, watched(in_threads(_bytes, paths), "reading texts", len(paths)), strict=True):
        try:
            text, odd = decoded(content, printable(name))
        except DataError:
            text, odd = None, []
            broken.append(name)
        texts.append(text)
        foreign += [name] * bool(odd)
    if foreign:
        notes.append(f"{counted(len(foreign), 'file')} not in UTF-8, read as Windows-1252: {listed(foreign)}")
    if broken:
        notes.append(f"{counted(len(broken), 'file')} with something else than text: {listed(broken)}")
    return texts


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read ({error.strerror})") from error


# ---------------------------------------------------------------------------------------------------------------------
# Which columns


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _find_columns(
    table: Table, text: str | None, label: str | None, multi_label: bool | None
) -> tuple[TextColumns, list[str]]:
    """The columns of texts and labels, by the names given, by what they are mostly called, or by what is in them.

    Returns:
        The columns, and a note if they were guessed.
    """
    texts, labels = _asked(table, text, "text"), _asked(table, label, "label")
    if both := {*texts} & {*labels}:
        raise OptionError(f"column {printable(both.pop())!r} is named as text and as label; one of them is another")
    if len(texts) > 2:
        raise OptionError(f"text={text!r} names {len(texts)} columns; name one, or two for pairs of texts")
    unsure = [False, False]
    if not labels:
        labels, unsure[0] = _label_by_name(table, texts)
    if not texts:
        texts, unsure[1] = _found_texts(table, labels)
    if not labels:
        labels = _label_by_content(table, texts)
    for option, names in (("text", texts), ("label", labels)):
        if not names:
            known = listed(table.columns, 8)
            raise DataError(
                f"{printable(table.name)} has no column of {option}s (columns: {known}); name it with {option}=..."
            )
    found = [" and ".join(repr(printable(name)) for name in names) for names in (texts, labels)]
    note = f"took column {found[0]} as text and {found[1]} as label; name others with text=... and label=..."
    return _with_separator(table, texts, labels, multi_label), [note] if any(unsure) else []


def _asked(table: Table, names: str | None, option: str) -> tuple[str, ...]:
    """The columns that an option names, separated by commas.

    Raises:
        OptionError: there is no such column.
    """
    found = []
    for name in [] if names is None else [names] if names in table.columns else names.split(","):
        alike = [column for column in table.columns if column.strip() == name.strip()] or [
            column for column in table.columns if _letters(column) == _letters(name)
        ]
        if len(alike) != 1:
            known = f"{did_you_mean(name, table.columns)} (columns: {listed(table.columns, 8)})"
            raise OptionError(f"{option}={name!r} is no column of {printable(table.name)}{known}")
        found += alike
    return tuple(found)


def _by_name(table: Table, known: str, taken: Sequence[str], fits: Callable[[list[Any]], Any]) -> tuple[str, ...]:
    """The column with the best name, or else one whose name has such a word in it, as in `review_text`."""
    free = [name for name in table.columns if name not in taken]
    whole = {_letters(name): name for name in reversed(free)}
    if best := [whole[word] for word in known.split() if word in whole]:
        return (best[0],)
    words = {name: re.findall(r"[^\W_]+", name.casefold()) for name in free}
    partly = [name for word in known.split() for name in free if word in words[name] and len(word) > 1]
    plausible = [name for name in partly if not {*words[name]} & {*_NEITHER.split()} and fits(table.columns[name])]
    return tuple(plausible[:1])


def _label_by_name(table: Table, taken: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """The column that is called like labels, and whether another may be meant."""
    names = {_letters(name) for name in table.columns if name not in taken}
    return _by_name(table, _LABEL, taken, _few), len(names & {*_LABEL.split()}) != 1


def _found_texts(table: Table, taken: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """The column or the pair of columns that are called like texts or hold the longest, and whether others may do."""
    free = {_letters(name): name for name in reversed(table.columns) if name not in taken}
    for first, second in map(str.split, _PAIRS.split("/")):
        if first in free and second in free and "text" not in free:
            return (free[first], free[second]), first in _TEXT.split()
    if name := _by_name(table, _TEXT, taken, _mean_length):
        return name, len(free.keys() & {*_TEXT.split()}) != 1
    lengths = {name: _mean_length(table.columns[name]) for name in free.values()}
    best = max(lengths, key=lambda name: lengths[name], default="")
    return (best,) if lengths.get(best) else (), True


def _label_by_content(table: Table, taken: Sequence[str]) -> tuple[str, ...]:
    """The last column with few different values."""
    found = [name for name, cells in table.columns.items() if name not in taken and _few(cells)]
    flags = [name for name in found if {*map(_plain, table.columns[name])} <= {"0", "1", "0.0", "1.0", ""}]
    if len(flags) > 1 and len(flags) == len(found):
        raise DataError(
            f"{printable(table.name)} has {len(flags)} columns of 0 and 1 ({listed(flags)}); name one, or all that are "
            f"labels, as in label={','.join(map(printable, flags[:2]))}"
        )
    return tuple(found[-1:])


def _mean_length(cells: Sequence[Any]) -> float:
    """How long the texts of a column are; 0 if it holds something else, such as numbers and dates."""
    texts = [cell for cell in cells if isinstance(cell, str) and cell]
    words = any(re.search(r"[^\W\d_]{2}", text) for text in texts[:1000])
    if 2 * len(texts) < sum(not _missing(cell) for cell in cells) or not words:
        return 0.0
    length = sum(map(len, texts)) / len(texts)
    spaced = any(" " in text or not text.isascii() for text in texts[:1000])
    return length if spaced else length / 1000  # ids and addresses are long, too


def _few(cells: Sequence[Any]) -> bool:
    """Whether a column has few different values, as labels have."""
    values = {name for cell in cells for name in _several(cell, None)}
    return 2 <= len(values) <= min(len(cells) // 2, 500)


def _with_separator(
    table: Table, texts: tuple[str, ...], labels: tuple[str, ...], multi_label: bool | None
) -> TextColumns:
    """The columns, and whether and how a cell may hold several labels."""
    if len(labels) > 1:
        if multi_label is False:
            raise OptionError("label names several columns, so a text may have several labels; leave multi_label away")
        return TextColumns(texts, labels, True)
    cells = [cell for cell in table.columns[labels[0]] if not _missing(cell)]
    strings = [cell for cell in cells if isinstance(cell, str)]
    lists = [cell for cell in cells if _is_list(cell)]
    if (
        lists
        and len({*map(len, lists)}) == 1 < len(lists[0])
        and all({*map(_plain, cell)} <= {"0", "1"} for cell in lists)
    ):
        raise DataError(f"the labels in {printable(table.name)} are lists of 0 and 1; give lists of names instead")
    if multi_label is False:
        if lists:
            raise OptionError("the labels are lists, so a text may have several; leave multi_label away")
        return TextColumns(texts, labels, False)
    if lists or (strings and all(map(_LIST.fullmatch, strings))):
        return TextColumns(texts, labels, True, "")
    used = [mark for mark in "|,;" if any(mark in cell for cell in strings)]
    if multi_label or (used[:1] == ["|"] and _letters(labels[0]) in _SEVERAL.split()):
        return TextColumns(texts, labels, True, (used or ["|"])[0])
    return TextColumns(texts, labels, False)


def _columns_in(table: Table, columns: TextColumns) -> TextColumns:
    """The columns of training where a table has them; else those that are called like texts and labels."""
    missing = [name for name in (*columns.text, *columns.label) if name not in table.columns]
    if not missing:
        return columns
    texts, labels = columns.text, columns.label
    if {*missing} & {*labels}:
        labels = _label_by_name(table, texts)[0] if len(labels) == 1 else ()
    if {*missing} & {*texts}:
        texts = _found_texts(table, labels)[0]
    if not labels or len(texts) != len(columns.text):
        lost = f"{counted(len(missing), 'column')} of training: {listed(missing)}"
        raise DataError(f"{printable(table.name)} lacks {lost} (columns: {listed(table.columns, 8)})")
    return _with_separator(table, texts, labels, columns.multi_label)


# ---------------------------------------------------------------------------------------------------------------------
# Rows


@dataclass
class _Rows:
    """Texts with the names of their labels, and what each row is called."""

    title: str
    texts: list[Any]
    labels: list[tuple[str, ...]]
    names: list[str]


def _rows(table: Table, columns: TextColumns, notes: list[str]) -> _Rows:
    """The rows that have texts and labels; where a text may have several labels it may also have none."""
    title = printable(table.name)
    texts = list(zip(*(map(_as_text, table.columns[name]) for name in columns.text), strict=True))
    labels = _labels(table, columns)
    empty = [place for place, own in enumerate(texts) if not all(part.strip() for part in own)]
    bare = [place for place, own in enumerate(labels) if not own]
    lost = {*empty} if columns.multi_label else {*empty, *bare}
    kept = [place for place in range(len(table)) if place not in lost]
    if not any(labels[place] for place in kept):
        raise DataError(f"no row of {title} has a text and a label ({counted(len(table), 'row')})")
    for verb, places, what in (
        ("left out", empty, "an empty text"),
        ("kept" if columns.multi_label else "left out", bare, "no label"),
    ):
        if places:
            names = listed(map(table.row_name, places))
            notes.append(f"{verb} {counted(len(places), 'row')} of {title} with {what}: {names}")
    return _Rows(
        table.name,
        [texts[place] if len(columns.text) > 1 else texts[place][0] for place in kept],
        [labels[place] for place in kept],
        [table.row_name(place) for place in kept],
    )


def _rows_held_out(table: Table, columns: TextColumns, notes: list[str]) -> _Rows:
    try:
        return _rows(table, _columns_in(table, columns), notes)
    except OptionError as error:  # nobody asked for a column here
        raise DataError(str(error)) from error


def _examples(rows: _Rows, labels: tuple[str, ...], columns: TextColumns) -> Examples:
    """Rows as examples of these labels.

    Raises:
        DataError: a row has another label.
    """
    place = {label: number for number, label in enumerate(labels)}
    if unknown := list(dict.fromkeys(label for own in rows.labels for label in own if label not in place)):
        raise DataError(
            f"{printable(rows.title)} has {counted(len(unknown), 'label')} that training did not know: "
            f"{listed(unknown)}{did_you_mean(unknown[0], labels)} (labels: {listed(labels, 12)})"
        )
    targets: list[Any] = [tuple(sorted(place[label] for label in own)) for own in rows.labels]
    return Examples(
        rows.texts, targets if columns.multi_label else [own[0] for own in targets], labels, names=rows.names
    )


def _missing(cell: Any) -> bool:
    """Whether there is nothing in a cell: None, NaN, pandas' NA, or nothing but spaces."""
    nothing = cell is None or type(cell).__name__ in ("NAType", "NaTType")
    return nothing or (isinstance(cell, float) and cell != cell) or (isinstance(cell, str) and not cell.strip())


def _as_text(cell: Any) -> str:
    return cell if isinstance(cell, str) else "" if _missing(cell) else str(cell)


def _plain(cell: Any) -> str:
    """A cell as the name of a label; a whole number has no fraction."""
    if _missing(cell):
        return ""
    value = cell.item() if hasattr(cell, "item") else cell
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def _labels(table: Table, columns: TextColumns) -> list[tuple[str, ...]]:
    """The names of each row's labels."""
    if len(columns.label) > 1:
        flags = [[_flag(table, name, place) for name in columns.label] for place in range(len(table))]
        return [tuple(name for name, on in zip(columns.label, row, strict=True) if on) for row in flags]
    cells = table.columns[columns.label[0]]
    if any(isinstance(cell, float) and not cell.is_integer() and not _missing(cell) for cell in cells):
        cells = [str(cell) if isinstance(cell, float) and not _missing(cell) else cell for cell in cells]
    return [_several(cell, columns.separator if columns.multi_label else None) for cell in cells]


def _flag(table: Table, name: str, place: int) -> bool:
    """Whether a label applies, by the cell in its own column."""
    cell = _plain(table.columns[name][place]).lower()
    if cell not in ("1", "1.0", "true", "yes", "0", "0.0", "false", "no", ""):
        where = f"{printable(table.row_name(place))}: expected 0 or 1 in column {printable(name)!r}"
        raise DataError(f"{where}, found {printable(cell)!r}")
    return cell in ("1", "1.0", "true", "yes")


def _is_list(cell: Any) -> bool:
    return isinstance(cell, (list, tuple, set, frozenset)) or (hasattr(cell, "__len__") and hasattr(cell, "tolist"))


def _several(cell: Any, separator: str | None) -> tuple[str, ...]:
    """The names in a cell, each once; a string is split if there is a separator, and read as a list if it is empty."""
    parts: Iterable[Any] = cell if _is_list(cell) else [cell]
    if isinstance(cell, str) and separator is not None:
        parts = cell.split(separator) if separator else _written_list(cell)
    return tuple(dict.fromkeys(name for part in parts if (name := _plain(part))))


def _written_list(cell: str) -> list[Any]:
    """A list that was written into a CSV file, as JSON or as Python or numpy print it, the last without commas."""
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return [re.sub(r"\\(.)", r"\1", "".join(match.groups(""))) for match in _ITEM.finditer(cell)]
    return found if isinstance(found, list) else [found]


# ---------------------------------------------------------------------------------------------------------------------
# Checks


def _checked_labels(rows: _Rows, columns: TextColumns, notes: list[str]) -> tuple[str, ...]:
    """The labels in order; refuses what cannot be meant, and says what is odd."""
    labels = sorted({label for own in rows.labels for label in own})
    where = f"column {listed(columns.label)} of {printable(rows.title)}"
    if len(labels) < 2:
        raise DataError(f"{where} has one label only, {printable(labels[0])!r}; two or more are needed")
    if len(rows.texts) >= _LARGE and 2 * len(labels) > len(rows.texts):
        raise DataError(
            f"{where} has {len(labels):,} different values in {counted(len(rows.texts), 'row')}, like numbers or ids "
            f"and unlike labels; name the column of labels with label=..."
        )
    forms = [" ".join(unicodedata.normalize("NFKC", label).casefold().split()) for label in labels]
    alike = Counter(forms)
    if twins := [label for label, form in zip(labels, forms, strict=True) if alike[form] > 1]:
        notes.append(
            f"labels that differ only in case, spaces or how letters are encoded are kept apart: {listed(twins, 6)}; "
            f"put them together if they are one"
        )
    if not columns.multi_label and (barred := [label for label in labels if "|" in label]):
        notes.append(
            f"{counted(len(barred), 'label')} with | in it, as {printable(barred[0])!r}; multi_label splits there"
        )
    return tuple(labels)


def _note_counts(examples: Examples, notes: list[str]) -> None:
    """Say which labels are rare."""
    numbers = examples.counts()
    most, least = max(numbers), min(numbers)
    if most > 10 * least:
        large, small = (printable(examples.labels[numbers.index(number)]) for number in (most, least))
        notes.append(
            f"{large} has {counted(most, 'text')}, {small} {least:,}; class_weights=balanced lets both count alike"
        )
    if alone := [label for label, number in zip(examples.labels, numbers, strict=True) if number < 2]:
        notes.append(f"{counted(len(alone), 'label')} with one text only, which cannot be validated: {listed(alone)}")


class _Plain(dict[int, Any]):
    """What becomes of each character where texts are compared: letters, digits and pictographs stay.

    Marks stay, because in many scripts they are vowels; pictographs, because 👍 and 👎 are all that tells some apart.
    """

    def __missing__(self, code: int) -> Any:
        kind = unicodedata.category(chr(code))
        self[code] = None if code == 0xFE0F else code if kind[0] in "LNM" or kind == "So" else " "  # FE0F: in colour
        return self[code]


_PLAIN = _Plain()


def _form(text: str | tuple[str, ...]) -> str:
    """What copies of a text have in common that differ in case, punctuation and spaces."""
    if isinstance(text, tuple):
        return "\n".join(map(_form, text))
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(plain.translate(_PLAIN).split()) or plain.strip()


def _note_copies(rows: Mapping[str, _Rows], forms: Mapping[str, Sequence[str]], notes: list[str]) -> None:
    """Say which texts are there again: in training, with the same or another label, and on both sides of a split."""
    train = rows["train"]
    first: dict[str, int] = {}
    pairs = [(first.setdefault(form, place), place) for place, form in enumerate(forms["train"])]
    copies = [(one, other) for one, other in pairs if one != other]
    apart = [(one, other) for one, other in copies if {*train.labels[one]} != {*train.labels[other]}]
    if number := len(copies) - len(apart):
        exact = sum(train.texts[one] == train.texts[other] for one, other in {*copies} - {*apart})
        notes.append(
            f"{counted(number, 'text')} of {len(train.texts):,} for training repeat others with the same label, "
            f"{exact:,} of them letter by letter"
        )
    if apart:
        named = [
            " and ".join(f"{train.names[place]} ({'|'.join(train.labels[place])})" for place in pair)
            for pair in apart[:3]
        ]
        notes.append(
            f"{counted(len(apart), 'text')} for training with different labels: {'; '.join(map(printable, named))}"
            f"{'; …' if len(apart) > 3 else ''}; which is right?"
        )
    for part in [part for part in ("val", "test") if part in rows]:
        names = zip(rows[part].names, forms[part], strict=True)
        if shared := [f"{name} (= {train.names[first[form]]})" for name, form in names if form in first]:
            notes.append(
                f"{len(shared):,} of {counted(len(forms[part]), 'text')} for {_USE[part]} are for training too, so "
                f"scores will flatter: {listed(shared)}"
            )


def _fingerprints(sources: Sequence[_Source], rows: Mapping[str, _Rows], name: Callable[[str], str]) -> dict[str, str]:
    """Size and checksum of each file, and of the texts and labels themselves where some are from no file."""
    files = list(dict.fromkeys(file for source in sources for file in source.files))
    found = dict(zip(map(name, files), in_threads(fingerprint, files), strict=True))
    if not all(source.files for source in sources):
        content = json.dumps([(part, own.texts, own.labels) for part, own in rows.items()])
        found["(texts)"] = f"{sum(len(own.texts) for own in rows.values())}-{zlib.crc32(content.encode()):08x}"
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Texts to predict


def gathered_texts(inputs: Any, columns: TextColumns) -> list[Any]:
    """A text, a list of texts, a file of lines, a table, a data frame or a folder of text files, as a flat list.

    A string names a file or folder if there is one and is a text otherwise; the items of a list are texts, whatever
    they look like. What is no text stays in its place.

    Raises:
        DataError: a path does not exist, or a table has no column of texts.
    """
    pair = len(columns.text) > 1
    if isinstance(inputs, os.PathLike) or (isinstance(inputs, str) and _means_path(inputs)):
        return _texts_at(existing(inputs), columns)
    if pair and isinstance(inputs, tuple) and len(inputs) == 2 and all(isinstance(part, str) for part in inputs):
        return [inputs]
    if frame_kind(inputs) or (isinstance(inputs, Mapping) and any(map(_is_list, inputs.values()))):
        return _text_cells(inputs, columns)
    if isinstance(inputs, (str, bytes, Mapping)) or not (hasattr(inputs, "tolist") or isinstance(inputs, Iterable)):
        inputs = [inputs]
    items = inputs.tolist() if hasattr(inputs, "tolist") else list(inputs)
    if items and all(isinstance(item, Mapping) for item in items):
        return _text_cells(items, columns)
    return [tuple(item) if pair and isinstance(item, list) else item for item in items]


def _means_path(text: str) -> bool:
    """Whether a string names what is there, or looks so much like a path that it is a mistaken one."""
    if os.path.exists(os.path.expanduser(text)):
        return True
    like = is_table(text) or kind_of(text) == ".txt" or text.startswith(("./", "../", "/", "~/"))
    return like and not any(map(str.isspace, text))


def _texts_at(path: str, columns: TextColumns) -> list[Any]:
    """The texts in a folder, a table or a file of lines."""
    if not os.path.isdir(path) and is_table(path):
        return _text_cells(path, columns)
    notes: list[str] = []
    if os.path.isdir(path):
        paths = _text_paths(path)
        if not paths:
            raise DataError(f"{printable(path)} holds no .txt files; to mean the word itself, put it in a list")
        texts = _contents(paths, [os.path.relpath(one, path) for one in paths], notes)
    else:
        text, notes = decoded(_bytes(path), printable(path))
        texts = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []
    for note in notes:
        say(f"note: {note}")
    return texts


def _text_cells(source: Any, columns: TextColumns) -> list[Any]:
    """The texts of a table, from the columns of training or else those that are found."""
    table, names = read_table(source), columns.text
    if not {*names} <= table.columns.keys():
        names = _found_texts(table, columns.label)[0] or tuple(table.columns)
        table.notes.append(f"took column {' and '.join(map(printable, names))} of {printable(table.name)} as text")
    if len(names) != len(columns.text):
        known = f"as training had (columns: {listed(table.columns, 8)})"
        raise DataError(f"{printable(table.name)} has no column {' and '.join(map(printable, columns.text))}, {known}")
    for note in table.notes:
        say(f"note: {note}")
    cells = [table.columns[name] for name in names]
    return list(zip(*cells, strict=True)) if len(cells) > 1 else list(cells[0])


def lines_of(stream: IO[bytes]) -> Iterator[str]:
    """The lines of a stream, each as soon as it is there: UTF-8, or UTF-16 if a mark at its beginning says so.

    What cannot be read becomes U+FFFD; blank lines are kept.
    """
    read = getattr(stream, "read1", stream.read)
    block = read(65536)
    while block in (b"\xff", b"\xfe") and (more := read(1)):  # half of such a mark
        block += more
    wide = block[:2] in (b"\xff\xfe", b"\xfe\xff")
    decoder = codecs.getincrementaldecoder("utf-16" if wide else "utf-8-sig")("replace")
    pending: list[str] = []
    while True:
        first, *others = decoder.decode(block, final=not block).split("\n")
        pending.append(first)
        for line in others:
            yield "".join(pending).removesuffix("\r")
            pending = [line]
        if not block:
            break
        block = read(65536)
    if last := "".join(pending):
        yield last.removesuffix("\r")
