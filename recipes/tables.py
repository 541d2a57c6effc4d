"""Read a table, whoever wrote it: CSV, JSON, parquet, data frames, lists; what stands in a cell stays as it is."""

from __future__ import annotations

import contextlib
import csv
import gzip
import importlib
import io
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from recipes import images
from recipes.display import counted, listed
from recipes.errors import DataError, did_you_mean, printable

#: Files that are tables by their names; each may also be gzipped, as in data.csv.gz.
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")

_SEPARATORS = "\t,;|"

# What files begin with that are called a table and are none, and what to do about it.
_FOREIGN = {
    b"PK\x03\x04": "is a spreadsheet or a zip file; export it as CSV, or unpack it",
    b"\xd0\xcf\x11\xe0": "is a spreadsheet (.xls); export it as CSV",
    b"%PDF": "is a PDF; a table is a CSV, JSON or parquet file",
    b"<!doctype html": "is a web page, not the file behind it; download the raw file",
    b"<html": "is a web page, not the file behind it; download the raw file",
    b"version https://git-lfs": "only points to the file (Git LFS); fetch it with git lfs pull",
}


@dataclass
class Table:
    """Columns of one length, and where each of their rows is from.

    Args:
        name: the file's name, or what kind of thing it was, in parentheses.
        columns: the cells of each column, by its name, in order.
        lines: the line of the file on which each row begins, from 1; the row's number where there are no lines.
        notes: what was left out or guessed.
        names: what each row is called, where it is more than its line.
        folder: where paths in its cells begin; empty for the folder one is in.
        where: what to call the folder whose folders its labels are, if it was made from one.
    """

    name: str
    columns: dict[str, list[Any]]
    lines: list[int]
    notes: list[str] = field(default_factory=list)
    names: list[str] | None = None
    folder: str = ""
    where: str = ""

    def __len__(self) -> int:
        return len(self.lines)

    def row_name(self, place: int) -> str:
        """What to call a row: `reviews.csv:12`, or `row 12` of what is no file."""
        if self.names is not None:
            return self.names[place]
        return f"row {self.lines[place]}" if self.name.startswith("(") else f"{self.name}:{self.lines[place]}"

    def take(self, places: Sequence[int]) -> Table:
        """The rows at these places, in this order."""
        return Table(
            self.name,
            {name: [cells[place] for place in places] for name, cells in self.columns.items()},
            [self.lines[place] for place in places],
            self.notes,
            None if self.names is None else [self.names[place] for place in places],
            self.folder,
            self.where,
        )


def read_table(source: Any) -> Table:
    """The table in a file, or the one that a data frame, a data set, a dict of lists or a list of dicts is.

    Cells of a CSV file are texts, also `NA` and `null`; other sources keep their types, and None is a missing cell.

    Raises:
        DataError: it is no table, has no rows, or is damaged.
    """
    if not isinstance(source, (str, os.PathLike)):
        return _in_memory(source)
    path = existing(source)
    if os.path.isdir(path):
        raise DataError(f"{printable(path)} is a folder; give a table ({', '.join(SUFFIXES)})")
    table = _in_file(path)
    table.folder = os.path.dirname(path)
    return table


def _in_file(path: str) -> Table:
    content = _content(path)
    if content[:4] == b"PAR1" or kind_of(path) == ".parquet":
        return _parquet(path, content)
    if kind_of(path) in (".jsonl", ".ndjson", ".json"):
        return _json(path, content)
    lines, rows, notes = _csv(path, content)
    return _with_header(path, lines, rows, notes)


def is_table(name: str) -> bool:
    """Whether a file is a table by its name."""
    return kind_of(name) in SUFFIXES


def kind_of(name: str) -> str:
    """The suffix that says what a file holds, `.csv` for `data.csv.gz`."""
    return os.path.splitext(name.lower().removesuffix(".gz"))[1]


def existing(data: Any) -> str:
    """The path, as text, of what is there.

    Raises:
        DataError: it does not exist; the nearest name beside it is in the message.
    """
    path: str = os.path.expanduser(os.fspath(data))
    if os.path.exists(path):
        return path
    beside = Path(path).absolute()
    try:
        names = [name for name in os.listdir(beside.parent) if not images.ignored(name)]
    except (OSError, ValueError):
        names = []
    raise DataError(f"{printable(path) or 'an empty path'} does not exist{did_you_mean(beside.name, names, most=1)}")


