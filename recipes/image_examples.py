"""Find labelled pictures in folders, tables and data sets, look at them, and gather pictures to predict."""

from __future__ import annotations

import os
import re
import statistics
import zlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from recipes import images
from recipes.archives import is_archive, unpacked
from recipes.codec import gathered_pictures
from recipes.columns import Columns, by_name, letters, missing
from recipes.display import counted, listed, say
from recipes.errors import DataError, printable
from recipes.examples import Reading, split_folders, subfolders, watched
from recipes.findings import Finding, Severity
from recipes.folds import split_of
from recipes.labelled import Inputs, Missing, Rows, Sifted, united
from recipes.looks import Look, exact_duplicates, looks, near_duplicates, quick_looks
from recipes.sources import Source, find, folder_of_tables, tables_in
from recipes.tables import Table, existing, frame_kind, is_table

T = TypeVar("T")

# What people call the column, without anything but letters and digits; a better name comes first.
_IMAGE = (
    "image images imagepath imagefile imagename imageid img imgpath imgfile imgname filepath filename file path "
    "picture photo input id"
)

# Folders that hold pictures of all labels, beside a table that says which is which.
_ALL = "images image imgs img pictures photos jpegimages jpegs data files frames"

# Suffixes that tables leave away.
_SUFFIXES = ("", ".jpg", ".png", ".jpeg", ".webp", ".tif", ".bmp", ".JPG")

_LAYOUT = "put each label's pictures in a folder of its own, as in photos/cat/1.jpg"


class PictureInputs(Inputs):
    """Pictures: files in folders, or what a column of a table holds."""

    thing = "picture"
    option = "image"
    forms = (
        "give a folder that holds a folder of pictures for each label, a table with a column of pictures and one of "
        "labels (train.csv), a data frame, a data set, or two lists, (pictures, labels)"
    )
    empty = "no picture"
    exactly = "byte for byte"
    files = True

    def check_folder(self, root: str) -> None:
        """Refuse a folder without folders and tables."""
        if not subfolders(root) and not tables_in(root):
            raise DataError(f"{printable(root)} {_what_instead(root)}")

    def folder(self, root: str) -> Source:
        """Pictures in a folder for each label, in `train/`, `val/` and `test/` folders of such, or beside a table."""
        if parts := split_folders(root):
            notes: list[str] = []
            tables = {part: folder_table(folder, notes) for part, folder in parts.items()}
            return Source(tables, root, notes=notes)
        if divided := {part: entry.path for entry in subfolders(root) if (part := _split_with_table(entry))}:
            found = {part: folder_of_tables(path) for part, path in divided.items()}
            tables = {part: next(iter(one.tables.values())) for part, one in found.items() if one}
            files = [file for one in found.values() if one for file in one.files]
            return Source(tables, root, files, [note for one in found.values() if one for note in one.notes])
        if tables_in(root) and not any(map(_is_label, subfolders(root))):
            source = folder_of_tables(root)
            assert source is not None
            return source
        notes = [f"left out {listed(tables_in(root))}: labels are those of the folders"] if tables_in(root) else []
        return Source({"train": folder_table(root, notes)}, root, notes=notes)

    def hint(self, where: str, label: str) -> str:
        """The folder inside a folder that may be meant: the one that holds folders for labels."""
        inside = os.path.join(where, label)
        folders = subfolders(inside) if os.path.isdir(inside) else []
        return f"; did you mean {printable(inside)}?" if len(folders) > 1 else ""

    def find(self, table: Table, taken: Sequence[str]) -> tuple[tuple[str, ...], bool]:
        """The column that is called like pictures, or whose cells are pictures or their names."""
        name = by_name(table, _IMAGE, taken, are_pictures)
        if name and (are_pictures(table.columns[name[0]]) or _located(table.columns[name[0]], table.folder)):
            return name, False
        free = [name for name in table.columns if name not in taken]
        if found := [name for name in free if are_pictures(table.columns[name])]:
            return (found[0],), len(found) > 1
        found = [name for name in free if _located(table.columns[name], table.folder)]
        return tuple(found[:1]), True

    def cells(self, table: Table, columns: tuple[str, ...]) -> list[Any]:
        """Each row's picture, or the path of its file."""
        cells = table.columns[columns[0]]
        if table.where:  # a folder's own files
            return cells
        return picture_cells(cells, table.folder)

    def sift(self, rows: dict[str, Rows], reading: Reading, notes: list[str]) -> Sifted:
        """Look at every picture, or of very many at a sample; leave out what cannot be read, and find copies."""
        sources = [source for own in rows.values() for source in own.inputs]
        found, note = (
            (list[Look | None](looks(sources)), "") if reading.thorough else quick_looks(sources, reading.seed)
        )
        notes += [note] if note else []
        seen = dict(zip(rows, _parted(found, rows), strict=True))
        unreadable = {part: _readable_alone(rows, part, seen, reading, notes) for part in rows}
        if reading.thorough:
            _note_oddities(rows, seen, notes)
        found_copies = copies(seen, rows)
        found_copies.unreadable = {part: names for part, names in unreadable.items() if names}
        return found_copies

    def content(self, source: Any) -> Any:
        """A checksum of a picture in memory, or its name."""
        if isinstance(source, (bytes, bytearray, memoryview)):
            return f"{zlib.crc32(source):08x}"
        if isinstance(source, Mapping):
            return self.content(source.get("bytes") or source.get("path"))
        if hasattr(source, "shape") or hasattr(source, "getexif"):
            array = np.asarray(source.detach().cpu() if hasattr(source, "detach") else source)
            return f"{array.shape}-{zlib.crc32(np.ascontiguousarray(array).tobytes()):08x}"
        return self.content(source.fetch()) if hasattr(source, "fetch") else str(source)


