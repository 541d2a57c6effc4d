"""Images with their masks: which masks follow their image's EXIF orientation, and splits in which something counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from recipes.errors import DataError
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
    assert not displayed.notes
    stored, code = read_masked(photos(tmp_path / "stored", orientation, STORED))
    assert stored.notes == ["turned 3 masks drawn on the image as it was before its EXIF orientation"]
    assert (code.read(stored.train.targets[0], (16, 24)) == (upright(STORED, orientation) > 0)).all()


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_a_mask_with_an_orientation_of_its_own_follows_it_without_a_note(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    splits, code = read_masked(photos(tmp_path, orientation, STORED, exif=exif))
    assert not splits.notes
    assert (code.read(splits.train.targets[0], (24, 16)) == (upright(STORED, orientation) > 0)).all()


def test_a_part_that_is_given_for_validation_and_has_nothing_that_counts_is_refused(tmp_path: Path) -> None:
    full = np.tile(np.arange(3, dtype=np.uint8), (6, 4))
    for part, mask in (("data", full), ("other", np.full((6, 12), 255, np.uint8))):
        photos(tmp_path / part, 1, mask, (12, 6))
    with pytest.raises(DataError, match="not one pixel counts in the 3 masks for validation, all are to be ignored"):
        read_masked(tmp_path / "data", tmp_path / "other")
