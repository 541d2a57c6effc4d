"""Whatever people have: each source gives each task the same inputs and targets, and each example of the page runs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import shlex
import shutil
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from recipes.cli import main
from recipes.demo import draw_glasses, draw_messages, draw_scenes, draw_shapes
from recipes.examples import Examples, Splits
from recipes.presets import MASK_PRESETS, NGRAM_PRESETS, PRESETS
from recipes.task import Task

PAGE = Path(__file__).parent.parent / "docs" / "data.md"

SMALL: dict[str, Any] = {"backbone": "test_resnet", "pretrained": False, "size": 32}

# Rounds of n-grams that take half a second.
TEXT_SETTINGS: dict[str, Any] = {"epochs": 1, "find_batch_size": False, "batch_size": 8}

#: The columns of the page's table.
TASKS: dict[str, Task] = {
    "image classifier": ImageClassifier(**SMALL),
    "several labels": ImageClassifier(**SMALL),
    "image regressor": ImageRegressor(**SMALL),
    "segmenter": Segmenter(**SMALL),
    "text classifier": TextClassifier(backbone="ngrams"),
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
        "image classifier": Drawn(folder, ("image", "label"), pictures, names),
        "several labels": Drawn(folder, ("image", "labels"), pictures, several),
        "image regressor": Drawn(folder, ("image", "price"), pictures, numbers),
        "segmenter": Drawn(
            folder,
            ("image", "mask"),
            [f"scenes/images/{one}" for one in scenes],
            [f"scenes/masks/{one}" for one in scenes],
        ),
        "text classifier": Drawn(folder, ("text", "label"), texts, labels),
    }


EVERY = 4  # every fourth example, where a source says which are for validation


def parted(given: Drawn) -> dict[str, Drawn]:
    places = range(len(given.inputs))
    return {
        "train": given.take([place for place in places if place % EVERY]),
        "val": given.take([place for place in places if place % EVERY == 0]),
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
    for kind in ("shapes", "scenes") if given.files else ():
        shutil.copytree(given.folder / kind, folder / "images" / kind, dirs_exist_ok=True)
    flat = not name.endswith(("jsonl", "parquet"))
    path, columns = folder / name, {**given.cells(flat, Path("images")), **more}
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
        found = [] if self.masks else [one for own in self.targets for one in (own if isinstance(own, list) else [own])]
        if all(isinstance(one, str) for one in found):
            self.classes = sorted({*found})

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
    inputs = kind(np.stack(inputs)) if given.files else np.array(inputs)
    if given.masked:
        return inputs, kind(np.stack(targets))
    if isinstance(targets[0], float):
        return inputs, kind(np.array(targets))
    return inputs, targets if isinstance(targets[0], list) else np.array(targets)


def channels_first(values: Any) -> Any:
    found = torch.from_numpy(np.array(values))
    return found.permute(0, 3, 1, 2) if found.ndim == 4 else found


def put_divided(given: Drawn, folder: Path) -> Path:
    for part, own in parted(given).items():
        put_folder(own, folder / part)
    return folder


def listed(given: Drawn) -> tuple[list[Any], ...]:
    return tuple(given.cells(flat=False, at=given.folder).values())


def of_table(name: str) -> Callable[[Drawn, Path], Any]:
    return lambda given, folder: put_table(given, folder, name)


def of_column(column: str, cell: Callable[[int], Any]) -> Callable[[Drawn, Path], Any]:
    return lambda given, folder: put_table(
        given, folder, "data.csv", **{column: [cell(place) for place in range(len(given.inputs))]}
    )


#: What each row of the page's table is for a task, in a folder of its own.
SOURCES: dict[str, Callable[[Drawn, Path], Any]] = {
    "a folder of folders": put_folder,
    "folders by split": put_divided,
    "CSV": of_table("data.csv"),
    "TSV": of_table("data.tsv"),
    "JSONL": of_table("data.jsonl"),
    "Parquet": of_table("data.parquet"),
    "a split column": of_column("split", lambda place: "train" if place % EVERY else "val"),
    "a fold column": of_column("fold", lambda place: EVERY - place % EVERY),
    "pandas": lambda given, _: pd.DataFrame(given.cells(flat=False, at=given.folder)),
    "polars": lambda given, _: pl.DataFrame(given.cells(flat=False, at=given.folder)),
    "two lists": lambda given, _: listed(given),
    "arrays": lambda given, _: arrays(given, np.asarray),
    "tensors": lambda given, _: arrays(given, channels_first),
    "Hugging Face Dataset": lambda given, _: hugging_face_set(given),
    "Hugging Face DatasetDict": lambda given, _: hugging_face.DatasetDict(
        {"train": hugging_face_set(parted(given)["train"]), "validation": hugging_face_set(parted(given)["val"])}
    ),
    "torch Dataset": lambda given, _: Items(given),
    "torchvision ImageFolder": lambda given, folder: ImageFolder(str(put_folder(given, folder))),
    "LightningDataModule": lambda given, _: data_module(given),
    "zip": lambda given, folder: put_archive(given, folder, "zip"),
    "tar": lambda given, folder: put_archive(given, folder, "tar.gz"),
    "a dict by split": lambda given, _: {part: listed(own) for part, own in parted(given).items()},
}

DIVIDED = (
    "folders by split",
    "a split column",
    "a fold column",
    "Hugging Face DatasetDict",
    "LightningDataModule",
    "a dict by split",
)


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
    shown = [one.tobytes() for one in inputs] if given.files else inputs
    if given.masked:
        targets = [one.tobytes() for one in targets]
    return {one: {*target} if isinstance(target, list) else target for one, target in zip(shown, targets, strict=True)}


def read(task: Task, data: Any) -> Splits:
    preset = task.presets["default"]
    task.check(data, preset)
    return task.read(data, None, task.reading(preset))


# -- the table of the page --------------------------------------------------------------------------------------------


def page_table(title: str) -> list[list[str]]:
    """The rows of a table below a heading, its header first, without the line of dashes."""
    section = PAGE.read_text("utf-8").partition(f"\n{title}\n")[2].partition("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("|") and not line.startswith("|--")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def cells() -> dict[tuple[str, str], str]:
    """What the page says of each source and task: `✓`, or a dash with the number of its reason."""
    (_, *tasks), *rows = page_table("## What can be given")
    sources = {re.sub(r"\[(.*)\]\(.*\)", r"\1", source): own for source, *own in rows}
    return {(source, task): cell for source, own in sources.items() for task, cell in zip(tasks, own, strict=True)}


WORK = [pair for pair, cell in cells().items() if cell == "✓"]


def test_every_cell_of_the_table_has_a_test_or_a_reason() -> None:
    found = cells()
    assert {*found} == {(source, task) for source in SOURCES for task in TASKS}
    reasons = PAGE.read_text("utf-8")
    for cell in found.values():
        assert re.fullmatch("✓|–[¹²³]", cell)
        assert cell == "✓" or f"\n{'¹²³'.index(cell[1]) + 1}. " in reasons


@pytest.mark.parametrize(("source", "task"), WORK)
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


@pytest.mark.parametrize("form", ["PIL images", "arrays", "tensors", "bytes", "paths", "bytes in Parquet", "dicts"])
def test_a_picture_in_a_list_or_a_cell_may_be_many_things(form: str, drawn: dict[str, Drawn], tmp_path: Path) -> None:
    given = drawn["image classifier"]
    files = [given.folder / one for one in given.inputs]
    forms: dict[str, Callable[[Path], Any]] = {
        "PIL images": Image.open,
        "arrays": lambda file: np.asarray(Image.open(file)),
        "tensors": lambda file: torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1),
        "paths": lambda file: file,
        "dicts": lambda file: {"bytes": file.read_bytes(), "path": None},
    }
    pictures = [forms.get(form, Path.read_bytes)(file) for file in files]
    data: Any = (pictures, given.targets)
    if form in ("bytes in Parquet", "dicts"):
        data = tmp_path / "data.parquet"
        pl.DataFrame({"image": pictures, "label": given.targets}).write_parquet(data)
    splits = read(TASKS["image classifier"], data)
    assert {**contents(splits.train, None, given), **contents(splits.val, None, given)} == expected(given)


@pytest.mark.parametrize("source", [source for source, task in WORK if task == "image classifier"])
def test_a_source_of_pictures_is_fitted_evaluated_and_predicted(
    source: str, drawn: dict[str, Drawn], tmp_path: Path
) -> None:
    given = drawn["image classifier"]
    data = SOURCES[source](given, tmp_path / "data")
    model = ImageClassifier(**SMALL).fit(data, preset="quick", mirror=False, workers=0, precision="32", quiet=True)
    held_out = parted(given)["val"] if source in DIVIDED else given
    assert model.evaluate(data).examples == len(held_out.inputs)
    inputs = data[0] if isinstance(data, tuple) else data
    if source == "a dict by split":
        inputs = [path for own, _ in data.values() for path in own]
    found = model.predict(inputs)
    assert len(found) == len(given.inputs)
    assert {one.label for one in found} <= {*given.targets}


@pytest.mark.parametrize("source", [source for source, task in WORK if task == "text classifier"])
def test_a_source_of_texts_is_fitted_and_evaluated(source: str, drawn: dict[str, Drawn], tmp_path: Path) -> None:
    given = drawn["text classifier"]
    data = SOURCES[source](given, tmp_path / "data")
    model = TextClassifier(backbone="ngrams").fit(data, **TEXT_SETTINGS, quiet=True)
    held_out = parted(given)["val"] if source in DIVIDED else given
    assert model.evaluate(data).examples == len(held_out.inputs)
    (found,) = model.predict(given.inputs[:1])
    assert found.label in given.targets


# -- the examples of the page -----------------------------------------------------------------------------------------

SHOP = """
from pathlib import Path

