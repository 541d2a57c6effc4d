"""Load examples in batches: what comes depends on (seed, epoch, place) alone, however many processes read."""

from __future__ import annotations

import math
import multiprocessing
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler, get_worker_info

from recipes import ranks
from recipes.codec import Codec, cores
from recipes.errors import DataError, OptionError
from recipes.examples import Examples, Splits, are_numbers
from recipes.names import Names
from recipes.presets import Preset, given_weights
from recipes.texts import by_length, size

if TYPE_CHECKING:
    from numpy.typing import NDArray

Batch = tuple[Tensor, Tensor, list[str]]

# ---------------------------------------------------------------------------------------------------------------------
# Rare labels


def label_weights(examples: Examples, preset: Preset) -> Tensor | None:
    """What each label counts in the loss, shape (labels,); None where all count alike.

    Given weights are as they were given. Balanced ones are 1 on the average example.

    Args:
        examples: those for training.
        preset: its `class_weights` say which.

    Raises:
        OptionError: there are no labels, a name is none of them, or nothing would count.
    """
    if preset.class_weights == "none":
        return None
    _refuse_numbers(examples, "class_weights", preset.class_weights)
    counts = torch.tensor(examples.counts(), dtype=torch.float32)
    if preset.class_weights == "balanced":
        weights = counts.sum() / (len(counts) * counts)
        return weights.where(counts > 0, torch.zeros(()))  # what training never shows cannot be learnt
    weights = torch.tensor(given_weights(preset.class_weights, examples.labels))
    if not weights[counts > 0].any():
        raise OptionError(
            f"class_weights={preset.class_weights!r} leaves out every label; give at least one a number above 0"
        )
    return weights


def _refuse_numbers(examples: Examples, name: str, value: str) -> None:
    if are_numbers(examples):
        raise OptionError(f"{name}={value!r} is for labels, and these examples have numbers; leave it out")


