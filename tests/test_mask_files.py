"""Masks as files: what is written is read back as it was, nothing is overwritten, pictures show what they should."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from recipes.errors import DataError, OptionError, OutputError
from recipes.mask_files import FORMATS, IGNORED_COLOUR, areas, grid, identities, output_names, overlay, write_mask

LABELS = ("ground", "cat", "dog")
COLOURS = ((0, 0, 0), (220, 30, 20), (20, 60, 230))


def drawn(width: int = 40, height: int = 30) -> NDArray[np.uint8]:
    """A cat with a hole, and two dogs, one of them in the corner."""
    mask = np.zeros((height, width), np.uint8)
    mask[5:20, 5:25] = 1
    mask[10:14, 10:18] = 0
    mask[11:13, 12:14] = 2
    mask[24:, 30:] = 2
    return mask


def noise(seed: int, shape: tuple[int, int], labels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, labels, shape).astype(np.uint8)


def write(folder: Path, mask: NDArray[np.uint8], kind: str, picture: Any = None, **how: Any) -> list[Path]:
    picture = np.full((*mask.shape, 3), 200, np.uint8) if picture is None else picture
    return write_mask(folder, "one", mask, LABELS, COLOURS, kind, picture, **how)


def features(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["features"]
    return found


def filled(rings: list[list[list[int]]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels with an odd number of upright edges to their left."""
    turns = np.zeros((shape[0], shape[1] + 1), np.uint8)
    for ring in rings:
        for (x, y), (other, end) in pairwise(ring):
            if x == other:
                turns[min(y, end) : max(y, end), x] ^= 1
    return np.bitwise_xor.accumulate(turns, axis=1)[:, :-1] > 0


