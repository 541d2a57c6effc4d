"""Labelled pictures come from any table; groups stay together; what a list names is left out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import COLOURS, QUICK, TINY, draw_pictures
from PIL import Image

import recipes
from recipes import ImageClassifier, labelled
from recipes.columns import Columns
from recipes.errors import DataError, OptionError
from recipes.examples import Reading, Splits, strata, stratified_split
from recipes.findings import Finding
from recipes.image_examples import OF_FOLDERS, PICTURES, gathered
from recipes.labelled import names_in, united


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Pictures in one folder, and nothing that says which is which."""
    draw_pictures(tmp_path / "drawn", 6)
    (tmp_path / "images").mkdir()
    for path in sorted((tmp_path / "drawn").rglob("*.png")):
        path.rename(tmp_path / "images" / f"{path.parent.name}_{path.name}")
    return tmp_path


def rows(folder: Path, prefix: str = "images/") -> list[tuple[str, str]]:
    names = sorted(path.name for path in (folder / "images").iterdir())
    return [(prefix + name, name.partition("_")[0]) for name in names]


def write(path: Path, header: str, found: Any) -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in found)]) + "\n")
    return path


def read(data: Any, val: Any = None, reading: Reading = Reading(0.25), **options: Any) -> Splits:  # noqa: B008
    labelled.check(data, PICTURES)
    return labelled.read(data, val, PICTURES, reading, **options)


def pairs(splits: Splits) -> dict[str, str]:
    """Every file's name, with the name of its label."""
    return {
        os.path.basename(path): part.labels[target]
        for part in (splits.train, splits.val)
        for path, target in zip(part.inputs, part.targets, strict=True)
    }


# -- tables of pictures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "cut"),
    [("images/", False), ("", False), ("", True)],
    ids=["paths from the table", "names alone", "names without their suffix"],
)
def test_a_table_names_pictures_in_any_of_the_usual_ways(shop: Path, prefix: str, cut: bool) -> None:
    found = [(name.removesuffix(".png") if cut else name, label) for name, label in rows(shop, prefix)]
    splits = read(write(shop / "train.csv", "id,label", found))
    assert pairs(splits) == {os.path.basename(name): label for name, label in rows(shop)}
    assert all(os.path.isfile(path) for path in splits.train.inputs)
    assert splits.record()["val"][0].startswith("images/")
    assert {"train.csv", "images/red_0.png"} <= splits.fingerprints.keys()


def test_the_folder_of_a_table_and_its_pictures_may_be_given(shop: Path) -> None:
    write(shop / "labels.csv", "file,kind", rows(shop))
    assert len(pairs(read(shop))) == 18
    assert read(shop).train.labels == ("blue", "green", "red")


def test_folders_of_labels_come_before_a_table_beside_them(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 4)
    write(tmp_path / "notes.csv", "file,label", [("red/0.png", "odd"), ("red/1.png", "even")])
    splits = read(tmp_path)
    assert splits.train.labels == ("blue", "green", "red")
    assert "left out notes.csv: labels are those of the folders" in splits.notes


def test_splits_may_be_folders_with_a_table_each(tmp_path: Path) -> None:
    for part, number in (("train", 3), ("test", 2)):
        draw_pictures(tmp_path / "drawn", number)
        (tmp_path / part).mkdir()
        found = []
        for path in sorted((tmp_path / "drawn").rglob("*.png")):
            name = f"{path.parent.name}{path.name}"
            found.append((name, path.parent.name))
            path.rename(tmp_path / part / name)
        write(tmp_path / part / "metadata.csv", "file_name,label", found)
    splits = read(tmp_path)
    assert (len(splits.train) + len(splits.val), len(splits.test or ())) == (9, 6)


def test_files_that_a_table_names_and_that_are_not_there_are_counted_and_named(shop: Path) -> None:
    path = write(shop / "train.csv", "image,label", [*rows(shop), ("images/gone.png", "red")])
    (note,) = read(path).notes
    assert note == f"left out 1 row of train.csv with files that do not exist: {shop}/images/gone.png (train.csv:20)"
    assert isinstance(note, Finding)
    assert note.severity == "error"
    with pytest.raises(
        DataError, match=r"names 2 files in column 'image', and none is there .*from the table's folder"
    ):
        read(write(shop / "bad.csv", "image,label", [("a/1.png", "x"), ("a/2.png", "y")]))


