"""Tables of every kind are read as they are, and what is none is refused in one line."""

from __future__ import annotations

import csv
import gzip
import json
import random
import string
import sys
from pathlib import Path
from typing import Any

import pytest

from recipes.errors import DataError
from recipes.tables import Table, is_table, read_table

ROWS = [("good, really", "yes"), ('she said "no"', "no"), ("two\nlines; and more", "yes"), ("  spaced  ", "no")]


def written(path: Path, rows: list[tuple[str, ...]], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def refusal(source: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_table(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# -- CSV --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-bom"])
def test_separator_and_encoding_are_found_out(tmp_path: Path, delimiter: str, encoding: str) -> None:
    rows = [("text", "label"), *ROWS, ("Grüße 👍 مرحبا", "yes")]
    path = written(tmp_path / "data.csv", rows, delimiter, encoding.removesuffix("-bom"))
    if encoding.endswith("-bom"):
        path.write_bytes(b"\xfe\xff" + path.read_bytes())
    table = read_table(path)
    assert table.columns == {"text": [text for text, _ in rows[1:]], "label": [label for _, label in rows[1:]]}
    assert (table.name, table.notes, len(table)) == ("data.csv", [], 5)
    assert table.lines == [2, 3, 4, 6, 7]
    assert table.row_name(3) == "data.csv:6"


def test_a_gzipped_table_is_read_and_one_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(b"text,label\nhello,a\nbye,b\n")
    assert read_table(put(tmp_path / "data.csv.gz", packed)).columns["text"] == ["hello", "bye"]
    assert is_table("data.csv.gz")
    assert not is_table("data.gz")
    assert "damaged or cut off" in refusal(put(tmp_path / "cut.csv.gz", packed[:-9]))


def test_a_separator_in_texts_does_not_win_over_the_one_that_makes_even_rows(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "Hello, you; there\tgreeting\nBye, bye, now\tparting\nHi; you\tgreeting\n")
    assert read_table(path).columns["2"] == ["greeting", "parting", "greeting"]
    path = put(tmp_path / "b.csv", "text;label\na, b, c;x\nd, e;y\nf;x\n")
    assert read_table(path).columns == {"text": ["a, b, c", "d, e", "f"], "label": ["x", "y", "x"]}
    path = put(tmp_path / "c.csv", "text,labels\nhello,a|b\nbye,c|d\n")
    assert read_table(path).columns["labels"] == ["a|b", "c|d"]


def test_a_line_of_excel_that_names_the_separator_is_no_row(tmp_path: Path) -> None:
    table = read_table(put(tmp_path / "data.csv", "sep=;\r\ntext;label\r\nhello;a\r\nbye;b\r\n"))
    assert table.columns == {"text": ["hello", "bye"], "label": ["a", "b"]}
    assert table.lines == [3, 4]


def test_a_single_column_is_not_torn_apart_at_commas(tmp_path: Path) -> None:
    table = read_table(put(tmp_path / "data.csv", "text\nhello, you\nbye\n"))
    assert table.columns == {"text": ["hello, you", "bye"]}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_what_is_not_utf_8_is_read_as_windows_1252_and_said(tmp_path: Path, encoding: str) -> None:
    path = put(tmp_path / "data.csv", "text,label\nplain,a\ncafé,b\nnaïve,a\n".encode(encoding))
    table = read_table(path)
    assert table.columns["text"] == ["plain", "café", "naïve"]
    assert table.notes == ["data.csv is not UTF-8 in 2 lines, read as Windows-1252: line 3, 4"]


def test_one_foreign_line_does_not_spoil_the_others(tmp_path: Path) -> None:
    content = "text,label\n日本,a\n".encode() + "café “x”,b\n".encode("cp1252") + b"odd \x81,a\n"
    table = read_table(put(tmp_path / "data.csv", content))
    assert table.columns["text"] == ["日本", "café “x”", "odd \x81"]


def test_a_file_that_ends_inside_a_letter_or_a_row_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = "text,label\nhello,a\nbye,é".encode()
    assert read_table(put(tmp_path / "a.csv", whole)).columns["label"] == ["a", "é"]
    assert read_table(put(tmp_path / "a.csv", whole[:-1])).notes == []
    table = read_table(put(tmp_path / "b.csv", 'text,label\nhello,a\nyou,b\n"bye, see'))
    assert table.columns["text"] == ["hello", "you"]
    assert table.notes == ["left out 1 row of b.csv without 2 cells: line 4"]


def test_cells_stay_as_they_are_also_na_and_null_and_numbers(tmp_path: Path) -> None:
    cells = ["NA", "null", "NaN", "None", "", "1.0", "TRUE", " x "]
    path = written(tmp_path / "data.csv", [("text", "label"), *((cell, "a") for cell in cells)])
    assert read_table(path).columns["text"] == cells


def test_nul_characters_and_huge_fields_and_long_files_do_no_harm(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    big = "word " * 200_000
    table = read_table(put(tmp_path / "data.csv", f"text,label\nhel\0lo,a\n{big},b\n"))
    assert table.columns["text"] == ["hello", big]
    assert table.notes == ["took 1 NUL character out of data.csv"]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_may_end_in_any_way_and_blank_ones_are_passed_over(tmp_path: Path, ending: str) -> None:
    table = read_table(put(tmp_path / "data.csv", ending.join(["text,label", "", "a,x", "", "", "b,y", "", ",", ","])))
    assert table.columns == {"text": ["a", "b"], "label": ["x", "y"]}
    assert table.lines == [3, 6]


def test_quotation_marks_that_are_part_of_texts_swallow_no_rows(tmp_path: Path) -> None:
    rows = ['ham\t"Hello he said', "spam\tfree prize", 'ham\tok "then" bye', "ham\tsee you", 'spam\twin" now']
    table = read_table(put(tmp_path / "SMS.tsv", "\n".join(["label\ttext", *rows])))
    assert table.columns["text"] == [row.split("\t")[1] for row in rows]
    assert table.notes == ["read quotation marks in SMS.tsv as part of the texts, because they are not in pairs"]
    closed = ['ham\t"Hello', 'spam\tbye"', "ham\tyes"]  # a quoted field over two lines, if one reads it so
    assert len(read_table(put(tmp_path / "b.tsv", "\n".join(["label\ttext", *closed])))) == 3


def test_quotation_marks_may_be_escaped_by_a_backslash_or_be_left_open(tmp_path: Path) -> None:
    table = read_table(put(tmp_path / "a.csv", 'text,label\n"he said \\"hi\\", ok",a\n"C:\\\\x",b\n'))
    assert table.columns["text"] == ['he said "hi", ok', "C:\\x"]
    table = read_table(put(tmp_path / "b.csv", 'text,label\n"he "said" so",a\n"two\nlines",b\nend,a\n'))
    assert table.columns["label"] == ["a", "b", "a"]
    table = read_table(put(tmp_path / "c.csv", "text,label\nC:\\new,a\nB,b\n"))
    assert table.columns["text"] == ["C:\\new", "B"]


def test_rows_with_other_numbers_of_cells_are_left_out_with_their_lines(tmp_path: Path) -> None:
    table = read_table(put(tmp_path / "a.csv", "text,label\na,x\nb\nc,d,y\ne,z,,\nf,x\n"))
    assert table.columns == {"text": ["a", "e", "f"], "label": ["x", "z", "x"]}
    assert table.notes == ["left out 2 rows of a.csv without 2 cells: line 3, line 4"]
    message = refusal(put(tmp_path / "b.csv", "text,label\na,b,x\nc,d,y\ne,x\n"))
    assert "expected 2 cells in each row, as in the first, found other numbers in 2 of 3 (line 2 has 3)" in message
    assert "between quotes" in message


def test_columns_without_a_name_are_numbered_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    assert [*read_table(put(tmp_path / "a.csv", ",text,label,,\n0,a,x,,\n1,b,y,,\n")).columns] == [
        "column 1",
        "text",
        "label",
        "column 4",
        "column 5",
    ]
    message = refusal(put(tmp_path / "b.csv", "text,label, text \na,x,b\n"))
    assert message.endswith("b.csv has 1 column name more than once: text")


def test_a_header_that_is_repeated_is_no_row(tmp_path: Path) -> None:
    table = read_table(put(tmp_path / "data.csv", "text,label\na,x\nb,y\ntext,label\nc,x\n"))
    assert table.columns["text"] == ["a", "b", "c"]
    assert table.notes == ["left out 1 line of data.csv that repeat its header"]


@pytest.mark.parametrize(
    ("text", "headless"),
    [
        ("hello,ham\nbye,spam\nyou,ham\n", True),
        ("so good,1\nso bad,0\nfine,1\n", True),
        ("a long text that goes on for quite a while,x\nanother one,y\n", True),
        ("text,label\nhello,ham\nbye,spam\nyou,ham\n", False),
        ("v1,v2\nham,hello\nspam,bye\nham,you\n", False),
        ("text,toxic,mild\na,1,0\nb,0,1\nc,1,1\n", False),
        ("0,1\nhello,1\nbye,0\n", False),
        (",0,1\n0,hello,1\n1,bye,0\n", False),
        ("How satisfied are you with the service of our team?,stars\ngood,5\nbad,1\nfine,5\nwell,5\n", False),
        ("text\nhello there\n", False),
        ("How are you today\nhello there\n", True),
        ("How are you?\nhello there\n", True),
    ],
)
def test_a_first_row_that_is_data_is_told_from_a_header(tmp_path: Path, text: str, headless: bool) -> None:
    table = read_table(put(tmp_path / "data.csv", text))
    assert len(table) == text.count("\n") - (not headless)
    assert any("looks like data" in note for note in table.notes) == headless
    if headless:
        assert [*table.columns] == [str(place) for place in range(1, len(table.columns) + 1)]
        assert table.lines[0] == 1


def test_a_hundred_thousand_rows_are_read(tmp_path: Path) -> None:
    rng = random.Random(0)
    words = ["".join(rng.choices(string.ascii_lowercase, k=6)) for _ in range(100)]
    rows = [(" ".join(rng.choices(words, k=12)), rng.choice("abc")) for _ in range(100_000)]
    path = written(tmp_path / "data.csv", [("text", "label"), *rows])
    assert len(read_table(path)) == 100_000


# -- what is no table -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"text,label\n", "has no rows (columns: text, label)"),
        (b",,\n,,\n", "is empty"),
        (b"PK\x03\x04\x14\0\x06\0" + bytes(50), "is a spreadsheet or a zip file; export it as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50), "is a spreadsheet (.xls); export it as CSV"),
        (b"%PDF-1.7\n", "is a PDF"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (bytes(range(256)) * 20, "holds no text"),
    ],
)
@pytest.mark.parametrize("name", ["data.csv", "data.jsonl"])
def test_what_is_no_table_is_refused_with_what_to_do(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    if name == "data.csv" or words not in ("has no rows (columns: text, label)",):
        message = refusal(put(tmp_path / name, content))
        assert words in message or name == "data.jsonl"
        assert name in message


def test_what_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "reviews.csv", "text,label\na,b\n")
    assert refusal(tmp_path / "review.csv").endswith("does not exist; did you mean reviews.csv?")
    assert "is a folder" in refusal(tmp_path)
    assert "does not exist" in refusal("")
    assert "does not exist" in refusal(str(tmp_path / "nowhere" / "a.csv"))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "found NoneType"),
        (3, "found int"),
        ([], "found list of 0"),
        (["a", "b"], "found list of 2, the first str"),
        ({}, "found dict"),
        ({"text": "hello"}, "found dict"),
        ({"text": 3}, "expected a list in column 'text', found int"),
        ({"text": ["a", "b"], "label": ["x"]}, "columns of one length in (dict), found that text has 2, label has 1"),
        ({"text": [], "label": []}, "(dict) has no rows (columns: text, label)"),
        ({1: ["a"], "1": ["b"]}, "(dict) has 1 column name more than once: 1"),
    ],
)
def test_what_holds_no_columns_is_refused(source: Any, words: str) -> None:
    assert words in refusal(source)


# -- JSON -------------------------------------------------------------------------------------------------------------


RECORDS = [{"text": "héllo\u2028there", "label": "a"}, {"text": None, "label": 1, "more": [1, 2]}]
COLUMNS = {"text": ["héllo\u2028there", None], "label": ["a", 1], "more": [None, [1, 2]]}


@pytest.mark.parametrize("name", ["data.jsonl", "data.ndjson", "data.json"])
def test_an_object_on_every_line_is_a_row(tmp_path: Path, name: str) -> None:
    lines = [json.dumps(record, ensure_ascii=False) for record in RECORDS]
    table = read_table(put(tmp_path / name, "\n\n".join(lines)))
    assert table == Table(name, COLUMNS, [1, 3], folder=str(tmp_path))


def test_a_list_of_objects_and_an_object_of_lists_are_tables(tmp_path: Path) -> None:
    assert read_table(put(tmp_path / "a.json", json.dumps(RECORDS))).columns == COLUMNS
    assert read_table(put(tmp_path / "a.json", json.dumps(COLUMNS, indent=1))).columns == COLUMNS


def test_a_broken_line_is_named_and_an_unfinished_last_one_left_out(tmp_path: Path) -> None:
    good = '{"text": "a"}'
    table = read_table(put(tmp_path / "a.jsonl", f'{good}\n{good}\n{{"text": "b'))
    assert len(table) == 2
    assert "left out the last line of" in table.notes[0]
    assert "(line 3)" in table.notes[0]
    assert "b.jsonl, line 2: expected an object" in refusal(put(tmp_path / "b.jsonl", f"{good}\nnonsense\n{good}\n"))
    assert "line 2: expected an object" in refusal(put(tmp_path / "c.jsonl", f"{good}\n[1, 2]\n"))
    assert "line 1: expected an object" in refusal(put(tmp_path / "d.jsonl", "["))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[1, 2]", "is no table"),
        ('"x"', "is no table"),
        ("[]", "is no table"),
        ("[" * 10**5, "JSON"),
    ],
)
def test_json_that_is_no_table_is_refused(tmp_path: Path, text: str, words: str) -> None:
    assert words in refusal(put(tmp_path / "data.json", text))


