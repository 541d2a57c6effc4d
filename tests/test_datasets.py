"""Data sets of torch, torchvision, Lightning and Hugging Face: what becomes of them, and what is not read for it."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import COLOURS, draw_picture, draw_pictures
from PIL import Image
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    random_split,
)
from torchvision import datasets as vision
from torchvision.transforms import v2

from recipes.datasets import Item, split_sources, table_of
from recipes.errors import DataError
from recipes.images import size_of
from recipes.looks import look
from recipes.tables import Table, read_table

NAMES = tuple(COLOURS)


class Drawn(Dataset[Any]):
    """A data set of somebody's own: items are made by a function, and which were asked for is known."""

    def __init__(self, item: Callable[[int], Any], number: int = 6, **attributes: Any) -> None:
        self.item, self.number, self.asked = item, number, list[int]()
        vars(self).update(attributes)

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, place: int) -> Any:
        if not 0 <= place < self.number:
            raise IndexError(place)
        self.asked.append(place)
        return self.item(place)


def drawn(place: int) -> Image.Image:
    return draw_picture(COLOURS[NAMES[place % 3]], place, (20, 10))


def table(data: Any) -> Table:
    found = table_of(data)
    assert found is not None
    return found


def encoded(place: int) -> bytes:
    buffer = io.BytesIO()
    drawn(place).save(buffer, "png")
    return buffer.getvalue()


# -- what is none of these --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", ["a", b"a", [1], (1, 2), {"a": [1]}, range(3), np.zeros((2, 3)), torch.zeros(2, 3), Path("a"), 3, None]
)
def test_other_things_are_no_data_sets(data: Any) -> None:
    assert table_of(data) is None
    assert split_sources(data) is None


def test_frames_are_no_data_sets() -> None:
    for library in ("pandas", "polars"):
        frame = pytest.importorskip(library).DataFrame({"a": [1, 2]})
        assert table_of(frame) is None
        assert split_sources(frame) is None


