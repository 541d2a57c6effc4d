"""Examples, their splits, and how a split is made; nothing here needs torch."""

from __future__ import annotations

import dataclasses
import os
import zlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from recipes import images
from recipes.codec import Codec, cores
from recipes.display import console, counted, listed
from recipes.errors import DataError, OptionError, printable
from recipes.findings import Finding

S = TypeVar("S")
T = TypeVar("T")

#: What people call the three splits.
SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


# With fewer examples of a label for validation, one of them moves its own scores by more than a fifth.
_ENOUGH_TO_SCORE = 5

#: More files than this are not read whole before training.
MANY = 20_000


@dataclass(frozen=True)
class Reading:
    """How data are to be read.

    Args:
        fraction: the share of each label's examples to set aside for validation where none are given.
        seed: governs which ones.
        group: what must stay on one side of the split: `folder` for files of one folder, a column of the table, or a
            regular expression whose match in a file's name says what it belongs to; empty for none.
        left_out: names of examples that are not to be used.
        thorough: look at everything, however long it takes.
        window: how many examples of a stream to read.
    """

    fraction: float = 0.2
    seed: int = 0
    group: str = ""
    left_out: frozenset[str] = frozenset()
    thorough: bool = False
    window: int = 10_000


@dataclass
class Examples:
    """Inputs with their targets, and the labels that the targets are places of.

    Args:
        inputs: the inputs, mostly paths.
        targets: for each input the place of its label in `labels`, the places of all its labels (a tuple) where it may
            have several, its number (a float), or what its mask is read from.
        labels: the labels' names, sorted; what numbers are called.
        unreadable: files that were left out because they cannot be read.
        amounts: where each pixel has a label, the pixels of each label in each example's mask.
        names: what records call each example, where it is no file of its own: `reviews.csv:12`.
        root: the folder below which files are named.
    """

    inputs: list[Any]
    targets: list[Any]
    labels: tuple[str, ...]
    unreadable: list[str] = field(default_factory=list)
    amounts: list[list[int]] | None = None
    names: list[str] | None = None
    root: str = ""
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
            root=self.root,
        )

    def of_split(self, split: str, record: Mapping[str, Sequence[str]]) -> Examples:
        """The examples that a record of splits names for one of them.

        Raises:
            DataError: none of them is here.
        """
        wanted, names = {*record.get(split, ())}, self.called()
        if not wanted:
            raise DataError(f"the run had nothing for {split} (splits: {', '.join(filter(record.get, record))})")
        places = [place for place, name in enumerate(names) if name in wanted]
        if not places:
            raise DataError(
                f"none of the {counted(len(wanted), 'example')} that the run had for {split} is here "
                f"({listed(sorted(wanted))}); give the data that the model was fitted on"
            )
        return self.take(places)

    def called(self) -> list[str]:
        """What records call each example."""
        return [below(path, self.root) for path in self.inputs] if self.names is None else self.names

    def encoded(self, codec: Codec) -> list[Any]:
        """Every input as the network takes it, computed once for a codec; for inputs as small as texts."""
        if self._encoded is None or self._encoded[0] != codec:
            self._encoded = codec, codec.encoded(self.inputs)
        return self._encoded[1]

    @property
    def numeric(self) -> bool:
        """Whether targets are numbers rather than labels."""
        return isinstance(next(iter(self.targets), None), float)

    def counts(self) -> list[int]:
        """How many examples each label has; of masks, how many pixels; of numbers, how many there are."""
        if self.numeric:
            return [len(self)]
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
    stream: Any = None  # a `streams.Stream`, where `train` is but the first window of one
    reading: Reading | None = None  # how they were read
    paths: tuple[str | None, ...] = (None, None)  # where the data and those for validation lie, if they lie anywhere

    def again(self, val: Any, reading: Reading) -> Splits:
        """The same examples for another run, which makes notes of its own and looks anew whether files have changed.

        Raises:
            OptionError: the run would read them in another way, so that its recipe would not tell the truth.
        """
        if val is not None:
            raise OptionError("these examples were read with some for validation; leave val away, or read them with it")
        if self.reading not in (None, reading):
            words = {"fraction": "val_fraction", "left_out": "exclude_list"}
            before, now = dataclasses.asdict(self.reading), dataclasses.asdict(reading)
            others = listed(words.get(name, name) for name in before if before[name] != now[name])
            raise OptionError(
                f"these examples were read with another {others}; read them again: "
                f"task.read(data, val, task.reading(preset))"
            )
        return dataclasses.replace(self, notes=[*self.notes])

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
        return self.file_prints()

    def file_prints(self, gone: bool = False) -> dict[str, str]:
        """Size and CRC-32 of each file that an example is read from; of many files the size alone.

        Args:
            gone: leave out files that are gone.
        """
        parts = self._parts().values()
        sources = [source for found in parts for source in (*found.inputs, *found.targets)]
        paths = list(dict.fromkeys(path for source in sources for path in _files(source)))
        paths = [path for path in paths if os.path.exists(path)] if gone else paths
        prints = in_threads(fingerprint, paths) if len(paths) <= MANY else map(size_print, paths)
        return dict(zip(map(self.name, paths), prints, strict=True))

    def _parts(self) -> dict[str, Examples]:
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {part: found for part, found in parts.items() if found is not None}

    def name(self, path: Any) -> str:
        """A file's name below the data's folder, or its path where it lies elsewhere."""
        return below(path, self.root)


