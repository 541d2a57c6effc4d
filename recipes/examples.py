"""Find the examples in a folder, check that they can be read, and split them; nothing here needs torch."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from recipes import images
from recipes.codec import Codec, cores
from recipes.display import console, counted, listed, say
from recipes.errors import DataError, did_you_mean, printable

S = TypeVar("S")
T = TypeVar("T")

#: What people call the three splits.
SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


@dataclass
class Examples:
    """Inputs with their targets, and the labels that the targets are places of.

    Args:
        inputs: the inputs, mostly paths.
        targets: for each input the place of its label in `labels`, the places of all its labels (a tuple) where it may
            have several, or what its mask is read from.
        labels: the labels' names, sorted.
        unreadable: files that were left out because they cannot be read.
        amounts: where each pixel has a label, the pixels of each label in each example's mask.
        names: what records call each example, where it is no file of its own: `reviews.csv:12`.
    """

    inputs: list[Any]
    targets: list[Any]
    labels: tuple[str, ...]
    unreadable: list[str] = field(default_factory=list)
    amounts: list[list[int]] | None = None
    names: list[str] | None = None
    _encoded: tuple[Codec, list[Any]] | None = field(default=None, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, places: Sequence[int]) -> Examples:
        """The examples at these places, in this order."""
        return Examples(
            [self.inputs[place] for place in places],
            [self.targets[place] for place in places],
            self.labels,
            amounts=None if self.amounts is None else [self.amounts[place] for place in places],
            names=None if self.names is None else [self.names[place] for place in places],
        )

    def encoded(self, codec: Codec) -> list[Any]:
        """Every input as the network takes it, computed once for a codec; for inputs as small as texts."""
        if self._encoded is None or self._encoded[0] != codec:
            self._encoded = codec, codec.encoded(self.inputs)
        return self._encoded[1]

    def counts(self) -> list[int]:
        """How many examples each label has; of masks, how many pixels."""
        if self.amounts is not None:
            return [sum(row[place] for row in self.amounts) for place in range(len(self.labels))]
        found = Counter(
            place for target in self.targets for place in (target if isinstance(target, tuple) else (target,))
        )
        return [found[place] for place in range(len(self.labels))]


@dataclass
class Splits:
    """The examples for training, for validation and perhaps for testing, and what the reader noticed on the way."""

    train: Examples
    val: Examples
    test: Examples | None = None
    notes: list[str] = field(default_factory=list)
    root: str = ""
    code: Any = None  # how masks are read, or which columns of a table hold texts
    sources: dict[str, str] | None = None  # name and fingerprint of what was read, where examples are not files

    def record(self) -> dict[str, list[str]]:
        """Which file was in which split, by name below the data's folder where it lies there."""
        return {
            part: [self.name(path) for path in found.inputs if isinstance(path, (str, os.PathLike))]
            if found.names is None
            else found.names
            for part, found in self._parts().items()
        }

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Size and CRC-32 of each file, by name, to tell later which have changed."""
        if self.sources is not None:
            return self.sources
        parts = self._parts().values()
        sources = [source for found in parts for source in (*found.inputs, *found.targets)]
        paths = list(dict.fromkeys(path for source in sources for path in _files(source)))
        return dict(zip(map(self.name, paths), in_threads(fingerprint, paths), strict=True))

    def _parts(self) -> dict[str, Examples]:
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {part: found for part, found in parts.items() if found is not None}

    def name(self, path: Any) -> str:
        """A file's name below the data's folder, or its path where it lies elsewhere."""
        if not isinstance(path, str):
            return "(no file)"
        inside = self.root and path.startswith(os.path.join(self.root, ""))
        return os.path.relpath(path, self.root) if inside else path


def _files(source: Any) -> Iterable[str]:
    """The files that an input or a target is read from: a path, (place, path) of several, or what names its `files`."""
    if isinstance(source, tuple):
        return [path for _, path in source]
    return [source] if isinstance(source, str) else getattr(source, "files", ())


def fingerprint(path: str) -> str:
    """Size and CRC-32 of a file."""
    size = checksum = 0
    with open(path, "rb") as file:
        while block := file.read(2**20):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    return f"{size}-{checksum:08x}"


def changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What has changed between two sets of fingerprints, in words; empty if nothing has."""
    kinds = {
        "changed": [name for name in before if name in now and before[name] != now[name]],
        "missing": [name for name in before if name not in now],
        "new": [name for name in now if name not in before],
    }
    return "; ".join(f"{counted(len(names), 'file')} {kind}: {listed(names)}" for kind, names in kinds.items() if names)


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read_picture_folders(data: Any, val: Any, fraction: float, seed: int) -> Splits:
    """Pictures in a folder for each label, or in `train/` and `val/` (and perhaps `test/`) folders of such folders.

    Args:
        data: the folder.
        val: a folder of the same form for validation, or None to find or split one.
        fraction: the share of each label's pictures to set aside for validation where there is no folder for it.
        seed: governs which ones.

    Raises:
        DataError: the folder does not exist or does not hold two labels with pictures.
    """
    root = find_folder(data)
    parts = split_folders(root)
    notes: list[str] = []
    train = read_labelled(parts.get("train", root), notes=notes, every_label=True)
    if val is None and "val" in parts:
        val = parts["val"]
    test = read_labelled(parts["test"], train.labels, notes) if "test" in parts else None
    if val is not None:
        return Splits(train, read_labelled(find_folder(val), train.labels, notes), test, notes, root)
    kept, held_out = stratified_split(train.targets, fraction, seed)
    return Splits(train.take(kept), train.take(held_out), test, notes, root)


