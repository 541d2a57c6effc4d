"""Tuning: bad trials are pruned, a killed study goes on, and the saved recipe repeats the best score."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import TINY, draw_pictures
from drawn_encoders import draw_encoder

from recipes import ImageClassifier, ImageRegressor, Segmenter, TextClassifier, Tuning
from recipes.callbacks import EpochScores
from recipes.cli import main
from recipes.demo import draw_messages, draw_scenes
from recipes.errors import DataError, ModelError, OptionError, OutputError, RecipesError, TrainingError, WeightsError
from recipes.presets import MASK_PRESETS, NGRAM_PRESETS, PRESETS, TEXT_PRESETS, Preset
from recipes.rooms import Span, own_rooms, search_space
from recipes.tuning import JOURNAL

pytest.importorskip("optuna")

# Rates from far too low to far too high, so that trials differ.
FAST: dict[str, Any] = {"epochs": 3, "lr": 2.0, "batch_size": 64, "find_batch_size": False, "quiet": True}
FLAGS = ["--backbone=ngrams", "--epochs=3", "--lr=2.0", "--batch-size=64", "--find-batch-size=false"]


def ngrams() -> TextClassifier:
    return TextClassifier(backbone="ngrams")


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("messages") / "train.csv"
    draw_messages(file, 40, seed=0)
    return file


@pytest.fixture(scope="module")
def study(messages: Path) -> Tuning:
    """A study that was never stopped; it is only read."""
    return ngrams().tune(messages, out=messages.parent / "study", trials=9, **FAST)


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets something happen in place of each fit after so many."""

    def arrange(fits: int, happens: Callable[[], Any]) -> None:
        fit, done = TextClassifier.fit, []

        def counted(self: Any, *arguments: Any, **settings: Any) -> Any:
            done.append(self)
            return fit(self, *arguments, **settings) if len(done) <= fits else happens()

        monkeypatch.setattr(TextClassifier, "fit", counted)

    return arrange


def outcomes(tuning: Tuning) -> list[Any]:
    return [(one.number, one.state, one.score, one.settings) for one in tuning.trials if one.state != "stopped"]


# -- what comes out ---------------------------------------------------------------------------------------------------


def test_the_first_trial_is_the_recipe_as_it_is_and_no_other_is_like_it(study: Tuning) -> None:
    assert study.trials[0].settings == {"lr": 2.0, "label_smoothing": 0.1}
    assert [trial.number for trial in study.trials] == list(range(1, 10))
    assert len({str(trial.settings) for trial in study.trials}) == 9
    assert all(0.2 <= trial.settings["lr"] <= 20 for trial in study.trials)
    assert study.score == "accuracy"
    assert study.stopped is None


def test_bad_trials_are_pruned_and_cost_fewer_epochs(study: Tuning) -> None:
    pruned = [trial for trial in study.trials if trial.state == "pruned"]
    complete = [trial for trial in study.trials if trial.state == "complete"]
    assert pruned
    assert len(pruned) + len(complete) == 9
    assert all(trial.epochs < 3 for trial in pruned)
    assert all(trial.epochs == 3 for trial in complete)
    assert study.best in complete
    assert all(trial.state == "complete" for trial in study.trials[:5])


def test_the_best_is_the_first_of_those_with_the_best_score(study: Tuning) -> None:
    scores = [trial.score for trial in study.trials if trial.state == "complete" and trial.score is not None]
    assert study.best is not None
    assert study.best.score == max(scores)
    assert study.best is next(trial for trial in study.trials if trial.score == max(scores))


def test_the_saved_recipe_repeats_the_best_score_to_the_last_bit(study: Tuning, tmp_path: Path) -> None:
    assert study.best is not None
    recipe = study.folder / "recipe.yaml"
    assert main(["fit", "--config", str(recipe), "--out", str(tmp_path / "model"), "--quiet"]) == 0
    manifest = json.loads((tmp_path / "model" / "recipe.json").read_text())
    assert manifest["scores"]["accuracy"] == study.best.score
    assert yaml.safe_load((tmp_path / "model" / "recipe.yaml").read_text()) == yaml.safe_load(recipe.read_text())
    assert yaml.safe_load(recipe.read_text()) == study.recipe
    assert study.best.settings.items() <= study.recipe.items()