import lightning_or_not as pl
from PIL import Image
from torch.utils.data import DataLoader, Dataset

NAMES = ["bird", "cat", "dog"]


class Products(Dataset):
    def __init__(self, folder):
        self.files = sorted(Path(folder).iterdir())

    def __len__(self):
        return len(self.files)

    def __getitem__(self, place):
        file = self.files[place]
        return Image.open(file).convert("RGB"), NAMES.index(file.name.partition("_")[0])


class ProductsData(pl.LightningDataModule):
    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def train_dataloader(self):
        return DataLoader(Products(self.folder), batch_size=2)
""".replace("lightning_or_not", "pytorch_lightning")


def write(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([[*columns], *zip(*columns.values(), strict=True)])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the examples name."""
    home = tmp_path_factory.mktemp("home")
    draw_shapes(home / "drawn", 6, seed=0, size=32)
    names = {"circle": "bird", "cross": "cat", "star": "dog"}
    files = [
        (names[path.parent.name], path) for path in sorted(home.glob("drawn/*/*.png")) if path.parent.name in names
    ]
    files = [file for place in range(6) for file in files[place::6]]  # bird, cat, dog, bird, …
    labels = [label for label, _ in files]
    called = [f"patient_{place // 3:02}_{place}.png" for place in range(len(files))]
    for place, (label, path) in enumerate(files):
        part = "val" if place < 6 else "train"
        for copy in (f"photos/{label}", f"images/{called[place]}", f"divided/{part}/{label}", "with-metadata"):
            target = home / copy if copy.endswith(".png") else home / copy / path.name
            target = home / copy / called[place] if copy == "with-metadata" else target
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        (home / "loose").mkdir(exist_ok=True)
        Image.open(path).save(home / "loose" / f"{label}_{place}.jpg", quality=95)
    draw_tables(home, labels, called)
    draw_shards(home / "shards", files)
    shutil.copy(home / "loose" / "cat_1.jpg", home / "cat.jpg")
    pixels = np.stack([np.asarray(Image.open(path)) for _, path in files])
    places = np.array([sorted({*labels}).index(label) for label in labels])
    np.save(home / "pixels.npy", pixels)
    np.save(home / "labels.npy", places)
    torch.save(channels_first(pixels), home / "pixels.pt")
    torch.save(torch.from_numpy(places), home / "labels.pt")
    shutil.make_archive(str(home / "photos"), "zip", home, "photos")
    draw_shapes(home / "more", 2, seed=1, size=32)
    for old in (home / "more").iterdir():
        old.rename(old.with_name(names[old.name])) if old.name in names else shutil.rmtree(old)
    shutil.make_archive(str(home / "more"), "gztar", home, "more")
    draw_masks(home)
    (home / "shop.py").write_text(SHOP)
    return home


