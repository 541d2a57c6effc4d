"""Data in shards that do not fit on one disk: read one after the other, a window of them for each epoch.

`datasets` of Hugging Face opens the shards. What comes depends on (seed, window) alone: shards are dealt anew into
lanes in each pass, a lane reads its own one after the other, and all lanes give equally many examples to a window.
"""

from __future__ import annotations

import contextlib
import copy
import glob
import hashlib
import importlib
import math
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from recipes import artifact
from recipes.datasets import HEAVY, holds, is_a, picture_columns, reason_of
from recipes.display import counted, listed
from recipes.errors import DataError, printable
from recipes.examples import Examples, Reading
from recipes.tables import Table, checked_table, columns_of, named

# What the name of a shard ends in, and the reader of `datasets` (of tars our own) for it with its options.
_READERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".tar": ("Tars", {}),
    ".tgz": ("Tars", {}),
    ".parquet": ("Parquet", {}),
    ".jsonl": ("Json", {}),
    ".ndjson": ("Json", {}),
    ".csv": ("Csv", {"keep_default_na": False}),  # a text may be called NA
    ".tsv": ("Csv", {"keep_default_na": False, "sep": "\t"}),
}

#: A name that can only mean shards: a glob, a range in braces or an address, with the ending of one; or a data set of
#: the Hugging Face Hub.
SHARDS = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://|.*[*?\[{]).*\.(?:tar|tgz|parquet|jsonl|ndjson|csv|tsv)(?:\.gz)?$"
    r"|hf://datasets/[^/]+/[^/]+/?$",
    re.IGNORECASE | re.DOTALL,
)

# Shards are dealt into so many lanes at most. More processes than lanes read everything each.
_MOST_LANES = 64

# Lanes that are read at the same time, so that one slow shard does not hold up the others.
_AT_ONCE = 4

# Of a lane so many shards, or three times all there are, may come to nothing before it is given up.
_FRUITLESS = 20

# What the reader of tars adds to an example.
_KEYS = ("__key__", "__url__")

# So many of the examples that are left out are named.
_NAMED = 3

# Lanes are read on several threads; where the library opens files, it does not work on several (tqdm's lock).
_COUNTING, _OPENING = threading.Lock(), threading.RLock()

Row = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A picture as it came from a shard, still encoded; `images.opened` fetches it.

    Args:
        content: the bytes of its file, or what a data set has instead.
        name: the shard and the example.
    """

    content: Any
    name: str

    def fetch(self) -> Any:
        """The bytes."""
        return self.content

    def __str__(self) -> str:
        return self.name


def digest(source: Any) -> bytes:
    """What tells an input from others: a hash of the bytes of a picture's file, or of a text."""
    content = source.fetch() if hasattr(source, "fetch") else source
    if isinstance(content, Mapping):
        content = content.get("bytes") or content.get("path")
    if hasattr(content, "tobytes"):  # pixels
        content = content.tobytes()
    return hashlib.blake2b(content if isinstance(content, bytes) else repr(content).encode(), digest_size=12).digest()


# ---------------------------------------------------------------------------------------------------------------------
# Opening


def is_stream(data: Any) -> bool:
    """Whether data are an IterableDataset of Hugging Face, or what `opened` makes of names."""
    return isinstance(data, Opened) or (is_a(data, "IterableDataset", "datasets") and not hasattr(data, "__len__"))


def opened(data: str | os.PathLike[str]) -> Any:
    """The data set that a name of shards means, or one for each split of it.

    Raises:
        DataError: no shard is there, `datasets` is missing, or the first shard cannot be read.
    """
    name = os.path.expanduser(os.fspath(data))
    library = _library(f"reading {printable(name)}")
    if name.startswith("hf://"):
        _asked(lambda: artifact.check_connection(library.config.HF_ENDPOINT), name)
    if re.fullmatch(r"hf://datasets/[^/]+/[^/.]+[^/]*/?", name) and not _ending(name):
        owner, _, repository = name.removeprefix("hf://datasets/").strip("/").partition("/")
        return _asked(lambda: library.load_dataset(f"{owner}/{repository}", streaming=True), name)
    paths = shards(name)
    return Opened(_first_of(paths), paths, name)