PICTURES = PictureInputs()

#: The columns of what stands in no table.
OF_FOLDERS = Columns(("image",), ("label",))


# ---------------------------------------------------------------------------------------------------------------------
# Looks


def copies(seen: Mapping[str, Sequence[Look | None]], rows: Mapping[str, Rows]) -> Sifted:
    """Which pictures show the same, and which files are the same byte for byte, over all splits."""
    sources = [source for own in rows.values() for source in own.inputs]
    alike, exact = near_duplicates([look for part in rows for look in seen[part]]), exact_duplicates(sources)
    forms = united(_shared(alike), _shared(exact)) or [None] * len(sources)
    return Sifted(
        dict(zip(rows, _parted(_shared(forms), rows), strict=True)),
        dict(zip(rows, _parted(exact, rows), strict=True)),
    )


def _parted(values: Sequence[T], rows: Mapping[str, Rows]) -> list[list[T]]:
    """Values of all splits one after the other, by split."""
    remaining = iter(values)
    return [list(islice(remaining, len(own.inputs))) for own in rows.values()]


def _shared(firsts: Sequence[Hashable]) -> list[Hashable]:
    """What several have in common; None for those that have nothing in common with others."""
    counts = Counter(firsts)
    return [None if counts[one] == 1 else one for one in firsts]


def _readable_alone(
    rows: dict[str, Rows], part: str, seen: dict[str, list[Look | None]], reading: Reading, notes: list[str]
) -> list[str]:
    """Leave out, in place, what cannot be read of a split; the names of what that is."""
    own, found = rows[part], seen[part]
    bad = {place: look.error for place, look in enumerate(found) if look is not None and look.error}
    if not bad:
        return []
    paths = [str(own.inputs[place]) if own.names is None else own.name(place) for place in bad]
    named = [f"{path} {error}" for path, error in zip(paths, bad.values(), strict=True)]
    summary = f"{counted(len(bad), 'unreadable picture')} of {len(own.inputs):,}: {listed(named)}"
    if 2 * len(bad) > len(own.inputs) and not reading.thorough:
        raise DataError(f"most pictures cannot be read, {summary}")
    notes.append(
        Finding(
            f"left out {summary}",
            kind="unreadable",
            severity="error",
            names=named,
            remedy="repair the files, or leave them out",
            leave_out=list(map(own.name, bad)),
        )
    )
    kept = [place for place in range(len(found)) if place not in bad]
    rows[part], seen[part] = own.take(kept), [found[place] for place in kept]
    return paths


def _note_oddities(rows: Mapping[str, Rows], seen: Mapping[str, Sequence[Look | None]], notes: list[str]) -> None:
    """Say which files are not what their suffix says, and which pictures are unlike most in size or kind of pixels."""
    every = [
        (own.name(place), own.inputs[place], look)
        for part, own in rows.items()
        for place, look in enumerate(seen[part])
        if look is not None
    ]
    if not every:
        return
    usual = statistics.median(min(look.size) for _, _, look in every)
    modes = Counter(look.mode for _, _, look in every)
    sized = [(f"{name} ({look.size[0]} × {look.size[1]})", look.size) for name, _, look in every]
    long = [name for name, size in sized if max(size) > 5 * min(size)]
    found = {
        "suffix": [f"{name} ({look.format})" for name, path, look in every if not _suits(path, look.format)],
        "small": [name for name, size in sized if 8 * min(size) < usual],
        "long": long if 10 * len(long) < len(every) else [],
        "mode": [f"{name} ({look.mode})" for name, _, look in every if 10 * modes[look.mode] < len(every)],
    }
    told = {
        "suffix": ("with the suffix of another format", "give them the right suffix; other programs go by it"),
        "small": (f"far smaller than most ({usual:.0f} pixels on the shorter side)", "see whether they are meant"),
        "long": ("more than five times as long as wide", "see whether they are meant"),
        "mode": ("with another kind of pixels than most", "nothing; all are read as RGB"),
    }
    for kind, names in found.items():
        if names:
            text = f"{counted(len(names), 'picture')} {told[kind][0]}: {listed(names)}"
            severity: Severity = "note" if kind == "mode" else "warning"
            notes.append(Finding(text, kind=kind, severity=severity, names=names, remedy=told[kind][1]))


