"""Data sets of torch, torchvision, Lightning and Hugging Face as tables, whose pictures are fetched when needed."""

from __future__ import annotations

import copy
import os
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from recipes import images
from recipes.display import counted, listed
from recipes.errors import DataError, printable
from recipes.examples import watched
from recipes.folds import split_of
from recipes.tables import Table, checked_table, columns_of_dataset, frame_kind

# Longer lists of numbers in an item are no labels.
_MANY = 10_000

# Columns of Hugging Face data sets that hold more than a person can read, and are of no use here.
HEAVY = ("Audio", "Video", "Pdf", "Nifti", "Mesh")


@dataclass(frozen=True, slots=True)
class Item:
    """An input that is fetched from a data set when it is needed, as `images.opened` does.

    Args:
        data: the data set, or an array of pictures.
        place: which item, counted from 0 as in `data[place]`.
        part: which part of the item, the place in a pair or the key in a dict; None takes all of it.
        name: what it is called, where that is not its place.
    """

    data: Any
    place: int
    part: int | str | None = None
    name: str = ""

    def fetch(self) -> Any:
        """A path, the bytes of an encoded picture, a PIL image or an array; nothing is kept."""
        found = self.data[self.place]
        return found if self.part is None else found[self.part]

    def __str__(self) -> str:
        return self.name or f"item {self.place}"


def split_sources(data: Any, notes: list[str] | None = None) -> dict[str, Any] | None:
    """The data sets of a LightningDataModule by split (train, val, test), or of a Hugging Face DatasetDict of one.

    A data module is prepared and set up for fitting and, if it has data for testing, for testing. What its loaders do
    beyond choosing examples (their batches, shuffling and weights) is not used.

    Args:
        data: anything; nothing is imported to find out what it is.
        notes: gets a line for what was left out.

    Returns:
        None if it is something else, also for a DatasetDict whose names say which split is which: that is a dict like
        any other.

    Raises:
        DataError: the module's own code fails, or it has several loaders where one is needed.
    """
    if is_a(data, "LightningDataModule", "pytorch_lightning", "lightning"):
        return _of_module(data, [] if notes is None else notes)
    if is_a(data, "DatasetDict", "datasets") or is_a(data, "IterableDatasetDict", "datasets"):
        if any(split_of(str(name)) for name in data):
            return None
        if len(data) != 1:
            raise DataError(
                f"expected splits called train, validation or test in the DatasetDict, found {listed(data) or 'none'}; "
                "give one of them, or a dict such as {'train': data['a'], 'test': data['b']}"
            )
        return {"train": next(iter(data.values()))}
    return None


def table_of(data: Any) -> Table | None:
    """The table that a data set of torch is, or one of Hugging Face that has pictures; None for other things.

    Pictures stay where they are: the column `image` has the paths of files, or `Item`s that fetch a picture when it is
    needed. Transforms of torchvision's own data sets are left out, because a task prepares pictures itself. Labels of
    any other data set are read by going through it once.

    Raises:
        DataError: it is a stream, is empty, or most of its items cannot be read.
    """
    if is_a(data, "DataLoader", "torch"):
        data = _chosen(data)
    if frame_kind(data) == "datasets":
        return _of_hugging_face(data)
    if is_a(data, "IterableDataset", "torch"):
        raise DataError(
            f"{type(data).__name__} is a stream (an IterableDataset), which cannot be counted, split and shuffled; if "
            "it is short, give its items in a list as a Dataset: one with __len__ and __getitem__"
        )
    return _of_items(data) if _is_map_style(data) else None


def is_a(data: Any, name: str, *libraries: str) -> bool:
    """Whether a thing is of a library's class, which is not imported to find out."""
    return any(kind.__name__ == name and kind.__module__.partition(".")[0] in libraries for kind in type(data).__mro__)


def _is_map_style(data: Any) -> bool:
    """Whether a thing has numbered items and is none of Python's own, no array and no table."""
    if not (hasattr(type(data), "__getitem__") and hasattr(type(data), "__len__")):
        return False
    if isinstance(data, (str, bytes, bytearray, memoryview, list, tuple, Mapping, os.PathLike)) or frame_kind(data):
        return False
    return not hasattr(data, "shape") and type(data).__module__ not in ("builtins", "collections", "array")


# ---------------------------------------------------------------------------------------------------------------------
# Lightning


