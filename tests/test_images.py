"""Reading and preparing pictures: every mode, every source, the same pixels everywhere, and what cannot be read."""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image, ImageCms

from recipes.errors import DataError, ImageError
from recipes.images import (
    Augment,
    Preparation,
    ignored,
    left_out,
    looks_like_picture,
    opened,
    pictures_in,
    size_of,
)
from recipes.looks import look

EXACT = Preparation(size=32, resize="squash", interpolation="bilinear")


def corners(width: int, height: int) -> Image.Image:
    """A picture with another colour in every corner, so that a turn or a mirror shows."""
    values = np.zeros((height, width, 3), np.uint8)
    values[: height // 2, : width // 2] = (255, 0, 0)
    values[: height // 2, width // 2 :] = (0, 255, 0)
    values[height // 2 :, : width // 2] = (0, 0, 255)
    values[height // 2 :, width // 2 :] = (255, 255, 0)
    return Image.fromarray(values)


def photo(width: int, height: int, seed: int = 0, wave: float = 40.0) -> Image.Image:
    """Smooth waves with some noise: like a photo, with neither hard edges nor flat ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / wave
    waves = [np.sin(x * a + b) + np.cos(y * c + d) for a, b, c, d in rng.uniform(0.5, 3.0, (3, 4))]
    values = 128 + 50 * np.stack(waves, -1) + rng.normal(0, 4, (height, width, 3))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def turned(upright: Image.Image, orientation: int) -> Image.Image:
    """The picture as a camera stores it that notes this orientation."""
    way_back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that undoes what a viewer does
    return upright if orientation == 1 else upright.transpose(Image.Transpose(way_back[orientation]))


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def grey_of(picture: Image.Image, tmp_path: Path, name: str = "grey.png") -> set[int]:
    picture.save(tmp_path / name)
    pixels = EXACT.pixels(tmp_path / name)
    assert (pixels[..., 0] == pixels[..., 1]).all()
    assert (pixels[..., 1] == pixels[..., 2]).all()
    return set(np.unique(pixels).tolist())


# -- orientation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp", "jpg"])
def test_a_rotated_photo_is_turned_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = corners(48, 32)
    file = tmp_path / f"photo.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {"quality": 95, "subsampling": 0} if suffix == "jpg" else {}
    turned(upright, orientation).save(file, exif=oriented(orientation), **options)
    for resize in ("squash", "crop", "pad"):
        prepared = Preparation(size=32, resize=resize)
        expected = prepared.pixels(upright).astype(int)
        difference = np.abs(prepared.pixels(file).astype(int) - expected)
        assert difference.mean() <= (2.5 if suffix == "jpg" else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_large_jpeg_is_turned_upright_though_it_is_decoded_small(tmp_path: Path, orientation: int) -> None:
    upright = corners(960, 640)
    file = tmp_path / "large.jpg"
    turned(upright, orientation).save(file, exif=oriented(orientation), quality=95)
    for resize in ("squash", "crop", "pad"):
        prepared = Preparation(size=32, resize=resize)
        difference = np.abs(prepared.pixels(file).astype(int) - prepared.pixels(upright).astype(int))
        assert difference.mean() < 2.5


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
def test_a_rotated_pil_image_is_turned_like_its_file(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"photo.{suffix}"
    turned(corners(48, 32), 6).save(file, exif=oriented(6))
    with Image.open(file) as lazy:
        np.testing.assert_array_equal(EXACT.pixels(lazy), EXACT.pixels(file))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # outside pytest it is passed over
def test_broken_exif_says_nothing_about_the_pixels(tmp_path: Path) -> None:
    photo(48, 32).save(tmp_path / "odd.jpg", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xffgarbage")
    photo(48, 32).save(tmp_path / "plain.jpg")
    np.testing.assert_array_equal(EXACT.pixels(tmp_path / "odd.jpg"), EXACT.pixels(tmp_path / "plain.jpg"))


# -- modes ------------------------------------------------------------------------------------------------------------


def test_a_grey_picture_keeps_its_values(tmp_path: Path) -> None:
    assert grey_of(Image.new("L", (32, 32), 77), tmp_path) == {77}


def test_a_one_bit_picture_is_black_and_white(tmp_path: Path) -> None:
    picture = Image.new("1", (32, 32))
    picture.paste(1, (0, 0, 16, 32))
    assert grey_of(picture, tmp_path) == {0, 255}


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_a_sixteen_bit_picture_is_scaled_and_not_cut_off(tmp_path: Path, suffix: str) -> None:
    values = np.repeat(np.array([0, 257 * 60, 257 * 200, 65535], np.uint16), 8)[None].repeat(32, 0)
    Image.fromarray(np.ascontiguousarray(values)).save(tmp_path / f"deep.{suffix}")
    assert set(np.unique(EXACT.pixels(tmp_path / f"deep.{suffix}"))) == {0, 60, 200, 255}


def test_a_dark_sixteen_bit_picture_stays_dark(tmp_path: Path) -> None:
    assert grey_of(Image.fromarray(np.full((32, 32), 200, np.uint16)), tmp_path) == {1}


def test_a_thirty_two_bit_integer_picture_is_scaled_where_it_needs_it() -> None:
    assert set(np.unique(EXACT.pixels(Image.fromarray(np.full((32, 32), 200, np.int32))))) == {200}
    assert set(np.unique(EXACT.pixels(Image.fromarray(np.full((32, 32), 257 * 9, np.int32))))) == {9}


@pytest.mark.parametrize(("low", "high", "middle"), [(0.0, 1.0, 0.5), (0.0, 255.0, 128.0), (-40.0, 900.0, 431.8)])
def test_a_float_picture_uses_the_whole_range(tmp_path: Path, low: float, high: float, middle: float) -> None:
    values = np.repeat(np.array([low, middle, middle, high], np.float32), 8)[None].repeat(32, 0)
    assert grey_of(Image.fromarray(np.ascontiguousarray(values)), tmp_path, "float.tiff") == {0, 128, 255}


def test_a_float_picture_without_numbers_in_it_still_opens() -> None:
    values = np.full((32, 32), np.nan, np.float32)
    assert EXACT.pixels(Image.fromarray(values)).shape == (32, 32, 3)


def test_a_cmyk_jpeg_shows_its_colours(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (200, 40, 30)).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    pixels = EXACT.pixels(tmp_path / "print.jpg").reshape(-1, 3).astype(int)
    assert np.abs(pixels - (200, 40, 30)).max() <= 6


def test_a_palette_picture_shows_its_colours(tmp_path: Path) -> None:
    corners(32, 32).quantize(8).save(tmp_path / "few.png")
    np.testing.assert_array_equal(EXACT.pixels(tmp_path / "few.png"), EXACT.pixels(corners(32, 32)))


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_a_transparent_palette_colour_becomes_white(tmp_path: Path, transparency: int | bytes) -> None:
    picture = Image.new("P", (32, 32), 0)
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.paste(1, (16, 0, 32, 32))
    picture.save(tmp_path / "few.png", transparency=transparency)
    pixels = EXACT.pixels(tmp_path / "few.png")
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[0, -1].tolist() == [200, 100, 50]


def test_a_transparent_colour_of_a_plain_rgb_picture_becomes_white(tmp_path: Path) -> None:
    picture = Image.new("RGB", (32, 32), (10, 20, 30))
    picture.paste((200, 100, 50), (16, 0, 32, 32))
    picture.save(tmp_path / "keyed.png", transparency=(10, 20, 30))
    pixels = EXACT.pixels(tmp_path / "keyed.png")
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[0, -1].tolist() == [200, 100, 50]


def test_a_transparent_grey_becomes_white(tmp_path: Path) -> None:
    picture = Image.new("L", (32, 32), 10)
    picture.paste(99, (16, 0, 32, 32))
    picture.save(tmp_path / "keyed.png", transparency=10)
    assert set(np.unique(EXACT.pixels(tmp_path / "keyed.png"))) == {99, 255}


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_transparency_lies_on_white(tmp_path: Path, suffix: str) -> None:
    picture = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    picture.paste((200, 0, 0, 255), (16, 0, 32, 32))
    picture.save(tmp_path / f"clear.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    pixels = EXACT.pixels(tmp_path / f"clear.{suffix}")
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[0, -1].tolist() == [200, 0, 0]


def test_half_transparent_grey_is_half_way_to_white(tmp_path: Path) -> None:
    assert grey_of(Image.new("LA", (32, 32), (0, 128)), tmp_path) == {127}


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_an_animation_gives_its_first_frame(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue", "lime")]
    lossless = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"moving.{suffix}", save_all=True, append_images=frames[1:], **lossless)
    assert EXACT.pixels(tmp_path / f"moving.{suffix}")[5, 5].tolist() == [255, 0, 0]


def test_a_jpeg_with_several_pictures_gives_its_first(tmp_path: Path) -> None:
    photo(48, 32).save(tmp_path / "camera.jpg", "MPO", save_all=True, append_images=[corners(48, 32)])
    photo(48, 32).save(tmp_path / "single.jpg")
    np.testing.assert_array_equal(EXACT.pixels(tmp_path / "camera.jpg"), EXACT.pixels(tmp_path / "single.jpg"))


@pytest.mark.parametrize("suffix", ["bmp", "ppm", "gif", "tiff", "webp", "avif"])
def test_every_listed_format_opens(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (32, 32), (255, 0, 0)).save(tmp_path / f"picture.{suffix}")
    pixels = EXACT.pixels(tmp_path / f"picture.{suffix}").reshape(-1, 3).astype(int)
    assert np.abs(pixels - (255, 0, 0)).max() <= 8


def test_a_lab_picture_shows_its_colours(tmp_path: Path) -> None:
    lab = ImageCms.applyTransform(
        corners(32, 32),
        ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"),
    )
    lab.save(tmp_path / "lab.tiff")
    assert EXACT.pixels(tmp_path / "lab.tiff").shape == (32, 32, 3)


# -- arrays and tensors -----------------------------------------------------------------------------------------------


def test_arrays_and_tensors_in_every_layout_give_the_same_pixels() -> None:
    rgb = np.asarray(photo(40, 24))
    expected = EXACT.pixels(Image.fromarray(rgb))
    same = {
        "HWC": rgb,
        "CHW": rgb.transpose(2, 0, 1),
        "HWC tensor": torch.from_numpy(rgb.copy()),
        "CHW tensor": torch.from_numpy(rgb.transpose(2, 0, 1).copy()),
        "int64": rgb.astype(np.int64),
        "uint16 as bytes": rgb.astype(np.uint16) * np.uint16(257),
        "float64": rgb / 255.0,
        "float32 tensor with a gradient": torch.from_numpy(rgb / 255.0).float().requires_grad_(),
        "not contiguous": np.asfortranarray(rgb),
        "opaque RGBA": np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 255, np.uint8)], -1),
    }
    for name, source in same.items():
        np.testing.assert_array_equal(EXACT.pixels(source), expected, err_msg=name)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_tensors_of_half_precision_are_close(dtype: torch.dtype) -> None:
    rgb = np.asarray(photo(40, 24))
    half = torch.from_numpy(rgb / 255.0).to(dtype)
    assert np.abs(EXACT.pixels(half).astype(int) - EXACT.pixels(rgb)).max() <= 2


def test_grey_arrays_in_every_layout_give_the_same_pixels() -> None:
    grey = np.asarray(photo(40, 24).convert("L"))
    expected = EXACT.pixels(Image.fromarray(grey))
    for source in (
        grey,
        grey[..., None],
        grey[None],
        torch.from_numpy(grey.copy()),
        torch.from_numpy(grey.copy())[None],
    ):
        np.testing.assert_array_equal(EXACT.pixels(source), expected)


def test_a_boolean_array_is_black_and_white() -> None:
    mask = np.zeros((32, 32), bool)
    mask[:16] = True
    assert set(np.unique(EXACT.pixels(mask))) == {0, 255}


def test_a_transparent_array_lies_on_white() -> None:
    assert set(np.unique(EXACT.pixels(np.zeros((32, 32, 4), np.uint8)))) == {255}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (np.zeros((8, 8, 2), np.uint8), "found shape (8, 8, 2)"),
        (np.zeros((2, 8, 8, 3), np.uint8), "found shape (2, 8, 8, 3)"),
        (np.zeros(7, np.uint8), "found shape (7,)"),
        (np.zeros((0, 8, 3), np.uint8), "found shape (0, 8, 3)"),
        (np.full((8, 8, 3), 300), "0 to 255"),
        (np.full((8, 8, 3), -1), "before normalisation"),
        (np.full((8, 8, 3), -1.5), "before normalisation"),
        (np.full((8, 8, 3), 200.0), "0 to 1 as floats"),
        (np.full((8, 8, 3), np.nan), "0 to 1 as floats"),
        (np.full((8, 8, 3), 1j), "complex|ndarray"),
        (None, "NoneType"),
        ({"a": 1}, "dict"),
        (b"cat.jpg", "known format"),
        (3, "shape ()"),
        (object(), "object"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_was_found(source: object, words: str) -> None:
    with pytest.raises(DataError) as caught:
        EXACT.pixels(source)
    assert any(word in str(caught.value) for word in words.split("|"))
    assert "\n" not in str(caught.value)


# -- the same pixels as timm ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resize", "crop_mode"), [("squash", "squash"), ("crop", "center"), ("pad", "border")])
def test_pixels_are_those_of_timms_own_transform(
    tmp_path: Path, resize: str, crop_mode: str, interpolation: str
) -> None:
    for number, (width, height) in enumerate([(37, 53), (53, 37), (301, 97), (33, 33), (224, 225), (500, 375), (5, 9)]):
        file = tmp_path / f"{number}.png"
        photo(width, height, number).save(file)
        for size, crop_pct in [
            (32, 1.0),
            (65, 0.875 if resize == "crop" else 1.0),
            (96, 0.9 if resize == "crop" else 1),
        ]:
            prepared = Preparation(size=size, resize=resize, crop_pct=crop_pct, interpolation=interpolation)
            transform = timm.data.create_transform(
                (3, size, size),
                interpolation=interpolation,
                mean=prepared.mean,
                std=prepared.std,
                crop_pct=crop_pct,
                crop_mode=crop_mode,
                normalize=False,
            )
            with Image.open(file) as picture:
                theirs = np.asarray(transform(picture.convert("RGB")))
            theirs = theirs.transpose(1, 2, 0) if theirs.shape[0] == 3 else theirs
            np.testing.assert_array_equal(prepared.pixels(file), theirs, err_msg=f"{width}x{height} at {size}")


# -- paths, PIL images and arrays -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_a_path_a_pil_image_and_an_array_give_the_same_pixels(tmp_path: Path, suffix: str, resize: str) -> None:
    file = tmp_path / f"small.{suffix}"
    photo(45, 33).save(file)
    prepared = Preparation(size=32, resize=resize)
    expected = prepared.pixels(file)
    np.testing.assert_array_equal(prepared.pixels(str(file)), expected)
    with Image.open(file) as lazy:
        np.testing.assert_array_equal(prepared.pixels(lazy), expected)
    with Image.open(file) as loaded:
        np.testing.assert_array_equal(prepared.pixels(np.asarray(loaded)), expected)


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [(1200, 900), (900, 1600), (700, 700)])
def test_decoding_a_large_jpeg_small_changes_next_to_nothing(
    tmp_path: Path, size: tuple[int, int], resize: str
) -> None:
    file = tmp_path / "large.jpg"
    photo(*size, wave=100.0).save(file, quality=92)
    prepared = Preparation(size=96, resize=resize, interpolation="bilinear")
    with Image.open(file) as picture:
        full = prepared.pixels(np.asarray(picture))
    assert np.abs(prepared.pixels(file).astype(int) - full).mean() < 1.0


def test_a_pil_image_of_the_caller_stays_as_it_was(tmp_path: Path) -> None:
    photo(1200, 900).save(tmp_path / "large.jpg", exif=oriented(6))
    with Image.open(tmp_path / "large.jpg") as lazy:
        EXACT.pixels(lazy)
        EXACT.augmented(lazy, Augment(hflip=1.0), np.random.default_rng(0))
        assert (lazy.size, lazy.mode, lazy.getexif()[0x0112]) == ((1200, 900), "RGB", 6)
        with Image.open(tmp_path / "large.jpg") as fresh:
            np.testing.assert_array_equal(np.asarray(lazy), np.asarray(fresh))
    clear = Image.new("RGBA", (32, 32), (1, 2, 3, 4))
    EXACT.pixels(clear)
    assert clear.mode == "RGBA"
    assert clear.getpixel((0, 0)) == (1, 2, 3, 4)


def test_an_array_of_the_caller_stays_as_it_was() -> None:
    values = np.zeros((32, 32, 3), np.uint8)
    EXACT.augmented(values, Augment(random_erasing=1.0), np.random.default_rng(0))
    assert not values.any()


def test_the_pixels_can_be_written_to() -> None:
    pixels = EXACT.pixels(np.zeros((32, 32, 3), np.uint8))
    assert (pixels.dtype, pixels.shape, pixels.flags.writeable) == (np.uint8, (32, 32, 3), True)


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1)])
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_the_smallest_and_thinnest_pictures_work(shape: tuple[int, int], resize: str) -> None:
    prepared = Preparation(size=32, resize=resize)
    picture = Image.new("RGB", shape, (9, 8, 7))
    assert prepared.pixels(picture).shape == (32, 32, 3)
    augment = Augment(crop_scale=0.3, hflip=0.5, random_erasing=0.5)
    assert prepared.augmented(picture, augment, np.random.default_rng(0)).shape == (32, 32, 3)


# -- augmentation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["none", "trivialaugment", "randaugment"])
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_the_same_seed_gives_the_same_view_and_another_seed_another(policy: str, resize: str) -> None:
    augment = Augment(crop_scale=0.4, hflip=0.5, auto_augment=policy, random_erasing=0.5)
    prepared, picture = Preparation(size=48, resize=resize), photo(80, 60)

    def view(seed: int) -> bytes:
        pixels = prepared.augmented(picture, augment, np.random.default_rng(seed))
        assert (pixels.shape, pixels.dtype) == ((48, 48, 3), np.uint8)
        return pixels.tobytes()

    first = [view(seed) for seed in range(4)]
    torch.rand(3)  # torch's own state plays no part
    assert [view(seed) for seed in range(4)] == first
    assert len(set(first)) == 4


def test_a_policy_leaves_the_random_state_of_torch_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    EXACT.augmented(photo(40, 40), Augment(auto_augment="trivialaugment"), np.random.default_rng(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_no_augmentation_is_the_plain_picture() -> None:
    picture = photo(80, 60)
    np.testing.assert_array_equal(EXACT.augmented(picture, Augment(), np.random.default_rng(0)), EXACT.pixels(picture))


def test_a_certain_flip_mirrors_the_picture() -> None:
    picture = photo(80, 60)
    view = EXACT.augmented(picture, Augment(hflip=1.0), np.random.default_rng(0))
    np.testing.assert_array_equal(view, EXACT.pixels(picture)[:, ::-1])


def test_augmenting_a_path_and_its_pil_image_gives_the_same_view(tmp_path: Path) -> None:
    turned(photo(60, 44), 6).save(tmp_path / "turned.png", exif=oriented(6))
    augment = Augment(crop_scale=0.4, hflip=0.5)
    with Image.open(tmp_path / "turned.png") as picture:
        view = EXACT.augmented(picture, augment, np.random.default_rng(3))
    np.testing.assert_array_equal(EXACT.augmented(tmp_path / "turned.png", augment, np.random.default_rng(3)), view)


# -- what cannot be read ----------------------------------------------------------------------------------------------


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + png_chunk(b"IEND", b"")
    )


def failure(path: Path | str) -> ImageError:
    """The error that reading gives, checked to be the same in every way of reading."""
    for read in (EXACT.pixels, lambda file: EXACT.augmented(file, Augment(), np.random.default_rng(0))):
        with pytest.raises(ImageError) as caught:
            read(path)
    error = caught.value
    assert error.file == str(path)
    assert str(error) == f"{path} {error.reason}"
    assert "\n" not in str(error)
    if os.path.exists(path):
        assert look(str(path)).error == error.reason
    return error


def test_a_truncated_jpeg_is_an_error_that_names_it(tmp_path: Path) -> None:
    photo(300, 200).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(content[: len(content) // 2])
    assert "truncated" in failure(tmp_path / "half.jpg").reason


@pytest.mark.parametrize("suffix", ["png", "gif", "tiff", "bmp", "webp", "avif", "ppm"])
def test_a_truncated_file_of_any_format_is_an_error_that_names_it(tmp_path: Path, suffix: str) -> None:
    photo(300, 200).save(tmp_path / f"whole.{suffix}")
    content = (tmp_path / f"whole.{suffix}").read_bytes()
    (tmp_path / f"half.{suffix}").write_bytes(content[: len(content) // 2])
    failure(tmp_path / f"half.{suffix}")


def test_an_empty_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    assert failure(tmp_path / "empty.jpg").reason == "is empty (0 bytes)"


@pytest.mark.parametrize(
    "content", [b"<!DOCTYPE html><p>404", b"\n <html>404", b"<svg xmlns=''/>", b"<?xml version='1.0'?>"]
)
def test_a_web_page_called_jpg_is_an_error_that_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "page.jpg").write_bytes(content)
    assert "web page" in failure(tmp_path / "page.jpg").reason


def test_text_called_jpg_is_an_error_that_lists_the_formats(tmp_path: Path) -> None:
    (tmp_path / "note.jpg").write_text("a note")
    assert "JPEG, PNG" in failure(tmp_path / "note.jpg").reason


def test_a_heic_called_jpg_is_an_error_that_tells_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    assert "convert" in failure(tmp_path / "phone.jpg").reason


def test_an_eps_called_jpg_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "gs"
    fake.write_text(f"#!/bin/sh\ntouch '{tmp_path}/started'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    (tmp_path / "photo.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    )
    failure(tmp_path / "photo.jpg")
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("place", [29, 45])  # in the checksum of the header, in the compressed pixels
def test_a_damaged_png_is_an_error_each_time(tmp_path: Path, place: int) -> None:
    photo(64, 64).save(tmp_path / "bad.png")
    content = bytearray((tmp_path / "bad.png").read_bytes())
    content[place] ^= 0xFF
    (tmp_path / "bad.png").write_bytes(bytes(content))
    assert failure(tmp_path / "bad.png").reason == failure(tmp_path / "bad.png").reason


def test_a_decompression_bomb_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb())
    assert "more pixels than is safe" in failure(tmp_path / "bomb.png").reason


def test_a_text_bomb_in_a_png_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "talk.png")
    content = (tmp_path / "talk.png").read_bytes()
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000)))
    (tmp_path / "talk.png").write_bytes(content[:33] + text + content[33:])
    failure(tmp_path / "talk.png")


def test_a_pipe_a_device_and_a_folder_are_no_pictures(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "no regular file" in failure(tmp_path / "pipe.jpg").reason
    assert "no regular file" in failure("/dev/zero").reason
    (tmp_path / "folder.jpg").mkdir()
    assert "is a folder" in failure(tmp_path / "folder.jpg").reason


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    assert failure(tmp_path / "nowhere.jpg").reason == "does not exist"


def test_a_name_with_a_nul_byte_is_an_error() -> None:
    with pytest.raises(ImageError):
        EXACT.pixels("a\0b.jpg")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error_that_says_so(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (tmp_path / "secret.png").chmod(0)
    assert "permission" in failure(tmp_path / "secret.png").reason


def test_a_damaged_pil_image_is_an_error_that_names_its_file(tmp_path: Path) -> None:
    photo(300, 200).save(tmp_path / "half.jpg")
    content = (tmp_path / "half.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(content[: len(content) // 2])
    with Image.open(tmp_path / "half.jpg") as lazy, pytest.raises(ImageError, match=r"half\.jpg"):
        EXACT.pixels(lazy)


def test_a_closed_pil_image_is_an_error(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "closed.png")
    with Image.open(tmp_path / "closed.png") as closed:
        pass
    with pytest.raises(ImageError, match=r"closed\.png"):
        EXACT.pixels(closed)


def test_an_odd_name_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2Jb\n.jpg").touch()
    with pytest.raises(ImageError) as caught:
        EXACT.pixels(tmp_path / "a\x1b[2Jb\n.jpg")
    assert "\\x1b[2Jb\\n.jpg is empty" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["an emoji \U0001f408.png", 'it\'s "so".png', "two\nlines.png", " space .png"])
def test_pictures_of_any_name_open(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / name)
    assert EXACT.pixels(tmp_path / name)[0, 0].tolist() == [255, 0, 0]


def test_a_picture_whose_name_is_not_utf_8_opens(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    with open(name, "wb") as file:
        Image.new("RGB", (8, 8), "red").save(file, "PNG")
    assert EXACT.pixels(name)[0, 0].tolist() == [255, 0, 0]
    os.truncate(name, 0)
    with pytest.raises(ImageError, match="xe9"):
        EXACT.pixels(name)


def test_an_error_comes_home_from_another_process_whole() -> None:
    error = pickle.loads(pickle.dumps(ImageError("cat.jpg", "is empty")))
    assert (type(error), error.file, error.reason, str(error)) == (
        ImageError,
        "cat.jpg",
        "is empty",
        "cat.jpg is empty",
    )


def test_reading_changes_neither_a_file_nor_its_times(tmp_path: Path) -> None:
    file = tmp_path / "turned.jpg"
    photo(300, 200).save(file, exif=oriented(6))
    os.utime(file, ns=(10**18, 10**18))
    before = hashlib.sha256(file.read_bytes()).digest(), stat.S_IMODE(file.stat().st_mode)
    EXACT.pixels(file)
    assert (hashlib.sha256(file.read_bytes()).digest(), stat.S_IMODE(file.stat().st_mode)) == before
    assert file.stat().st_mtime_ns == 10**18


def test_a_file_is_closed_after_reading(tmp_path: Path) -> None:
    photo(64, 64).save(tmp_path / "a.jpg")
    with opened(tmp_path / "a.jpg") as picture:
        picture.load()
    held = [
        os.readlink(f"/proc/self/fd/{number}")
        for number in os.listdir("/proc/self/fd")
        if os.path.lexists(f"/proc/self/fd/{number}")
    ]
    assert not any(name.endswith("/a.jpg") for name in held)


# -- finding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [".DS_Store", "._cat.jpg", "Thumbs.db", "__MACOSX", "@eaDir", ".ipynb_checkpoints", "desktop.ini"]
)
def test_what_systems_leave_behind_is_ignored(name: str) -> None:
    assert ignored(name)


@pytest.mark.parametrize("name", ["CAT.JPG", "cat.Jpeg", "cat.PNG", "cat.tif", "cat.jfif", "cat.avif", "cat.webp"])
def test_a_picture_is_known_by_its_suffix_in_any_case(name: str) -> None:
    assert looks_like_picture(name)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM"])
@pytest.mark.parametrize("name", ["without", "wrong.txt", "cat.jpg_large"])
def test_a_picture_with_a_wrong_or_no_suffix_is_known_by_its_content(tmp_path: Path, form: str, name: str) -> None:
    Image.new("RGB", (16, 16), "red").save(tmp_path / name, form)
    assert looks_like_picture(str(tmp_path / name))
    assert look(str(tmp_path / name)).error is None


def test_texts_are_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("BMW drivers")  # a text may begin like a BMP
    (tmp_path / "list.csv").write_text("a,b\n")
    (tmp_path / "empty").touch()
    assert pictures_in(tmp_path)[0] == []


def test_a_folder_is_walked_in_order_and_links_in_a_circle_end(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/10.png", "a/z.png", "c.png", "B.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b" / "self").symlink_to(".")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "pipe.png")
    found, others = pictures_in(tmp_path)
    names = [os.path.relpath(path, tmp_path) for path in found]
    assert names == ["B.png", "c.png", "gone.png", "a/z.png", "b/10.png", "b/2.png"]
    assert look(found[2]).error == "does not exist"  # so it is counted, and not passed over
    assert others == []


def test_what_was_left_out_is_counted_by_suffix_with_a_remedy() -> None:
    words = left_out(["a.heic", "b.HEIC", "c.txt", "d"])
    assert words == "4 other files: 2 .heic (convert them to JPEG), 1 .txt, 1 without a suffix"


# -- pictures that are no files ---------------------------------------------------------------------------------------


class Fetched:
    """Something in a data set that is fetched when it is needed."""

    def __init__(self, found: object, name: str = "item 12") -> None:
        self.found, self.name = found, name

    def __str__(self) -> str:
        return self.name

    def fetch(self) -> object:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_the_bytes_of_a_file_give_the_same_pixels_as_the_file(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"photo.{suffix}"
    turned(photo(480, 320), 6).save(file, exif=oriented(6))
    content = file.read_bytes()
    sources = [content, bytearray(content), memoryview(content), {"bytes": content, "path": None}]
    sources += [{"bytes": None, "path": str(file)}, {"path": file}, {"bytes": content, "path": "elsewhere.png"}]
    for source in [*sources, *map(Fetched, [str(file), file, *sources])]:
        np.testing.assert_array_equal(EXACT.pixels(source), EXACT.pixels(file))
        assert size_of(source) == (480, 320)
        assert look(source) == look(file)
    assert file.read_bytes() == content


def test_pictures_and_arrays_may_be_fetched_and_are_not_changed() -> None:
    picture = photo(40, 30).convert("P")
    before = picture.tobytes()
    for source in (picture, np.asarray(photo(40, 30)), torch.from_numpy(np.array(photo(40, 30))).permute(2, 0, 1)):
        np.testing.assert_array_equal(EXACT.pixels(Fetched(source)), EXACT.pixels(source))
    assert picture.tobytes() == before


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (b"", "item 12 is empty (0 bytes)"),
        (b"no picture", "item 12 is not a picture in a known format (JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, PNM)"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "item 12 is not a picture in a known format"),
        (b"<html></html>", "item 12 is a web page or drawing (HTML, XML or SVG), not a picture of pixels"),
        ("missing.png", "item 12 (missing.png) does not exist"),
        ({"bytes": None, "path": "missing.png"}, "item 12 (missing.png) does not exist"),
        ({"bytes": None, "path": None}, "item 12 is empty"),
        ({"a": 1}, "item 12 is a dict without bytes and path"),
        (
            None,
            "item 12 cannot be used: expected a path, a PIL image, an array, a tensor or the bytes of a file, found",
        ),
        (np.full((4, 4, 3), -2.0), "item 12 cannot be used: expected pixel values 0 to 255 as integers or 0 to 1"),
        (np.zeros((5, 5, 7)), "item 12 cannot be used: expected one picture of shape (height, width)"),
        (KeyError("gone\nand away"), "item 12 cannot be fetched (KeyError: 'gone"),
    ],
)
def test_a_fetched_thing_that_is_no_picture_is_called_by_its_name(found: object, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        EXACT.pixels(Fetched(found))
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)
    assert look(Fetched(found)).error == caught.value.reason
    assert pickle.loads(pickle.dumps(caught.value)).reason == caught.value.reason


def test_bytes_that_are_cut_off_or_declare_too_much_are_refused_like_files(tmp_path: Path) -> None:
    photo(64, 64).save(tmp_path / "cut.png")
    content = (tmp_path / "cut.png").read_bytes()
    for source in (content[:-200], {"bytes": content[:-200], "path": "cut.png"}, Fetched(content[:-200])):
        assert str(look(source).error).startswith("is damaged (")
    huge = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = content[:16] + huge + struct.pack(">I", zlib.crc32(b"IHDR" + huge)) + content[33:]
    assert str(look(bomb).error).startswith("declares more pixels than is safe to open")
    with pytest.raises(ImageError, match=r"^cut\.png is damaged"):
        EXACT.pixels({"bytes": content[:-200], "path": "cut.png"})


def test_what_has_no_name_is_never_called_by_its_address() -> None:
    class Nameless:
        def fetch(self) -> bytes:
            return b"nothing"

    with pytest.raises(ImageError, match=r"^the picture is not a picture"):
        EXACT.pixels(Nameless())
    with pytest.raises(ImageError, match=r"^\\x1b\[2Jevil is empty"):
        EXACT.pixels(Fetched(b"", "\x1b[2Jevil"))


def test_an_array_that_is_no_picture_is_not_readable_for_the_same_reason() -> None:
    assert str(look(np.full((4, 4, 3), -2.0)).error).endswith("pass the picture before normalisation")
