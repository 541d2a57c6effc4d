"""One way in for every task: whatever people have becomes a table for each split."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from recipes import images
from recipes.archives import is_archive, unpacked
from recipes.datasets import split_sources, table_of
from recipes.display import counted, listed
from recipes.errors import DataError, OptionError, printable
from recipes.examples import SPLITS, Reading, Splits, subfolders
from recipes.folds import FOLD_COLUMNS, SPLIT_COLUMNS, parts_of, split_of
from recipes.streams import SHARDS, Stream, head_of, is_stream, opened, shards
from recipes.tables import Table, existing, frame_kind, is_table, read_table


@dataclass
class Source:
    """What was found: a table by split (train alone where there are no splits).

    Args:
        tables: by split, `train`, `val` or `test`.
        root: the folder around it, below which files are named.
        files: the tables' own files, whose changes a later run should know of.
        notes: what was left out or guessed.
        stream: what the table for training is the first window of, if it is one of many.
    """

    tables: dict[str, Table]
    root: str = ""
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stream: Stream | None = None


class Kind(ABC):
    """What the inputs of a task are."""

    #: What one is called.
    thing: ClassVar[str]
    #: The option that names its column, and its column where nothing else names it.
    option: ClassVar[str]
    #: What people may give, in words.
    forms: ClassVar[str]
    #: What the labels of inputs are called, and their column.
    target: ClassVar[str] = "label"

    @abstractmethod
    def check_folder(self, root: str) -> None:
        """Refuse a folder that holds nothing for the task, by the names in it alone."""

    @abstractmethod
    def folder(self, root: str) -> Source:
        """The tables in a folder, or those that its files make."""


def names_shards(data: Any) -> bool:
    """Whether data are a name that can only mean shards; a file or folder that is called so is none."""
    return isinstance(data, (str, os.PathLike)) and bool(SHARDS.match(os.fspath(data))) and not os.path.exists(data)


def find(data: Any, kind: Kind, reading: Reading | None = None) -> Source:
    """The tables that data are, by split.

    Args:
        data: a path of a folder, a table, or a zip or tar of these; a data frame, a data set, two lists of inputs and
            labels, a LightningDataModule; shards, of which a window is read; or a dict of any of these by split.
        kind: what inputs are.
        reading: how much of a stream to read, and in which order.

    Raises:
        DataError: it cannot be read.
    """
    if isinstance(data, (str, os.PathLike)):
        if not names_shards(data):
            return _at(existing(data), kind)
        data = opened(data)
    if is_stream(data):
        return _window(data, reading)
    notes: list[str] = []
    parts = split_sources(data, notes)
    if parts is None and isinstance(data, Mapping):
        names, told = by_split(data, "these data")
        notes += told
        parts = {part: data[name] for part, name in names.items()}
    if parts:
        return _joined({part: find(one, kind, reading) for part, one in parts.items()}, notes)
    columns = two_lists(data, kind)
    if columns is None and isinstance(data, (list, tuple)) and not all(isinstance(one, Mapping) for one in data):
        raise DataError(f"expected labelled {kind.thing}s, found {type(data).__name__} of {len(data)}; {kind.forms}")
    return divided((table_of(data) if columns is None else None) or read_table(data if columns is None else columns))


def check(data: Any, kind: Kind) -> None:
    """Refuse at once what is not there or cannot be data, before anything is read.

    Args:
        data: as for `find`, or what was read already.
        kind: what inputs are.

    Raises:
        DataError: what was found instead, and what to do.
    """
    if isinstance(data, Splits):
        return
    if isinstance(data, (str, os.PathLike)):
        if names_shards(data):
            if "://" not in os.fspath(data):
                shards(os.path.expanduser(data))
        elif "://" in os.fspath(data):
            raise DataError(
                f"{printable(data)} names no shards; they end in .tar, .parquet, .jsonl or .csv, as in "
                f"s3://bucket/train-*.tar, or are a data set of the Hub: hf://datasets/OWNER/NAME"
            )
        elif os.path.isdir(path := existing(data)):
            kind.check_folder(path)
        elif not (is_table(path) or is_archive(path)):
            raise DataError(f"{printable(path)} is a file, and neither a table nor a zip or tar; {kind.forms}")
    elif (
        not (hasattr(data, "__len__") or hasattr(data, "__iter__"))
        and frame_kind(data) is None
        and not hasattr(data, "train_dataloader")
    ) or (isinstance(data, (bytes, set, frozenset))):
        raise DataError(f"expected labelled {kind.thing}s, found {type(data).__name__}; {kind.forms}")


def _at(path: str, kind: Kind) -> Source:
    """What lies at a path."""
    notes: list[str] = []
    archive = path
    if not os.path.isdir(path) and is_archive(path):
        path = unpacked(path, notes)
    try:
        source = kind.folder(path) if os.path.isdir(path) else _file(path)
    except DataError as error:
        if path == archive:
            raise
        told = str(error).replace(printable(path), printable(archive))
        raise DataError(f"{told}{_as_shard(archive, path)}") from error
    source.notes[:0] = notes
    return source


def _as_shard(archive: str, folder: str) -> str:
    """How to name an archive as a shard, if it looks like one: pictures beside files with their labels."""
    found = [os.path.splitext(name.lower()) for name in os.listdir(folder)]
    labelled = {stem for stem, ending in found if ending in (".txt", ".cls", ".json")}
    shard = re.sub(r"(.)(\.tar|\.tgz|\.tar\.gz)$", r"[\1]\2", archive, flags=re.IGNORECASE)
    if shard == archive or not any(stem in labelled and ending in images.SUFFIXES for stem, ending in found):
        return ""
    return f"; or read it as a shard of webdataset: '{printable(shard)}'"


def _window(data: Any, reading: Reading | None) -> Source:
    """The first window of a stream."""
    if reading is not None and reading.group:
        raise OptionError(
            f"group={reading.group!r} cannot be kept: later windows of a stream may hold more of a group that is for "
            f"validation; give val=..., and leave group out"
        )
    notes: list[str] = []
    table, stream = head_of(data, reading, notes)
    return Source({"train": table}, notes=notes, stream=stream)


def _file(path: str) -> Source:
    source = divided(read_table(path))
    return Source(source.tables, os.path.dirname(path), [path], source.notes)


def _joined(sources: dict[str, Source], notes: list[str]) -> Source:
    """One source of what was given for each split."""
    tables = {part: next(iter(source.tables.values())) for part, source in sources.items()}
    for part, table in tables.items():
        name_apart(table, part)
    files = [file for source in sources.values() for file in source.files]
    notes = [*notes, *(note for source in sources.values() for note in source.notes)]
    for part, source in sources.items():
        if source.stream is not None and part != "train":
            notes.append(source.stream.first_alone(len(tables[part])))
    return Source(tables, "", files, notes, sources["train"].stream if "train" in sources else None)


def name_apart(table: Table, part: str) -> None:
    """Call the rows of a table in memory after their split, because each split has a row 5."""
    if table.name.startswith("("):
        table.names = [f"{part} {table.row_name(place)}" for place in range(len(table))]
        table.name = f"({part})"


def by_split(names: Iterable[Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """Names by the split they stand for, and a note on the others; nothing where they are no names of splits."""
    names = list(names)
    found = {part: [name for name in names if split_of(str(name)) == part] for part in SPLITS}
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


def two_lists(data: Any, kind: Kind) -> dict[str, Any] | None:
    """The columns that inputs and their labels make, two lists, arrays or tensors; None if they are something else."""
    if not isinstance(data, (list, tuple)) or len(data) != 2 or any(isinstance(one, (str, Mapping)) for one in data):
        return None
    inputs, labels = data
    if not all(hasattr(one, "__len__") for one in data) or isinstance(inputs, os.PathLike):
        return None
    if len(getattr(inputs, "shape", (0,))) not in (1, 3, 4) or len(getattr(labels, "shape", (0,))) > 4:
        return None
    pictured = kind.target == "mask"
    inputs = _as_list(inputs, len(getattr(inputs, "shape", ())) > 1)
    labels = _as_list(labels, pictured)
    if len(inputs) != len(labels):
        found = f"{counted(len(inputs), kind.thing)} and {counted(len(labels), kind.target)}"
        raise DataError(f"expected as many {kind.target}s as {kind.thing}s, found {found}")
    if inputs and all(isinstance(one, (list, tuple)) and len(one) == 2 for one in inputs):
        one, other = (f"{kind.option}_{letter}" for letter in "ab")
        return {one: [first for first, _ in inputs], other: [second for _, second in inputs], kind.target: labels}
    return {kind.option: inputs, kind.target: labels}


def _as_list(values: Any, pictures: bool) -> list[Any]:
    """Values as a list; what has several axes stays as it is where it holds a picture for each place."""
    return list(values) if pictures or not hasattr(values, "tolist") else list(values.tolist())


def divided(table: Table) -> Source:
    """A table by its column of splits or folds, if it has one."""
    plain = {name.strip().lower(): name for name in reversed(table.columns)}
    for name in (plain[word] for word in (*SPLIT_COLUMNS, *FOLD_COLUMNS) if word in plain):
        cells = table.columns[name]
        sure = name.strip().lower() in ("split", *FOLD_COLUMNS)
        if not sure and not any(split_of(str(cell)) for cell in cells):  # it happens to be called so
            continue
        parts, notes = parts_of(cells, table.row_name, name)
        places = {part: [place for place, own in enumerate(parts) if own == part] for part in SPLITS if part in parts}
        del table.columns[name]
        table.notes += notes
        return Source({part: table.take(own) for part, own in places.items()}, notes=table.notes)
    return Source({"train": table}, notes=table.notes)


def folder_of_tables(root: str) -> Source | None:
    """The tables of a folder, by split; None if it holds none."""
    names = tables_in(root)
    if not names:
        return None
    if len(names) == 1:
        return _file(os.path.join(root, names[0]))
    chosen, notes = by_split(names, printable(root))
    if not chosen:
        raise DataError(
            f"{printable(root)} holds {counted(len(names), 'table')} ({listed(names)}); give one of them, or call them "
            f"train.csv and test.csv"
        )
    files = [os.path.join(root, name) for name in chosen.values()]
    tables = {part: read_table(file) for part, file in zip(chosen, files, strict=True)}
    return Source(tables, root, files, [*notes, *(note for table in tables.values() for note in table.notes)])


def tables_in(folder: str) -> list[str]:
    """The names of a folder's tables."""
    subfolders(folder)  # which refuses a folder that cannot be read
    found = [entry.name for entry in os.scandir(folder) if images.is_file(entry) and is_table(entry.name)]
    return sorted(name for name in found if not images.ignored(name))