def note_rare(splits: Splits) -> list[str]:
    """A line that names the labels with too few validation examples to be scored; none if each has enough."""
    val = splits.val
    if not len(val) or val.amounts is not None or are_numbers(val):
        return []
    counts = val.counts()
    rare = sorted((count, place) for place, count in enumerate(counts) if count < _ENOUGH_TO_SCORE)
    if not rare:
        return []
    verb, own = ("has", "its own scores are") if len(rare) == 1 else ("have", "their own scores are")
    named = listed(f"{val.labels[place]} ({count})" for count, place in rare)
    return [
        Finding(
            f"{counted(len(rare), 'label')} {verb} fewer than {_ENOUGH_TO_SCORE} examples for validation, so {own} "
            f"rough: {named}",
            kind="few to score",
            severity="note",
            names=[val.labels[place] for _, place in rare],
        )
    ]


def are_numbers(examples: Examples) -> bool:
    """Whether targets are numbers to predict, and no labels."""
    return any(isinstance(target, float) for target in examples.targets[:1])


def path_of(data: Any) -> str | None:
    """The whole path or the address that data were given by; None where they lie nowhere."""
    if not isinstance(data, (str, os.PathLike)):
        return None
    return str(data) if "://" in str(data) else os.path.abspath(data)


def below(path: Any, root: str) -> str:
    """What to call a file: its path below a folder, or its whole path where it lies elsewhere."""
    if not isinstance(path, str):
        return "(no file)"
    start = os.path.join(root, "")
    return path[len(start) :] if root and path.startswith(start) else path


def _files(source: Any) -> Iterable[str]:
    """The files that an input or a target is read from: a path, (place, path) of several, or what names its `files`."""
    if isinstance(source, tuple):
        return [layer[1] for layer in source if isinstance(layer, tuple)]
    return [source] if isinstance(source, str) else getattr(source, "files", ())


def fingerprint(path: str) -> str:
    """Size and CRC-32 of a file."""
    size = checksum = 0
    with open(path, "rb") as file:
        while block := file.read(2**20):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    return f"{size}-{checksum:08x}"


def size_print(path: str) -> str:
    """The size of a file: all that is asked of each where there are very many, because reading them takes long."""
    return str(os.path.getsize(path))


def changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What has changed between two sets of fingerprints, in words; empty if nothing has."""
    kinds = {
        "changed": [name for name in before if name in now and before[name] != now[name]],
        "missing": [name for name in before if name not in now],
        "new": [name for name in now if name not in before],
    }
    return "; ".join(f"{counted(len(names), 'file')} {kind}: {listed(names)}" for kind, names in kinds.items() if names)


# ---------------------------------------------------------------------------------------------------------------------
# Splitting


def split_folders(root: str) -> dict[str, str]:
    """The folders of the splits by name (train, val, test), or nothing if the folder is not divided into splits."""
    folders = {entry.name.lower(): entry.path for entry in subfolders(root)}
    found = {part: folders[name] for part, names in SPLITS.items() for name in names if name in folders}
    # A label may be called "train"; only beside another split, or all alone, is it the training set.
    if "train" in found and (len(found) > 1 or len(folders) == 1) and subfolders(found["train"]):
        return found
    return {}


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
    if any(isinstance(target, tuple) for target in targets):
        held_out = _held_out_groups(targets, fraction, rng, range(len(targets)) if groups is None else groups)
    else:
        sizes = Counter(() if groups is None else groups)
        together = [] if groups is None else [place for place, group in enumerate(groups) if sizes[group] > 1]
        held_out = _held_out_of(together, targets, fraction, rng, groups or ())
        held_out += _held_out_alone(targets, fraction, rng, together, held_out)
    apart = set(held_out)
    return [place for place in range(len(targets)) if place not in apart], sorted(held_out)


def _held_out_of(
    places: list[int], targets: Sequence[int], fraction: float, rng: np.random.Generator, groups: Sequence[Hashable]
) -> list[int]:
    """Of these places those to hold out, whole groups of them."""
    if not places:
        return []
    own = _held_out_groups([targets[place] for place in places], fraction, rng, [groups[place] for place in places])
    return [places[number] for number in own]


def _held_out_alone(
    targets: Sequence[int], fraction: float, rng: np.random.Generator, together: Sequence[int], held_out: Sequence[int]
) -> list[int]:
    """Of the places that belong to no group those to hold out, so that with the others each label has its share."""
    labels = np.asarray(targets, np.int64)
    alone = np.ones(len(labels), bool)
    alone[list(together)] = False
    number = int(labels.max(initial=-1)) + 1
    whole, already = (np.bincount(part, minlength=number) for part in (labels, labels[list(held_out)]))
    order = np.flatnonzero(alone)[np.argsort(labels[alone], kind="stable")]
    borders = np.searchsorted(labels[order], range(number + 1))
    found: list[int] = []
    for label, (begin, end) in enumerate(pairwise(borders)):
        places = order[begin:end]
        wanted = min(max(round(fraction * int(whole[label])), 1), int(whole[label]) - 1) - int(already[label])
        found += rng.permutation(places)[: max(wanted, 0)].tolist()
    return found


def strata(numbers: Sequence[float], most: int = 10) -> list[int]:
    """For each number in which of `most` equally large classes it is, so that a split takes its share of each."""
    few = max(1, min(most, len(numbers) // 4))
    borders = np.quantile(np.asarray(numbers, float), np.linspace(0, 1, few + 1)[1:-1]) if numbers else []
    return [int(place) for place in np.searchsorted(borders, numbers, side="right")]


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
    left = {label: sum(own.values()) for label, own in waiting.items()}
    held_out: list[int] = []
    while waiting:
        label = min(waiting, key=lambda one: (left[one], one))
        for number in list(waiting[label]):
            side = int((lacking[label][1], whole[1]) > (lacking[label][0], whole[0]))
            if len(waiting[label]) == 1 and any(given[label]) and 0 in given[label]:
                side = given[label].index(0)
            held_out += units[number] * side
            whole[side] -= len(units[number])
            for one, count in labels[number].items():
                lacking[one][side] -= count
                given[one][side] += count
                left[one] -= waiting[one].pop(number)
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


def subfolders(folder: str) -> list[os.DirEntry[str]]:
    """The folders in a folder, sorted by name, without those that systems leave behind."""
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if images.is_folder(entry) and not images.ignored(entry.name)]
    except OSError as error:
        raise DataError(f"{printable(folder)} cannot be read ({error.strerror})") from error
    return sorted(entries, key=lambda entry: entry.name)