def read_held_out(data: Any, labels: tuple[str, ...]) -> Examples:
    """The examples of a labelled folder; of one that holds splits those of `test/`, or `val/` where there is no test.

    Raises:
        DataError: the folder cannot be used, or has a label that is not among `labels`.
    """
    root = find_folder(data)
    parts = split_folders(root)
    folder = parts.get("test") or parts.get("val") or root
    notes: list[str] = []
    examples = read_labelled(folder, labels, notes, decode=False)
    if folder != root:
        say(f"note: evaluating on {printable(folder)}")
    for note in notes:
        say(f"note: {note}")
    return examples


def split_folders(root: str) -> dict[str, str]:
    """The folders of the splits by name (train, val, test), or nothing if the folder is not divided into splits."""
    folders = {entry.name.lower(): entry.path for entry in subfolders(root)}
    found = {part: folders[name] for part, names in SPLITS.items() for name in names if name in folders}
    # A label may be called "train"; only beside another split, or all alone, is it the training set.
    if "train" in found and (len(found) > 1 or len(folders) == 1) and subfolders(found["train"]):
        return found
    return {}


def read_labelled(
    folder: str,
    labels: tuple[str, ...] | None = None,
    notes: list[str] | None = None,
    every_label: bool = False,
    decode: bool = True,
) -> Examples:
    """The readable pictures of a folder that has a folder for each label.

    Args:
        folder: holds the labels' folders; each is searched to any depth.
        labels: the labels there may be, as the model knows them; None takes the folders' names.
        notes: gets a line for everything that was left out.
        every_label: whether two labels or more must be there.
        decode: whether every picture is tried now; otherwise who reads them finds out.

    Raises:
        DataError: there are no labelled pictures, a label is unknown, or most pictures cannot be read.
    """
    notes = [] if notes is None else notes
    found: dict[str, list[str]] = {}
    others: list[str] = []
    entries = subfolders(folder)
    own = {images.identity(folder), *(images.identity(entry.path) for entry in entries)}
    for entry in entries:  # a link from one label's folder to another's does not give its pictures two labels
        pictures, rest = images.pictures_in(entry.path, own - {images.identity(entry.path)})
        others += rest
        found[entry.name] = pictures
    names = _checked_labels(folder, found, labels, every_label, notes)
    inputs = [picture for name in found for picture in found[name]]
    targets = [names.index(name) for name in found for _ in found[name]]
    loose = [entry.path for entry in os.scandir(folder) if entry.is_file() and not images.ignored(entry.name)]
    if loose := [path for path in loose if images.looks_like_picture(path)]:
        notes.append(f"left out {counted(len(loose), 'picture')} without a label, directly in {printable(folder)}")
    if others:
        notes.append(f"left out {images.left_out(others)}")
    examples = Examples(inputs, targets, names)
    if decode:
        examples = _without_unreadable(examples, notes)
    if every_label and len(labelled := {*examples.targets}) < len(names):
        lost = [name for place, name in enumerate(names) if place not in labelled]
        raise DataError(f"no picture of {listed(lost)} in {printable(folder)} can be read")
    return examples