@dataclass(frozen=True)
class Opened:
    """Shards by their names, each of which is opened when its turn comes; `data` is the first one."""

    data: Any
    paths: list[str]
    title: str


def _first_of(paths: Sequence[str]) -> Any:
    """The first shard as a data set; of tars the first that is not empty, as they alone know their columns by then."""
    for path in paths:
        try:
            found = _asked(lambda path=path: _shard(path), path)  # type: ignore[misc]
        except DataError as error:
            if "://" in path and error.__cause__ is not None:  # nobody can repair a server
                raise
            told = f"the shard {printable(path)} cannot be read ({_reason(error)})"
            raise DataError(f"{told}; repair it, or take it away") from error
        if found.features is None or {*found.features} - {*_KEYS}:
            break
    return found


def _shard(path: str, features: Any = None) -> Any:
    """One shard as a data set, with these features where its reader would have to guess them.

    The library's `load_dataset` would tell its hub of each call, also where nothing is to come from there.
    """
    name, options = _READERS[_ending(path)]
    known = {"features": features} if name == "Tars" and features is not None else {}
    own = f"datasets.packaged_modules.{name.lower()}.{name.lower()}"
    module = importlib.import_module("recipes.tars" if name == "Tars" else own)
    files = {"train": [path if "://" in path else glob.escape(path)]}
    return getattr(module, name)(data_files=files, **options, **known).as_streaming_dataset(split="train")


def _ending(name: str) -> str:
    """The ending that says how a shard is read; empty if it is none."""
    ending = os.path.splitext(re.sub(r"\.gz$", "", name, flags=re.IGNORECASE))[1].lower()
    return ending if ending in _READERS else ""


def _library(what: str) -> Any:
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise DataError(f"{what} needs the package datasets: pip install 'torch-recipes[shards]'") from error


def _asked(load: Callable[[], Any], name: str) -> Any:
    """What the library opens; what it raises is told in one line."""
    library = _library(name)
    with _OPENING:
        shown = not library.are_progress_bars_disabled()
        library.disable_progress_bars()
        try:
            return load()
        except DataError:
            raise
        except Exception as error:
            raise DataError(f"{printable(name)} cannot be read ({reason_of(error)})") from error
        finally:
            if shown:
                library.enable_progress_bars()


def shards(name: str) -> list[str]:
    """The files or addresses that a name with globs and ranges in braces means, in order.

    Raises:
        DataError: there are none.
    """
    found = [path for one in _braces(name) for path in _globbed(one)]
    if missing := [path for path in found if "://" not in path and not os.path.isfile(path)]:
        raise DataError(
            f"of {counted(len(found), 'shard')} in {printable(name)} not all are there; missing: {listed(missing)}"
        )
    if not found:
        raise DataError(
            f"no shard is called {printable(name)}; globs and ranges such as train-{{000..099}}.tar name them"
        )
    return found