def _suits(source: Any, form: str) -> bool:
    """Whether a file's suffix, if it has a known one, stands for its format."""
    suffix = os.path.splitext(source)[1].lower() if isinstance(source, str) else ""
    return not form or suffix not in images.SUFFIXES or form in images.formats_of(suffix)


# ---------------------------------------------------------------------------------------------------------------------
# Folders


def _split_with_table(entry: os.DirEntry[str]) -> str | None:
    """The split that a folder stands for, if it holds a table of its pictures."""
    part = split_of(entry.name)
    return part if part and tables_in(entry.path) and not subfolders(entry.path) else None


def _is_label(entry: os.DirEntry[str]) -> bool:
    """Whether a folder beside a table may be one of a label: it holds pictures, and is not called like all of them."""
    words = {letters(word) for word in re.split(r"[\W_]+", entry.name)}
    return not split_of(entry.name) and not words & {*_ALL.split()} and bool(images.pictures_in(entry.path)[0])


def folder_table(folder: str, notes: list[str]) -> Table:
    """The pictures of a folder that has a folder for each label.

    Args:
        folder: holds the labels' folders; each is searched to any depth.
        notes: gets a line for everything that was left out.

    Raises:
        DataError: there are no labelled pictures.
    """
    found: dict[str, list[str]] = {}
    others: list[str] = []
    entries = subfolders(folder)
    own = {images.identity(folder), *(images.identity(entry.path) for entry in entries)}
    for entry in watched(iter(entries), "finding pictures", len(entries)):
        # A link from one label's folder to another's does not give its pictures two labels.
        pictures, rest = images.pictures_in(entry.path, own - {images.identity(entry.path)})
        others += rest
        found[entry.name] = pictures
    if not any(found.values()):
        raise DataError(f"{printable(folder)} {_what_instead(folder)}")
    if empty := [name for name in found if not found[name]]:
        notes.append(
            Finding(
                f"left out {counted(len(empty), 'empty folder')}: {listed(empty)}",
                kind="empty",
                names=empty,
                remedy="give each label pictures, or take its folder away",
            )
        )
    names = [name for name in found if found[name]]
    loose = [entry.path for entry in os.scandir(folder) if images.is_file(entry) and not images.ignored(entry.name)]
    if loose := [path for path in loose if images.looks_like_picture(path)]:
        notes.append(
            Finding(
                f"left out {counted(len(loose), 'picture')} without a label, directly in {printable(folder)}",
                kind="unlabelled",
                names=loose,
                remedy=_LAYOUT,
            )
        )
    if others:
        notes.append(Finding(f"left out {images.left_out(others)}", kind="other files", severity="note", names=others))
    columns = {
        "image": [picture for name in names for picture in found[name]],
        "label": [name for name in names for _ in found[name]],
    }
    number = len(columns["image"])
    return Table(printable(folder), columns, list(range(1, number + 1)), folder=folder, where=printable(folder))


def _what_instead(folder: str) -> str:
    """Why a folder has no labelled pictures, and what to do."""
    pictures, others = images.pictures_in(folder)
    if pictures:
        return f"holds {counted(len(pictures), 'picture')} but no folders for labels; {_LAYOUT}"
    return f"holds no pictures (found {images.left_out(others) if others else 'nothing'}); {_LAYOUT}"


# ---------------------------------------------------------------------------------------------------------------------
# Cells


def are_pictures(cells: Sequence[Any]) -> bool:
    """Whether most cells are pictures, or the names of picture files."""
    some = [cell for cell in cells[:1000] if not _nothing(cell)]
    return bool(some) and 2 * sum(map(_is_picture, some)) > len(some)


def _nothing(cell: Any) -> bool:
    return isinstance(cell, (str, float, type(None))) and missing(cell)


