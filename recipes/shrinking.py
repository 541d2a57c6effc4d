"""Make a fitted model smaller and faster, and say what it costs: size, speed and score before and after."""

from __future__ import annotations

import copy
import logging
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes import artifact
from recipes.display import counted, say
from recipes.errors import DataError, OptionError, ShrinkingError, printable
from recipes.results import shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recipes.backbones import Network
    from recipes.task import Task

# Pictures from which the range of each layer's values is taken; a few hundred are what is usual.
_MOST_FOR_RANGES = 256

# Pictures in one step while the speed is measured, and how often each of the two networks takes its turn.
_BATCH, _TURNS = 32, 5


@dataclass(frozen=True)
class Shrinking:
    """What became smaller and faster, and what that cost.

    Args:
        examples: how many examples both models were scored on; none of them gave a range.
        score: the name of the score that was compared.
        scores: that score before and after.
        bytes: the size of the weights before and after.
        rates: pictures a second through the network alone, before and after, on this CPU: the best of five turns.
        unreadable: the pictures that could not be read; they gave no range and no score.
    """

    examples: int
    score: str
    scores: tuple[float, float]
    bytes: tuple[int, int]
    rates: tuple[float, float]
    unreadable: tuple[str, ...] = ()

    @property
    def lost(self) -> float:
        """How much of the score was lost; negative where it rose."""
        return self.scores[0] - self.scores[1]

    def line(self) -> str:
        """The figures in one line, for people."""
        sizes = " -> ".join(f"{size / 1e6:.1f}" for size in self.bytes)
        rates = " -> ".join(f"{rate:,.0f}" for rate in self.rates)
        scores = " -> ".join(shown(score) for score in self.scores)
        return (
            f"{sizes} MB; {rates} pictures a second ({self.rates[1] / self.rates[0]:.1f} ×); {self.score} {scores} on "
            f"{counted(self.examples, 'example')}"
        )


