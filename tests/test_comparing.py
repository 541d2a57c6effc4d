"""Comparing backbones: the ranking, what each costs, and one that does not exist among good ones."""

from __future__ import annotations

import csv
import functools
import io
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from drawn_encoders import draw_encoder

import recipes
from recipes import Comparison, ImageClassifier, ImageRegressor, Segmenter, TextClassifier
from recipes.callbacks import EpochScores
from recipes.cli import main
from recipes.demo import draw_messages, draw_scenes
from recipes.errors import DataError, OptionError

QUICK = {"views": 0, "precision": "32", "workers": 0, "quiet": True}
FLAGS = ["--pretrained=false", "--size=32", "--views=0", "--precision=32", "--workers=0", "--quiet"]


@pytest.fixture(scope="module")
def comparison(photos: Path) -> Comparison:
    names = ["test_resnet", "no_such_network", "test_efficientnet", "torchvision/squeezenet1_1"]
    return ImageClassifier(**TINY).compare(photos, backbones=names, **QUICK)


def test_backbones_are_ranked_by_score_and_one_that_does_not_exist_comes_last(comparison: Comparison) -> None:
    good = [row for row in comparison.rows if row.error is None]
    assert {row.backbone for row in good} == {"test_resnet", "test_efficientnet"}
    scores = [row.score for row in good if row.score is not None]
    assert scores == sorted(scores, reverse=True)
    assert comparison.best == good[0].backbone
    wrong, headless = comparison.rows[2:]
    assert wrong.backbone == "no_such_network"
    assert (wrong.score, wrong.latency_ms) == (None, None)
    assert str(wrong.error).startswith("there is no backbone 'no_such_network'")
    assert "has no linear last layer to fit alone" in str(headless.error)


def test_the_figures_of_a_backbone_are_those_of_its_network(comparison: Comparison, photos: Path) -> None:
    task = ImageClassifier(**TINY).fit(photos, preset="quick", **QUICK)
    assert task.network is not None
    row = next(row for row in comparison.rows if row.backbone == "test_resnet")
    assert row.parameters == sum(value.numel() for value in task.network.body.parameters())
    assert row.megabytes is not None
    assert row.megabytes == pytest.approx(4 * row.parameters / 1e6, rel=0.05)  # batch norms have figures besides
    assert row.latency_ms is not None
    assert row.per_second is not None
    assert row.latency_ms > 0
    assert row.per_second > 0
    assert row.licence == "no weights"
    assert (row.recipe["backbone"], row.recipe["epochs"]) == ("test_resnet", 0)


def test_a_folder_of_weights_can_be_compared_and_its_licence_is_told(photos: Path, tmp_path: Path) -> None:
    model = ImageClassifier(**TINY).fit(photos, preset="quick", **QUICK)
    for name, licence in (("silent", None), ("told", "cc-by-nc-4.0")):
        config = model.save(tmp_path / name) / "config.json"
        values = json.loads(config.read_text())
        values["pretrained_cfg"]["license"] = licence
        config.write_text(json.dumps(values))
    new = json.loads((model.save(tmp_path / "new") / "config.json").read_text())["pretrained_cfg"]
    assert not {"license", "tag"} & new.keys()  # timm's are those of weights that this one never had
    names = [f"local-dir:{tmp_path / name}" for name in ("silent", "told", "new")]
    found = ImageClassifier(size=32).compare(photos, backbones=names, **QUICK)
    assert [row.error for row in found.rows] == [None] * 3
    assert {row.backbone.rpartition("/")[2]: row.licence for row in found.rows} == {
        "silent": "unknown",
        "told": "cc-by-nc-4.0",
        "new": "unknown",
    }
    task = ImageClassifier(backbone=names[1], size=32).fit(photos, preset="quick", **QUICK)
    again = recipes.load(task.save(tmp_path / "once")).save(tmp_path / "twice")
    assert json.loads((again / "config.json").read_text())["pretrained_cfg"]["license"] == "cc-by-nc-4.0"


