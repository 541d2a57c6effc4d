"""Run a fitted network over encoded inputs, batch by batch; needs neither Lightning nor torchmetrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recipes.backbones import Network
from recipes.codec import Codec, encoded_batches
from recipes.errors import DataError, OptionError


@torch.inference_mode()
def outputs(
    network: Network, codec: Codec, sources: Iterable[Any], batch_size: int, workers: int, device: str
) -> Iterator[tuple[Any, Any]]:
    """What the network gives for each source, in order; for one that cannot be read, the DataError that says why.

    Args:
        network: a fitted network.
        codec: what encodes a source.
        sources: the inputs.
        batch_size: inputs in one step.
        workers: threads that read; -1 is one for each core.
        device: `auto` or a torch device's name.

    Returns:
        Pairs of a source and its scores, shape (labels,), or its error.
    """
    place = choose_device(device)
    network = network.eval().to(place)
    for rows in encoded_batches(codec, sources, batch_size, workers, ahead=0 if place.type == "cpu" else 4):
        good = [array for _, array in rows if not isinstance(array, DataError)]
        scores = iter(_scored(network, codec, good, place) if good else ())
        yield from [(source, array if isinstance(array, DataError) else next(scores)) for source, array in rows]


def _scored(network: Network, codec: Codec, arrays: list[Any], place: torch.device) -> Any:
    pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
    return scores_of(network, codec, pixels.to(place)).float().cpu().numpy()


def scores_of(network: nn.Module, codec: Codec, pixels: Tensor) -> Tensor:
    """The scores that count, in validation and prediction alike: mirrored, too, where the codec says so."""
    scores: Tensor = network(pixels)
    return (scores + network(pixels.flip(3))) / 2 if getattr(codec, "mirror", False) else scores


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