@dataclass(frozen=True)
class Balance:
    """How often examples are drawn so that every label comes equally often.

    An example weighs as the rarest of its labels. One without any belongs to a label of its own, the last.

    Args:
        rarity: examples (of masks: pixels) of each label, shape (labels,).
        rarest: the place of each example's rarest label, the number of labels for none; shape (examples,).
        weights: how often an example with this rarest label is drawn in an epoch, 1 on average; shape (labels + 1,).
    """

    rarity: NDArray[np.int64]
    rarest: NDArray[np.int64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, examples: Examples) -> Balance:
        """How often each of these examples is drawn.

        Raises:
            OptionError: there are no labels.
        """
        _refuse_numbers(examples, "sampler", "balanced")
        rarity, none = np.asarray(examples.counts(), np.int64), len(examples.labels)
        shown = _labels_shown(examples)
        if shown is None:
            rarest = np.asarray(examples.targets, np.int64)
            having = np.append(rarity, 0)
        else:
            rarest = np.array([min(own, key=rarity.__getitem__, default=none) for own in shown], np.int64)
            having = np.bincount([place for own in shown for place in own or (none,)], minlength=none + 1)
        weights = 1 / np.maximum(having, 1) * (having > 0)
        return cls(rarity, rarest, weights * len(rarest) / max(weights[rarest].sum(), 1e-300))

    def rows(self, targets: Tensor) -> Tensor:
        """What each example counts, where it is looked at once instead of drawn; shape (examples,).

        Args:
            targets: places of labels, shape (examples,), or zeros and ones, shape (examples, labels).
        """
        rarest = targets
        if targets.is_floating_point():
            far = torch.iinfo(torch.int64).max
            rarity = torch.from_numpy(self.rarity).expand(targets.shape).where(targets > 0, torch.tensor(far))
            rarest = rarity.argmin(1).where(targets.any(1), torch.tensor(len(self.rarity)))
        return torch.from_numpy(self.weights).float()[rarest]

    def drawn(self, length: int, seed: int, epoch: int, shift: float) -> NDArray[np.int64]:
        """The places of an epoch, label by label.

        Examples with the same rarest label stand in a circle, from which each epoch takes the next stretch. So within
        an epoch each is drawn as often as any other of the circle, or once more; and of a frequent label, other
        examples come in the next epoch. An example that is drawn again has the number of examples added to its place,
        so that it gets a view of its own.

        Args:
            length: how many to draw.
            seed: governs the order in the circles.
            epoch: which stretch to take.
            shift: 0 to 1; which labels get what is left over where the length cannot be shared out evenly.
        """
        number = len(self.rarest)
        order = np.random.default_rng((seed, 0, 0, 1)).permutation(number)
        order = order[np.argsort(self.rarest[order], kind="stable")]
        labels, starts, sizes = np.unique(self.rarest[order], return_index=True, return_counts=True)
        shares = self.weights[labels] * sizes * (length / number)
        # As many of the points shift, 1 + shift, 2 + shift, … as lie below each sum of shares.
        below = np.ceil(np.cumsum(shares).round(6) - shift).astype(np.int64).clip(0, length)
        below[-1] = length
        found = []
        circles = np.split(order, starts[1:])
        for circle, share, count in zip(circles, shares, np.diff(below, prepend=0), strict=True):
            steps = np.arange(count)
            found.append(circle[(int(epoch * share) + steps) % len(circle)] + number * (steps // len(circle)))
        return np.concatenate(found)


def _labels_shown(examples: Examples) -> list[tuple[int, ...]] | None:
    """The places of all labels of each example; None where each has one."""
    if examples.amounts is not None:
        return [tuple(place for place, amount in enumerate(row) if amount) for row in examples.amounts]
    several = any(isinstance(target, tuple) for target in examples.targets[:1])
    return list(examples.targets) if several else None


# ---------------------------------------------------------------------------------------------------------------------
# Batches


class EpochSampler(Sampler[tuple[int, int]]):
    """Shuffled places, each with its epoch: what an example looks like depends on (seed, epoch, place) alone.

    So the number of loader processes changes nothing, and a run that is taken up again sees what it would have seen.

    Args:
        length: how many come in an epoch.
        seed: governs the order, and what is drawn.
        balance: draw examples so that all labels come equally often; without it each comes once.
        lanes: a place p stands where the number of lanes leaves the same rest as it does of p, so that processes that
            share the order, share the lanes of a stream, too.
    """

    def __init__(self, length: int, seed: int, balance: Balance | None = None, lanes: int = 1) -> None:
        self.length, self.seed, self.balance, self.lanes, self.epoch = length, seed, balance, lanes, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, int(place)) for place in self.places(self.epoch))

    def places(self, epoch: int) -> NDArray[np.int64]:
        """What comes in an epoch, in order."""
        rng = np.random.default_rng((self.seed, epoch))
        if self.lanes > 1:
            order = np.arange(self.length)
            for lane in range(self.lanes):
                order[lane :: self.lanes] = rng.permutation(order[lane :: self.lanes])
            return order
        if self.balance is None:
            return rng.permutation(self.length)
        return rng.permutation(self.balance.drawn(self.length, self.seed, epoch, rng.random()))


class EncodedExamples(Dataset[tuple[Any, int, str]]):
    """Examples as the network takes them: as they are, or (with the preset's augmentation) varied for training.

    Args:
        examples: the examples.
        codec: what prepares them.
        preset: its augmentation; none without.
        share: where these are this process's share of a window, how many all have together, and every which one is
            here; places count among all.
    """

    def __init__(
        self, examples: Examples, codec: Codec, preset: Preset | None = None, share: tuple[int, int] | None = None
    ) -> None:
        self.codec, self.preset = codec, preset
        # Of a window that processes share, each has every so many-th: of how many, and every which.
        self.whole, self.every = share or (len(examples), 1)
        # Loader processes get these alone, and in few objects: see `Names`.
        self.inputs, self.targets = _compact(examples.inputs), _compact(examples.targets)
        self.arrays = examples.encoded(codec) if codec.ragged else None

    def __len__(self) -> int:
        return self.whole * (_views(self.codec) if self.preset else 1)

    def __getitems__(self, keys: list[Any]) -> list[tuple[Any, int, str]]:
        """A batch at once: by threads in the training process itself, one after the other in a loader process."""
        if get_worker_info() is not None or self.arrays is not None:
            return [self[key] for key in keys]
        with ThreadPoolExecutor(own_cores(), thread_name_prefix="recipes-reader") as pool:
            return list(pool.map(self.__getitem__, keys))

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Any, int, str]:
        epoch, place = key if isinstance(key, tuple) else (0, key)
        number = place % self.whole // self.every
        source, target = self.inputs[number], self.targets[number]
        if isinstance(target, np.generic):
            target = target.item()
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


