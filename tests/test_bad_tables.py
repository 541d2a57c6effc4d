"""Bad tables, end to end: what can be read is read, what cannot is one line that names file, row or column."""

from __future__ import annotations

import gzip
import io
import json
import math
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import draw_picture, draw_pictures
from PIL import Image

from recipes import ImageClassifier, ImageRegressor, TextClassifier
from recipes.checks import check
from recipes.cli import main
from recipes.demo import draw_shapes
from recipes.errors import DataError, OptionError
from recipes.examples import Splits
from recipes.tables import read_table
from recipes.task import Task

TEXTS = TextClassifier(backbone="ngrams")
SMALL: dict[str, Any] = {"backbone": "test_resnet", "pretrained": False, "size": 32}
PICTURES = ImageClassifier(**SMALL)
NUMBERS = ImageRegressor(**SMALL)

WORDS = "one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
SENTENCES = [f"the {word} parcel is here" for word in WORDS]
OTHERS = [f"where is number {word}" for word in WORDS]


def read(task: Task, data: Any, val: Any = None) -> Splits:
    preset = task.presets["default"]
    task.check(data, preset)
    return task.read(data, val, task.reading(preset))


def refusal(task: Task, data: Any, val: Any = None) -> str:
    with pytest.raises(DataError) as caught:
        read(task, data, val)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def everything(splits: Splits) -> dict[Any, Any]:
    """Every input for training and validation with its label's name, or its number."""
    return {
        one: target if isinstance(target, float) else part.labels[target]
        for part in (splits.train, splits.val)
        for one, target in zip(part.inputs, part.targets, strict=True)
    }


def note(splits: Splits, words: str) -> str:
    (found,) = [one for one in splits.notes if words in one]
    return found


