"""Find labelled texts in a table, a folder, a data frame or two lists, split them, and gather texts to predict."""

from __future__ import annotations

import ast
import codecs
import io
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
from recipes.tables import SUFFIXES, Table, decoded, existing, is_table, kind_of, read_table

# What people call columns, without anything but letters and digits; a better name comes first.
_TEXTS = (
    "text",
    "texts",
    "sentence",
    "review",
    "content",
    "message",
    "comment",
    "question",
    "tweet",
    "body",
    "document",
    "utterance",
    "query",
    "description",
    "title",
    "headline",
)
_PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("texta", "textb"),
    ("text1", "text2"),
    ("sentencea", "sentenceb"),
    ("question", "answer"),
    ("question", "sentence"),
    ("query", "document"),
    ("query", "passage"),
)
_LABELS = (
    "label",
    "labels",
    "category",
    "categories",
    "class",
    "target",
    "intent",
    "sentiment",
    "emotion",
    "emotions",
    "topic",
    "topics",
    "tag",
    "tags",
    "genre",
    "genres",
    "y",
    "stars",
    "rating",
)
_SEVERAL = ("labels", "categories", "emotions", "topics", "tags", "genres", "intents", "classes")
_NO_TEXT = {
    "id",
    "ids",
    "date",
    "time",
    "count",
    "length",
    "url",
    "score",
    "lang",
    "language",
    "user",
    "author",
    "name",
}
_SPLIT_COLUMNS = ("split", "set", "subset", "part", "partition")

# Fewer rows than this say nothing on whether a column with mostly different values holds labels.
_LARGE = 50

_FORMS = (
    "give a table with a column of texts and one of labels (train.csv), a folder with a folder of .txt files for each "
    "label, a data frame, or two lists, (texts, labels)"
)


@dataclass(frozen=True)
class TextColumns:
    """Which columns of a table hold texts and labels.

    Args:
        text: the column of texts, or the two that make a pair.
        label: the column of labels, or one column of 0 and 1 for each label.
        multi_label: whether a text may have several labels, or none.
        separator: what stands between labels in a cell.
    """

    text: tuple[str, ...]
    label: tuple[str, ...]
    multi_label: bool
    separator: str = "|"


@dataclass
class _Source:
    """Tables by split (train alone where there are no splits), the folder around, and the files that were read."""

    parts: dict[str, Table]
    root: str = ""
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Rows:
    """Texts with the names of their labels, and what each row is called."""

    title: str
    texts: list[Any]
    labels: list[tuple[str, ...]]
    names: list[str]

    def examples(self, labels: tuple[str, ...], multi_label: bool) -> Examples:
        """The rows as examples of these labels."""
        place = {label: number for number, label in enumerate(labels)}
        targets: list[Any] = [tuple(sorted(place[label] for label in own)) for own in self.labels]
        if not multi_label:
            targets = [own for (own,) in targets]
        return Examples(self.texts, targets, labels, names=self.names)