def _checked_labels(
    folder: str, found: dict[str, list[str]], labels: tuple[str, ...] | None, every_label: bool, notes: list[str]
) -> tuple[str, ...]:
    """The labels in order; refuses folders that cannot be meant."""
    where = printable(folder)
    if not any(found.values()):
        raise DataError(f"{where} {_what_instead(folder)}")
    empty = [name for name in found if not found[name]]
    if empty:
        notes.append(f"left out {counted(len(empty), 'empty folder')}: {listed(empty)}")
        for name in empty:
            del found[name]
    if labels is not None:
        if unknown := [name for name in found if name not in labels]:
            raise DataError(
                f"{where} has {counted(len(unknown), 'label')} that training did not know: {listed(unknown)}"
                f"{did_you_mean(unknown[0], labels)} (labels: {listed(labels, 12)})"
            )
        return labels
    names = tuple(sorted(found))
    if every_label and len(names) < 2:
        inside = [entry.name for entry in subfolders(os.path.join(folder, names[0]))]
        hint = f"; did you mean {printable(os.path.join(folder, names[0]))}?" if len(inside) > 1 else ""
        raise DataError(f"{where} holds one label only, {printable(names[0])}; two or more are needed{hint}")
    folded = Counter(name.casefold() for name in names)
    if twins := [name for name in names if folded[name.casefold()] > 1]:
        notes.append(
            f"labels that differ only in case are kept apart: {listed(twins, 6)}; put them together if they are one"
        )
    return names


def _what_instead(folder: str) -> str:
    """Why a folder has no labelled pictures, and what to do."""
    pictures, others = images.pictures_in(folder)
    layout = "put each label's pictures in a folder of its own, as in photos/cat/1.jpg"
    if pictures:
        return f"holds {counted(len(pictures), 'picture')} but no folders for labels; {layout}"
    return f"holds no pictures (found {images.left_out(others) if others else 'nothing'}); {layout}"


def _without_unreadable(examples: Examples, notes: list[str]) -> Examples:
    """The examples whose files can be decoded, all of them tried; a few lost ones are named, too many are an error."""
    reasons = _tried(examples.inputs)
    bad = [place for place, reason in enumerate(reasons) if reason]
    if not bad:
        return examples
    named = [f"{examples.inputs[place]} {reasons[place]}" for place in bad]
    summary = f"{counted(len(bad), 'unreadable picture')} of {len(examples):,}: {listed(named)}"
    if 2 * len(bad) > len(examples):
        raise DataError(f"most pictures cannot be read, {summary}")
    notes.append(f"left out {summary}")
    kept = examples.take([place for place, reason in enumerate(reasons) if not reason])
    kept.unreadable = [examples.inputs[place] for place in bad]
    return kept


def _tried(paths: list[str]) -> list[str | None]:
    tried = in_threads(images.readable, paths)
    return list(watched(tried, "checking pictures", len(paths)))


def watched(results: Iterator[T], title: str, number: int) -> Iterable[T]:
    """The same results, with a bar of progress where there are many."""
    if number < 2000:
        return results
    from rich.progress import track

    return track(results, title, number, console=console(), transient=True)


def in_threads(function: Callable[[S], T], sources: Sequence[S]) -> Iterator[T]:
    """The function's results in order; when the caller stops early, on Ctrl-C say, what has not begun is dropped."""
    pool = ThreadPoolExecutor(cores(), thread_name_prefix="recipes-reader")
    try:
        yield from pool.map(function, sources)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def stratified_split(
    targets: Sequence[Any], fraction: float, seed: int, groups: Sequence[Hashable] | None = None
) -> tuple[list[int], list[int]]:
    """Places to keep and to hold out: the same share of every label, at least one where it has two or more.

    Args:
        targets: for each example the place of its label, or a tuple of the places of all its labels.
        fraction: the share to hold out.
        seed: governs which ones.
        groups: what each example belongs to; members of one group, such as copies, stay on one side.
    """
    rng = np.random.default_rng(seed)
    held_out: list[int] = []
    if groups is not None or any(isinstance(target, tuple) for target in targets):
        held_out = _held_out_groups(targets, fraction, rng, range(len(targets)) if groups is None else groups)
    else:
        for label in range(max(targets, default=-1) + 1):
            places = np.flatnonzero(np.asarray(targets) == label)
            number = min(max(round(fraction * len(places)), 1), len(places) - 1)
            held_out += rng.permutation(places)[: max(number, 0)].tolist()
    apart = set(held_out)
    return [place for place in range(len(targets)) if place not in apart], sorted(held_out)