def quantize(
    task: Task, data: Any, out: str | os.PathLike[str], *, most_lost: float = 0.01, overwrite: bool = False
) -> Shrinking:
    """Write a classifier of pictures with numbers of 8 bits in place of 32, if it is still as good.

    Static quantization by onnxruntime: a layer's weights and what flows between layers become whole numbers, whose
    ranges are taken from up to 256 pictures, a quarter of the data at most; the others are what both models are scored
    on. The new folder opens with `recipes.load` where onnxruntime is installed, and predicts; it cannot be trained.

    Args:
        task: a fitted classifier of pictures.
        data: labelled data as `evaluate` takes them, best those that the model was not fitted on.
        out: a folder for the new model.
        most_lost: how much of the score may be lost, 0.01 is one point of a hundred.
        overwrite: replace a model in `out`.

    Raises:
        OptionError: it is no classifier of pictures, the extra `onnx` is not installed, or `out` is the model itself.
        DataError: there are too few examples.
        OutputError: `out` holds other files or cannot be written.
        ShrinkingError: too much of the score would be lost; nothing was written.
    """
    codec, network = task._fitted()
    if codec.ragged or codec.dense or not hasattr(codec, "thresholds"):
        raise OptionError(f"quantize is for classifiers of pictures, and this is a {task.command}")
    if network.config["library"] == "onnx":
        raise OptionError("this model is quantized already; give the one that it was made from")
    if not 0 <= most_lost <= 1:
        raise OptionError(f"most_lost={most_lost!r} cannot be: it is a share from 0 to 1, such as 0.01")
    _check_installed()
    if task._folder is not None and os.path.realpath(os.path.expanduser(out)) == task._folder:
        raise OptionError(f"{printable(out)} is the model itself, which stays as it is; choose another folder")
    artifact.check_output(out, overwrite)
    examples = task.read_labelled(data, codec.labels)
    order = np.random.default_rng(0).permutation(len(examples))
    number = min(_MOST_FOR_RANGES, len(order) // 4)
    if not number:
        raise DataError(f"4 examples at least are needed, and better 200; {printable(str(data))} has {len(order)}")
    lost: list[str] = []
    pixels = _pixels(task, lost, [examples.inputs[place] for place in order[:number]])
    smaller = copy.copy(task)
    smaller.network = quantized(network, pixels)
    smaller._records = dict(task._records)
    held_out = examples.take(order[number:].tolist())
    before, after = (one._scored(held_out) for one in (task, smaller))
    report = Shrinking(
        before.examples,
        task.decisive,
        (before.scores[task.decisive], after.scores[task.decisive]),
        (len(artifact.weights_bytes(network.native_state())), len(smaller.network.files[artifact.ONNX])),
        _rates(network, smaller.network, pixels[:_BATCH]),
        tuple(dict.fromkeys([*before.unreadable, *lost])),
    )
    if most_lost and report.examples * most_lost < 1 - 1e-9:
        needed = math.ceil(1 / most_lost - 1e-9)
        say(
            f"note: one of {counted(report.examples, 'example')} weighs {100 / report.examples:.1f} points, and "
            f"{100 * most_lost:g} may be lost, so this comparison says little; "
            f"{needed + min(_MOST_FOR_RANGES, math.ceil(needed / 3)):,} examples would be enough"
        )
    if report.lost > most_lost:
        raise ShrinkingError(
            f"{100 * report.lost:.1f} points of {report.score} would be lost, more than {100 * most_lost:g}; nothing "
            f"was written and the model stays as it is ({report.line()})"
        )
    smaller._scores = after.scores
    smaller._save(out, overwrite)
    return report


def quantized(network: Network, pixels: NDArray[np.uint8]) -> Network:
    """A network in numbers of 8 bits, whose ranges come from these pictures.

    Args:
        network: a network for pictures, on the CPU.
        pixels: shape (pictures, 3, height, width).
    """
    import torch
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from recipes.onnx_networks import INPUT, OnnxNetwork, exported

    parts = iter([{INPUT: pixels[place : place + _BATCH]} for place in range(0, len(pixels), _BATCH)])
    graph = exported(copy.deepcopy(network).cpu(), torch.from_numpy(pixels[:_BATCH]))
    with tempfile.TemporaryDirectory() as folder, _quiet():
        plain, prepared, small = (Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "small"))
        plain.write_bytes(graph)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            small,
            _Reader(parts),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,  # with signed weights the fastest on CPUs with VNNI, 3 times S8S8
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # weights of 7 bits: without VNNI sums of 8 bits overflow, and a model may travel
        )
        kept = {name: network.config[name] for name in ("architecture",) if name in network.config}
        return OnnxNetwork(small.read_bytes(), {**kept, "numbers": "int8"})


class _Reader:
    """Gives batches out one by one, as onnxruntime asks for them."""

    def __init__(self, batches: Iterator[dict[str, Any]]) -> None:
        self.batches = batches

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, or None after the last."""
        return next(self.batches, None)


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise OptionError("quantizing needs onnx and onnxruntime: pip install 'torch-recipes[onnx]'") from error


def _pixels(task: Task, lost: list[str], sources: list[Any]) -> NDArray[np.uint8]:
    """Pictures as the network takes them; `lost` gets the names of those that cannot be read."""
    from recipes.codec import encoded_batches

    codec, _ = task._fitted()
    found: list[Any] = []
    for rows in encoded_batches(codec, sources, _BATCH, -1, ahead=0):
        found += [array for _, array in rows if not isinstance(array, DataError)]
        lost += [str(source) for source, array in rows if isinstance(array, DataError)]
    if not found:
        raise DataError("none of the examples that the ranges would come from can be read")
    return np.ascontiguousarray(codec.stacked(found))


def _rates(one: Network, other: Network, pixels: NDArray[np.uint8]) -> tuple[float, float]:
    """Pictures a second through each network: the best of a few turns, which other programs disturb least."""
    import torch

    from recipes.inference import keep_freed_memory

    keep_freed_memory()
    batch = torch.from_numpy(pixels)
    seconds: tuple[list[float], list[float]] = [], []
    with torch.inference_mode():
        for turn in range(_TURNS + 1):
            for network, kept in zip((one.cpu().eval(), other), seconds, strict=True):
                began = time.perf_counter()
                network(batch)
                if turn:  # the first warms up
                    kept.append(time.perf_counter() - began)
    first, second = (len(batch) / min(kept) for kept in seconds)
    return first, second


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that onnxruntime's quantization gives through the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
