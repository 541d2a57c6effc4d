"""Load examples in batches: what comes depends on (seed, epoch, place) alone, however many processes read."""

from __future__ import annotations

import math
import multiprocessing
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from recipes.codec import Codec, cores
from recipes.errors import DataError
from recipes.examples import Examples, Splits
from recipes.presets import Preset
from recipes.texts import by_length, size

Batch = tuple[Tensor, Tensor, list[str]]


class EpochSampler(Sampler[tuple[int, int]]):
    """Shuffled places, each with its epoch: what an example looks like depends on (seed, epoch, place) alone.

    So the number of loader processes changes nothing, and a run that is taken up again sees what it would have seen.
    """

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        return ((self.epoch, int(place)) for place in order)


class EncodedExamples(Dataset[tuple[Any, int, str]]):
    """Examples as the network takes them: as they are, or (with the preset's augmentation) varied for training."""

    def __init__(self, examples: Examples, codec: Codec, preset: Preset | None = None) -> None:
        self.examples, self.codec, self.preset = examples, codec, preset
        self.arrays = examples.encoded(codec) if codec.ragged else None

    def __len__(self) -> int:
        return len(self.examples) * self.views

    @property
    def views(self) -> int:
        """Random views of each example in an epoch."""
        return getattr(self.codec, "crops", 1) if self.preset else 1

    def __getitems__(self, keys: list[Any]) -> list[tuple[Any, int, str]]:
        """A batch at once: by threads in the training process itself, one after the other in a loader process."""
        if get_worker_info() is not None or self.arrays is not None:
            return [self[key] for key in keys]
        with ThreadPoolExecutor(cores(), thread_name_prefix="recipes-reader") as pool:
            return list(pool.map(self.__getitem__, keys))

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Any, int, str]:
        epoch, place = key if isinstance(key, tuple) else (0, key)
        number = place % len(self.examples)
        source, target = self.examples.inputs[number], self.examples.targets[number]
        if self.arrays is not None:
            array = self.arrays[number]
            return None if isinstance(array, DataError) else array, self.codec.target(target), source
        try:
            if self.preset is None:
                return *self.codec.example(source, target), source
            rng = np.random.default_rng((self.preset.seed, epoch, place))
            return *self.codec.example(source, target, self.preset.augment, rng), source
        except DataError:  # it was readable when training began; the run goes on and names it at the end
            return None, target, source


class LengthBatches(Sampler[list[Any]]):
    """Batches of texts of similar length, bounded by how many numbers they have, in a new order in each epoch.

    Args:
        arrays: the encoded texts.
        batch_size: a batch holds no more than so many texts of average length; of short ones more.
        sampler: the order of an epoch; the texts' own order if not given.
    """

    def __init__(self, arrays: list[Any], batch_size: int, sampler: EpochSampler | None = None) -> None:
        self.sizes, self.batch_size = [size(array) for array in arrays], batch_size
        self.sampler = sampler  # Lightning tells it the epoch
        self.number = len(by_length(self.sizes, batch_size, range(len(arrays))))

    def __len__(self) -> int:
        return self.number

    def __iter__(self) -> Iterator[list[Any]]:
        if self.sampler is None:
            yield from by_length(self.sizes, self.batch_size, range(len(self.sizes)))
            return
        epoch = self.sampler.epoch
        batches = by_length(self.sizes, self.batch_size, [place for _, place in self.sampler])
        for number in np.random.default_rng((self.sampler.seed, epoch, 1)).permutation(len(batches)):
            yield [(epoch, place) for place in batches[number]]


def collate(rows: list[tuple[Any, int, str]], codec: Codec) -> Batch | None:
    """What the network takes of each example as one tensor, the targets, and the names of files that are lost by now.

    Targets are places of labels, shape (examples,), zeros and ones for each label, shape (examples, labels), or masks
    of places, shape (examples, height, width).
    """
    lost = [source for array, _, source in rows if array is None]
    arrays = [array for array, _, _ in rows if array is not None]
    if not arrays:
        return None
    targets = torch.from_numpy(np.stack([target for array, target, _ in rows if array is not None]))
    inputs = torch.from_numpy(codec.stacked(arrays))
    return inputs, targets if targets.is_floating_point() else targets.long(), lost