def _braces(name: str) -> list[str]:
    """`a-{0..2}` as `a-0`, `a-1` and `a-2`, and `{2..0}` the other way round; `{a,b}` as both."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}", name)
    if match is None:
        return [name]
    first, last, listing = match.groups()
    if listing is not None:
        parts = listing.split(",")
    else:
        width = max(len(first), len(last)) if first.startswith("0") or last.startswith("0") else 0
        step = 1 if int(first) <= int(last) else -1
        parts = [f"{number:0{width}}" for number in range(int(first), int(last) + step, step)]
    return [path for part in parts for path in _braces(f"{name[: match.start()]}{part}{name[match.end() :]}")]


def _globbed(name: str) -> list[str]:
    if "://" not in name:
        return [name] if os.path.isfile(name) or not glob.has_magic(name) else sorted(glob.glob(name))
    if not glob.has_magic(name.partition("?")[0]):
        return [name]
    system = importlib.import_module("fsspec.core")

    def listing() -> list[str]:
        files, path = system.url_to_fs(name)
        return sorted(str(files.unstrip_protocol(one)) for one in files.glob(path))

    return _asked(listing, name)  # type: ignore[no-any-return]


# ---------------------------------------------------------------------------------------------------------------------
# Reading


class Stream:
    """Examples of shards in an endless order, of which each epoch gets a window.

    Args:
        data: what `opened` gives: a data set of Hugging Face without a length.
        seed: governs the order of the shards.
    """

    def __init__(self, data: Any, seed: int) -> None:
        self.paths = data.paths if isinstance(data, Opened) else []
        self.title = data.title if isinstance(data, Opened) else "(stream)"
        self.seed = seed
        whole = data.data if isinstance(data, Opened) else data
        self.data = _asked(lambda: _undecoded(_with_features(whole)), self.title)
        self.features = self.data.features if whole.features is None else whole.features
        self.number = len(self.paths) or int(self.data.num_shards)
        self.names = _names(self.paths)
        self.lanes = math.gcd(self.number, _MOST_LANES)
        self.at = [[0, 0, 0] for _ in range(self.lanes)]  # of each lane: the pass, which of its shards, and which row
        self.failed: dict[str, str] = {}
        self.empty: set[str] = set()
        self.left_out: Counter[str] = Counter()
        self.out: dict[str, list[str]] = {}
        self.closed = False
        # What `further` settles, once the first window has been read.
        self.window_size = 0
        self.labels: tuple[str, ...] = ()
        self.convert: Callable[[Table, Stream], Examples | None] | None = None
        self.held_out: set[bytes] = set()
        self._idle = [0] * self.lanes
        self._rows: dict[int, Iterator[Any]] = {}
        self._deals: dict[int, tuple[int, list[int]]] = {}
        self._current: tuple[int, Examples | None] = (0, None)
        self._starts: dict[int, list[list[int]]] = {}
        self._begins: list[list[int]] = []
        self._ahead: Future[Examples] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without what is open."""
        return {**self.__dict__, "_rows": {}, "_ahead": None, "_current": (0, None)}

    @property
    def prints(self) -> dict[str, str]:
        """The names of the shards, with their sizes where they lie here."""
        if not self.paths:
            return {self.title: counted(self.number, "shard")}
        return {path: str(os.path.getsize(path)) if os.path.isfile(path) else "" for path in self.paths}

    def first_alone(self, number: int) -> str:
        """What to say where the first window is all that is used."""
        return f"took {number:,} examples of {printable(self.title)} into memory; it has more"

    def first_window(self, number: int) -> str:
        """What to say where the first window does not do."""
        return f"that is the first window ({counted(number, 'example')}) alone: take a larger one (--window)"

    def known_labels(self, columns: Sequence[str]) -> tuple[str, ...]:
        """The names of all labels, where the data set tells them before they are seen."""
        feature = self.data.features.get(columns[0]) if len(columns) == 1 else None
        while feature is not None and not hasattr(feature, "names"):
            feature = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
        return tuple(getattr(feature, "names", None) or ())

    # -- the first window ---------------------------------------------------------------------------------------------

    def head(self, most: int) -> tuple[Table, bool]:
        """The first examples, all in memory, and whether there are no more.

        Raises:
            DataError: a shard cannot be read, or there is nothing in any.
        """
        found: dict[int, list[Row]] = {lane: [] for lane in range(self.lanes)}
        while (missing := most - sum(map(len, found.values()))) > 0:
            going = [lane for lane in found if not self.at[lane][0]]
            if self.failed or not going:
                break
            shares = [len(range(place, missing, len(going))) for place in range(len(going))]
            for lane, rows in zip(going, self._of_lanes(going, shares, once=True), strict=True):
                found[lane] += rows
        rows = [row for own in found.values() for row in own]
        if self.failed:
            name, reason = next(iter(self.failed.items()))
            raise DataError(f"the shard {printable(name)} cannot be read ({reason}); repair it, or take it away")
        if not rows:
            raise DataError(f"{counted(self.number, 'shard')} of {printable(self.title)} and no example in them")
        self._begins = [list(at) for at in self.at]
        self._starts[1] = [list(at) for at in self.at]
        return self.table(rows), all(at[0] for at in self.at)

    def table(self, rows: Sequence[Row]) -> Table:
        """Rows as a table: labels by their names, pictures encoded as they were, parts of JSON as columns."""
        features = self.data.features
        columns: dict[str, list[Any]] = {}
        for name, cells in columns_of([row for _, row in rows]):
            feature = features.get(name)
            if name in _KEYS:
                continue
            if _is_picture(feature):
                columns[name] = [
                    None if cell is None else Held(_encoded(cell), row)
                    for cell, (row, _) in zip(cells, rows, strict=True)
                ]
            elif isinstance(feature, Mapping):
                for inner in feature:
                    if inner not in features:
                        columns[inner] = [(cell or {}).get(inner) for cell in cells]
            else:
                columns[name] = [named(cell, feature) for cell in cells]
        title = self.title if self.title.startswith("(") else _short(self.title)
        table = checked_table(title, columns.items())
        table.name, table.names = title, [name for name, _ in rows]
        return table

    def _of_lanes(self, lanes: Sequence[int], numbers: Sequence[int], once: bool = False) -> list[list[Row]]:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="recipes-shards") as pool:
            return list(pool.map(lambda lane, number: self._next(lane, number, once), lanes, numbers))

    def _next(self, lane: int, number: int, once: bool = False) -> list[Row]:
        """The next rows of a lane; with `once`, none after the first pass or after a shard that cannot be read."""
        found: list[Row] = []
        at = self.at[lane]
        while len(found) < number and not (once and (at[0] or self.failed)):
            if self.closed or not threading.main_thread().is_alive():
                raise _Closed
            shard = self._dealt(at[0], lane)[at[1]]
            name = self.names[shard] if self.names else f"shard {shard + 1}"
            row = self._row(lane, shard, name)
            if row is not None:
                key = row.get("__key__")
                found.append((f"{name}:{row_name(key, at[2])}", row))
                at[2] += 1
                continue
            if not at[2] and name not in self.failed:
                self.empty.add(name)
            self._idle[lane] += 1
            if self._idle[lane] > max(_FRUITLESS, 3 * self.number):
                told = f" ({_told(self.failed)})" if self.failed else ""
                raise DataError(f"no shard of {printable(self.title)} gives examples any more{told}")
            at[1:] = [at[1] + 1, 0]
            if at[1] >= len(self._dealt(at[0], lane)):
                at[:] = [at[0] + 1, 0, 0]
        return found

    def _dealt(self, times: int, lane: int) -> list[int]:
        """The shards of a lane in a pass: each pass deals them anew, so that no lane gets ahead of the others."""
        if self._deals.get(lane, (-1, []))[0] != times:
            order = np.random.default_rng((self.seed, times, 2)).permutation(self.number)
            self._deals[lane] = (times, order[lane :: self.lanes].tolist())
        return self._deals[lane][1]

    def _row(self, lane: int, shard: int, name: str) -> dict[str, Any] | None:
        """The next row of a lane's shard; None at its end, also where that comes too soon."""
        try:
            if lane not in self._rows:
                if self.paths:
                    own = _undecoded(_asked(lambda: _shard(self.paths[shard], self.features), name))
                else:
                    own = self.data.shard(self.number, shard)
                self._rows[lane] = iter(own.skip(self.at[lane][2]) if self.at[lane][2] else own)
            row: dict[str, Any] | None = next(self._rows[lane], None)
        except Exception as error:
            self.failed[name] = _reason(error)
            row = None
        if row is None:
            self._rows.pop(lane, None)
        return row

    # -- the others ---------------------------------------------------------------------------------------------------

    def further(
        self,
        size: int,
        labels: tuple[str, ...],
        held_out: set[bytes],
        convert: Callable[[Table, Stream], Examples | None],
    ) -> None:
        """Settle how later windows are read.

        Args:
            size: how many examples each has.
            labels: the labels.
            held_out: digests of inputs that are never trained on.
            convert: makes examples of a table, and leaves out, by `leave`, what cannot be used.
        """
        self.window_size, self.labels, self.held_out, self.convert = size, labels, held_out, convert

    def leave(self, reason: str, names: Sequence[str]) -> None:
        """Count what is left out of a window."""
        with _COUNTING:
            self.left_out[reason] += len(names)
            first = self.out.setdefault(reason, [])
            first += names[: _NAMED - len(first)]

    def window(self, epoch: int, place: int, among: int, more: bool) -> Examples | None:
        """The examples of an epoch, or this process's share of them; None stands for the first window.

        Args:
            epoch: counted from 0, never less than at the call before.
            place: the number of this process among those that share the lanes.
            among: how many share them; 1 to read all.
            more: whether another epoch follows, whose window is read meanwhile.

        Raises:
            DataError: no shard can be read any more.
        """
        while self._current[0] < epoch:
            ahead, self._ahead = self._ahead, None
            number = self._current[0] + 1
            self._current = (number, None)  # which is let go before another is read
            self._current = (number, ahead.result() if ahead else self._read(place, among))
            self._starts = {number: self._starts[number], number + 1: [list(at) for at in self.at]}
        if more and self._ahead is None and self._current[0] == epoch:
            pool = ThreadPoolExecutor(1, thread_name_prefix="recipes-window")
            self._ahead = pool.submit(self._read, place, among)
            pool.shutdown(wait=False)
        return self._current[1]

    def state(self) -> dict[str, Any]:
        """Where the next window begins."""
        epoch = self._current[0] + 1
        return {"epoch": epoch, "lanes": self._starts[epoch]}

    def go_on(self, epoch: int, lanes: Sequence[Sequence[int]]) -> None:
        """Begin the window of this epoch at these places."""
        self._rows, self._ahead, self._current = {}, None, (epoch - 1, None)
        self.at = [list(at) for at in lanes]
        self._starts = {epoch: [list(at) for at in lanes]}

    def anew(self) -> Stream:
        """The same stream for another run, after its first window; what was settled and read is shared."""
        found = copy.copy(self)
        found.failed, found.left_out, found.out = {}, Counter(), {}
        found.empty = {*self.empty}
        found._idle, found._deals = [0] * self.lanes, {}
        found.go_on(1, self._begins)
        return found

    def close(self) -> None:
        """Read no further window."""
        self.closed = True
        if self._ahead is not None:
            with contextlib.suppress(_Closed, DataError):
                self._ahead.result()
        self._ahead, self._rows, self.closed = None, {}, False

    def _read(self, place: int, among: int) -> Examples:
        own = range(place % among, self.lanes, among)
        numbers = [len(range(lane, self.window_size, self.lanes)) for lane in own]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="recipes-shards") as pool:
            found = dict(zip(own, pool.map(self._examples, own, numbers), strict=True))
        order = [divmod(at, self.lanes)[::-1] for at in range(place % among, self.window_size, among)]
        picked = [(found[lane], at) for lane, at in order]
        return Examples(
            [lane.inputs[at] for lane, at in picked],
            [lane.targets[at] for lane, at in picked],
            self.labels,
            names=[lane.called()[at] for lane, at in picked],
        )

    def _examples(self, lane: int, number: int) -> Examples:
        """The next examples of a lane that can be used."""
        assert self.convert is not None
        found = Examples([], [], self.labels, names=[])
        while len(found) < number:
            some = self.convert(self.table(self._next(lane, number - len(found))), self)
            if some is None:
                continue
            kept = [at for at, source in enumerate(some.inputs) if digest(source) not in self.held_out]
            if kept:
                self._idle[lane] = 0
            names = some.called()
            found.inputs += [some.inputs[at] for at in kept]
            found.targets += [some.targets[at] for at in kept]
            found.names += [names[at] for at in kept]  # type: ignore[operator]
        return found

    def summary(self) -> list[str]:
        """What to say at the end: shards that are empty or could not be read, and what was left out."""
        lines = [
            f"left out {counted(number, 'example')} of later windows, {reason}: {listed(self.out[reason], _NAMED)}"
            + (f" and {number - _NAMED:,} more" if number > _NAMED else "")
            for reason, number in self.left_out.items()
        ]
        if self.empty:
            lines.append(self.told_empty())
        if self.failed:
            number = counted(len(self.failed), "shard")
            lines.append(f"{number} of {self.number:,} could not be read to the end: {_told(self.failed)}")
        return lines

    def told_empty(self) -> str:
        """Which shards hold nothing."""
        return (
            f"{counted(len(self.empty), 'shard')} of {self.number:,} without an example: {listed(sorted(self.empty))}"
        )