def _of_module(module: Any, notes: list[str]) -> dict[str, Any]:
    name = type(module).__name__
    _called(module.prepare_data, f"{name}.prepare_data()")
    _called(lambda: module.setup("fit"), f'{name}.setup("fit")')
    if not _has(module, "train_dataloader"):
        raise DataError(f"{name} has no train_dataloader(); write one, or give its data set itself")
    found = {"train": _data_behind(module, "train_dataloader")}
    if _has(module, "val_dataloader"):
        found["val"] = _data_behind(module, "val_dataloader")
    if _has(module, "test_dataloader"):
        try:
            _called(lambda: module.setup("test"), f'{name}.setup("test")')
            found["test"] = _data_behind(module, "test_dataloader")
        except DataError as error:  # many a module is used without
            notes.append(f"left out the test data: {error}")
    return {part: data for part, data in found.items() if data is not None}


def _has(module: Any, loader: str) -> bool:
    """Whether a module has a loader of its own, and not the one of Lightning that says it is missing."""
    return not getattr(getattr(module, loader), "__qualname__", "").startswith(("DataHooks.", "LightningDataModule.t"))


def _called(function: Callable[[], Any], name: str) -> Any:
    """What somebody's function gives; what it raises is told in one line."""
    try:
        return function()
    except Exception as error:
        raise DataError(f"{name} failed ({reason_of(error)}); mend it, or give the data sets themselves") from error


def reason_of(error: Exception) -> str:
    """What an error says, in one line, after its kind."""
    said = printable(str(error).strip().partition("\n")[0])
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _data_behind(module: Any, name: str) -> Any:
    """The data set of a loader; None where there is none."""
    title = f"{type(module).__name__}.{name}()"
    loader = _called(getattr(module, name), title)
    if isinstance(loader, (list, tuple)):
        if len(loader) > 1:
            raise DataError(
                f"{title} gives {len(loader)} loaders, and one is needed; give the data sets themselves, as in "
                "{'train': …, 'val': …}, several as a ConcatDataset"
            )
        loader = next(iter(loader), None)
    if loader is None:
        return None
    if not hasattr(loader, "dataset"):
        raise DataError(
            f"{title} gives {type(loader).__name__}, and a DataLoader is needed; give the data sets themselves, as in "
            "{'train': …, 'val': …}"
        )
    return _chosen(loader)


def _chosen(loader: Any) -> Any:
    """A loader's data set, or that part of it which its sampler takes: two loaders may share one set."""
    sampler: Any = getattr(loader, "sampler", None)
    if is_a(sampler, "SubsetRandomSampler", "torch"):
        from torch.utils.data import Subset

        return Subset(loader.dataset, [int(place) for place in sampler.indices])
    return loader.dataset


# ---------------------------------------------------------------------------------------------------------------------
# Hugging Face


def _of_hugging_face(data: Any) -> Table | None:
    """The table of a data set with pictures, which are not decoded; None without: such tables are read whole."""
    pictures = picture_columns(data)
    if not hasattr(data, "__len__"):
        if pictures:
            raise DataError(
                "the data set is a stream, which cannot be counted, split and shuffled; load it without "
                "streaming=True, or make a set of its first examples: Dataset.from_list(list(data.take(1000)))"
            )
        return None
    if not pictures:
        return None
    if not len(data):
        raise DataError("(dataset) has no rows")
    data = data.with_format(None)  # without a transform that makes tensors of pictures
    features = data.features
    heavy = [name for name in features if name not in pictures and holds(features[name], (*HEAVY, "Image"))]
    others = data.remove_columns([*pictures, *heavy])
    columns = dict(columns_of_dataset(others)) if others.column_names else {}
    for name in pictures:
        bare = data.select_columns([name]).cast_column(name, type(features[name])(decode=False))
        columns[name] = [Item(bare, place, name) for place in range(len(data))]
    notes = [f"left out {counted(len(heavy), 'column')} of the data set: {listed(heavy)}"] if heavy else []
    ordered = [(name, columns[name]) for name in features if name in columns]
    return _named_by_place(checked_table("(dataset)", ordered, notes=notes))