# ---------------------------------------------------------------------------------------------------------------------
# Bytes and characters


def _content(path: str) -> bytes:
    """What a file holds, unpacked if it is gzipped."""
    name = printable(path)
    try:
        content = Path(path).read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{name} is damaged or cut off ({printable(str(error))})") from error
    except OSError as error:
        raise DataError(f"{name} cannot be read ({error.strerror})") from error
    if not content.strip():
        raise DataError(f"{name} is empty")
    start = content[:64].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if foreign := [words for magic, words in _FOREIGN.items() if start.startswith(magic.lower())]:
        raise DataError(f"{name} {foreign[0]}")
    return content


def decoded(content: bytes, name: str) -> tuple[str, list[str]]:
    """The text of a file however it was saved, and a note if it is not UTF-8.

    Lines are looked at one by one, because one foreign line in a file must not spoil the others.

    Raises:
        DataError: it is no text.
    """
    notes: list[str] = []
    wide = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else _wide(content[:65536])
    if not wide:
        _refuse_binary(content[:65536], name)
    try:
        text = content.decode(wide, "replace") if wide else content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and len(content) - error.start < 4:  # cut off inside a letter
            text = content[: error.start].decode("utf-8-sig")
        else:
            lines = [_decoded_line(line) for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
            bad = [str(number) for number, (_, good) in enumerate(lines, 1) if not good]
            notes = [f"{name} is not UTF-8 in {counted(len(bad), 'line')}, read as Windows-1252: line {listed(bad)}"]
            text = "\n".join(line for line, _ in lines)
    if "\0" in text:  # csv stops at them in Python 3.10, and no text means them
        notes.append(f"took {counted(text.count(chr(0)), 'NUL character')} out of {name}")
        text = text.replace("\0", "")
    return text, notes


def _decoded_line(line: bytes) -> tuple[str, bool]:
    """A line, and whether it is UTF-8."""
    try:
        return line.decode(), True
    except UnicodeDecodeError:
        try:
            return line.decode("cp1252"), False
        except UnicodeDecodeError:
            return line.decode("latin-1"), False


def _wide(head: bytes) -> str:
    """The kind of UTF-16 that a file without a mark is in, or nothing: of Latin letters every second byte is NUL."""
    for kind, high, low in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
        if 10 * high.count(0) > len(high) and not low.count(0):
            text = head[: len(head) // 2 * 2].decode(kind, "replace")
            odd = sum((letter < " " and letter not in "\t\n\r\f") or letter == "\ufffd" for letter in text)
            if 20 * odd <= len(text):  # else they are numbers of two bytes
                return kind
    return ""


def _refuse_binary(head: bytes, name: str) -> None:
    odd = len(head) - len(head.translate(None, bytes({*range(32)} - set(b"\t\n\r\f\x1a\x1b"))))
    if 20 * odd > len(head):
        raise DataError(f"{name} holds no text (a twentieth of it is control characters); save it as UTF-8 text or CSV")


# ---------------------------------------------------------------------------------------------------------------------
# CSV


def _csv(path: str, content: bytes) -> tuple[list[int], list[list[str]], list[str]]:
    name = os.path.basename(path)
    text, notes = decoded(content, printable(name))
    limit = csv.field_size_limit(2**31 - 1)  # of the whole process, hence put back; the largest that fits everywhere
    try:
        separator = _separator(text)
        lines, rows = _rows(text, separator, notes, printable(name))
    except csv.Error as error:
        raise DataError(f"{printable(path)} is no table ({error})") from error
    finally:
        csv.field_size_limit(limit)
    while rows and len(rows[-1]) > 1 and not any(rows[-1]):  # spreadsheets end on rows of separators
        rows.pop()
        lines.pop()
    if rows and rows[0][0].lower() == "sep=" and not any(rows[0][1:]):  # Excel's own
        rows, lines = rows[1:], lines[1:]
    if not rows:
        raise DataError(f"{printable(path)} is empty")
    return lines, rows, notes


def _parsed(text: str, separator: str, most: int | None = None, **style: Any) -> tuple[list[int], list[list[str]]]:
    """Rows that are not blank, with the lines on which they begin."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, **style)
    lines: list[int] = []
    rows: list[list[str]] = []
    begin = 1
    for row in islice(reader, most):
        if row:
            lines.append(begin)
            rows.append(row)
        begin = reader.line_num + 1
    return lines, rows


def _separator(text: str) -> str:
    """What stands between cells: of what is in the first row, that which gives most rows the same number of cells."""
    shares = {}
    for separator in _SEPARATORS:
        first = _parsed(text, separator, 5)[1][:1]
        if first and len(first[0]) > 1:
            shares[separator] = _regular(_parsed(text, separator, 1000)[1])
    return max(shares, key=lambda separator: shares[separator], default="\x1f")  # a single column has no separators


def _regular(rows: Sequence[Sequence[str]]) -> float:
    """The share of rows that have as many cells as most rows have; nothing where that is one."""
    [(width, number)] = Counter(map(len, rows)).most_common(1)
    return number / len(rows) if width > 1 else 0.0


def _rows(text: str, separator: str, notes: list[str], name: str) -> tuple[list[int], list[list[str]]]:
    """Rows, with quotes as quotes, unless that would swallow the rows between two that are part of texts."""
    strict = None
    with contextlib.suppress(csv.Error):
        strict = _parsed(text, separator, strict=True)
    if strict and (separator != "\t" or '"' not in text):
        return strict
    if not strict and '\\"' in text:
        with contextlib.suppress(csv.Error):
            return _parsed(text, separator, strict=True, escapechar="\\")
    quoted, plain = strict or _parsed(text, separator), _parsed(text, separator, quoting=csv.QUOTE_NONE)
    used = len(plain[1]) == len(quoted[1]) or any('"' in cell for cell in plain[1][0])
    if not used and _regular(plain[1]) >= (1.0 if strict else max(_regular(quoted[1]), 0.9)):
        notes.append(f"read quotation marks in {name} as part of the texts, because they are not in pairs")
        return plain
    return quoted


def _with_header(path: str, lines: list[int], rows: list[list[str]], notes: list[str]) -> Table:
    """The table of these rows, named after the first of them if that is a header."""
    name = printable(os.path.basename(path))
    header = [cell.strip() or f"column {place}" for place, cell in enumerate(rows[0], 1)]
    if _headless(rows):
        header = [str(place) for place in range(1, len(header) + 1)]
        notes.append(f"the first line of {name} looks like data, so its columns are called {listed(header)}")
        body = list(zip(lines, rows, strict=True))
    else:
        body = [(line, row) for line, row in zip(lines, rows, strict=True) if row != rows[0]]
        if repeats := len(rows) - len(body) - 1:
            notes.append(f"left out {counted(repeats, 'line')} of {name} that repeat its header")
    width = len(header)
    good = [(line, row if len(row) == width else row[:width]) for line, row in body if _fits(row, width)]
    bad = [(line, len(row)) for line, row in body if not _fits(row, width)]
    if bad:
        found = f"line {bad[0][0]} has {bad[0][1]}"
        if 2 * len(bad) > len(body):
            raise DataError(
                f"{printable(path)}: expected {counted(width, 'cell')} in each row, as in the first, found other "
                f"numbers in {len(bad):,} of {len(body):,} ({found}); put texts that hold separators between quotes"
            )
        where = listed([f"line {line}" for line, _ in bad])
        notes.append(f"left out {counted(len(bad), 'row')} of {name} without {counted(width, 'cell')}: {where}")
    columns = list(zip(*(row for _, row in good), strict=True)) or [()] * width
    return checked_table(printable(path), zip(header, columns, strict=True), [line for line, _ in good], notes)


def _fits(row: Sequence[str], width: int) -> bool:
    """Whether a row has as many cells as the header, empty ones at its end not counted."""
    return len(row) == width or (len(row) > width and not any(row[width:]))


def _headless(rows: list[list[str]]) -> bool:
    """Whether the first row is data: one of its cells is a value or a number as in its column, or is a long text."""
    first = [cell.strip() for cell in rows[0]]
    if any(os.path.splitext(cell)[1].lower() in images.SUFFIXES for cell in first):  # files, and no names of columns
        return True
    if len(first) == 1:
        return len(first[0].split()) > 3 or first[0][-1:] in tuple(".!?")
    others = [[cell.strip() for cell in row] for row in rows[1:1001] if len(row) == len(first)]
    others = [row for row in others if row != first]  # a header may stand there again, where files were joined
    if not others or all(_is_number(cell) for cell in first if cell):  # 0,1 is how frames without names are saved
        return False
    columns = list(zip(*others, strict=True))
    for cell, column in zip(first, columns, strict=True):
        if _is_number(cell) and all(map(_is_number, column)):
            return True
        # Among many texts one may be called like its column, so more than a few rows must have other values twice.
        if cell and cell in column and (len(column) < 20 or 2 * len({*column}) <= len(column)):
            return True
    words = max(len(cell.split()) for cell in first)
    return words > 7 and len(first) < 4 and not any(2 * len({*column}) <= len(column) for column in columns)


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", cell.strip()) is not None


# ---------------------------------------------------------------------------------------------------------------------
# JSON and parquet


def _json(path: str, content: bytes) -> Table:
    """A list of objects, an object of lists, or an object on every line."""
    name = printable(path)
    text, notes = decoded(content, printable(os.path.basename(path)))
    if kind_of(path) == ".json":
        try:
            return _from_json(name, json.loads(text), notes)
        except (ValueError, RecursionError) as error:
            if isinstance(error, DataError):
                raise
            if not str(error).startswith("Extra data"):  # which one object on every line is called
                raise DataError(f"{name} is no JSON ({printable(str(error))})") from error
    lines: list[int] = []
    records: list[dict[str, Any]] = []
    rows = text.split("\n")
    for number, row in enumerate(rows, 1):
        if not row.strip():
            continue
        try:
            record = json.loads(row)
            if not isinstance(record, dict):
                raise ValueError(f"found {type(record).__name__}")
        except (ValueError, RecursionError) as error:
            if number == len(rows) and records:
                notes.append(f"left out the last line of {name}, which is cut off (line {number})")
                break
            words = f'expected an object such as {{"text": "…", "label": "…"}} ({printable(str(error))})'
            raise DataError(f"{name}, line {number}: {words}") from error
        lines.append(number)
        records.append(record)
    return checked_table(name, columns_of(records), lines, notes)


def _from_json(name: str, value: Any, notes: list[str]) -> Table:
    if isinstance(value, list) and value and all(isinstance(record, dict) for record in value):
        return checked_table(name, columns_of(value), None, notes)
    if isinstance(value, dict) and value and all(isinstance(cells, list) for cells in value.values()):
        return checked_table(name, value.items(), None, notes)
    raise DataError(f'{name} is no table; expected a list of objects such as {{"text": "…", "label": "…"}}')


def columns_of(records: Sequence[Mapping[Any, Any]]) -> Iterable[tuple[Any, list[Any]]]:
    """The columns of rows that are dicts; what a row lacks is None."""
    names = dict.fromkeys(name for record in records for name in record)
    return [(name, [record.get(name) for record in records]) for name in names]


def _parquet(path: str, content: bytes) -> Table:
    name = printable(path)
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError(f"reading {name} needs pyarrow: pip install pyarrow") from error
    try:
        table = parquet.read_table(io.BytesIO(content))
    except (OSError, ValueError, NotImplementedError) as error:
        reason = printable(str(error).partition("\n")[0])
        raise DataError(f"{name} is no parquet file, or is cut off ({reason})") from error
    return checked_table(name, _of_arrow(table), None, [])


# ---------------------------------------------------------------------------------------------------------------------
# In memory


def frame_kind(source: Any) -> str | None:
    """The library whose table this is: pandas, polars, pyarrow or datasets; none of them is imported to find out."""
    libraries = {kind.__module__.partition(".")[0] for kind in type(source).__mro__}
    marks = {"pandas": "columns", "polars": "lazy", "pyarrow": "column_names", "datasets": "features"}
    return next((one for one, mark in marks.items() if one in libraries and hasattr(type(source), mark)), None)


def _in_memory(source: Any) -> Table:
    kind = frame_kind(source)
    if kind == "pandas":
        return checked_table("(data frame)", _of_pandas(source))
    if kind == "polars":
        frame = source.collect() if hasattr(source, "collect") else source
        return checked_table("(data frame)", [(name, frame[name].to_list()) for name in frame.columns])
    if kind == "pyarrow":
        return checked_table("(table)", _of_arrow(source))
    if kind == "datasets":
        return checked_table("(dataset)", columns_of_dataset(source))
    if isinstance(source, Mapping) and source and not any(isinstance(cells, str) for cells in source.values()):
        return checked_table("(dict)", [(name, _cells(name, cells)) for name, cells in source.items()])
    if isinstance(source, (list, tuple)) and source and all(isinstance(record, Mapping) for record in source):
        return checked_table("(list)", columns_of(source))
    raise DataError(
        f"expected a table (a CSV, JSON or parquet file, a data frame, a Dataset, a dict of lists or a list of dicts), "
        f"found {_described(source)}"
    )


def _described(source: Any) -> str:
    kind = type(source).__name__
    if isinstance(source, (list, tuple)):
        return f"{kind} of {len(source)}" + (f", the first {type(source[0]).__name__}" if source else "")
    return kind


def _of_pandas(frame: Any) -> Iterable[tuple[Any, list[Any]]]:
    for place, name in enumerate(frame.columns):  # by place, because two columns may have one name
        column = frame.iloc[:, place]
        yield name, [None if gone else cell for cell, gone in zip(column.tolist(), column.isna(), strict=True)]


def _of_arrow(table: Any) -> Iterable[tuple[Any, list[Any]]]:
    """The columns, without the index that pandas adds."""
    names = [(place, name) for place, name in enumerate(table.column_names) if not name.startswith("__index_level_")]
    return [(name, table.column(place).to_pylist()) for place, name in names]


def columns_of_dataset(data: Any) -> Iterable[tuple[Any, list[Any]]]:
    """The columns of a Hugging Face data set, labels by their names."""
    features = data.features or {}
    columns = _of_arrow(data.with_format("arrow")[:]) if hasattr(data, "__len__") else columns_of(list(data))
    return [(name, [named(cell, features.get(name)) for cell in cells]) for name, cells in columns]


def named(cell: Any, feature: Any) -> Any:
    """A cell with the names of its labels; -1 is how data sets say that there is none."""
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    if inner is not None and isinstance(cell, list):
        return [named(one, inner) for one in cell]
    names = getattr(feature, "names", None)
    if names is None or not isinstance(cell, int):
        return cell
    return names[cell] if 0 <= cell < len(names) else None


def _cells(name: Any, cells: Any) -> list[Any]:
    if hasattr(cells, "tolist"):
        cells = cells.tolist()
    try:
        return list(cells)
    except TypeError:
        kind = type(cells).__name__
        raise DataError(f"expected a list in column {printable(str(name))!r}, found {kind}") from None


def checked_table(
    source: str, columns: Iterable[tuple[Any, Sequence[Any]]], lines: list[int] | None = None, notes: Any = ()
) -> Table:
    """A table, checked: names that differ, columns of one length, and a row at least."""
    pairs = [(str(name), cells if isinstance(cells, list) else list(cells)) for name, cells in columns]
    names = Counter(name for name, _ in pairs)
    if twice := [name for name, number in names.items() if number > 1]:
        raise DataError(f"{source} has {counted(len(twice), 'column name')} more than once: {listed(twice)}")
    lengths = {name: len(cells) for name, cells in pairs}
    if len({*lengths.values()}) > 1:
        found = listed([f"{name} has {length:,}" for name, length in lengths.items()])
        raise DataError(f"expected columns of one length in {source}, found that {found}")
    number = max(lengths.values(), default=0)
    if not number:
        raise DataError(f"{source} has no rows" + (f" (columns: {listed(names, 8)})" if names else ""))
    name = source if source.startswith("(") else os.path.basename(source)
    return Table(name, dict(pairs), list(range(1, number + 1)) if lines is None else lines, list(notes))