@pytest.mark.parametrize("cells", ["a|b", "lists", "columns"])
def test_a_picture_may_have_several_labels(shop: Path, cells: str) -> None:
    names = [name for name, _ in rows(shop)]
    own = [[label, "odd"] if place % 2 else [label] for place, (_, label) in enumerate(rows(shop))]
    data: dict[str, Any] = {"image": [str(shop / name) for name in names]}
    options: dict[str, Any] = {}
    if cells == "a|b":
        data["labels"] = ["|".join(labels) for labels in own]
    elif cells == "lists":
        data["labels"] = own
    else:
        for label in (*COLOURS, "odd"):
            data[label] = [int(label in labels) for labels in own]
        options["label"] = ",".join((*COLOURS, "odd"))
    splits = read(data, **options)
    assert splits.train.labels == ("blue", "green", "odd", "red")
    said = {
        os.path.basename(path): {part.labels[place] for place in target}
        for part in (splits.train, splits.val)
        for path, target in zip(part.inputs, part.targets, strict=True)
    }
    assert said == {os.path.basename(name): {*labels} for name, labels in zip(names, own, strict=True)}


def test_several_labels_are_learnt_saved_and_predicted_by_name(shop: Path, tmp_path: Path) -> None:
    found = [(name, f"{label}|{'warm' if label == 'red' else 'cold'}") for name, label in rows(shop)]
    table = write(shop / "train.csv", "image,labels", found)
    task = ImageClassifier(**TINY).fit(table, quiet=True, **{**QUICK, "epochs": 6, "lr": 2e-2})
    task.save(tmp_path / "model")
    again = recipes.load(tmp_path / "model")
    scores = again.evaluate(table).scores
    assert {"map", "micro_f1", "macro_f1"} <= scores.keys()
    assert scores["map"] > 0.9
    (prediction,) = again.predict(shop / "images" / "red_0.png")
    assert set(prediction.labels) <= {"blue", "green", "red", "warm", "cold"}
    assert prediction.scores == task.predict(shop / "images" / "red_0.png")[0].scores
    assert task.codec is not None
    assert task.codec == again.codec


def test_the_pictures_of_a_table_are_predicted_from_the_column_of_training(shop: Path) -> None:
    other = [("images/red_0.png", name, "x") for name, _ in rows(shop)]
    table = write(shop / "new.csv", "thumbnail,file,more", other)
    columns = Columns(("file",), ("kind",))
    assert [os.path.basename(one) for one in gathered(table, columns)] == [os.path.basename(n) for n, _ in rows(shop)]
    assert {os.path.basename(one) for one in gathered(table, OF_FOLDERS)} != {"red_0.png"}
    assert gathered([table, shop / "images" / "red_0.png"][1], None) == [str(shop / "images" / "red_0.png")]


# -- groups -----------------------------------------------------------------------------------------------------------


def sides(splits: Splits, key: Callable[[str], str]) -> tuple[set[str], set[str]]:
    train, val = ({key(os.path.basename(path)) for path in part.inputs} for part in (splits.train, splits.val))
    return train, val


@pytest.mark.parametrize("by", ["column", "folder", "expression"])
def test_a_group_stays_on_one_side(tmp_path: Path, by: str) -> None:
    draw_pictures(tmp_path / "drawn", 12)
    found = []
    for path in sorted((tmp_path / "drawn").rglob("*.png")):
        patient = f"p{int(path.stem) % 4}"
        target = tmp_path / "photos" / path.parent.name / patient / f"{patient}_{path.parent.name}_{path.stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        found.append((target.relative_to(tmp_path), path.parent.name, patient))
    if by == "column":
        data: Path = write(tmp_path / "all.csv", "image,label,patient", found)
        group = "patient"
    else:
        data, group = tmp_path / "photos", {"folder": "folder", "expression": r"/(p\d)_"}[by]
    for seed in range(3):
        splits = read(data, reading=Reading(0.25, seed, group))
        train, val = sides(splits, lambda name: name.rpartition("_")[0] if by == "folder" else name[:2])
        assert val
        assert not train & val
        assert {*splits.val.targets} == {0, 1, 2}


def test_a_group_that_cannot_be_meant_is_refused(shop: Path) -> None:
    table = write(shop / "train.csv", "image,label,patient", [(*row, 1) for row in rows(shop)])
    cases = {
        r"zebra_(\d)": "is found in 0 of 18 names, not in images/blue_0.png",
        "(": "is neither a column, folder, nor a regular expression",
    }
    for group, words in cases.items():
        with pytest.raises(OptionError) as caught:
            read(table, reading=Reading(0.25, 0, group))
        assert words in str(caught.value)
    with pytest.raises(OptionError, match=r"is no column of .*did you mean patient"):
        read({"image": [np.zeros((8, 8, 3), np.uint8)] * 4, "label": list("abab"), "patient": list("ppqq")},
             reading=Reading(0.25, 0, "pateint"))  # fmt: skip
    with pytest.raises(DataError, match="puts 18 examples into 1 group, so none can be set aside"):
        read(table, reading=Reading(0.25, 0, "patient"))


def test_a_group_on_both_sides_of_a_given_split_is_named(shop: Path) -> None:
    found = [
        (name, label, "val" if place % 3 == 2 else "train", f"p{place % 2}")
        for place, (name, label) in enumerate(rows(shop))
    ]
    splits = read(write(shop / "train.csv", "image,label,split,patient", found), reading=Reading(group="patient"))
    (note,) = [note for note in splits.notes if "group" in note]
    assert note.startswith("2 groups for validation are for training too, so scores will flatter: p0, p1")


