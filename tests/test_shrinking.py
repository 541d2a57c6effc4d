"""Smaller models predict what they were made from, or are not written; their folders are as safe as any."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import recipes
from recipes import ImageClassifier, TextClassifier, cli
from recipes.errors import DataError, ModelError, OptionError, OutputError, ShrinkingError
from recipes.shrinking import Shrinking

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def shrunk(fitted: ImageClassifier, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Shrinking]:
    """A quantized model that these tests share; it is only read."""
    folder = tmp_path_factory.mktemp("small") / "small"
    return folder, fitted.quantize(photos, folder)


@pytest.fixture
def small(shrunk: tuple[Path, Shrinking], tmp_path: Path) -> Path:
    """A copy of the quantized model to damage."""
    return Path(shutil.copytree(shrunk[0], tmp_path / "small"))


@pytest.fixture(scope="module")
def fragile(fitted: ImageClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose scores are right in 32 bits, and lie far too close together for 8."""
    task = copy.copy(fitted)
    task.network = copy.deepcopy(fitted.network)
    assert task.network is not None
    assert task.network.head is not None
    with torch.no_grad():
        task.network.head.bias += 1e4
    return task.save(tmp_path_factory.mktemp("fragile") / "model")


def test_a_quantized_model_opens_and_predicts_the_same_labels(
    shrunk: tuple[Path, Shrinking], fitted: ImageClassifier, photos: Path
) -> None:
    task = recipes.load(shrunk[0])
    expected, found = fitted.predict(photos), task.predict(photos)
    assert [one.label for one in found] == [one.label for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=0.1)
        assert list(one.scores) == list(other.scores)
    alone = task.predict(photos, batch_size=1)
    assert [one.score for one in alone] == pytest.approx([one.score for one in found], abs=1e-5)


def test_size_speed_and_score_are_told_before_and_after(
    shrunk: tuple[Path, Shrinking], fitted: ImageClassifier, photos: Path
) -> None:
    folder, report = shrunk
    assert report.examples == 18  # of 24 pictures a quarter gave the ranges
    assert report.score == "accuracy"
    assert report.scores == (1.0, 1.0)
    assert report.bytes[1] == (folder / "model.onnx").stat().st_size
    assert report.bytes[1] < report.bytes[0]
    assert min(report.rates) > 0
    assert "accuracy 1.000 -> 1.000 on 18 examples" in report.line()
    assert json.loads((folder / "recipe.json").read_text())["scores"]["accuracy"] == 1.0
    assert recipes.load(folder).evaluate(photos).accuracy == fitted.evaluate(photos).accuracy


def test_the_folder_holds_nothing_pickled_and_the_model_it_came_from_stays(
    shrunk: tuple[Path, Shrinking], fitted: ImageClassifier
) -> None:
    names = {path.name for path in shrunk[0].iterdir()}
    assert {"model.onnx", "recipe.json", "recipe.yaml", "account.json"} <= names
    assert "config.json" not in names  # timm cannot open it
    assert fitted.network is not None
    assert fitted.network.config["library"] == "timm"


def test_a_quantized_model_is_saved_again_and_not_quantized_again(
    shrunk: tuple[Path, Shrinking], photos: Path, tmp_path: Path
) -> None:
    task = recipes.load(shrunk[0])
    again = recipes.load(task.save(tmp_path / "again"))
    assert again.predict(photos) == task.predict(photos)
    with pytest.raises(OptionError, match="quantized already"):
        task.quantize(photos, tmp_path / "twice")