def flooded(inside: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
    """The regions that hang together by their sides, one after the other, the slow and simple way."""
    left = inside.copy()
    while left.any():
        waiting, region = [tuple(np.argwhere(left)[0])], np.zeros_like(inside)
        while waiting:
            y, x = waiting.pop()
            if 0 <= y < inside.shape[0] and 0 <= x < inside.shape[1] and left[y, x]:
                left[y, x], region[y, x] = False, True
                waiting += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        yield region


def unpacked(counts: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """COCO's compressed code, read as its format is described: five bits a character, differences from the third on."""
    lengths: list[int] = []
    place = 0
    while place < len(counts):
        value = shift = 0
        while True:
            bits = ord(counts[place]) - 48
            place += 1
            value |= (bits & 31) << shift
            shift += 5
            if not bits & 32:
                break
        value -= (bits & 16) and 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
    flat = np.repeat(np.arange(len(lengths)) % 2 > 0, lengths)
    return flat.reshape(shape[::-1]).T


# ---------------------------------------------------------------------------------------------------------------------
# Round trips


@pytest.mark.parametrize("number", [2, 3, 7, 40, 255])
def test_an_index_png_gives_the_mask_back_with_its_colours(number: int, tmp_path: Path) -> None:
    mask = noise(1, (31, 17), number)
    colours = [(place, 255 - place, place // 2) for place in range(number)]
    (path,) = write_mask(tmp_path, "a", mask, [str(place) for place in range(number)], colours, "index")
    with Image.open(path) as read:
        assert (path.name, read.mode) == ("a.png", "P")
        assert (np.asarray(read) == mask).all()
        assert (np.asarray(read.convert("RGB")) == np.array(colours, np.uint8)[mask]).all()


def test_ignored_pixels_survive_an_index_png(tmp_path: Path) -> None:
    mask = drawn()
    mask[0] = 255
    (path,) = write(tmp_path, mask, "index")
    with Image.open(path) as read:
        assert (np.asarray(read) == mask).all()
        assert read.convert("RGB").getpixel((0, 0)) == IGNORED_COLOUR


def test_two_labels_become_one_binary_png(tmp_path: Path) -> None:
    mask = noise(2, (9, 11), 2)
    (path,) = write_mask(tmp_path, "below/a", mask, ("no", "yes"), COLOURS[:2], "binary")
    assert path == tmp_path / "below" / "a.png"
    with Image.open(path) as read:
        assert read.mode == "L"
        assert (np.asarray(read) == mask * 255).all()


def test_more_labels_become_a_folder_of_binary_pngs_without_the_background(tmp_path: Path) -> None:
    mask = drawn()
    mask[mask == 2] = 0
    paths = write(tmp_path, mask, "binary")
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["one/cat.png", "one/dog.png"]
    for place, path in enumerate(paths, start=1):
        with Image.open(path) as read:
            assert (np.asarray(read) == (mask == place) * 255).all()
    assert [path.stem for path in write(tmp_path / "all", mask, "binary", background=True)] == list(LABELS)


def test_labels_that_no_file_can_be_called_get_safe_and_different_names(tmp_path: Path) -> None:
    labels = ("ground", "../up", "a/b", "a:b", "A_B", "")
    paths = write_mask(tmp_path, "x", drawn(), labels, [(0, 0, 0)] * 6, "binary")
    assert [path.relative_to(tmp_path / "x").as_posix() for path in paths] == [
        "__up.png",
        "a_b.png",
        "a_b-2.png",
        "A_B-3.png",
        "_.png",
    ]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' decode with numpy 2
@pytest.mark.parametrize("seed", [None, 3])
def test_run_length_code_gives_each_label_back(seed: int | None, tmp_path: Path) -> None:
    from pycocotools import mask as coco

    mask = drawn() if seed is None else noise(seed, (23, 31))
    (path,) = write(tmp_path, mask, "rle", "cats/a.jpg")
    read = json.loads(path.read_text())
    assert (path.name, read["image"], read["size"]) == ("one.json", "cats/a.jpg", list(mask.shape))
    assert [each["label"] for each in read["annotations"]] == ["cat", "dog"]
    for each in read["annotations"]:
        inside = mask == LABELS.index(each["label"])
        code = each["segmentation"]
        assert (coco.decode(code) == inside).all()
        assert (unpacked(code["counts"], mask.shape) == inside).all()
        assert each["area"] == inside.sum()
        y, x = np.nonzero(inside)
        assert each["bbox"] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (12, 15), (520, 6)])
@pytest.mark.parametrize("seed", range(4))
def test_polygons_cover_exactly_the_pixels_they_were_made_from(
    seed: int, shape: tuple[int, int], tmp_path: Path
) -> None:
    mask = noise(seed, shape, 2 + seed % 2)
    (path,) = write(tmp_path, mask, "polygons", background=True)
    expected = [(LABELS[place], region) for place in range(3) for region in flooded(mask == place)]
    found = features(path)
    assert len(found) == len(expected)
    for feature, (label, region) in zip(found, expected, strict=True):
        rings = feature["geometry"]["coordinates"]
        assert feature["properties"] == {"label": label, "area": region.sum()}
        assert (filled(rings, shape) == region).all()
        for place, ring in enumerate(rings):
            corners = [tuple(corner) for corner in ring]
            assert corners[0] == corners[-1]
            assert len(set(corners)) == len(corners) - 1, "no ring touches itself"
            x, y = np.array(corners).T
            turn = (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2
            assert (turn > 0) == (place == 0), "the outer ring and the holes turn as RFC 7946 wants it"
            assert abs(turn) >= 1


def test_polygons_are_drawn_by_pillow_as_the_same_pixels(tmp_path: Path) -> None:
    mask = drawn()
    again, zoom = Image.new("L", (160, 120)), 4  # Pillow draws outlines, too; between them lie the pixels' middles
    pen = ImageDraw.Draw(again)
    (path,) = write(tmp_path, mask, "polygons")
    for feature in features(path):
        for place, ring in enumerate(feature["geometry"]["coordinates"]):
            ink = 0 if place else LABELS.index(feature["properties"]["label"])
            pen.polygon([(zoom * x, zoom * y) for x, y in ring], fill=ink)
    assert (np.asarray(again)[2::4, 2::4] == mask).all()


def test_polygons_have_holes_corners_alone_and_a_least_size(tmp_path: Path) -> None:
    (path,) = write(tmp_path, drawn(), "polygons", "a.png")
    cat, small, corner = features(path)
    assert cat["properties"] == {"label": "cat", "area": 15 * 20 - 4 * 8}
    assert cat["geometry"]["coordinates"][0] == [[5, 5], [25, 5], [25, 20], [5, 20], [5, 5]]
    assert len(cat["geometry"]["coordinates"]) == 2
    assert (small["properties"]["area"], corner["properties"]["area"]) == (4, 60)
    (path,) = write(tmp_path / "large", drawn(), "polygons", least=5)
    assert [feature["properties"]["label"] for feature in features(path)] == ["cat", "dog"]


def test_a_mask_of_background_alone_has_no_annotations(tmp_path: Path) -> None:
    empty = np.zeros((4, 5), np.uint8)
    assert features(write(tmp_path, empty, "polygons")[0]) == []
    assert json.loads(write(tmp_path, empty, "rle")[0].read_text())["annotations"] == []


def test_odd_names_and_labels_survive_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\n\x1b.png")
    for kind in ("rle", "polygons"):
        (path,) = write_mask(tmp_path, "a", drawn(), ("", 'a"\n', "ö"), COLOURS, kind, name)
        text = path.read_bytes().decode("ascii")
        assert json.loads(text)["image"] == name
        assert "\x1b" not in text


# ---------------------------------------------------------------------------------------------------------------------
# Nothing of the user's is lost


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_is_replaced_only_when_asked_and_only_if_recipes_wrote_it(kind: str, tmp_path: Path) -> None:
    paths = write(tmp_path, drawn(), kind)
    before = paths[-1].read_bytes()
    with pytest.raises(OutputError, match=r"exists already; .*--overwrite"):
        write(tmp_path, 2 - drawn(), kind)
    assert paths[-1].read_bytes() == before
    assert write(tmp_path, 2 - drawn(), kind, overwrite=True) == paths
    assert paths[-1].read_bytes() != before
    paths[-1].write_bytes(b"drawn by hand")
    with pytest.raises(OutputError, match="recipes did not write it"):
        write(tmp_path, drawn(), kind, overwrite=True)
    assert paths[-1].read_bytes() == b"drawn by hand"


def test_an_overlay_of_a_jpeg_is_a_jpeg_that_may_be_replaced(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "white").save(tmp_path / "a.jpg")
    (path,) = write(tmp_path / "out", drawn(), "overlay", tmp_path / "a.jpg")
    assert path.name == "one.jpg"
    with Image.open(path) as read:
        assert (read.format, read.size) == ("JPEG", (40, 30))
    write(tmp_path / "out", drawn(), "overlay", tmp_path / "a.jpg", overwrite=True)


def test_an_input_is_never_written_over_whatever_path_leads_to_it(tmp_path: Path) -> None:
    (first,) = write(tmp_path / "a", drawn(), "overlay")  # one of ours, which overwrite alone would replace
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for how in ({"inputs": identities([first, tmp_path / "gone.png"])}, {"picture": first}):
        with pytest.raises(OutputError, match="is one of the inputs"):
            write(tmp_path / "b", drawn(), "overlay", overwrite=True, **how)


def test_a_link_a_folder_and_a_pipe_in_the_way_stay(tmp_path: Path) -> None:
    for number, make in enumerate((lambda path: path.symlink_to("gone"), Path.mkdir, os.mkfifo)):
        folder = tmp_path / str(number)
        folder.mkdir()
        make(folder / "one.png")  # type: ignore[operator]
        with pytest.raises(OutputError, match="recipes did not write it"):
            write(folder, drawn(), "index", overwrite=True)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300), tmp_path / "nul\0"):
        with pytest.raises(OutputError, match="cannot be written") as caught:
            write(folder, drawn(), "index")
        assert "\n" not in str(caught.value)


def test_what_is_no_mask_is_refused_with_what_was_found(tmp_path: Path) -> None:
    wrong = drawn()
    wrong[0, :3] = (9, 3, 255)
    with pytest.raises(DataError, match=r"values \[3, 9\], but there are 3 labels"):
        write(tmp_path, wrong, "index")
    with pytest.raises(DataError, match=r"found int64 of shape \(2, 2\)"):
        areas(np.zeros((2, 2), np.int64), LABELS)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="did you mean polygons"):
        write(tmp_path, drawn(), "polygon")
    with pytest.raises(DataError, match="20 × 10 pixels and its mask 40 × 30"):
        write(tmp_path, drawn(), "overlay", Image.new("RGB", (20, 10)))
    with pytest.raises(OptionError, match="needs the picture"):
        write_mask(tmp_path, "a", drawn(), LABELS, COLOURS, "overlay")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------------------------------
