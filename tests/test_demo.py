"""The demo, end to end as a newcomer runs it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recipes import demo
from recipes.catalog import TASKS
from recipes.cli import main


def everything(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.png")
    }


def test_every_task_has_a_demo() -> None:
    assert list(demo._DEMOS) == list(TASKS)


def test_the_same_seed_draws_the_same_pictures(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        demo.draw_shapes(tmp_path / name, 3, seed, size=32)
    assert everything(tmp_path / "one") == everything(tmp_path / "two") != everything(tmp_path / "three")


def test_the_same_seed_draws_the_same_scenes_and_their_masks_fit(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        demo.draw_scenes(tmp_path / name, 4, seed, size=48)
    assert everything(tmp_path / "one") == everything(tmp_path / "two") != everything(tmp_path / "three")
    for path in (tmp_path / "one" / "images").iterdir():
        with Image.open(path) as image, Image.open(tmp_path / "one" / "masks" / path.name) as mask:
            assert image.size == mask.size == (48, 48)
            assert image.mode == "RGB"
            assert mask.mode == "P"
            values = np.asarray(mask)
            colours = np.asarray(image.convert("HSV")).astype(int)
        assert values.max() <= 3
        for place in set(np.unique(values).tolist()) - {0}:  # hues of a third of the circle around the kind's own
            off = (colours[..., 0][values == place] - place * 256 / 3 + 128) % 256 - 128
            assert np.median(np.abs(off)) < 256 * 0.2


def test_the_same_seed_draws_the_same_glasses_and_their_numbers_are_in_the_table(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        demo.draw_glasses(tmp_path / name, 8, seed, size=48)
    assert everything(tmp_path / "one") == everything(tmp_path / "two") != everything(tmp_path / "three")
    header, *rows = (tmp_path / "one" / "levels.csv").read_text().splitlines()
    assert header == "image,level"
    assert (tmp_path / "two" / "levels.csv").read_text().splitlines() == [header, *rows]
    drawn = {name: float(level) for name, _, level in (row.partition(",") for row in rows)}
    assert sorted(drawn) == sorted(everything(tmp_path / "one"))
    share = {}
    for name in drawn:  # what is filled is what has the strongest colour
        with Image.open(tmp_path / "one" / name) as picture:
            share[name] = (np.asarray(picture.convert("HSV"))[..., 1] > 128).mean()
    assert np.corrcoef([share[name] for name in drawn], list(drawn.values()))[0, 1] > 0.6


@pytest.mark.slow
def test_the_demo_of_numbers_learns_and_says_what_to_type_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "image-regressor", "--out", str(out)]) == 0
    said = capsys.readouterr().err
    right = re.search(r"mae ([\d.]+) on 100 pictures", said)
    assert right is not None
    assert float(right.group(1)) < 10  # of 0 to 100; who always says the mean is 25 off
    commands = [line.strip() for line in said.splitlines() if line.strip().startswith("recipes ")]
    assert [command.split()[1] for command in commands] == ["fit", "evaluate", "predict", "fit", "predict"]
    assert main(commands[2].split()[1:]) == 0


@pytest.mark.slow
def test_the_demo_of_masks_learns_and_says_what_to_type_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "segmenter", "--out", str(out)]) == 0
    said = capsys.readouterr().err
    right = re.search(r"mean_iou (\d+)% on 40 pictures", said)
    assert right is not None
    assert int(right.group(1)) >= 85
    assert (out / "overlay.png").is_file()
    commands = [line.strip() for line in said.splitlines() if line.strip().startswith("recipes ")]
    assert [command.split()[1] for command in commands] == ["fit", "evaluate", "predict", "fit", "predict"]
    assert main([*commands[2].split()[1:], "--overwrite"]) == 0
    assert main(["demo", "segmenter", "--out", str(out)]) == 2


@pytest.mark.slow
def test_the_demo_fits_evaluates_predicts_and_says_what_to_type_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == 0
    said = capsys.readouterr().err
    right = re.search(r"accuracy (\d+)% on 200 pictures", said)
    assert right is not None
    assert int(right.group(1)) > 70
    commands = [line.strip() for line in said.splitlines() if line.strip().startswith("recipes ")]
    assert [command.split()[1] for command in commands] == ["fit", "evaluate", "predict", "fit", "predict"]
    assert main(commands[2].split()[1:]) == 0
    assert main(["demo", "--out", str(out)]) == 2
