"""Images with their masks: every source and form they come in, what masks mean, what is refused, and what is said."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from recipes.codec import rebuilt
from recipes.errors import DataError, OptionError, RecipesError
from recipes.examples import Examples, Reading, Splits
from recipes.mask_examples import read_masked, read_masked_held_out
from recipes.mask_pairs import check_masked
from recipes.masks import IGNORED, MaskCode, label_colours, runs_of, upright

WIDTH, HEIGHT = 24, 16
RED, GREEN, BLACK = (255, 0, 0), (0, 128, 0), (0, 0, 0)

Array = np.ndarray[Any, Any]


def blocks(*values: int, seed: int = 0) -> Array:
    """A mask with a stripe of each value; the first one is the widest."""
    mask = np.full((HEIGHT, WIDTH), values[0], np.uint8)
    for place, value in enumerate(values[1:]):
        mask[3 + seed % 3 : 12, 4 * place + 1 : 4 * place + 5] = value
    return mask


def put_image(path: str | Path, number: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT), **options: Any) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (number * 20 % 255, 50, 90)).save(path, **options)


def put_mask(path: str | Path, mask: Array | Image.Image, **options: Any) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    (mask if isinstance(mask, Image.Image) else Image.fromarray(mask)).save(path, **options)


def put(
    root: Path,
    mask: Callable[[int], Any] = lambda number: blocks(0, 255, seed=number),
    number: int = 5,
    images: str = "images/{}.jpg",
    masks: str = "masks/{}.png",
) -> Path:
    """Draw images with their masks under these names."""
    for count in range(number):
        put_image(root / images.format(count), count)
        put_mask(root / masks.format(count), mask(count))
    return root


def read(data: Any, val: Any = None, **options: Any) -> tuple[Splits, MaskCode]:
    reading = Reading(options.pop("fraction", 0.2), options.pop("seed", 0))
    return read_masked(data, val, reading=reading, **options)


def everything(splits: Splits) -> Examples:
    """Training and validation examples together, in the order of their inputs."""
    pairs = [*zip(splits.train.inputs, splits.train.targets, strict=True)]
    pairs += zip(splits.val.inputs, splits.val.targets, strict=True)
    amounts = [*(splits.train.amounts or []), *(splits.val.amounts or [])]
    order = sorted(range(len(pairs)), key=lambda place: str(pairs[place][0]))
    return Examples(
        [pairs[place][0] for place in order],
        [pairs[place][1] for place in order],
        splits.train.labels,
        amounts=[amounts[place] for place in order],
    )


def masks_of(splits: Splits, code: MaskCode) -> list[Array]:
    """All masks as they are given to the network; checks that what was counted is what is read."""
    found = everything(splits)
    masks = [code.read(target, (WIDTH, HEIGHT)) for target in found.targets]
    assert found.amounts == [[int((mask == place).sum()) for place in range(len(found.labels))] for mask in masks]
    assert all(mask.dtype == np.uint8 and mask.shape == (HEIGHT, WIDTH) for mask in masks)
    return masks


def names(paths: list[Any]) -> list[str]:
    return sorted(os.path.basename(path) for path in paths)


def refusal(data: Any, val: Any = None, kind: type[RecipesError] = RecipesError, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        read(data, val, **options)
    message = str(caught.value)
    assert message.isprintable()
    return message


def note(splits: Splits, words: str) -> str:
    """The one note with these words."""
    (found,) = [line for line in splits.notes if words in line]
    return found


# -- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "masks"),
    [("images", "masks"), ("image", "label"), ("imgs", "annotations"), ("Images", "GT"), ("JPEGImages", "labels")],
)
def test_two_folders_are_known_by_the_names_that_people_give_them(tmp_path: Path, images: str, masks: str) -> None:
    put(tmp_path, images=images + "/{}.jpg", masks=masks + "/{}.png")
    check_masked(tmp_path)
    splits, code = read(tmp_path)
    assert splits.train.labels == ("background", "foreground")
    assert (len(splits.train), len(splits.val), splits.test, splits.notes) == (4, 1, None, [])
    for mask, number in zip(masks_of(splits, code), range(5), strict=True):
        assert (mask == (blocks(0, 255, seed=number) == 255)).all()


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("{part}/images/{}.jpg", "{part}/masks/{}.png"),
        ("images/{part}/{}.jpg", "masks/{part}/{}.png"),
        ("{part}/{}.jpg", "{part}annot/{}.png"),
        ("{part}/{}.jpg", "{part}_labels/{}.png"),
        ("{part}_images/{}.jpg", "{part}_masks/{}.png"),
        ("{part}/{}.jpg", "{part}/{}_mask.png"),
    ],
)
def test_splits_lie_around_the_two_folders_in_them_or_beside_each_other(
    tmp_path: Path, images: str, masks: str
) -> None:
    for part, number in (("train", 4), ("val", 3), ("test", 2)):
        put(
            tmp_path,
            number=number,
            images=images.replace("{part}", part),
            masks=masks.replace("{part}", part),
        )
    check_masked(tmp_path)
    splits, code = read(tmp_path)
    assert splits.test is not None
    assert (len(splits.train), len(splits.val), len(splits.test)) == (4, 3, 2)
    assert len(read_masked_held_out(tmp_path, splits.train.labels, code)) == 2


def test_a_structure_below_images_is_found_again_below_masks(tmp_path: Path) -> None:
    put(tmp_path, images="images/a/{}.jpg", masks="masks/a/{}.png")
    put(tmp_path, lambda _: blocks(255, 0), images="images/b/c/{}.jpg", masks="masks/b/c/{}.png")
    splits, code = read(tmp_path)
    assert len(everything(splits)) == 10
    assert [int(mask[0, 0]) for mask in masks_of(splits, code)] == [0] * 5 + [1] * 5


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}", "{}_mask"),
        ("{}", "mask_{}"),
        ("Image_0{}L", "Image_0{}L_1stHO"),
        ("img_{}", "gt_{}"),
        ("{}_sat", "{}_label"),
        ("a_{}_leftImg8bit", "a_{}_gtFine_labelIds"),
        ("{}", "{}mask"),
        ("cafe\u0301 {}", "caf\u00e9 {}"),
    ],
)
def test_what_names_have_before_and_after_is_found(tmp_path: Path, image: str, mask: str) -> None:
    put(tmp_path, images=f"images/{image}.jpg", masks=f"masks/{mask}.png", number=12)
    splits, code = read(tmp_path)
    assert splits.notes == []
    found = everything(splits)
    assert len(found) == 12
    order = sorted(range(12), key=lambda number: f"images/{image}.jpg".format(number))
    for read_mask, number in zip(masks_of(splits, code), order, strict=True):
        assert (read_mask == (blocks(0, 255, seed=number) == 255)).all()


def test_a_suffix_chooses_among_several_masks_of_an_image(tmp_path: Path) -> None:
    put(tmp_path, masks="masks/{}_color.png", mask=lambda _: blocks(7, 9))
    put(tmp_path, masks="masks/{}_ids.png")
    message = refusal(tmp_path)
    assert "_color" in message
    assert "_ids" in message
    splits, _ = read(tmp_path, suffix="_ids")
    assert names(everything(splits).targets) == [f"{number}_ids.png" for number in range(5)]
    assert "left out 5 masks without an image" in note(splits, "masks")


def test_a_wrong_suffix_gets_the_nearest_right_one(tmp_path: Path) -> None:
    put(tmp_path, masks="masks/{}_mask.png")
    assert "did you mean _mask?" in refusal(tmp_path, suffix="_maks", kind=OptionError)
    assert len(everything(read(tmp_path, suffix="_mask.png")[0])) == 5


def test_numbers_in_names_pair_nothing_by_chance(tmp_path: Path) -> None:
    for number in range(1, 21):
        put_image(tmp_path / f"images/{number}.jpg")
        put_mask(tmp_path / f"masks/{number + 200}.png", blocks(0, 1))
    assert "has a mask of its name" in refusal(tmp_path)
    shutil.rmtree(tmp_path / "masks")
    flat = tmp_path / "images"
    assert "holds 20 pictures (1, 10) but no masks" in refusal(flat).replace("and 18 more", "").replace(" )", ")")


def test_images_without_masks_and_masks_without_images_are_counted_and_named(tmp_path: Path) -> None:
    put(tmp_path)
    put_image(tmp_path / "images" / "lone.jpg")
    put_mask(tmp_path / "masks" / "widow.png", blocks(0, 255))
    (tmp_path / "masks" / "notes.txt").write_text("text")
    (tmp_path / "masks" / ".DS_Store").write_text("text")
    splits, _ = read(tmp_path)
    assert len(everything(splits)) == 5
    assert note(splits, "without a mask") == f"left out 1 image without a mask: {tmp_path}/images/lone.jpg"
    assert note(splits, "without an image") == f"left out 1 mask without an image: {tmp_path}/masks/widow.png"
    assert "1 .txt" in note(splits, "other file")


def test_an_image_with_two_masks_is_refused(tmp_path: Path) -> None:
    put(tmp_path)
    put_mask(tmp_path / "masks" / "1.tif", blocks(0, 255))
    message = refusal(tmp_path)
    assert "1.png" in message
    assert "1.tif" in message


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "holds no images with masks (found nothing); put the images in images/"),
        (["images/1.jpg"], "holds no folder of masks (found images)"),
        (["images/1.jpg", "msks/1.png"], "did you mean"),
        (["cells/images/1.jpg", "cells/masks/1.png"], "did you mean"),
        (["images/1.jpg", "masks/notes.txt"], "masks holds no pictures (found 1 other file: 1 .txt)"),
        (["images/1.jpg", "masks/x.png"], "has a mask of its name in"),
        (["cat/1.jpg", "dog/1.jpg"], "found 2 pictures in cat, dog"),
    ],
)
def test_a_folder_that_cannot_be_meant_is_refused(tmp_path: Path, files: list[str], words: str) -> None:
    for file in files:
        put_image(tmp_path / file, format="JPEG")
        if file.endswith(".txt"):
            (tmp_path / file).write_text("text")
    assert words in refusal(tmp_path)


def test_a_wrong_path_gets_the_nearest_right_one_before_anything_is_read(tmp_path: Path) -> None:
    put(tmp_path / "cells")
    for data in (tmp_path / "cels", str(tmp_path / "cels")):
        with pytest.raises(DataError, match=r"cels does not exist; did you mean cells\?"):
            check_masked(data)
    with pytest.raises(DataError, match="is neither a folder nor a table"):
        check_masked(tmp_path / "cells" / "images" / "1.jpg")
    with pytest.raises(DataError, match="did you mean"):
        check_masked(tmp_path)


def test_a_folder_for_validation_may_be_given(tmp_path: Path) -> None:
    put(tmp_path / "a")
    put(tmp_path / "b", number=3)
    splits, _ = read(tmp_path / "a", tmp_path / "b")
    assert (len(splits.train), len(splits.val)) == (5, 3)
    assert all("/b/" in path for path in splits.val.inputs)


def test_a_single_pair_cannot_be_split(tmp_path: Path) -> None:
    put(tmp_path, number=1)
    assert "two or more are needed" in refusal(tmp_path)


def test_the_split_follows_its_seed_and_not_the_place_of_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "here", number=20)
    shutil.copytree(tmp_path / "here", tmp_path / "far" / "zz")
    assert read(tmp_path / "here", seed=3)[0].record() == read(tmp_path / "far" / "zz", seed=3)[0].record()
    assert read(tmp_path / "here", seed=3)[0].record() != read(tmp_path / "here", seed=4)[0].record()
    assert len(read(tmp_path / "here", fraction=0.001)[0].val) == 1


def test_images_and_masks_are_both_fingerprinted_and_nothing_is_changed(tmp_path: Path) -> None:
    put(tmp_path)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*.*")}
    splits, _ = read(tmp_path)
    assert {*splits.fingerprints} == {f"images/{n}.jpg" for n in range(5)} | {f"masks/{n}.png" for n in range(5)}
    assert sorted(splits.record()["train"] + splits.record()["val"]) == [f"images/{n}.jpg" for n in range(5)]
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*.*")} == before


# -- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("header", [["image", "mask"], ["File Name", "Label"], ["a", "b"], None])
def test_a_table_names_images_and_masks(
    tmp_path: Path, separator: str, encoding: str, header: list[str] | None
) -> None:
    put(tmp_path, images="pictures/{}.jpg", masks="other/{}.png")
    rows = [header] * bool(header) + [[f"pictures/{n}.jpg", f"other/{n}.png"] for n in range(5)]
    (tmp_path / "data.csv").write_text("\r\n".join(separator.join(row) for row in rows if row), encoding)
    check_masked(tmp_path / "data.csv")
    splits, code = read(tmp_path / "data.csv")
    assert len(masks_of(splits, code)) == 5
    assert splits.record()["val"][0].startswith("pictures/")


def test_a_table_may_have_a_split_and_what_it_lacks_is_counted_with_lines(tmp_path: Path) -> None:
    put(tmp_path, number=6)
    parts = ["train", "train", "Validation", "test", "training", "train"]
    rows = ["id,mask,image,split", *(f"{n},masks/{n}.png,images/{n}.jpg,{part}" for n, part in enumerate(parts))]
    rows += ["7,,images/1.jpg,train", "", "8,masks/9.png,images/1.jpg,train"]
    (tmp_path / "data.csv").write_text("\n".join(rows))
    splits, _ = read(tmp_path / "data.csv")
    assert splits.test is not None
    assert (len(splits.train), len(splits.val), len(splits.test)) == (4, 1, 1)
    assert "data.csv:8" in note(splits, "without an image or a mask")
    assert "masks/9.png (data.csv:10)" in note(splits, "do not exist")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("text,answer\nhello,yes", "has no columns of images and masks (columns: text, answer)"),
        ("image,mask\nx.png,y.png", "names no image and mask that exist"),
        ("image,mask,split\nimages/1.jpg,masks/1.png,trian", "data.csv:2: the split is 'trian'"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, words: str) -> None:
    put(tmp_path)
    (tmp_path / "data.csv").write_text(text)
    assert words in refusal(tmp_path / "data.csv")


# -- lists ------------------------------------------------------------------------------------------------------------


def test_lists_hold_paths_arrays_and_pictures(tmp_path: Path) -> None:
    put(tmp_path)
    images = [tmp_path / "images" / "0.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8), Image.new("RGB", (WIDTH, HEIGHT))]
    mask = blocks(0, 255)
    splits, code = read((images, [str(tmp_path / "masks" / "0.png"), mask, Image.fromarray(mask)]))
    assert len(splits.train) == 2
    for target in [*splits.train.targets, *splits.val.targets]:
        assert (code.read(target, (WIDTH, HEIGHT)) == (mask == 255)).all()
    assert len(splits.fingerprints) == 2
    assert splits.record()


def test_arrays_of_any_kind_of_number_are_masks() -> None:
    mask = blocks(0, 1, 2)
    forms = [mask, mask.astype(np.int64), mask.astype(np.float32), mask[None], mask[..., None], mask.astype(np.uint16)]
    splits, code = read((np.zeros((6, HEIGHT, WIDTH, 3), np.uint8), forms))
    for target in [*splits.train.targets, *splits.val.targets]:
        assert (code.read(target, (WIDTH, HEIGHT)) == mask).all()
    images = [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 2
    splits, code = read((images, [mask.astype(np.int32) - 1] * 2), ignore=-1)
    assert code.values == (0, 1)
    assert code.ignore == (-1,)
    assert code.read(splits.train.targets[0], (WIDTH, HEIGHT))[0, 0] == IGNORED
    splits, code = read((images, [mask == 1] * 2))
    assert (code.read(splits.train.targets[0], (WIDTH, HEIGHT)) == (mask == 1)).all()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (3, "found int"),
        (["a"], "found list of 1"),
        (("a", "b"), "found tuple of 2; give a folder"),
        (([1], [2, 3]), "found 1 image and 2 masks"),
        (([], []), "has no rows"),
        ((["a.png"], [None]), "names no image and mask that exist"),
        (([np.zeros((4, 4, 3), np.uint8)], ["nowhere.png"]), "names no image and mask that exist: nowhere.png"),
        (([np.zeros((4, 4, 3), np.uint8)], [np.full((4, 4), 0.5)]), "mask 0 holds fractions"),
        (
            ([np.zeros((4, 4, 3), np.uint8)], [np.zeros((4, 5), np.uint8)]),
            "mask 0 has 5 × 4 pixels and its image 4 × 4",
        ),
        (([np.zeros((4, 4, 3), np.uint8)], [np.zeros((2, 4, 4, 1))]), "found (2, 4, 4, 1)"),
        (([np.zeros((4, 4, 3), np.uint8)], [{}]), "is a dict without bytes and path"),
    ],
)
def test_lists_that_cannot_be_meant_are_refused(data: Any, words: str) -> None:
    assert words in refusal(data)


# -- values -----------------------------------------------------------------------------------------------------------


def test_values_from_nought_on_are_labels(tmp_path: Path) -> None:
    put(tmp_path, lambda number: blocks(0, 1, 2, seed=number))
    splits, code = read(tmp_path)
    assert splits.train.labels == ("class_0", "class_1", "class_2")
    assert code.values == (0, 1, 2)
    splits, code = read(tmp_path, labels=["road", "car", "tree", "sky"])
    assert splits.train.labels == ("road", "car", "tree", "sky")
    assert code.values == (0, 1, 2, 3)
    assert "no mask for training holds sky" in note(splits, "sky")
    assert (masks_of(splits, code)[1] == blocks(0, 1, 2, seed=1)).all()


def test_values_that_are_spaced_or_begin_at_one_are_labels_in_order(tmp_path: Path) -> None:
    put(tmp_path / "a", lambda _: blocks(0, 128, 255))
    assert read(tmp_path / "a", labels=["x", "y", "z"])[1].values == (0, 128, 255)
    assert read(tmp_path / "a")[0].train.labels == ("class_0", "class_128", "class_255")
    put(tmp_path / "b", lambda _: blocks(1, 2, 3))
    assert read(tmp_path / "b", labels=["x", "y", "z"])[1].values == (1, 2, 3)


def test_one_bit_and_eight_bit_masks_go_together(tmp_path: Path) -> None:
    put(tmp_path, lambda number: Image.fromarray(blocks(0, 255, seed=number)).convert("1" if number % 2 else "L"))
    splits, code = read(tmp_path)
    assert code.values == (0, 255)
    for number, mask in enumerate(masks_of(splits, code)):
        assert (mask == (blocks(0, 255, seed=number) == 255)).all()


def test_sixteen_bits_hold_values_that_eight_do_not(tmp_path: Path) -> None:
    put(tmp_path, lambda _: Image.fromarray(blocks(0, 1, 2).astype(np.uint16) * 1000))
    splits, code = read(tmp_path)
    assert code.values == (0, 1000, 2000)
    assert (masks_of(splits, code)[0] == blocks(0, 1, 2)).all()


def test_grey_masks_saved_with_three_channels_or_with_transparency_hold_values(tmp_path: Path) -> None:
    modes = ["L", "RGB", "RGBA", "LA", "RGB"]
    put(tmp_path, lambda number: Image.fromarray(blocks(0, 1, 2)).convert(modes[number]))
    splits, code = read(tmp_path)
    assert (code.kind, code.values) == ("values", (0, 1, 2))
    for mask in masks_of(splits, code):
        assert (mask == blocks(0, 1, 2)).all()


def test_255_beside_indices_does_not_count_and_this_is_said(tmp_path: Path) -> None:
    put(tmp_path, lambda _: blocks(0, 1, 2, 255))
    splits, code = read(tmp_path)
    assert splits.train.labels == ("class_0", "class_1", "class_2")
    assert code.ignore == (255,)
    assert "255 do not count" in note(splits, "255")
    assert {*np.unique(masks_of(splits, code)[0]).tolist()} == {0, 1, 2, IGNORED}
    splits, code = read(tmp_path, ignore=[])
    assert code.values == (0, 1, 2, 255)
    assert splits.notes == []


@pytest.mark.parametrize("ignore", [2, "2", [2], (2,), "void"])
def test_a_value_or_a_labels_name_does_not_count(tmp_path: Path, ignore: Any) -> None:
    put(tmp_path, lambda _: blocks(0, 1, 2))
    splits, code = read(tmp_path, labels=["ground", "cell", "void"], ignore=ignore)
    assert splits.train.labels == ("ground", "cell")
    assert (code.values, code.ignore) == ((0, 1), (2,))
    assert (masks_of(splits, code)[0] == np.where(blocks(0, 1, 2) == 2, IGNORED, blocks(0, 1, 2))).all()


def test_ignoring_what_is_not_there_is_refused_or_said(tmp_path: Path) -> None:
    put(tmp_path, lambda _: blocks(0, 1, 2))
    options = {"labels": ["ground", "cell", "void"]}
    assert "did you mean void?" in refusal(tmp_path, ignore="viod", kind=OptionError, **options)
    assert "the value 9" in note(read(tmp_path, ignore=9)[0], "ignored")
    assert "found [{'a'}]" in refusal(tmp_path, ignore=[{"a"}], kind=OptionError)


def test_values_beyond_the_labels_are_refused_with_file_and_values(tmp_path: Path) -> None:
    put(tmp_path, lambda number: blocks(0, 1, 2 if number < 4 else 7))
    message = refusal(tmp_path, labels=["a", "b", "c"])
    assert "1 mask with values that no label has: 7 in " in message
    assert "4.png" in message
    assert "labels names 3 labels for the values 0, 1, 2" in message
    (tmp_path / "codes.txt").write_text("a\nb\nc\n")
    assert "codes.txt gives 3 labels" in refusal(tmp_path)


def test_a_mask_read_later_with_an_unknown_value_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "a", lambda _: blocks(0, 1, 2))
    put(tmp_path / "b", lambda _: blocks(0, 1, 5, 6))
    splits, code = read(tmp_path / "a")
    with pytest.raises(DataError, match=r"0.png holds the values 5, 6, which no label has \(labels have 0, 1, 2\)"):
        code.read(str(tmp_path / "b" / "masks" / "0.png"), (WIDTH, HEIGHT))
    with pytest.raises(DataError, match="holds the values 5, 6"):
        read_masked_held_out(tmp_path / "b", splits.train.labels, code)
    put_mask(tmp_path / "c.png", np.dstack([blocks(0, 1), blocks(0, 2), blocks(0, 1)]))
    with pytest.raises(DataError, match=r"c\.png is in colours"):
        code.read(str(tmp_path / "c.png"), (WIDTH, HEIGHT))


@pytest.mark.parametrize("value", [0, 255, 3])
def test_masks_with_one_value_are_refused(tmp_path: Path, value: int) -> None:
    put(tmp_path, lambda _: blocks(value))
    message = refusal(tmp_path)
    assert f"has the value {value}" in message
    assert "two labels or more are needed" in message
    if value == 0:
        assert "every pixel of 5 masks has a; two labels" in refusal(tmp_path, labels=["a", "b"])


def test_masks_that_are_mostly_empty_are_counted(tmp_path: Path) -> None:
    put(tmp_path, lambda number: blocks(0, 255) if number < 3 else blocks(0), number=10)
    splits, _ = read(tmp_path)
    assert "masks for training hold background alone" in note(splits, "alone")
    put(tmp_path / "b", lambda number: blocks(0, 255) if number else blocks(0))
    assert read(tmp_path / "b")[0].notes == []


def test_pictures_in_place_of_masks_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    put(tmp_path / "grey", lambda _: rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8))
    assert "more than labels could be" in refusal(tmp_path / "grey")
    put(tmp_path / "colours", lambda _: rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    assert "more than labels could be" in refusal(tmp_path / "colours")
    put(tmp_path / "float", lambda _: Image.fromarray(rng.random((HEIGHT, WIDTH), np.float32)), masks="masks/{}.tiff")
    assert "0.tiff holds fractions" in refusal(tmp_path / "float")


def soft(size: int, draw: Callable[[Any], None], mode: str = "L") -> Image.Image:
    """A drawing with smooth edges."""
    large = Image.new(mode, (size * 4, size * 4))
    draw(ImageDraw.Draw(large))
    return large.resize((size, size), Image.Resampling.LANCZOS if mode == "L" else Image.Resampling.BOX)


def put_square(root: Path, mask: Callable[[int], Image.Image], masks: str = "masks/{}.png", **options: Any) -> Path:
    for number in range(4):
        put_image(root / f"images/{number}.jpg", number, (64, 64))
        put_mask(root / masks.format(number), mask(number), **options)
    return root


@pytest.mark.parametrize("masks", ["masks/{}.jpg", "masks/{}.png"])
def test_blurred_masks_of_two_values_are_parted_in_the_middle_with_a_note(tmp_path: Path, masks: str) -> None:
    sharp = Image.new("L", (64, 64))
    ImageDraw.Draw(sharp).ellipse((10, 10, 40, 50), fill=255)
    jpeg = masks.endswith("jpg")
    put_square(
        tmp_path,
        lambda n: sharp if jpeg else soft(64, lambda pen: pen.ellipse((40 + n, 40, 170, 200), fill=255)),
        masks,
    )
    splits, code = read(tmp_path)
    assert code.threshold == 128
    assert splits.train.labels == ("background", "foreground")
    assert "those from 128 on are taken as 255" in note(splits, "4 masks with values between 0 and 255")
    for target, amounts in zip(splits.train.targets, splits.train.amounts or [], strict=True):
        mask = code.read(target, (64, 64))
        assert {*np.unique(mask).tolist()} == {0, 1}
        assert amounts == [int((mask == 0).sum()), int((mask == 1).sum())]
        if jpeg:
            assert (mask != (np.asarray(sharp) == 255)).mean() < 0.01
    assert rebuilt(MaskCode, json.loads(json.dumps(asdict(code)))) == code


def test_indices_in_jpeg_files_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    put(
        tmp_path,
        lambda _: (blocks(0, 40, 90) + rng.integers(0, 9, (HEIGHT, WIDTH))).astype(np.uint8),
        masks="masks/{}.jpg",
    )
    message = refusal(tmp_path)
    assert "5 masks in JPEG files" in message
    assert "save masks as PNG" in message


# -- palettes and colours ---------------------------------------------------------------------------------------------


def with_palette(mask: Array, colours: list[tuple[int, int, int]]) -> Image.Image:
    picture = Image.fromarray(mask).convert("P")
    picture.putdata(mask.ravel().tolist())
    picture.putpalette([part for colour in colours for part in colour])
    return picture


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_palette_gives_indices_and_its_colours_are_kept(tmp_path: Path) -> None:
    put(tmp_path, lambda _: with_palette(blocks(0, 1, 2), [BLACK, RED, GREEN]))
    splits, code = read(tmp_path)
    assert (code.kind, code.values, code.colours) == ("values", (0, 1, 2), (BLACK, RED, GREEN))
    assert (masks_of(splits, code)[0] == blocks(0, 1, 2)).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_palettes_that_differ_from_file_to_file_give_colours(tmp_path: Path) -> None:
    def mask(number: int) -> Image.Image:
        return with_palette(*((blocks(0, 1), [BLACK, RED]) if number % 2 else (blocks(1, 0), [RED, BLACK])))

    put(tmp_path, mask)
    splits, code = read(tmp_path)
    assert (code.kind, code.colours) == ("colours", (BLACK, RED))
    for found in masks_of(splits, code):
        assert (found == blocks(0, 1)).all()


def in_colours(mask: Array, *colours: tuple[int, int, int]) -> Array:
    return np.array(colours, np.uint8)[mask]


def test_colours_are_found(tmp_path: Path) -> None:
    put(tmp_path, lambda number: in_colours(blocks(0, 1, 2, seed=number), BLACK, RED, GREEN))
    splits, code = read(tmp_path)
    assert (code.kind, code.colours) == ("colours", (BLACK, GREEN, RED))
    assert splits.train.labels == ("class_0", "class_1", "class_2")
    assert (masks_of(splits, code)[1] == np.array([0, 2, 1])[blocks(0, 1, 2, seed=1)]).all()
    splits, code = read(tmp_path, labels=["ground", "leaf", "rose"])
    assert "leaf (0, 128, 0)" in note(splits, "labels and colours go together")
    assert "names 2 labels, but the masks hold 3 colours" in refusal(tmp_path, labels=["a", "b"])


def test_a_table_of_colours_gives_names_and_order(tmp_path: Path) -> None:
    put(tmp_path, lambda _: in_colours(blocks(0, 1, 2), BLACK, RED, GREEN))
    table = {"rose": RED, "leaf": GREEN, "void": BLACK, "sky": (0, 0, 255)}
    splits, code = read(tmp_path, colours=table, ignore="void")
    assert splits.train.labels == ("rose", "leaf", "sky")
    assert code.ignore_colours == (BLACK,)
    assert (masks_of(splits, code)[0] == np.array([IGNORED, 0, 1])[blocks(0, 1, 2)]).all()
    for ignore in (BLACK, [BLACK], "0,0,0"):
        assert read(tmp_path, colours=table, ignore=ignore)[1] == code
    splits, _ = read(tmp_path, colours=table, labels=["void", "leaf", "rose"])
    assert splits.train.labels == ("void", "leaf", "rose")
    assert "did you mean rose?" in refusal(tmp_path, colours=table, labels=["void", "leaf", "rosa"])
    message = refusal(tmp_path, colours={"ground": BLACK, "rose": RED})
    assert "5 masks with colours that no label has: (0, 128, 0)" in message
    assert "0.png" in message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("class_dict.csv", "name,r,g,b\nground,0,0,0\nrose,255,0,0\nleaf,0,128,0\n"),
        ("label_colors.txt", "0 0 0\tground\n255 0 0\t\trose\n0 128 0\tleaf\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nground:0,0,0::\nrose:255,0,0::\nleaf:0,128,0::\n"),
        ("classes.csv", "id;name;r;g;b\r\n0;ground;0;0;0\r\n1;rose;255;0;0\r\n2;leaf;0;128;0\r\n"),
        ("Colors.txt", "\ufeffground (0, 0, 0)\nrose (255, 0, 0)\nleaf (0, 128, 0)"),
    ],
)
def test_a_file_of_labels_and_colours_is_found_and_may_be_given(tmp_path: Path, name: str, text: str) -> None:
    put(tmp_path / "data", lambda _: in_colours(blocks(0, 1, 2), BLACK, RED, GREEN))
    (tmp_path / "data" / name).write_text(text, "utf-8")
    splits, code = read(tmp_path / "data")
    assert splits.train.labels == ("ground", "rose", "leaf")
    assert code.colours == (BLACK, RED, GREEN)
    assert name in note(splits, "labels and colours from")
    shutil.move(tmp_path / "data" / name, tmp_path / name)
    assert read(tmp_path / "data", colours=tmp_path / name)[1] == code
    put(tmp_path / "data", lambda _: blocks(0, 1, 2))
    splits, code = read(tmp_path / "data", colours=str(tmp_path / name))
    assert (splits.train.labels, code.values, code.colours) == (
        ("ground", "rose", "leaf"),
        (0, 1, 2),
        (BLACK, RED, GREEN),
    )


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("ground\nrose\nleaf\n", (0, 1, 2)),
        ("0 ground\n2 rose\n1 leaf", (0, 2, 1)),
        ("name,value\na,2\nb,1\nc,0", (2, 1, 0)),
    ],
)
def test_a_file_of_names_is_found(tmp_path: Path, text: str, values: tuple[int, ...]) -> None:
    put(tmp_path, lambda _: blocks(0, 1, 2))
    (tmp_path / "codes.txt").write_text(text)
    splits, code = read(tmp_path)
    assert code.values == values
    assert len(splits.train.labels) == 3
    assert "labels from" in splits.notes[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": ["a"]}, "expected 2 to 254 names"),
        ({"labels": ["a", "a"]}, "found twice: a"),
        ({"colours": {"a": RED, "b": RED}}, "a and b have one colour"),
        ({"colours": {"a": (1, 2), "b": RED}}, "expected red, green and blue"),
        ({"colours": {"a": (1, 2, 256), "b": RED}}, "expected red, green and blue"),
        ({"colours": 3}, "expected names with colours"),
        ({"colours": "nowhere.csv"}, "nowhere.csv does not exist"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(tmp_path: Path, options: Any, words: str) -> None:
    put(tmp_path)
    assert words in refusal(tmp_path, **options)


def test_colours_of_smooth_edges_go_to_the_nearest_label_with_a_count(tmp_path: Path) -> None:
    def mask(number: int) -> Image.Image:
        def draw(pen: Any) -> None:
            pen.ellipse((10 + number, 10, 150, 160), fill=RED)
            pen.ellipse((120, 120 + number, 230, 240), fill=GREEN)

        return soft(64, draw, "RGB")

    put_square(tmp_path, mask)
    splits, code = read(tmp_path)
    assert code.colours == (BLACK, GREEN, RED)
    assert "pixels of 4 masks" in note(splits, "taken for the nearest label's")
    found = code.read(splits.train.targets[0], (64, 64))
    assert found[20, 20] == 2
    assert found[45, 44] == 1
    assert sum((splits.train.amounts or [])[0]) == 64 * 64
    assert read(tmp_path, colours={"x": BLACK, "y": RED, "z": GREEN})[1].colours == (BLACK, RED, GREEN)
    assert len(read_masked_held_out(tmp_path, splits.train.labels, code)) == 4


def test_colours_in_jpeg_files_go_to_the_nearest_label(tmp_path: Path) -> None:
    def mask(number: int) -> Image.Image:
        picture = Image.new("RGB", (64, 64))
        ImageDraw.Draw(picture).rectangle((10 + number, 10, 40, 40), fill=RED)
        return picture

    put_square(tmp_path, mask, "masks/{}.jpg", quality=90)
    splits, code = read(tmp_path)
    assert len(code.colours) == 2
    found = code.read(splits.train.targets[0], (64, 64))
    assert (found[0, 0], found[20, 25]) == (0, 1)


# -- several files for each image -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["masks/{image}/{label}.png", "masks/{label}/{image}.png"])
def test_files_with_one_label_each_are_put_together(tmp_path: Path, pattern: str) -> None:
    for number in range(4):
        put_image(tmp_path / f"images/{number}.jpg")
        for label, mask in (("cell", blocks(0, 255)), ("core", blocks(0, 0, 1)), ("void", blocks(0, 0, 0, 7))):
            if (number, label) != (3, "core"):
                put_mask(tmp_path / pattern.format(image=number, label=label), mask)
    splits, code = read(tmp_path)
    assert (code.kind, splits.train.labels) == ("files", ("background", "cell", "core", "void"))
    found = masks_of(splits, code)
    assert (found[0] == blocks(0, 1, 2, 3)).all()
    assert (found[3] == blocks(0, 1, 0, 3)).all()
    assert len(splits.fingerprints) == 4 + 11
    splits, code = read(tmp_path, ignore="void")
    assert (masks_of(splits, code)[0] == np.array([0, 1, 2, IGNORED])[blocks(0, 1, 2, 3)]).all()
    assert len(read_masked_held_out(tmp_path, splits.train.labels, code)) == 4
    splits, _ = read(tmp_path, labels=["core", "void", "cell"])
    assert splits.train.labels == ("background", "core", "void", "cell")
    assert "did you mean core?" in refusal(tmp_path, labels=["cor", "void", "cell"])
    assert "does not name: void" in refusal(tmp_path, labels=["core", "cell"])


def test_where_files_overlap_the_smaller_area_is_on_top_with_a_count(tmp_path: Path) -> None:
    whole, part = np.full((HEIGHT, WIDTH), 255, np.uint8), blocks(0, 255)
    for number in range(2):
        put_image(tmp_path / f"images/{number}.jpg")
        put_mask(tmp_path / f"masks/{number}/{'ab'[number]}.png", whole)
        put_mask(tmp_path / f"masks/{number}/{'ba'[number]}.png", part)
    splits, code = read(tmp_path)
    found = masks_of(splits, code)
    assert (found[0] == np.where(part, 2, 1)).all()
    assert (found[1] == np.where(part, 1, 2)).all()
    assert f"{2 * (part > 0).sum()} pixels of 2 masks with several labels" in note(splits, "several labels")


def test_files_called_by_numbers_are_no_labels(tmp_path: Path) -> None:
    for number in range(4):
        put_image(tmp_path / f"images/{number}.jpg")
        for cell in range(20):
            put_mask(tmp_path / f"masks/{number}/{number}-{cell}.png", blocks(0, 255))
    assert "80 files with 80 names" in refusal(tmp_path)


def test_a_file_that_holds_more_than_one_label_is_refused(tmp_path: Path) -> None:
    for number in range(2):
        put_image(tmp_path / f"images/{number}.jpg")
        put_mask(tmp_path / f"masks/{number}/cell.png", blocks(0, 1, 2))
    assert "a mask of one label holds 0 and 255" in refusal(tmp_path)


# -- COCO -------------------------------------------------------------------------------------------------------------

BOX = [4.0, 2.0, 12.0, 2.0, 12.0, 10.0, 4.0, 10.0]


def in_box() -> Array:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[2:10, 4:12] = 1
    return mask


def uncompressed(mask: Array) -> dict[str, Any]:
    flat = np.concatenate([[0], mask.T.ravel(), [mask.T.ravel()[-1] + 1]])
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges])).tolist()
    return {"size": list(mask.shape), "counts": counts}


def compressed(mask: Array) -> dict[str, Any]:
    from pycocotools import mask as coco

    code = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": code["counts"].decode()}


def put_coco(
    root: Path, annotations: list[Any], number: int = 3, name: str = "data.json", images: str = "images"
) -> Path:
    for count in range(number):
        put_image(root / images / f"{count}.jpg", count)
    content = {
        "images": [{"id": 10 + n, "file_name": f"{n}.jpg", "width": WIDTH, "height": HEIGHT} for n in range(number)],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"id": place, "image_id": 10, "category_id": 3, "iscrowd": 0, **entry}
            for place, entry in enumerate(annotations)
        ],
    }
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(content))
    return root / name


@pytest.mark.parametrize("form", ["outline", "flat", "runs", "text"])
def test_polygons_and_run_lengths_of_a_coco_file_are_masks(tmp_path: Path, form: str) -> None:
    code_of = {"outline": [BOX], "flat": BOX, "runs": uncompressed(in_box()), "text": compressed(in_box())}[form]
    path = put_coco(tmp_path, [{"segmentation": code_of}, {"segmentation": code_of, "image_id": 12, "category_id": 7}])
    check_masked(path)
    splits, code = read(path)
    assert (code.kind, splits.train.labels) == ("coco", ("background", "cat", "dog"))
    masks = masks_of(splits, code)
    assert (masks[0] == in_box()).all()
    assert (masks[1] == 0).all()
    assert (masks[2] == 2 * in_box()).all()
    assert splits.notes == []
    assert {*splits.fingerprints} == {"data.json", *(f"images/{n}.jpg" for n in range(3))}


def test_our_reading_of_run_lengths_is_that_of_pycocotools() -> None:
    rng = np.random.default_rng(0)
    for share in (0.01, 0.3, 0.9):
        mask = rng.random((37, 53)) < share
        assert runs_of(compressed(mask)["counts"]).tolist() == uncompressed(mask)["counts"]


def test_parts_overlaps_and_crowds_of_a_coco_file(tmp_path: Path) -> None:
    small = [5.0, 3.0, 8.0, 3.0, 8.0, 6.0, 5.0, 6.0]
    far = [14.0, 2.0, 20.0, 2.0, 20.0, 10.0, 14.0, 10.0]
    crowd = np.zeros((HEIGHT, WIDTH), np.uint8)
    crowd[:, 10:] = 1
    path = put_coco(
        tmp_path,
        [
            {"segmentation": [small], "category_id": 7},
            {"segmentation": [BOX, far]},
            {"segmentation": uncompressed(crowd), "iscrowd": 1},
        ],
    )
    splits, code = read(path)
    mask = masks_of(splits, code)[0]
    assert mask[4, 6] == 2
    assert mask[8, 6] == mask[4, 16] == mask[4, 11] == 1
    assert mask[0, 23] == IGNORED
    assert mask[0, 0] == 0
    assert "9 pixels of 1 mask with several labels" in note(splits, "several labels")


def test_boxes_and_broken_regions_are_counted(tmp_path: Path) -> None:
    short = {"size": [HEIGHT, WIDTH], "counts": [3, 4]}
    broken: list[Any] = [
        [[]],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[1, 1, 1, 1, 1, 1]],
        [[1, 2, 3, float("nan"), 5, 6]],
        [[1, 2, 3, 1e12, 5, 6]],
        [["a", 2, 3, 4, 5, 6]],
        short,
        {"size": [4, 4], "counts": [8, 8]},
        {"size": [HEIGHT, WIDTH], "counts": "zzzz"},
        {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]},
        {"counts": [1]},
        "text",
    ]
    entries = [{"segmentation": [BOX]}, {"segmentation": [], "bbox": [1, 2, 3, 4]}, {"segmentation": [BOX, [1, 2]]}]
    entries += [{"segmentation": code} for code in broken] + [{"segmentation": [BOX], "category_id": 99}]
    splits, code = read(put_coco(tmp_path, entries))
    assert "1 box" in note(splits, "polygon or run lengths")
    assert f"left out {len(broken) + 2} empty or broken regions" in note(splits, "empty or broken")
    assert (masks_of(splits, code)[0] == in_box()).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("{}", "is no table and no COCO file; expected lists of images, annotations and categories"),
        ("[]", "is no table"),
        ('{"images": [], "annotations": [], "categories": []}', "lists no images"),
        (
            '{"images": [{"id": 1}], "annotations": [{}], "categories": [{"id": 1, "name": "a"}]}',
            "no complete COCO file",
        ),
    ],
)
def test_a_file_that_is_no_coco_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "data.json").write_text(text)
    assert words in refusal(tmp_path / "data.json")


def test_a_coco_file_of_boxes_alone_is_refused(tmp_path: Path) -> None:
    path = put_coco(tmp_path, [{"bbox": [1, 2, 3, 4]}, {"bbox": [1, 2, 3, 4], "segmentation": []}])
    assert "holds 2 boxes but no masks" in refusal(path)


def test_images_that_a_coco_file_names_but_are_not_there_are_counted(tmp_path: Path) -> None:
    path = put_coco(tmp_path, [{"segmentation": [BOX]}], number=4)
    (tmp_path / "images" / "3.jpg").unlink()
    assert "left out 1 image" in note(read(path)[0], "do not exist")
    shutil.rmtree(tmp_path / "images")
    assert "none of the 4 images" in refusal(path)


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("annotations/instances_{}2017.json", "{}2017"),
        ("annotations/instances_{}.json", "images/{}"),
        ("{}/_annotations.coco.json", "{}"),
        ("{}.json", "{}"),
    ],
)
def test_coco_files_of_splits_find_their_own_images(tmp_path: Path, name: str, images: str) -> None:
    for part, number in (("train", 4), ("val", 2)):
        put_coco(
            tmp_path,
            [
                {"segmentation": [BOX], "category_id": 3 if part == "train" else 7},
                {"segmentation": [BOX], "category_id": 7, "image_id": 11},
            ],
            number,
            name.format(part),
            images.format(part),
        )
    check_masked(tmp_path)
    splits, code = read(tmp_path)
    assert (len(splits.train), len(splits.val)) == (4, 2)
    assert all("val" in path for path in splits.val.inputs)
    assert all("train" in path for path in splits.train.inputs)
    assert len(read_masked_held_out(tmp_path, splits.train.labels, code)) == 2
    train = tmp_path / name.format("train")
    splits, _ = read(train, tmp_path / name.format("val"))
    assert all("val" in path for path in splits.val.inputs)
    assert all("train" in path for path in splits.train.inputs)


def test_a_coco_file_with_a_label_that_training_did_not_know_is_refused(tmp_path: Path) -> None:
    path = put_coco(tmp_path, [{"segmentation": [BOX]}])
    _, code = read(path)
    with pytest.raises(DataError, match=r"has the label dog, which training did not know; did you mean dogs\?"):
        read_masked_held_out(path, ("background", "cat", "dogs"), code)


# -- sizes, EXIF, unreadable files ------------------------------------------------------------------------------------


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    put(tmp_path)
    put_mask(tmp_path / "masks" / "3.png", blocks(0, 255).T)
    message = refusal(tmp_path)
    assert "1 mask of 5 with another" in message
    assert "3.png has 16 × 24 pixels and its image 24 × 16" in message


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_drawn_on_the_image_as_stored_is_turned_like_the_image(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = blocks(0, 255)
    for number in range(3):
        put_image(tmp_path / f"images/{number}.jpg", size=(WIDTH, HEIGHT), exif=exif)
        put_mask(tmp_path / f"masks/{number}.png", stored)
    splits, code = read(tmp_path)
    assert "turned 3 masks" in note(splits, "EXIF")
    picture = Image.fromarray(stored)
    picture.save(tmp_path / "with.png", exif=exif)
    from PIL import ImageOps

    with Image.open(tmp_path / "with.png") as turned:
        expected = np.asarray(ImageOps.exif_transpose(turned)) == 255
    assert (code.read(splits.train.targets[0], (HEIGHT, WIDTH)) == expected).all()
    assert len(splits.fingerprints) == 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_with_an_orientation_of_its_own_is_turned_by_it(tmp_path: Path, orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = blocks(0, 255)
    Image.fromarray(stored).save(tmp_path / "mask.png", exif=exif)
    with Image.open(tmp_path / "mask.png") as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    assert (upright(stored, orientation) == expected).all()
    code = MaskCode("values", (0, 255))
    found = code.read(str(tmp_path / "mask.png"), (expected.shape[1], expected.shape[0]))
    assert (found == (expected == 255)).all()


def test_unreadable_images_and_masks_are_left_out_counted_and_named(tmp_path: Path) -> None:
    put(tmp_path, number=8)
    (tmp_path / "masks" / "1.png").write_bytes(b"")
    (tmp_path / "images" / "2.jpg").write_text("<html>not found</html>")
    content = (tmp_path / "masks" / "3.png").read_bytes()
    (tmp_path / "masks" / "3.png").write_bytes(content[: len(content) - 30])
    splits, _ = read(tmp_path)
    assert len(everything(splits)) == 5
    line = note(splits, "left out 3 unreadable pairs of 8")
    for words in ("masks/1.png is empty", "images/2.jpg is a web page", "masks/3.png is damaged"):
        assert words in line
    for number in (4, 5):
        (tmp_path / "masks" / f"{number}.png").write_bytes(b"")
    assert "most images or masks cannot be read, 5 unreadable pairs of 8" in refusal(tmp_path)


# -- the code ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        MaskCode("values", (0, 1), (BLACK, RED), (255, -1)),
        MaskCode("colours", colours=(BLACK, RED), ignore_colours=(GREEN,)),
        MaskCode("coco", colours=(BLACK, RED), ignore_labels=("void",)),
        MaskCode("values", (0, 255), threshold=128),
    ],
)
def test_a_code_comes_back_from_json_as_it_was(code: MaskCode) -> None:
    assert rebuilt(MaskCode, json.loads(json.dumps(asdict(code)))) == code


def test_a_mask_of_0_and_1_is_not_taken_for_empty_where_masks_held_0_to_255() -> None:
    with pytest.raises(DataError, match="the model's masks hold 0 and 255"):
        MaskCode("values", (0, 255), threshold=128).read(blocks(0, 1), (WIDTH, HEIGHT))


@pytest.mark.parametrize("number", [2, 7, 8, 60, 254])
def test_every_label_has_a_colour_of_its_own_and_the_background_is_black(number: int) -> None:
    labels = ["background", *(f"label {place}" for place in range(number - 1))]
    colours = label_colours(labels)
    assert len(colours) == len({*colours}) == number
    assert colours[0] == BLACK
    assert all(0 <= part <= 255 for colour in colours for part in colour)
    assert BLACK not in label_colours([f"label {place}" for place in range(number)])


def test_a_model_that_learned_from_regions_reads_no_single_files(tmp_path: Path) -> None:
    put(tmp_path)
    with pytest.raises(DataError, match="the model learned from several files or regions"):
        read_masked_held_out(tmp_path, ("background", "cell"), MaskCode("coco"))


# -- folds ------------------------------------------------------------------------------------------------------------


def put_table(tmp_path: Path, cells: list[Any], column: str = "fold", number: int | None = None) -> Path:
    put(tmp_path, number=len(cells) if number is None else number)
    rows = [f"image,{column},mask", *(f"images/{n}.jpg,{cell},masks/{n}.png" for n, cell in enumerate(cells))]
    (tmp_path / "data.csv").write_text("\n".join(rows))
    return tmp_path / "data.csv"


@pytest.mark.parametrize("column", ["fold", "Folds", "kfold"])
@pytest.mark.parametrize("form", ["{}", "{}.0"])
def test_the_highest_fold_of_a_table_is_for_validation(tmp_path: Path, column: str, form: str) -> None:
    splits, _ = read(put_table(tmp_path, [form.format(n % 4) for n in range(10)], column))
    assert names(splits.val.inputs) == ["3.jpg", "7.jpg"]
    assert (len(splits.train), splits.test) == (8, None)
    assert "0 to 2 for training" in note(splits, f"took fold 3 of column '{column}' for validation")


def test_a_fold_column_may_name_splits_and_a_split_column_comes_first(tmp_path: Path) -> None:
    splits, _ = read(put_table(tmp_path / "words", ["train", "val", "Test", "train"]))
    assert (names(splits.train.inputs), names(splits.val.inputs), splits.notes) == (["0.jpg", "3.jpg"], ["1.jpg"], [])
    path = put_table(tmp_path / "both", ["0,train", "1,val", "2,train"], "fold,split")
    splits, _ = read(path)
    assert (names(splits.val.inputs), splits.notes) == (["1.jpg"], [])


def test_a_fold_of_which_nothing_is_there_is_left_out_with_a_note(tmp_path: Path) -> None:
    splits, _ = read(put_table(tmp_path, [0, 1, 2, 1, 9], number=4))
    assert len(splits.train) + len(splits.val) == 4
    assert "images/4.jpg" in note(splits, "left out val: data.csv names no image and mask that exist")


def test_a_wrong_fold_is_named_with_its_line(tmp_path: Path) -> None:
    assert "data.csv:4: the fold is 'x'; expected a whole number" in refusal(put_table(tmp_path, [0, 1, "x", 1]))


def test_what_a_table_has_for_validation_is_left_out_with_a_count_where_other_is_given(tmp_path: Path) -> None:
    splits, _ = read(put_table(tmp_path / "data", [0, 1, 2, 2, 0]), put(tmp_path / "other", number=3))
    assert (len(splits.train), len(splits.val)) == (3, 3)
    assert "left out 2 images of" in note(splits, "as others are given")


# -- a folder for each image ------------------------------------------------------------------------------------------


def put_folders(root: Path, masks: Callable[[int], dict[str, Any]], number: int = 5, name: str = "cell{}") -> Path:
    """Draw images as the Data Science Bowl 2018 has them: ID/images/ID.png and ID/masks/."""
    for count in range(number):
        own = root / name.format(count)
        put_image(own / "images" / f"{own.name}.png", count)
        for mask, pixels in masks(count).items():
            put_mask(own / "masks" / f"{mask}.png", pixels)
    return root


def objects(count: int) -> dict[str, Any]:
    """An object in each file, under a name that no other has; the third image has a single one."""
    every = blocks(0, *range(1, 4), seed=count)
    return {f"{count}f{place}a": (every == place + 1) * np.uint8(255) for place in range(1 if count == 2 else 3)}


@pytest.mark.parametrize("way", ["", "stage1_train", "train"])
def test_objects_that_have_a_file_each_are_one_label(tmp_path: Path, way: str) -> None:
    put_folders(tmp_path / way, objects)
    check_masked(tmp_path)
    splits, code = read(tmp_path)
    assert splits.train.labels == ("background", "object")
    assert code.kind == "files"
    for count, mask in enumerate(masks_of(splits, code)):
        assert (mask == np.logical_or.reduce([one > 0 for one in objects(count).values()])).all()
    assert splits.notes == [
        "took the 13 masks of 5 images for an object each; together they are the label object",
    ]
    assert sorted(splits.record()["train"] + splits.record()["val"])[0] == os.path.join(
        way, "cell0", "images", "cell0.png"
    )
    assert len(splits.fingerprints) == 5 + 13
    assert len(read_masked_held_out(tmp_path, splits.train.labels, code)) == 5


@pytest.mark.parametrize("pattern", ["{}", "mask_{}", "object{}", "cell{count}-{}"])
def test_objects_may_be_numbered_anew_in_each_image(tmp_path: Path, pattern: str) -> None:
    def numbered(count: int) -> dict[str, Any]:
        return {pattern.format(place, count=count): mask for place, mask in enumerate(objects(count).values())}

    splits, _ = read(put_folders(tmp_path, numbered))
    assert splits.train.labels == ("background", "object")


def test_objects_are_called_as_the_labels_say_and_as_the_model_knows_them(tmp_path: Path) -> None:
    splits, code = read(put_folders(tmp_path, objects), labels=["background", "nucleus"])
    assert splits.train.labels == ("background", "nucleus")
    assert read_masked_held_out(tmp_path, splits.train.labels, code).labels == splits.train.labels
    assert "there is no label 'a'" in refusal(tmp_path, labels=["a", "b"])


@pytest.mark.parametrize("pattern", ["{}", "cell{count}_{}"])
def test_names_that_come_again_with_each_image_are_labels(tmp_path: Path, pattern: str) -> None:
    def labelled(count: int) -> dict[str, Any]:
        found = {"wall": blocks(0, 255), "nucleus": blocks(0, 0, 255)}
        return {pattern.format(name, count=count): mask for name, mask in found.items() if (count, name) != (1, "wall")}

    splits, code = read(put_folders(tmp_path, labelled))
    assert splits.train.labels == ("background", "nucleus", "wall")
    found = masks_of(splits, code)
    assert (found[0] == blocks(0, 2, 1)).all()
    assert (found[1] == blocks(0, 0, 1)).all()
    assert splits.notes == ["took the names of masks for labels: nucleus, wall"]
    splits, _ = read(tmp_path, suffix="wall")
    assert splits.train.labels == ("background", "foreground")
    assert "left out 5 masks without wall" in " ".join(splits.notes)
    assert "left out 1 image without a mask" in " ".join(splits.notes)
    assert "no mask's name begins or ends with suffix='mauer'" in refusal(tmp_path, suffix="mauer")


def test_one_file_in_each_folder_of_masks_is_a_mask_as_everywhere(tmp_path: Path) -> None:
    splits, code = read(put_folders(tmp_path, lambda count: {f"any{count}": blocks(0, 1, 2, 255, seed=count)}))
    assert (splits.train.labels, code.kind) == (("class_0", "class_1", "class_2"), "values")
    for count, mask in enumerate(masks_of(splits, code)):
        assert (mask == blocks(0, 1, 2, IGNORED, seed=count)).all()
    assert "5 folders" in note(splits, "took the image and the mask")


def test_folders_without_an_image_or_without_masks_are_counted_and_named(tmp_path: Path) -> None:
    put_folders(tmp_path, objects)
    for name in ("cell5", "cell6"):
        put_image(tmp_path / name / "images" / f"{name}.png")
    (tmp_path / "cell6" / "masks").mkdir()
    put_mask(tmp_path / "cell7" / "masks" / "a.png", blocks(0, 255))
    for number in range(2):
        put_image(tmp_path / "cell8" / "images" / f"{number}.png")
    put_mask(tmp_path / "cell8" / "masks" / "a.png", blocks(0, 255))
    put_image(tmp_path / "preview.png")
    (tmp_path / "cell1" / "notes.txt").write_text("hello")
    splits, code = read(tmp_path)
    assert len(masks_of(splits, code)) == 5
    assert "2 folders without a mask: " in (said := " ".join(splits.notes))
    assert all(str(tmp_path / name) in note(splits, "without a mask") for name in ("cell5", "cell6"))
    assert str(tmp_path / "cell7") in note(splits, "left out 1 folder without an image")
    assert str(tmp_path / "cell8") in note(splits, "left out 1 folder with several images")
    assert str(tmp_path / "preview.png") in note(splits, "left out 1 picture beside")
    assert "1 .txt" in said


def test_folders_of_images_lie_in_splits(tmp_path: Path) -> None:
    for part, number in (("stage1_train", 4), ("stage1_validation", 2), ("stage1_test", 3)):
        put_folders(tmp_path / part, objects, number, part + "{}")
    put_image(tmp_path / "stage2" / "a" / "images" / "a.png")
    splits, _ = read(tmp_path)
    assert splits.test is not None
    assert (len(splits.train), len(splits.val), len(splits.test)) == (4, 2, 3)
    assert str(tmp_path / "stage2") in note(splits, "which holds no images with masks")


def test_data_sets_side_by_side_are_no_folders_of_images(tmp_path: Path) -> None:
    for name in ("liver", "lung"):
        put(tmp_path / name)
    assert f"did you mean {tmp_path / 'liver'}?" in refusal(tmp_path)


# -- splits that do not leak ------------------------------------------------------------------------------------------


def noisy(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC).save(path)


def test_copies_of_an_image_stay_on_one_side_and_are_named(tmp_path: Path) -> None:
    for number in range(12):
        noisy(tmp_path / "images" / f"{number}.png", number % 4)
        put_mask(tmp_path / "masks" / f"{number}.png", np.full((48, 64), number % 2, np.uint8))
    for seed in range(3):
        splits, _ = read(tmp_path, seed=seed, fraction=0.25)
        kept, out = (
            {int(name.removesuffix(".png")) % 4 for name in names(part.inputs)} for part in (splits.train, splits.val)
        )
        assert out
        assert not kept & out
    assert note(splits, "repeat others").startswith(
        "8 pictures of 12 for training repeat others, 8 of them byte for byte"
    )
    put(tmp_path / "apart", number=3)
    shutil.copy(tmp_path / "images" / "0.png", tmp_path / "apart" / "images" / "9.png")
    put_mask(tmp_path / "apart" / "masks" / "9.png", np.zeros((48, 64), np.uint8))
    splits, _ = read(tmp_path, tmp_path / "apart")
    assert "are for training too, so scores will flatter" in note(splits, "flatter")


@pytest.mark.parametrize("group", ["folder", r"^images/(\w+)/", "patient"])
def test_groups_of_images_stay_on_one_side_and_listed_ones_are_left_out(tmp_path: Path, group: str) -> None:
    rows = ["image,mask,patient"]
    for number in range(12):
        name = f"p{number % 4}/{number}"
        noisy(tmp_path / "images" / f"{name}.png", number)
        put_mask(tmp_path / "masks" / f"{name}.png", np.full((48, 64), number % 3 > 0, np.uint8) * 255)
        rows.append(f"images/{name}.png,masks/{name}.png,p{number % 4}")
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    data = tmp_path / "pairs.csv" if group == "patient" else tmp_path
    reading = Reading(0.25, 0, group, frozenset({"images/p0/0.png"}))
    splits, _ = read_masked(data, reading=reading)
    kept, out = ({Path(path).parent.name for path in part.inputs} for part in (splits.train, splits.val))
    assert out
    assert not kept & out
    assert "0.png" not in names([*splits.train.inputs, *splits.val.inputs])
    assert len(splits.train) + len(splits.val) == 11
    assert "left out 1 example that the list names" in splits.notes


def test_masks_come_from_frames_data_sets_and_dicts_by_split(tmp_path: Path) -> None:
    pandas, datasets = pytest.importorskip("pandas"), pytest.importorskip("datasets")
    put(tmp_path, number=8)
    files = [(str(tmp_path / "images" / f"{n}.jpg"), str(tmp_path / "masks" / f"{n}.png")) for n in range(8)]
    expected, code = read(tmp_path)
    frame = pandas.DataFrame(files, columns=["image", "mask"], index=[3] * 8)
    splits, its_code = read(frame)
    assert (splits.val.inputs, splits.val.targets, its_code) == (expected.val.inputs, expected.val.targets, code)
    hub = datasets.Dataset.from_dict({"image": [one for one, _ in files], "mask": [other for _, other in files]})
    hub = hub.cast_column("image", datasets.Image()).cast_column("mask", datasets.Image())
    for data in (hub, datasets.DatasetDict({"train": hub})):
        splits, its_code = read(data)
        assert (splits.val.amounts, splits.val.labels, its_code) == (expected.val.amounts, expected.val.labels, code)
    pictures = [np.asarray(Image.open(one)) for one, _ in files]
    masks = [np.asarray(Image.open(other)) for _, other in files]
    for data in (
        (np.stack(pictures), np.stack(masks)),
        {"image": pictures, "mask": masks},
        [{"image": one, "mask": other} for one, other in zip(pictures, masks, strict=True)],
        {"train": (pictures, masks), "val": tmp_path},
    ):
        splits, _ = read(data)
        assert splits.train.amounts is not None
        assert len(splits.train) + len(splits.val) == (16 if isinstance(data, dict) and "train" in data else 8)
