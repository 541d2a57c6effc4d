"""Labelled texts are found in whatever form they are, split soundly, and what is odd about them is said."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipes.codec import rebuilt
from recipes.columns import Columns
from recipes.errors import DataError, OptionError
from recipes.examples import Examples, Reading, Splits, stratified_split
from recipes.labelled import check, read_held_out
from recipes.labelled import read as read_labelled
from recipes.text_examples import TEXTS, gathered_texts, lines_of

COLUMNS = Columns(("text",), ("label",), False)
PAIR = Columns(("premise", "hypothesis"), ("label",), False)
WORDS = "red green blue small large round flat warm cold new old fast slow high low dry wet soft hard dark".split()  # noqa: SIM905


def some(number: int = 20, labels: str = "ab") -> tuple[list[str], list[str]]:
    """Texts that all differ, and labels in turn."""
    texts = [f"{WORDS[place % 20]} thing {WORDS[place // 20]} {place}" for place in range(number)]
    return texts, [labels[place % len(labels)] for place in range(number)]


def table_text(texts: list[str], labels: list[Any], header: str = "text,label") -> str:
    return "\n".join([header, *(f"{text},{label}" for text, label in zip(texts, labels, strict=True))])


def read(data: Any, val: Any = None, *, seed: int = 0, fraction: float = 0.2, **changes: Any) -> Splits:
    check(data, TEXTS)
    options = {"column" if name == "text" else name: value for name, value in changes.items()}
    return read_labelled(data, val, TEXTS, Reading(fraction, seed), **options)


def read_texts_held_out(data: Any, labels: tuple[str, ...], columns: Columns) -> Examples:
    return read_held_out(data, labels, columns, TEXTS)


def refusal(data: Any, val: Any = None, **changes: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(data, val, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def everything(splits: Splits) -> dict[Any, Any]:
    """Every text for training and validation with the names of its labels."""
    found = {}
    for part in (splits.train, splits.val):
        for text, target in zip(part.inputs, part.targets, strict=True):
            names = [part.labels[place] for place in (target if isinstance(target, tuple) else (target,))]
            found[text] = tuple(names) if isinstance(target, tuple) else names[0]
    return found


def note(splits: Splits, words: str) -> str:
    found = [one for one in splits.notes if words in one]
    assert len(found) == 1, splits.notes
    return found[0]


# -- forms of data ----------------------------------------------------------------------------------------------------


def test_a_table_becomes_texts_and_places_of_labels(tmp_path: Path) -> None:
    texts, labels = some()
    path = put(tmp_path / "data.csv", table_text(texts, labels))
    splits = read(path)
    assert everything(splits) == dict(zip(texts, labels, strict=True))
    assert (splits.train.labels, splits.notes, splits.root) == (("a", "b"), [], str(tmp_path))
    assert (len(splits.train), len(splits.val), splits.test) == (16, 4, None)
    assert Counter(splits.val.targets) == {0: 2, 1: 2}
    lines = {f"data.csv:{place + 2}": text for place, text in enumerate(texts)}
    assert [lines[name] for name in splits.record()["val"]] == splits.val.inputs
    assert [*splits.fingerprints] == ["data.csv"]
    assert splits.code == COLUMNS
    assert rebuilt(Columns, json.loads(json.dumps(splits.code.__dict__))) == COLUMNS
    assert read(path).val.inputs == splits.val.inputs
    assert read(path, seed=1).val.inputs != splits.val.inputs


@pytest.mark.parametrize("kind", ["lists", "arrays", "dict", "records", "pandas", "series", "polars", "dataset"])
def test_texts_in_memory_are_read_whatever_holds_them(kind: str) -> None:
    texts, labels = some()
    data: Any = {"text": texts, "label": labels}
    if kind in ("lists", "arrays"):
        data = (texts, labels) if kind == "lists" else [np.array(texts), np.array(labels, object)]
    elif kind == "records":
        data = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    elif kind in ("pandas", "series"):
        pandas = pytest.importorskip("pandas")
        data = pandas.DataFrame(data, index=[7] * 20)
        data = (data["text"], data["label"]) if kind == "series" else data
    elif kind == "polars":
        data = pytest.importorskip("polars").DataFrame(data)
    elif kind == "dataset":
        data = pytest.importorskip("datasets").Dataset.from_dict(data)
    splits = read(data)
    assert everything(splits) == dict(zip(texts, labels, strict=True))
    assert splits.record()["train"][0] == "row 1"
    assert [*splits.fingerprints] == ["(texts)"]
    assert splits.fingerprints["(texts)"].startswith("20-")
    assert splits.fingerprints == read((texts, labels)).fingerprints
    assert splits.fingerprints != read((texts, labels[::-1])).fingerprints


@pytest.mark.parametrize(
    "names",
    [
        ("train.csv", "val.csv", "test.csv"),
        ("Train.tsv", "dev.jsonl", "testing.ndjson"),
        ("my_train.csv", "my-valid.csv", "my test.csv"),
        ("train-0-of-1.parquet", "validation.csv.gz", "test.json"),
    ],
)
def test_a_folder_of_tables_is_read_by_their_names(tmp_path: Path, names: tuple[str, str, str]) -> None:
    texts, labels = some(12)
    for place, name in enumerate(names):
        rows = {"text": texts[place * 4 : place * 4 + 4], "label": labels[:4]}
        records = [{"text": text, "label": label} for text, label in zip(*rows.values(), strict=True)]
        if name.endswith(".parquet"):
            pyarrow = pytest.importorskip("pyarrow")
            pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(rows), tmp_path / name)
        elif name.endswith((".jsonl", ".ndjson", ".json")):
            content = json.dumps(records) if name.endswith(".json") else "\n".join(map(json.dumps, records))
            put(tmp_path / name, content)
        else:
            content = table_text(*rows.values()).replace(",", "\t" if name.endswith(".tsv") else ",")
            put(tmp_path / name, gzip.compress(content.encode()) if name.endswith(".gz") else content)
    put(tmp_path / "README.md", "# Texts")
    put(tmp_path / "ORIGIN.txt", "from somewhere")
    put(tmp_path / "notes.csv", "a,b\n1,2\n")
    splits = read(tmp_path)
    assert splits.test is not None
    assert [splits.train.inputs, splits.val.inputs, splits.test.inputs] == [texts[:4], texts[4:8], texts[8:]]
    assert {*splits.fingerprints} == {*names}
    assert splits.notes == [f"left out notes.csv of {tmp_path}"]


def test_a_folder_with_one_table_is_that_table_and_with_several_others_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "reviews.csv", table_text(*some()))
    assert len(read(tmp_path).train) == 16
    put(tmp_path / "other.csv", table_text(*some()))
    assert "holds 2 tables (other.csv, reviews.csv); give one of them, or call them train.csv" in refusal(tmp_path)
    put(tmp_path / "train_a.csv", "")
    put(tmp_path / "train_b.csv", "")
    assert "has 2 tables for training: train_a.csv, train_b.csv" in refusal(tmp_path)


def test_folders_of_text_files_are_labels(tmp_path: Path) -> None:
    for label in ("good", "bad"):
        for number in range(5):
            put(tmp_path / label / f"{number}.txt", f"{label} text\nno. {number}\n")
    put(tmp_path / "good" / "x.jpg", b"no text")
    put(tmp_path / "bad" / "latin.txt", "très mal".encode("latin-1"))
    put(tmp_path / "bad" / "binary.txt", bytes(100))
    put(tmp_path / "bad" / "empty.txt", " \n")
    splits = read(tmp_path)
    assert everything(splits)["good text\nno. 3\n"] == "good"
    assert everything(splits)["très mal"] == "bad"
    assert sorted([*splits.record()["train"], *splits.record()["val"]])[:2] == ["bad/0.txt", "bad/1.txt"]
    assert note(splits, "Windows-1252") == "1 file not in UTF-8, read as Windows-1252: bad/latin.txt"
    assert "bad/binary.txt" in note(splits, "something else than text")
    assert note(splits, "empty").endswith("with an empty text: bad/binary.txt, bad/empty.txt")
    assert "good/0.txt" in splits.fingerprints
    assert splits.code == COLUMNS


def test_folders_of_text_files_may_lie_in_splits(tmp_path: Path) -> None:
    for part, numbers in (("train", range(4)), ("test", range(4, 6))):
        for label in ("good", "bad"):
            for number in numbers:
                put(tmp_path / part / label / f"{number}.txt", f"{label} {number}")
    splits = read(tmp_path)
    assert splits.test is not None
    assert (len(splits.train), len(splits.val), len(splits.test)) == (6, 2, 4)
    assert splits.record()["test"][0] == "test/bad/4.txt"
    assert read_texts_held_out(tmp_path, ("bad", "good"), COLUMNS).names == splits.test.names
    other = read(tmp_path / "train", tmp_path / "test")
    assert (len(other.train), len(other.val)) == (8, 4)


def test_a_table_may_have_a_column_of_splits(tmp_path: Path) -> None:
    texts, labels = some(12)
    parts = ["train"] * 6 + ["Validation", "dev", "val", "valid"] + ["test"] * 2
    rows = [f"{text},{part},{label}" for text, part, label in zip(texts, parts, labels, strict=True)]
    path = put(tmp_path / "data.csv", "\n".join(["text,Split,label", *rows]))
    splits = read(path)
    assert splits.test is not None
    assert [splits.train.inputs, splits.val.inputs, splits.test.inputs] == [texts[:6], texts[6:10], texts[10:]]
    assert splits.record()["test"] == ["data.csv:12", "data.csv:13"]
    put(path, path.read_text().replace("dev", "deev"))
    assert "data.csv:9: the split is 'deev'; expected train, val or test; did you mean dev?" in refusal(path)
    put(path, table_text([f"{text},part {place}" for place, text in enumerate(texts)], labels, "text,set,label"))
    assert len(read(path).train) + len(read(path).val) == 12


def test_a_dict_of_splits_may_hold_anything(tmp_path: Path) -> None:
    texts, labels = some(16)
    path = put(tmp_path / "some.csv", table_text(texts[8:12], labels[8:12]))
    records = [{"text": text, "label": label} for text, label in zip(texts[12:], labels[12:], strict=True)]
    splits = read({"train": (texts[:8], labels[:8]), "validation": path, "test": records, "unsupervised": None})
    assert splits.test is not None
    assert [splits.train.inputs, splits.val.inputs, splits.test.inputs] == [texts[:8], texts[8:12], texts[12:]]
    assert splits.notes == ["left out unsupervised of these data"]
    assert splits.record() == {
        "train": [f"train row {n}" for n in range(1, 9)],
        "val": [f"some.csv:{n}" for n in range(2, 6)],
        "test": [f"test row {n}" for n in range(1, 5)],
    }
    assert {*splits.fingerprints} >= {str(path)}


def test_a_dataset_dict_is_a_dict_of_splits_whose_hidden_labels_are_left_out() -> None:
    datasets = pytest.importorskip("datasets")
    texts, _ = some(10)
    features = datasets.Features({"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["n", "p"])})

    def part(begin: int, end: int, labels: list[int]) -> Any:
        return datasets.Dataset.from_dict({"sentence": texts[begin:end], "label": labels}, features=features)

    data = datasets.DatasetDict(
        train=part(0, 6, [0, 1] * 3), validation_matched=part(6, 8, [1, 0]), test=part(8, 10, [-1, -1])
    )
    splits = read(data)
    assert splits.test is None
    assert splits.train.labels == ("n", "p")
    assert splits.val.targets == [1, 0]
    assert "left out what is for testing: no row of (test) has a text and a label" in note(splits, "for testing")


def test_validation_is_taken_from_where_it_is_given(tmp_path: Path) -> None:
    texts, labels = some(12)
    train, val = put(tmp_path / "a.csv", table_text(texts[:8], labels[:8])), tmp_path / "b.csv"
    put(val, table_text(texts[8:], labels[8:]))
    splits = read(train, val)
    assert (splits.train.inputs, splits.val.inputs) == (texts[:8], texts[8:])
    assert {*splits.fingerprints} == {"a.csv", "b.csv"}
    splits = read(train, (texts[8:], labels[8:]))
    assert {*splits.fingerprints} == {"a.csv", "(texts)"}
    assert "lacks 1 column of training: label (columns: text)" in refusal(train, {"text": texts})
    assert "does not exist; did you mean b.csv?" in refusal(train, tmp_path / "bb.csv")


def test_a_test_table_without_labels_is_left_out_not_refused(tmp_path: Path) -> None:
    put(tmp_path / "train.csv", table_text(*some()))
    put(tmp_path / "test.csv", "id,text,country\n1,hello,DE\n2,bye,DE\n3,you,FR\n4,me,FR")
    put(tmp_path / "sample_submission.csv", "id,label\n1,a")
    splits = read(tmp_path)
    assert splits.test is None
    assert "left out what is for testing: test.csv lacks 1 column of training: label" in note(splits, "for testing")


# -- columns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "found", "guessed"),
    [
        (["text", "label"], ("text", "label"), False),
        (["id", "Review Text", "Sentiment"], ("Review Text", "Sentiment"), True),
        (["label", "tweet"], ("tweet", "label"), False),
        (["label", "title", "body"], ("body", "label"), True),
        (["text", "intent", "topic"], ("text", "intent"), True),
        (["v2", "v1"], ("v2", "v1"), True),
        (["Class Index", "Description"], ("Description", "Class Index"), True),
        (["y", "x"], ("x", "y"), True),
    ],
)
def test_columns_are_found_by_what_they_are_called_or_hold(
    names: list[str], found: tuple[str, str], guessed: bool
) -> None:
    texts, labels = some()
    others = {"id": [f"{place:040x}" for place in range(20)], "topic": labels, "title": [text[:9] for text in texts]}
    data = {name: others.get(name, labels) for name in names}
    data[found[0]] = texts
    splits = read(data)
    assert (splits.code.inputs + splits.code.label) == found
    assert everything(splits) == dict(zip(texts, labels, strict=True))
    words = f"took column {found[0]!r} as text and {found[1]!r} as label; name others with text=... and label=..."
    assert (words in splits.notes) == guessed


def test_columns_that_are_named_are_taken_and_misspelled_ones_are_refused() -> None:
    texts, labels = some()
    data = {"first": texts, "Second, too": texts[::-1], "kind": labels, "split": ["train", "odd"] * 10, "other": labels}
    del data["split"]
    splits = read(data, text="Second, too", label="KIND")
    assert (splits.code.inputs, splits.code.label) == (("Second, too",), ("kind",))
    assert splits.notes == []
    for changes, words in (
        (
            {"text": "frist"},
            "text='frist' is no column of (dict); did you mean first? (columns: first, Second, too, kind",
        ),
        ({"label": "kinds"}, "label='kinds' is no column of (dict); did you mean kind?"),
        ({"text": "kind", "label": "kind"}, "named as text and as label"),
        ({"text": "first,kind,other"}, "names 3 columns"),
    ):
        with pytest.raises(OptionError) as caught:
            read(data, **changes)
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"text": some()[0]}, "(dict) has no column of labels (columns: text); name it with label=..."),
        ({"a": [1, 2, 3, 4], "label": list("xyxy")}, "(dict) has no column of texts (columns: a, label)"),
        ({"text": some()[0], "toxic": [0, 1] * 10, "mild": [1, 0] * 10}, "name one, or all that are labels, as in"),
        ({"text": some()[0], "label": ["x"] * 20}, "column label of (dict) holds one label only, x;"),
        ({"text": some(60)[0], "label": np.linspace(0, 1, 60)}, "has 60 different values in 60 rows, like numbers"),
        ({"text": some(60)[0], "label": [f"id{n}" for n in range(60)]}, "name the column of labels with label=..."),
        ({"text": ["", " "], "label": ["x", "y"]}, "no row of (dict) has a text and a label (2 rows)"),
        ({"text": ["a", "b"], "label": [None, ""]}, "no row of (dict) has a text and a label"),
        ({"test": {"text": ["a"], "label": ["x"]}}, "found texts for test and none for training"),
        ((["a", "b"], ["x"]), "expected as many labels as texts, found 2 texts and 1 label"),
        (["a", "b"], "expected labelled texts, found list of 2"),
        ((["a", "b"], np.eye(2)), "are lists of 0 and 1; give lists of names"),
        ((["a", "b"], [[1, 0], [0, 1]]), "are lists of 0 and 1; give lists of names instead"),
        (None, "expected labelled texts, found NoneType"),
        (3, "expected labelled texts, found int"),
        ({"hello"}, "expected labelled texts, found set"),
        ([], "expected a table"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_meant_are_refused(data: Any, words: str) -> None:
    assert words in refusal(data)


def test_paths_that_cannot_be_meant_are_refused_at_once(tmp_path: Path) -> None:
    put(tmp_path / "reviews" / "readme.md", "x")
    put(tmp_path / "nested" / "data" / "train.csv", "text,label")
    for path, words in (
        (tmp_path / "review", "does not exist; did you mean reviews?"),
        (tmp_path / "reviews", "holds no table (.csv, .tsv, .jsonl, .ndjson, .json, .parquet) and no folders of .txt"),
        (tmp_path / "nested", f"did you mean {tmp_path / 'nested' / 'data'}?"),
    ):
        with pytest.raises(DataError) as caught:
            check(path, TEXTS)
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "names", [("premise", "hypothesis"), ("sentence1", "sentence2"), ("Question1", "question2"), ("text_a", "text_b")]
)
def test_pairs_are_found_by_their_names(names: tuple[str, str]) -> None:
    texts, labels = some()
    splits = read({"id": list(range(20)), names[0]: texts, names[1]: texts[::-1], "label": labels})
    assert everything(splits) == dict(zip(zip(texts, texts[::-1], strict=True), labels, strict=True))
    assert splits.code.inputs == names
    assert splits.notes == []


def test_pairs_may_be_named_or_given_as_pairs_and_lose_those_with_an_empty_half() -> None:
    texts, labels = some()
    other = [*texts[1:], "  "]
    data = {"text": texts, "more": other, "label": labels}
    splits = read(data, text="text, more")
    assert splits.train.inputs[0] == (texts[0], other[0])
    assert note(splits, "empty") == "left out 1 row of (dict) with an empty text: row 20"
    lists = read((list(zip(texts, other, strict=True)), labels))
    assert lists.code.inputs == ("text_a", "text_b")
    assert everything(lists) == everything(splits)


def test_a_table_without_a_header_is_read_by_what_it_holds(tmp_path: Path) -> None:
    texts, labels = some()
    path = put(tmp_path / "data.csv", table_text(texts, labels, f"{texts[0]} again,a"))
    splits = read(path)
    assert len(everything(splits)) == 21
    assert (splits.code.inputs, splits.code.label) == (("1",), ("2",))
    assert note(splits, "looks like data")
    assert note(splits, "took column '1' as text and '2' as label")


# -- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        ([" a ", "b"], ("a", "b")),
        ([1, 0], ("0", "1")),
        ([1.0, 0.0], ("0", "1")),
        ([1.5, 2.0], ("1.5", "2.0")),
        ([True, False], ("False", "True")),
        ([np.int64(3), np.float32(4)], ("3", "4")),
        (["NaN", "null"], ("NaN", "null")),
        (["שלום", "👍"], ("שלום", "👍")),
        (["10", "9"], ("10", "9")),
    ],
)
def test_labels_are_named_by_their_cells(cells: list[Any], names: tuple[str, ...]) -> None:
    texts, _ = some()
    splits = read({"text": texts, "label": cells * 10})
    assert splits.train.labels == names


def test_rows_without_a_text_or_a_label_are_left_out_and_named(tmp_path: Path) -> None:
    texts, labels = some()
    rows = [*zip(texts, labels, strict=True), ("", "a"), (" ", "b"), ("x", ""), ("y", " "), ("z", ""), ("u", "")]
    path = put(tmp_path / "data.csv", table_text(*map(list, zip(*rows, strict=True))))  # type: ignore[arg-type]
    splits = read(path)
    assert len(everything(splits)) == 20
    assert note(splits, "empty") == "left out 2 rows of data.csv with an empty text: data.csv:22, data.csv:23"
    assert "left out 4 rows of data.csv with no label: data.csv:24, data.csv:25, data.csv:26 and 1 more" in splits.notes
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": [*texts, None, pandas.NA], "label": [*labels, "a", "b"]})
    assert "row 21, row 22" in note(read(frame), "empty")


def test_texts_stay_as_they_are() -> None:
    texts = [
        "NaN",
        "null",
        " spaced\n",
        "Ａ\u200f שלום",
        "e\u0301 👍🏽",
        "x" * 2**20,
        "5",
        "<b>",
        "\ud800",
        "\t\\n",
    ]
    splits = read((texts, ["a", "b"] * 5))
    assert {*everything(splits)} == {*texts}


def test_labels_that_are_nearly_the_same_are_named() -> None:
    texts, _ = some(30)
    splits = read(
        (texts, ["Spam", "spam", "ham", "two  words", "two words", "caf\u00e9", "cafe\u0301", "x", "y", "z"] * 3)
    )
    found = note(splits, "differ only in")
    assert all(name in found for name in ("Spam", "two words", "café"))
    assert "ham" not in found.replace("Spam", "").replace("spam", "")


def test_rare_labels_are_named() -> None:
    texts, _ = some(40)
    splits = read((texts, ["many"] * 32 + ["few"] * 7 + ["one"]))
    assert "many has 32 texts, one 1; class_weights=balanced" in note(splits, "balanced")
    assert note(splits, "cannot be validated").endswith(": one")
    assert "one" in [splits.train.labels[place] for place in splits.train.targets]


# -- several labels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cells", "changes", "columns"),
    [
        ("labels", ["a|b", "b", " a | ", "b|a|a"], {}, ("labels", "|")),
        ("label", [["a", "b"], ["b"], ["a"], ("b", "a")], {}, ("label", "")),
        ("label", ["['a', 'b']", '["b"]', "['a']", "['b' 'a']"], {}, ("label", "")),
        ("label", ["[a, b]", "[b]", " ['a',]", "[b, \"a\", 'a']"], {}, ("label", "")),
        ("kind", ["a|b", "b", "a", "b|a"], {"multi_label": True, "label": "kind"}, ("kind", "|")),
        ("label", ["a, b", "b", "a", "b,a"], {"multi_label": True}, ("label", ",")),
        ("label", ["a;b", "b", "a", "b;a"], {"multi_label": True}, ("label", ";")),
    ],
)
def test_several_labels_are_found_in_a_cell(
    name: str, cells: list[Any], changes: Any, columns: tuple[str, str]
) -> None:
    texts, _ = some()
    splits = read({"text": texts, name: cells * 5}, **changes)
    assert splits.code == Columns(("text",), (columns[0],), True, columns[1])
    assert everything(splits) == dict(zip(texts, [("a", "b"), ("b",), ("a",), ("a", "b")] * 5, strict=True))


def test_labels_in_written_lists_may_hold_quotes_and_commas() -> None:
    texts, _ = some()
    cells = ["['it\\'s', \"a, b\"]", '["it\'s"]', "[]", '["a, b", "\\\\d"]']
    found = everything(read({"text": texts, "label": cells * 5}))
    assert [found[text] for text in texts[:4]] == [("a, b", "it's"), ("it's",), (), ("\\d", "a, b")]


def test_several_columns_of_0_and_1_are_labels() -> None:
    texts, _ = some()
    flags = {"toxic": ["1", "0", "yes", ""] * 5, "mild": [1.0, 0.0, True, None] * 5}
    splits = read({"text": texts, **flags}, label="toxic,mild")
    assert splits.train.labels == ("mild", "toxic")
    assert everything(splits) == dict(zip(texts, [("mild", "toxic"), (), ("mild", "toxic"), ()] * 5, strict=True))
    assert "kept 10 rows of (dict) with no label: row 2, row 4" in note(splits, "no label")
    wrong = {"text": texts, **flags, "mild": [3] * 20}
    assert "row 1: expected 0 or 1 in column 'mild', found '3'" in refusal(wrong, label="toxic,mild")
    with pytest.raises(OptionError, match="several columns"):
        read({"text": texts, **flags}, label="toxic,mild", multi_label=False)


def test_one_label_is_not_torn_apart_unless_asked() -> None:
    texts, _ = some()
    splits = read((texts, ["a|b", "c"] * 10))
    assert splits.train.labels == ("a|b", "c")
    assert "multi_label splits there" in note(splits, "with | in it")
    assert read({"text": texts, "labels": ["a|b", "c"] * 10}, multi_label=False).train.labels == ("a|b", "c")
    with pytest.raises(OptionError, match="lists"):
        read((texts, [["a"], ["b"]] * 10), multi_label=False)


# -- splitting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_split_of_several_labels_takes_the_same_share_of_each(fraction: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    chances = np.array([0.5, 0.2, 0.1, 0.03, 0.01])
    targets = [tuple(np.flatnonzero(row).tolist()) for row in rng.random((1000, 5)) < chances]
    kept, out = stratified_split(targets, fraction, seed)
    assert sorted([*kept, *out]) == list(range(1000))
    assert kept == sorted(kept)
    assert abs(len(out) - 1000 * fraction) < 20
    for label in range(5):
        number, whole = (sum(label in targets[place] for place in places) for places in (out, range(1000)))
        assert 1 <= number < whole
        assert abs(number - fraction * whole) <= max(2, 0.05 * whole)
    assert (kept, out) == stratified_split(targets, fraction, seed)
    assert out != stratified_split(targets, fraction, seed + 1)[1]


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
def test_a_split_of_groups_tears_none_apart_and_takes_the_same_share(fraction: float) -> None:
    counts = {0: 1, 1: 2, 2: 3, 3: 10, 4: 101}
    targets = np.random.default_rng(0).permutation(np.repeat(list(counts), list(counts.values()))).tolist()
    kept, out = stratified_split(targets, fraction, 0, list(range(len(targets))))
    held = Counter(targets[place] for place in out)
    assert held[0] == 0
    for label, count in list(counts.items())[1:]:
        assert 1 <= held[label] < count
        assert abs(held[label] - fraction * count) <= 1
    groups = [place // 3 for place in range(300)]
    kept, out = stratified_split([place % 2 for place in range(300)], fraction, 0, groups)
    assert sorted([*kept, *out]) == list(range(300))
    assert not {groups[place] for place in kept} & {groups[place] for place in out}
    assert stratified_split([0] * 4 + [1] * 4, 0.5, 0, [0] * 4 + [1] * 4) == (list(range(8)), [])


def test_every_label_is_on_both_sides_where_it_can_be() -> None:
    groups = [0, 0, 0, 1, 1, 1, 2, 3, 4, 5]
    for seed in range(5):
        kept, out = stratified_split([0] * 6 + [1] * 4, 0.1, seed, groups)
        assert len({0, 1} & {0 if place < 6 else 1 for place in out}) == 2
        assert len({0 if place < 6 else 1 for place in kept}) == 2


def test_copies_stay_on_one_side_and_are_counted() -> None:
    texts, labels = some(40)
    copies = [text.upper() + " !!" for text in texts[:10]] + texts[:4]
    splits = read(([*texts, *copies], [*labels, *labels[:10], *labels[:4]]), fraction=0.5)
    sides = [{"".join(text.lower().split()).rstrip("!") for text in part.inputs} for part in (splits.train, splits.val)]
    assert not sides[0] & sides[1]
    assert "14 texts of 54 for training repeat others with the same label, 4 of them" in note(splits, "repeat")


def test_texts_with_two_labels_are_named() -> None:
    texts, labels = some()
    splits = read(([*texts, "Is it so?", "is it so", "⁇"], [*labels, "a", "b", "a"]))
    found = note(splits, "different labels")
    assert found == "1 text for training with different labels: row 21 (a) and row 22 (b); which is right?"
    assert len(read((["👍", "👎", "👍 !", "👎 !", "c", "d"], ["a", "b"] * 3)).notes) == 1
    assert read((["कि", "की", "कु", "के"], ["a", "b"] * 2)).notes == []


def test_texts_on_both_sides_of_a_given_split_are_named(tmp_path: Path) -> None:
    texts, labels = some(24)
    put(tmp_path / "train.csv", table_text(texts[:12], labels[:12]))
    put(tmp_path / "val.csv", table_text([texts[3] + "!", *texts[13:18]], [labels[3], *labels[13:18]]))
    put(tmp_path / "test.csv", table_text([*texts[18:], *texts[:5]], [*labels[18:], *labels[:5]]))
    splits = read(tmp_path)
    assert splits.test is not None
    assert len(splits.test) == 11
    assert "1 of 6 texts for validation are for training too" in note(splits, "for validation")
    assert note(splits, "for validation").endswith("val.csv:2 (= train.csv:5)")
    assert note(splits, "for testing").endswith("test.csv:10 (= train.csv:4) and 2 more")


def test_an_unknown_label_for_validation_is_refused() -> None:
    texts, _ = some()
    message = refusal((texts, ["good", "bad"] * 10), (["x", "y"], ["god", "bad"]))
    assert "has 1 label that training did not know: god; did you mean good? (labels: bad, good)" in message


# -- to evaluate on ---------------------------------------------------------------------------------------------------


def test_held_out_texts_are_those_for_testing_or_else_for_validation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("train", "val", "test"):
        put(tmp_path / f"{part}.csv", f"text,label\nfor {part},a\n,b\n")
    labels = ("a", "b", "c")
    found = read_texts_held_out(tmp_path, labels, COLUMNS)
    assert (found.inputs, found.targets, found.names, found.labels) == (["for test"], [0], ["test.csv:2"], labels)
    said = capsys.readouterr().err
    assert "note: evaluating on testing texts of test.csv" in said
    assert "left out 1 row of test.csv with an empty text" in said
    put(tmp_path / "test.csv", "text\nhello\n")
    assert read_texts_held_out(tmp_path, labels, COLUMNS).inputs == ["for val"]
    assert "left out what is for testing" in capsys.readouterr().err
    assert read_texts_held_out(tmp_path / "train.csv", labels, COLUMNS).inputs == ["for train"]
    assert "evaluating" not in capsys.readouterr().err


def test_held_out_texts_need_known_labels_and_may_have_other_columns() -> None:
    data = {"sentence": ["x", "y"], "category": ["goud", "bad"]}
    with pytest.raises(DataError, match="training did not know: goud; did you mean good"):
        read_texts_held_out(data, ("bad", "good"), COLUMNS)
    data["category"][0] = "good"
    assert read_texts_held_out(data, ("bad", "good"), COLUMNS).targets == [1, 0]
    with pytest.raises(DataError, match="lacks 1 column of training: label"):
        read_texts_held_out({"text": ["x", "y"]}, ("bad", "good"), COLUMNS)
    with pytest.raises(DataError, match="the labels are lists"):
        read_texts_held_out({"text": ["x", "y"], "label": [["a"], ["b"]]}, ("a", "b"), Columns(("t",), ("l",), False))
    several = Columns(("text",), ("a", "b"), True)
    flags = {"text": ["x", "y", "z"], "a": [1, 1, 0], "b": [0, 1, 0]}
    assert read_texts_held_out(flags, ("a", "b"), several).targets == [(0,), (0, 1), ()]
    with pytest.raises(DataError, match="lacks 1 column of training: b"):
        read_texts_held_out({"text": ["x"], "a": [1]}, ("a", "b"), several)


# -- to predict -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["good", "Good, or not?", "", "a/b", "C:", "5", "word " * 10_000, "x\0y", "see a.csv"])
def test_a_string_that_names_nothing_is_a_text(text: str) -> None:
    assert gathered_texts(text, COLUMNS) == [text]


@pytest.mark.parametrize(
    "name", ["reviw.txt", "./review", "../x", "/nowhere/x", "~/nowhere-at-all", "data.csv", "d.parquet"]
)
def test_a_string_that_looks_like_a_path_must_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    put(tmp_path / "review.txt", "hello")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="does not exist") as caught:
        gathered_texts(name, COLUMNS)
    assert ("did you mean review.txt?" in str(caught.value)) == (name in ("reviw.txt", "./review"))
    with pytest.raises(DataError, match="does not exist"):
        gathered_texts(Path("good"), COLUMNS)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_a_file_of_lines_gives_a_text_for_each(tmp_path: Path, encoding: str) -> None:
    path = put(tmp_path / "texts.txt", "été, 1\r\n\r\n two \nend\u0085?".encode(encoding))
    assert gathered_texts(str(path), COLUMNS) == [
        "été, 1",
        "",
        " two ",
        "end\u0085?" if encoding != "latin-1" else "end…?",
    ]
    assert gathered_texts(put(path, "one\n\n"), COLUMNS) == ["one", ""]
    assert gathered_texts(put(path, ""), COLUMNS) == []
    with pytest.raises(DataError, match="holds no text"):
        gathered_texts(put(path, bytes(100)), COLUMNS)


def test_a_folder_gives_its_text_files(tmp_path: Path) -> None:
    put(tmp_path / "b.txt", "two\nlines")
    put(tmp_path / "a" / "1.TXT", "one")
    put(tmp_path / "a" / "2.md", "no")
    assert gathered_texts(tmp_path, COLUMNS) == ["two\nlines", "one"]
    with pytest.raises(DataError, match=r"holds no \.txt files; to mean the word itself"):
        gathered_texts(put(tmp_path / "c" / "x.md", "").parent, COLUMNS)


def test_a_table_gives_the_column_of_training_or_the_one_that_holds_texts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["one, two", "", "three\nfour", "NA"]
    records = [
        {"id": place, "note": "a much longer text than the other", "text": text} for place, text in enumerate(texts)
    ]
    path = put(tmp_path / "data.jsonl", "\n".join(map(json.dumps, records)))
    assert gathered_texts(path, COLUMNS) == texts
    assert gathered_texts(records, COLUMNS) == texts
    assert gathered_texts(iter(records), COLUMNS) == texts
    assert capsys.readouterr().err == ""
    other = Columns(("review",), ("label",), False)
    assert gathered_texts({"label": ["x"] * 4, "sentence": texts}, other) == texts
    assert "note: took column sentence of (dict) as text" in capsys.readouterr().err
    assert gathered_texts(put(tmp_path / "d.csv", "greeting\nhello, you\nbye\n"), COLUMNS) == ["hello, you", "bye"]
    with pytest.raises(DataError, match=r"has no column premise and hypothesis, as training had \(columns: text"):
        gathered_texts({"text": texts}, PAIR)


def test_the_items_of_a_list_are_texts_whatever_they_look_like(tmp_path: Path) -> None:
    path = str(put(tmp_path / "a.txt", "x"))
    items = [path, "a.csv", "", None, 5, float("inf"), b"x", ("a", "b")]
    assert gathered_texts(items, COLUMNS) == items
    assert gathered_texts(tuple(items), COLUMNS) == items
    assert gathered_texts(iter(items), COLUMNS) == items
    assert gathered_texts(np.array(["a", "b"]), COLUMNS) == ["a", "b"]
    assert gathered_texts([], COLUMNS) == []
    assert gathered_texts(None, COLUMNS) == [None]
    assert gathered_texts(3.5, COLUMNS) == [3.5]
    assert gathered_texts({"text": "hello", "id": 3}, COLUMNS) == ["hello"]


def test_pairs_are_tuples_wherever_they_are_from() -> None:
    assert gathered_texts(("a", "b"), PAIR) == [("a", "b")]
    assert gathered_texts([("a", "b"), ["c", "d"], "e"], PAIR) == [("a", "b"), ("c", "d"), "e"]
    assert gathered_texts(np.array([["a", "b"], ["c", "d"]]), PAIR) == [("a", "b"), ("c", "d")]
    assert gathered_texts({"hypothesis": ["h"], "premise": ["p"]}, PAIR) == [("p", "h")]
    assert gathered_texts({"sentence1": ["p"], "sentence2": ["h"]}, PAIR) == [("p", "h")]
    assert gathered_texts(("a", "b"), COLUMNS) == ["a", "b"]


def test_frames_and_series_give_their_texts_in_order() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["a", None, "a.csv"]}, index=[5, 5, 5])
    assert gathered_texts(frame, COLUMNS) == ["a", None, "a.csv"]
    assert gathered_texts(pandas.Series([1, 2]), COLUMNS) == [1, 2]
    found = gathered_texts(frame["text"], COLUMNS)
    assert found[::2] == ["a", "a.csv"]
    polars = pytest.importorskip("polars")
    assert gathered_texts(polars.DataFrame({"text": ["a", None]}), COLUMNS) == ["a", None]
    assert gathered_texts(polars.Series(["a", None]), COLUMNS) == ["a", None]
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"text": ["a", None]})
    assert gathered_texts(data, COLUMNS) == ["a", None]
    assert gathered_texts(data["text"], COLUMNS) == ["a", None]


# -- lines of a stream ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"one", ["one"]),
        (b"one\n", ["one"]),
        (b"\n", [""]),
        (b"one\r\n\r\n two \nend", ["one", "", " two ", "end"]),
        ("\ufeffété\nß".encode(), ["été", "ß"]),
        ("été\r\n\nß\n".encode("utf-16"), ["été", "", "ß"]),
        ("\ufeffx\ny".encode("utf-16-be"), ["x", "y"]),
        (b"caf\xe9\nok\n", ["caf\ufffd", "ok"]),
        (b"cut \xc3", ["cut \ufffd"]),
        (b"\xff", ["\ufffd"]),
        ("a\u2028b\x85c\x0bd\re\n".encode(), ["a\u2028b\x85c\x0bd\re"]),
        (b"x" * 10**6 + b"\ny", ["x" * 10**6, "y"]),
    ],
)
def test_lines_come_from_any_stream(content: bytes, lines: list[str]) -> None:
    class Slow(io.RawIOBase):
        """Gives a byte, or a few, at a time."""

        left = content

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            size = 1 if len(content) < 1000 else 50_000
            part, self.left = self.left[:size], self.left[size:]
            buffer[: len(part)] = part
            return len(part)

    assert list(lines_of(io.BytesIO(content))) == lines
    assert list(lines_of(io.BufferedReader(Slow()))) == lines


@pytest.mark.parametrize("first", [b"one\n", b"\n"])
def test_a_line_comes_as_soon_as_it_is_there(first: bytes) -> None:
    end, start = os.pipe()
    found: list[str] = []
    came = threading.Event()

    def take(lines: Iterator[str]) -> None:
        found.append(next(lines))
        came.set()

    with open(end, "rb") as stream, open(start, "wb", buffering=0) as other:
        other.write(first)
        thread = threading.Thread(target=take, args=(lines_of(stream),), daemon=True)
        thread.start()
        assert came.wait(10)
        assert found == [first.decode().strip()]
        thread.join()


def test_texts_of_archives_data_sets_and_splits_are_predicted_too(tmp_path: Path) -> None:
    import zipfile

    from torch.utils.data import Dataset

    texts, labels = some(4)

    class Own(Dataset[tuple[str, str]]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, place: int) -> tuple[str, str]:
            return texts[place], labels[place]

    put(tmp_path / "in" / "test.csv", table_text(texts, labels))
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        archive.write(tmp_path / "in" / "test.csv", "test.csv")
    for inputs in (
        tmp_path / "in",
        tmp_path / "texts.zip",
        {"train": (texts[:2], labels[:2]), "test": {"text": texts[2:], "label": labels[2:]}},
        Own(),
    ):
        assert gathered_texts(inputs, COLUMNS) == texts


def test_names_of_pictures_are_no_texts(tmp_path: Path) -> None:
    path = put(
        tmp_path / "data.csv", table_text([f"photos/cat {n}.jpg" for n in range(20)], ["a", "b"] * 10, "file,label")
    )
    assert "has no column of texts" in refusal(path)