def picture_columns(data: Any) -> list[str]:
    """The columns that hold a picture each; of a stream that does not know its columns, those of the first row."""
    if data.features is not None:
        return [name for name, feature in data.features.items() if holds(feature, ("Image",)) and not _inner(feature)]
    first: dict[str, Any] = next(iter(data), {})
    return [name for name, cell in first.items() if hasattr(cell, "getexif")]


def holds(feature: Any, kinds: Sequence[str]) -> bool:
    """Whether a column is of one of these kinds, or has lists or dicts of them."""
    return type(feature).__name__ in kinds or any(holds(inner, kinds) for inner in _inner(feature))


def _inner(feature: Any) -> list[Any]:
    if isinstance(feature, Mapping):
        return list(feature.values())
    if isinstance(feature, (list, tuple)):
        return list(feature)
    inner = getattr(feature, "feature", None)
    return [] if inner is None else [inner]


def _named_by_place(table: Table) -> Table:
    """The table, its rows called as the data set counts them: `item 12` is `data[12]`."""
    table.names = [f"item {place}" for place in range(len(table))]
    return table


# ---------------------------------------------------------------------------------------------------------------------
# Torch


# Data sets of torchvision whose pictures all lie in `data`, with the labels in `targets` or `labels`.
_IN_ONE_ARRAY = ("CIFAR10", "MNIST", "SVHN", "STL10", "USPS", "SEMEION")

# What the part of an item is called that a data set's `classes` name.
_LABEL = ("label", "labels", "target", "targets", "class", "category", "y")


@dataclass
class _Rows:
    """Columns of items, what each row is called, and what was left out or decided."""

    columns: dict[str, list[Any]]
    names: list[str]
    notes: list[str]


def _of_items(data: Any) -> Table:
    """The table of a data set with numbered items."""
    if not len(data):
        raise DataError(f"{type(data).__name__} is empty: it has no items")
    rows = _rows(data, range(len(data)))
    table = checked_table("(dataset)", rows.columns.items(), notes=rows.notes)
    if rows.names != rows.columns.get("image"):  # paths name themselves
        table.names = rows.names
    return table


def _rows(data: Any, places: Sequence[int], prefix: str = "") -> _Rows:
    """The items at these places of a data set, or of those that it is made from."""
    if _reads_as(data, "Subset"):
        return _rows(data.dataset, [int(data.indices[place]) for place in places], prefix)
    if _reads_as(data, "ConcatDataset"):
        return _of_parts(data, places, prefix)
    if frame_kind(data) == "datasets":
        return _of_wrapped(data, places, prefix)
    if _reads_as(data, "DatasetFolder"):
        return _of_samples(data, places)
    if _reads_as(data, *_IN_ONE_ARRAY):
        return _of_pixels(data, places, prefix)
    return _of_pass(data, places, prefix)


def _reads_as(data: Any, *classes: str) -> bool:
    """Whether items come from the method of such a class of torch or torchvision; one of somebody's own may do more."""
    method = getattr(type(data), "__getitem__", None)
    known = [f"{name}.__getitem__" for name in classes] or [getattr(method, "__qualname__", "")]
    libraries = ("torch.utils.data.", "torchvision.datasets.")
    return getattr(method, "__module__", "").startswith(libraries) and method.__qualname__ in known  # type: ignore[union-attr]


def _of_parts(data: Any, places: Sequence[int], prefix: str) -> _Rows:
    """The items of a ConcatDataset, part by part."""
    ends = list(accumulate(map(len, data.datasets)))
    owners = [bisect_right(ends, place) for place in places]
    columns: dict[str, list[Any]] = {}
    names, notes = list[str](), list[str]()
    for number, part in enumerate(data.datasets):
        own = [place - ends[number] + len(part) for place, owner in zip(places, owners, strict=True) if owner == number]
        if not own:
            continue
        rows = _rows(part, own, f"{prefix}part {number + 1}, ")
        if columns and rows.columns.keys() != columns.keys():
            raise DataError(
                f"expected the parts of a ConcatDataset to hold the same, found {listed(columns)} in the first and "
                f"{listed(rows.columns)} in part {number + 1} ({type(part).__name__})"
            )
        for name, cells in rows.columns.items():
            columns.setdefault(name, []).extend(cells)
        names += rows.names
        notes += rows.notes
    return _Rows(columns, names, notes)