def _is_picture(cell: Any) -> bool:
    if isinstance(cell, (str, os.PathLike)):
        return os.path.splitext(os.fspath(cell).strip())[1].lower() in images.SUFFIXES
    if isinstance(cell, Mapping):
        return "bytes" in cell or "path" in cell
    if isinstance(cell, (bytes, bytearray, memoryview)) or hasattr(cell, "getexif") or hasattr(cell, "fetch"):
        return True
    return getattr(cell, "ndim", 0) in (2, 3)


def _located(cells: Iterable[Any], folder: str) -> tuple[str, str] | None:
    """The folder below which files of these names lie, and the suffix that the names lack; None if there are none."""
    some = [os.fspath(cell).strip() for cell in list(cells)[:50] if isinstance(cell, (str, os.PathLike))]
    names = [name for name in some if name]
    if 2 * len({*names}) <= len(names):  # labels, such as 0 and 1, beside a picture 0.png
        return None
    suffixes = _SUFFIXES if any(_is_picture(name) for name in names) is False else _SUFFIXES[:1]
    around = folder or "."
    places = [folder]
    for entry in subfolders(around):
        places += [entry.path, *(below.path for below in subfolders(entry.path)[:50])]
        if len(places) > 2000:  # a folder for each label, say, which the names then hold
            break
    best, most = None, 0
    for place in places:
        for suffix in suffixes:
            hits = sum(os.path.isfile(os.path.join(place, os.path.expanduser(name) + suffix)) for name in names)
            if hits > most:
                best, most = (place, suffix), hits
        if most == len(names):
            break
    return best


def picture_cells(cells: Sequence[Any], folder: str) -> list[Any]:
    """What the cells of a column mean: paths of files, pictures, `Missing` where no file is, None where nothing is.

    Args:
        cells: the column.
        folder: where paths begin, or below which the files lie.
    """
    place = _located(cells, folder) or (folder, "")
    found = [_at(cell, *place) for cell in cells]
    return [Missing(one) if isinstance(one, str) and not os.path.isfile(one) else one for one in found]


def _at(cell: Any, folder: str, suffix: str) -> Any:
    """What a cell means: a path from the table's folder, the picture itself, or None."""
    if isinstance(cell, (str, os.PathLike)):
        name = os.fspath(cell).strip()
        return os.path.join(folder, os.path.expanduser(name) + suffix) if name else None
    return None if _nothing(cell) else cell


# ---------------------------------------------------------------------------------------------------------------------
# Pictures to predict


def gathered(inputs: Any, columns: Columns | None) -> list[Any]:
    """Paths, directories, globs, pictures, arrays, tables, frames, data sets, archives, or lists of these, as a list.

    Raises:
        DataError: a path does not exist, or there are no pictures.
    """
    path = os.path.expanduser(os.fspath(inputs)) if isinstance(inputs, (str, os.PathLike)) else None
    if path is not None and os.path.isfile(path) and is_table(path):
        return _of_table(find(path, PICTURES), columns)
    if path is not None and os.path.isfile(path) and not images.looks_like_picture(path):
        notes: list[str] = []
        inputs = unpacked(existing(path), notes) if is_archive(path) else inputs
        for note in notes:
            say(f"note: {note}")
    if path is None and _has_columns(inputs):
        return _of_table(find(inputs, PICTURES), columns)
    return gathered_pictures(inputs)


def _has_columns(inputs: Any) -> bool:
    """Whether something in memory is a table or a data set rather than a picture or a list of them."""
    if frame_kind(inputs) or hasattr(inputs, "train_dataloader"):
        return True
    if isinstance(inputs, Mapping):
        return "bytes" not in inputs and "path" not in inputs
    if isinstance(inputs, (list, tuple)):
        return bool(inputs) and all(isinstance(one, Mapping) and _has_columns(one) for one in inputs)
    return (
        hasattr(inputs, "__getitem__") and not hasattr(inputs, "shape") and not isinstance(inputs, (bytes, bytearray))
    )


def _of_table(source: Source, columns: Columns | None) -> list[Any]:
    """The pictures of all tables, from the column of training or else the one that is found."""
    found: list[Any] = []
    for table in source.tables.values():
        names = columns.inputs if columns and {*columns.inputs} <= table.columns.keys() else PICTURES.find(table, ())[0]
        if not names:
            raise DataError(f"{printable(table.name)} has no column of pictures (columns: {listed(table.columns, 8)})")
        cells = table.columns[names[0]]
        place = _located(cells, table.folder) or (table.folder, "")
        found += cells if table.where else [_at(cell, *place) for cell in cells]
    for note in source.notes:
        say(f"note: {note}")
    return found
