"""What the frozen network gives to its last layer: computed once for each picture, kept on disk for the next run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from recipes import accounts, artifact, cache
from recipes.backbones import Network
from recipes.data import DataModule, EncodedExamples
from recipes.display import console
from recipes.errors import RecipesError
from recipes.examples import Examples

View = int | Literal["as it is", "mirrored"]

# When more than this is kept, the features that were not used for the longest time make room.
_MOST_BYTES = 2 * 2**30


def features(
    network: Network,
    examples: Examples,
    views: Sequence[View] = ("as it is",),
    *,
    data: DataModule,
    quiet: bool = True,
    weights: str | None = None,
    precision: str = "",
) -> list[tuple[Tensor, Tensor]]:
    """What the last layer is given for each example, shape (examples, width), and the targets, on the CPU.

    It depends on the weights, the preparation and the files alone. So it is kept in the user's cache under a key of
    these, and a run that needs the same again, with other settings say, has it at once.

    Args:
        network: the network, in evaluation mode.
        examples: the examples.
        views: each picture as it is, mirrored, or in the augmented view of this number.
        data: where batches come from.
        quiet: show no progress.
        weights: the `weights_digest` of the network, where it is known already.
        precision: what to compute in; that of the preset if empty.

    Returns:
        A pair for each view.
    """
    kept = dict[View, Path | None].fromkeys(views)
    precision = precision or data.preset.precision
    if data.preset.cache:
        digest = weights or weights_digest(network)
        kept = {view: _place(digest, network, data, examples, view, precision) for view in views}
    found = {view: pair for view, path in kept.items() if path and (pair := _loaded(path, examples, data)) is not None}
    missing = [view for view in views if view not in found]
    # A file is opened once for both plain views of it.
    plain: list[View] = [view for view in missing if not isinstance(view, int)]
    passes = [plain] + [[view] for view in missing if isinstance(view, int)]
    for together in filter(None, passes):
        began = time.perf_counter()
        computed = _computed(network, examples, together, data, quiet, precision)
        took = (time.perf_counter() - began) / len(together)
        for view, pair in zip(together, computed, strict=True):
            found[view] = pair
            accounts.saw(len(pair[0]))
            accounts.looked(took)
            path = kept[view]
            if path and len(pair[0]) == len(examples):  # all of them could be read
                _keep(path, pair[0], took)
    return [found[view] for view in views]


def _computed(
    network: Network, examples: Examples, views: Sequence[View], data: DataModule, quiet: bool, precision: str
) -> list[tuple[Tensor, Tensor]]:
    """Features and targets in each of these views, all from one pass over the examples."""
    order = [(view, place) for view in views if isinstance(view, int) for place in range(len(examples))]
    encoded = EncodedExamples(examples, data.codec, data.preset if order else None)
    batches = data.loader(encoded, order or None)
    found: list[list[Tensor]] = [[] for _ in views]
    targets: list[Tensor] = []
    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    shown = track(batches, f"looking at {data.codec.things}", console=console(), transient=True, disable=quiet)
    with torch.no_grad(), torch.autocast(network.device.type, kind, enabled=precision in ("bf16", "fp16")):
        for inputs, wanted in (batch[:2] for batch in shown if batch is not None):
            inputs = inputs.to(network.device)
            for view, rows in zip(views, found, strict=True):
                rows.append(network.features(inputs.flip(3) if view == "mirrored" else inputs).float().cpu())
            targets.append(wanted)
    whole, own = [torch.cat(rows) for rows in found], torch.cat(targets)
    if data.codec.ragged:  # batches are of similar length; the examples' own order is what is kept
        back = torch.tensor([place for batch in batches.batch_sampler or () for place in batch]).argsort()
        whole, own = [rows[back] for rows in whole], own[back]
    return [(rows, own) for rows in whole]


def weights_digest(network: Network) -> str:
    """SHA-256 of the network's weights without those of its last layer."""
    key = hashlib.sha256()
    own = set() if network.head is None else {id(parameter) for parameter in network.head.parameters()}
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if id(tensor) not in own:
            key.update(name.encode())
            key.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return key.hexdigest()


def _place(
    weights: str, network: Network, data: DataModule, examples: Examples, view: View, precision: str
) -> Path | None:
    """The cache's file for these features, in whose name is everything they depend on; None if that cannot be told."""
    varied = [view, data.preset.seed, asdict(data.preset.augment)] if isinstance(view, int) else view
    encoding = {name: value for name, value in asdict(data.codec).items() if name not in ("labels", "mirror")}
    # Another batch size, device or version may round otherwise, and equal runs shall end equal to the last bit.
    versions = [version(library) for library in ("torch-recipes", "torch", "torchvision", "timm", "pillow")]
    rounding = [versions, network.device.type, data.preset.batch_size, precision]
    if data.codec.ragged:
        contents: list[Any] = examples.inputs
    else:
        prints = data.splits.fingerprints
        names = list(map(data.splits.name, examples.inputs))
        if not all(name in prints for name in names):  # pictures in memory
            return None
        contents = [prints[name] for name in names]
    key = json.dumps([weights, encoding, network.config, varied, rounding, contents])
    return folder() / f"{artifact.digest(key.encode())}.safetensors"


def folder() -> Path:
    """Where features are kept: `recipes/features` in the user's cache, or in the folder that RECIPES_CACHE names."""
    return cache.folder("features")


def _loaded(path: Path, examples: Examples, data: DataModule) -> tuple[Tensor, Tensor] | None:
    """Features in a file of the cache, with the targets; None if it is not there, damaged, or of other examples."""
    if not path.is_file():
        return None
    try:
        held = artifact.read_state(path)
        os.utime(path)
    except (RecipesError, OSError):
        return None
    found, took = held if isinstance(held, tuple) and len(held) == 2 else (held, 0.0)
    if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != len(examples) or not isinstance(took, float):
        return None
    accounts.looked(0.0, found=took)
    return found, torch.tensor(np.array([data.codec.target(target) for target in examples.targets]))


def _keep(path: Path, found: Tensor, took: float) -> None:
    """Write a file of the cache, with the seconds it took.

    Where that is not possible, on a full disk say, the run goes on without.
    """
    with contextlib.suppress(RecipesError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        artifact.write_state(path, (found, took))
        files = [(entry.stat().st_mtime, entry.stat().st_size, entry) for entry in path.parent.glob("*.safetensors")]
        total = 0
        for _, size, entry in sorted(files, reverse=True):
            total += size
            if total > _MOST_BYTES:
                entry.unlink()