def _held_out_groups(
    targets: Sequence[Any], fraction: float, rng: np.random.Generator, groups: Sequence[Hashable]
) -> list[int]:
    """Places to hold out, whole groups of them, so that each label has its share.

    Iterative stratification: the label with the fewest examples left is dealt out first, each group of it to the side
    that lacks this label most (Sechidis, Tsoumakas and Vlahavas, On the Stratification of Multi-Label Data, 2011).
    """
    members: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    ordered = list(members.values())
    units = [ordered[place] for place in rng.permutation(len(ordered))]
    units.sort(key=len, reverse=True)  # large groups first, while others can still make up for them
    labels = [Counter(label for place in unit for label in _labels_of(targets[place])) for unit in units]
    waiting: dict[int, dict[int, int]] = {}
    for number, own in enumerate(labels):
        for label in own:
            waiting.setdefault(label, {})[number] = own[label]
    lacking = {label: _shares(list(own.values()), fraction) for label, own in waiting.items()}
    given = {label: [0, 0] for label in waiting}
    whole = [(1 - fraction) * len(targets), fraction * len(targets)]
    held_out: list[int] = []
    while waiting:
        label = min(waiting, key=lambda one: (sum(waiting[one].values()), one))
        for number in list(waiting[label]):
            side = int((lacking[label][1], whole[1]) > (lacking[label][0], whole[0]))
            if len(waiting[label]) == 1 and any(given[label]) and 0 in given[label]:
                side = given[label].index(0)
            held_out += units[number] * side
            whole[side] -= len(units[number])
            for one, count in labels[number].items():
                lacking[one][side] -= count
                given[one][side] += count
                del waiting[one][number]
        waiting = {one: own for one, own in waiting.items() if own}
    return held_out


def _labels_of(target: Any) -> tuple[int, ...]:
    """The places of an example's labels; -1 stands for none, whose examples are shared out like those of a label."""
    return (target if isinstance(target, tuple) else (target,)) or (-1,)


def _shares(sizes: Sequence[int], fraction: float) -> list[float]:
    """How many examples of a label to keep and to hold out, given those in each group."""
    number = sum(sizes)
    out = min(max(round(fraction * number), 1), number - 1) if len(sizes) > 1 else 0
    return [number - out, out]


def find_folder(data: Any) -> str:
    """The folder that was given.

    Raises:
        DataError: it does not exist (the nearest name beside it is in the message) or is a file.
    """
    if not isinstance(data, (str, os.PathLike)):
        raise DataError(f"expected a folder of pictures, found {type(data).__name__}")
    path = os.path.expanduser(os.fspath(data))
    if os.path.isdir(path):
        return path
    if os.path.exists(path):
        raise DataError(f"{printable(path)} is a file; give the folder that holds a folder for each label")
    beside = Path(path).absolute()
    near = did_you_mean(beside.name, _folder_names(beside.parent), most=1)
    raise DataError(f"{printable(path)} does not exist{near}")


def _folder_names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in subfolders(os.fspath(folder))]
    except DataError:
        return []


def check_folders(data: Any) -> None:
    """Refuse at once a folder that is missing, or that has no folders for labels in it.

    Raises:
        DataError: what was found instead, and what to do.
    """
    root = find_folder(data)
    if not subfolders(root):
        raise DataError(f"{printable(root)} {_what_instead(root)}")


def subfolders(folder: str) -> list[os.DirEntry[str]]:
    """The folders in a folder, sorted by name, without those that systems leave behind."""
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if entry.is_dir() and not images.ignored(entry.name)]
    except OSError as error:
        raise DataError(f"{printable(folder)} cannot be read ({error.strerror})") from error
    return sorted(entries, key=lambda entry: entry.name)
