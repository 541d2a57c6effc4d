"""The `recipes` command: every line of its manual, its exit codes, its rows, and what it says to a user's mistake."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import COLOURS, QUICK, draw_picture, draw_pictures

import recipes
from recipes.cli import main

TINY_FLAGS = ["--backbone", "test_resnet", "--pretrained", "false", "--size", "32"]
QUICK_FLAGS = [f"--{name.replace('_', '-')}={str(value).lower()}" for name, value in QUICK.items()]
COMMAND = [sys.executable, "-m", "recipes"]


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., tuple[int, bytes, str]]:
    """Runs the command in this process: exit code, stdout as bytes, stderr as text."""

    def call(*words: Any, stdin: bytes | None = None) -> tuple[int, bytes, str]:
        before = sys.stdin
        if stdin is not None:
            sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
        try:
            code = main([str(word) for word in words])
        except SystemExit as ended:  # how jsonargparse ends after --help
            code = int(ended.code or 0)
        finally:
            sys.stdin = before
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return code, out, err.decode(errors="surrogateescape")

    return call


@pytest.fixture
def mistake(run: Callable[..., tuple[int, bytes, str]]) -> Callable[..., str]:
    """Runs what is a user's mistake: exit code 2, nothing on stdout, one line on stderr, which it gives."""

    def call(*words: Any) -> str:
        code, out, err = run(*words)
        assert (code, out) == (2, b""), err
        lines = err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("error: ")
        assert lines[0].isprintable()
        return lines[0]

    return call


def rows_of(out: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(out.decode("utf-8", "surrogateescape"), newline="")))


# -- the manual -------------------------------------------------------------------------------------------------------


