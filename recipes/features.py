"""What the frozen network gives to its last layer: computed once for each picture, kept on disk for the next run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
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
    view: View = "as it is",
    *,
    data: DataModule,
    quiet: bool = True,
    weights: str | None = None,
) -> tuple[Tensor, Tensor]:
    """What the last layer is given for each example, shape (examples, width), and the targets, on the CPU.

    It depends on the weights, the preparation and the files alone. So it is kept in the user's cache under a key of
    these, and a run that needs the same again, with other settings say, has it at once.

    Args:
        network: the network, in evaluation mode.
        examples: the examples.
        view: each picture as it is, mirrored, or in the augmented view of this number.
        data: where batches come from.
        quiet: show no progress.
        weights: the `weights_digest` of the network, where it is known already.
    """
    kept = None
    if data.preset.cache:
        kept = _place(weights or weights_digest(network), network, data, examples, view)
    found, took = _loaded(kept) if kept else (None, 0.0)
    if found is not None and len(found) == len(examples):
        accounts.looked(0.0, found=took)
        return found, torch.tensor(np.array([data.codec.target(target) for target in examples.targets]))
    began = time.perf_counter()
    varied = isinstance(view, int)
    encoded = EncodedExamples(examples, data.codec, data.preset if varied else None)
    batches = data.loader(encoded, [(view, place) for place in range(len(examples))] if varied else None)
    shown = track(batches, f"looking at {data.codec.things}", console=console(), transient=True, disable=quiet)
    computed, targets = _computed(network, shown, view == "mirrored", data.preset.precision)
    if data.codec.ragged:  # batches are of similar length; the examples' own order is what is kept
        order = torch.tensor([place for batch in batches.batch_sampler or () for place in batch]).argsort()
        computed, targets = computed[order], targets[order]
    took = time.perf_counter() - began
    accounts.saw(len(computed))
    accounts.looked(took)
    if kept and len(computed) == len(examples):  # all of them could be read
        _keep(kept, computed, took)
    return computed, targets


@torch.no_grad()
def _computed(network: Network, batches: Any, mirrored: bool, precision: str) -> tuple[Tensor, Tensor]:
    found: list[Tensor] = []
    targets: list[Tensor] = []
    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    with torch.autocast(network.device.type, kind, enabled=precision in ("bf16", "fp16")):
        for batch in batches:
            if batch is not None:
                inputs = batch[0].to(network.device)
                found.append(network.features(inputs.flip(3) if mirrored else inputs).float().cpu())
                targets.append(batch[1])
    return torch.cat(found), torch.cat(targets)


def weights_digest(network: Network) -> str:
    """SHA-256 of the network's weights without those of its last layer."""
    key = hashlib.sha256()
    own = set() if network.head is None else {id(parameter) for parameter in network.head.parameters()}
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if id(tensor) not in own:
            key.update(name.encode())
            key.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return key.hexdigest()


def _place(weights: str, network: Network, data: DataModule, examples: Examples, view: View) -> Path | None:
    """The cache's file for these features, in whose name is everything they depend on; None if that cannot be told."""
    varied = [view, data.preset.seed, asdict(data.preset.augment)] if isinstance(view, int) else view
    encoding = {name: value for name, value in asdict(data.codec).items() if name not in ("labels", "mirror")}
    # Another batch size, device or version may round otherwise, and equal runs shall end equal to the last bit.
    versions = [version(library) for library in ("torch-recipes", "torch", "torchvision", "timm", "pillow")]
    rounding = [versions, network.device.type, data.preset.batch_size, data.preset.precision]
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


def _loaded(path: Path) -> tuple[Tensor | None, float]:
    """What a file of the cache holds, and the seconds it took; nothing if it is not there or damaged."""
    if not path.is_file():
        return None, 0.0
    try:
        found = artifact.read_state(path)
        os.utime(path)
    except (RecipesError, OSError):
        return None, 0.0
    found, took = found if isinstance(found, tuple) and len(found) == 2 else (found, 0.0)
    if isinstance(found, Tensor) and found.dim() == 2 and isinstance(took, float):
        return found, took
    return None, 0.0


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
