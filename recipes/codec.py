"""The way into and out of a network, and gathering what to predict.

A codec is a small frozen value of plain settings: it is saved with the model, sent to loader processes, and used
wherever the model runs. It needs no torch.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import types
import typing
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from recipes import images
from recipes.errors import DataError, ModelError, OptionError, did_you_mean, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recipes.images import Augment


@dataclass(frozen=True)
class Codec(ABC):
    """What prepares an input for the network and names what comes out.

    Args:
        labels: the labels' names, in the order of the network's outputs.
    """

    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels) or not self.labels:
            raise OptionError(f"labels are all different, found {len(self.labels)} with {len(set(self.labels))} names")

    #: Whether each pixel has a label, rather than the whole input.
    dense: ClassVar[bool] = False
    #: Whether inputs differ in length, and are encoded once, because their lengths tell which go into one batch.
    ragged: ClassVar[bool] = False
    #: What inputs are called.
    things: ClassVar[str] = "images"

    @abstractmethod
    def encode(self, source: Any) -> Any:
        """One input as the network takes it."""

    def encoded(self, sources: Sequence[Any]) -> list[Any]:
        """Each input as the network takes it, or the DataError that says why it cannot be read."""

        def encoded(source: Any) -> Any:
            try:
                return self.encode(source)
            except DataError as error:
                return error

        return [encoded(source) for source in sources]

    def target(self, target: Any) -> Any:
        """A target as training compares it with the network's scores."""
        return target

    def stacked(self, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Encoded inputs as one batch: pictures as (pictures, channels, height, width), channels last in memory."""
        import numpy as np

        batch: NDArray[Any] = np.stack(arrays).transpose(0, 3, 1, 2)
        return batch

    def calibrated(self, rows: Iterable[tuple[Any, Any, Any]]) -> tuple[Codec, Iterable[tuple[Any, Any, Any]]]:
        """The codec with what is learnt after training from sources, outputs and targets of the validation examples.

        Beside it come the same rows: they may be an iterator, and who needs none of them leaves it as it is.
        """
        return self, rows

    @abstractmethod
    def example(
        self, source: Any, target: Any, augment: Augment | None = None, rng: np.random.Generator | None = None
    ) -> tuple[NDArray[Any], Any]:
        """An input as `encode` gives it, and its target; with `augment`, a random view of both, drawn from `rng`."""

    @abstractmethod
    def decode(self, output: NDArray[np.float32], source: Any) -> Any:
        """The prediction for what the network gave for one input."""

    @abstractmethod
    def failed(self, source: Any, error: str) -> Any:
        """The prediction for an input that could not be read; `source` is its path, its text, or None."""

    @abstractmethod
    def cells(self, source: Any, target: Any, prediction: Any = None) -> list[tuple[Any, str]]:
        """Pictures with captions, side by side, that show an example to people.

        Args:
            source: the input, or what `example` made of it for training.
            target: its target, as it was given or as `example` made it.
            prediction: what the model says of it, if that is to be shown.
        """

    @abstractmethod
    def gather(self, inputs: Any) -> list[Any]:
        """One input or many, in any form this task takes, as a flat list in order."""


def rebuilt(kind: type[T], values: Any) -> T:
    """A frozen dataclass from its JSON values, tuples as tuples again, every field checked for its type.

    Raises:
        ModelError: a field is missing, unknown or of the wrong type.
    """
    if not isinstance(values, dict):
        raise ModelError(f"expected settings of {kind.__name__}, found {type(values).__name__}")
    hints = typing.get_type_hints(kind)
    names = {item.name for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(values.keys() - names):
        raise ModelError(
            f"unknown setting {printable(unknown[0])!r} of {kind.__name__}{did_you_mean(unknown[0], names)}"
        )
    try:
        return kind(**{name: _typed(hints[name], value) for name, value in values.items()})
    except (TypeError, ValueError) as error:
        raise ModelError(f"the settings of {kind.__name__} are damaged ({printable(str(error))})") from error


T = TypeVar("T")


def _typed(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return rebuilt(hint, value)
    if origin is tuple and isinstance(value, (list, tuple)):
        inner = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(inner) == len(value):
            return tuple(_typed(kind, item) for kind, item in zip(inner, value, strict=True))
    elif origin is typing.Literal:
        if value in arguments:
            return value
    elif origin in (list, dict) and isinstance(value, origin):
        if origin is list:
            return [_typed(arguments[0], item) for item in value]
        return {_typed(arguments[0], key): _typed(arguments[1], item) for key, item in value.items()}
    elif origin in (typing.Union, types.UnionType):
        for kind in arguments:
            try:
                return _typed(kind, value)
            except (ValueError, ModelError):
                continue
    elif hint is type(None) or hint is None:
        if value is None:
            return None
    elif (isinstance(hint, type) and type(value) is not bool) or hint is bool:
        if isinstance(value, hint):
            return value
        if hint is float and isinstance(value, int):
            return float(value)
    raise ValueError(f"expected {hint}, found {value!r:.60}")


# ---------------------------------------------------------------------------------------------------------------------
# Gathering


def gathered_pictures(inputs: Any) -> list[Any]:
    """A path, a directory, a glob, a PIL image, an array, a tensor, or any list of these, as a flat list of pictures.

    Raises:
        DataError: a path does not exist, a glob matches nothing, or a directory holds no pictures.
    """
    if isinstance(inputs, (str, os.PathLike)):
        return _pictures_at(os.fspath(inputs))
    if isinstance(inputs, (list, tuple, set, frozenset, Iterator)):
        return [picture for one in inputs for picture in gathered_pictures(one)]
    shape = getattr(inputs, "shape", ())
    if len(shape) == 4:  # a batch
        return list(inputs)
    return [inputs]


def _pictures_at(path: str) -> list[str]:
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        pictures, others = images.pictures_in(path)
        if not pictures:
            found = images.left_out(others) if others else "nothing"
            raise DataError(f"{printable(path)} holds no pictures (found {found})")
        return pictures
    if os.path.lexists(path):  # before globs, so that a file called a[1].jpg is itself
        return [path]
    if glob.has_magic(path):
        matches = sorted(glob.glob(path, recursive=True))
        if not matches:
            raise DataError(f"nothing matches {printable(path)}")
        groups = [images.pictures_in(match)[0] if os.path.isdir(match) else [match] for match in matches]
        if not any(groups):
            raise DataError(f"{printable(path)} matches {len(matches)} folders, and none holds pictures")
        return [picture for group in groups for picture in group]
    raise DataError(f"{printable(path)} does not exist{_near_file(path)}")


def _near_file(path: str) -> str:
    """`; did you mean …?` from the names beside a wrong path."""
    folder, name = os.path.split(path.rstrip("/"))
    try:
        beside = [entry for entry in os.listdir(folder or ".") if not images.ignored(entry)]
    except OSError:
        return ""
    hint = did_you_mean(name, beside, most=1)
    return hint.replace("did you mean ", f"did you mean {printable(os.path.join(folder, ''))}") if folder else hint


def encoded_batches(
    codec: Codec, sources: Iterable[Any], batch_size: int, workers: int = -1, ahead: int = 0
) -> Iterator[list[tuple[Any, Any]]]:
    """Batches of each source with its encoding, or with the DataError that reading it gave, in order.

    Threads read, because Pillow decodes without Python's lock and processes would first cost a second to start. What
    is ragged is encoded a batch at a time, and its tokenizer has threads of its own.

    Args:
        codec: what encodes.
        sources: the inputs.
        batch_size: inputs in a batch.
        workers: threads; -1 is one for each core.
        ahead: batches to read in advance; 0 where the network computes on the same cores, which would only disturb
            one another. Memory does not grow with the number of sources.
    """
    remaining = iter(sources)
    waiting: deque[tuple[list[Any], list[Future[list[Any]]]]] = deque()
    with ThreadPoolExecutor(cores() if workers < 0 else max(1, workers), thread_name_prefix="recipes-reader") as pool:
        try:
            while True:
                while len(waiting) <= ahead and (batch := list(islice(remaining, batch_size))):
                    parts = [batch] if codec.ragged else [[source] for source in batch]
                    waiting.append((batch, [pool.submit(codec.encoded, part) for part in parts]))
                if not waiting:
                    return
                batch, futures = waiting.popleft()
                yield list(zip(batch, [found for future in futures for found in future.result()], strict=True))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
