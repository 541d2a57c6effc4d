"""TextClassifier through its public names: n-grams, several labels, pairs, and the shell."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_encoders import WORDS, draw_encoder

import recipes
from recipes import TextClassifier
from recipes.classifier import best_thresholds, probabilities
from recipes.demo import draw_messages
from recipes.errors import DataError, OptionError
from recipes.texts import NGrams, by_length

FAST: dict[str, Any] = {"quiet": True, "epochs": 3, "lr": 0.5, "batch_size": 8, "find_batch_size": False}


def several(number: int, seed: int = 0) -> list[dict[str, str]]:
    """Texts that have each of three labels where its word occurs."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(number):
        chosen = [label for label in ("angry", "glad", "sad") if rng.random() < 0.4]
        words = [*rng.choice(WORDS[:20], 5), *chosen]
        rows.append({"text": " ".join(rng.permutation(words)), "labels": "|".join(chosen)})
    return rows


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("messages")
    draw_messages(folder / "train.csv", 60, seed=0)
    draw_messages(folder / "test.csv", 20, seed=1)
    return folder


@pytest.fixture(scope="module")
def model(messages: Path) -> Path:
    folder = messages / "model"
    TextClassifier(backbone="ngrams").fit(messages / "train.csv", out=folder, **FAST)
    return folder


@pytest.fixture(scope="module")
def labelled() -> TextClassifier:
    return TextClassifier(backbone="ngrams").fit(several(200), **{**FAST, "epochs": 6})


# ---------------------------------------------------------------------------------------------------------------------
# Several labels


def test_several_labels_are_learnt_each_with_its_threshold(labelled: Any) -> None:
    evaluation = labelled.evaluate(several(100, seed=1))
    assert evaluation.scores["map"] > 0.95
    assert evaluation.scores["macro_f1"] > 0.9
    assert set(evaluation.per_label["sad"]) >= {
        "precision",
        "recall",
        "f1",
        "average_precision",
        "threshold",
        "support",
    }
    assert evaluation.confusion == []
    assert len(labelled.codec.thresholds) == 3


def test_a_prediction_of_several_labels_names_those_that_apply(labelled: Any, tmp_path: Path) -> None:
    both, none = labelled.predict(["batel sad glad kivis", "batel kivis"])
    assert both.labels == ("glad", "sad")
    assert none.labels == ()
    assert both.row()["labels"] == "glad|sad"
    assert none.row()["labels"] == ""
    labelled.save(tmp_path / "model")
    assert recipes.load(tmp_path / "model").predict(["batel sad glad kivis", "batel kivis"]) == [both, none]


def test_several_labels_can_be_weighed_and_mixed() -> None:
    task = TextClassifier(backbone="ngrams").fit(several(60), **FAST, class_weights="balanced", mixup=0.3)
    assert all(np.isfinite(row["train_loss"]) for row in task.history.epochs)  # type: ignore[union-attr, arg-type]


def test_the_worst_of_several_labels_say_which_was_wrong(labelled: Any) -> None:
    rows = several(40, seed=2)
    rows[0] = {"text": "batel glad glad", "labels": "sad"}
    worst = labelled.evaluate(rows).worst
    assert {"text", "label", "predicted", "score"} == set(worst[0])
    assert any(row["text"] == "batel glad glad" for row in worst)


def test_thresholds_are_the_best_there_are() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = rng.integers(0, 8, (30, 4)) / 8
        truth = (rng.random((30, 4)) < scores).astype(np.float32)

        def f1(threshold: float, label: int, scores: Any = scores, truth: Any = truth) -> float:
            said = scores[:, label] >= threshold
            right = truth[:, label]
            return float(2 * (said * right).sum() / max(said.sum() + right.sum(), 1))

        for label, threshold in enumerate(best_thresholds(scores, truth)):
            best = max(f1(one, label) for one in np.arange(0, 1.01, 1 / 16))
            assert f1(threshold, label) == pytest.approx(best)


def test_huge_outputs_are_no_trouble() -> None:
    outputs = np.array([[1e4, -1e4, 0.0]])
    assert np.isfinite(probabilities(outputs, True)).all()
    assert probabilities(outputs, False).sum() == pytest.approx(1)


# ---------------------------------------------------------------------------------------------------------------------
# Texts into numbers


def test_ngrams_are_the_same_numbers_for_ever() -> None:
    """A model is saved with them: another hash would read every text as another."""
    found = NGrams(buckets=1024, longest=3).encode(["Ab c"])[0][0, 0].tolist()
    assert found == [804, 122, 296, 649, 295, 77, 1011, 811, 11, 169, 829]


