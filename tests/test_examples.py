"""What is found in a folder: splits, labels, pictures; what is left out, what is refused, and how it is split."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import QUICK, TINY, draw_pictures
from PIL import Image

from recipes import ImageClassifier, labelled
from recipes.errors import DataError
from recipes.examples import Examples, Reading, Splits, split_folders, stratified_split
from recipes.image_examples import OF_FOLDERS, PICTURES

NUMBERS = itertools.count()


def put(*files: str | Path) -> None:
    """Draw a small picture at each path, each of another colour."""
    for file in files:
        number = next(NUMBERS)
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        form = "PNG" if Path(file).suffix.lower() not in Image.registered_extensions() else None
        Image.new("RGB", (8, 8), (number % 255, number // 255, 90)).save(file, form)


def read(folder: str | Path, val: Any = None) -> Splits:
    labelled.check(folder, PICTURES)
    return labelled.read(folder, val, PICTURES, Reading(0.25))


def read_held_out(folder: str | Path, labels: tuple[str, ...]) -> Examples:
    return labelled.read_held_out(folder, labels, OF_FOLDERS, PICTURES)


def refusal(folder: Any, val: Any = None) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, val)
    message = str(caught.value)
    assert message.isprintable()
    return message


def names(paths: list[str]) -> list[str]:
    return [os.path.basename(path) for path in paths]


# -- splits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "val"),
    [("train", "val"), ("training", "validation"), ("train", "valid"), ("Train", "VAL"), ("TRAINING", "Valid")],
)
def test_folders_of_splits_are_known_by_their_names(tmp_path: Path, train: str, val: str) -> None:
    draw_pictures(tmp_path / train, 3)
    draw_pictures(tmp_path / val, 2)
    draw_pictures(tmp_path / "test", 1)
    splits = read(tmp_path)
    assert (len(splits.train), len(splits.val)) == (9, 6)
    assert splits.test is not None
    assert len(splits.test) == 3
    assert splits.train.labels == splits.val.labels == splits.test.labels == ("blue", "green", "red")
    assert splits.record()["val"][0] == f"{val}/blue/0.png"


def test_a_label_called_train_beside_others_is_a_label(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 4, {"train": (9, 9, 9), "bus": (200, 0, 0)})
    assert split_folders(str(tmp_path)) == {}
    assert read(tmp_path).train.labels == ("bus", "train")


def test_labels_called_train_and_test_that_hold_pictures_are_labels(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 4, {"train": (9, 9, 9), "test": (200, 0, 0)})
    assert read(tmp_path).train.labels == ("test", "train")


def test_a_lone_train_folder_is_the_training_set(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "train", 4)
    splits = read(tmp_path)
    assert splits.train.labels == ("blue", "green", "red")
    assert (len(splits.train), len(splits.val)) == (9, 3)
    assert splits.test is None


def test_train_with_test_but_without_val_sets_a_part_of_train_aside(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "train", 4)
    draw_pictures(tmp_path / "test", 2)
    splits = read(tmp_path)
    assert (len(splits.train), len(splits.val), len(splits.test or ())) == (9, 3, 6)
    assert all("/train/" in path for path in [*splits.train.inputs, *splits.val.inputs])


def test_a_folder_for_validation_given_by_hand_comes_before_the_one_beside_train(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "data" / "train", 3)
    draw_pictures(tmp_path / "data" / "val", 2)
    draw_pictures(tmp_path / "mine", 1)
    assert len(read(tmp_path / "data", tmp_path / "mine").val) == 3


def test_val_with_an_unknown_label_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "train", 2)
    draw_pictures(tmp_path / "val", 2, {"blue": (0, 0, 255), "gren": (0, 255, 0)})
    message = refusal(tmp_path)
    assert "gren" in message
    assert "did you mean green?" in message


def test_val_that_lacks_a_label_keeps_the_places_by_name(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "train", 2)
    draw_pictures(tmp_path / "val", 2, {"green": (0, 255, 0), "red": (255, 0, 0)})
    val = read(tmp_path).val
    assert val.labels == ("blue", "green", "red")
    assert val.targets == [1, 1, 2, 2]
    assert val.counts() == [0, 2, 2]


def test_evaluation_takes_test_then_val_then_the_folder_itself(tmp_path: Path) -> None:
    labels = ("blue", "green", "red")
    draw_pictures(tmp_path / "a", 1)
    assert len(read_held_out(tmp_path / "a", labels)) == 3
    draw_pictures(tmp_path / "b" / "train", 1)
    draw_pictures(tmp_path / "b" / "val", 2)
    assert len(read_held_out(tmp_path / "b", labels)) == 6
    draw_pictures(tmp_path / "b" / "test", 3)
    assert len(read_held_out(tmp_path / "b", labels)) == 9


def test_evaluation_data_may_hold_one_label_only(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 2, {"green": (0, 255, 0)})
    assert read_held_out(tmp_path, ("blue", "green")).targets == [1, 1]


# -- what is refused --------------------------------------------------------------------------------------------------


def test_a_wrong_path_gets_the_nearest_right_one(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "photos")
    message = refusal(tmp_path / "fotos")
    assert "fotos does not exist" in message
    assert "did you mean photos?" in message


def test_the_names_beside_a_wrong_path_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "pho\x1b[2Jtos").mkdir()
    refusal(tmp_path / "pho[2Jtos")


def test_the_labels_beside_a_wrong_label_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "train", 2, {"ca\x1b[2Jt": (1, 2, 3), "dog": (200, 0, 0)})
    draw_pictures(tmp_path / "val", 2, {"ca[2Jt": (1, 2, 3)})
    refusal(tmp_path)


def test_a_file_where_a_folder_is_meant_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "cat.png")
    assert "is a file, and neither a table nor a zip or tar; give a folder" in refusal(tmp_path / "cat.png")


@pytest.mark.parametrize("data", [3, None, ["a"]])
def test_what_is_no_path_is_refused(data: Any) -> None:
    assert "expected labelled pictures" in refusal(data)


def test_an_empty_folder_is_refused_with_the_layout(tmp_path: Path) -> None:
    message = refusal(tmp_path)
    assert "holds no pictures (found nothing)" in message
    assert "photos/cat/1.jpg" in message


def test_a_folder_without_pictures_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    for name in ("a/1.heic", "a/2.heic", "a/notes.txt", "b/3.HEIC"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"content")
    assert "4 other files: 3 .heic (convert them to JPEG), 1 .txt" in refusal(tmp_path)


def test_a_flat_folder_of_pictures_is_refused_with_the_layout(tmp_path: Path) -> None:
    put(tmp_path / "1.png", tmp_path / "2.png")
    message = refusal(tmp_path)
    assert "holds 2 pictures but no folders for labels" in message
    assert "photos/cat/1.jpg" in message


def test_a_single_label_is_refused_by_name(tmp_path: Path) -> None:
    put(tmp_path / "cat" / "1.png")
    assert "one label only, cat; two or more are needed" in refusal(tmp_path)


def test_a_folder_around_the_right_one_is_refused_with_the_right_one(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "photos" / "photos", 2)
    assert f"did you mean {tmp_path}/photos/photos?" in refusal(tmp_path / "photos")


def test_a_folder_around_splits_is_refused_with_the_right_one(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "photos" / "inner" / "train", 2)
    draw_pictures(tmp_path / "photos" / "inner" / "val", 2)
    assert f"did you mean {tmp_path}/photos/inner?" in refusal(tmp_path / "photos")


def test_mostly_unreadable_pictures_are_refused_with_names(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.png", tmp_path / "b" / "1.png")
    for number in range(2, 5):
        (tmp_path / "a" / f"{number}.jpg").touch()
    message = refusal(tmp_path)
    assert "most pictures cannot be read, 3 unreadable pictures of 5" in message
    assert "2.jpg is empty (0 bytes)" in message


def test_a_label_of_which_nothing_can_be_read_is_refused_by_name(tmp_path: Path) -> None:
    put(*(tmp_path / "a" / f"{number}.png" for number in range(5)))
    put(*(tmp_path / "c" / f"{number}.png" for number in range(5)))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.jpg").touch()
    assert "no picture of b" in refusal(tmp_path)


def test_a_validation_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "photos", 2)
    assert "valdir does not exist" in refusal(tmp_path / "photos", tmp_path / "valdir")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "photos", 2)
    (tmp_path / "photos").chmod(0)
    try:
        assert "cannot be read" in refusal(tmp_path / "photos")
    finally:
        (tmp_path / "photos").chmod(0o755)


# -- what is left out, and said ---------------------------------------------------------------------------------------


def test_an_empty_folder_among_labels_is_left_out_and_named(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 2)
    (tmp_path / "bird").mkdir()
    splits = read(tmp_path)
    assert splits.train.labels == ("blue", "green", "red")
    assert splits.notes == ["left out 1 empty folder: bird"]


def test_what_systems_leave_behind_is_passed_over_without_a_word(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 2)
    for name in (".DS_Store", "Thumbs.db", "blue/.DS_Store", "blue/Thumbs.db", "blue/._0.png", "red/desktop.ini"):
        (tmp_path / name).write_bytes(b"Mac OS X")
    put(
        tmp_path / "__MACOSX" / "blue" / "0.png",
        tmp_path / ".ipynb_checkpoints" / "0.png",
        tmp_path / "red" / ".ipynb_checkpoints" / "0-checkpoint.png",
        tmp_path / "red" / "@eaDir" / "0.png",
    )
    splits = read(tmp_path)
    assert splits.train.labels == ("blue", "green", "red")
    assert len(splits.train) + len(splits.val) == 6
    assert splits.notes == []


def test_suffixes_may_be_upper_case_wrong_or_missing(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1.PNG", tmp_path / "a" / "2.Jpg", tmp_path / "a" / "3", tmp_path / "a" / "4.download")
    put(tmp_path / "b" / "1.TIF", tmp_path / "b" / "2.jpg", tmp_path / "b" / "3.tif")
    (tmp_path / "b" / "3.tif").rename(tmp_path / "b" / "3.jpg")  # a TIFF called jpg
    splits = read(tmp_path)
    assert sorted(names(splits.train.inputs + splits.val.inputs)) == sorted(
        ["1.PNG", "2.Jpg", "3", "4.download", "1.TIF", "2.jpg", "3.jpg"]
    )
    assert splits.notes == []


def test_other_files_are_counted_with_a_remedy(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 2)
    for name in ("blue/a.heic", "blue/b.HEIC", "red/notes.txt"):
        (tmp_path / name).write_bytes(b"content")
    assert read(tmp_path).notes == ["left out 3 other files: 2 .heic (convert them to JPEG), 1 .txt"]


def test_loose_pictures_beside_the_labels_are_counted(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 2)
    put(tmp_path / "loose.png")
    assert read(tmp_path).notes == [f"left out 1 picture without a label, directly in {tmp_path}"]


def test_unreadable_pictures_are_left_out_counted_and_named(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 4, suffix=".jpg", size=(200, 150))
    content = (tmp_path / "blue" / "0.jpg").read_bytes()
    (tmp_path / "blue" / "0.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "green" / "1.jpg").write_bytes(b"")
    (tmp_path / "red" / "2.jpg").write_text("<html>not found</html>")
    splits = read(tmp_path)
    assert len(splits.train) + len(splits.val) == 9
    (note,) = splits.notes
    assert note.startswith("left out 3 unreadable pictures of 12: ")
    for name in ("blue/0.jpg is damaged", "green/1.jpg is empty", "red/2.jpg is a web page"):
        assert name in note


def test_labels_that_differ_only_in_case_are_kept_apart_and_noted(tmp_path: Path) -> None:
    put(*(tmp_path / label / "1.png" for label in ("Cat", "cat", "dog")))
    if len(os.listdir(tmp_path)) < 3:
        pytest.skip("this file system does not tell cases apart")
    splits = read(tmp_path)
    assert splits.train.labels == ("Cat", "cat", "dog")
    assert "Cat, cat" in splits.notes[0]


def test_pictures_are_found_at_any_depth_and_links_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path / "photos" / "a" / "deep" / "er" / "1.png", tmp_path / "photos" / "b" / "1.png")
    (tmp_path / "photos" / "a" / "back").symlink_to(tmp_path / "photos" / "a")
    put(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "photos" / "c").symlink_to(tmp_path / "elsewhere")
    splits = read(tmp_path / "photos")
    assert splits.train.labels == ("a", "b", "c")
    assert len(splits.train) + len(splits.val) == 3


def test_a_link_back_to_the_whole_folder_gives_no_picture_a_second_label(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 2)
    (tmp_path / "blue" / "up").symlink_to("..")
    (tmp_path / "red" / "beside").symlink_to("../blue")
    splits = read(tmp_path)
    assert len(splits.train) + len(splits.val) == 6


ODD = ["two words", "a \U0001f408", 'it\'s "so"', "two\nlines", "=1+1", "-x", "caf\udce9", "a[1]*?"]


def test_names_of_any_kind_are_kept_to_the_byte(tmp_path: Path) -> None:
    for label in ODD:
        for number in range(2):
            file = os.path.join(tmp_path, label, f"{label} {number}.png")
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "wb") as stream:
                Image.new("RGB", (4, 4)).save(stream, "PNG")
    splits = read(tmp_path)
    assert splits.train.labels == tuple(sorted(ODD))
    assert set(splits.train.inputs + splits.val.inputs) == {
        os.path.join(tmp_path, label, f"{label} {number}.png") for label in ODD for number in range(2)
    }


def test_the_record_names_every_file_below_the_folder(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "photos", 4)
    draw_pictures(tmp_path / "elsewhere", 1)
    record = read(f"{tmp_path}/photos/").record()
    assert sorted(record["train"] + record["val"]) == [
        f"{label}/{number}.png" for label in ("blue", "green", "red") for number in range(4)
    ]
    assert read(tmp_path / "photos", tmp_path / "elsewhere").record()["val"][0] == f"{tmp_path}/elsewhere/blue/0.png"


# -- splitting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_split_takes_the_same_share_of_every_label(fraction: float, seed: int) -> None:
    counts = {0: 1, 1: 2, 2: 3, 3: 10, 4: 101}
    targets = np.random.default_rng(seed).permutation(np.repeat(list(counts), list(counts.values()))).tolist()
    kept, held_out = stratified_split(targets, fraction, seed)
    assert sorted([*kept, *held_out]) == list(range(len(targets)))
    assert kept == sorted(kept)
    out = Counter(targets[place] for place in held_out)
    assert out[0] == 0
    for label, count in list(counts.items())[1:]:
        assert 1 <= out[label] < count
        assert abs(out[label] - fraction * count) <= 1


def test_a_split_follows_its_seed() -> None:
    targets = [0] * 50 + [1] * 50
    assert stratified_split(targets, 0.2, 3) == stratified_split(targets, 0.2, 3)
    assert stratified_split(targets, 0.2, 3) != stratified_split(targets, 0.2, 4)


def test_nothing_can_be_split() -> None:
    assert stratified_split([], 0.2, 0) == ([], [])


def test_a_split_does_not_depend_on_where_the_folder_lies(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "here", 8)
    shutil.copytree(tmp_path / "here", tmp_path / "far" / "away" / "zz")
    assert read(tmp_path / "here").record() == read(tmp_path / "far" / "away" / "zz").record()


def test_one_picture_of_a_label_is_trained_on(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 4)
    put(tmp_path / "lone" / "1.png")
    splits = read(tmp_path)
    assert splits.train.counts() == [3, 3, 1, 3]
    assert splits.val.counts() == [1, 1, 0, 1]


def test_the_labels_are_those_of_the_folder_itself(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 2)
    examples = read_held_out(tmp_path, ("blue", "green", "red"))
    assert examples.labels == ("blue", "green", "red")
    assert examples.targets == [0, 0, 1, 1, 2, 2]
    assert names(examples.inputs) == ["0.png", "1.png"] * 3


# -- the user's files -------------------------------------------------------------------------------------------------


def state(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Mode, time of change and content of everything below a folder."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
    return found


def test_fitting_leaves_the_folder_of_pictures_exactly_as_it_was(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "photos", 2, suffix=".jpg")
    (tmp_path / "photos" / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much of a JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (9, 6)).save(tmp_path / "photos" / "red" / "turned.jpg", exif=exif)
    before = state(tmp_path / "photos")
    ImageClassifier(**TINY).fit(tmp_path / "photos", out=tmp_path / "model", quiet=True, **QUICK)
    assert state(tmp_path / "photos") == before