def stopping(monkeypatch: pytest.MonkeyPatch, fits: int, number: signal.Signals) -> None:
    """Lets a signal arrive in the fit after so many."""
    fit, done = ImageClassifier.fit, []

    @functools.wraps(fit)
    def stopped(self: Any, *arguments: Any, **settings: Any) -> Any:
        done.append(self)
        if len(done) <= fits:
            return fit(self, *arguments, **settings)

        def raised(_: int, scores: Any) -> None:
            signal.raise_signal(number)

        settings["callbacks"] = [EpochScores(raised)]
        return fit(self, *arguments, **settings)

    monkeypatch.setattr(ImageClassifier, "fit", stopped)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_rows_that_are_finished_and_tells_its_exit_code(
    number: signal.Signals,
    expected: int,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["compare", "image-classifier", str(photos), *FLAGS, "--preset=default", "--epochs=3", "--batch-size=8"]
    words += ["--views=1", "--backbones", "test_resnet,test_efficientnet", "--format", "csv"]
    stopping(monkeypatch, 1, number)
    assert main(words) == expected
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["backbone"] for row in rows] == ["test_resnet"]
    monkeypatch.undo()
    stopping(monkeypatch, 0, number)
    assert main(words) == expected
    assert capsys.readouterr().out == ""


def test_texts_are_compared_over_encoders_and_ngrams(tmp_path: Path) -> None:
    draw_messages(tmp_path / "train.csv", 20, seed=0)
    encoder = draw_encoder(tmp_path / "encoder", "bert")
    found = TextClassifier().compare(
        tmp_path / "train.csv", backbones=["ngrams", str(encoder)], by="latency", quiet=True
    )
    assert [row.error for row in found.rows] == [None, None]
    times = [row.latency_ms for row in found.rows if row.latency_ms is not None]
    assert times == sorted(times)
    assert {row.backbone: row.licence for row in found.rows} == {"ngrams": "no weights", str(encoder): "unknown"}


def test_masks_are_compared_over_encoders(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "cells", number=6, seed=1, size=32)
    found = Segmenter(**TINY).compare(
        tmp_path / "cells",
        backbones="test_resnet,nothing,test_efficientnet",
        epochs=1,
        batch_size=2,
        precision="32",
        workers=0,
        quiet=True,
    )
    assert [row.error is None for row in found.rows] == [True, True, False]
    assert found.score == "mean_iou"
    assert {"training", "scoring"} <= found.rows[0].parts.keys()


def test_of_errors_the_least_comes_first(photos: Path, tmp_path: Path) -> None:
    rows = [
        f"{photos}/{label}/{n}.png,{place + n / 10}" for place, label in enumerate(("blue", "red")) for n in range(8)
    ]
    (tmp_path / "levels.csv").write_text("\n".join(["image,level", *rows]))
    found = ImageRegressor(**TINY).compare(
        tmp_path / "levels.csv", backbones="test_resnet,torchvision/squeezenet1_1,test_efficientnet", **QUICK
    )
    scores = [row.score for row in found.rows if row.score is not None]
    assert len(scores) == 2
    assert scores == sorted(scores)
    assert found.score == "mae"
    assert "SqueezeNet ends in a ReLU" in str(found.rows[2].error)


def test_the_shell_gives_a_table_csv_and_json_and_says_by_its_exit_code_what_failed(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "image-classifier", str(photos), *FLAGS]

    def run(backbones: str, form: str) -> tuple[int, str]:
        code = main([*words, "--backbones", backbones, "--format", form])
        return code, capsys.readouterr().out

    code, out = run("test_resnet", "json")
    assert code == 0
    values: dict[str, Any] = json.loads(out)
    assert values["rows"][0]["recipe"]["epochs"] == 0
    assert values["rows"][0]["scores"]["accuracy"] == values["rows"][0]["score"]
    assert values["machine"]["threads"] >= 1
    assert values["cost"]["energy_wh"] > 0
    assert values["cost"]["co2e_g"] == pytest.approx(values["cost"]["energy_wh"] * 0.481)
    code, out = run("nothing, test_resnet", "csv")
    assert code == 1
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["backbone"] for row in rows] == ["test_resnet", "nothing"]
    assert 0 <= float(rows[0]["accuracy"]) <= 1
    assert rows[1]["accuracy"] == ""
    assert rows[1]["error"].startswith("there is no backbone 'nothing'")
    code, out = run("nothing", "table")
    assert code == 2
    assert out.startswith("nothing: there is no backbone 'nothing'")


def test_wrong_arguments_and_data_are_refused_at_once(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = ImageClassifier(**TINY)
    with pytest.raises(OptionError, match="expected networks to compare"):
        task.compare(photos, backbones=" , ")
    with pytest.raises(OptionError, match="by is score or latency, found 'size'"):
        task.compare(photos, backbones="test_resnet", by="size")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="there is no setting 'epoch'"):
        task.compare(photos, backbones="test_resnet", epoch=1)
    with pytest.raises(DataError):
        task.compare(tmp_path / "missing", backbones="test_resnet")
    assert main(["compare", "image-classifier", str(photos)]) == 2
    assert "--backbones a,b,c" in capsys.readouterr().err
