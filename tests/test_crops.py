"""Crops for training: image and mask move alike, and nothing comes up in a mask that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from recipes.crops import IGNORED, Dense, DensePreparation
from recipes.errors import OptionError
from recipes.images import Augment
from recipes.masks import MaskCode
from recipes.tasks.segmenter import SegmenterCodec

# Colours that encode labels, far from one another and from every mean of two of them.
COLOURS = np.array([(0, 0, 0), (255, 40, 0), (0, 255, 80), (60, 0, 255), (255, 255, 255)], np.uint8)
EVERYTHING = Augment(crop_scale=0.25, hflip=0.5)


def labelled(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A mask of large patches of all labels."""
    rng = np.random.default_rng(seed)
    patches = rng.permutation(np.arange(16) % len(COLOURS)).reshape(4, 4).astype(np.uint8)
    return np.asarray(Image.fromarray(patches).resize((width, height), Image.Resampling.NEAREST))


def a_codec(size: int = 32, scale: float = 1.0, labels: int = len(COLOURS)) -> SegmenterCodec:
    code = MaskCode("values", tuple(range(labels)), tuple(map(tuple, COLOURS[:labels].tolist())), (IGNORED,))
    return SegmenterCodec(tuple("abcde"[:labels]), DensePreparation(size, scale), code)


def crop(
    codec: SegmenterCodec, image: Any, mask: Any, seed: int = 0, augment: Augment = EVERYTHING
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return codec.example(image, mask, augment, np.random.default_rng(seed))


def inside(mask: NDArray[np.uint8], margin: int) -> NDArray[np.bool_]:
    """The pixels with one label alone in the square around them."""
    picture, side = Image.fromarray(mask), 2 * margin + 1
    low, high = picture.filter(ImageFilter.MinFilter(side)), picture.filter(ImageFilter.MaxFilter(side))
    alike = np.asarray(low) == np.asarray(high)
    alike[:margin], alike[-margin:], alike[:, :margin], alike[:, -margin:] = False, False, False, False
    return alike  # not at the crop's border: beyond it the image goes on


@pytest.mark.parametrize("size", [(200, 260), (97, 131), (131, 40), (25, 19), (1, 1)])
@pytest.mark.parametrize("scale", [1.0, 0.5, 1.6])
def test_image_and_mask_are_moved_alike(size: tuple[int, int], scale: float) -> None:
    mask = labelled(*size)
    codec = a_codec(64, scale)
    compared = 0
    for seed in range(12):
        pixels, labels = crop(codec, COLOURS[mask], mask, seed)
        assert pixels.shape == (64, 64, 3)
        assert labels.shape == (64, 64)
        assert pixels.dtype == labels.dtype == np.uint8
        assert {*np.unique(labels).tolist()} <= {*range(len(COLOURS)), IGNORED}
        sure = inside(labels, 1 + round(2 * scale)) & (labels != IGNORED)  # an edge is as wide as a pixel of the image
        np.testing.assert_array_equal(pixels[sure], COLOURS[labels[sure]])
        compared += int(sure.sum())
    assert compared > 300 or min(size) < 30


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_a_turned_and_a_shrunk_jpeg_move_as_their_masks(tmp_path: Path, orientation: int, scale: float) -> None:
    mask = labelled(600, 900)
    turned = np.rot90(mask, {1: 0, 3: 2, 6: 1, 8: -1}[orientation])  # as a camera that was turned stores it
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOURS[turned]).save(tmp_path / "a.jpg", quality=95, subsampling=0, exif=exif)
    codec = a_codec(64, scale)
    whole, read = codec.example(tmp_path / "a.jpg", mask)
    assert whole.shape == (600 * scale, 900 * scale, 3)
    assert read.shape == (600, 900)
    for seed in range(8):
        pixels, labels = crop(codec, tmp_path / "a.jpg", mask, seed)
        sure = inside(labels, 3) & (labels != IGNORED)
        off = np.abs(pixels[sure].astype(int) - COLOURS[labels[sure]]).max(-1)
        assert np.quantile(off, 0.99) < 30  # what JPEG does to colours