def test_fit_predict_and_evaluate_are_three_commands(
    run: Callable[..., tuple[int, bytes, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_pictures("photos", 4)
    code, out, err = run("fit", "image-classifier", "photos/", "--out", "pets", *TINY_FLAGS, *QUICK_FLAGS)
    assert (code, out) == (0, b""), err
    assert "recipes predict pets PICTURE" in err
    assert "Traceback" not in err
    code, out, err = run("predict", "pets", "photos/red/0.png", "photos/blue", "photos/g*/*.png", "--format", "csv")
    assert (code, err) == (0, "")
    assert [row["file"] for row in rows_of(out)] == [
        "photos/red/0.png",
        *(f"photos/{label}/{number}.png" for label in ("blue", "green") for number in range(4)),
    ]
    code, out, err = run("evaluate", "pets", "photos/", "--format", "json")
    assert code == 0
    scores = json.loads(out)
    assert scores["examples"] == 12
    assert set(scores["scores"]) == {"accuracy", "macro_f1"}
    code, out, err = run("evaluate", "pets", "photos/")
    assert code == 0
    assert b"accuracy" in out


def test_tasks_backbones_and_version(run: Callable[..., tuple[int, bytes, str]]) -> None:
    code, out, err = run("tasks")
    assert (code, err) == (0, "")
    assert out.startswith(b"image-classifier ")
    code, out, err = run("backbones", "resnet18*")
    assert (code, err) == (0, "")
    assert b"resnet18.a1_in1k" in out.splitlines()
    assert all(line.startswith(b"resnet18") for line in out.splitlines())
    code, out, err = run("backbones", "torchvision/resnet*")
    assert b"torchvision/resnet50" in out.splitlines()
    assert run("--version")[:2] == (0, f"recipes {recipes.__version__}\n".encode())


def test_help_of_everything_loads_no_torch() -> None:
    code = """
import sys
from recipes.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as ended:
    code = ended.code
print()
print(code, sorted({"torch", "torchvision", "timm", "pytorch_lightning", "torchmetrics"} & set(sys.modules)))
"""
    for words in (
        ["--help"],
        ["fit", "--help"],
        ["fit", "image-classifier", "--help"],
        ["predict", "--help"],
        ["evaluate", "--help"],
        ["tasks", "--help"],
        ["backbones", "--help"],
        ["demo", "--help"],
        ["--version"],
        ["tasks"],
    ):
        ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
        assert ended.stdout.splitlines()[-1] == "0 []", words
        assert ended.stderr == ""
        assert "_size" not in ended.stdout  # flags are shown with dashes


def test_every_option_is_in_the_help_with_its_description(run: Callable[..., tuple[int, bytes, str]]) -> None:
    text = " ".join(run("fit", "image-classifier", "--help")[1].decode().split())
    for flag in (
        "--backbone",
        "--pretrained",
        "--weights",
        "--size",
        "--resize",
        "--epochs",
        "--batch-size",
        "--preset",
    ):
        assert flag in text
    assert "how often the network sees every training example" in text
    assert "any name of timm" in text


def test_nothing_at_all_shows_the_overview_and_is_a_mistake(run: Callable[..., tuple[int, bytes, str]]) -> None:
    code, out, _ = run()
    assert code == 2
    assert b"recipes fit TASK DATA" in out
    assert run("fit")[0] == 2


# -- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["ft"], "did you mean fit?"),
        (["Predict"], "did you mean predict?"),
        (["\x1b[2J"], "there is no command"),
        (["fit", "image-clasifier", "DATA"], "did you mean image-classifier?"),
        (["fit", "DATA"], "there is no task"),
        (["fit", "--epochs", "3"], "expected a task"),
        (["fit", "image-classifier"], "expected data"),
        (["fit", "image-classifier", "DATA", "--epoch", "3"], "did you mean --epochs?"),
        (["fit", "image-classifier", "DATA", "--batchsize=3"], "did you mean --batch-size"),
        (["fit", "image-classifier", "DATA", "--epochs", "many"], "--epochs takes a whole number, found 'many'"),
        (["fit", "image-classifier", "DATA", "--epochs", "1.5"], "--epochs takes a whole number"),
        (["fit", "image-classifier", "DATA", "--batch-size", "0"], "at least 1"),
        (["fit", "image-classifier", "DATA", "--lr", "fast"], "--lr takes a number"),
        (["fit", "image-classifier", "DATA", "--pretrained", "maybe"], "--pretrained takes true or false"),
        (["fit", "image-classifier", "DATA", "--size", "big"], "--size takes a whole number"),
        (["fit", "image-classifier", "DATA", "--resize", "stretch"], "--resize takes one of squash, crop, pad"),
        (["fit", "image-classifier", "DATA", "--precision", "64"], "--precision takes one of"),
        (["fit", "image-classifier", "DATA", "--preset", "defualt"], "did you mean default?"),
        (["fit", "image-classifier", "DATA", "--backbone", "resnet1", "--pretrained", "false"], "did you mean resnet1"),
        (["fit", "image-classifier", "DATA", "more"], "more"),
        (["fit", "image-classifier", "DATAA"], "does not exist"),
        (["fit", "image-classifier", "DATA", "--optimizer", "adamm", *TINY_FLAGS, *QUICK_FLAGS], "did you mean adam"),
        (["predict"], "expected model"),
        (["predict", "MODEL"], "expected inputs"),
        (["predict", "MODEL", "nowhere.png"], "does not exist"),
        (["predict", "MODEL", "nowhere*.png"], "nothing matches"),
        (["predict", "MODEL", "DATA", "--format", "xml"], "--format takes one of table, csv, jsonl"),
        (["predict", "MODEL", "DATA", "--top-k", "0"], "--top-k"),
        (["predict", "MODEL", "DATA", "--top_k", "two"], "--top-k takes a whole number"),
        (["predict", "MODEL", "DATA", "--device", "toaster"], "no device 'toaster'"),
        (["predict", "nowhere", "DATA"], "does not exist"),
        (["predict", "DATA", "DATA"], "holds no model"),
        (["evaluate", "MODEL", "nowhere"], "does not exist"),
        (["evaluate", "MODEL", "DATA", "--formt", "json"], "did you mean --format?"),
        (["backbones", "resnettt50"], "did you mean"),
        (["tasks", "more"], "more"),
        (["demo", "image-clasifier"], "did you mean image-classifier?"),
    ],
)
def test_a_mistake_is_one_line_with_the_way_on(
    mistake: Callable[..., str],
    words: list[str],
    near: str,
    photos: Path,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"DATA": str(photos), "MODEL": str(model_folder), "DATAA": f"{photos}s"}
    assert near in mistake(*(places.get(word, word) for word in words), *(["--quiet"] if words[:1] == ["fit"] else []))
    assert os.listdir(tmp_path) == []


def test_debug_shows_where_an_error_came_from(tmp_path: Path) -> None:
    with pytest.raises(recipes.RecipesError):
        main(["--debug", "predict", str(tmp_path / "nowhere"), "x"])


def test_the_demo_does_not_touch_a_folder_that_is_there(mistake: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert "exists already" in mistake("demo", "--out", tmp_path / "mine")


# -- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["2024", "null", "1e3", "true", "[a]", "{b: c}", "a: b", "~x", "a b", "-1"])
def test_a_folder_may_have_any_name(
    run: Callable[..., tuple[int, bytes, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    # A mistake that is found after the names were read and before any work: the output is a file.
    draw_pictures(tmp_path / f"{name}in", 1)
    (tmp_path / name).touch()
    code, _, err = run("fit", "image-classifier", f"./{name}in", f"--out={name}", f"--val={name}in", *TINY_FLAGS)
    assert code == 2
    assert err == f"error: {name} is a file; choose a folder's name for the model\n"


def test_dashes_and_underscores_and_equals_signs_all_work(
    run: Callable[..., tuple[int, bytes, str]], model_folder: Path, photos: Path
) -> None:
    one = photos / "red" / "0.png"
    expected = run("predict", model_folder, one, "--format", "jsonl", "--batch-size", "2")
    assert expected[0] == 0
    for words in (["--batch_size", "2"], ["--batch-size=2"], ["--batch_size=2"]):
        assert run("predict", model_folder, one, "--format=jsonl", *words) == expected
    assert run("predict", "--format", "jsonl", model_folder, one) == expected
    assert run("predict", model_folder, "--format", "jsonl", one) == expected


def test_files_whose_names_begin_with_dashes_follow_two_dashes(
    run: Callable[..., tuple[int, bytes, str]], model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-x.png", "--my-cat.png", "--debug"):
        draw_picture(COLOURS["red"], 1).save(name, "PNG")
    code, out, _ = run("predict", model_folder, "--format", "jsonl", "--", "-x.png", "--my-cat.png", "--debug")
    assert code == 0
    assert [json.loads(line)["file"] for line in out.splitlines()] == ["-x.png", "--my-cat.png", "--debug"]


def test_a_saved_recipe_repeats_the_run(
    run: Callable[..., tuple[int, bytes, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_pictures("my photos: \U0001f408", 3)
    flags = [*TINY_FLAGS, *QUICK_FLAGS, "--seed", "3", "--quiet"]
    assert run("fit", "image-classifier", "my photos: \U0001f408", "--out", "first", *flags)[0] == 0
    assert yaml.safe_load(Path("first/recipe.yaml").read_text())["seed"] == 3
    code, _, err = run("fit", "--config", "first/recipe.yaml", "--out", "second", "--quiet")
    assert (code, err) == (0, "")
    for name in ("model.safetensors", "recipe.yaml", "split.json", "config.json"):
        assert Path("first", name).read_bytes() == Path("second", name).read_bytes(), name


def config(folder: Path, **values: Any) -> str:
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    return str(folder / "recipe.yaml")


def test_what_is_typed_comes_over_the_file(mistake: Callable[..., str], tmp_path: Path, photos: Path) -> None:
    (tmp_path / "typed").touch()
    (tmp_path / "written").touch()
    file = config(tmp_path, task="image-classifier", data=str(photos), out=str(tmp_path / "written"), precision=32)
    assert "written is a file" in mistake("fit", "--config", file)
    assert "typed is a file" in mistake("fit", f"--config={file}", "--out", tmp_path / "typed")
    assert "typed is a file" in mistake("fit", "image-classifier", "--config", file, "--out", tmp_path / "typed")


def test_the_data_may_be_typed_over_the_file(mistake: Callable[..., str], tmp_path: Path, photos: Path) -> None:
    file = config(tmp_path, task="image-classifier", data=str(photos))
    for words in (["fit", "--config", file, "other"], ["fit", "image-classifier", "other", "--config", file]):
        assert "other does not exist" in mistake(*words, *TINY_FLAGS)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("task: image-classifier\ndata: x\nepoch: 3\n", "did you mean epochs?"),
        ("task: image-clasifier\ndata: x\n", "did you mean image-classifier?"),
        ("task: image-classifier\ndata: x\nepochs: many\n", "--epochs takes a whole number"),
        ("task: image-classifier\n", "expected data"),
        ("data: x\n", "expected a task"),
        ("- a\n", "holds no options"),
        ("", "holds no options"),
        ("a: [", "cannot be read"),
        ("task: [1]\n", ""),
        ("task: image-classifier\ndata: x\n3: 4\n", "unknown option"),
        ("!!python/object/apply:os.system ['touch ran']", "cannot be read"),
    ],
)
def test_a_file_of_options_with_a_mistake_is_one_line(
    mistake: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, near: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(text)
    assert near in mistake("fit", "--config", "recipe.yaml")
    assert os.listdir() == ["recipe.yaml"]


def test_a_file_of_options_that_is_not_there_is_one_line(mistake: Callable[..., str], tmp_path: Path) -> None:
    assert "cannot be read (No such file" in mistake("fit", "--config", tmp_path / "nowhere.yaml")
    assert "cannot be read" in mistake("fit", "--config")


# -- rows -------------------------------------------------------------------------------------------------------------

ODD = [
    "plain.png",
    "a, b.png",
    'say "cat".png',
    "two\nlines.png",
    "carriage\rreturn.png",
    "=1+1.png",
    "+1.png",
    "-1.png",
    "@x.png",
    "\ttab.png",
    "'quoted.png",
    " space.png",
    "\U0001f408.png",
    "caf\udce9.png",
    "\x1b[2J.png",
]


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Pictures with odd names in the current folder."""
    (tmp_path / "odd").mkdir()
    monkeypatch.chdir(tmp_path / "odd")
    for name in ODD:
        draw_picture(COLOURS["red"], 1).save(name, "PNG")
    return ODD


@pytest.fixture
def odd_labels(model_folder: Path, tmp_path: Path) -> Path:
    """A model whose labels are formulas, escape sequences and quotes."""
    folder = Path(shutil.copytree(model_folder, tmp_path / "labels"))
    manifest = json.loads((folder / "recipe.json").read_text())
    manifest["codec"]["labels"] = ["=cmd|' /C calc'!A0", "\x1b[2Jclear", "'quoted"]
    (folder / "recipe.json").write_text(json.dumps(manifest))
    return folder


def test_csv_gives_every_name_back_and_holds_no_formula(
    run: Callable[..., tuple[int, bytes, str]], model_folder: Path, odd: list[str]
) -> None:
    code, out, err = run(
        "predict", model_folder, *(f"./{name}" if name[0] in "-~" else name for name in odd), "--format", "csv"
    )
    assert (code, err) == (0, "")
    rows = rows_of(out)
    assert [os.path.normpath(row["file"]) for row in rows] == odd
    assert all(os.path.exists(row["file"]) for row in rows)
    assert list(rows[0]) == ["file", "label", "score", "error"]
    assert all(0 <= float(row["score"]) <= 1 for row in rows)
    for row in rows:
        for value in row.values():
            assert not value.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_a_name_that_is_not_utf_8_leaves_as_the_bytes_it_came_as(
    run: Callable[..., tuple[int, bytes, str]], model_folder: Path, odd: list[str]
) -> None:
    assert b"\ncaf\xe9.png," in run("predict", model_folder, "plain.png", "caf\udce9.png", "--format", "csv")[1]
    (_, out, _) = run("predict", model_folder, "caf\udce9.png", "--format", "jsonl")
    assert json.loads(out)["file"] == "caf\udce9.png"


def test_a_label_that_is_a_formula_is_none_in_csv_and_can_be_had_back(
    run: Callable[..., tuple[int, bytes, str]], odd_labels: Path, photos: Path
) -> None:
    (row,) = rows_of(run("predict", odd_labels, photos / "red" / "0.png", "--format", "csv", "--top-k", "3")[1])
    labels = {row["label"], row["label_2"], row["label_3"]}
    assert not any(label.startswith("=") for label in labels)
    assert {label.removeprefix("'") for label in labels} == {"=cmd|' /C calc'!A0", "\x1b[2Jclear", "'quoted"}


def test_a_label_or_name_with_an_escape_sequence_prints_safely(
    run: Callable[..., tuple[int, bytes, str]], odd_labels: Path, photos: Path, odd: list[str]
) -> None:
    _, out, err = run("predict", odd_labels, photos / "blue", "\x1b[2J.png", "two\nlines.png", "--top-k", "3")
    assert b"\x1b" not in out
    assert "\x1b" not in err
    assert len(out.splitlines()) == 10
    draw_pictures("data", 1, {"\x1b[2Jclear": (1, 2, 3), "'quoted": (200, 2, 3)})
    code, out, err = run("evaluate", odd_labels, "data")
    assert code == 0
    assert b"\x1b" not in out
    assert "\x1b" not in err
    draw_pictures("wrong", 1, {"\x1b[2Jclaer": (1, 2, 3)})
    code, out, err = run("evaluate", odd_labels, "wrong")
    assert code == 2
    assert "\x1b" not in err


def test_json_lines_are_plain_and_hold_every_row(
    run: Callable[..., tuple[int, bytes, str]], model_folder: Path, photos: Path
) -> None:
    code, out, err = run("predict", model_folder, photos, "--format", "jsonl", "--top-k", "2")
    assert (code, err) == (0, "")
    rows = [json.loads(line) for line in out.decode("ascii").splitlines()]
    assert len(rows) == 24
    assert list(rows[0]) == ["file", "label", "score", "label_2", "score_2", "error"]
    assert all(row["score"] >= row["score_2"] and row["error"] is None for row in rows)
    assert [row["label"] for row in rows] == [Path(row["file"]).parent.name for row in rows]


def test_more_labels_are_asked_for_than_there_are(
    run: Callable[..., tuple[int, bytes, str]], model_folder: Path, photos: Path
) -> None:
    for form in ("csv", "jsonl", "table"):
        code, out, _ = run("predict", model_folder, photos / "red" / "0.png", "--top-k", "5", "--format", form)
        assert code == 0
        assert b"green" in out
    (row,) = rows_of(run("predict", model_folder, photos / "red" / "0.png", "--top-k", "5", "--format", "csv")[1])
    assert row["label_5"] == row["score_5"] == ""


def test_the_table_is_a_line_for_each_picture(
    run: Callable[..., tuple[int, bytes, str]], model_folder: Path, photos: Path
) -> None:
    code, out, err = run("predict", model_folder, photos / "red")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 8
    assert out.splitlines()[0].startswith(b"red ")


# -- unreadable inputs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "jsonl", "table"])
def test_an_unreadable_file_is_a_row_and_all_others_are_predicted(
    run: Callable[..., tuple[int, bytes, str]], model_folder: Path, photos: Path, tmp_path: Path, form: str
) -> None:
    (tmp_path / "empty.jpg").touch()
    inputs = [photos / "red" / "0.png", tmp_path / "empty.jpg", tmp_path / "nowhere.jpg", photos / "blue" / "0.png"]
    code, out, err = run("predict", model_folder, *inputs, "--format", form)
    assert code == 1
    assert "2 of 4 inputs could not be read" in err
    assert "Traceback" not in err
    if form == "table":
        assert [line.split()[0] for line in out.splitlines()] == [b"red", b"error:", b"error:", b"blue"]
        return
    rows = rows_of(out) if form == "csv" else [json.loads(line) for line in out.splitlines()]
    assert [row["file"] for row in rows] == [str(path) for path in inputs]
    assert [row["label"] or "" for row in rows] == ["red", "", "", "blue"]
    assert [row["error"] or "" for row in rows] == ["", "is empty (0 bytes)", "does not exist", ""]


def test_evaluating_with_an_unreadable_file_scores_the_others(
    run: Callable[..., tuple[int, bytes, str]], model_folder: Path, tmp_path: Path
) -> None:
    draw_pictures(tmp_path / "data", 2)
    (tmp_path / "data" / "red" / "9.jpg").touch()
    code, out, err = run("evaluate", model_folder, tmp_path / "data", "--format", "json")
    assert json.loads(out)["examples"] == 6
    assert "9.jpg" in err
    assert code == 1


# -- files and pipes --------------------------------------------------------------------------------------------------


def test_rows_go_to_a_file_whole(
    run: Callable[..., tuple[int, bytes, str]], model_folder: Path, photos: Path, tmp_path: Path
) -> None:
    before = os.umask(0o022)
    try:
        code, out, _ = run("predict", model_folder, photos, "--format", "csv", "--output", tmp_path / "labels.csv")
    finally:
        os.umask(before)
    assert (code, out) == (0, b"")
    assert len(rows_of((tmp_path / "labels.csv").read_bytes())) == 24
    assert os.listdir(tmp_path) == ["labels.csv"]
    assert (tmp_path / "labels.csv").stat().st_mode & 0o777 == 0o644


def test_a_run_that_fails_leaves_an_old_output_as_it_was(
    run: Callable[..., tuple[int, bytes, str]], model_folder: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.csv").write_text("old")
    code, _, _ = run("predict", model_folder, photos, "--output", tmp_path / "labels.csv", "--device", "toaster")
    assert code == 2
    assert (tmp_path / "labels.csv").read_text() == "old"
    assert os.listdir(tmp_path) == ["labels.csv"]


@pytest.mark.parametrize("place", ["nowhere/labels.csv", "file/labels.csv", "folder"])
def test_an_output_that_cannot_be_written_is_one_line(
    mistake: Callable[..., str], model_folder: Path, photos: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert "cannot be written" in mistake("predict", model_folder, photos, "--output", tmp_path / place)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_an_output_that_is_a_pipe_or_a_device_is_written_to_and_stays(
    run: Callable[..., tuple[int, bytes, str]], model_folder: Path, photos: Path, tmp_path: Path
) -> None:
    # Replacing it, as root may, would make an ordinary file of /dev/null.
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()), daemon=True)
    reader.start()
    code, _, _ = run("predict", model_folder, photos / "red", "--format", "csv", "--output", tmp_path / "pipe")
    assert code == 0
    assert (tmp_path / "pipe").is_fifo()
    reader.join()
    assert len(rows_of(read[0])) == 8


def test_an_output_that_is_a_link_stays_a_link(
    run: Callable[..., tuple[int, bytes, str]], model_folder: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "real.csv").touch()
    (tmp_path / "link.csv").symlink_to("real.csv")
    assert run("predict", model_folder, photos / "red", "--format", "csv", "--output", tmp_path / "link.csv")[0] == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert len(rows_of((tmp_path / "real.csv").read_bytes())) == 8


@pytest.mark.parametrize("separator", [b"\n", b"\0", b"\r\n"])
@pytest.mark.parametrize("ended", [True, False])
def test_a_list_of_paths_comes_from_stdin(
    run: Callable[..., tuple[int, bytes, str]], model_folder: Path, photos: Path, separator: bytes, ended: bool
) -> None:
    paths = [os.fsencode(photos / label / "0.png") for label in ("red", "blue", "green")]
    stdin = separator.join(paths) + (separator if ended else b"")
    code, out, err = run("predict", model_folder, "-", "--format", "csv", stdin=stdin)
    assert (code, err) == (0, "")
    assert [row["label"] for row in rows_of(out)] == ["red", "blue", "green"]


def test_a_list_separated_by_nul_holds_any_name(
    run: Callable[..., tuple[int, bytes, str]], model_folder: Path, odd: list[str]
) -> None:
    draw_picture(COLOURS["red"], 1).save("return at the end\r", "PNG")
    names = [*odd, "return at the end\r"]
    code, out, _ = run("predict", model_folder, "-", "--format", "jsonl", stdin=os.fsencode("\0".join(names)))
    assert code == 0
    assert [json.loads(line)["file"] for line in out.splitlines()] == names


def test_a_list_separated_by_nul_may_arrive_in_pieces(
    run: Callable[..., tuple[int, bytes, str]], model_folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (os.fsencode(photos / label / "0.png") for label in ("red", "blue"))

    class Pieces:
        pieces: Iterator[bytes] = iter([first[:-3], first[-3:], b"\0" + second])

        @property
        def buffer(self) -> Any:
            return self

        def read1(self, _: int) -> bytes:
            return next(self.pieces, b"")

    monkeypatch.setattr(sys, "stdin", Pieces())
    code, out, _ = run("predict", model_folder, "-", "--format", "csv")
    assert (code, [row["label"] for row in rows_of(out)]) == (0, ["red", "blue"])


def test_folders_and_missing_files_may_be_in_the_list(
    run: Callable[..., tuple[int, bytes, str]], model_folder: Path, photos: Path
) -> None:
    stdin = os.fsencode(f"{photos}/red\n\nnowhere.png\n{photos}/blue/0.png\n")
    code, out, _ = run("predict", model_folder, "-", "--format", "csv", stdin=stdin)
    assert code == 1
    assert [row["error"] for row in rows_of(out)] == [*[""] * 8, "does not exist", ""]


def test_an_empty_list_is_said_and_no_error(run: Callable[..., tuple[int, bytes, str]], model_folder: Path) -> None:
    code, _, err = run("predict", model_folder, "-", "--format", "csv", stdin=b"")
    assert (code, err) == (0, "no inputs\n")


def test_a_reader_that_ends_early_is_no_error_to_speak_of(model_folder: Path, photos: Path, tmp_path: Path) -> None:
    # 3,000 rows do not fit into a pipe, so that writing fails while rows are still coming.
    (tmp_path / "list").write_text("\n".join(str(path) for path in sorted(photos.rglob("*.png")) * 125))
    with (tmp_path / "list").open() as listed:
        process = subprocess.Popen(
            [*COMMAND, "predict", str(model_folder), "-", "--format", "csv"],
            stdin=listed,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "file,label,score,error\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() in (0, 128 + signal.SIGPIPE)
    process.stderr.close()


@pytest.mark.parametrize("words", [["tasks"], ["--help"], ["fit", "image-classifier", "--help"]])
def test_a_reader_that_never_reads_gets_no_traceback(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run([*COMMAND, *words], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert ended.stderr == b""
    assert ended.returncode in (0, 128 + signal.SIGPIPE)


def test_rows_come_as_they_are_ready(model_folder: Path, photos: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "predict", str(model_folder), "-", "--format", "jsonl", "--batch-size", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for label in ("red", "blue"):  # the next path is only written when the row of the one before has come
        process.stdin.write(f"{photos / label / '0.png'}\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["label"] == label
    process.stdin.close()
    assert process.wait() == 0
    process.stdout.close()


# -- ctrl-c -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_fit_ends_with_the_signals_code_and_without_a_traceback(
    photos: Path, tmp_path: Path, number: signal.Signals
) -> None:
    flags = [*TINY_FLAGS, *QUICK_FLAGS, "--epochs", "100000", "--patience", "0"]
    process = subprocess.Popen(
        [*COMMAND, "fit", "image-classifier", str(photos), "--out", str(tmp_path / "pets"), *flags],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("epoch 2/"):
            break
    process.send_signal(number)
    out, rest = process.communicate()
    assert process.returncode == 128 + number, said + rest
    assert out == ""
    assert "Traceback" not in said + rest
    assert "saved to" in rest
    assert recipes.load(tmp_path / "pets").history.stopped == number.name  # type: ignore[union-attr]