def _of_wrapped(data: Any, places: Sequence[int], prefix: str) -> _Rows:
    """A data set of Hugging Face in a Subset or a ConcatDataset of torch."""
    chosen = data.select(places)
    table = _of_hugging_face(chosen) or checked_table("(dataset)", columns_of_dataset(chosen))
    names = [f"{prefix}item {place}" for place in places]
    columns = {
        title: [
            replace(cell, name=name) if isinstance(cell, Item) else cell
            for cell, name in zip(cells, names, strict=True)
        ]
        for title, cells in table.columns.items()
    }
    return _Rows(columns, names, table.notes)


def _of_samples(data: Any, places: Sequence[int]) -> _Rows:
    """The files and labels that torchvision's ImageFolder lists; none of them is opened."""
    paths = [os.fspath(data.samples[place][0]) for place in places]
    labels = _labels(_changed([data.samples[place][1] for place in places], data), data, paths)
    if getattr(data.loader, "__module__", "") == "torchvision.datasets.folder":
        return _Rows({"image": paths, "label": labels}, paths, [])
    # Only a loader of somebody's own can read these files.
    return _Rows({"image": _items(_bare(data), places, 0, paths), "label": labels}, paths, [])


def _of_pixels(data: Any, places: Sequence[int], prefix: str) -> _Rows:
    """The pictures of CIFAR, MNIST and the like, which lie in one array."""
    targets: Any = getattr(data, "targets", getattr(data, "labels", None))
    names = [f"{prefix}item {place}" for place in places]
    items = _items(data.data, places, None, names)
    if targets is None:
        return _Rows({"image": items}, names, [])
    labels = _labels(_changed([_plain(targets[place]) for place in places], data), data, names)
    return _Rows({"image": items, "label": labels}, names, [])


def _of_pass(data: Any, places: Sequence[int], prefix: str) -> _Rows:
    """Any other data set: an item says what there is, and labels are read by going through all of them."""
    title = type(data).__name__
    if _reads_as(data) and hasattr(data, "transforms"):
        data = _bare(data)
    first = _first(data, places)
    names = [f"{prefix}item {place}" for place in places]
    if not isinstance(first, (Mapping, tuple, list)) and not isinstance(first, str):
        return _Rows({"image": _items(data, places, None, names)}, names, [])
    parts, notes = _parts(first, title)
    light = [part for part, cell in parts.values() if not _is_heavy(cell)]
    cells: list[list[Any]] = []
    if light:
        places, cells = _through(data, places, light, names, notes)
        names = [f"{prefix}item {place}" for place in places]
    columns = {}
    for name, (part, _) in parts.items():
        if part not in light:
            columns[name] = _items(data, places, part, names)
            continue
        column = [row[light.index(part)] for row in cells]
        columns[name] = _labels(column, data, names) if name in _LABEL else column
    return _Rows(columns, names, notes)


def _bare(data: Any) -> Any:
    """A data set of torchvision's own without what it does to pictures; labels are changed as they were."""
    data = copy.copy(data)
    if data.transform is None and data.target_transform is None:
        return data  # there may be one function for both, whose part for labels cannot be had alone
    data.transform = None
    data.transforms = None if data.target_transform is None else type(data.transforms)(None, data.target_transform)
    return data


def _first(data: Any, places: Sequence[int]) -> Any:
    """The first item that can be read."""
    reasons = []
    for place in places[:20]:
        try:
            return data[place]
        except Exception as error:
            reasons.append(f"item {place} ({reason_of(error)})")
    raise DataError(f"items of {type(data).__name__} cannot be read: {listed(reasons)}")


def _parts(item: Any, name: str) -> tuple[dict[str, tuple[int | str | None, Any]], list[str]]:
    """What an item holds and where, by the names of columns, and what was decided."""
    if isinstance(item, str):
        return {"text" if _is_text(item) else "image": (None, item)}, []
    if isinstance(item, Mapping):
        return {str(key): (key, cell) for key, cell in item.items()}, []
    expected = f"expected items of {name} to be pairs of an input and a label, or dicts, found"
    if len(item) < 2:
        raise DataError(f"{expected} {type(item).__name__} of {len(item)}")
    pair = [(0, item[0]), (1, item[1])]
    if isinstance(item[0], int) and (isinstance(item[1], str) or _is_heavy(item[1])):
        pair.reverse()  # as torchtext has them
    source, target = pair[0][1], pair[1][1]
    if not _is_heavy(source) and not isinstance(source, (str, os.PathLike)):
        shape = f" of shape {tuple(source.shape)}" if hasattr(source, "shape") else ""
        raise DataError(f"{expected} {type(source).__name__}{shape} as input; give pictures, paths or texts")
    notes = [f"took two of the {len(item)} parts of each item as input and label"] if len(item) > 2 else []
    titles = "text" if _is_text(source) else "image", "mask" if _is_heavy(target) else "label"
    return dict(zip(titles, pair, strict=True)), notes