# -- in memory --------------------------------------------------------------------------------------------------------


def test_dicts_and_lists_are_tables() -> None:
    table = read_table({"text": ("a", "b"), "label": range(2)})
    assert (table.columns, table.lines, table.name) == ({"text": ["a", "b"], "label": [0, 1]}, [1, 2], "(dict)")
    assert table.row_name(1) == "row 2"
    assert read_table(RECORDS).columns == COLUMNS
    assert read_table(table.columns).take([1]).lines == [2]


def test_a_data_frame_of_pandas_is_a_table_whatever_its_index() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["a", None, "c"], 5: [1, 2, 3], "f": [0.5, float("nan"), 1]}, index=[7, 7, "x"])
    assert read_table(frame).columns == {"text": ["a", None, "c"], "5": [1, 2, 3], "f": [0.5, None, 1.0]}
    kinds = pandas.DataFrame({"c": pandas.Categorical(["x", "y"]), "n": pandas.array([1, None], dtype="Int64")})
    assert read_table(kinds).columns == {"c": ["x", "y"], "n": [1, None]}
    assert "more than once: a" in refusal(pandas.DataFrame([[1, 2]], columns=["a", "a"]))
    assert "found Series" in refusal(pandas.Series(["a"]))
    assert "has no rows" in refusal(frame[:0])