class DataModule(pl.LightningDataModule):
    """The batches of a task, for any Lightning Trainer.

    Args:
        splits: the examples.
        codec: what prepares them.
        preset: batch size, augmentation, mixup, seed and number of loader processes.
    """

    def __init__(self, splits: Splits, codec: Codec, preset: Preset) -> None:
        super().__init__()
        self.splits, self.codec, self.preset = splits, codec, preset
        self.workers = loader_workers(preset.workers, preset.accelerator)

    @property
    def views(self) -> int:
        """Random views of the training examples in an epoch: one of each picture, several crops of each image."""
        return len(EncodedExamples(self.splits.train, self.codec, self.preset))

    @property
    def class_weights(self) -> Tensor | None:
        """What each label counts in the loss, shape (labels,), 1 on the average example; None where all count alike."""
        if self.preset.class_weights == "none":
            return None
        counts = torch.tensor(self.splits.train.counts(), dtype=torch.float32)
        weights = counts.sum() / (len(counts) * counts)
        return weights.where(counts > 0, torch.zeros(()))  # what training never shows cannot be learnt

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled, augmented batches; a last one of a single picture is left out, batch norm cannot train on it."""
        examples = EncodedExamples(self.splits.train, self.codec, self.preset)
        size = self.preset.batch_size
        sampler = EpochSampler(len(examples), self.preset.seed)
        return self.loader(examples, sampler, drop_last=len(examples) > size and len(examples) % size == 1)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The validation pictures, exactly as prediction prepares them."""
        return self._as_predicted(self.splits.val)

    def test_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The test pictures, exactly as prediction prepares them."""
        return self._as_predicted(self.splits.test)

    def _as_predicted(self, examples: Examples | None) -> DataLoader[Any] | list[Any]:
        if not examples:
            return []
        size = 1 if self.codec.dense else self.preset.batch_size  # whole images differ in size
        return loader(EncodedExamples(examples, self.codec), size, self.workers)

    def loader(self, examples: EncodedExamples, sampler: Any = None, drop_last: bool = False) -> DataLoader[Any]:
        """A loader with this module's batch size and processes."""
        return loader(examples, self.preset.batch_size, self.workers, sampler, drop_last)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Mix the whole batch on its device, while training only."""
        trainer = self.trainer
        if trainer is None or not trainer.training or not (self.preset.mixup or self.preset.cutmix):
            return batch
        if trainer.current_epoch >= round(self.preset.epochs * (1 - self.preset.mix_off)):
            return batch
        pixels, targets, lost = batch
        seed = int(np.random.default_rng((self.preset.seed, trainer.global_step)).integers(2**62))
        if self.codec.dense:
            return *mixed_masks(pixels, targets, self.preset, seed), lost
        if self.codec.ragged:
            return *mixed_texts(pixels, targets, len(self.codec.labels), self.preset, seed), lost
        return *mixed(pixels, targets, len(self.codec.labels), self.preset, seed), lost


def mixed(pixels: Tensor, targets: Tensor, labels: int, preset: Preset, seed: int) -> tuple[Tensor, Tensor]:
    """A batch in which pictures and labels are mixed (Zhang et al. 2018; Yun et al. 2019): pixels, and label shares.

    Where both mixup and CutMix are on, each batch gets one of them.
    """
    from torchvision.transforms import v2

    kinds = []
    if preset.mixup:
        kinds.append(v2.MixUp(alpha=preset.mixup, num_classes=labels))
    if preset.cutmix:
        kinds.append(v2.CutMix(alpha=preset.cutmix, num_classes=labels))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mix = kinds[int(torch.randint(len(kinds), ()))]
        result: tuple[Tensor, Tensor] = mix(pixels.float(), targets)
    return result


def mixed_masks(pixels: Tensor, targets: Tensor, preset: Preset, seed: int) -> tuple[Tensor, Tensor]:
    """A batch in which a rectangle of each picture, with its mask, is pasted into another one (French et al. 2020).

    CutMix alone makes sense for masks: a mean of two masks is none.
    """
    rng = np.random.default_rng(seed)
    height, width = targets.shape[1:]
    share = math.sqrt(1 - rng.beta(preset.cutmix, preset.cutmix))
    high, wide = round(height * share), round(width * share)
    top, left = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
    place = (..., slice(top, top + high), slice(left, left + wide))
    pixels, targets = pixels.clone(), targets.clone()
    pixels[place], targets[place] = pixels.roll(1, 0)[place], targets.roll(1, 0)[place]
    return pixels, targets


def mixed_texts(tokens: Tensor, targets: Tensor, labels: int, preset: Preset, seed: int) -> tuple[Any, Tensor]:
    """A batch whose network mixes the embeddings of pairs of texts (Guo et al. 2019): (tokens, order, share), shares.

    Text number i becomes the mean of itself, with weight `share`, and of text number `order[i]`.
    """
    rng = np.random.default_rng(seed)
    share = float(rng.beta(preset.mixup, preset.mixup))
    order = torch.from_numpy(rng.permutation(len(tokens))).to(tokens.device)
    shares = targets if targets.is_floating_point() else torch.nn.functional.one_hot(targets, labels).float()
    return (tokens, order, share), share * shares + (1 - share) * shares[order]


def loader(
    examples: EncodedExamples, batch_size: int, workers: int, sampler: Any = None, drop_last: bool = False
) -> DataLoader[Any]:
    """Batches of examples, read by `workers` processes, or by this one if 0."""
    how: dict[str, Any] = {"batch_size": batch_size, "sampler": sampler, "drop_last": drop_last}
    if examples.arrays is not None:
        order = sampler if isinstance(sampler, EpochSampler) else None
        how = {"batch_sampler": LengthBatches(examples.arrays, batch_size, order)}
    return DataLoader(
        examples,
        **how,
        num_workers=workers,
        collate_fn=partial(collate, codec=examples.codec),
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
        worker_init_fn=_leave_signals_to_parent if workers else None,
        multiprocessing_context=_context() if workers else None,
    )


def loader_workers(workers: int, accelerator: str) -> int:
    """How many loader processes to start.

    None on a CPU: processes that decode while the network computes on the same cores only disturb it (36 instead of
    48 images/s were measured on two cores); threads decode each batch between two steps. A GPU computes meanwhile, so
    there one process for each core, at most 16. Outside Linux a new process would run a script without a `__main__`
    guard again, so there, too, threads are the default.
    """
    if workers >= 0:
        return workers
    if training_device(accelerator).type != "cuda" or not sys.platform.startswith("linux"):
        return 0
    return min(cores(), 16)


def training_device(accelerator: str) -> torch.device:
    """The device that training will use, as Lightning chooses it."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _context() -> Any:
    """Forked where possible: it starts at once and does not run a script without a `__main__` guard again."""
    return multiprocessing.get_context("fork" if sys.platform.startswith("linux") else None)


def _leave_signals_to_parent(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
