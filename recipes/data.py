"""From a folder to batches: find the examples, split them, and load them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from recipes import images
from recipes.codec import Codec, cores
from recipes.display import console, counted, listed, printable, say
from recipes.errors import DataError, did_you_mean
from recipes.presets import Preset

# What people call the three splits.
_SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}

Batch = tuple[Tensor, Tensor, list[str]]


@dataclass
class Examples:
    """Inputs with their targets, and the labels that the targets are places of.

    Args:
        inputs: paths of the pictures.
        targets: for each input the place of its label in `labels`.
        labels: the labels' names, sorted.
    """

    inputs: list[str]
    targets: list[int]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, places: Sequence[int]) -> Examples:
        """The examples at these places, in this order."""
        return Examples(
            [self.inputs[place] for place in places], [self.targets[place] for place in places], self.labels
        )

    def counts(self) -> list[int]:
        """How many examples each label has."""
        found = Counter(self.targets)
        return [found[place] for place in range(len(self.labels))]


@dataclass
class Splits:
    """The examples for training, for validation and perhaps for testing, and what the reader noticed on the way."""

    train: Examples
    val: Examples
    test: Examples | None = None
    notes: list[str] = field(default_factory=list)
    root: str = ""

    def record(self) -> dict[str, list[str]]:
        """Which file was in which split, by name below the data's folder where it lies there."""

        def name(path: str) -> str:
            return os.path.relpath(path, self.root) if path.startswith(os.path.join(self.root, "")) else path

        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {part: [name(path) for path in found.inputs] for part, found in parts.items() if found is not None}


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read_picture_folders(data: Any, val: Any, fraction: float, seed: int) -> Splits:
    """Pictures in a folder for each label, or in `train/` and `val/` (and perhaps `test/`) folders of such folders.

    Args:
        data: the folder.
        val: a folder of the same form for validation, or None to find or split one.
        fraction: the share of each label's pictures to set aside for validation where there is no folder for it.
        seed: governs which ones.

    Raises:
        DataError: the folder does not exist or does not hold two labels with pictures.
    """
    root = _folder(data)
    parts = split_folders(root)
    notes: list[str] = []
    train = read_labelled(parts.get("train", root), notes=notes, every_label=True)
    if val is None and "val" in parts:
        val = parts["val"]
    test = read_labelled(parts["test"], train.labels, notes) if "test" in parts else None
    if val is not None:
        return Splits(train, read_labelled(_folder(val), train.labels, notes), test, notes, root)
    kept, held_out = stratified_split(train.targets, fraction, seed)
    return Splits(train.take(kept), train.take(held_out), test, notes, root)


def read_held_out(data: Any, labels: tuple[str, ...]) -> Examples:
    """The examples of a labelled folder; of one that holds splits those of `test/`, or `val/` where there is no test.

    Raises:
        DataError: the folder cannot be used, or has a label that is not among `labels`.
    """
    root = _folder(data)
    parts = split_folders(root)
    folder = parts.get("test") or parts.get("val") or root
    notes: list[str] = []
    examples = read_labelled(folder, labels, notes)
    if folder != root:
        say(f"note: evaluating on {printable(folder)}")
    for note in notes:
        say(f"note: {note}")
    return examples


def split_folders(root: str) -> dict[str, str]:
    """The folders of the splits by name (train, val, test), or nothing if the folder is not divided into splits."""
    folders = {entry.name.lower(): entry.path for entry in _subfolders(root)}
    found = {part: folders[name] for part, names in _SPLITS.items() for name in names if name in folders}
    # A label may be called "train"; only beside another split, or all alone, is it the training set.
    if "train" in found and (len(found) > 1 or len(folders) == 1) and _subfolders(found["train"]):
        return found
    return {}