def test_a_data_frame_of_polars_is_a_table() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"text": ["a", None], "label": [["x"], ["x", "y"]]})
    assert read_table(frame).columns == {"text": ["a", None], "label": [["x"], ["x", "y"]]}
    assert read_table(frame.lazy()).columns["text"] == ["a", None]


def test_a_data_set_of_hugging_face_is_a_table_with_its_labels_names() -> None:
    datasets = pytest.importorskip("datasets")
    label = datasets.ClassLabel(names=["bad", "good"])
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": label, "tags": datasets.Sequence(label), "more": [label]}
    )
    columns = {"text": ["a", "b", "c"], "label": [1, 0, -1], "tags": [[0], [], [0, 1]], "more": [[1], [0], []]}
    data = datasets.Dataset.from_dict(columns, features=features)
    named = {
        "text": ["a", "b", "c"],
        "label": ["good", "bad", None],
        "tags": [["bad"], [], ["bad", "good"]],
        "more": [["good"], ["bad"], []],
    }
    assert read_table(data).columns == named
    assert read_table(data.select([2, 0]).with_format("numpy")).columns["label"] == [None, "good"]
    assert read_table(data.to_iterable_dataset()).columns == named


def test_parquet_is_read_and_refused_in_one_line_when_it_is_cut_off(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"text": ["a", None, "ü"], "label": [1, 2, 3], "tags": [["x"], [], None]}
    table = pyarrow.table(columns)
    assert read_table(table).columns == columns
    parquet.write_table(table.append_column("__index_level_0__", [[1, 2, 3]]), tmp_path / "data.parquet")
    found = read_table(tmp_path / "data.parquet")
    assert (found.columns, found.row_name(2)) == (columns, "data.parquet:3")
    content = (tmp_path / "data.parquet").read_bytes()
    assert read_table(put(tmp_path / "renamed.csv", content)).columns == columns
    for number in (3, 40, len(content) - 20):
        assert "is no parquet file, or is cut off" in refusal(put(tmp_path / "cut.parquet", content[:number]))
    assert "is no parquet file" in refusal(put(tmp_path / "text.parquet", "text,label\na,b\n"))


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "pip install pyarrow" in refusal(put(tmp_path / "data.parquet", b"PAR1" + bytes(20)))


def test_reading_a_csv_file_imports_no_data_frames(tmp_path: Path) -> None:
    import subprocess

    path = put(tmp_path / "data.csv", "text,label\na,b\n")
    code = f"import sys; from recipes.tables import read_table; read_table({str(path)!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pandas", "polars", "pyarrow", "datasets", "torch"} & {*done.stdout.split()}
