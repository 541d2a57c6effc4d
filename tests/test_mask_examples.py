"""Images with their masks: EXIF orientation of masks, splits in which something counts, a folder for each image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import recipes
from recipes import Segmenter
from recipes.errors import DataError
from recipes.examples import Splits
from recipes.mask_examples import read_masked
from recipes.masks import upright

STORED = np.zeros((16, 24), np.uint8)
STORED[2:7, 3:9] = 255


def photo(path: Path, orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 50, 20)).save(path, exif=exif)


def photos(folder: Path, orientation: int, mask: Any, size: tuple[int, int] = (24, 16), **options: Any) -> Path:
    """Three photos that are turned by EXIF, each with this mask."""
    (folder / "masks").mkdir(parents=True)
    for number in range(3):
        photo(folder / "images" / f"{number}.jpg", orientation, size)
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png", **options)
    return folder


def told(splits: Splits) -> list[str]:
    """What is noted, but for the one image that is there several times."""
    return [note for note in splits.notes if "repeat others" not in note]


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_a_mask_whose_size_does_not_tell_is_taken_as_drawn_on_the_image_as_displayed(
    tmp_path: Path, orientation: int
) -> None:
    splits, code = read_masked(photos(tmp_path, orientation, STORED))
    (said,) = [note for note in splits.notes if "EXIF" in note]
    assert said.startswith(
        "3 masks of the size that the image has with and without its EXIF orientation, taken as drawn"
    )
    assert "0.png" in said
    assert (code.read(splits.train.targets[0], (24, 16)) == (STORED > 0)).all()


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_square_image_does_not_tell_either(tmp_path: Path, orientation: int) -> None:
    square = np.ascontiguousarray(STORED[:, :16])
    splits, code = read_masked(photos(tmp_path, orientation, square, (16, 16)))
    assert "as it is displayed" in " ".join(splits.notes)
    assert (code.read(splits.train.targets[0], (16, 16)) == (square > 0)).all()


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_where_sizes_tell_nothing_is_guessed(tmp_path: Path, orientation: int) -> None:
    displayed, _ = read_masked(photos(tmp_path / "displayed", orientation, upright(STORED, orientation)))
    assert not told(displayed)
    stored, code = read_masked(photos(tmp_path / "stored", orientation, STORED))
    assert told(stored) == ["turned 3 masks drawn on the image as it was before its EXIF orientation"]
    assert (code.read(stored.train.targets[0], (16, 24)) == (upright(STORED, orientation) > 0)).all()


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_a_mask_with_an_orientation_of_its_own_follows_it_without_a_note(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    splits, code = read_masked(photos(tmp_path, orientation, STORED, exif=exif))
    assert not told(splits)
    assert (code.read(splits.train.targets[0], (24, 16)) == (upright(STORED, orientation) > 0)).all()


def test_a_part_that_is_given_for_validation_and_has_nothing_that_counts_is_refused(tmp_path: Path) -> None:
    full = np.tile(np.arange(3, dtype=np.uint8), (6, 4))
    for part, mask in (("data", full), ("other", np.full((6, 12), 255, np.uint8))):
        photos(tmp_path / part, 1, mask, (12, 6))
    with pytest.raises(DataError, match="not one pixel counts in the 3 masks for validation, all are to be ignored"):
        read_masked(tmp_path / "data", tmp_path / "other")


def nuclei(root: Path, number: int, seed: int = 0) -> Path:
    """Bright discs on a dark ground as the Data Science Bowl 2018 has them: ID/images/ID.png, a file for each disc."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:48, :64]
    for place in range(number):
        folder = root / f"{seed}{place}f3a"
        discs = []
        for _ in range(rng.integers(1, 5)):
            row, column, radius = rng.integers(6, 42), rng.integers(6, 58), rng.integers(4, 10)
            discs.append((rows - row) ** 2 + (columns - column) ** 2 < radius**2)
        image = np.where(np.any(discs, 0), 200, 30)[..., None].repeat(3, 2) + rng.normal(0, 15, (48, 64, 3))
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{folder.name}.png")
        for count, disc in enumerate(discs):
            Image.fromarray(disc).save(folder / "masks" / f"{place}c{count}e.png")
    return root


def test_a_segmenter_learns_from_folders_with_a_file_for_each_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nuclei(tmp_path / "bowl" / "stage1_train", 8)
    task = Segmenter(backbone="test_resnet", pretrained=False, size=32)
    task.fit(tmp_path / "bowl", epochs=4, batch_size=4, lr=1e-2, layer_decay=1.0, precision="32", workers=0)
    assert "for an object each; together they are the label object" in " ".join(capsys.readouterr().err.split())
    assert task.codec is not None
    assert task.codec.labels == ("background", "object")
    model = recipes.load(task.save(tmp_path / "model"))
    evaluation = model.evaluate(nuclei(tmp_path / "others", 4, seed=1))
    assert sum(map(sum, evaluation.confusion)) == 4 * 48 * 64
    assert evaluation.scores["mean_iou"] > 0.6
    (picture, *_) = sorted((tmp_path / "others").glob("*/images/*.png"))
    assert model.predict(picture)[0].areas["object"] > 0