def draw_shards(folder: Path, files: Sequence[tuple[str, Path]]) -> None:
    """Four tars as webdataset has them."""
    folder.mkdir()
    for shard in range(4):
        with tarfile.open(folder / f"train-{shard:03}.tar", "w") as tar:
            for place, (label, path) in list(enumerate(files))[shard::4]:
                tar.add(path, f"{place:03}.png")
                member, content = tarfile.TarInfo(f"{place:03}.json"), json.dumps({"label": label}).encode()
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def draw_tables(home: Path, labels: list[str], called: list[str]) -> None:
    """Tables of pictures and of texts."""
    paths, number = [f"images/{name}" for name in called], len(labels)
    write(home / "pictures.csv", {"image": paths, "label": labels})
    write(home / "with-metadata" / "metadata.csv", {"file_name": called, "label": labels})
    write(home / "folds.csv", {"image": paths, "label": labels, "fold": [place // 3 % 5 for place in range(number)]})
    parts = ["val" if place < 6 else "train" for place in range(number)]
    write(home / "split_pictures.csv", {"image": paths, "label": labels, "split": parts})
    write(home / "animals.csv", {"photo": paths, "species": labels, "image": [*range(number)]})
    tags = [f"{label}|furry" if place % 2 else label for place, label in enumerate(labels)]
    write(home / "tags.csv", {"image": paths, "tags": tags})
    flags = {"furry": [int(label != "bird") for label in labels], "indoors": [place % 2 for place in range(number)]}
    write(home / "flags.csv", {"image": paths, **flags})
    patients = [name[: len("patient_00")] for name in called]
    write(home / "scans.csv", {"image": paths, "label": labels, "patient": patients})
    pl.DataFrame({"image": paths, "kind": labels, "label": [*range(number)]}).write_parquet(home / "pictures.parquet")
    draw_glasses(home / "glasses", 8, seed=0, size=32)
    levels = pl.read_csv(home / "glasses" / "levels.csv")
    levels.write_ndjson(home / "glasses" / "levels.jsonl")
    for seed, file in ((0, "reviews.csv"), (1, "test.csv")):
        draw_messages(home / file, 8, seed)
    reviews = pl.read_csv(home / "reviews.csv")
    reviews.write_csv(home / "reviews.tsv", separator="\t")
    reviews.write_ndjson(home / "reviews.jsonl")
    reviews.write_parquet(home / "reviews.parquet")
    (home / "reviews.json").write_text(json.dumps(reviews.to_dicts()), "utf-8")
    reviews.rename({"label": "target"}).write_csv(home / "autotrain.csv")
    split = ["test" if place % 4 == 0 else "train" for place in range(len(reviews))]
    reviews.with_columns(split=pl.Series(split)).write_csv(home / "split.csv")
    for place, (text, label) in enumerate(reviews.rows()):
        (home / "review-folders" / label).mkdir(parents=True, exist_ok=True)
        (home / "review-folders" / label / f"{place}.txt").write_text(text, "utf-8")


def draw_masks(home: Path) -> None:
    """Scenes with masks in a folder, as a table, and as FiftyOne writes them."""
    draw_scenes(home / "cells", 6, seed=0, size=32)
    names = sorted(path.name for path in (home / "cells" / "images").iterdir())
    pairs = {kind: [f"cells/{kind}s/{name}" for name in names] for kind in ("image", "mask")}
    write(home / "pairs.csv", pairs)
    shutil.copytree(home / "cells" / "images", home / "exported" / "data")
    shutil.copytree(home / "cells" / "masks", home / "exported" / "labels")
    shutil.copy(home / "cells" / "images" / names[0], home / "image.png")


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the examples, default networks that need no download, and presets that take a second."""
    for cls, own in (
        (ImageClassifier, SMALL),
        (ImageRegressor, SMALL),
        (Segmenter, SMALL),
        (TextClassifier, {"backbone": "ngrams"}),
    ):
        options = [item for item in dataclasses.fields(cls) if not item.kw_only]
        monkeypatch.setattr(cls.__init__, "__defaults__", tuple(own.get(one.name, one.default) for one in options))
    quick = {"mirror": False, "workers": 0, "precision": "32"}
    for named in (PRESETS, ImageRegressor.presets):
        monkeypatch.setitem(named, "default", dataclasses.replace(named["quick"], **quick))
    monkeypatch.setitem(MASK_PRESETS, "default", dataclasses.replace(MASK_PRESETS["default"], epochs=1, **quick))
    monkeypatch.setitem(NGRAM_PRESETS, "default", dataclasses.replace(NGRAM_PRESETS["default"], **TEXT_SETTINGS))
    monkeypatch.setattr(hugging_face.config, "HF_DATASETS_CACHE", home / "cache")
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(str(home))
    yield home
    sys.modules.pop("shop", None)


def examples(language: str) -> list[Any]:
    """The blocks of a language on the page, each with the heading it stands below."""
    found, heading, seen = [], "", Counter[str]()
    for match in re.finditer(r"^#+ ([^\n]*)$|^```(\w*)\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        heading = match[1] or heading
        if match[2] == language:
            seen[heading] += 1
            found.append(pytest.param(match[3], id=f"{heading} {seen[heading]}"))
    return found


@pytest.mark.parametrize("example", examples("python"))
@pytest.mark.filterwarnings("default")  # other libraries' own, such as those of pandas and datasets
def test_an_example_of_the_page_runs_alone(example: str, at_home: Path) -> None:
    lines = example.rstrip().splitlines()
    assert 3 <= len(lines) <= 8
    exec(compile(example, "docs/data.md", "exec", dont_inherit=True), {"__name__": "__main__"})


@pytest.mark.parametrize("example", examples("sh"))
def test_the_shell_lines_of_the_page_run(example: str, at_home: Path) -> None:
    for line in example.splitlines():
        command, *words = shlex.split(line)
        assert command == "recipes"
        assert main(words) == 0, line


def test_every_kind_of_finding_is_in_the_table_of_the_check() -> None:
    said = " ".join(cell for cell, *_ in page_table("## recipes check"))
    modules = Path(recipes.__file__).parent.glob("*.py")
    found = [kind for one in modules for kind in re.findall(r'kind="([a-z ]+)"', one.read_text("utf-8"))]
    assert len(found) > 10
    for kind in {*found, "missing", "incomplete", "suffix", "small", "long", "mode"} - {"stable"}:
        assert f"`{kind}`" in said


# -- the tables for those who come from other libraries ---------------------------------------------------------------

FLASH = {
    "ImageClassificationData": "files folders numpy images tensors data_frame csv fiftyone labelstudio datasets",
    "SemanticSegmentationData": "files folders numpy tensors fiftyone",
    "TextClassificationData": "csv json parquet hf_datasets data_frame lists labelstudio",
    "TabularRegressionData": "csv data_frame dicts lists",
}


def calls() -> list[Any]:
    """Every call of `fit` in the last columns of these tables."""
    rows = [row for title in ("### Lightning Flash", "### fastai", LAST) for row in page_table(title)]
    found = [code for row in rows for code in re.findall(r"`([A-Z]\w+\([^`]*\)\.fit\([^`]*\))`", row[-1])]
    return list(dict.fromkeys(found))


LAST = "### Keras, Hugging Face, AutoTrain, Ultralytics"


def test_every_way_that_flash_had_is_in_its_table() -> None:
    said = [row[0] for row in page_table("### Lightning Flash")]
    for name, ways in FLASH.items():
        own = " ".join(cell for cell in said if name in cell)
        for way in ways.split():
            assert f"from_{way}" in own, f"{name}.from_{way}"
    assert len(calls()) > 20


@pytest.mark.parametrize("call", calls())
@pytest.mark.filterwarnings("default")
def test_what_replaces_another_library_is_read(call: str, at_home: Path, drawn: dict[str, Drawn]) -> None:
    scenes, shapes = drawn["segmenter"], drawn["image classifier"]
    array, labels = arrays(shapes, np.asarray)
    mask_input, mask_array = arrays(scenes, np.asarray)
    files = sorted(Path("loose").glob("*.jpg"))
    texts = pl.read_csv("reviews.csv")
    known: dict[str, Any] = {name: getattr(recipes, name) for name in recipes.__all__}
    known |= {
        "files": files,
        "labels": [file.name.partition("_")[0] for file in files],
        "lists": [["furry"] if place % 2 else ["furry", "small"] for place in range(len(files))],
        "numbers": [float(place) for place in range(len(files))],
        "frame": pl.read_csv("animals.csv").select("photo", "species").to_pandas(),
        "number_rows": [{"image": str(file), "price": place} for place, file in enumerate(files)],
        "dataset": hugging_face_set(shapes),
        "texts": texts["text"].to_list(),
        "text_labels": texts["label"].to_list(),
        "text_frame": texts.to_pandas(),
        "text_dataset": hugging_face_set(drawn["text classifier"]),
        "images": [scenes.folder / one for one in scenes.inputs],
        "masks": [scenes.folder / one for one in scenes.targets],
    }
    if "(array, mask_array)" in call or "(tensor, mask_tensor)" in call:
        known |= {"array": mask_input, "mask_array": mask_array}
        known |= {"tensor": channels_first(mask_input), "mask_tensor": torch.from_numpy(np.array(mask_array))}
    elif "array" in call or "tensor" in call or "pictures," in call:
        known |= {"array": array, "tensor": channels_first(array), "labels": labels}
        known |= {"pictures": [Image.fromarray(one) for one in array]}
    made, settings = CALLED.fullmatch(call).groups()  # type: ignore[union-attr]
    task = eval(made, known)
    data, val, changes = eval(f"(lambda data, val=None, **changes: (data, val, changes))({settings})", known)
    preset = dataclasses.replace(task.presets["default"], **changes)
    task.check(data, preset)
    splits = task.read(data, val, task.reading(preset))
    assert splits.train
    assert len(splits.val)


CALLED = re.compile(r"(\w+\(.*?\))\.fit\((.*)\)", re.DOTALL)