def _views(codec: Codec) -> int:
    """Random views of each example in an epoch: one of each picture, several crops of each image with a mask."""
    return getattr(codec, "crops", 1)


def _compact(values: Sequence[Any]) -> Sequence[Any]:
    """The same values in as few Python objects as can be.

    A forked process copies each page of memory in which it counts a reference, so that lists of a million objects
    would be there once for each loader process.
    """
    if isinstance(values, Names):
        return values
    if all(type(value) is str for value in values):
        return Names(values)
    for kind in (int, float):
        if all(type(value) is kind for value in values):
            return np.array(values)  # type: ignore[return-value]
    return values


class LengthBatches(Sampler[list[Any]]):
    """Batches of texts of similar length, bounded by how many numbers they have, in a new order in each epoch.

    Args:
        arrays: the encoded texts.
        batch_size: a batch holds no more than so many texts of average length; of short ones more.
        sampler: the order of an epoch; the texts' own order if not given.
        number: how many batches there are to be; as many as come of it if not given.
    """

    def __init__(
        self, arrays: list[Any], batch_size: int, sampler: EpochSampler | None = None, number: int | None = None
    ) -> None:
        self.sizes, self.batch_size = [size(array) for array in arrays], batch_size
        self.sampler = sampler  # Lightning tells it the epoch
        self.number = number or len(by_length(self._sizes(self._places(0)), batch_size, range(len(arrays))))

    def __len__(self) -> int:
        return self.number

    def __iter__(self) -> Iterator[list[Any]]:
        if self.sampler is None:
            yield from by_length(self.sizes, self.batch_size, range(len(self.sizes)))
            return
        epoch = self.sampler.epoch
        places = self._places(epoch)
        batches = _so_many(self._sizes(places), self.batch_size, self.number)
        for number in np.random.default_rng((self.sampler.seed, epoch, 1)).permutation(len(batches)):
            yield [(epoch, int(places[at])) for at in batches[number]]

    def _places(self, epoch: int) -> NDArray[np.int64]:
        return np.arange(len(self.sizes)) if self.sampler is None else self.sampler.places(epoch)

    def _sizes(self, places: NDArray[np.int64]) -> Any:
        return np.asarray(self.sizes, np.int64)[places % max(len(self.sizes), 1)]


def _so_many(sizes: Sequence[int], batch_size: int, number: int) -> list[list[int]]:
    """Batches by length, so many of them: the schedule counts on the same number in each epoch.

    Where each text comes once there are as many anyway. A balanced epoch has other texts than the one before; then
    batches grow by a few percent, or a large one is halved.
    """
    while len(batches := by_length(sizes, batch_size, range(len(sizes)))) > number:
        batch_size += 1 + batch_size // 30
    while len(batches) < number:
        place = max(range(len(batches)), key=lambda place: len(batches[place]))
        half = len(batches[place]) // 2
        batches[place : place + 1] = [batches[place][:half], batches[place][half:]]
    return batches


class Share(Sampler[list[Any]]):
    """This process's share of each batch: every process goes through the same batches, in the same order.

    Batches come in the same number to all. Where one is too small for all, a share may be empty.

    Args:
        batches: the batches of all processes together.
        rank: the number of this process.
        world: how many processes there are.
    """

    def __init__(self, batches: Sampler[list[Any]] | BatchSampler, rank: int, world: int) -> None:
        self.batches, self.rank, self.world = batches, rank, world
        self.sampler = getattr(batches, "sampler", None)  # Lightning tells it the epoch

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[Any]]:
        return (batch[self.rank :: self.world] for batch in self.batches)


