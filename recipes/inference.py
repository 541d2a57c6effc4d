"""Run a fitted network over encoded inputs, batch by batch; needs neither Lightning nor torchmetrics."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recipes import tiles
from recipes.backbones import Network, folded
from recipes.codec import Codec, encoded_batches
from recipes.crops import Dense
from recipes.display import say
from recipes.errors import DataError, OptionError
from recipes.texts import by_length, cut, size

# Texts that are read at once, in batches.
_LOOK_AHEAD = 16


@torch.inference_mode()
def outputs(
    network: Network,
    codec: Codec,
    sources: Iterable[Any],
    batch_size: int = 32,
    workers: int = -1,
    device: str = "auto",
    probabilities: bool = False,
    quiet: bool = False,
) -> Iterator[tuple[Any, Any]]:
    """What the network gives for each source, in order; for one that cannot be read, the DataError that says why.

    Args:
        network: a fitted network.
        codec: what encodes a source.
        sources: the inputs.
        batch_size: inputs in one step.
        workers: threads that read; -1 is one for each core.
        device: `auto` or a torch device's name.
        probabilities: where each pixel has a label, give the probabilities of all, too.
        quiet: do not say how many texts were cut.

    Returns:
        Pairs of a source and its scores, shape (labels,), or its error. Where each pixel has a label, in place of the
        scores the label of each, shape (height, width), or the probabilities, shape (labels, height, width).
    """
    keep_freed_memory()
    place = choose_device(device)
    network = network.eval().to(place)
    if codec.dense:
        batch_size = 1  # images differ in size, and one may fill the memory
    # Of texts many are read at once, so that those of similar length meet.
    number = batch_size if not codec.ragged or batch_size == 1 else batch_size * _LOOK_AHEAD
    total = shortened = 0
    batches = encoded_batches(codec, sources, number, workers, ahead=0 if place.type == "cpu" else 4)
    for turn, rows in enumerate(batches):
        if turn == 1:  # so many that it pays
            network = folded(network)
        good = [array for _, array in rows if not isinstance(array, DataError)]
        if codec.ragged:
            total, shortened = total + len(rows), shortened + sum(map(cut, good))
        if codec.dense:
            scores: Iterator[Any] = (_labelled(network, codec, image, place, probabilities) for image in good)
        else:
            scores = iter(_scored(network, codec, good, batch_size, place))
        yield from [(source, array if isinstance(array, DataError) else next(scores)) for source, array in rows]
    if shortened and not quiet:
        say(f"note: {shortened:,} of {total:,} texts were cut, because they are too long for the model")


def _scored(network: Network, codec: Codec, arrays: list[Any], batch_size: int, place: torch.device) -> list[Any]:
    found: list[Any] = [None] * len(arrays)
    whole = [list(range(len(arrays)))] if arrays else []
    for batch in by_length(list(map(size, arrays)), batch_size, range(len(arrays))) if codec.ragged else whole:
        inputs = torch.from_numpy(codec.stacked([arrays[number] for number in batch]))
        for number, scores in zip(
            batch, scores_of(network, codec, inputs.to(place)).float().cpu().numpy(), strict=True
        ):
            found[number] = scores
    return found


def _labelled(network: Network, codec: Codec, image: Dense, place: torch.device, probabilities: bool) -> Any:
    """The label of each pixel of an image in its own size, or the probabilities of all labels there."""
    pixels = torch.from_numpy(image.pixels).permute(2, 0, 1)[None].to(place)
    score = partial(scores_of, network, codec)
    kind = np.float32 if probabilities else np.uint8
    shape = (image.height, image.width)
    found = np.empty((len(codec.labels), *shape) if probabilities else shape, kind)
    row = 0
    for rows in tiles.score_rows(score, pixels, *shape):
        values = rows.softmax(0) if probabilities else rows.argmax(0).to(torch.uint8)
        found[..., row : row + rows.shape[1], :] = values.cpu().numpy()
        row += rows.shape[1]
    return found


def scores_of(network: nn.Module, codec: Codec, pixels: Tensor) -> Tensor:
    """The scores that count, in validation and prediction alike: mirrored, too, where the codec says so."""
    scores: Tensor = network(pixels)
    if not getattr(codec, "mirror", False):
        return scores
    mirrored: Tensor = network(pixels.flip(3))
    return (scores + (mirrored.flip(3) if codec.dense else mirrored)) / 2


def scores_for(
    network: nn.Module, codec: Codec, pixels: Tensor, targets: Tensor, each: Callable[[Tensor, Tensor], Any]
) -> tuple[Tensor, Tensor]:
    """Score a clean batch part by part, and give the scores that its loss is taken of, with their targets.

    Pictures and texts are one part. An image whose pixels have labels comes in strips: all scores of one with 6,000 ×
    6,000 pixels and 11 labels would fill 1.6 GB, and its loss several times as much. The loss of a large one is that
    of a regular sample, of about as many pixels as a tile has: not every criterion is a sum over strips, and over more
    pixels the sums in Dice lose digits in float32 (7 % of the loss were measured there; the sample was off by 0.01 %).

    Args:
        network: the network.
        codec: what encoded the batch.
        pixels: the batch as the network takes it.
        targets: places or shares of labels, or a mask of places, shape (1, height, width).
        each: is given the scores of each part in the size of the mask, and its targets.

    Returns:
        Scores, shape (examples, labels) or (1, labels, height, width), and their targets.
    """
    if not codec.dense:
        scores = scores_of(network, codec, pixels).float()
        each(scores, targets)
        return scores, targets
    height, width = targets.shape[1:]
    step = math.ceil(math.sqrt(height * width) / tiles.TILE)
    kept, row = [], 0
    for strip in tiles.score_rows(partial(scores_of, network, codec), pixels, height, width):
        each(strip[None], targets[:, row : row + strip.shape[1]])
        kept.append(strip[:, -row % step :: step, ::step].contiguous())
        row += strip.shape[1]
    return torch.cat(kept, 1)[None], targets[:, ::step, ::step]


def choose_device(name: str) -> torch.device:
    """A device by name; `auto` is a GPU if there is one.

    Raises:
        OptionError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"there is no device {name!r} here; take auto or cpu") from error


@lru_cache
def keep_freed_memory() -> None:
    """Let the process keep memory that it frees, on Linux with glibc; elsewhere nothing happens.

    Every step on a CPU takes and frees the same large blocks. By default glibc hands each back to the system and the
    next step has to get it page by page again: predictions were 1.5 times, float32 training 1.8 times as fast with it.
    What is kept is what the largest step needed; it does not grow with the number of steps.
    """
    trim_threshold, mmap_threshold = -1, -3  # glibc's malloc.h
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 2**30)
        libc.mallopt(trim_threshold, 2**31 - 1)
    except (AttributeError, OSError, TypeError):
        return