class _Closed(Exception):  # noqa: N818, an end and no error
    """Nobody wants the window any more."""


def row_name(key: Any, place: int) -> str:
    """What to call an example of a shard: its key, or its row counted from 1."""
    return str(key) if isinstance(key, str) else str(place + 1)


def _told(failed: Mapping[str, str]) -> str:
    return listed(f"{name} ({reason})" for name, reason in failed.items())


def _short(path: str) -> str:
    return os.path.basename(path.rstrip("/")) or path


def _reason(error: Exception) -> str:
    """Why a shard cannot be read, without its name, which stands before it."""
    cause = error.__cause__ if isinstance(error, DataError) and error.__cause__ else error
    return str(cause) if isinstance(cause, DataError) else reason_of(cause)  # type: ignore[arg-type]


def _names(paths: Sequence[str]) -> list[str]:
    """What to call shards: by their own names, or with their folders where these are not all different."""
    names = list(map(_short, paths))
    return names if len({*names}) == len(names) else list(paths)


def _is_picture(feature: Any) -> bool:
    return type(feature).__name__ == "Image"


def _encoded(cell: Any) -> Any:
    """The bytes of a picture where they are there: less to hold than a dict of them."""
    return cell["bytes"] if isinstance(cell, Mapping) and cell.get("bytes") is not None else cell