def put(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def table(labels: Sequence[Any], texts: Sequence[str] = SENTENCES, header: str = "text,label") -> str:
    return "\n".join([header, *(f"{text},{label}" for text, label in zip(texts, labels, strict=False))]) + "\n"


def frame(labels: Any, texts: Sequence[str] = SENTENCES) -> pd.DataFrame:
    return pd.DataFrame({"text": list(texts)[: len(labels)], "label": labels})


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Eight pictures that differ, in one folder."""
    draw_shapes(tmp_path / "drawn", 2, seed=0, size=32)
    (tmp_path / "images").mkdir()
    for place, path in enumerate(sorted((tmp_path / "drawn").rglob("*.png"))[:8]):
        path.rename(tmp_path / "images" / f"{place}.png")
    return tmp_path


def pictures(labels: Sequence[Any], separator: str = ",", header: str = "image,label") -> str:
    rows = [f"images/{place}.png{separator}{label}" for place, label in enumerate(labels)]
    return "\n".join([header.replace(",", separator), *rows]) + "\n"


# -- encodings and separators -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_utf_16_without_a_mark_is_read(tmp_path: Path, kind: str, separator: str) -> None:
    content = table("ab" * 6).replace(",", separator)
    path = put(tmp_path / "data.csv", content, kind)
    splits = read(TEXTS, path)
    assert everything(splits) == dict(zip(SENTENCES, "ab" * 6, strict=True))
    assert splits.notes == []
    assert check(path, task="text-classifier").ok


def test_utf_16_without_a_mark_may_hold_other_letters_json_and_a_cut_off_end(tmp_path: Path) -> None:
    texts = [f"包裹在哪里 {place}, Grüße 👍" for place in range(6)]
    content = "".join(
        f'"{text}",{label}\r\n' for text, label in zip(["text", *texts], ["label", *"ababab"], strict=True)
    )
    assert read_table(put(tmp_path / "data.csv", content, "utf-16-le")).columns["text"] == texts
    rows = "\n".join(json.dumps({"text": text, "label": "a"}) for text in SENTENCES)
    assert read_table(put(tmp_path / "data.jsonl", rows, "utf-16-be")).columns["text"] == SENTENCES
    packed = gzip.compress(table("ab" * 6).encode("utf-16-le"))
    assert read_table(put(tmp_path / "data.csv.gz", packed)).columns["text"] == SENTENCES
    cut = table("ab" * 6).encode("utf-16-le")[:-1]
    assert len(read_table(put(tmp_path / "cut.csv", cut)).columns["label"]) == 12


@pytest.mark.parametrize(
    "content",
    [
        np.arange(3000, dtype="<u2").tobytes(),
        np.arange(3000, dtype=">u2").tobytes(),
        np.random.default_rng(0).integers(0, 30, 3000).astype("<u2").tobytes(),
        np.random.default_rng(0).normal(size=500).tobytes(),
        struct.pack("<4sIIHH", b"RIFF", 36, 1, 1, 1) + bytes(range(256)) * 9,
        bytes(4000),
    ],
    ids=["numbers", "numbers of another kind", "small numbers", "floats", "sound", "zeros"],
)
def test_numbers_of_two_bytes_are_no_text(tmp_path: Path, content: bytes) -> None:
    path = put(tmp_path / "data.csv", content)
    message = refusal(TEXTS, path)
    assert message.startswith("data.csv holds no text") or "data.csv is empty" in message
    assert "save it as UTF-8" in message or "is empty" in message
    report = check(path, task="text-classifier")
    assert [one.kind for one in report.findings] == ["refused"]


@pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8-sig"), ("\t", "utf-16"), ("|", "utf-16-le")])
def test_pictures_are_found_by_tables_of_any_kind(shop: Path, separator: str, encoding: str) -> None:
    splits = read(PICTURES, put(shop / "data.csv", pictures("abababab", separator), encoding))
    assert {Path(one).stem: label for one, label in everything(splits).items()} == {
        str(place): "ab"[place % 2] for place in range(8)
    }
    assert splits.notes == []


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-16"])
def test_files_whose_names_have_accents_are_found_whatever_the_table_is_saved_as(shop: Path, encoding: str) -> None:
    for place in range(8):
        (shop / "images" / f"{place}.png").rename(shop / "images" / f"café {place}.png")
    rows = "".join(f"images/café {place}.png,{'ab'[place % 2]}\n" for place in range(8))
    splits = read(PICTURES, put(shop / "data.csv", f"image,label\n{rows}", encoding))
    assert len(splits.train) + len(splits.val) == 8
    assert len(splits.notes) == (encoding == "latin-1")  # which is said


def test_numbers_with_a_comma_stand_between_semicolons(shop: Path) -> None:
    splits = read(NUMBERS, put(shop / "data.csv", pictures([f"{n},5" for n in range(8)], ";", "image;price")))
    assert sorted(everything(splits).values()) == [n + 0.5 for n in range(8)]


def test_rows_are_named_by_the_line_they_begin_on_also_behind_quotes_and_newlines(tmp_path: Path) -> None:
    rows = [f'"first, {word}\nsecond ""{word}"" line",{"ab"[n % 2]}' for n, word in enumerate(WORDS)]
    path = put(tmp_path / "data.csv", "\n".join(["text,label", *rows, "nothing is known of this,", "the end,a"]) + "\n")
    splits = read(TEXTS, path)
    assert 'first, one\nsecond "one" line' in everything(splits)
    assert note(splits, "left out 1 row") == "left out 1 row of data.csv with no label: data.csv:26"
    (finding,) = [one for one in check(path).findings if one.kind == "incomplete"]
    assert finding.names == ("data.csv:26",)
    assert finding.severity == "error"


# -- columns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "content", "words"),
    [
        (
            PICTURES,
            "name,label\nx,a\ny,b\n",
            "data.csv has no column of images (columns: name, label); name it with image=",
        ),
        (PICTURES, "image,note\nimages/0.png,p\nimages/1.png,q\n", "data.csv has no column of labels"),
        (NUMBERS, "image,note\nimages/0.png,p\nimages/1.png,q\n", "data.csv has no column of numbers"),
        (TEXTS, "id,number\n1,2\n3,4\n", "data.csv has no column of texts (columns: id, number); name it with text="),
        (TEXTS, "text,label,label\nhello there,a,b\nbye now,b,a\n", "data.csv has 1 column name more than once: label"),
        (PICTURES, "image,image,label\nx.png,y.png,a\n", "data.csv has 1 column name more than once: image"),
    ],
)
def test_columns_that_are_missing_or_there_twice_are_named(shop: Path, task: Task, content: str, words: str) -> None:
    path = put(shop / "data.csv", content)
    assert words in refusal(task, path)
    report = check(path, task=task)
    assert not report.ok
    assert words in report.findings[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label": "lable"}, "label='lable' is no column of data.csv; did you mean label? (columns: image, label)"),
        ({"image": "img"}, "image='img' is no column of data.csv"),
        ({"image": "label", "label": "label"}, "column 'label' is named as image and as label"),
    ],
)
def test_columns_that_are_named_wrongly_are_one_line(
    shop: Path, options: dict[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put(shop / "data.csv", pictures("abababab"))
    with pytest.raises(OptionError) as caught:
        read(ImageClassifier(**SMALL, **options), path)
    assert words in str(caught.value)
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    assert main(["check", "image-classifier", str(path), *flags]) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_validation_without_the_columns_of_training_is_refused_by_name(shop: Path) -> None:
    path = put(shop / "data.csv", pictures("abababab"))
    val = put(shop / "val.csv", "picture name,remark\nimages/0.png,x\nimages/1.png,y\n")
    message = refusal(PICTURES, path, val)
    assert message.startswith("val.csv lacks 2 columns of training: image, label (columns: picture name, remark)")


# -- numbers and truth values as labels -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cells",
    [
        [1, 0],
        [1.0, 0.0],
        ["1", "0"],
        ["1.0", "0.0"],
        [1, 0.0],
        ["1.0", "0"],
        [np.int64(1), np.float32(0)],
        ["1 ", " 0"],
        [1, "0"],
        [1.0, "0"],
    ],
    ids=repr,
)
def test_a_whole_number_is_one_label_however_it_is_written(cells: list[Any]) -> None:
    splits = read(TEXTS, {"text": SENTENCES, "label": cells * 6})
    assert splits.train.labels == ("0", "1")
    assert splits.notes == []


@pytest.mark.parametrize("cells", [[1, 1.0, 1.5], ["1", "1.0", "1.5"], [1.0, 1, 1.5]], ids=repr)
def test_a_number_in_two_spellings_is_one_label_also_beside_fractions(cells: list[Any]) -> None:
    assert len(read(TEXTS, {"text": SENTENCES, "label": cells * 4}).train.labels) == 2


def test_leading_zeros_are_part_of_a_name() -> None:
    assert read(TEXTS, {"text": SENTENCES, "label": ["007", "7"] * 6}).train.labels == ("007", "7")


Form = Callable[[Path, Sequence[Any], Sequence[str]], Any]


def as_csv(folder: Path, labels: Sequence[Any], texts: Sequence[str]) -> Any:
    return put(folder / f"{texts[0][:3]}.csv", table(labels, texts))


def as_json(folder: Path, labels: Sequence[Any], texts: Sequence[str]) -> Any:
    rows = [json.dumps({"text": text, "label": label}) for text, label in zip(texts, labels, strict=False)]
    return put(folder / f"{texts[0][:3]}.jsonl", "\n".join(rows))


def as_frame(folder: Path, labels: Sequence[Any], texts: Sequence[str]) -> Any:
    return frame(labels, texts)


def as_polars(folder: Path, labels: Sequence[Any], texts: Sequence[str]) -> Any:
    return pl.DataFrame({"text": list(texts)[: len(labels)], "label": labels})


@pytest.mark.parametrize("train", [as_csv, as_json, as_frame, as_polars])
@pytest.mark.parametrize("val", [as_csv, as_json, as_frame, as_polars])
@pytest.mark.parametrize(
    ("learnt", "asked"),
    [
        ([1, 0], [1, 0]),
        ([1, 0], [1.0, 0.0]),
        ([1.0, 0.0], [1, 0]),
        ([True, False], [True, False]),
        ([1.0, 1.5], [1.5, 1.0]),
        ([1.0, 1.5], [1.0, 1.0]),
        ([2.0, 1.5], [2, 2]),
    ],
    ids=repr,
)
def test_labels_of_training_and_validation_match_however_each_is_written(
    tmp_path: Path, train: Form, val: Form, learnt: list[Any], asked: list[Any]
) -> None:
    splits = read(TEXTS, train(tmp_path, learnt * 6, SENTENCES), val(tmp_path, asked * 2, OTHERS))
    found = [float(eval(splits.val.labels[target].capitalize())) for target in splits.val.targets]
    assert found == [float(label) for label in asked * 2]
    assert splits.notes == []


def test_words_beside_numbers_and_truth_values_match_too(tmp_path: Path) -> None:
    splits = read(TEXTS, as_csv(tmp_path, ["1.0", "none"] * 6, SENTENCES), frame([1, "none"], OTHERS))
    assert [splits.val.labels[target] for target in splits.val.targets] == ["1.0", "none"]
    assert note(splits, "mixes numbers and words").startswith("column label of the.csv")
    splits = read(TEXTS, as_csv(tmp_path, ["true", "false"] * 6, SENTENCES), frame([True, False], OTHERS))
    assert [splits.val.labels[target] for target in splits.val.targets] == ["true", "false"]


def test_true_is_no_number_and_this_is_said(tmp_path: Path) -> None:
    message = refusal(TEXTS, as_csv(tmp_path, [1, 0] * 6, SENTENCES), frame([True, False], OTHERS))
    assert message == "(val) has 2 labels that training did not know: True, False (labels: 0, 1)"
    splits = read(TEXTS, {"text": SENTENCES, "label": [1, True, 0] * 4})
    assert splits.train.labels == ("0", "1", "True")


def test_a_model_is_scored_on_labels_that_are_written_otherwise(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 1, "find_batch_size": False, "quiet": True}
    model = TextClassifier(backbone="ngrams").fit(as_csv(tmp_path, ["1.0", "1.5"] * 6, SENTENCES), **settings)
    assert model.evaluate(frame([1.0, 1.0], OTHERS)).examples == 2
    with pytest.raises(DataError, match=r"1 label that training did not know: 2\.5; did you mean 1\.5\?"):
        model.evaluate(frame([1.0, 2.5], OTHERS))


# -- nothing in cells -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [None, math.nan, pd.NA, pd.NaT, "", "  "], ids=repr)
def test_rows_without_a_label_or_an_input_are_left_out_and_named(shop: Path, gap: Any) -> None:
    splits = read(TEXTS, frame(["a", "b", gap, "a", "b", "a", "b", "a"]))
    assert note(splits, "no label") == "left out 1 row of (data frame) with no label: row 3"
    texts: list[Any] = [*SENTENCES[:4], gap, *SENTENCES[5:8]]
    splits = read(TEXTS, pd.DataFrame({"text": texts, "label": ["a", "b"] * 4}))
    assert note(splits, "empty text") == "left out 1 row of (data frame) with an empty text: row 5"
    paths: list[Any] = [str(shop / "images" / f"{place}.png") for place in range(8)]
    paths[6] = gap
    splits = read(PICTURES, pd.DataFrame({"image": paths, "label": ["a", "b"] * 4}))
    assert note(splits, "no picture") == "left out 1 row of (data frame) with no picture: row 7"


def test_a_column_of_gaps_is_no_column_of_labels() -> None:
    message = refusal(TEXTS, frame([math.nan] * 8))
    assert message == "no row of (data frame) has a text and a label (8 rows)"


@pytest.mark.parametrize(
    ("cell", "row"), [("tall", 4), (math.inf, 4), ("1.2.3", 4), ([1, 2], 4), ("3,5,1", 4)], ids=repr
)
def test_what_is_no_number_is_named_by_its_row(shop: Path, cell: Any, row: int) -> None:
    paths = [str(shop / "images" / f"{place}.png") for place in range(8)]
    numbers = [1.5, 2.5, 3.5, cell, 5.5, None, 7.5, 8.5]
    data = pd.DataFrame({"image": paths, "price": pd.Series(numbers, dtype=object)})
    task = ImageRegressor(**SMALL, label="price")
    message = refusal(task, data)
    assert message.startswith(f"row {row}: expected a number in column 'price', found")
    data["price"] = [1.5, 2.5, 3.5, math.nan, 5.5, 6.5, 7.5, 8.5]
    assert note(read(task, data), "no number") == "left out 1 row of (data frame) with no number: row 4"


def test_a_flag_that_is_none_is_named_by_its_row(shop: Path) -> None:
    rows = "".join(f"images/{n}.png,{n % 2},{'maybe' if n == 5 else 1 - n % 2}\n" for n in range(8))
    path = put(shop / "data.csv", f"image,red,round\n{rows}")
    task = ImageClassifier(**SMALL, label="red,round")
    assert refusal(task, path) == "data.csv:7: expected 0 or 1 in column 'round', found 'maybe'"


# -- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", ["letters", "all the same", "shuffled", "two levels", "dates"])
def test_the_index_of_a_frame_changes_nothing(shop: Path, index: str) -> None:
    paths = [str(shop / "images" / f"{place}.png") for place in range(8)]
    data = pd.DataFrame({"image": paths, "label": ["a", "b", None, "a", "b", "a", "b", "a"]})
    data.index = {
        "letters": pd.Index(list("stuvwxyz")),
        "all the same": pd.Index([3] * 8),
        "shuffled": pd.Index([5, 2, 7, 0, 1, 6, 4, 3]),
        "two levels": pd.MultiIndex.from_product([["x", "y"], range(4)]),
        "dates": pd.date_range("2024-01-01", periods=8),
    }[index]
    splits = read(PICTURES, data)
    assert everything(splits) == {
        path: label for path, label in zip(paths, data["label"], strict=True) if pd.notna(label)
    }
    assert note(splits, "no label").endswith("row 3")
    assert read(PICTURES, data.reset_index(drop=True)).val.inputs == splits.val.inputs


def test_a_part_of_a_frame_and_a_column_of_categories_are_read() -> None:
    data = frame(pd.Categorical(["a", "b", "c"] * 4))
    splits = read(TEXTS, data[data["label"] != "c"])
    assert splits.train.labels == ("a", "b")
    assert len(splits.train) + len(splits.val) == 8


# -- files that are something else ------------------------------------------------------------------------------------


def spreadsheet() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name in ("[Content_Types].xml", "xl/workbook.xml", "xl/worksheets/sheet1.xml"):
            file.writestr(name, "<xml/>")
    return packed.getvalue()


def slip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("../../outside.png", b"x")
    return packed.getvalue()


def cut_parquet() -> bytes:
    whole = io.BytesIO()
    pl.DataFrame({"text": SENTENCES, "label": list("ab" * 6)}).write_parquet(whole)
    return whole.getvalue()[:-40]


@pytest.mark.parametrize("task", [PICTURES, TEXTS, NUMBERS], ids=lambda task: task.command)
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("data.csv", spreadsheet(), "spreadsheet"),
        ("data.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "is a spreadsheet (.xls); export it as CSV"),
        ("data.parquet", cut_parquet(), "is no parquet file, or is cut off"),
        ("data.parquet", b"text,label\nhello,a\n", "is no parquet file, or is cut off"),
        ("data.zip", slip(), "../../outside.png"),
        ("data.zip", b"PK\x03\x04 and no more", "data.zip"),
        ("data.csv", b"", "is empty"),
        ("data.csv", b"text,label\n", "has no rows (columns: text, label)"),
        ("data.jsonl", b"[1, 2]\n", "data.jsonl, line 1: expected an object"),
    ],
    ids=["xlsx", "xls", "cut off", "csv called parquet", "slip", "cut zip", "empty", "header alone", "no objects"],
)
def test_a_file_that_is_something_else_is_one_line_for_each_task_and_for_the_check(
    tmp_path: Path, task: Task, name: str, content: bytes, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put(tmp_path / "inside" / name, content)
    before = sorted(tmp_path.rglob("*"))
    message = refusal(task, path)
    assert name in message
    assert words in message
    assert main(["check", task.command, str(path), "--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [one["kind"] for one in told["findings"]] == ["refused"]
    assert told["findings"][0]["text"] == message
    assert sorted(tmp_path.rglob("*")) == before


# -- folders ----------------------------------------------------------------------------------------------------------


def test_loops_of_links_among_folders_of_texts_and_beside_a_table_end(shop: Path, tmp_path: Path) -> None:
    for place, text in enumerate(SENTENCES):
        put(tmp_path / "reviews" / "ab"[place % 2] / "deep" / "deeper" / f"{place}.txt", text)
    (tmp_path / "reviews" / "a" / "deep" / "back").symlink_to(tmp_path / "reviews" / "a")
    splits = read(TEXTS, tmp_path / "reviews")
    assert everything(splits) == dict(zip(SENTENCES, "ab" * 6, strict=True))
    (shop / "images" / "around").symlink_to(shop)
    rows = "".join(f"{place}.png,{'ab'[place % 2]}\n" for place in range(8))
    splits = read(PICTURES, put(shop / "data.csv", f"image,label\n{rows}"))
    assert len(splits.train) + len(splits.val) == 8


def test_a_link_to_itself_stops_nothing(shop: Path, tmp_path: Path) -> None:
    put(shop / "data.csv", pictures("abababab"))
    for place in range(8):
        target = tmp_path / "photos" / "ab"[place % 2] / f"{place}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((shop / "images" / f"{place}.png").read_bytes())
        put(tmp_path / "reviews" / "ab"[place % 2] / f"{place}.txt", SENTENCES[place])
    for folder in (
        shop,
        shop / "images",
        *(tmp_path / kind for kind in ("photos", "photos/a", "reviews", "reviews/a")),
    ):
        (folder / "self").symlink_to(folder / "self")
    for task, data in ((PICTURES, shop / "data.csv"), (PICTURES, tmp_path / "photos"), (TEXTS, tmp_path / "reviews")):
        splits = read(task, data)
        assert len(splits.train) + len(splits.val) == 8


def test_a_linked_folder_of_a_label_and_a_linked_table_are_read(shop: Path, tmp_path: Path) -> None:
    path = put(shop / "data.csv", pictures("abababab"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "linked.csv").symlink_to(path)
    (tmp_path / "elsewhere" / "images").symlink_to(shop / "images")
    assert len(read(PICTURES, tmp_path / "elsewhere" / "linked.csv").train) > 4
    for label, colour in (("a", (250, 0, 0)), ("b", (0, 0, 250))):
        (tmp_path / "real" / label).mkdir(parents=True)
        for place in range(3):
            draw_picture(colour, place).save(tmp_path / "real" / label / f"{place}.png")
    (tmp_path / "links").mkdir()
    for label in "ab":
        (tmp_path / "links" / label).symlink_to(tmp_path / "real" / label)
    assert read(PICTURES, tmp_path / "links").train.labels == ("a", "b")


# -- labels that training never saw -----------------------------------------------------------------------------------


def test_a_new_label_in_validation_is_named_with_the_nearest_one_and_a_check_goes_on(shop: Path) -> None:
    train = put(shop / "train.csv", pictures(["cat", "dog"] * 4))
    Image.effect_noise((32, 32), 80).save(shop / "images" / "new.png")
    val = put(shop / "val.csv", "image,label\nimages/new.png,catt\n")
    message = refusal(PICTURES, train, val)
    assert message == "val.csv has 1 label that training did not know: catt; did you mean cat? (labels: cat, dog)"
    report = check(train, val, task=PICTURES)
    (finding,) = [one for one in report.findings if one.kind == "unknown labels"]
    assert finding == message
    assert [Path(name).name for name in finding.names] == ["new.png"]
    assert main(["check", "image-classifier", str(train), "--val", str(val)]) == 1


def test_a_link_that_leads_nowhere_is_counted_and_named(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "photos", 4)
    (tmp_path / "photos" / "red" / "gone.png").symlink_to(tmp_path / "nothing.png")
    splits = read(PICTURES, tmp_path / "photos")
    assert any("1 unreadable picture" in note and "gone.png does not exist" in note for note in splits.notes)
    for label in ("good", "bad"):
        (tmp_path / "reviews" / label).mkdir(parents=True)
        for place in range(4):
            (tmp_path / "reviews" / label / f"{place}.txt").write_text(f"a {label} thing, number {place}")
    (tmp_path / "reviews" / "good" / "9.txt").symlink_to(tmp_path / "nothing.txt")
    splits = read(TEXTS, tmp_path / "reviews")
    assert len(splits.train) + len(splits.val) == 8
    assert any("good/9.txt" in note for note in splits.notes)