def read_labelled(
    folder: str, labels: tuple[str, ...] | None = None, notes: list[str] | None = None, every_label: bool = False
) -> Examples:
    """The readable pictures of a folder that has a folder for each label.

    Args:
        folder: holds the labels' folders; each is searched to any depth.
        labels: the labels there may be, as the model knows them; None takes the folders' names.
        notes: gets a line for everything that was left out.
        every_label: whether two labels or more must be there.

    Raises:
        DataError: there are no labelled pictures, a label is unknown, or most pictures cannot be read.
    """
    notes = [] if notes is None else notes
    found: dict[str, list[str]] = {}
    others: list[str] = []
    for entry in _subfolders(folder):
        pictures, rest = images.pictures_in(entry.path)
        others += rest
        found[entry.name] = pictures
    names = _checked_labels(folder, found, labels, every_label, notes)
    inputs = [picture for name in found for picture in found[name]]
    targets = [names.index(name) for name in found for _ in found[name]]
    loose = [entry.path for entry in os.scandir(folder) if entry.is_file() and not images.ignored(entry.name)]
    if loose := [path for path in loose if images.looks_like_picture(path)]:
        notes.append(f"left out {counted(len(loose), 'picture')} without a label, directly in {printable(folder)}")
    if others:
        notes.append(f"left out {images.left_out(others)}")
    examples = _without_unreadable(Examples(inputs, targets, names), notes)
    if every_label and len(labelled := {*examples.targets}) < len(names):
        lost = [name for place, name in enumerate(names) if place not in labelled]
        raise DataError(f"no picture of {listed(lost)} in {printable(folder)} can be read")
    return examples


def _checked_labels(
    folder: str, found: dict[str, list[str]], labels: tuple[str, ...] | None, every_label: bool, notes: list[str]
) -> tuple[str, ...]:
    """The labels in order; refuses folders that cannot be meant."""
    where = printable(folder)
    if not any(found.values()):
        raise DataError(f"{where} {_what_instead(folder)}")
    empty = [name for name in found if not found[name]]
    if empty:
        notes.append(f"left out {counted(len(empty), 'empty folder')}: {listed(empty)}")
        for name in empty:
            del found[name]
    if labels is not None:
        if unknown := [name for name in found if name not in labels]:
            raise DataError(
                f"{where} has {counted(len(unknown), 'label')} that the training set does not have: {listed(unknown)}"
                f"{did_you_mean(unknown[0], labels)} (labels: {listed(labels, 12)})"
            )
        return labels
    names = tuple(sorted(found))
    if every_label and len(names) < 2:
        inside = [entry.name for entry in _subfolders(os.path.join(folder, names[0]))]
        hint = f"; did you mean {printable(os.path.join(folder, names[0]))}?" if len(inside) > 1 else ""
        raise DataError(f"{where} holds one label only, {printable(names[0])}; two or more are needed{hint}")
    folded = Counter(name.casefold() for name in names)
    if twins := [name for name in names if folded[name.casefold()] > 1]:
        notes.append(
            f"labels that differ only in case are kept apart: {listed(twins, 6)}; put them together if they are one"
        )
    return names


def _what_instead(folder: str) -> str:
    """Why a folder has no labelled pictures, and what to do."""
    pictures, others = images.pictures_in(folder)
    layout = "put each label's pictures in a folder of its own, as in photos/cat/1.jpg"
    if pictures:
        return f"holds {counted(len(pictures), 'picture')} but no folders for labels; {layout}"
    return f"holds no pictures (found {images.left_out(others) if others else 'nothing'}); {layout}"


def _without_unreadable(examples: Examples, notes: list[str]) -> Examples:
    """The examples whose files can be decoded, all of them tried; a few lost ones are named, too many are an error."""
    reasons = _tried(examples.inputs)
    bad = [place for place, reason in enumerate(reasons) if reason]
    if not bad:
        return examples
    named = [f"{examples.inputs[place]} {reasons[place]}" for place in bad]
    summary = f"{counted(len(bad), 'unreadable picture')} of {len(examples):,}: {listed(named)}"
    if 2 * len(bad) > len(examples):
        raise DataError(f"most pictures cannot be read, {summary}")
    notes.append(f"left out {summary}")
    return examples.take([place for place, reason in enumerate(reasons) if not reason])


def _tried(paths: list[str]) -> list[str | None]:
    from rich.progress import track

    with ThreadPoolExecutor(cores()) as pool:
        tried = pool.map(images.readable, paths, chunksize=16)
        if len(paths) < 2000:
            return list(tried)
        return list(track(tried, "checking pictures", len(paths), console=console(), transient=True))