def test_words_are_even_and_pieces_odd_and_case_does_not_count() -> None:
    (plain,), (upper,) = NGrams().encode(["good soup"])[0], NGrams().encode(["GOOD\u3000ｓｏｕｐ"])[0]
    assert plain[0].tolist() == upper[0].tolist()
    words = [number for number in plain[0].tolist() if number % 2 == 0]
    assert len(words) == 3  # good, soup, good soup


def test_a_text_is_encoded_the_same_alone_and_among_others() -> None:
    texts = ["a", "b c", "!", "日本語 テキスト", "é e\u0301", "مرحبا بك", "x" * 20_000, "\0\x1b", "🙂🙂", "\ud800 half"]
    for own, among in zip(texts, NGrams().encode(texts), strict=True):
        np.testing.assert_array_equal(NGrams().encode([own])[0], among)


def test_batches_are_of_similar_length_and_as_many_in_each_epoch() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.geometric(0.05, 500).tolist()
    numbers = set()
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(500).tolist()
        batches = by_length(sizes, 16, order)
        numbers.add(len(batches))
        assert sorted(place for batch in batches for place in batch) == list(range(500))
        budget = 16 * np.mean(-(-np.array(sizes) // 8) * 8) + 1
        for batch in batches:
            rounded = max(-(-sizes[place] // 8) * 8 for place in batch)
            assert len(batch) == 1 or len(batch) * rounded <= budget
    assert len(numbers) == 1
    filled = sum(max(sizes[place] for place in batch) * len(batch) for batch in batches)
    assert filled < 1.25 * sum(sizes)


# ---------------------------------------------------------------------------------------------------------------------
# Training


def test_only_the_pair_decides(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"premise": str(first), "hypothesis": str(second), "label": "same" if first == second else "other"}
        for first, second in rng.choice(["batel", "kivis"], (120, 2))
    ]
    folder = draw_encoder(tmp_path / "encoder", "bert")
    settings: dict[str, Any] = {"quiet": True, "epochs": 30, "lr": 3e-3, "layer_decay": 1.0, "precision": "32"}
    task = TextClassifier(backbone=str(folder)).fit(rows, rows, head_first=False, patience=0, **settings)
    assert task.codec.encode(("batel", "kivis")).shape[1] == 2  # type: ignore[union-attr]
    assert task.evaluate(rows).accuracy > 0.9
    prediction = task.predict(("batel", "batel"))[0]
    assert prediction.text == ("batel", "batel")
    assert prediction.row()["text_2"] == "batel"
    with pytest.raises(DataError, match="the model takes pairs"):
        task.predict(["batel"])


def test_settings_for_pictures_are_refused(messages: Path) -> None:
    for setting in ({"cutmix": 1.0}, {"auto_augment": "randaugment"}, {"mirror": True, "hflip": 0.5}, {"views": 2}):
        with pytest.raises(OptionError, match="for pictures"):
            TextClassifier(backbone="ngrams").fit(messages / "train.csv", quiet=True, **setting)
    with pytest.raises(OptionError, match="ngrams has none"):
        TextClassifier(backbone="ngrams", length=10).fit(messages / "train.csv", quiet=True)
    with pytest.raises(OptionError, match="learnt from nothing"):
        TextClassifier(backbone="ngrams").fit(messages / "train.csv", quiet=True, freeze=-1)


def test_features_that_were_kept_give_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: Path
) -> None:
    monkeypatch.setenv("RECIPES_CACHE", str(tmp_path / "cache"))
    folder = draw_encoder(tmp_path / "encoder", "bert")
    heads = []
    for _ in range(2):
        task = TextClassifier(backbone=str(folder)).fit(
            messages / "train.csv", preset="quick", quiet=True, precision="32"
        )
        heads.append(task.network.head.weight.detach().clone())  # type: ignore[union-attr]
        kept = sorted((tmp_path / "cache" / "features").iterdir())
    assert torch.equal(*heads)
    assert len(kept) == 2


@pytest.mark.slow
def test_a_killed_run_of_an_encoder_ends_with_the_same_weights(tmp_path: Path, messages: Path) -> None:
    folder = draw_encoder(tmp_path / "encoder", "bert")
    code = f"""
import os, signal, sys
import pytorch_lightning as pl
from recipes import TextClassifier
class Cut(pl.Callback):
    def on_train_batch_end(self, trainer, *_):
        stop = trainer.current_epoch == 1 and sys.argv[2] == "cut" and os.kill(os.getpid(), signal.SIGKILL)
task = TextClassifier(backbone={str(folder)!r})
task.fit({str(messages / "train.csv")!r}, out=sys.argv[1], resume=sys.argv[2] == "resume", callbacks=[Cut()],
         quiet=True, epochs=3, lr=1e-3, precision="32", mixup=0.3, ema=0.9, patience=0, batch_size=16)
"""
    for out, how, status in (("whole", "through", 0), ("cut", "cut", -9), ("cut", "resume", 0)):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / out), how])
        assert done.returncode == status
    whole, cut = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def test_the_surest_mistakes_are_a_table_that_spreadsheets_read_as_it_is(tmp_path: Path) -> None:
    texts = [f"{word} thing {place}" for place in range(30) for word in ("good", "bad")]
    labels = ["good", "bad"] * 30
    texts[:6], labels[:6] = ["=1+1 good", "bad\nlines", "good", "bad", "good, really", "bad"], ["bad", "good"] * 3
    TextClassifier(backbone="ngrams").fit((texts, labels), out=tmp_path / "model", val=(texts[:6], labels[:6]), **FAST)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "model" / "worst.csv").read_bytes().decode(), newline="")))
    assert {"text", "label", "predicted", "score"} == set(rows[0])
    assert not any(row["text"].startswith("=") for row in rows)