# Figures and pictures


def test_areas_add_up_to_one_over_what_counts() -> None:
    mask = np.array([[0, 1, 1, 255], [0, 1, 255, 255]], np.uint8)
    assert areas(mask, LABELS) == {"ground": 0.4, "cat": 0.6, "dog": 0.0}
    assert set(areas(np.full((2, 2), 255, np.uint8), LABELS).values()) == {0.0}


def test_an_overlay_mixes_colours_draws_outlines_and_leaves_the_background_clear() -> None:
    mask = np.zeros((600, 40), np.uint8)
    mask[100:500, 10:30] = 1  # crosses the strips that are worked on
    picture = np.full((600, 40, 3), 100, np.uint8)
    shown = np.asarray(overlay(picture, mask, COLOURS, opacity=0.5))
    assert (shown[mask == 0] == 100).all()
    assert (shown[101:499, 11:29] == (160, 65, 60)).all()
    edge = mask == 1
    edge[101:499, 11:29] = False
    assert (shown[edge] == COLOURS[1]).all()
    assert (picture == 100).all()
    assert (np.asarray(overlay(picture, mask, COLOURS, background=True))[0, 0] == 50).all()


def test_an_overlay_lies_on_the_picture_as_viewers_show_it(tmp_path: Path) -> None:
    upright = Image.fromarray(np.repeat(np.arange(240, dtype=np.uint8).reshape(12, 20)[..., None], 3, 2))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    mask = np.zeros((12, 20), np.uint8)
    assert overlay(tmp_path / "turned.png", mask, COLOURS).tobytes() == upright.tobytes()
    (path,) = write(tmp_path / "out", mask, "overlay", tmp_path / "turned.png")
    assert overlay(path, mask, COLOURS).tobytes() == upright.tobytes(), "it is not turned twice"