def test_only_labels_of_the_mask_come_up_however_it_is_resized() -> None:
    """Between 0 and 2 lies 1, which smooth resizing would make."""
    mask = (np.indices((90, 90)).sum(0) // 3 % 2 * 2).astype(np.uint8)
    for scale in (0.3, 1.0, 2.7):
        found = {
            value for seed in range(10) for value in np.unique(crop(a_codec(64, scale), COLOURS[mask], mask, seed)[1])
        }
        assert found <= {0, 2, IGNORED}


def test_beyond_a_small_image_nothing_counts_and_the_ground_is_the_mean() -> None:
    codec, mask = a_codec(64), np.ones((20, 30), np.uint8)
    for seed in range(10):
        pixels, labels = crop(codec, COLOURS[mask], mask, seed)
        high, wide = int((labels[:, 0] == 1).sum()), int((labels[0] == 1).sum())
        assert 9 <= high <= 41
        assert 14 <= wide <= 61
        assert (labels[:high, :wide] == 1).all()
        assert (labels == 1).sum() == high * wide
        assert (labels[labels != 1] == IGNORED).all()
        assert (pixels[labels == 1] == COLOURS[1]).all()
        assert (pixels[labels == IGNORED] == [round(255 * value) for value in codec.preparation.mean]).all()


def test_ignored_pixels_stay_ignored() -> None:
    mask = np.zeros((80, 80), np.uint8)
    mask[20:60, 20:60] = IGNORED
    image = np.zeros((80, 80, 3), np.uint8)
    image[20:60, 20:60] = 200
    pixels, labels = crop(a_codec(64), image, mask, 3)
    sure = inside(labels, 2)
    np.testing.assert_array_equal((pixels[..., 0] == 200)[sure], (labels == IGNORED)[sure])


def test_rare_labels_are_seen_far_more_often_than_chance_has_it() -> None:
    """Half of the crops are placed on a label that is drawn from those in the image, however small it is."""
    mask = np.zeros((400, 400), np.uint8)
    mask[101:105, 233:237] = 1
    mask[:50] = IGNORED
    codec, image = a_codec(32, labels=2), COLOURS[mask.clip(0, 1)]
    seen = [bool((crop(codec, image, mask, seed, Augment())[1] == 1).any()) for seed in range(400)]
    assert 0.19 < np.mean(seen) < 0.33  # a half of a half, and 1 % by chance


def test_an_image_of_one_label_or_of_none_has_crops_too() -> None:
    for value in (2, IGNORED):
        mask = np.full((50, 60), value, np.uint8)
        assert (crop(a_codec(), np.zeros((50, 60, 3), np.uint8), mask, 1)[1] == value).all()


def test_the_same_chance_gives_the_same_crop_and_another_another() -> None:
    mask = labelled(120, 150)
    augment = Augment(crop_scale=0.3, hflip=0.5, color_jitter=0.3, random_erasing=0.5)
    first, again, other = (crop(a_codec(), COLOURS[mask], mask, seed, augment) for seed in (5, 5, 6))
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_a_mirrored_crop_has_a_mirrored_mask() -> None:
    mask = labelled(120, 150)
    plain, turned = (crop(a_codec(), COLOURS[mask], mask, 5, Augment(hflip=share)) for share in (0.0, 1.0))
    for one, two in zip(plain, turned, strict=True):
        np.testing.assert_array_equal(one, two[:, ::-1])


def test_what_is_erased_does_not_count() -> None:
    mask = labelled(120, 150)
    plain, erased = (crop(a_codec(64), COLOURS[mask], mask, 5, Augment(random_erasing=share)) for share in (0.0, 1.0))
    gone = erased[1] == IGNORED
    rows, columns = np.flatnonzero(gone.any(1)), np.flatnonzero(gone.any(0))
    assert gone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert 0.01 < gone.mean() < 0.4
    np.testing.assert_array_equal(plain[0][~gone], erased[0][~gone])
    np.testing.assert_array_equal(plain[1][~gone], erased[1][~gone])
    assert (plain[0][gone] != erased[0][gone]).any(-1).mean() > 0.9


def test_colours_vary_and_labels_do_not() -> None:
    mask = labelled(120, 150)
    plain, varied = (crop(a_codec(), COLOURS[mask], mask, 5, Augment(color_jitter=share)) for share in (0.0, 0.5))
    assert not np.array_equal(plain[0], varied[0])
    np.testing.assert_array_equal(plain[1], varied[1])


def test_neither_image_nor_mask_are_changed() -> None:
    mask = labelled(120, 150)
    image, kept = COLOURS[mask], mask.copy()
    crop(a_codec(), image, mask, 1, Augment(crop_scale=0.3, hflip=1.0, color_jitter=0.5, random_erasing=1.0))
    np.testing.assert_array_equal(image, COLOURS[kept])
    np.testing.assert_array_equal(mask, kept)


@pytest.mark.parametrize(("scale", "shape"), [(1.0, (31, 45)), (0.5, (16, 22)), (2.0, (62, 90)), (0.01, (1, 1))])
def test_the_whole_image_is_seen_at_its_scale(scale: float, shape: tuple[int, int]) -> None:
    seen = a_codec(scale=scale).encode(np.zeros((31, 45), np.uint8))
    assert isinstance(seen, Dense)
    assert seen.pixels.shape == (*shape, 3)
    assert (seen.height, seen.width) == (31, 45)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"size": 0}, "multiple of 32"),
        ({"size": 100}, "multiple of 32"),
        ({"size": 8192}, "multiple of 32"),
        ({"scale": 0.0}, "factor"),
        ({"scale": -1.0}, "factor"),
        ({"scale": float("nan")}, "factor"),
        ({"crops": 0}, "crops"),
        ({"std": (0.0, 0.1, 0.1)}, "std"),
        ({"mean": (float("inf"), 0.1, 0.1)}, "mean"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        DensePreparation(**options)