def _is_heavy(cell: Any) -> bool:
    """Whether a cell is a picture, or something else too large to be kept for all rows."""
    if isinstance(cell, (bytes, bytearray, memoryview)) or hasattr(cell, "getexif"):
        return True
    shape: tuple[int, ...] = getattr(cell, "shape", ())
    return len(shape) > 1 or (len(shape) == 1 and shape[0] > _MANY)


def _is_text(cell: Any) -> bool:
    """Whether a string is a text rather than the path of a picture."""
    return isinstance(cell, str) and os.path.splitext(cell)[1].lower() not in images.SUFFIXES


def _through(
    data: Any, places: Sequence[int], parts: Sequence[int | str | None], names: Sequence[str], notes: list[str]
) -> tuple[list[int], list[list[Any]]]:
    """The places of all items that can be read, and these parts of them; nothing else of an item is kept."""
    found, kept, bad = list[list[Any]](), list[int](), list[str]()
    for place, name in zip(watched(iter(places), "reading labels", len(places)), names, strict=True):
        try:
            item = data[place]
            found.append([_plain(item if part is None else item[part]) for part in parts])
            kept.append(place)
        except Exception as error:
            bad.append(f"{name} ({reason_of(error)})")
    words = f"{counted(len(bad), 'item')} of {type(data).__name__} that cannot be read: {listed(bad)}"
    if 2 * len(bad) > len(places):
        raise DataError(f"found {words}; these are most of {len(places):,}")
    if bad:
        notes.append(f"left out {words}")
    return kept, found


def _plain(cell: Any) -> Any:
    """A number or a list instead of a tensor or an array."""
    if hasattr(cell, "detach"):
        cell = cell.detach().cpu()
    return cell.tolist() if hasattr(cell, "tolist") else cell


def _items(data: Any, places: Sequence[int], part: int | str | None, names: Sequence[str]) -> list[Any]:
    pairs = zip(places, names, strict=True)
    return [Item(data, place, part, "" if name == f"item {place}" else name) for place, name in pairs]


def _changed(labels: list[Any], data: Any) -> list[Any]:
    change = getattr(data, "target_transform", None)
    return labels if change is None else [_plain(change(label)) for label in labels]


def _labels(cells: list[Any], data: Any, names: Sequence[str]) -> list[Any]:
    """Labels by their names, where the data set knows these."""
    classes = [] if getattr(data, "target_transform", None) else _classes(data)
    if _are_flags(cells):
        cells = [[place for place, on in enumerate(cell) if on] for cell in cells]
    return [_label(cell, classes, name) for cell, name in zip(cells, names, strict=True)]


def _are_flags(cells: list[Any]) -> bool:
    """Whether each cell has a 0 or a 1 for every label."""
    if {type(cell) for cell in cells} != {list} or len({len(cell) for cell in cells}) > 1 or len(cells[0]) < 2:
        return False
    return all(type(one) in (int, float) and one in (0, 1) for cell in cells for one in cell)


def _classes(data: Any) -> list[str]:
    """The names of labels in order, as torchvision and many others have them."""
    found = getattr(data, "classes", None)
    if isinstance(found, Mapping):
        found = sorted(found, key=found.__getitem__)
    if not isinstance(found, (list, tuple)):
        return []
    return [", ".join(map(str, one)) if isinstance(one, (list, tuple)) else str(one) for one in found]


def _label(cell: Any, classes: list[str], name: str) -> Any:
    if isinstance(cell, list):
        return [_label(one, classes, name) for one in cell]
    if not classes or isinstance(cell, bool) or not isinstance(cell, int):
        return cell
    if cell >= len(classes):
        raise DataError(f"{name} has the label {cell}, but there are names for 0 to {len(classes) - 1} only (classes)")
    return classes[cell] if cell >= 0 else None  # -1 is how data sets say that there is none