def test_nothing_heavy_is_imported_to_find_out() -> None:
    code = """
import sys
from recipes.datasets import split_sources, table_of
class Own:
    def __len__(self): return 2
    def __getitem__(self, place): return "cat.jpg", "cat"
assert split_sources(Own()) is None and table_of(Own()).columns == {"image": ["cat.jpg"] * 2, "label": ["cat"] * 2}
assert table_of({"a": [1]}) is None
print([name for name in ("torch", "torchvision", "datasets", "pytorch_lightning", "pyarrow") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# -- torch ------------------------------------------------------------------------------------------------------------


def test_pairs_of_pictures_and_labels_are_read_for_their_labels_alone() -> None:
    data = Drawn(lambda place: (drawn(place), place % 3), classes=list(NAMES))
    found = table(data)
    assert found.columns["label"] == [NAMES[place % 3] for place in range(6)]
    assert [*found.columns] == ["image", "label"]
    assert found.names == [f"item {place}" for place in range(6)]
    assert [found.row_name(2), len(found), found.name] == ["item 2", 6, "(dataset)"]
    data.asked.clear()
    item = found.columns["image"][4]
    assert data.asked == []
    assert np.array_equal(np.asarray(item.fetch()), np.asarray(drawn(4)))
    assert data.asked == [4]
    assert (str(item), size_of(item)) == ("item 4", (20, 10))


@pytest.mark.parametrize(
    "label", [lambda place: torch.tensor(place % 3), lambda place: np.int64(place % 3), lambda place: NAMES[place % 3]]
)
def test_labels_may_be_tensors_numbers_or_names(label: Callable[[int], Any]) -> None:
    found = table(Drawn(lambda place: (drawn(place), label(place)), classes=list(NAMES)))
    assert found.columns["label"] == [NAMES[place % 3] for place in range(6)]


def test_labels_without_names_stay_as_they_are() -> None:
    assert table(Drawn(lambda place: (drawn(place), place % 2))).columns["label"] == [0, 1, 0, 1, 0, 1]
    assert table(Drawn(lambda place: (drawn(place), place / 2))).columns["label"] == [0, 0.5, 1, 1.5, 2, 2.5]


def test_several_labels_become_lists_of_names_also_from_zeros_and_ones() -> None:
    places = Drawn(lambda place: (drawn(place), [*range(place)]), 3, classes=list(NAMES))
    assert table(places).columns["label"] == [[], ["blue"], ["blue", "green"]]
    flags = Drawn(lambda place: (drawn(place), torch.tensor([place % 2, 0, 1])), 3, classes=list(NAMES))
    assert table(flags).columns["label"] == [["red"], ["blue", "red"], ["red"]]


def test_a_label_that_has_no_name_is_an_error_and_minus_one_is_none() -> None:
    assert table(Drawn(lambda place: (drawn(place), -1), classes=["a"])).columns["label"] == [None] * 6
    with pytest.raises(DataError, match=r"item 2 has the label 2, but there are names for 0 to 1 only"):
        table(Drawn(lambda place: (drawn(place), place), classes=["a", "b"]))


def test_dicts_keep_their_keys_as_columns() -> None:
    found = table(Drawn(lambda place: {"pixels": drawn(place), "label": place % 3, "id": f"n{place}"}, classes=NAMES))
    assert [*found.columns] == ["pixels", "label", "id"]
    assert found.columns["id"] == [f"n{place}" for place in range(6)]
    assert found.columns["label"][:3] == list(NAMES)
    assert look(found.columns["pixels"][1]).error is None


def test_masks_are_fetched_when_they_are_needed_like_pictures() -> None:
    data = Drawn(lambda place: (drawn(place), torch.full((10, 20), place, dtype=torch.uint8)))
    found = table(data)
    assert [*found.columns] == ["image", "mask"]
    assert data.asked == [0]
    assert int(found.columns["mask"][3].fetch().max()) == 3


def test_paths_and_texts_are_kept_as_they_are() -> None:
    assert table(Drawn(lambda place: (f"{place}.jpg", "cat"), 2)).columns == {
        "image": ["0.jpg", "1.jpg"],
        "label": ["cat", "cat"],
    }
    assert table(Drawn(lambda place: (Path(f"{place}.jpg"), "cat"), 1)).columns["image"] == [Path("0.jpg")]
    assert table(Drawn(lambda place: ("good film", 1), 1)).columns == {"text": ["good film"], "label": [1]}
    assert table(Drawn(lambda place: (1, "good film"), 1)).columns == {"text": ["good film"], "label": [1]}
    assert table(Drawn(lambda place: "good film", 1)).columns == {"text": ["good film"]}


def test_pictures_without_labels_are_not_gone_through() -> None:
    data = Drawn(drawn)
    found = table(data)
    assert [*found.columns] == ["image"]
    assert data.asked == [0]
    assert size_of(found.columns["image"][5]) == (20, 10)


def test_tensors_with_labels_in_a_tensor_are_pictures() -> None:
    found = table(TensorDataset(torch.rand(4, 3, 8, 9), torch.tensor([1, 0, 1, 0])))
    assert found.columns["label"] == [1, 0, 1, 0]
    assert size_of(found.columns["image"][3]) == (9, 8)


def test_normalised_tensors_are_an_error_that_says_what_to_pass() -> None:
    found = table(Drawn(lambda place: (torch.randn(3, 8, 8), place % 2)))
    reason = look(found.columns["image"][2]).error
    assert reason is not None
    assert reason.startswith("cannot be used: expected pixel values 0 to 255")
    assert reason.endswith("pass the picture before normalisation")


def test_items_of_more_than_two_parts_give_the_first_two_with_a_note() -> None:
    found = table(Drawn(lambda place: (drawn(place), place % 2, place), 2))
    assert found.columns["label"] == [0, 1]
    assert found.notes == ["took two of the 3 parts of each item as input and label"]


def test_items_that_cannot_be_read_are_left_out_and_named() -> None:
    def item(place: int) -> Any:
        if place in (0, 3):
            raise OSError(f"no file {place}")
        return drawn(place), place % 2

    found = table(Drawn(item))
    assert found.names == ["item 1", "item 2", "item 4", "item 5"]
    assert found.columns["label"] == [1, 0, 0, 1]
    assert [one.place for one in found.columns["image"]] == [1, 2, 4, 5]
    assert found.notes == [
        "left out 2 items of Drawn that cannot be read: item 0 (OSError: no file 0), item 3 (OSError: no file 3)"
    ]


def test_a_data_set_of_which_most_cannot_be_read_is_refused() -> None:
    def item(place: int) -> Any:
        if place:
            raise KeyError("nothing")
        return drawn(place), 1

    with pytest.raises(DataError, match=r"found 5 items of Drawn that cannot be read: item 1 \(KeyError: 'nothing'\)"):
        table(Drawn(item))
    with pytest.raises(DataError, match=r"items of Drawn cannot be read: item 0 \(ZeroDivisionError"):
        table(Drawn(lambda place: 1 // 0))


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ((torch.zeros(7), 1), r"found Tensor of shape \(7,\) as input; give pictures, paths or texts"),
        ((None, 1), "found NoneType as input"),
        (("a.jpg",), "found tuple of 1"),
    ],
)
def test_items_that_are_no_inputs_are_refused_with_what_was_found(item: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        table(Drawn(lambda place: item))


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(DataError, match="Drawn is empty"):
        table(Drawn(drawn, 0))


def test_a_stream_is_refused_with_what_to_do() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            yield drawn(0), 1

    for data in (Stream(), DataLoader(Stream())):
        with pytest.raises(
            DataError, match=r"Stream is a stream .* which cannot be counted, split and shuffled; if it"
        ):
            table_of(data)


def test_a_subset_reads_its_own_items_and_calls_them_as_the_whole_does() -> None:
    data = Drawn(lambda place: (drawn(place), place % 3), 9, classes=list(NAMES))
    found = table(Subset(Subset(data, [1, 3, 5, 7]), [3, 0]))
    assert found.names == ["item 7", "item 1"]
    assert found.columns["label"] == ["green", "green"]
    assert {*data.asked} == {7, 1}


def test_parts_of_a_random_split_have_no_item_in_common() -> None:
    data = Drawn(lambda place: (drawn(place), place % 3), 9)
    parts = [table(part).names for part in random_split(data, [6, 3], torch.Generator().manual_seed(0))]
    assert parts[0] is not None
    assert parts[1] is not None
    assert sorted(parts[0] + parts[1]) == [f"item {place}" for place in range(9)]


def test_a_subset_of_somebodys_own_is_asked_for_its_items() -> None:
    class Turned(Subset[Any]):
        def __getitem__(self, place: int) -> Any:
            picture, label = super().__getitem__(place)
            return picture.rotate(90, expand=True), 10 + label

        def __getitems__(self, places: list[int]) -> list[Any]:
            return [self[place] for place in places]

    found = table(Turned(Drawn(lambda place: (drawn(place), place)), [4, 5]))
    assert found.columns["label"] == [14, 15]
    assert size_of(found.columns["image"][0]) == (10, 20)


def test_data_sets_in_a_row_are_one_and_each_item_has_a_name_of_its_own() -> None:
    data = [Drawn(lambda place: (drawn(place), place % 3), 3, classes=list(NAMES)) for _ in range(2)]
    found = table(Subset(ConcatDataset(data), [0, 2, 3]))
    assert found.names == ["part 1, item 0", "part 1, item 2", "part 2, item 0"]
    assert found.columns["label"] == ["blue", "red", "blue"]
    assert [str(item) for item in found.columns["image"]] == found.names
    with pytest.raises(
        DataError, match=r"to hold the same, found image, label in the first and image in part 2 \(Drawn"
    ):
        table(ConcatDataset([data[0], Drawn(drawn)]))


def test_a_loader_gives_its_data_set() -> None:
    found = table(DataLoader(Drawn(lambda place: (drawn(place), place % 2)), batch_size=2, shuffle=True))
    assert found.columns["label"] == [0, 1, 0, 1, 0, 1]


def test_items_are_sent_to_other_processes_with_one_copy_of_the_data_set() -> None:
    data = TensorDataset(torch.zeros(200, 3, 16, 16, dtype=torch.uint8), torch.arange(200))
    items = table(data).columns["image"]
    packed = pickle.dumps(items)
    assert len(packed) < 2 * 200 * 3 * 16 * 16
    again = pickle.loads(packed)
    assert again[5].data is again[6].data
    assert (str(again[7]), again[7].place) == ("item 7", 7)
    with pytest.raises(AttributeError):
        items[0].place = 3


def test_an_item_has_a_name_or_a_place() -> None:
    assert (str(Item([1], 0)), str(Item([1], 0, name="a.png"))) == ("item 0", "a.png")
    assert (Item([1, 2], 1).fetch(), Item([(1, 2)], 0, 1).fetch()) == (2, 2)


# -- torchvision ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(draw_pictures(tmp_path_factory.mktemp("vision") / "photos", 3))


def test_an_image_folder_gives_paths_and_names_without_opening_a_file(folder: str) -> None:
    def fails(path: str) -> Any:
        raise AssertionError("a file was opened")

    fails.__module__ = vision.folder.__name__  # as torchvision's own loaders have it
    data = vision.ImageFolder(folder, transform=v2.Resize(4), loader=fails)
    found = table(data)
    assert found.columns["image"][:2] == [os.path.join(folder, "blue", "0.png"), os.path.join(folder, "blue", "1.png")]
    assert found.columns["label"] == [name for name in NAMES for _ in range(3)]
    assert found.names is None
    assert table(Subset(data, [8])).columns["label"] == ["red"]


def test_files_that_only_a_loader_of_ones_own_can_read_are_read_by_it(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        np.save(tmp_path / label / "1.npy", np.full((6, 7, 3), 9, np.uint8))
    data = vision.DatasetFolder(str(tmp_path), np.load, (".npy",), transform=lambda array: array * 0.0 - 5)
    found = table(data)
    assert found.columns["label"] == ["a", "b"]
    assert size_of(found.columns["image"][1]) == (7, 6)
    assert str(found.columns["image"][1]) == str(tmp_path / "b" / "1.npy")
    assert data.transform is not None


def test_labels_that_a_data_set_changes_are_taken_as_it_gives_them(folder: str) -> None:
    found = table(vision.ImageFolder(folder, target_transform=lambda place: f"not {NAMES[place]}"))
    assert {*found.columns["label"]} == {f"not {name}" for name in NAMES}


def cifar(folder: Path, **options: Any) -> vision.CIFAR10:
    """CIFAR-10 with six pictures, in files as torchvision downloads them; their checksums are left out."""

    class Small(vision.CIFAR10):
        def _check_integrity(self) -> bool:
            return True

        def _load_meta(self) -> None:
            self.classes = list(NAMES)

    base = folder / vision.CIFAR10.base_folder
    base.mkdir(exist_ok=True)
    pixels = np.arange(6, dtype=np.uint8)[:, None].repeat(3 * 32 * 32, 1)
    for name, _ in vision.CIFAR10.test_list:
        (base / name).write_bytes(pickle.dumps({"data": pixels, "labels": [0, 1, 2, 0, 1, 2]}))
    return Small(str(folder), train=False, **options)


def test_cifar_gives_its_own_pixels_before_any_transform(tmp_path: Path) -> None:
    def fails(picture: Any) -> Any:
        raise AssertionError("a transform was called")

    found = table(cifar(tmp_path, transform=fails))
    assert found.columns["label"] == [*NAMES, *NAMES]
    assert found.columns["image"][4].fetch().shape == (32, 32, 3)
    assert int(found.columns["image"][4].fetch().max()) == 4
    assert look(found.columns["image"][4]).error is None


def test_mnist_gives_its_own_pixels_with_the_names_of_its_labels() -> None:
    class Small(vision.MNIST):
        def __init__(self) -> None:
            self.transform = self.target_transform = self.transforms = None
            self.data, self.targets = torch.arange(3 * 64, dtype=torch.uint8).reshape(3, 8, 8), torch.tensor([7, 0, 1])

    found = table(Small())
    assert found.columns["label"] == ["7 - seven", "0 - zero", "1 - one"]
    assert found.columns["image"][2].fetch().tolist() == torch.arange(128, 192).reshape(8, 8).tolist()


def test_another_data_set_of_torchvision_is_read_without_its_transform() -> None:
    transform = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, True), v2.Normalize([0.5], [0.1])])
    data = vision.FakeData(5, (3, 8, 8), 2, transform=transform, target_transform=lambda label: label + 5)
    found = table(data)
    assert {*found.columns["label"]} <= {5, 6}
    assert look(found.columns["image"][0]).error is None
    assert data.transform is transform
    assert data.transforms is not None


def test_a_data_set_derived_from_torchvision_s_is_asked_for_its_items(folder: str) -> None:
    class Half(vision.ImageFolder):
        def __getitem__(self, place: int) -> Any:
            picture, label = super().__getitem__(place)
            return picture.resize((5, 5)), label

    found = table(Half(folder))
    assert size_of(found.columns["image"][0]) == (5, 5)
    assert found.columns["label"][-1] == "red"


# -- Lightning --------------------------------------------------------------------------------------------------------


def module(**parts: Any) -> Any:
    """A data module with these methods, which knows what was called."""
    import pytorch_lightning as pl

    class Module(pl.LightningDataModule):
        called: list[str]

        def __init__(self) -> None:
            super().__init__()
            self.called = []

        def prepare_data(self) -> None:
            self.called.append("prepare")

        def setup(self, stage: str) -> None:
            self.called.append(stage)

    return type("Pets", (Module,), parts)()


DATA = Drawn(lambda place: (drawn(place), place % 3), 6, classes=list(NAMES))


def loads(data: Any = DATA, **options: Any) -> Callable[[Any], Any]:
    return lambda self: DataLoader(data, **options)


def test_a_data_module_gives_the_data_sets_behind_its_loaders() -> None:
    pets = module(train_dataloader=loads(), val_dataloader=loads(Subset(DATA, [1])), test_dataloader=loads())
    found = split_sources(pets)
    assert found is not None
    assert [*found] == ["train", "val", "test"]
    assert found["train"] is DATA
    assert table(found["val"]).columns["label"] == ["green"]
    assert pets.called == ["prepare", "fit", "test"]


def test_a_data_module_may_have_training_data_alone() -> None:
    pets = module(train_dataloader=loads())
    assert split_sources(pets) == {"train": DATA}
    assert pets.called == ["prepare", "fit"]


def test_a_data_module_made_from_data_sets_gives_these() -> None:
    import pytorch_lightning as pl

    found = split_sources(pl.LightningDataModule.from_datasets(DATA, val_dataset=Subset(DATA, [1])))
    assert found is not None
    assert [*found] == ["train", "val"]


def test_loaders_that_share_a_data_set_keep_their_own_parts_of_it() -> None:
    pets = module(
        train_dataloader=loads(sampler=SubsetRandomSampler([0, 1, 2])),
        val_dataloader=lambda self: [DataLoader(DATA, sampler=SubsetRandomSampler([4, 5]))],
    )
    found = split_sources(pets)
    assert found is not None
    assert table(found["train"]).names == ["item 0", "item 1", "item 2"]
    assert table(found["val"]).names == ["item 4", "item 5"]


def test_test_data_that_cannot_be_had_are_left_out_with_a_note() -> None:
    def fails(self: Any) -> Any:
        raise RuntimeError("no test data here\nsee the manual")

    notes: list[str] = []
    assert split_sources(module(train_dataloader=loads(), test_dataloader=fails), notes) == {"train": DATA}
    assert notes == [
        "left out the test data: Pets.test_dataloader() failed (RuntimeError: no test data here); mend it, or give "
        "the data sets themselves"
    ]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, r"Pets has no train_dataloader\(\); write one, or give its data set itself"),
        ({"prepare_data": lambda self: 1 // 0}, r"Pets\.prepare_data\(\) failed \(ZeroDivisionError"),
        ({"setup": lambda self, stage: self.trainer.world_size}, r"Pets\.setup\(\"fit\"\) failed \(AttributeError"),
        (
            {"train_dataloader": lambda self: [loads()(0)] * 2},
            r"gives 2 loaders, and one is needed; give the data sets",
        ),
        ({"train_dataloader": lambda self: {"a": loads()(0)}}, r"gives dict, and a DataLoader is needed"),
    ],
)
def test_a_data_module_that_does_not_work_is_refused_in_one_line(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        split_sources(module(**parts))
    assert "\n" not in str(caught.value)


# -- Hugging Face -----------------------------------------------------------------------------------------------------


def hugging_face(number: int = 6) -> Any:
    datasets = pytest.importorskip("datasets")
    label = datasets.ClassLabel(names=list(NAMES))
    features = {"image": datasets.Image(), "label": label, "text": datasets.Value("string")}
    columns = {
        "image": [{"bytes": encoded(place), "path": f"{place}.png"} for place in range(number)],
        "label": [place % 3 for place in range(number)],
        "text": [f"n{place}" for place in range(number)],
    }
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def test_pictures_of_a_hugging_face_data_set_are_not_decoded_until_they_are_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    datasets = pytest.importorskip("datasets")
    data = hugging_face()
    with monkeypatch.context() as patch:
        patch.setattr(datasets.Image, "decode_example", None)
        found = table(data)
        item = found.columns["image"][4]
        assert item.fetch() == {"bytes": encoded(4), "path": "4.png"}
    assert [*found.columns] == ["image", "label", "text"]
    assert found.columns["label"] == [NAMES[place % 3] for place in range(6)]
    assert found.columns["text"] == [f"n{place}" for place in range(6)]
    assert (found.row_name(4), str(item), size_of(item)) == ("item 4", "item 4", (20, 10))
    assert data.features["image"].decode


def test_a_shuffled_and_filtered_data_set_keeps_pictures_with_their_labels() -> None:
    data = hugging_face().shuffle(seed=1).filter(lambda text: text != "n3", input_columns="text")
    found = table(data)
    for item, text in zip(found.columns["image"], found.columns["text"], strict=True):
        assert item.fetch()["bytes"] == encoded(int(text[1:]))


def test_a_transform_of_the_data_set_is_left_out() -> None:
    data = hugging_face().with_transform(lambda batch: {"pixel_values": [0 for _ in batch["image"]]})
    found = table(data)
    assert [*found.columns] == ["image", "label", "text"]
    assert look(found.columns["image"][0]).error is None


def test_pictures_in_files_are_opened_from_their_paths(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    drawn(1).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"nothing")
    paths = [str(tmp_path / name) for name in ("1.png", "2.png", "3.png")]
    data = datasets.Dataset.from_dict({"photo": paths}).cast_column("photo", datasets.Image())
    found = table(data)
    assert [*found.columns] == ["photo"]
    assert size_of(found.columns["photo"][0]) == (20, 10)
    assert look(found.columns["photo"][1]).error == (
        "is not a picture in a known format (JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, PNM)"
    )
    assert look(found.columns["photo"][2]).error == "does not exist"


def test_two_columns_of_pictures_are_both_fetched_later_and_lists_of_pictures_are_left_out() -> None:
    datasets = pytest.importorskip("datasets")
    data = hugging_face(2)
    cells = [{"bytes": encoded(place), "path": None} for place in range(2)]
    data = data.add_column("mask", cells).cast_column("mask", datasets.Image())
    data = data.add_column("views", [cells, cells]).cast_column("views", datasets.List(datasets.Image()))
    found = table(data)
    assert [*found.columns] == ["image", "label", "text", "mask"]
    assert look(found.columns["mask"][1]).error is None
    assert found.notes == ["left out 1 column of the data set: views"]


def test_a_data_set_without_pictures_is_left_to_the_reader_of_tables() -> None:
    data = hugging_face().remove_columns("image")
    assert table_of(data) is None
    assert read_table(data).columns["label"][:3] == list(NAMES)


def test_an_empty_data_set_of_pictures_is_refused() -> None:
    with pytest.raises(DataError, match="has no rows"):
        table_of(hugging_face(0))


def test_a_stream_of_pictures_is_refused_and_one_of_texts_is_not() -> None:
    stream = hugging_face().to_iterable_dataset()
    with pytest.raises(DataError, match=r"is a stream, .*; load it without streaming=True"):
        table_of(stream)
    with pytest.raises(DataError, match="is a stream"):
        table_of(stream.map(lambda row: row))  # which does not know its columns any more
    assert table_of(stream.remove_columns("image")) is None


def test_pictures_of_a_hugging_face_data_set_are_sent_to_other_processes() -> None:
    items = pickle.loads(pickle.dumps(table(hugging_face()).columns["image"]))
    assert items[0].data is items[5].data
    assert items[5].fetch()["bytes"] == encoded(5)


def test_a_hugging_face_data_set_in_a_subset_of_torch_is_read_like_the_whole() -> None:
    found = table(ConcatDataset([Subset(hugging_face(), [5, 1])]))
    assert found.columns["label"] == ["red", "green"]
    assert found.names == ["part 1, item 5", "part 1, item 1"]
    assert str(found.columns["image"][0]) == "part 1, item 5"
    assert found.columns["image"][0].fetch()["bytes"] == encoded(5)


def test_a_dict_of_splits_is_read_by_its_names_like_any_other() -> None:
    datasets = pytest.importorskip("datasets")
    data = hugging_face()
    assert split_sources(datasets.DatasetDict({"train": data, "validation": data})) is None
    assert split_sources(datasets.DatasetDict({"default": data})) == {"train": data}
    with pytest.raises(DataError, match=r"expected splits called train, validation or test .*, found a, b; give one"):
        split_sources(datasets.DatasetDict({"a": data, "b": data}))
