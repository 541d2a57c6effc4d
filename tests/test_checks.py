"""`recipes check` names what is wrong and what to do, changes nothing, and ends with 1 when something must be fixed."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import QUICK, TINY, draw_pictures
from PIL import Image

import recipes
from recipes import ImageClassifier
from recipes.checks import Report, check, guessed
from recipes.cli import main
from recipes.demo import draw_shapes
from recipes.errors import DataError, OptionError, OutputError
from recipes.findings import Finding


def found(report: Report, kind: str) -> Finding:
    (finding,) = [one for one in report.findings if one.kind == kind]
    return finding


def state(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that all differ in what they show."""
    folder = tmp_path_factory.mktemp("checks") / "shapes"
    draw_shapes(str(folder), 8, seed=0, size=64)
    return folder


@pytest.fixture
def broken(shapes: Path, tmp_path: Path) -> Path:
    """A folder with one of everything that can be wrong with pictures."""
    folder = tmp_path / "photos"
    shutil.copytree(shapes, folder)
    first, second, *_ = sorted(entry.name for entry in folder.iterdir())
    pictures = sorted((folder / first).iterdir())
    pictures[0].write_bytes(b"")
    shutil.copy(pictures[1], folder / second / "contradiction.png")
    shutil.copy(pictures[2], folder / first / "copy.png")
    Image.open(pictures[3]).convert("RGB").save(folder / first / "resaved.jpg", quality=80)
    Image.open(pictures[4]).save(folder / first / "wrong.jpg", "PNG")
    (folder / first / "wrong.jpg").rename(folder / first / "wrong_suffix.jpg")
    pictures[4].unlink()
    (folder / "empty").mkdir()
    (folder / first.upper()).mkdir()
    Image.effect_noise((64, 48), 90).save(folder / first.upper() / "alone.png")
    (folder / second / "notes.txt").write_text("x")
    return folder


def test_everything_that_is_wrong_with_pictures_is_found_and_nothing_is_touched(broken: Path) -> None:
    before = state(broken)
    report = check(broken)
    assert state(broken) == before
    assert report.task == "image-classifier"
    assert not report.ok
    kinds = {(one.severity, one.kind) for one in report.findings}
    assert {
        ("error", "unreadable"),
        ("error", "contradiction"),
        ("warning", "copies"),
        ("warning", "empty"),
        ("warning", "labels"),
        ("warning", "rare"),
        ("note", "other files"),
    } <= kinds
    assert any("resaved.jpg" in name for name in found(report, "copies").names)
    assert any("contradiction.png" in name for name in found(report, "contradiction").names)
    assert all(one.remedy for one in report.findings if one.severity != "note")
    severities = [one.severity for one in report.findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)


def test_sound_pictures_pass(shapes: Path) -> None:
    report = recipes.check(shapes)
    assert report.ok
    assert [one.kind for one in report.findings] == ["few to score"]
    assert report.examples == {"train": 32, "val": 8} or sum(report.examples.values()) == len([*shapes.rglob("*.png")])
    assert main(["check", str(shapes)]) == 0


def test_the_same_picture_on_both_sides_of_a_split_is_a_leak(shapes: Path, tmp_path: Path) -> None:
    shutil.copytree(shapes, tmp_path / "data" / "train")
    for label in sorted((tmp_path / "data" / "train").iterdir()):
        (tmp_path / "data" / "val" / label.name).mkdir(parents=True)
        one, *_ = sorted(label.iterdir())
        Image.open(one).convert("RGB").save(tmp_path / "data" / "val" / label.name / "again.jpg", quality=85)
    leak = found(check(tmp_path / "data"), "leak")
    assert leak.severity == "error"
    assert len(leak.names) == len([*(tmp_path / "data" / "train").iterdir()])
    assert all(name.startswith("train/") for name in leak.leave_out)


def test_labels_that_training_never_saw_do_not_stop_the_check(shapes: Path, tmp_path: Path) -> None:
    shutil.copytree(shapes, tmp_path / "data" / "train")
    draw_pictures(tmp_path / "data" / "val", 2, {"never": (1, 2, 200)})
    first = next(iter(sorted(shapes.iterdir())))
    shutil.copytree(first, tmp_path / "data" / "val" / first.name)
    report = check(tmp_path / "data")
    assert found(report, "unknown labels").names
    assert {"unknown labels", "leak"} <= {one.kind for one in report.findings}