def test_what_any_relation_holds_together_is_one_group() -> None:
    assert united(None, None) is None
    assert united([None, None]) is None
    found = united(["a", "a", None, "b", None], [1, 2, 2, 3, None])
    assert found is not None
    assert len({found[0], found[1], found[2]}) == 1
    assert len({*found}) == 3


def test_numbers_are_split_by_their_size() -> None:
    numbers = [float(value) for value in np.random.default_rng(0).permutation(200)]
    kept, out = stratified_split(strata(numbers), 0.2, 0)
    assert len(out) == 40
    assert abs(np.mean([numbers[place] for place in out]) - np.mean([numbers[place] for place in kept])) < 10
    assert strata([1.0, 2.0, 3.0]) == [0, 0, 0]


# -- what is left out -------------------------------------------------------------------------------------------------


def test_what_a_list_names_is_left_out(shop: Path, tmp_path: Path) -> None:
    table = write(shop / "train.csv", "image,label", rows(shop))
    names = tmp_path / "out.txt"
    names.write_text("# a comment\nimages/red_0.png\nimages/blue_1.png\nimages/never.png\n")
    splits = read(table, reading=Reading(0.25, left_out=names_in(names)))
    assert {"red_0.png", "blue_1.png"}.isdisjoint(pairs(splits))
    assert len(pairs(splits)) == 16
    assert "left out 2 examples that the list names" in splits.notes
    assert "1 name of the list to leave out not found here: images/never.png" in splits.notes
    with pytest.raises(DataError, match=r"does not exist; did you mean out\.txt"):
        names_in(tmp_path / "uot.txt")


def test_fit_takes_the_list_and_the_group_from_python_and_shell(shop: Path, tmp_path: Path) -> None:
    from recipes.cli import main

    table = write(shop / "train.csv", "image,label", rows(shop))
    (tmp_path / "out.txt").write_text("images/red_0.png\n")
    words = ["fit", "image-classifier", str(table), "--out", str(tmp_path / "model"), "--backbone", "test_resnet",
             "--no-pretrained", "--size", "32", "--epochs", "1", "--precision", "32", "--workers", "0", "--quiet",
             "--exclude-list", str(tmp_path / "out.txt"), "--group", r"_(\d)\.png"]  # fmt: skip
    words = [word for word in words if word != "--no-pretrained"] + ["--pretrained", "false"]
    assert main(words) == 0
    split = json.loads((tmp_path / "model" / "split.json").read_text())
    assert "images/red_0.png" not in [*split["train"], *split["val"]]
    train, val = ({name[-5] for name in split[part]} for part in ("train", "val"))
    assert val
    assert not train & val


# -- pictures in memory -----------------------------------------------------------------------------------------------


def test_pictures_in_memory_are_known_by_their_row(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 4)
    files = sorted(tmp_path.rglob("*.png"))
    arrays = np.stack([np.asarray(Image.open(file)) for file in files])
    labels = [file.parent.name for file in files]
    splits = read((arrays, labels))
    assert len(splits.train) + len(splits.val) == 12
    assert splits.record()["train"][0].startswith("row ")
    assert [*splits.fingerprints] == ["(pictures)"]
    changed = arrays.copy()
    changed[0, 0, 0] += 1
    assert read((changed, labels)).fingerprints != splits.fingerprints
    task = ImageClassifier(**TINY).fit((arrays, labels), quiet=True, preset="quick", precision="32", workers=0)
    assert [one.file for one in task.predict(arrays[:2])] == [None, None]
    assert task.predict(arrays[:1])[0].scores == task.predict(files[:1])[0].scores


# -- the split of a run -----------------------------------------------------------------------------------------------


def test_an_evaluation_takes_the_split_that_the_run_recorded(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(shop / "train.csv", "image,label", rows(shop))
    ImageClassifier(**TINY).fit(table, quiet=True, out=tmp_path / "model", val_fraction=0.3, **QUICK)
    task = recipes.load(tmp_path / "model")
    record = json.loads((tmp_path / "model" / "split.json").read_text())
    capsys.readouterr()
    assert task.evaluate(table).examples == 18
    assert f"{len(record['train'])} of 18 were for training, so scores flatter" in capsys.readouterr().err
    held_out = task.evaluate(table, split="val")
    assert held_out.examples == len(record["val"])
    assert held_out.scores == pytest.approx(json.loads((tmp_path / "model" / "recipe.json").read_text())["scores"])
    assert "flatter" not in capsys.readouterr().err
    with pytest.raises(DataError, match="the run had nothing for test"):
        task.evaluate(table, split="test")
    other = draw_pictures(tmp_path / "other", 2)
    with pytest.raises(DataError, match="that the run had for val is here"):
        task.evaluate(other, split="val")
