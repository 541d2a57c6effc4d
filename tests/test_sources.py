"""Whatever people have: each source gives each task the same inputs and targets, and each example of the page runs."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets as hugging_face
import numpy as np
import pandas as pd
import polars as pl
import pytest
import pytorch_lightning as lightning
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder

import recipes
from recipes import ImageClassifier, ImageRegressor, Segmenter, TextClassifier, images
from recipes.demo import draw_messages, draw_scenes, draw_shapes
from recipes.examples import Examples, Splits
from recipes.task import Task

PAGE = Path(__file__).parent.parent / "docs" / "data.md"

SMALL: dict[str, Any] = {"backbone": "test_resnet", "pretrained": False, "size": 32}

TASKS: dict[str, Task] = {
    "image-classifier": ImageClassifier(**SMALL),
    "several labels": ImageClassifier(**SMALL),
    "image-regressor": ImageRegressor(**SMALL),
    "segmenter": Segmenter(**SMALL),
    "text-classifier": TextClassifier(backbone="ngrams"),
}


# -- what is given ----------------------------------------------------------------------------------------------------


@dataclass
class Drawn:
    """The examples of a task: files or texts, and what belongs to each.

    Args:
        folder: where the files lie.
        columns: what a table calls inputs and targets.
        inputs: the names of files below the folder, or texts.
        targets: labels, lists of labels, numbers, or the names of masks.
    """

    folder: Path
    columns: tuple[str, str]
    inputs: list[str]
    targets: list[Any]

    @property
    def files(self) -> bool:
        return self.columns[0] == "image"

    @property
    def masked(self) -> bool:
        return self.columns[1] == "mask"

    def take(self, places: Sequence[int]) -> Drawn:
        return Drawn(self.folder, self.columns, *([own[place] for place in places] for own in self.lists()))

    def lists(self) -> tuple[list[Any], list[Any]]:
        return self.inputs, self.targets

    def cells(self, flat: bool, at: Path | None = None) -> dict[str, list[Any]]:
        """The columns of a table; flat, as text has them, or with lists as they are; paths below a folder."""
        paths = [str((at or Path()) / one) for one in self.inputs] if self.files else self.inputs
        targets = [str((at or Path()) / one) for one in self.targets] if self.masked else self.targets
        if flat:
            targets = ["|".join(one) if isinstance(one, list) else one for one in targets]
        return dict(zip(self.columns, (paths, targets), strict=True))

    def opened(self) -> tuple[list[Any], list[Any]]:
        """Inputs and targets with pictures and masks as arrays."""
        inputs = [np.asarray(Image.open(self.folder / one)) for one in self.inputs] if self.files else self.inputs
        targets = [np.asarray(Image.open(self.folder / one)) for one in self.targets] if self.masked else self.targets
        return list(inputs), list(targets)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Drawn]:
    """A few examples for each task; all pictures and texts differ."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_shapes(folder / "shapes", 4, seed=0, size=32)
    draw_scenes(folder / "scenes", 8, seed=0, size=32)
    draw_messages(folder / "messages.csv", 4, seed=0)
    pictures = [str(path.relative_to(folder)) for path in sorted((folder / "shapes").rglob("*.png"))][:12]
    names = [Path(name).parent.name for name in pictures]
    several = [[name, "odd"] if place % 2 else [name] for place, name in enumerate(names)]
    numbers = [place // 4 + 0.5 for place in range(12)]
    scenes = sorted(path.name for path in (folder / "scenes" / "images").iterdir())
    with open(folder / "messages.csv", encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["label"])  # as folders are
    texts, labels = [row["text"] for row in rows], [row["label"] for row in rows]
    return {
        "image-classifier": Drawn(folder, ("image", "label"), pictures, names),
        "several labels": Drawn(folder, ("image", "labels"), pictures, several),
        "image-regressor": Drawn(folder, ("image", "price"), pictures, numbers),
        "segmenter": Drawn(
            folder, ("image", "mask"), [f"scenes/images/{one}" for one in scenes], [f"scenes/masks/{one}" for one in scenes]
        ),
        "text-classifier": Drawn(folder, ("text", "label"), texts, labels),
    }


HELD_OUT = 4  # every fourth example, where a source says which are for validation


def parted(given: Drawn) -> dict[str, Drawn]:
    places = range(len(given.inputs))
    return {
        "train": given.take([place for place in places if place % HELD_OUT]),
        "val": given.take([place for place in places if place % HELD_OUT == 0]),
    }


def put_folder(given: Drawn, folder: Path) -> Path:
    """Files in a folder for each label, or images and masks in two folders."""
    for place, (one, target) in enumerate(zip(*given.lists(), strict=True)):
        if given.masked:
            pairs = {f"images/{Path(one).name}": one, f"masks/{Path(target).name}": target}
        else:
            pairs = {f"{target}/{place:03}{Path(one).suffix if given.files else '.txt'}": one}
        for name, source in pairs.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if given.files:
                shutil.copy(given.folder / source, folder / name)
            else:
                (folder / name).write_text(source, "utf-8")
    return folder


def put_table(given: Drawn, folder: Path, name: str, **more: list[Any]) -> Path:
    """A table beside the files it names."""
    folder.mkdir(parents=True, exist_ok=True)
    if given.files:
        for kind in ("shapes", "scenes"):
            shutil.copytree(given.folder / kind, folder / kind, dirs_exist_ok=True)
    path, columns = folder / name, {**given.cells(flat=not name.endswith(("jsonl", "parquet"))), **more}
    rows = list(zip(*columns.values(), strict=True))
    if name.endswith(".jsonl"):
        lines = [json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in rows]
        path.write_text("\n".join(lines), "utf-8")
    elif name.endswith(".parquet"):
        pl.DataFrame(columns).write_parquet(path)
    else:
        with open(path, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter="\t" if name.endswith(".tsv") else ",").writerows([[*columns], *rows])
    return path


def put_archive(given: Drawn, folder: Path, kind: str) -> Path:
    """A folder, or where that cannot say it a table with its files, packed."""
    inside = folder / "inside"
    several = isinstance(given.targets[0], list)
    put_table(given, inside, "train.csv") if several else put_folder(given, inside)
    path = folder / f"data.{kind}"
    files = sorted(one for one in inside.rglob("*") if one.is_file())
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            for one in files:
                packed.write(one, one.relative_to(inside))
    else:
        with tarfile.open(path, "w:gz") as packed:
            for one in files:
                packed.add(one, one.relative_to(inside))
    shutil.rmtree(inside)
    return path


class Items(Dataset[Any]):
    """A data set of torch as people write it: pairs of a PIL image, or a text, and a label."""

    def __init__(self, given: Drawn) -> None:
        self.inputs, self.targets = given.opened()
        self.pictures, self.masks = given.files, given.masked
        found = {one for target in self.targets for one in (target if isinstance(target, list) else [target])} if (
            not self.masks
        ) else set()
        if all(isinstance(one, str) for one in found):
            self.classes = sorted(found)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, place: int) -> Any:
        one, target = self.inputs[place], self.targets[place]
        one = Image.fromarray(one) if self.pictures else one
        if self.masks:
            return one, Image.fromarray(target)
        if isinstance(target, list):
            return one, torch.tensor([float(name in target) for name in self.classes])
        return one, self.classes.index(target) if isinstance(target, str) else target


