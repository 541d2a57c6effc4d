"""Gathering inputs of every form, reading them in batches, and codecs that come back from JSON as they were."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from conftest import draw_pictures
from PIL import Image

from recipes.codec import cores, encoded_batches, gathered_pictures, rebuilt
from recipes.errors import DataError, ImageError, ModelError
from recipes.images import Preparation
from recipes.results import History
from recipes.tasks.image_classifier import ImageClassifierCodec

CODEC = ImageClassifierCodec(
    ("cat", "d\x1bog", "caf\udce9"),
    Preparation(size=48, resize="crop", crop_pct=0.875, interpolation="bilinear", mean=(0.1, 0.2, 0.3)),
)


def put(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(file, "PNG")


def refusal(inputs: Any) -> str:
    with pytest.raises(DataError) as caught:
        gathered_pictures(inputs)
    assert str(caught.value).isprintable()
    return str(caught.value)


# -- gathering --------------------------------------------------------------------------------------------------------


def test_every_form_of_input_becomes_a_flat_list_in_order(tmp_path: Path) -> None:
    put(*(tmp_path / name for name in ("b.png", "a.png", "more/2.png", "more/1.png")))
    image, array, tensor = Image.new("RGB", (8, 8)), np.zeros((8, 8, 3), np.uint8), torch.zeros(3, 8, 8)
    b, more = str(tmp_path / "b.png"), [str(tmp_path / "more" / name) for name in ("1.png", "2.png")]
    assert gathered_pictures(b) == [b]
    assert gathered_pictures(tmp_path / "b.png") == [b]
    assert gathered_pictures(tmp_path / "more") == more
    assert gathered_pictures(f"{tmp_path}/*.png") == [str(tmp_path / "a.png"), b]
    assert gathered_pictures(image) == [image]
    assert gathered_pictures(array)[0] is array
    assert gathered_pictures(tensor)[0] is tensor
    found = gathered_pictures([tmp_path / "b.png", image, [tmp_path / "more", (array,)], tensor])
    assert [type(one) for one in found] == [str, Image.Image, str, str, np.ndarray, torch.Tensor]
    assert found[2:4] == more
    assert gathered_pictures(path for path in (b, b)) == [b, b]
    assert gathered_pictures([]) == []


def test_a_batch_is_many_pictures() -> None:
    assert [one.shape for one in gathered_pictures(np.zeros((2, 8, 9, 3), np.uint8))] == [(8, 9, 3)] * 2
    assert [tuple(one.shape) for one in gathered_pictures(torch.zeros(2, 3, 8, 9))] == [(3, 8, 9)] * 2


@pytest.mark.parametrize("name", ["a[1].jpg", "a*.jpg", "a?.jpg", "[ab].jpg", "**", "-x.jpg", "~.jpg", "a b.jpg"])
def test_a_file_with_signs_of_a_glob_in_its_name_is_itself(tmp_path: Path, name: str) -> None:
    put(tmp_path / name, tmp_path / "a1.jpg", tmp_path / "a.jpg")
    assert gathered_pictures(tmp_path / name) == [str(tmp_path / name)]


def test_a_folder_with_signs_of_a_glob_in_its_name_is_itself(tmp_path: Path) -> None:
    put(tmp_path / "a[1]" / "1.png", tmp_path / "a1" / "2.png")
    assert gathered_pictures(tmp_path / "a[1]") == [str(tmp_path / "a[1]" / "1.png")]


def test_globs_reach_any_depth_and_are_sorted(tmp_path: Path) -> None:
    put(*(tmp_path / name for name in ("c.png", "x/b.png", "x/y/a.png", "x/note.jpg")))
    assert [os.path.relpath(path, tmp_path) for path in gathered_pictures(f"{tmp_path}/**/*.png")] == [
        "c.png",
        "x/b.png",
        "x/y/a.png",
    ]


def test_a_glob_that_matches_folders_takes_their_pictures(tmp_path: Path) -> None:
    put(tmp_path / "x1" / "a.png", tmp_path / "x2" / "b.png")
    assert [os.path.basename(path) for path in gathered_pictures(f"{tmp_path}/x*")] == ["a.png", "b.png"]


def test_a_glob_passes_over_folders_without_pictures_where_others_have_some(tmp_path: Path) -> None:
    put(tmp_path / "x1" / "a.png")
    (tmp_path / "x2").mkdir()
    assert [os.path.basename(path) for path in gathered_pictures(f"{tmp_path}/x*")] == ["a.png"]


def test_the_home_folder_may_be_written_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    put(tmp_path / "a.png")
    assert gathered_pictures("~/a.png") == [str(tmp_path / "a.png")]


def test_a_wrong_path_gets_the_nearest_right_one(tmp_path: Path) -> None:
    put(tmp_path / "cat.jpg")
    assert f"did you mean {tmp_path}/cat.jpg?" in refusal(tmp_path / "kat.jpg")


def test_the_names_beside_a_wrong_path_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    put(tmp_path / "ca\x1b[2Jt.jpg")
    refusal(tmp_path / "cat.jpg")
    refusal(tmp_path / "ca[2Jt.jpg")


def test_a_glob_that_matches_nothing_is_an_error(tmp_path: Path) -> None:
    assert "nothing matches" in refusal(f"{tmp_path}/*.jpg")


def test_a_folder_without_pictures_is_an_error_that_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"content")
    assert "1 .heic (convert them to JPEG)" in refusal(tmp_path)


# -- batches ----------------------------------------------------------------------------------------------------------


def test_batches_come_in_order_with_errors_in_their_places(tmp_path: Path) -> None:
    put(*(tmp_path / f"{number}.png" for number in range(7)))
    (tmp_path / "3.png").write_bytes(b"")
    paths = [str(tmp_path / f"{number}.png") for number in range(7)]
    for workers in (-1, 0, 3):
        for ahead in (0, 2):
            batches = list(encoded_batches(CODEC, iter(paths), 3, workers, ahead))
            assert [len(batch) for batch in batches] == [3, 3, 1]
            rows = [row for batch in batches for row in batch]
            assert [source for source, _ in rows] == paths
            assert [isinstance(array, ImageError) for _, array in rows] == [number == 3 for number in range(7)]


def test_no_more_is_read_than_is_asked_for() -> None:
    taken = []

    def sources() -> Any:
        for number in range(1000):
            taken.append(number)
            yield np.zeros((8, 8), np.uint8)

    batches = encoded_batches(CODEC, sources(), 4, ahead=2)
    next(batches)
    assert len(taken) <= 16
    batches.close()  # type: ignore[attr-defined]


def test_there_is_at_least_one_core() -> None:
    assert cores() >= 1


# -- encoding and decoding --------------------------------------------------------------------------------------------


def test_scores_add_up_to_one_and_the_label_is_their_argmax(tmp_path: Path) -> None:
    prediction = CODEC.decode(np.array([1000.0, -1000.0, 999.0], np.float32), "a.png")
    assert prediction.file == "a.png"
    assert prediction.label == "cat"
    assert sum(prediction.scores.values()) == pytest.approx(1.0)
    assert list(prediction.scores) == list(CODEC.labels)
    assert prediction.top(2)[1][0] == CODEC.labels[2]


def test_a_prediction_for_a_path_object_knows_its_file(fitted: Any, photos: Path) -> None:
    (prediction,) = fitted.predict_each(iter([photos / "red" / "0.png"]))
    assert prediction.file == str(photos / "red" / "0.png")


# -- rebuilding -------------------------------------------------------------------------------------------------------


def through_json(values: Any) -> Any:
    return json.loads(json.dumps(values))


@dataclass(frozen=True)
class Everything:
    name: str
    count: int = 1
    share: float = 0.5
    on: bool = False
    pair: tuple[int, float] = (1, 2.0)
    many: tuple[str, ...] = ()
    maybe: int | None = None
    kind: Literal["a", "b"] = "a"
    rows: list[dict[str, float]] = dataclasses.field(default_factory=list)
    inner: Preparation = dataclasses.field(default_factory=Preparation)


@pytest.mark.parametrize(
    "value",
    [
        CODEC,
        Preparation(),
        Everything("x", 2, 3.0, True, (4, 5.0), ("y", "z"), 6, "b", [{"a": 1.0}], Preparation(size=9)),
        History([{"epoch": 1, "val_loss": 0.5}], 1, "bf16", 2.5, "SIGINT"),
        History(),
    ],
)
def test_a_value_comes_back_from_json_as_it_was(value: Any) -> None:
    back = rebuilt(type(value), through_json(dataclasses.asdict(value)))
    assert back == value
    assert repr(back) == repr(value) or isinstance(value, History)  # an epoch's number comes back as a float


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        "text",
        {},
        {"name": 3},
        {"name": "x", "count": 1.5},
        {"name": "x", "count": True},
        {"name": "x", "count": "1"},
        {"name": "x", "share": "0.5"},
        {"name": "x", "share": None},
        {"name": "x", "on": 1},
        {"name": "x", "pair": [1]},
        {"name": "x", "pair": [1, 2, 3]},
        {"name": "x", "pair": {"0": 1}},
        {"name": "x", "many": "yz"},
        {"name": "x", "many": ["y", 1]},
        {"name": "x", "maybe": "1"},
        {"name": "x", "kind": "c"},
        {"name": "x", "kind": ["a"]},
        {"name": "x", "rows": [{"a": "1"}]},
        {"name": "x", "rows": {"a": 1}},
        {"name": "x", "inner": {"size": "9"}},
        {"name": "x", "inner": None},
        {"name": "x", "__class__": "os.system"},
    ],
)
def test_values_of_the_wrong_type_are_refused(values: Any) -> None:
    with pytest.raises(ModelError) as caught:
        rebuilt(Everything, values)
    assert "\n" not in str(caught.value)


def test_an_unknown_setting_gets_the_nearest_right_one() -> None:
    with pytest.raises(ModelError, match="did you mean count"):
        rebuilt(Everything, {"name": "x", "cuont": 1})


@pytest.mark.parametrize(
    "values",
    [
        {"size": 0},
        {"size": -5},
        {"size": 10**9},
        {"crop_pct": 0.0},
        {"crop_pct": -1.0},
        {"crop_pct": float("nan")},
        {"std": [0.0, 0.0, 0.0]},
        {"mean": [float("nan"), 0.0, 0.0]},
    ],
)
def test_a_preparation_that_nobody_can_mean_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        rebuilt(Preparation, values)


def test_a_codec_is_small_enough_to_send() -> None:
    import pickle

    assert len(pickle.dumps(CODEC)) < 1000
    assert pickle.loads(pickle.dumps(CODEC)) == CODEC


def test_the_pictures_of_a_folder_are_gathered_in_the_order_of_their_names(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 2)
    found = [os.path.relpath(path, tmp_path) for path in gathered_pictures(tmp_path)]
    assert found == sorted(found)