def test_the_table_of_trials_has_all_of_them_with_exact_settings(study: Tuning) -> None:
    text = (study.folder / "trials.csv").read_text("utf-8")
    assert text == study.csv()
    rows = list(csv.DictReader(io.StringIO(text)))
    figures = ["number", "state", "accuracy", "epochs", "seconds", "energy_wh", "co2e_g"]
    assert list(rows[0]) == [*figures, "lr", "label_smoothing", "error"]
    energy = [float(row["energy_wh"]) for row in rows]  # of those that were pruned, too
    assert min(energy) > 0
    assert study.cost.energy_wh == pytest.approx(sum(energy), rel=1e-3)
    assert study.cost.co2e_g == pytest.approx(sum(float(row["co2e_g"]) for row in rows), rel=1e-3)
    assert [float(row["lr"]) for row in rows] == [trial.settings["lr"] for trial in study.trials]


def test_what_is_shown_is_a_line_for_each_trial_and_a_table(
    messages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ngrams().tune(messages, out=tmp_path / "study", trials=2, **{**FAST, "quiet": False})
    lines = capsys.readouterr().err.splitlines()
    assert "searching lr, label_smoothing" in lines[0]
    assert lines[1].startswith("trial 1/2  accuracy 0.")
    assert "lr 2  label_smoothing 0.1" in lines[1]
    assert lines[2].startswith("trial 2/2  ")
    assert lines[3].startswith("the best of 2 trials (2 complete)")
    assert lines[-2].startswith("cost of 2 trials: ")
    assert lines[-1].endswith("recipe.yaml --out MODEL")
    assert [line.split()[0] for line in lines[4:10]] == [
        "trial",
        "accuracy",
        "epochs",
        "seconds",
        "lr",
        "label_smoothing",
    ]


def test_of_errors_the_least_is_the_best(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "by colour", 6)
    rows = [
        f"by colour/{label}/{number}.png,{place + number / 10}"
        for place, label in enumerate(("blue", "green", "red"))
        for number in range(6)
    ]
    (tmp_path / "levels.csv").write_text("\n".join(["image,level", *rows]))
    settings = {"epochs": 2, "batch_size": 8, "workers": 0, "precision": "32", "quiet": True}
    tuning = ImageRegressor(**TINY).tune(
        tmp_path / "levels.csv", out=tmp_path / "study", trials=3, search="lr", **settings
    )
    assert tuning.score == "mae"
    assert tuning.best is not None
    assert tuning.best.score == min(trial.score for trial in tuning.trials if trial.score is not None) > 0


def test_several_backbones_are_searched_and_one_that_does_not_exist_is_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuning = ImageClassifier(**TINY).tune(
        photos,
        out=tmp_path / "study",
        backbones="test_resnet,test_resnett,test_efficientnet",
        search=["hflip"],
        trials=3,
        preset="quick",
        views=1,
        mirror=False,
        precision="32",
        quiet=True,
    )
    assert "left out: there is no backbone 'test_resnett'; did you mean test_resnet" in capsys.readouterr().err
    assert tuning.trials[0].settings == {"hflip": 0.5, "backbone": "test_resnet"}
    assert {trial.settings["backbone"] for trial in tuning.trials} <= {"test_resnet", "test_efficientnet"}
    assert {trial.epochs for trial in tuning.trials} == {0}
    with pytest.raises(OptionError, match="there is no backbone 'nothing'"):
        ImageClassifier(**TINY).tune(photos, out=tmp_path / "other", backbones=["nothing"])


def test_ranges_and_choices_are_kept_to_and_the_first_trial_has_what_is_nearest(messages: Path, tmp_path: Path) -> None:
    search = "lr=0.1..1, batch_size=8..32, optimizer=adagrad|adamw, warmup=0..0.1, weight_decay=0.001|0.01"
    tuning = ngrams().tune(messages, out=tmp_path / "study", trials=4, search=search, **FAST)
    assert tuning.trials[0].settings == {
        "lr": 1.0,  # of FAST's 2
        "batch_size": 32,  # of 64
        "optimizer": "adagrad",
        "warmup": 0.1,
        "weight_decay": 0.001,
    }
    for settings in (trial.settings for trial in tuning.trials):
        assert 0.1 <= settings["lr"] <= 1
        assert 8 <= settings["batch_size"] <= 32
        assert isinstance(settings["batch_size"], int)
        assert settings["optimizer"] in ("adagrad", "adamw")
        assert settings["weight_decay"] in (0.001, 0.01)
    wider = search.replace("0.1..1", "0.1..2")
    with pytest.raises(OptionError, match=r"had lr=0\.1 to 1, not 0\.1 to 2"):
        ngrams().tune(messages, out=tmp_path / "study", search=wider, **FAST)


def test_all_trials_and_backbones_share_one_look_at_the_pictures(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, read_from = ImageClassifier.read, []

    def watched(self: Any, data: Any, *arguments: Any) -> Any:
        read_from.append(data)
        return read(self, data, *arguments)

    monkeypatch.setattr(ImageClassifier, "read", watched)
    settings = {"views": 1, "mirror": False, "precision": "32", "workers": 0, "quiet": True}
    tuning = ImageClassifier(**TINY).tune(
        photos, out=tmp_path / "study", search={"hflip": None}, trials=2, preset="quick", **settings
    )
    assert read_from == [photos]
    assert tuning.recipe["data"] == str(photos)
    names = ["test_resnet", "test_efficientnet"]
    comparison = ImageClassifier(**TINY).compare(photos, backbones=names, **settings)
    assert read_from == [photos] * 2
    assert [row.recipe["data"] for row in comparison.rows] == [str(photos)] * 2


def test_masks_are_searched_over_backbones(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "cells", number=6, seed=1, size=32)
    tuning = Segmenter(**TINY).tune(
        tmp_path / "cells",
        out=tmp_path / "study",
        backbones="test_resnet,test_efficientnet",
        search="lr,cutmix=0|1",
        trials=2,
        epochs=1,
        batch_size=2,
        precision="32",
        workers=0,
        quiet=True,
    )
    assert tuning.score == "mean_iou"
    assert [trial.error for trial in tuning.trials] == [None, None]
    assert tuning.recipe["data"] == str(tmp_path / "cells")


def test_texts_are_searched_over_encoders_each_with_its_own_tokens(messages: Path, tmp_path: Path) -> None:
    encoders = [str(draw_encoder(tmp_path / name, name)) for name in ("bert", "distilbert")]
    tuning = TextClassifier().tune(
        messages,
        out=tmp_path / "study",
        backbones=encoders,
        search=["mixup=0..0.5"],
        trials=3,
        epochs=1,
        precision="32",
        workers=0,
        quiet=True,
    )
    assert [trial.error for trial in tuning.trials] == [None] * 3
    assert {trial.settings["backbone"] for trial in tuning.trials} <= {*encoders}


# -- stopping and going on --------------------------------------------------------------------------------------------


def test_a_killed_study_goes_on_to_what_it_would_have_been(study: Tuning, messages: Path, tmp_path: Path) -> None:
    code = f"""
import os, signal
from recipes import TextClassifier
fit, fits = TextClassifier.fit, []
def fit_or_die(self, *arguments, **settings):
    fits.append(self)
    if len(fits) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return fit(self, *arguments, **settings)
TextClassifier.fit = fit_or_die
TextClassifier(backbone="ngrams").tune({str(messages)!r}, out={str(tmp_path / "study")!r}, trials=4, **{FAST!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with (tmp_path / "study" / JOURNAL).open("ab") as journal:
        journal.write(b'{"op_code": 5, "wor')  # as a kill in the middle of a line leaves it
    os.symlink(tmp_path / "study" / JOURNAL, tmp_path / "study" / f"{JOURNAL}.lock")
    tuning = ngrams().tune(messages, out=tmp_path / "study", trials=4, **FAST)
    assert outcomes(tuning) == outcomes(study)[:4]
    assert [(trial.number, trial.state) for trial in tuning.trials] == [
        (1, "complete"),
        (2, "complete"),
        (3, "stopped"),
        (3, "complete"),
        (4, "complete"),
    ]
    again = ngrams().tune(messages, out=tmp_path / "study", trials=1, **FAST)
    assert outcomes(again) == outcomes(study)[:5]


def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(
    study: Tuning, messages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tune", "text-classifier", str(messages), "--out", str(tmp_path / "study"), "--trials", "3", *FLAGS]
    with pytest.MonkeyPatch.context() as patch:
        fit, fits = TextClassifier.fit, []

        @functools.wraps(fit)
        def interrupted(self: Any, *arguments: Any, **settings: Any) -> Any:
            fits.append(self)
            if len(fits) == 2:
                signal.raise_signal(signal.SIGINT)
            return fit(self, *arguments, **settings)

        patch.setattr(TextClassifier, "fit", interrupted)
        assert main(words) == 130
    assert "to go on with the study: the same command" in capsys.readouterr().err
    assert (tmp_path / "study" / "recipe.yaml").is_file()
    words[words.index("--trials") + 1] = "4"  # which is how many there shall be, whatever was said before
    assert main(words) == 0
    assert "1 of 4 trials are done" in capsys.readouterr().err
    rows = list(csv.DictReader(io.StringIO((tmp_path / "study" / "trials.csv").read_text())))
    assert [row["state"] for row in rows] == ["complete", "stopped", "complete", "complete", "complete"]
    assert [float(row["lr"]) for row in rows if row["state"] == "complete"] == [
        trial.settings["lr"] for trial in study.trials[:4]
    ]


def test_sigterm_in_the_first_trial_has_an_exit_code_of_its_own(
    messages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = TextClassifier.fit

    @functools.wraps(fit)
    def terminated(self: Any, *arguments: Any, **settings: Any) -> Any:
        settings["callbacks"] = [EpochScores(lambda epoch, scores: signal.raise_signal(signal.SIGTERM))]
        return fit(self, *arguments, **settings)

    monkeypatch.setattr(TextClassifier, "fit", terminated)
    assert main(["tune", "text-classifier", str(messages), "--out", str(tmp_path / "study"), *FLAGS]) == 143


def test_ctrl_c_in_the_first_trial_leaves_a_study_to_begin_with(
    messages: Path, tmp_path: Path, after: Callable[..., None]
) -> None:
    after(0, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        ngrams().tune(messages, out=tmp_path / "study", trials=1, **FAST)
    assert not (tmp_path / "study" / "recipe.yaml").exists()


def test_a_trial_that_fails_is_named_and_the_others_go_on(
    messages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, fits = TextClassifier.fit, []

    def failing(self: Any, *arguments: Any, **settings: Any) -> Any:
        fits.append(self)
        if len(fits) == 2:
            raise TrainingError("memory ran out at batch_size=64")
        if len(fits) == 3:
            raise RuntimeError("shapes cannot be\nmultiplied")
        if len(fits) == 4:
            raise AssertionError
        return fit(self, *arguments, **settings)

    monkeypatch.setattr(TextClassifier, "fit", failing)
    tuning = ngrams().tune(messages, out=tmp_path / "study", trials=5, **FAST)
    assert [trial.state for trial in tuning.trials] == ["complete", "failed", "failed", "failed", "complete"]
    assert [trial.error for trial in tuning.trials if trial.error] == [
        "memory ran out at batch_size=64",
        "RuntimeError: shapes cannot be multiplied",
        "AssertionError",
    ]


def test_a_file_that_goes_away_ends_the_study_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = draw_pictures(tmp_path / "photos", 4)
    fit, fits = ImageClassifier.fit, []

    @functools.wraps(fit)
    def fit_after_a_loss(self: Any, *arguments: Any, **settings: Any) -> Any:
        fits.append(self)
        if len(fits) == 2:
            (photos / "red" / "0.png").unlink()
        return fit(self, *arguments, **settings)

    monkeypatch.setattr(ImageClassifier, "fit", fit_after_a_loss)
    words = ["--backbone=test_resnet", "--pretrained=false", "--size=32", "--epochs=1", "--workers=0", "--search=lr"]
    assert main(["tune", "image-classifier", str(photos), "--out", str(tmp_path / "study"), *words]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "error: the data have changed while the study went on (1 file missing: red/0.png)"


def test_when_the_first_trials_all_fail_the_study_ends(
    messages: Path, tmp_path: Path, after: Callable[..., None]
) -> None:
    def fail() -> None:
        raise TrainingError("memory ran out")

    after(0, fail)
    with pytest.raises(TrainingError, match="the first 3 trials have failed; the last: memory ran out"):
        ngrams().tune(messages, out=tmp_path / "study", **FAST)
    with pytest.raises(TrainingError, match="no trial was completed; the last: memory ran out"):
        ngrams().tune(messages, out=tmp_path / "other", trials=1, **FAST)


def test_no_trial_begins_after_the_time_is_over(
    messages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = TextClassifier.fit

    def slow(self: Any, *arguments: Any, **settings: Any) -> Any:
        time.sleep(1)
        return fit(self, *arguments, **settings)

    monkeypatch.setattr(TextClassifier, "fit", slow)
    tuning = ngrams().tune(messages, out=tmp_path / "study", time="1s", trials=3, **FAST)
    assert [trial.state for trial in tuning.trials] == ["complete"]


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"epochs": 4}, "had epochs=3, not 4"),
        ({"seed": 1}, "had seed=0, not 1"),
        ({"lr": 1.0}, "had lr=0.2 to 20, not 0.1 to 10"),
        ({"search": "lr"}, "searched label_smoothing"),
        ({"search": "lr,label_smoothing,mixup"}, "did not search mixup"),
        ({"val_fraction": 0.3}, "had val_fraction=0.1, not 0.3"),
    ],
)
def test_a_study_with_other_settings_is_refused(
    changed: dict[str, Any], problem: str, study: Tuning, messages: Path
) -> None:
    with pytest.raises(OptionError) as refused:
        ngrams().tune(messages, out=study.folder, **{**FAST, **changed})
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_study_of_other_data_or_another_task_is_refused(study: Tuning, messages: Path, tmp_path: Path) -> None:
    draw_messages(tmp_path / "train.csv", 41, seed=0)
    with pytest.raises(DataError, match=r"the data is not what the study in .* began with \(1 file changed: train.csv"):
        ngrams().tune(tmp_path / "train.csv", out=study.folder, **FAST)
    draw_pictures(tmp_path / "photos", 4)
    with pytest.raises(OptionError, match="is of text-classifier, not image-classifier"):
        ImageClassifier(**TINY).tune(tmp_path / "photos", out=study.folder)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("split.json", None, "is missing"),
        ("split.json", b"{", "cannot be read"),
        ("files.json", None, "is missing"),
        ("files.json", b"[]", "cannot be read"),
        ("study.json", b"{}", "does not tell its task"),
        ("trials.journal", None, "is missing"),
        ("trials.journal", b"no journal", "cannot be read"),
        ("trials.journal", b'{"op_code": 99}\n{"op_code"\n', "cannot be read ("),
    ],
)
def test_a_damaged_study_is_told_by_its_file(
    name: str, content: bytes | None, problem: str, study: Tuning, messages: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(study.folder, tmp_path / "study"))
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    with pytest.raises(ModelError) as refused:
        ngrams().tune(messages, out=folder, trials=1, **FAST)
    assert f"the study is damaged: {folder / name} {problem}" in str(refused.value)
    assert content is None or (folder / name).read_bytes() == content


def test_where_data_lie_and_how_fast_they_are_read_may_change(study: Tuning, messages: Path, tmp_path: Path) -> None:
    shutil.copytree(study.folder, tmp_path / "study")
    shutil.copy(messages, tmp_path / "train.csv")
    tuning = ngrams().tune(tmp_path / "train.csv", out=tmp_path / "study", trials=1, workers=0, **FAST)
    assert len(tuning.trials) == 10


def test_a_folder_with_other_files_is_refused_and_left_as_it_is(messages: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds files that are no study's \(notes.txt\)"):
        ngrams().tune(messages, out=tmp_path, **FAST)
    assert os.listdir(tmp_path) == ["notes.txt"]
    with pytest.raises(OutputError, match="is a file"):
        ngrams().tune(messages, out=tmp_path / "notes.txt", **FAST)


def test_without_optuna_one_line_says_how_to_get_it(
    messages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(OptionError, match=r"pip install 'torch-recipes\[tune\]'"):
        ngrams().tune(messages, out=tmp_path / "study")
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"trials": 0}, "trials is at least 1, found 0"),
        ({"time": "soon"}, "time='soon' cannot be"),
        ({"search": "lrr"}, "search cannot take 'lrr'; did you mean lr"),
        ({"search": "hflip"}, "hflip cannot be searched: text-classifier has no use for it"),
        ({"search": "seed=1|2"}, "search cannot take 'seed'"),
        ({"search": "warmpu=0..1"}, "search cannot take 'warmpu'; did you mean warmup"),
        ({"search": "warmup"}, "warmup cannot be searched: a range or choices are missing"),
        ({"search": "lr="}, "lr cannot be searched: a range or choices are missing"),
        ({"search": "lr=1..0.1"}, "lr cannot be searched: the range 1..0.1 is backwards; take 0.1..1"),
        ({"search": {"lr": (0.1, 0.1)}}, "lr cannot be searched: the range 0.1..0.1 holds one number"),
        ({"search": "lr=0.1|0.1"}, "one choice is no search; as a setting it is lr=0.1"),
        ({"search": "lr=low..high"}, "lr cannot be searched: lr takes a number, found 'low'"),
        ({"search": "lr=-1..1"}, "lr=-1.0 cannot be: it is greater than 0"),
        ({"search": "sampler=shuffled|evenly"}, "sampler takes one of shuffled, balanced, found 'evenly'"),
        ({"search": {"sampler": ("shuffled", "balanced")}}, "a range is two numbers, low and high; give choices"),
        ({"search": "lr=0.1|1,lr"}, "search names 'lr' twice"),
        ({"search": "lr,lr"}, "search names 'lr' twice"),
        ({"search": ","}, "search names no setting"),
        ({"search": "lr=1e-5...1e-2"}, "lr cannot be searched: a range has two dots, as in lr=1e-5..1e-2"),
        ({"search": "optimizer=adamw|adamm"}, "optimizer cannot be searched: there is no optimizer 'adamm'"),
        ({"search": "batch_size", "find_batch_size": True}, "find_batch_size=True looks for it in each trial"),
        ({"epochs": 0, "head_first": True, "search": "lr"}, "epochs=0 fits the last layer alone"),
        ({"backbones": "ngrams,bert"}, "ngrams has settings of its own"),
        ({"devices": 2}, "tune trains in this process"),
        ({"epoch": 2}, "there is no setting 'epoch'; did you mean epochs"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    arguments: dict[str, Any], problem: str, messages: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipesError) as refused:
        ngrams().tune(messages, out=tmp_path / "study", **{**FAST, **arguments})
    assert problem in str(refused.value)
    assert not (tmp_path / "study").exists()


def test_the_shell_needs_a_folder_for_the_study_and_ranges_that_make_sense(
    messages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", "text-classifier", str(messages), "--backbone", "ngrams"]) == 2
    assert "needs --out STUDY" in capsys.readouterr().err
    words = ["tune", "text-classifier", str(messages), "--backbone", "ngrams", "--out", "study", "--search"]
    assert main([*words, "lr=1..0.1"]) == 2
    assert "the range 1..0.1 is backwards; take 0.1..1" in capsys.readouterr().err
    assert main(["tune"]) == 2
    assert "usage: recipes tune TASK DATA --out STUDY" in capsys.readouterr().out


# -- what is searched -------------------------------------------------------------------------------------------------


def test_what_is_searched_suits_the_task_and_the_preset(photos: Path, messages: Path, tmp_path: Path) -> None:
    draw_scenes(tmp_path / "cells", number=2, seed=1, size=32)

    def names(task: Any, data: Path, preset: Preset) -> set[str]:
        return set(search_space(task, data, preset, "", []))

    pictures = {"lr", "weight_decay", "layer_decay", "label_smoothing", "crop_scale", "hflip", "color_jitter"}
    pictures.add("auto_augment")
    assert names(ImageClassifier(**TINY), photos, PRESETS["default"]) == pictures
    assert names(ImageClassifier(**TINY), photos, PRESETS["best"]) == (pictures | {"mixup", "cutmix"}) - {"hflip"}
    varied = dataclasses.replace(PRESETS["quick"], views=1)
    assert names(ImageClassifier(**TINY), photos, varied) == {"crop_scale", "color_jitter", "auto_augment"}
    with pytest.raises(OptionError, match=r"nothing to search; .* views=1"):
        names(ImageClassifier(**TINY), photos, PRESETS["quick"])
    assert "layer_decay" not in names(ImageClassifier(**TINY), photos, PRESETS["scratch"])
    numbers = ImageRegressor(**TINY)
    assert names(numbers, photos, numbers.presets["default"]) == pictures - {"label_smoothing"}
    masks = Segmenter(**TINY)
    assert names(masks, tmp_path / "cells", MASK_PRESETS["default"]) == (pictures | {"cutmix"}) - {
        "label_smoothing",
        "auto_augment",
    }
    assert names(ngrams(), messages, NGRAM_PRESETS["default"]) == {"lr", "label_smoothing"}
    encoder = draw_encoder(tmp_path / "encoder", "distilbert")
    assert names(TextClassifier(backbone=str(encoder)), messages, TEXT_PRESETS["default"]) == {
        "lr",
        "weight_decay",
        "layer_decay",
        "label_smoothing",
    }


def test_ranges_are_the_same_in_every_spelling_and_wide_ones_go_by_magnitude(messages: Path) -> None:
    def space(search: Any) -> dict[str, Any]:
        preset = Preset(**{**vars(NGRAM_PRESETS["default"]), "find_batch_size": False})
        return search_space(ngrams(), messages, preset, search, [])

    spelled = {
        "lr": Span(0.5, 1.0, log=True),  # as its own range has it
        "clip_grad": Span(0.0, 10.0),
        "weight_decay": Span(1e-5, 1e-2, log=True),
        "accumulate": Span(1, 4),
        "batch_size": (16, 32),
        "freeze_bn": (True, False),
        "label_smoothing": Span(0.0, 0.2),
    }
    text = "lr=0.5..1,clip_grad=0..10,weight_decay=1e-5..1e-2,accumulate=1..4,batch_size=16|32,freeze_bn=true|false"
    assert space(f"{text},label_smoothing") == spelled
    assert space([*text.split(","), "label_smoothing"]) == spelled
    assert spelled == space(
        {
            "lr": (0.5, 1),
            "clip_grad": (0, 10),
            "weight_decay": "1e-5..1e-2",
            "accumulate": (1, 4),
            "batch_size": [16, 32],
            "freeze_bn": [True, False],
            "label_smoothing": None,
        }
    )


@pytest.mark.parametrize("preset", [*PRESETS.values(), *TEXT_PRESETS.values(), *NGRAM_PRESETS.values()])
def test_the_usual_value_can_always_be_chosen(preset: Preset) -> None:
    for name, room in own_rooms(preset).items():
        value = getattr(preset, name)
        assert room.low <= value <= room.high if isinstance(room, Span) else value in room


def test_weights_that_cannot_be_had_are_refused_at_once(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        ImageClassifier(backbone="resnet18", weights="missing.safetensors").tune(photos, out=tmp_path / "study")
    assert not (tmp_path / "study").exists()