def stratified_split(targets: Sequence[int], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Places to keep and to hold out: the same share of every label, at least one where it has two or more."""
    rng = np.random.default_rng(seed)
    held_out: list[int] = []
    for label in range(max(targets, default=-1) + 1):
        places = np.flatnonzero(np.asarray(targets) == label)
        number = min(max(round(fraction * len(places)), 1), len(places) - 1)
        held_out += rng.permutation(places)[: max(number, 0)].tolist()
    apart = set(held_out)
    return [place for place in range(len(targets)) if place not in apart], sorted(held_out)


def _folder(data: Any) -> str:
    if not isinstance(data, (str, os.PathLike)):
        raise DataError(f"expected a folder of pictures, found {type(data).__name__}")
    path = os.path.expanduser(os.fspath(data))
    if os.path.isdir(path):
        return path
    if os.path.exists(path):
        raise DataError(f"{printable(path)} is a file; give the folder that holds a folder for each label")
    beside = Path(path).absolute()
    near = did_you_mean(beside.name, _folder_names(beside.parent), most=1)
    raise DataError(f"{printable(path)} does not exist{near}")


def _folder_names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in _subfolders(os.fspath(folder))]
    except DataError:
        return []


def _subfolders(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if entry.is_dir() and not images.ignored(entry.name)]
    except OSError as error:
        raise DataError(f"{printable(folder)} cannot be read ({error.strerror})") from error
    return sorted(entries, key=lambda entry: entry.name)


# ---------------------------------------------------------------------------------------------------------------------
# Loading


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

    def __len__(self) -> int:
        return len(self.examples)

    def __getitems__(self, keys: list[Any]) -> list[tuple[Any, int, str]]:
        """A batch at once: by threads in the training process itself, one after the other in a loader process."""
        if get_worker_info() is not None:
            return [self[key] for key in keys]
        with ThreadPoolExecutor(cores(), thread_name_prefix="recipes-reader") as pool:
            return list(pool.map(self.__getitem__, keys))

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Any, int, str]:
        epoch, place = key if isinstance(key, tuple) else (0, key)
        source, target = self.examples.inputs[place], self.examples.targets[place]
        try:
            if self.preset is None:
                return self.codec.encode(source), target, source
            rng = np.random.default_rng((self.preset.seed, epoch, place))
            return self.codec.encode(source, self.preset.augment, rng), target, source
        except DataError:  # it was readable when training began; the run goes on and names it at the end
            return None, target, source


def collate(rows: list[tuple[Any, int, str]]) -> Batch | None:
    """Pixels (pictures, 3, height, width) as uint8, targets, and the names of files that could not be read any more."""
    lost = [source for array, _, source in rows if array is None]
    arrays = [array for array, _, _ in rows if array is not None]
    if not arrays:
        return None
    pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)  # stays channels-last in memory
    return pixels, torch.tensor([target for array, target, _ in rows if array is not None]), lost


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

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled, augmented batches; a last one of a single picture is left out, batch norm cannot train on it."""
        examples = EncodedExamples(self.splits.train, self.codec, self.preset)
        size = self.preset.batch_size
        sampler = EpochSampler(len(examples), self.preset.seed)
        return self.loader(examples, sampler, drop_last=len(examples) > size and len(examples) % size == 1)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The validation pictures, exactly as prediction prepares them."""
        return self.loader(EncodedExamples(self.splits.val, self.codec)) if len(self.splits.val) else []

    def test_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The test pictures, exactly as prediction prepares them."""
        return self.loader(EncodedExamples(self.splits.test, self.codec)) if self.splits.test else []

    def loader(self, examples: EncodedExamples, sampler: Any = None, drop_last: bool = False) -> DataLoader[Any]:
        """A loader with this module's batch size and processes."""
        return loader(examples, self.preset.batch_size, self.workers, sampler, drop_last)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Mix the whole batch on its device, while training only."""
        trainer = self.trainer
        if trainer is None or not trainer.training or not (self.preset.mixup or self.preset.cutmix):
            return batch
        pixels, targets, lost = batch
        seed = int(np.random.default_rng((self.preset.seed, trainer.global_step)).integers(2**62))
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


def loader(
    examples: EncodedExamples, batch_size: int, workers: int, sampler: Any = None, drop_last: bool = False
) -> DataLoader[Any]:
    """Batches of examples, read by `workers` processes, or by this one if 0."""
    return DataLoader(
        examples,
        batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        drop_last=drop_last,
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