def collate(rows: list[tuple[Any, int, str]], codec: Codec) -> Batch | None:
    """What the network takes of each example as one tensor, the targets, and the names of files that are lost by now.

    Targets are places of labels or numbers, shape (examples,), zeros and ones for each label, shape (examples, labels),
    or masks of places, shape (examples, height, width).
    """
    lost = [str(source) if hasattr(source, "fetch") else source for array, _, source in rows if array is None]
    arrays = [array for array, _, _ in rows if array is not None]
    if not arrays:
        return None if ranks.world() == 1 else (None, None, lost)  # type: ignore[return-value]
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
        if splits.stream is not None:  # others may be fitted on the same splits
            splits = replace(splits, stream=splits.stream.anew())
        self.splits, self.codec, self.preset = splits, codec, preset
        self.workers = loader_workers(preset.workers, preset.accelerator)
        self._stand_in: Batch | None = None
        self._numbers: dict[int, int] = {}
        if preset.sampler == "balanced":
            _refuse_numbers(splits.train, "sampler", preset.sampler)
            if splits.stream is not None:
                raise OptionError(
                    "sampler='balanced' would draw from one window of the stream again and again; take "
                    "class_weights=balanced, which counts the labels of the first window"
                )

    @property
    def views(self) -> int:
        """Random views of the training examples in an epoch."""
        return len(self.splits.train) * _views(self.codec)

    @property
    def class_weights(self) -> Tensor | None:
        """What each label counts in the loss, shape (labels,); None where all count alike."""
        return label_weights(self.splits.train, self.preset)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled, augmented batches; a last one of a single picture is left out, batch norm cannot train on it."""
        if self.splits.stream is not None:
            return self._windowed(self.splits.stream)
        examples = EncodedExamples(self.splits.train, self.codec, self.preset)
        size = self.preset.batch_size
        balance = Balance.of(self.splits.train) if self.preset.sampler == "balanced" else None
        sampler = EpochSampler(len(examples), self.preset.seed, balance)
        return self.loader(examples, sampler, drop_last=len(examples) > size and len(examples) % size == 1)

    def _windowed(self, stream: Any) -> DataLoader[Any]:
        """The batches of a window; Lightning asks for a new loader in each epoch.

        Processes share the lanes of the stream where they can be shared out evenly and an example is seen once: then
        each reads those examples alone that are in its shares of the batches.
        """
        size, whole, trainer = self.preset.batch_size, stream.window_size, self.trainer
        if self.codec.ragged and size not in self._numbers:  # while the first window is there
            self._numbers[size] = len(LengthBatches(self.splits.train.encoded(self.codec), size))
        among = ranks.world() if self._shares and not self.codec.ragged and _views(self.codec) == 1 else 1
        among = among if stream.lanes % among == 0 else 1
        epoch, more = 0, False
        if trainer is not None:  # `current_epoch` is behind where a run is taken up again
            epoch = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
            more = epoch + 1 != trainer.max_epochs
        found = stream.window(epoch, ranks.rank(), among, more)
        self.splits.train = self.splits.train if found is None else found
        share = (whole, 1 if len(self.splits.train) == whole else among)
        examples = EncodedExamples(self.splits.train, self.codec, self.preset, share)
        lanes = stream.lanes if len(examples) == whole else 1
        sampler = EpochSampler(len(examples), self.preset.seed, lanes=lanes)
        drop_last = len(examples) > size and len(examples) % size == 1
        return self.loader(examples, sampler, drop_last, self._numbers.get(size))

    def state_dict(self) -> dict[str, Any]:
        """Where the next window of a stream begins, as far as any process has read it."""
        if self.splits.stream is None:
            return {}
        states = ranks.gathered(self.splits.stream.state())
        lanes = [max(places) for places in zip(*(state["lanes"] for state in states), strict=True)]
        return {**states[0], "lanes": lanes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Begin there."""
        self.splits.stream.go_on(**state_dict)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The validation pictures, exactly as prediction prepares them."""
        return self._as_predicted(self.splits.val)

    def test_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The test pictures, exactly as prediction prepares them."""
        return self._as_predicted(self.splits.test)

    def _as_predicted(self, examples: Examples | None) -> DataLoader[Any] | list[Any]:
        if not examples:
            return []
        size = self.preset.batch_size
        if self.codec.dense:  # whole images differ in size
            size = ranks.world() if self._shares else 1
        return loader(EncodedExamples(examples, self.codec), size, self.workers, shares=self._shares)

    def loader(
        self, examples: EncodedExamples, sampler: Any = None, drop_last: bool = False, number: int | None = None
    ) -> DataLoader[Any]:
        """A loader with this module's batch size and processes."""
        return loader(examples, self.preset.batch_size, self.workers, sampler, drop_last, self._shares, number)

    @property
    def _shares(self) -> bool:
        """Whether batches are shared out here: in training on several devices, unless Lightning is told to do it."""
        trainer = self.trainer
        return (
            trainer is not None
            and trainer.world_size > 1
            and not trainer._accelerator_connector.use_distributed_sampler
        )

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Mix the whole batch on its device, while training only; an empty share becomes a batch of nothing.

        All processes mix alike; each mixes the pairs that it has.
        """
        if batch[0] is None:
            return self._batch_of_nothing(batch[2], dataloader_idx)
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

    def _batch_of_nothing(self, lost: list[str], dataloader_idx: int) -> Batch:
        """An input without a target: a process with nothing to do in a step goes through the network with the others.

        Raises:
            DataError: no training example can be read any more.
        """
        if self._stand_in is None:
            examples = EncodedExamples(self.splits.train, self.codec, self.preset)
            rows = (examples[0, place] for place in range(len(examples)))
            row = next((row for row in rows if row[0] is not None), None)
            if row is None:
                raise DataError("none of the training examples can be read any more")
            self._stand_in = collate([row], self.codec)
        assert self._stand_in is not None
        assert self.trainer is not None
        inputs, targets, _ = self._stand_in
        device = self.trainer.strategy.root_device
        inputs, targets, _ = self.on_after_batch_transfer((inputs.to(device), targets.to(device), []), dataloader_idx)
        return inputs, targets[:0], lost


def mixed(pixels: Tensor, targets: Tensor, labels: int, preset: Preset, seed: int) -> tuple[Tensor, Tensor]:
    """A batch in which pictures and labels are mixed (Zhang et al. 2018; Yun et al. 2019): pixels, and label shares.

    Numbers, shape (pictures,), are mixed as the pictures are: a third of one is a third of its number.
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
        numbers = targets.is_floating_point() and targets.ndim == 1
        pixels, mixed_targets = mix(pixels.float(), targets[:, None] if numbers else targets)
    return pixels, mixed_targets[:, 0] if numbers else mixed_targets


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
    examples: EncodedExamples,
    batch_size: int,
    workers: int,
    sampler: Any = None,
    drop_last: bool = False,
    shares: bool = False,
    number: int | None = None,
) -> DataLoader[Any]:
    """Batches of examples, read by `workers` processes, or by this one if 0; or this process's share of each."""
    how: dict[str, Any] = {"batch_size": batch_size, "sampler": sampler, "drop_last": drop_last}
    if examples.arrays is not None:
        order = sampler if isinstance(sampler, EpochSampler) else None
        how = {"batch_sampler": LengthBatches(examples.arrays, batch_size, order, number)}
    if shares:
        whole = BatchSampler(SequentialSampler(examples) if sampler is None else sampler, batch_size, drop_last)
        how = {"batch_sampler": Share(how.get("batch_sampler", whole), ranks.rank(), ranks.world())}
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
    return min(own_cores(), 16)


def own_cores() -> int:
    """How many processors are there for this process, where others of the run are on the same machine."""
    return max(cores() // ranks.here().local_world, 1)


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