def check_texts(data: Any) -> None:
    """Refuse at once what is not there or can hold no labelled texts.

    Raises:
        DataError: what was found instead, and what to do.
    """
    if isinstance(data, (str, os.PathLike)):
        path = existing(data)
        if os.path.isdir(path):
            _tables_of(path) or _text_folders(path)
    elif data is None or isinstance(data, (bytes, bool, int, float, set, frozenset)):
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
    """Texts with their labels, from wherever they are, for training and validation and perhaps for testing.

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
    source = _source(data)
    if "train" not in source.parts:
        raise DataError(
            f"there is nothing to train on, only {listed(source.parts)}; call a part train, as in train.csv"
        )
    columns, notes = _find_columns(source.parts["train"], text, label, multi_label)
    notes = [*source.notes, *notes]
    given = None if val is None else _source(val)
    if given is not None:
        source.parts["val"] = next(given.parts[part] for part in ("val", "train", "test") if part in given.parts)
        notes += given.notes
    rows = {"train": _read(source.parts["train"], columns, notes)}
    for part in [part for part in ("val", "test") if part in source.parts]:
        table = source.parts[part]
        try:
            rows[part] = _read(table, _columns_in(table, columns, notes), notes)
        except DataError as error:
            if part == "val" and given is not None:
                raise
            notes.append(f"left out what is for {'validation' if part == 'val' else 'testing'}: {error}")
    labels = _checked_labels(rows["train"], columns, notes)
    for part in rows.keys() - {"train"}:
        _refuse_unknown(rows[part], labels)
    found = {part: own.examples(labels, columns.multi_label) for part, own in rows.items()}
    forms = {part: [_form(one) for one in own.texts] for part, own in rows.items()}
    _note_copies(rows, forms, notes)
    splits = Splits(found["train"], found.get("val", found["train"]), found.get("test"), notes, source.root, columns)
    splits.sources = _fingerprints(source, given, rows, splits.name)
    _note_counts(found["train"], notes)
    if "val" not in found:
        kept, held_out = stratified_split(found["train"].targets, fraction, seed, forms["train"])
        splits.train, splits.val = found["train"].take(kept), found["train"].take(held_out)
    return splits


def read_texts_held_out(data: Any, labels: tuple[str, ...], columns: TextColumns) -> Examples:
    """Labelled texts to score a model on; of what is divided into splits those for testing, or else for validation.

    Args:
        data: as for `read_texts`.
        labels: the labels that the model knows.
        columns: the columns it was trained on, which are taken where they are there too.

    Raises:
        DataError: there are no labelled texts, or one has a label that is not among `labels`.
    """
    source = _source(data)
    notes = source.notes
    parts = [part for part in ("test", "val") if part in source.parts] or ["train"]
    for part in parts:
        table = source.parts[part]
        try:
            rows = _read(table, _columns_in(table, columns, notes), notes)
            break
        except DataError as error:
            if part == parts[-1]:
                raise
            notes.append(f"left out what is for testing: {error}")
    if len(source.parts) > 1:
        say(f"note: evaluating on {rows.title}")
    _refuse_unknown(rows, labels)
    for note in notes:
        say(f"note: {note}")
    return rows.examples(labels, columns.multi_label)


# ---------------------------------------------------------------------------------------------------------------------
# Where texts are


def _source(data: Any) -> _Source:
    """The tables that were given, by split."""
    if isinstance(data, (str, os.PathLike)):
        path = existing(data)
        return _folder(path) if os.path.isdir(path) else _file(path)
    if isinstance(data, Mapping) and (named := _split_names(data, "these data")[0]):
        found = {part: _source(data[name]) for part, name in named.items()}
        for part, one in found.items():
            for table in one.parts.values():
                table.name = f"({part})" if table.name.startswith("(") else table.name
        notes = [*_split_names(data, "these data")[1], *(note for one in found.values() for note in one.notes)]
        parts = {part: next(iter(one.parts.values())) for part, one in found.items()}
        return _Source(parts, files=[path for one in found.values() for path in one.files], notes=notes)
    if lists := _two_lists(data):
        return _Source({"train": read_table(lists)})
    if isinstance(data, (list, tuple)) and not all(isinstance(one, Mapping) for one in data):
        raise DataError(f"expected labelled texts, found {type(data).__name__} of {len(data)}; {_FORMS}")
    return _divided(read_table(data))


def _file(path: str) -> _Source:
    source = _divided(read_table(path))
    return _Source(source.parts, os.path.dirname(path), [path], source.notes)


def _split_of(name: str) -> str | None:
    """The split (train, val, test) that a name stands for: `Validation`, `reviews_train`, `test-00000-of-00001`."""
    words = re.findall("[a-z]+", name.lower())
    found = {part for part, known in SPLITS.items() for word in words if word in known}
    return found.pop() if len(found) == 1 else None


def _split_names(names: Iterable[Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """The names that stand for splits, where one of them is for training or all of them are for some, and a note."""
    names = list(names)
    parts: dict[str, list[Any]] = {}
    for name in names:
        if part := _split_of(str(name)):
            parts.setdefault(part, []).append(name)
    if "train" not in parts and sum(map(len, parts.values())) < len(names):
        return {}, []
    for part, rivals in parts.items():
        exact = [name for name in rivals if str(name).lower().partition(".")[0] in SPLITS[part]]
        if len(rivals) > 1 and len(exact) != 1 and part == "train":
            raise DataError(
                f"{where} has {len(rivals)} parts for training: {listed(map(str, rivals))}; give one of them"
            )
        parts[part] = exact or rivals
    chosen = {part: parts[part][0] for part in SPLITS if part in parts}
    others = [str(name) for name in names if name not in chosen.values()]
    return chosen, [f"left out {listed(others)} of {where}"] if others else []


def _two_lists(data: Any) -> dict[str, Any] | None:
    """The columns that two lists make, texts or pairs of texts and labels."""
    if not isinstance(data, (list, tuple)) or len(data) != 2 or any(isinstance(one, (str, Mapping)) for one in data):
        return None
    if not all(hasattr(one, "__len__") and len(getattr(one, "shape", "1")) == 1 for one in data):
        return None
    texts, labels = (one.tolist() if hasattr(one, "tolist") else list(one) for one in data)
    if len(texts) != len(labels):
        raise DataError(
            f"expected as many labels as texts, found {counted(len(texts), 'text')} and {counted(len(labels), 'label')}"
        )
    if texts and all(isinstance(one, (list, tuple)) and len(one) == 2 for one in texts):
        return {"text_a": [one for one, _ in texts], "text_b": [other for _, other in texts], "label": labels}
    return {"text": texts, "label": labels}


def _divided(table: Table) -> _Source:
    """A table by its column of splits, if it has one."""
    for name in table.columns:
        if name.strip().lower() not in _SPLIT_COLUMNS:
            continue
        cells = [_split_of(str(cell)) for cell in table.columns[name]]
        wrong = [place for place, part in enumerate(cells) if part is None]
        if wrong and len(wrong) == len(cells):
            continue
        if wrong:
            found = printable(str(table.columns[name][wrong[0]]))
            raise DataError(
                f"{table.row_name(wrong[0])}: the split is {found!r}; expected train, val or test"
                f"{did_you_mean(found, [word for words in SPLITS.values() for word in words], 1)}"
            )
        rest = {other: column for other, column in table.columns.items() if other != name}
        whole = Table(table.name, rest, table.lines, table.notes, table.names)
        parts = {}
        for part in [part for part in SPLITS if part in cells]:
            parts[part] = whole.take([place for place, its in enumerate(cells) if its == part])
        return _Source(parts, notes=table.notes)
    return _Source({"train": table}, notes=table.notes)


def _tables_of(folder: str) -> list[str]:
    """The names of a folder's tables."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except OSError as error:
        raise DataError(f"{printable(folder)} cannot be read ({error.strerror})") from error
    return [name for name in names if is_table(name) and not images.ignored(name)]