def data_module(given: Drawn) -> Any:
    class Module(lightning.LightningDataModule):
        def setup(self, stage: str) -> None:
            self.parts = {part: Items(own) for part, own in parted(given).items()}

        def train_dataloader(self) -> Any:
            return DataLoader(self.parts["train"], batch_size=2, shuffle=True)

        def val_dataloader(self) -> Any:
            return DataLoader(self.parts["val"], batch_size=2)

    return Module()


def hugging_face_set(given: Drawn) -> Any:
    cells = given.cells(flat=False, at=given.folder)
    one, target = given.columns
    kinds: dict[str, Any] = {one: hugging_face.Image() if given.files else hugging_face.Value("string")}
    first = given.targets[0]
    if given.masked:
        kinds[target] = hugging_face.Image()
    elif isinstance(first, float):
        kinds[target] = hugging_face.Value("float64")
    else:
        names = sorted({name for own in given.targets for name in (own if isinstance(own, list) else [own])})
        label = hugging_face.ClassLabel(names=names)
        kinds[target] = hugging_face.Sequence(label) if isinstance(first, list) else label
        places = [
            [names.index(name) for name in own] if isinstance(own, list) else names.index(own) for own in given.targets
        ]
        cells[target] = places
    return hugging_face.Dataset.from_dict(cells, features=hugging_face.Features(kinds))


def arrays(given: Drawn, kind: Callable[[Any], Any]) -> Any:
    inputs, targets = given.opened()
    if given.files:
        inputs = kind(np.stack(inputs))
    else:
        inputs = np.array(inputs)
    if given.masked:
        return inputs, kind(np.stack(targets))
    if isinstance(targets[0], float):
        return inputs, kind(np.array(targets))
    return inputs, targets if isinstance(targets[0], list) else np.array(targets)


