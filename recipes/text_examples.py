"""Find labelled texts in a table, a folder, a data frame or two lists, split them, and gather texts to predict."""

from __future__ import annotations

import codecs
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from recipes import images
from recipes.archives import is_archive, unpacked
from recipes.columns import Columns, by_name, is_list, letters, missing
from recipes.display import counted, listed, say
from recipes.errors import DataError, printable
from recipes.examples import Reading, in_threads, split_folders, subfolders, watched
from recipes.labelled import Inputs, Rows, Sifted
from recipes.sources import Source, by_split, find, folder_of_tables, tables_in
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


class TextInputs(Inputs):
    """Texts, or pairs of texts: what columns of a table hold, or text files in folders of labels."""

    thing = "text"
    option = "text"
    forms = (
        "give a table with a column of texts and one of labels (train.csv), a folder that holds a folder of .txt files "
        "for each label, a data frame, or two lists, (texts, labels)"
    )
    empty = "an empty text"
    exactly = "letter by letter"
    most = 2
    files = False

    def check_folder(self, root: str) -> None:
        """Refuse a folder without tables and text files."""
        if not tables_in(root):
            _label_folders(root)

    def folder(self, root: str) -> Source:
        """A folder of tables, or of folders of text files."""
        if source := folder_of_tables(root):
            return source
        notes: list[str] = []
        tables = {part: _text_files(folder, root, notes) for part, folder in _label_folders(root).items()}
        files = [os.path.join(root, name) for table in tables.values() for name in table.names or ()]
        return Source(tables, root, list(filter(os.path.exists, files)), notes)

    def find(self, table: Table, taken: Sequence[str]) -> tuple[tuple[str, ...], bool]:
        """The column or the pair of columns that are called like texts or hold the longest."""
        return _found_texts(table, taken)

    def cells(self, table: Table, columns: tuple[str, ...]) -> list[Any]:
        """Each row's text, or pair of texts; None where one is empty."""
        texts = zip(*(map(_as_text, table.columns[name]) for name in columns), strict=True)
        pair = len(columns) > 1
        return [(own if pair else own[0]) if all(part.strip() for part in own) else None for own in texts]

    def sift(self, rows: dict[str, Rows], reading: Reading, notes: list[str]) -> Sifted:
        """What copies of a text have in common; nothing is left out."""
        forms: dict[str, list[Any]] = {part: [_form(one) for one in own.inputs] for part, own in rows.items()}
        return Sifted(forms, {part: list(own.inputs) for part, own in rows.items()})

    def content(self, source: Any) -> Any:
        """The text itself."""
        return source


TEXTS = TextInputs()


def _as_text(cell: Any) -> str:
    return cell if isinstance(cell, str) else "" if missing(cell) else str(cell)


# ---------------------------------------------------------------------------------------------------------------------
# Where texts are


def _label_folders(root: str) -> dict[str, str]:
    """By split, the folder that holds a folder of text files for each label.

    Raises:
        DataError: there is none.
    """
    parts = split_folders(root) or {"train": root}
    for folder in parts.values():
        if not any(_text_paths(entry.path) for entry in subfolders(folder)):
            below = [entry.path for entry in subfolders(root) if tables_in(entry.path)]
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
    for name, content in zip(names, watched(in_threads(_linked, paths), "reading texts", len(paths)), strict=True):
        try:
            if content is None:
                raise DataError("a link that leads nowhere")
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


def _linked(path: str) -> bytes | None:
    """What a file holds; None for a link that leads nowhere."""
    return _bytes(path) if os.path.exists(path) else None


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read ({error.strerror})") from error


# ---------------------------------------------------------------------------------------------------------------------
# Which columns, and what copies have in common