def _folder(root: str) -> _Source:
    """A folder of tables, or of folders of text files."""
    names = _tables_of(root)
    if not names:
        folders = _text_folders(root)
        notes: list[str] = []
        parts = {part: _text_files(folder, root, notes) for part, folder in folders.items()}
        files = [os.path.join(root, name) for table in parts.values() for name in table.names or ()]
        return _Source(parts, root, files, notes)
    chosen, notes = _split_names(names, printable(root))
    if not chosen and len(names) == 1:
        return _file(os.path.join(root, names[0]))
    if not chosen:
        raise DataError(
            f"{printable(root)} holds {len(names)} tables ({listed(names)}); give one of them, or call them train.csv "
            f"and test.csv"
        )
    if len(chosen) == 1 and len(names) == 1:
        return _file(os.path.join(root, names[0]))
    files = [os.path.join(root, name) for name in chosen.values()]
    tables = {part: read_table(file) for part, file in zip(chosen, files, strict=True)}
    return _Source(tables, root, files, [*notes, *(note for table in tables.values() for note in table.notes)])


def _text_folders(root: str) -> dict[str, str]:
    """The folders that hold a folder of text files for each label, by split.

    Raises:
        DataError: there are none.
    """
    parts = split_folders(root) or {"train": root}
    for folder in parts.values():
        if not any(_text_names(entry.path) for entry in subfolders(folder)):
            below = [entry.path for entry in subfolders(root) if _tables_of(entry.path)]
            hint = f"; did you mean {printable(below[0])}?" if len(below) == 1 else ""
            raise DataError(
                f"{printable(folder)} holds no tables ({', '.join(SUFFIXES)}) and no folders of .txt files for labels, "
                f"as in reviews/good/1.txt{hint}"
            )
    return parts


def _text_names(folder: str) -> list[str]:
    try:
        return [entry.path for entry in images.walk(folder, set()) if entry.name.lower().endswith(".txt")]
    except OSError as error:
        raise DataError(f"{printable(folder)} cannot be read ({error.strerror})") from error


def _text_files(folder: str, root: str, notes: list[str]) -> Table:
    """The texts of a folder that has a folder of text files for each label."""
    paths = [(path, entry.name) for entry in subfolders(folder) for path in _text_names(entry.path)]
    names = [os.path.relpath(path, root) for path, _ in paths]
    texts = _file_texts([path for path, _ in paths], names, notes)
    columns = {"text": texts, "label": [label for _, label in paths]}
    table = Table(printable(os.path.relpath(folder, root)), columns, list(range(1, len(paths) + 1)), names=names)
    table.name = os.path.basename(os.path.abspath(folder))
    return table