def test_a_grid_has_a_place_and_a_caption_for_each_picture() -> None:
    red, tall = np.full((4, 4, 3), (255, 0, 0), np.uint8), Image.new("RGB", (50, 100), "blue")
    sheet = grid([[red, tall], [red]], [["one", "a very long caption that cannot fit\n" * 3], ["two"]], width=100)
    assert sheet.size == (8 + 2 * 108, 8 + 2 * (100 + 18 + 8))
    assert sheet.getpixel((8 + 50, 8 + 18 + 50)) == (255, 0, 0)
    assert sheet.getpixel((8 + 108 + 25, 8 + 18 + 50)) == (0, 0, 255)
    assert sheet.getpixel((8 + 108 + 75, 8 + 18 + 50)) == (255, 255, 255)
    assert (np.asarray(sheet)[8:26, -8:] == 255).all()
    assert (np.asarray(sheet)[8:26, 8:100] < 128).any()
    assert grid([[red]], width=100).size == (116, 116)
    assert grid([]).size == (8, 8)


# ---------------------------------------------------------------------------------------------------------------------
# Names


def test_names_keep_stems_and_the_folders_below_the_root() -> None:
    assert list(output_names(["in/a.jpg", "in/b/c.PNG", "in/scan.0001"], "in")) == ["a", "b/c", "scan.0001"]
    assert list(output_names(["in/a.jpg", "../b.png", None], "in")) == ["a", "b", "picture"]
    assert list(output_names(["x/a.jpg", "y/b.jpg"])) == ["a", "b"]


def test_files_of_one_stem_keep_their_suffixes_in_any_order() -> None:
    files = ["in/a.jpg", "in/b.jpg", "in/a.png", "in/c/a.tif"]
    assert list(output_names(files, "in")) == ["a.jpg", "b", "a.png", "c/a"]
    assert list(output_names(files[::-1], "in")) == ["c/a", "a.png", "b", "a.jpg"]


def test_files_of_one_name_from_different_folders_keep_their_folders() -> None:
    assert list(output_names(["x/a.jpg", "y/a.jpg", "y/b.jpg"])) == ["x/a", "y/a", "y/b"]


def test_names_are_all_different_where_cases_and_accents_are_one() -> None:
    files = ["A.jpg", "a.jpg", "a.jpg", "a.jpg.tif", "é.png", "é.png", None, None]
    names = list(output_names(files, "."))
    assert names == ["A.jpg", "a.jpg-2", "a.jpg-3", "a.jpg.tif", "é.png", "é.png-2", "picture", "picture-2"]


def test_names_come_as_the_files_do() -> None:
    def endless() -> Iterator[str]:
        number = 0
        while True:
            yield from (f"x/{number}.jpg", f"x/{number}.png", f"y/{number}.png")
            number += 1

    names = output_names(endless())
    assert [next(names) for _ in range(6)] == ["0", "0.png", "0.png-2", "1", "1.png", "1.png-2"]