def test_the_list_of_what_to_leave_out_makes_the_data_sound(
    broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "leave_out.txt"
    assert main(["check", str(broken), "--exclude-list", str(names), "--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert {"severity", "kind", "text", "remedy", "count", "names"} <= told["findings"][0].keys()
    left_out = names.read_text().splitlines()
    assert left_out[0].startswith("#")
    assert len(left_out) > 3
    again = check(broken, exclude_list=str(names))
    assert {one.kind for one in again.findings}.isdisjoint({"unreadable", "contradiction", "copies"})
    task = ImageClassifier(**TINY, exclude_list=str(names)).fit(broken, quiet=True, **QUICK)
    assert task.codec is not None
    assert main(["check", str(broken), "--exclude-list", str(names)]) == 1  # its own list may be written again
    names.write_text("mine\n")
    with pytest.raises(OutputError, match="no list of recipes"):
        check(broken).write_exclude_list(names)


def test_the_task_is_found_by_the_look_of_the_data(shapes: Path, tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / "cells" / kind).mkdir(parents=True)
        for number in range(3):
            mask = Image.new("L", (32, 32), 0)
            mask.paste(1, (0, 0, 10 + number, 12))
            (mask if kind == "masks" else Image.effect_noise((32, 32), 60)).save(
                tmp_path / "cells" / kind / f"{number}.png"
            )
    (tmp_path / "texts.csv").write_text("text,label\n" + "".join(f"good thing {n},{n % 2}\n" for n in range(20)))
    (tmp_path / "reviews" / "good").mkdir(parents=True)
    (tmp_path / "reviews" / "good" / "1.txt").write_text("fine")
    pictures = sorted(shapes.rglob("*.png"))
    rows = [f"{path},{place * 1.5}" for place, path in enumerate(pictures)]
    (tmp_path / "prices.csv").write_text("image,target\n" + "\n".join(rows) + "\n")
    rows = [f"{path},{path.parent.name}" for path in pictures]
    (tmp_path / "kinds.csv").write_text("image,kind\n" + "\n".join(rows) + "\n")
    expected = {
        shapes: "image-classifier",
        tmp_path / "cells": "segmenter",
        tmp_path / "texts.csv": "text-classifier",
        tmp_path / "reviews": "text-classifier",
        tmp_path / "prices.csv": "image-regressor",
        tmp_path / "kinds.csv": "image-classifier",
    }
    assert {data: guessed(data) for data in expected} == expected


def test_masks_and_texts_are_checked_too(tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / "cells" / kind).mkdir(parents=True)
    for number in range(4):
        Image.effect_noise((32, 32), 60).convert("RGB").save(tmp_path / "cells" / "images" / f"{number}.png")
        mask = Image.new("L", (32, 32) if number else (31, 32), 0)
        mask.paste(1, (0, 0, 10, 12))
        mask.save(tmp_path / "cells" / "masks" / f"{number}.png")
    report = check(tmp_path / "cells")
    assert report.task == "segmenter"
    assert "a mask has the size of its image" in found(report, "refused")
    rows = [f"thing number {number},{'ab'[number % 2]}" for number in range(12)]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows, "thing number 3,a", "thing number 4,a"]) + "\n")
    report = check(tmp_path / "texts.csv")
    assert found(report, "contradiction").names
    assert found(report, "copies").severity == "warning"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["check"], "expected data: recipes check DATA"),
        (["check", "nowhere"], "nowhere does not exist"),
        (["check", "image-classifier", "nowhere"], "nowhere does not exist"),
        (["check", "{shapes}", "--formt", "json"], "did you mean --format?"),
        (["check", "image-clasifier", "{shapes}"], "image-clasifier does not exist"),
    ],
)
def test_mistakes_in_the_call_are_one_line(
    words: list[str], told: str, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(shapes=shapes) for word in words]) == 2
    assert told in capsys.readouterr().err.replace("\n", " ")


def test_options_of_the_task_can_be_given(shapes: Path, tmp_path: Path) -> None:
    rows = [f"{path},{path.parent.name},{place}" for place, path in enumerate(sorted(shapes.rglob("*.png")))]
    (tmp_path / "all.csv").write_text("image,label,number\n" + "\n".join(rows) + "\n")
    options: dict[str, Any] = {"task": "image-classifier", "label": "number"}
    report = check(tmp_path / "all.csv", **options)
    assert len(report.labels) == len(rows)
    assert "cannot be validated" in found(report, "rare")
    assert check(tmp_path / "all.csv", task=ImageClassifier(label="label")).ok
    with pytest.raises(OptionError, match="did you mean label"):
        check(tmp_path / "all.csv", task="image-classifier", lable="x")
    with pytest.raises(DataError, match="does not exist"):
        check(tmp_path / "al.csv")


def test_help_of_the_check_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", "--help"])
    assert ended.value.code == 0
    assert "--exclude-list" in capsys.readouterr().out
