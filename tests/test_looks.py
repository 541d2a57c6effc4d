"""Looks at pictures: what cannot be read, what each is like, and which show the same."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from recipes import images, looks
from recipes.errors import ImageError
from recipes.looks import Look, exact_duplicates, look, near_duplicates, quick_looks


def draw(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A picture with much in it: coloured shapes of all sizes on a ground of its own, a little noise over all."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist()))
    pen = ImageDraw.Draw(picture)
    for _ in range(40):
        (left, top), extent = rng.uniform(0, 1, 2) * size, rng.uniform(0.05, 0.4) * min(size)
        colour = tuple(rng.integers(0, 256, 3).tolist())
        (pen.ellipse if rng.random() < 0.5 else pen.rectangle)((left, top, left + extent, top + extent), fill=colour)
    noise = rng.normal(0, 6, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))


def cross(colour: str, ground: str = "white") -> Image.Image:
    picture = Image.new("RGB", (96, 96), ground)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((40, 12, 54, 80), fill=colour)
    pen.rectangle((12, 30, 80, 44), fill=colour)
    return picture


def alone(found: list[int]) -> bool:
    return found == list(range(len(found)))


def groups(*sources: object) -> list[int]:
    return near_duplicates([look(source) for source in sources])


# ---------------------------------------------------------------------------------------------------------------------
# One look


@pytest.mark.parametrize(
    ("name", "kind", "mode"),
    [("a.jpg", "JPEG", "RGB"), ("a.png", "PNG", "RGB"), ("grey.jpg", "JPEG", "L"), ("a.webp", "WEBP", "RGB")],
)
def test_one_look_tells_size_mode_and_format(tmp_path: Path, name: str, kind: str, mode: str) -> None:
    draw(1).convert(mode).save(tmp_path / name)
    found = look(str(tmp_path / name))
    assert (found.error, found.size, found.mode, found.format) == (None, (320, 240), mode, kind)
    assert found.hash is not None
    assert 0 <= found.hash < 2**64
    assert pickle.loads(pickle.dumps(found)) == found


def test_the_format_is_that_of_the_content(tmp_path: Path) -> None:
    draw(1).save(tmp_path / "wrong.jpg", format="PNG")
    assert look(tmp_path / "wrong.jpg").format == "PNG"


def test_a_turned_picture_has_the_size_that_people_see(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    draw(1).save(tmp_path / "turned.jpg", exif=exif)
    draw(1).transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright.png")
    turned, upright = look(tmp_path / "turned.jpg"), look(tmp_path / "upright.png")
    assert turned.size == upright.size == (240, 320)
    assert near_duplicates([turned, upright]) == [0, 0]


def test_pictures_and_arrays_in_memory_are_looked_at_like_files(tmp_path: Path) -> None:
    picture = draw(1)
    picture.save(tmp_path / "a.png")
    from_file, from_picture, from_array = look(tmp_path / "a.png"), look(picture), look(np.asarray(picture))
    assert from_file.thumbnail == from_picture.thumbnail == from_array.thumbnail
    assert from_array.size == (320, 240)


def test_errors_are_those_of_reading(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    draw(1).save(whole)
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:3000])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "page.png").write_text("<!DOCTYPE html><html>no picture</html>")
    for name in ("cut.jpg", "empty.jpg", "page.png", "missing.jpg"):
        path = str(tmp_path / name)
        with pytest.raises(ImageError) as caught, images.opened(path) as lazy:
            images.loaded(lazy, 32, 32)
        assert look(path) == Look(caught.value.reason)
    assert look(str(whole)).error is None
    assert "shape (2, 3, 4, 5)" in str(look(np.zeros((2, 3, 4, 5), np.uint8)).error)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F", "I"])
def test_every_mode_has_a_look(mode: str) -> None:
    picture = draw(1).convert("L" if mode in ("I;16", "F", "I") else mode)
    if mode in ("I;16", "F", "I"):
        kind = {"I;16": np.uint16, "F": np.float32, "I": np.int32}[mode]
        picture = Image.fromarray((np.asarray(picture) * (257.0 if mode == "I;16" else 1.0)).astype(kind))
    found = look(picture)
    assert (found.error, found.mode) == (None, mode)
    assert found.hash is not None


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3000, 2), (23, 25)])
def test_pictures_of_any_shape_have_a_look(size: tuple[int, int], tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        draw(1, size).save(tmp_path / name)
        assert look(tmp_path / name).size == size
        assert look(tmp_path / name).error is None


def test_looks_come_in_the_order_of_the_sources(tmp_path: Path) -> None:
    paths = []
    for number in range(40):
        paths.append(str(tmp_path / f"{number}.png"))
        draw(number, (50 + number, 40)).save(paths[-1])
    assert [one.size[0] for one in looks.looks(paths)] == list(range(50, 90))
    assert looks.looks([]) == []


# ---------------------------------------------------------------------------------------------------------------------
# Very many


def test_of_few_pictures_all_are_decoded(tmp_path: Path) -> None:
    draw(1).save(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:3000])
    found, note = quick_looks([str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")], seed=0)
    assert note == ""
    assert [one and one.error is None for one in found] == [True, False]


def test_of_many_a_sample_is_decoded_and_every_file_that_does_not_begin_like_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "MANY", 50)
    monkeypatch.setattr(looks, "SAMPLE", 10)
    draw(1, (40, 30)).save(tmp_path / "0.jpg")
    paths = [str(tmp_path / f"{number}.jpg") for number in range(100)]
    for path in paths[1:]:
        shutil.copy(paths[0], path)
    Path(paths[7]).write_bytes(b"")
    Path(paths[8]).write_bytes(b"no picture at all")
    os.unlink(paths[9])
    found, note = quick_looks(paths, seed=0)
    assert [str(found[place] and found[place].error) for place in (7, 8, 9)] == [
        "is empty (0 bytes)",
        "is not a picture in a known format (JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, PNM)",
        "does not exist",
    ]
    seen = {place for place, one in enumerate(found) if one is not None} - {7, 8, 9}
    assert 7 <= len(seen) <= 10
    assert note.startswith("100 pictures are many: 10 of them, drawn at random, were decoded")
    again, _ = quick_looks(paths, seed=0)
    assert again == found
    other, _ = quick_looks(paths, seed=1)
    assert {place for place, one in enumerate(other) if one is not None} - {7, 8, 9} != seen


def test_what_begins_unlike_a_picture_and_is_one_has_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "MANY", 1)
    monkeypatch.setattr(looks, "SAMPLE", 1)
    draw(1).save(tmp_path / "a.bmp")
    content = bytearray((tmp_path / "a.bmp").read_bytes())
    content[6:10] = b"mine"  # bytes that programs may use as they like
    (tmp_path / "a.bmp").write_bytes(content)
    assert not images.begins_like_picture(str(tmp_path / "a.bmp"))
    found, _ = quick_looks([str(tmp_path / "a.bmp")] * 3, seed=0)
    assert [one and one.error for one in found] == [None] * 3
    assert None not in found


def test_a_pipe_that_is_called_like_a_picture_does_not_stop_the_run(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert not images.begins_like_picture(str(tmp_path / "pipe.jpg"))
    assert look(tmp_path / "pipe.jpg").error == "is no regular file"
    assert alone(exact_duplicates([tmp_path / "pipe.jpg"] * 2))


# ---------------------------------------------------------------------------------------------------------------------
# Near-duplicates

CHANGES = {
    "jpeg 30": lambda one: (one, "jpg", {"quality": 30}),
    "jpeg 95": lambda one: (one, "jpg", {"quality": 95}),
    "png": lambda one: (one, "png", {}),
    "webp": lambda one: (one, "webp", {"quality": 80}),
    "a quarter": lambda one: (one.resize((one.width // 4, one.height // 4)), "jpg", {}),
    "three quarters": lambda one: (one.resize((one.width * 3 // 4, one.height * 3 // 4)), "jpg", {}),
    "double": lambda one: (one.resize((one.width * 2, one.height * 2)), "jpg", {}),
    "squashed": lambda one: (one.resize((224, 224)), "png", {}),
    "brighter": lambda one: (ImageEnhance.Brightness(one).enhance(1.15), "jpg", {}),
    "darker": lambda one: (ImageEnhance.Brightness(one).enhance(0.85), "jpg", {}),
    "grey": lambda one: (one.convert("L"), "jpg", {}),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_changed_copy_shows_the_same(change: str, tmp_path: Path) -> None:
    originals = [draw(seed, (400 + 31 * seed, 300 + 17 * seed)) for seed in range(6)]
    paths = []
    for number, original in enumerate(originals):
        original.save(tmp_path / f"{number}-original.jpg", quality=90)
        changed, suffix, how = CHANGES[change](original)
        changed.save(tmp_path / f"{number}-changed.{suffix}", **how)
        paths.append(str(tmp_path / f"{number}-changed.{suffix}"))
    found = groups(*(str(tmp_path / f"{number}-original.jpg") for number in range(6)), *paths)
    assert found == [*range(6), *range(6)]


def test_different_pictures_are_alone() -> None:
    assert alone(groups(*map(draw, range(60))))


def test_a_picture_with_nothing_to_see_is_never_a_near_duplicate() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 200, dtype=np.uint8), (150, 200))
    faint = np.random.default_rng(0).normal(128, 2, (2, 150, 200)).astype(np.uint8)
    flat = [Image.new("RGB", (80, 60), colour) for colour in ("white", "white", "black", "red")]
    found = [look(one) for one in (*flat, ramp, ramp.copy(), *faint)]
    assert [one.hash for one in found] == [None] * 8
    assert [one.error for one in found] == [None] * 8
    assert alone(near_duplicates(found))


def test_the_same_shape_in_another_colour_is_another_picture() -> None:
    assert alone(groups(cross("red"), cross("green"), cross("blue"), cross("yellow")))
    assert alone(groups(cross("black"), cross("lightgrey"), cross("white", "black")))
    assert groups(cross("red"), cross("red").convert("L")) == [0, 0]  # without colour nothing speaks against it


def test_a_mirrored_picture_is_another_one() -> None:
    assert alone(groups(draw(1), ImageOps.mirror(draw(1))))


def test_what_cannot_be_read_or_was_not_looked_at_is_alone() -> None:
    one = look(draw(1))
    assert near_duplicates([None, one, Look("is empty"), one, None, Look("is empty")]) == [0, 1, 2, 1, 4, 5]
    assert near_duplicates([]) == []
    assert near_duplicates([None]) == [0]


def test_a_chain_of_small_steps_is_no_single_group() -> None:
    def blended(one: Image.Image, other: Image.Image, share: float) -> Image.Image:
        return Image.blend(one, other, share)

    scenes = [draw(seed) for seed in range(4)]
    film = [blended(scenes[scene], scenes[scene + 1], step / 20) for scene in range(3) for step in range(20)]
    seen = [look(frame) for frame in film]
    found = near_duplicates(seen)
    assert all(found[place] in (place, found[place - 1]) for place in range(1, 60))  # neighbours or a new beginning
    sizes = [found.count(first) for first in set(found)]
    assert 6 <= len(sizes) <= 30
    assert max(sizes) <= 15
    for place, first in enumerate(found):
        assert correlation(seen[first], seen[place]) >= 0.9


def correlation(one: Look, other: Look) -> float:
    grey = [np.frombuffer(each.thumbnail, np.uint8, 576).reshape(24, 24).astype(float) for each in (one, other)]
    slopes = [np.concatenate([np.diff(each, axis=1).ravel(), np.diff(each, axis=0).ravel()]) for each in grey]
    return float(slopes[0] @ slopes[1] / np.linalg.norm(slopes[0]) / np.linalg.norm(slopes[1]))


def test_a_thousand_copies_of_one_picture_are_one_group_beside_others() -> None:
    copied, rng = look(draw(1)), np.random.default_rng(0)
    noisy = []
    for _ in range(1000):
        grey = np.frombuffer(copied.thumbnail, np.uint8, 576) + rng.normal(0, 1, 576).round()
        thumbnail = grey.clip(0, 255).astype(np.uint8).tobytes() + copied.thumbnail[576:]
        noisy.append(Look(None, (320, 240), "RGB", "JPEG", looks._hash(thumbnail), thumbnail))
    others = [look(draw(seed)) for seed in range(2, 12)]
    found = near_duplicates([others[0], copied, *noisy, *others[1:]])
    assert found == [0, *[1] * 1001, *range(1002, 1011)]


def test_pairs_are_those_that_comparing_each_with_each_finds() -> None:
    rng = np.random.default_rng(0)
    thumbnails = [np.frombuffer(look(draw(seed)).thumbnail, np.uint8).astype(float) for seed in range(12)]
    seen = []
    for number in range(400):
        mixed = thumbnails[number % 12] + rng.uniform(0, 12) * rng.normal(0, 1, 608) * (np.arange(608) < 576)
        thumbnail = mixed.round().clip(0, 255).astype(np.uint8).tobytes()
        seen.append(Look(None, (320, 240), "RGB", "JPEG", looks._hash(thumbnail), thumbnail))
    every = np.asarray([(one, other) for other in range(400) for one in range(other)])
    hashes = np.asarray([one.hash for one in seen], np.uint64)
    apart = np.asarray([bin(int(hashes[one] ^ hashes[other])).count("1") for one, other in every])
    same = looks._alike(every, seen)
    found = set(map(tuple, looks._pairs(seen).tolist()))
    assert set(map(tuple, every[same & (apart <= 6)].tolist())) <= found
    assert found <= set(map(tuple, every[same & (apart <= 8)].tolist()))
    assert len(found) > 500


# ---------------------------------------------------------------------------------------------------------------------
# Exact duplicates


def test_files_with_the_same_bytes_are_found_whatever_they_are_called(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    long, begin = rng.bytes(50_000), rng.bytes(5_000)
    contents = [long, b"a", long, b"b", b"a", begin + b"x" * 9, begin + b"y" * 9, long[:-1] + b"!", b"", b"", begin]
    paths: list[object] = []
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.jpg").write_bytes(content)
        paths.append(tmp_path / f"{number}.jpg" if number % 2 else str(tmp_path / f"{number}.jpg"))
    paths += [str(tmp_path / "missing.jpg"), str(tmp_path), np.zeros((4, 4)), "\0.jpg"]
    assert exact_duplicates(paths) == [0, 1, 0, 3, 1, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    assert exact_duplicates([]) == []