def _found_texts(table: Table, taken: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """The column or the pair of columns that are called like texts or hold the longest, and whether others may do."""
    free = {letters(name): name for name in reversed(table.columns) if name not in taken}
    for first, second in map(str.split, _PAIRS.split("/")):
        if first in free and second in free and "text" not in free:
            return (free[first], free[second]), first in _TEXT.split()
    if name := by_name(table, _TEXT, taken, _mean_length):
        return name, len(free.keys() & {*_TEXT.split()}) != 1
    lengths = {name: _mean_length(table.columns[name]) for name in free.values()}
    best = max(lengths, key=lambda name: lengths[name], default="")
    return (best,) if lengths.get(best) else (), True


def _mean_length(cells: Sequence[Any]) -> float:
    """How long the texts of a column are; 0 if it holds something else, such as numbers and dates."""
    texts = [cell for cell in cells if isinstance(cell, str) and cell]
    words = any(re.search(r"[^\W\d_]{2}", text) for text in texts[:1000])
    if texts and all(os.path.splitext(text)[1].lower() in images.SUFFIXES for text in texts[:1000]):
        return 0.0  # names of pictures, which a task for texts cannot read
    if 2 * len(texts) < sum(not missing(cell) for cell in cells) or not words:
        return 0.0
    length = sum(map(len, texts)) / len(texts)
    spaced = any(" " in text or not text.isascii() for text in texts[:1000])
    return length if spaced else length / 1000  # ids and addresses are long, too


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


# ---------------------------------------------------------------------------------------------------------------------
# Texts to predict


def gathered_texts(inputs: Any, columns: Columns) -> list[Any]:
    """A text, a list of texts, a file of lines, a table, a data frame or a folder of text files, as a flat list.

    A string names a file or folder if there is one and is a text otherwise; the items of a list are texts, whatever
    they look like. What is no text stays in its place.

    Raises:
        DataError: a path does not exist, or a table has no column of texts.
    """
    pair = len(columns.inputs) > 1
    if isinstance(inputs, os.PathLike) or (isinstance(inputs, str) and _means_path(inputs)):
        return _texts_at(existing(inputs), columns)
    if pair and isinstance(inputs, tuple) and len(inputs) == 2 and all(isinstance(part, str) for part in inputs):
        return [inputs]
    if _holds_tables(inputs):
        tables = find(inputs, TEXTS).tables.values()
        return [text for table in tables for text in _text_cells(table, columns)]
    if frame_kind(inputs) or (isinstance(inputs, Mapping) and any(map(is_list, inputs.values()))):
        return _text_cells(read_table(inputs), columns)
    if isinstance(inputs, (str, bytes, Mapping)) or not (hasattr(inputs, "tolist") or isinstance(inputs, Iterable)):
        inputs = [inputs]
    items = inputs.tolist() if hasattr(inputs, "tolist") else list(inputs)
    if items and all(isinstance(item, Mapping) for item in items):
        return _text_cells(read_table(items), columns)
    return [tuple(item) if pair and isinstance(item, list) else item for item in items]


def _holds_tables(inputs: Any) -> bool:
    """Whether something in memory is a data set, or holds one for each split."""
    if isinstance(inputs, Mapping):
        return bool(inputs) and bool(by_split(inputs, "these data")[0])
    if frame_kind(inputs) or isinstance(inputs, (str, bytes, list, tuple, set, frozenset, range)):
        return False
    series = hasattr(inputs, "tolist") or hasattr(inputs, "to_list")
    return hasattr(inputs, "train_dataloader") or (hasattr(inputs, "__getitem__") and not series)


def _means_path(text: str) -> bool:
    """Whether a string names what is there, or looks so much like a path that it is a mistaken one."""
    if os.path.exists(os.path.expanduser(text)):
        return True
    like = is_table(text) or kind_of(text) == ".txt" or text.startswith(("./", "../", "/", "~/"))
    return like and not any(map(str.isspace, text))


def _texts_at(path: str, columns: Columns) -> list[Any]:
    """The texts in a folder, a table or a file of lines."""
    notes: list[str] = []
    if not os.path.isdir(path) and is_archive(path):
        path = unpacked(path, notes)
    if not os.path.isdir(path) and is_table(path):
        return _text_cells(read_table(path), columns)
    if os.path.isdir(path):
        paths = _text_paths(path)
        if not paths and (source := folder_of_tables(path)):
            return [text for table in source.tables.values() for text in _text_cells(table, columns)]
        if not paths:
            raise DataError(f"{printable(path)} holds no .txt files; to mean the word itself, put it in a list")
        texts = _contents(paths, [os.path.relpath(one, path) for one in paths], notes)
    else:
        text, notes = decoded(_bytes(path), printable(path))
        texts = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []
    for note in notes:
        say(f"note: {note}")
    return texts


def _text_cells(table: Table, columns: Columns) -> list[Any]:
    """The texts of a table, from the columns of training or else those that are found."""
    names = columns.inputs
    if not {*names} <= table.columns.keys():
        names = _found_texts(table, columns.label)[0] or tuple(table.columns)
        table.notes.append(f"took column {' and '.join(map(printable, names))} of {printable(table.name)} as text")
    if len(names) != len(columns.inputs):
        known = f"as training had (columns: {listed(table.columns, 8)})"
        raise DataError(
            f"{printable(table.name)} has no column {' and '.join(map(printable, columns.inputs))}, {known}"
        )
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