def _file_texts(paths: Sequence[str], names: Sequence[str], notes: list[str]) -> list[str | None]:
    """What text files hold; None for those that are no text."""
    texts: list[str | None] = []
    foreign, broken = [], []
    read = in_threads(lambda path: Path(path).read_bytes(), paths)
    for name, content in zip(names, watched(read, "reading texts", len(paths)), strict=True):
        try:
            text, odd = decoded(content, printable(name))
            foreign += [name] * bool(odd)
            texts.append(text)
        except DataError:
            broken.append(name)
            texts.append(None)
    if foreign:
        notes.append(f"{counted(len(foreign), 'file')} not in UTF-8, read as Windows-1252: {listed(foreign)}")
    if broken:
        notes.append(f"{counted(len(broken), 'file')} that hold no text: {listed(broken)}")
    return texts


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
    texts, labels = _named_columns(table, text, "text"), _named_columns(table, label, "label")
    if both := {*texts} & {*labels}:
        raise OptionError(f"column {printable(both.pop())!r} cannot be both text and label")
    if len(texts) > 2:
        raise OptionError(f"text names one column, or two for pairs, found {len(texts)}: {listed(texts)}")
    sure_text, sure_label = bool(texts), bool(labels)
    if not labels and (name := _by_name(table, _LABELS, texts, _few_values)):
        labels, sure_label = (name,), _letters(name) in _LABELS
    if not texts:
        texts, sure_text = _text_by_name(table, labels)
    if not texts:
        texts = _text_by_content(table, labels)
    if not labels:
        labels = _label_by_content(table, texts)
    for kind, names in (("text", texts), ("label", labels)):
        if not names:
            what = "texts" if kind == "text" else "labels"
            raise DataError(
                f"{printable(table.name)} has no column of {what} (columns: {listed(table.columns, 8)}); name it with "
                f"{kind}=..."
            )
    columns = _with_separator(table, texts, labels, multi_label)
    if sure_text and sure_label:
        return columns, []
    named = [listed([repr(name) for name in names]) for names in (texts, labels)]
    return columns, [f"took column {named[0]} as text and {named[1]} as label; name others with text=... and label=..."]


def _named_columns(table: Table, names: str | None, option: str) -> tuple[str, ...]:
    """The columns of a table that an option names, separated by commas.

    Raises:
        OptionError: there is no such column.
    """
    if names is None:
        return ()
    found = []
    for name in [names] if names in table.columns else [name.strip() for name in names.split(",")]:
        near = [column for column in table.columns if column == name] or [
            column for column in table.columns if _letters(column) == _letters(name)
        ]
        if len(near) != 1:
            raise OptionError(
                f"{option}={name!r} is no column of {printable(table.name)}{did_you_mean(name, table.columns)} "
                f"(columns: {listed(table.columns, 8)})"
            )
        found.append(near[0])
    return tuple(found)


def _by_name(table: Table, known: Sequence[str], taken: Iterable[str], fits: Callable[[list[Any]], bool]) -> str | None:
    """The column with the best name, or else one with such a word in its name."""
    free = [name for name in table.columns if name not in taken]
    whole = {_letters(name): name for name in reversed(free)}
    for word in known:
        if word in whole:
            return whole[word]
    for word in known:
        for name in free:
            words = re.findall(r"[^\W_]+", name.casefold())
            if word in words and not _NO_TEXT & {*words} and fits(table.columns[name]):
                return name
    return None