def test_a_quantization_that_destroys_the_score_is_not_written(
    fragile: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = recipes.load(fragile)
    assert task.evaluate(photos).accuracy == 1
    with pytest.raises(ShrinkingError, match="points of accuracy would be lost"):
        task.quantize(photos, tmp_path / "small")
    assert cli.main(["quantize", str(fragile), str(photos), "--out", str(tmp_path / "small")]) == 1
    assert "nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "small").exists()
    assert recipes.load(fragile).evaluate(photos).accuracy == 1
    assert task.quantize(photos, tmp_path / "small", most_lost=1).lost > 0.5


def test_the_shell_quantizes_and_says_what_came_of_it(
    model_folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small model"
    assert cli.main(["quantize", str(model_folder), str(photos), "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert " pictures a second (" in said
    assert f"next: recipes predict '{out}' PICTURE" in said
    assert cli.main(["predict", str(out), str(photos / "red")]) == 0
    assert cli.main(["quantize", str(model_folder), str(photos)]) == 2
    assert "expected --out" in capsys.readouterr().err


def test_what_cannot_be_quantized_is_refused_before_anything_is_written(
    fitted: ImageClassifier, photos: Path, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    few = pictures(tmp_path / "few", 1)
    with pytest.raises(DataError, match="4 examples at least"):
        fitted.quantize(few, tmp_path / "small")
    with pytest.raises(OptionError, match="a share from 0 to 1"):
        fitted.quantize(photos, tmp_path / "small", most_lost=5)
    texts = ["red rose", "blue sky", "red car", "blue sea"] * 5
    task = TextClassifier(backbone="ngrams").fit((texts, ["red", "blue"] * 10), epochs=1, workers=0, quiet=True)
    with pytest.raises(OptionError, match="for classifiers of pictures"):
        task.quantize(photos, tmp_path / "small")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="did not write"):
        fitted.quantize(photos, tmp_path / "mine")
    assert not (tmp_path / "small").exists()


def test_the_model_itself_is_never_written_over(
    model_folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(shutil.copytree(model_folder, tmp_path / "own"))
    (tmp_path / "link").symlink_to(own)
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    for words in (["--out", str(own)], ["--out", str(tmp_path / "link"), "--overwrite"]):
        assert cli.main(["quantize", str(own), str(photos), *words]) == 2
        assert "is the model itself" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before


def test_pictures_that_cannot_be_read_are_named_and_few_pictures_say_little(
    model_folder: Path, pictures: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pictures(tmp_path / "data", 3)
    for path in (data / "red").iterdir():
        path.write_bytes(b"no picture")
    assert cli.main(["quantize", str(model_folder), str(data), "--out", str(tmp_path / "small")]) == 1
    said = capsys.readouterr().err
    assert "3 files could not be read: " in said
    for path in (data / "red").iterdir():
        assert str(path) in said
    assert "and 1 may be lost, so this comparison says little; 134 examples would be enough" in said
    words = [str(model_folder), str(data), "--out", str(tmp_path / "other"), "--most-lost", "0.5"]
    assert cli.main(["quantize", *words]) == 1
    assert "says little" not in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_package_is_one_line(
    missing: str, fitted: ImageClassifier, photos: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(OptionError, match="pip install 'torch-recipes\\[onnx\\]'"):
        fitted.quantize(photos, tmp_path / "other")
    if missing == "onnx":
        assert recipes.load(small).predict(photos / "red")  # predicting needs onnxruntime alone
    else:
        with pytest.raises(OptionError, match="pip install 'torch-recipes\\[onnx\\]'"):
            recipes.load(small)


def resigned(folder: Path, content: bytes, change: Callable[[dict[str, Any]], Any] = lambda manifest: None) -> Path:
    """The folder with another graph that its manifest names, as somebody with bad intent would write it."""
    from recipes.artifact import digest

    (folder / "model.onnx").write_bytes(content)
    manifest = json.loads((folder / "recipe.json").read_text())
    manifest["network"]["sha256"] = digest(content)
    change(manifest)
    (folder / "recipe.json").write_text(json.dumps(manifest))
    return folder


def test_a_graph_that_is_damaged_missing_or_another_one_is_refused(small: Path) -> None:
    content = (small / "model.onnx").read_bytes()
    (small / "model.onnx").write_bytes(content[:-1])
    with pytest.raises(ModelError, match="not the file that recipe"):
        recipes.load(small)
    (small / "model.onnx").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        recipes.load(small)
    with pytest.raises(ModelError, match="onnxruntime cannot open it"):
        recipes.load(resigned(small, b"nothing"))


def test_a_graph_that_names_other_files_or_other_labels_is_refused(small: Path, tmp_path: Path) -> None:
    content = (small / "model.onnx").read_bytes()
    graph = onnx.load_from_string(content)
    onnx.external_data_helper.convert_model_to_external_data(graph, location="../secret", size_threshold=0)
    with pytest.raises(ModelError, match="names other files"):
        recipes.load(resigned(small, graph.SerializeToString()))

    def one_label_less(manifest: dict[str, Any]) -> None:
        manifest["codec"]["labels"] = manifest["codec"]["labels"][:-1]

    with pytest.raises(ModelError, match="does not give 2 scores"):
        recipes.load(resigned(small, content, one_label_less))