def _with_features(data: Any) -> Any:
    """The data set with columns that are known."""
    data = data.with_format(None)
    if data.features is not None:
        return data
    try:
        return data._resolve_features()
    except Exception as error:
        if not str(error).startswith("Could not convert"):  # pictures, say
            raise
        raise DataError(
            "the stream does not know its columns; tell map what they are: ds.map(..., features=ds.features)"
        ) from error


def _undecoded(data: Any) -> Any:
    """The data set with pictures left as they are encoded, and without what is of no use here."""
    features = data.features or {}
    if heavy := [name for name, feature in features.items() if holds(feature, HEAVY)]:
        data = data.remove_columns(heavy)
    for name in picture_columns(data) if features else ():
        data = data.cast_column(name, type(features[name])(decode=False))
    return data


def head_of(data: Any, reading: Reading | None, notes: list[str]) -> tuple[Table, Stream | None]:
    """The first window of a stream, and the stream, unless that was all of it.

    Args:
        data: a data set without a length, as `opened` gives it.
        reading: how to read; a window of the usual size without.
        notes: gets a line for what was decided.
    """
    reading = reading or Reading()
    stream = Stream(data, reading.seed)
    table, complete = stream.head(reading.window)
    title, number = printable(stream.title), counted(stream.number, "shard")
    if complete:
        notes.append(f"{number} of {title} hold {counted(len(table), 'example')}, which fit into one window")
        if stream.empty:
            notes.append(stream.told_empty())
        return table, None
    return table, stream