# ---------------------------------------------------------------------------------------------------------------------
# Predicting, from Python and from the shell


def test_predictions_come_one_by_one_with_blank_ones_marked(model: Path) -> None:
    task = recipes.load(model)

    def lines() -> Iterator[Any]:
        yield from ["when will it arrive", "", "  ", None, "money back please"]

    rows = list(task.predict_each(lines()))
    assert [row.error for row in rows] == [None, "is empty", "is empty", "is empty", None]
    assert [row.text for row in rows] == ["when will it arrive", "", "  ", "", "money back please"]


def shell(*words: str, stdin: bytes = b"") -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-m", "recipes", *words], input=stdin, capture_output=True)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_lines_on_stdin_give_a_row_each(model: Path) -> None:
    lines = "when will my lamp arrive\r\n\nI want my money back\0\nمرحبا 🙂\nlast line without an end".encode()
    status, out, err = shell("predict", str(model), "-", "--format", "jsonl", stdin=lines)
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["text"] for row in rows] == [
        "when will my lamp arrive", "", "I want my money back\0", "مرحبا 🙂", "last line without an end",
    ]  # fmt: skip
    assert [row["error"] for row in rows] == [None, "is empty", None, None, None]
    assert status == 1
    assert "1 of 5 inputs could not be read" in err
    out = shell("predict", str(model), "-", "--format", "csv", "--top-k", "2", stdin=lines)[1]
    cells = list(csv.reader(io.StringIO(out)))
    assert cells[0] == ["text", "label", "score", "label_2", "score_2", "error"]
    assert len(cells) == 6


def test_the_shell_takes_texts_tables_and_files_of_lines(model: Path, messages: Path, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("where is my sofa\nthe bill is wrong\n")
    words = ["I would like my money back", str(messages / "test.csv"), str(tmp_path / "lines.txt")]
    status, out, _ = shell("predict", str(model), *words, "--format", "jsonl")
    assert status == 0
    assert len(out.splitlines()) == 1 + 60 + 2
    status, out, err = shell("predict", str(model), str(messages / "tset.csv"))
    assert (status, out) == (2, "")
    assert "did you mean" in err
    assert "test.csv" in err


def test_the_whole_job_in_the_shell(messages: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    fit = (
        "fit",
        "text-classifier",
        str(messages / "train.csv"),
        "--out",
        str(model),
        "--backbone",
        "ngrams",
        "--epochs",
        "3",
    )
    status, _, err = shell(*fit, "--batch-size", "8", "--find-batch-size", "false")
    assert status == 0, err
    assert "texts/s" in err
    status, out, _ = shell("evaluate", str(model), str(messages / "test.csv"), "--format", "json")
    assert status == 0
    assert json.loads(out)["scores"]["accuracy"] > 0.8
    status, _, err = shell("fit", "--config", str(model / "recipe.yaml"), "--out", str(tmp_path / "again"))
    assert status == 0, err
    first, second = ((folder / "model.safetensors").read_bytes() for folder in (model, tmp_path / "again"))
    assert first == second


def test_the_help_leaves_out_what_is_for_pictures() -> None:
    out = shell("fit", "text-classifier", "--help")[1]
    assert "--multi-label" in out
    assert "--windows" in out
    for flag in ("--hflip", "--crop-scale", "--cutmix", "--random-erasing"):
        assert flag not in out