def channels_first(values: Any) -> Any:
    found = torch.from_numpy(np.array(values))
    return found.permute(0, 3, 1, 2) if found.ndim == 4 else found


#: What each source of the page is for a task, in a folder of its own.
SOURCES: dict[str, Callable[[Drawn, Path], Any]] = {
    "folder": put_folder,
    "split folders": lambda given, folder: [put_folder(own, folder / part) for part, own in parted(given).items()] and folder,
    "CSV": lambda given, folder: put_table(given, folder, "data.csv"),
    "TSV": lambda given, folder: put_table(given, folder, "data.tsv"),
    "JSONL": lambda given, folder: put_table(given, folder, "data.jsonl"),
    "Parquet": lambda given, folder: put_table(given, folder, "data.parquet"),
    "split column": lambda given, folder: put_table(
        given, folder, "data.csv", split=["train" if place % HELD_OUT else "val" for place in range(len(given.inputs))]
    ),
    "fold column": lambda given, folder: put_table(
        given, folder, "data.csv", fold=[HELD_OUT - place % HELD_OUT for place in range(len(given.inputs))]
    ),
    "pandas": lambda given, _: pd.DataFrame(given.cells(flat=False, at=given.folder)),
    "polars": lambda given, _: pl.DataFrame(given.cells(flat=False, at=given.folder)),
    "two lists": lambda given, _: tuple(given.cells(flat=False, at=given.folder).values()),
    "arrays": lambda given, _: arrays(given, np.asarray),
    "tensors": lambda given, _: arrays(given, channels_first),
    "Dataset": lambda given, _: hugging_face_set(given),
    "DatasetDict": lambda given, _: hugging_face.DatasetDict(
        {{"val": "validation"}.get(part, part): hugging_face_set(own) for part, own in parted(given).items()}
    ),
    "torch Dataset": lambda given, _: Items(given),
    "ImageFolder": lambda given, folder: ImageFolder(str(put_folder(given, folder))),
    "LightningDataModule": lambda given, _: data_module(given),
    "zip": lambda given, folder: put_archive(given, folder, "zip"),
    "tar": lambda given, folder: put_archive(given, folder, "tar.gz"),
    "dict by split": lambda given, _: {
        part: tuple(own.cells(flat=False, at=own.folder).values()) for part, own in parted(given).items()
    },
}

DIVIDED = ("split folders", "split column", "fold column", "DatasetDict", "LightningDataModule", "dict by split")


def said(source: Any, pictures: bool) -> Any:
    """What an input shows: its text, or its pixels."""
    if not pictures:
        return source
    with images.opened(source) as picture:
        return np.asarray(images.as_rgb(picture)).tobytes()


def contents(found: Examples, code: Any, given: Drawn) -> dict[Any, Any]:
    """Each input with its target as a person would say it."""
    pairs = {}
    for source, target in zip(found.inputs, found.targets, strict=True):
        if given.masked:
            own: Any = code.read(target, images.size_of(source)).tobytes()
        elif isinstance(target, tuple):
            own = {found.labels[place] for place in target}
        else:
            own = target if isinstance(target, float) else found.labels[target]
        pairs[said(source, given.files)] = own
    return pairs


def expected(given: Drawn) -> dict[Any, Any]:
    inputs, targets = given.opened()
    return {
        one.tobytes() if given.files else one: target.tobytes()
        if given.masked
        else {*target}
        if isinstance(target, list)
        else target
        for one, target in zip(inputs, targets, strict=True)
    }


def read(task: Task, data: Any) -> Splits:
    preset = task.presets["default"]
    task.check(data, preset)
    return task.read(data, None, task.reading(preset))


def cells() -> list[tuple[str, str]]:
    return [(source, task) for source in SOURCES for task in TASKS]


@pytest.mark.parametrize(("source", "task"), cells())
def test_a_source_gives_a_task_the_same_inputs_and_targets(
    source: str, task: str, drawn: dict[str, Drawn], tmp_path: Path
) -> None:
    given = drawn[task]
    splits = read(TASKS[task], SOURCES[source](given, tmp_path / "data"))
    assert len(splits.train) + len(splits.val) == len(given.inputs), splits.notes
    train, val = (contents(part, splits.code, given) for part in (splits.train, splits.val))
    assert {**train, **val} == expected(given)
    alone = read(TASKS[task], SOURCES["two lists"](given, tmp_path))
    held_out = expected(parted(given)["val"]) if source in DIVIDED else contents(alone.val, alone.code, given)
    assert val.keys() == held_out.keys()