def _text_by_name(table: Table, taken: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    free = {_letters(name): name for name in reversed(table.columns) if name not in taken}
    for pair in _PAIRS:
        if all(name in free for name in pair) and "text" not in free:
            return tuple(free[name] for name in pair), "answer" not in pair
    name = _by_name(table, _TEXTS, taken, lambda cells: _mean_length(cells) > 0)
    if name is None:
        return (), False
    rivals = [other for other in free if other in _TEXTS]
    return (name,), len(rivals) == 1


def _text_by_content(table: Table, taken: Sequence[str]) -> tuple[str, ...]:
    """The column of strings that are longest."""
    lengths = {name: _mean_length(cells) for name, cells in table.columns.items() if name not in taken}
    if not taken:  # what else there is must be left for labels
        lengths = {name: length for name, length in lengths.items() if length}
    best = max(lengths, key=lambda name: lengths[name], default=None)
    return (best,) if best is not None and lengths[best] > 0 else ()


def _label_by_content(table: Table, taken: Sequence[str]) -> tuple[str, ...]:
    """The last column with few different values."""
    found = [name for name, cells in table.columns.items() if name not in taken and _few_values(cells)]
    flags = [name for name in found if {_plain(cell) for cell in table.columns[name]} <= {"0", "1", "0.0", "1.0"}]
    if len(flags) > 1 and len(flags) == len(found):
        raise DataError(
            f"{printable(table.name)} has {len(flags)} columns of 0 and 1; name one of them, or all that are labels, as "
            f"with label={','.join(flags[:6])!r}"
        )
    return tuple(found[-1:])


def _mean_length(cells: Sequence[Any]) -> float:
    """How long the strings of a column are; nothing if it holds numbers."""
    texts = [cell for cell in cells if isinstance(cell, str) and cell]
    if 2 * len(texts) < sum(not _missing(cell) for cell in cells) or not texts:
        return 0.0
    if all(re.fullmatch(r"[\d.,:eE+/ -]*", text) for text in texts[:100]):
        return 0.0
    return sum(map(len, texts)) / len(texts)


def _few_values(cells: Sequence[Any]) -> bool:
    values = {name for cell in cells for name in ([_plain(cell)] if not isinstance(cell, list) else map(_plain, cell))}
    values.discard("")
    return 2 <= len(values) <= min(len(cells) // 2, 500)


def _with_separator(
    table: Table, texts: tuple[str, ...], labels: tuple[str, ...], multi_label: bool | None
) -> TextColumns:
    """The columns, with what stands between labels where a cell may hold several."""
    if len(labels) > 1:
        if multi_label is False:
            raise OptionError(
                f"several columns of labels ({listed(labels)}) mean several labels; leave multi_label away"
            )
        return TextColumns(texts, labels, True)
    cells = [cell for cell in table.columns[labels[0]] if not _missing(cell)]
    lists = any(isinstance(cell, (list, tuple, set, frozenset)) for cell in cells)
    strings = [cell for cell in cells if isinstance(cell, str)]
    written = bool(strings) and all(_LIST.fullmatch(cell) for cell in strings)
    if multi_label is False:
        if lists:
            raise DataError(f"the labels in {labels[0]!r} are lists, so a text has several; leave multi_label away")
        return TextColumns(texts, labels, False)
    if lists or written:
        return TextColumns(texts, labels, True, "")
    bars = any("|" in cell for cell in strings)
    if multi_label or (bars and _letters(labels[0]) in _SEVERAL):
        others = [mark for mark in ",;" if any(mark in cell for cell in strings)]
        return TextColumns(texts, labels, True, "|" if bars or not others else others[0])
    return TextColumns(texts, labels, False)


def _columns_in(table: Table, columns: TextColumns, notes: list[str]) -> TextColumns:
    """The columns of training where a table has them, or else those that fit."""
    missing = [name for name in (*columns.text, *columns.label) if name not in table.columns]
    if not missing:
        return columns
    text = ",".join(columns.text) if not {*missing} & {*columns.text} else None
    label = ",".join(columns.label) if len(columns.label) > 1 or columns.label[0] not in missing else None
    try:
        found, _ = _find_columns(table, text, label, columns.multi_label)
    except OptionError as error:
        raise DataError(f"{printable(table.name)} lacks columns of training: {listed(missing)}") from error
    if len(found.text) != len(columns.text):
        raise DataError(f"{printable(table.name)} lacks columns of training: {listed(missing)}")
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Reading rows

# What a list looks like that a table holds as text.
_LIST = re.compile(r"\s*\[.*\]\s*", re.DOTALL)


def _missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and cell != cell) or (isinstance(cell, str) and not cell.strip())


def _plain(cell: Any) -> str:
    """A cell as the name of a label: 1 and 1.0 are both `1`."""
    if isinstance(cell, str):
        return cell.strip()
    if _missing(cell):
        return ""
    cell = cell.item() if hasattr(cell, "item") else cell
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def _read(table: Table, columns: TextColumns, notes: list[str]) -> _Rows:
    """The rows that have texts, and labels unless they may have none."""
    name = printable(table.name)
    texts = list(zip(*(map(_as_text, table.columns[column]) for column in columns.text), strict=True))
    labels = _labels_of(table, columns)
    empty = [place for place, own in enumerate(texts) if not all(one.strip() for one in own)]
    bare = [place for place, own in enumerate(labels) if not own]
    for places, what in ((empty, "an empty text"), (bare, "no label")):
        if places:
            verb = "kept" if what == "no label" and columns.multi_label else "left out"
            notes.append(f"{verb} {_rows_of(places)} of {name} with {what}: {_named_rows(table, places)}")
    lost = {*empty} if columns.multi_label else {*empty, *bare}
    kept = [place for place in range(len(table)) if place not in lost]
    if not any(labels[place] for place in kept):
        raise DataError(f"none of {_rows_of(range(len(table)))} of {name} has both a text and a label")
    return _Rows(
        table.name,
        [texts[place] if len(columns.text) > 1 else texts[place][0] for place in kept],
        [labels[place] for place in kept],
        [table.row_name(place) for place in kept],
    )


def _rows_of(places: Sequence[int]) -> str:
    return counted(len(places), "row")


def _named_rows(table: Table, places: Sequence[int]) -> str:
    return (
        listed([table.row_name(place) for place in places[:4]])
        if len(places) < 4
        else (f"{listed([table.row_name(place) for place in places[:3]])} and {len(places) - 3:,} more")
    )


def _as_text(cell: Any) -> str:
    if isinstance(cell, str):
        return str(cell)
    return "" if _missing(cell) else str(cell)


def _labels_of(table: Table, columns: TextColumns) -> list[tuple[str, ...]]:
    """The names of each row's labels."""
    if len(columns.label) > 1:
        flags = [[_flag(table, name, place) for place in range(len(table))] for name in columns.label]
        return [
            tuple(name for name, on in zip(columns.label, row, strict=True) if on) for row in zip(*flags, strict=True)
        ]
    cells = table.columns[columns.label[0]]
    if columns.multi_label:
        return [_several(cell, columns.separator) for cell in cells]
    whole = all(cell.is_integer() for cell in cells if isinstance(cell, float) and not _missing(cell))
    return [
        (name,)
        if (name := _plain(cell) if whole or not isinstance(cell, float) or _missing(cell) else str(cell))
        else ()
        for cell in cells
    ]


def _flag(table: Table, name: str, place: int) -> bool:
    """Whether a label applies, by a cell of its own column."""
    cell = _plain(table.columns[name][place]).lower()
    if cell in ("1", "1.0", "true", "yes"):
        return True
    if cell in ("0", "0.0", "false", "no", ""):
        return False
    raise DataError(
        f"{table.row_name(place)}: expected 0 or 1 in column {printable(name)!r}, found {printable(cell)!r}"
    )


def _several(cell: Any, separator: str) -> tuple[str, ...]:
    """The labels in a cell, each once."""
    if isinstance(cell, str):
        parts: Iterable[Any] = cell.split(separator) if separator else _written(cell)
    else:
        parts = cell if isinstance(cell, (list, tuple, set, frozenset)) or hasattr(cell, "__len__") else [cell]
    return tuple(dict.fromkeys(name for part in parts if (name := _plain(part))))


def _written(cell: str) -> list[Any]:
    """A list that is written out, as a data frame does when it is saved as CSV."""
    if not _LIST.fullmatch(cell):
        return cell.split("|")
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(re.sub(r"(['\"])\s+(?=['\"])", r"\1, ", cell))  # an array is written without commas
            return found if isinstance(found, list) else [found]
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return [part.strip(" '\"") for part in cell.strip()[1:-1].split(",")]


# ---------------------------------------------------------------------------------------------------------------------
# Checks


def _checked_labels(rows: _Rows, columns: TextColumns, notes: list[str]) -> tuple[str, ...]:
    """The labels in order; refuses what cannot be meant, and says what is odd."""
    counts = Counter(label for own in rows.labels for label in own)
    column, name = listed(columns.label), printable(rows.title)
    if len(counts) < 2:
        raise DataError(
            f"{name} has one label only, {printable(next(iter(counts)))!r} (column {column}); two or more are needed"
        )
    if len(rows.texts) >= _LARGE and 2 * len(counts) > len(rows.texts):
        raise DataError(
            f"column {column} of {name} has {len(counts):,} different values in {counted(len(rows.texts), 'row')}, "
            f"as numbers or ids have and labels have not; name the column of labels with label=..."
        )
    alike = Counter(" ".join(unicodedata.normalize("NFKC", label).casefold().split()) for label in counts)
    twins = [
        label
        for label in sorted(counts)
        if alike[" ".join(unicodedata.normalize("NFKC", label).casefold().split())] > 1
    ]
    if twins:
        notes.append(
            f"labels that differ only in case, spaces or accents' form are kept apart: {listed(twins, 6)}; put them "
            f"together if they are one"
        )
    if not columns.multi_label and (barred := [label for label in counts if "|" in label]):
        notes.append(
            f"{counted(len(barred), 'label')} hold |, as {printable(barred[0])!r}; multi_label=true splits them"
        )
    return tuple(sorted(counts))


def _refuse_unknown(rows: _Rows, labels: tuple[str, ...]) -> None:
    unknown = dict.fromkeys(label for own in rows.labels for label in own if label not in labels)
    if unknown:
        first = next(iter(unknown))
        raise DataError(
            f"{printable(rows.title)} has {counted(len(unknown), 'label')} that training did not know: "
            f"{listed(unknown)}{did_you_mean(first, labels)} (labels: {listed(labels, 12)})"
        )


def _note_counts(examples: Examples, notes: list[str]) -> None:
    """Say which labels are rare."""
    counts = {label: number for label, number in zip(examples.labels, examples.counts(), strict=True) if number}
    most, least = max(counts, key=lambda label: counts[label]), min(counts, key=lambda label: counts[label])
    if counts[most] > 10 * counts[least]:
        notes.append(
            f"{printable(most)} has {counts[most]:,} texts and {printable(least)} {counts[least]:,}; "
            f"class_weights=balanced would weigh them alike"
        )
    if alone := [label for label, number in counts.items() if number < 2]:
        notes.append(f"{counted(len(alone), 'label')} with one text only cannot be validated: {listed(alone)}")


class _Kept(dict[int, Any]):
    """Which characters tell texts apart: letters with their marks, digits, and pictographs; others are spaces."""

    def __missing__(self, code: int) -> Any:
        kind = unicodedata.category(chr(code))
        kept = None if code == 0xFE0F else code if kind[0] in "LNM" or kind == "So" else " "  # FE0F: how to draw it
        self[code] = kept
        return kept


_KEPT = _Kept()


def _form(text: Any) -> str:
    """A text without case, punctuation and spaces, the same for copies that differ in these alone."""
    if isinstance(text, tuple):
        return "\n".join(map(_form, text))
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(plain.translate(_KEPT).split()) or plain.strip()


def _note_copies(rows: Mapping[str, _Rows], forms: Mapping[str, list[str]], notes: list[str]) -> None:
    """Say which texts are there several times: in training, with which labels, and on both sides of a split."""
    train, first = rows["train"], dict[str, int]()
    same, exact, apart = 0, 0, []
    for place, form in enumerate(forms["train"]):
        before = first.setdefault(form, place)
        if before != place and {*train.labels[before]} == {*train.labels[place]}:
            same += 1
            exact += train.texts[before] == train.texts[place]
        elif before != place:
            apart.append((before, place))
    if same:
        notes.append(
            f"{counted(same, 'text')} of {len(train.texts):,} repeat another with the same label ({exact:,} exactly)"
        )
    if apart:
        pairs = [
            f"{train.names[one]} ({'|'.join(train.labels[one])}) and {train.names[other]} ({'|'.join(train.labels[other])})"
            for one, other in apart
        ]
        notes.append(
            f"{counted(len(apart), 'text')} with different labels: {'; '.join(map(printable, pairs[:3]))}; which is right?"
        )
    for part in rows.keys() - {"train"}:
        shared = [place for place, form in enumerate(forms[part]) if form in first]
        if shared:
            names = listed(
                [f"{rows[part].names[place]} (= {train.names[first[forms[part][place]]]})" for place in shared]
            )
            words = "validation" if part == "val" else "testing"
            notes.append(
                f"{len(shared):,} of {counted(len(forms[part]), 'text')} for {words} are also for training: {names}"
            )


def _fingerprints(
    source: _Source, given: _Source | None, rows: Mapping[str, _Rows], name: Callable[[str], str]
) -> dict[str, str]:
    """Size and checksum of the files that were read, or of the texts and labels themselves."""
    files = [*source.files, *(given.files if given else [])]
    found = dict(zip(map(name, files), in_threads(fingerprint, files), strict=True))
    if not files or (given and not (source.files and given.files)):
        content = [(part, own.texts, own.labels) for part, own in sorted(rows.items())]
        code = zlib.crc32(json.dumps(content, ensure_ascii=True).encode())
        found["(texts)"] = f"{sum(len(own.texts) for own in rows.values())}-{code:08x}"
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Texts to predict


def gathered_texts(inputs: Any, columns: TextColumns) -> list[Any]:
    """A text, a list of them, a file of lines, a table, a data frame or a folder of text files, as a flat list.

    A string is the name of what exists and a text otherwise; the items of a list are texts, whatever they look like.

    Raises:
        DataError: a path does not exist, or a table has no column of texts.
    """
    pair = len(columns.text) == 2
    if isinstance(inputs, os.PathLike) or (isinstance(inputs, str) and (_exists(inputs) or _looks_like_path(inputs))):
        return _texts_at(existing(inputs), columns)
    if inputs is None or isinstance(inputs, (str, bytes, bool, int, float)):
        return [inputs]
    if pair and isinstance(inputs, tuple) and len(inputs) == 2 and all(isinstance(one, str) for one in inputs):
        return [inputs]
    if isinstance(inputs, Mapping) and all(isinstance(cell, str) or cell is None for cell in inputs.values()):
        inputs = [inputs]
    if isinstance(inputs, Mapping) or len(getattr(inputs, "shape", (0,))) == 2 and hasattr(inputs, "columns"):
        return _text_cells(read_table(inputs), columns)
    if hasattr(inputs, "column_names") or hasattr(inputs, "features"):
        return _text_cells(read_table(inputs), columns)
    items = inputs.tolist() if hasattr(inputs, "tolist") else list(inputs)
    if items and all(isinstance(item, Mapping) for item in items):
        return _text_cells(read_table(items), columns)
    return [tuple(item) if isinstance(item, list) and pair else item for item in items]


def _exists(text: str) -> bool:
    try:
        return os.path.exists(os.path.expanduser(text))
    except OSError:  # a text is mostly too long for a name
        return False


def _looks_like_path(text: str) -> bool:
    """Whether a string that names nothing there is the name of something all the same."""
    if not text or any(letter.isspace() for letter in text):
        return False
    return is_table(text) or kind_of(text) == ".txt" or text.startswith(("./", "../", "/", "~/"))


def _texts_at(path: str, columns: TextColumns) -> list[Any]:
    notes: list[str] = []
    if os.path.isdir(path):
        paths = _text_names(path)
        if not paths:
            raise DataError(f"{printable(path)} holds no .txt files; to have its name read as a text, put it in a list")
        texts: list[Any] = _file_texts(paths, [os.path.relpath(one, path) for one in paths], notes)
    elif is_table(path):
        return _text_cells(read_table(path), columns)
    else:
        try:
            text, notes = decoded(Path(path).read_bytes(), printable(path))
        except OSError as error:
            raise DataError(f"{printable(path)} cannot be read ({error.strerror})") from error
        texts = list(lines_of(io.BytesIO(text.encode())))
    for note in notes:
        say(f"note: {note}")
    return texts


def _text_cells(table: Table, columns: TextColumns) -> list[Any]:
    """What is in the columns of texts: those of training, or else those that hold texts."""
    for note in table.notes:
        say(f"note: {note}")
    names = columns.text
    if any(name not in table.columns for name in names):
        names = _text_by_name(table, columns.label)[0] or _text_by_content(table, columns.label)
        if len(names) != len(columns.text):
            raise DataError(
                f"{printable(table.name)} has no column {listed(columns.text)} as training had (columns: "
                f"{listed(table.columns, 8)})"
            )
        say(f"note: took column {listed(names)} of {printable(table.name)} as text")
    cells = [table.columns[name] for name in names]
    return list(zip(*cells, strict=True)) if len(cells) > 1 else list(cells[0])


def lines_of(stream: IO[bytes]) -> Iterator[str]:
    """The lines of a stream, each as soon as it is there: UTF-8, or UTF-16 with a mark that says so.

    What cannot be read as such becomes U+FFFD, and blank lines are kept.
    """
    read = getattr(stream, "read1", stream.read)
    start = b""
    while len(start) < 2 and (block := read(65536)):
        start += block
    wide = start[:2] in (b"\xff\xfe", b"\xfe\xff")
    decoder = codecs.getincrementaldecoder("utf-16" if wide else "utf-8-sig")("replace")
    block, pending = start, [""]
    while block:
        first, *more = decoder.decode(block).split("\n")
        pending.append(first)
        for line in more:
            yield "".join(pending).removesuffix("\r")
            pending = [line]
        block = read(65536)
    pending.append(decoder.decode(b"", final=True))
    if last := "".join(pending):
        yield last.removesuffix("\r")
