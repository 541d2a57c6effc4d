"""Labels with few examples: weights in the loss, a sampler that shows all labels alike, and notes on rough scores."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import COLOURS, TINY, draw_picture
from torch.nn.functional import one_hot

from recipes import ImageClassifier, TextClassifier, artifact, data, preparing
from recipes.cli import main
from recipes.data import Balance, EncodedExamples, EpochSampler, LengthBatches, label_weights
from recipes.errors import OptionError
from recipes.examples import Examples, Splits, note_rare
from recipes.presets import Preset

FAST: dict[str, Any] = {"epochs": 2, "lr": 0.5, "batch_size": 8, "find_batch_size": False}
QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 8, "lr": 1e-3, "precision": "32", "quiet": True}
NUMBERS = {"blue": 20, "green": 8, "red": 3}


@pytest.fixture(scope="module")
def skewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of three colours, of one many and of one few; for validation as many of each."""
    folder = tmp_path_factory.mktemp("skewed")
    for part in ("train", "val"):
        for place, (label, colour) in enumerate(COLOURS.items()):
            (folder / part / label).mkdir(parents=True)
            for count in range(NUMBERS[label] if part == "train" else 3):
                name = folder / part / label / f"{count:02}.png"
                draw_picture(colour, (part == "val") * 5000 + 1000 * place + count).save(name)
    return folder


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    rows = [("bad", f"dull slow number {place}") for place in range(12)]
    rows += [("good", f"fine {'very ' * (place % 9)}quick number {place}") for place in range(48)]
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for label, text in rows))
    return path


def tags(number: int) -> list[dict[str, str]]:
    return [
        {"text": f"text {place}", "labels": "|".join(["often"] * (place % 4 > 0) + ["seldom"] * (place % 8 == 1))}
        for place in range(number)
    ]


def examples(targets: list[Any], labels: str = "abc", amounts: list[list[int]] | None = None) -> Examples:
    return Examples([f"{place}.png" for place in range(len(targets))], targets, tuple(labels), amounts=amounts)


def epochs_of(found: Examples, number: int, seed: int = 0, views: int = 1) -> list[list[tuple[int, int]]]:
    sampler = EpochSampler(len(found) * views, seed, Balance.of(found))
    drawn = []
    for epoch in range(number):
        sampler.set_epoch(epoch)
        drawn.append(list(sampler))
    return drawn


# ---------------------------------------------------------------------------------------------------------------------
# Weights


def test_weights_mean_the_same_in_python_in_the_shell_and_in_yaml(reviews: Path, tmp_path: Path) -> None:
    given = TextClassifier(backbone="ngrams")
    given.fit(reviews, out=tmp_path / "python", quiet=True, class_weights={"bad": 3, "good": 0.5}, **FAST)
    flags = [f"--{name}={str(value).lower()}" for name, value in {"backbone": "ngrams", **FAST}.items()]
    words = ["fit", "text-classifier", str(reviews), "--out", str(tmp_path / "shell"), *flags]
    assert main([*words, "--class-weights", "good=0.5, bad=3.0"]) == 0
    recipe = tmp_path / "python" / "recipe.yaml"
    assert artifact.read_yaml(recipe.read_bytes())["class_weights"] == "bad=3,good=0.5"
    assert main(["fit", "--config", str(recipe), "--out", str(tmp_path / "yaml")]) == 0
    TextClassifier(backbone="ngrams").fit(reviews, out=tmp_path / "none", quiet=True, **FAST)
    found = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("python", "shell", "yaml", "none")]
    assert found[0] == found[1] == found[2] != found[3]


def test_help_says_how_weights_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "image-classifier", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--class-weights" in said
    assert "cat=2,dog=0.5" in said
    assert "--sampler {shuffled,balanced}" in said


def test_given_weights_are_taken_as_they_are_and_others_count_one() -> None:
    found = label_weights(examples([0, 1, 1, 2]), Preset(class_weights={"c": 4, "a": 0.5}))  # type: ignore[arg-type]
    assert found is not None
    assert found.tolist() == [0.5, 1.0, 4.0]
    balanced = label_weights(examples([0, 1, 1, 1]), Preset(class_weights="balanced"))
    assert balanced is not None
    assert balanced[[0, 1, 1, 1]].mean() == pytest.approx(4 / 3 / 2)  # c has no example, and its share is lost
    assert balanced[2] == 0


def test_weights_that_cannot_be_meant_are_refused_before_training(skewed: Path, tmp_path: Path) -> None:
    task = ImageClassifier(**TINY)
    with pytest.raises(OptionError, match=r"'grene', which is no label; did you mean green.*labels: blue, green, red"):
        task.fit(skewed, out=tmp_path / "model", class_weights={"grene": 2}, **QUICK)
    with pytest.raises(OptionError, match="leaves out every label"):
        task.fit(skewed, out=tmp_path / "model", class_weights="blue=0,green=0,red=0", **QUICK)
    with pytest.raises(OptionError, match="leaves out every label"):  # training shows none of c
        label_weights(examples([0, 1]), Preset(class_weights="a=0,b=0"))
    assert not (tmp_path / "model").exists()


def test_weights_and_the_sampler_are_for_labels_and_not_for_numbers() -> None:
    priced = Examples(["a.png", "b.png"], [1.5, 2.0], ("price",))
    with pytest.raises(OptionError, match="class_weights='balanced' is for labels"):
        label_weights(priced, Preset(class_weights="balanced"))
    with pytest.raises(OptionError, match="sampler='balanced' is for labels"):
        Balance.of(priced)


def test_a_mixed_batch_with_weights_and_smoothing_has_the_loss_of_the_formula(skewed: Path) -> None:
    batches, module = ImageClassifier(**TINY).lightning(
        skewed, class_weights={"red": 5, "green": 2}, label_smoothing=0.2, mixup=0.4, cutmix=1.0
    )
    rng = np.random.default_rng(0)
    pixels, scores = torch.rand(6, 3, 32, 32), torch.from_numpy(rng.normal(size=(6, 3)))
    _, shares = data.mixed(pixels, torch.tensor([0, 1, 2, 0, 0, 1]), 3, batches.preset, seed=1)
    assert ((shares > 0) & (shares < 1)).any()
    above = below = 0.0
    for row, own in zip(scores.numpy(), shares.numpy(), strict=True):
        logs = row - np.log(np.exp(row).sum())
        for place, weight in enumerate((1.0, 2.0, 5.0)):
            above -= weight * (0.8 * own[place] + 0.2 / 3) * logs[place]
            below += weight * own[place]
    assert float(module.loss(scores, shares)) == pytest.approx(above / below, rel=1e-5)


def test_a_mixed_batch_of_several_labels_with_weights_has_the_loss_of_the_formula() -> None:
    task = TextClassifier(backbone="ngrams")
    batches, module = task.lightning(tags(60), class_weights={"seldom": 4}, label_smoothing=0.2, mixup=0.4)
    assert task.codec is not None
    assert task.codec.labels == ("often", "seldom")
    tokens, targets = torch.zeros(4, 1, 1, 3), torch.tensor([[1.0, 1.0], [0, 1], [0, 0], [1, 0]])
    _, shares = data.mixed_texts(tokens, targets, 2, batches.preset, seed=1)
    assert ((shares > 0) & (shares < 1)).any()
    scores = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 2)))
    total = 0.0
    for row, own in zip(scores.numpy(), shares.numpy(), strict=True):
        for place, weight in enumerate((1.0, 4.0)):
            share, score = 0.8 * own[place] + 0.1, 1 / (1 + np.exp(-row[place]))
            total -= weight * (share * np.log(score) + (1 - share) * np.log(1 - score))
    assert float(module.loss(scores, shares)) == pytest.approx(total / 8, rel=1e-5)


def test_a_label_that_counts_nothing_is_left_out_of_the_loss(skewed: Path) -> None:
    _, module = ImageClassifier(**TINY).lightning(skewed, class_weights="green=0", label_smoothing=0.0)
    scores, targets = torch.randn(6, 3), torch.tensor([0, 1, 2, 1, 0, 2])
    torch.testing.assert_close(module.loss(scores, targets), module.loss(scores[targets != 1], targets[targets != 1]))


# ---------------------------------------------------------------------------------------------------------------------
# The sampler


@pytest.mark.parametrize("numbers", [(50, 5, 2), (7, 7, 7), (1, 300, 30), (0, 11, 90)])
def test_a_balanced_epoch_has_all_labels_equally_often_and_each_ones_examples_evenly(numbers: tuple[int, ...]) -> None:
    targets = np.random.default_rng(0).permutation(np.repeat(np.arange(3), numbers))
    for seed in range(3):
        for drawn in epochs_of(examples(targets.tolist()), 5, seed):
            assert len({*drawn}) == len(drawn) == len(targets)
            times = np.bincount([place % len(targets) for _, place in drawn], minlength=len(targets))
            of_labels = [times[targets == place].sum() for place in range(3) if numbers[place]]
            assert max(of_labels) - min(of_labels) <= 1
            assert all(np.ptp(times[targets == place]) <= 1 for place in range(3) if numbers[place])


def test_of_a_frequent_label_every_example_comes_around() -> None:
    found = examples([0] * 90 + [1] * 10)
    drawn = epochs_of(found, 2)  # 50 of each label in an epoch
    seen = [{place for _, place in epoch if place < 90} for epoch in drawn]
    assert len(seen[0]) == len(seen[1]) == 50
    assert seen[0] | seen[1] == set(range(90))


def test_an_epoch_depends_on_its_seed_and_number_alone() -> None:
    found = examples([0] * 40 + [1] * 9 + [2])
    once, again, other = epochs_of(found, 4), epochs_of(found, 4), epochs_of(found, 4, seed=1)
    assert once == again != other
    assert len({tuple(place for _, place in epoch) for epoch in once}) == 4
    late = EpochSampler(len(found), 0, Balance.of(found))
    late.set_epoch(3)  # as a run that is taken up again does
    assert list(late) == once[3]


def test_without_a_balance_an_epoch_is_what_it_always_was() -> None:
    sampler = EpochSampler(5, 7)
    sampler.set_epoch(2)
    assert list(sampler) == [(2, int(place)) for place in np.random.default_rng((7, 2)).permutation(5)]


def test_an_example_with_several_labels_weighs_as_its_rarest() -> None:
    targets: list[Any] = [(0,)] * 60 + [(0, 1)] * 20 + [(0, 1, 2)] * 4 + [()] * 16
    found = Balance.of(examples(targets))
    weights = found.weights[found.rarest][[0, 60, 80, 84]]  # 84 show a, 24 show b, 4 show c, 16 none
    np.testing.assert_allclose(weights / weights[2], [4 / 84, 4 / 24, 1, 4 / 16])
    assert found.weights[found.rarest].mean() == pytest.approx(1)
    times = np.zeros(len(targets))
    for drawn in epochs_of(examples(targets), 50):
        np.add.at(times, [place % len(targets) for _, place in drawn], 1 / 50)
    np.testing.assert_allclose(times, found.weights[found.rarest], rtol=0.15)


def test_what_examples_count_is_the_same_from_their_targets_in_a_batch() -> None:
    targets: list[Any] = [(0,), (0, 1), (0, 1, 2), (), (0,), (1,)]
    found = Balance.of(examples(targets))
    rows = torch.zeros(6, 3)
    for row, own in zip(rows, targets, strict=True):
        row[list(own)] = 1
    np.testing.assert_allclose(found.rows(rows), found.weights[found.rarest], rtol=1e-6)
    single = Balance.of(examples([0, 0, 0, 1]))
    np.testing.assert_allclose(single.rows(torch.tensor([1, 0])), [2, 2 / 3], rtol=1e-6)


def test_an_image_with_a_mask_weighs_as_the_rarest_label_that_it_shows_and_each_crop_has_a_view_of_its_own() -> None:
    # b has the fewest pixels, though more images show it than c.
    amounts = [[90, 0, 0]] * 12 + [[80, 1, 0]] * 4 + [[50, 0, 40]] * 3 + [[60, 1, 30]] + [[0, 0, 0]]
    found = examples([None] * 21, amounts=amounts)
    balance = Balance.of(found)
    assert balance.rarest.tolist() == [0] * 12 + [1] * 4 + [2] * 3 + [1] + [3]
    weights = balance.weights[balance.rarest][[0, 12, 16, 20]]  # a is in 20 images, b in 5, c in 4
    np.testing.assert_allclose(weights / weights[0], [1, 20 / 5, 20 / 4, 20])
    for drawn in epochs_of(found, 3, views=4):
        assert len({*drawn}) == 84
        assert Counter(place % 21 for _, place in drawn).keys() == {*range(21)}


def test_an_example_that_comes_again_looks_otherwise_and_the_first_time_as_ever(skewed: Path) -> None:
    batches, _ = ImageClassifier(**TINY).lightning(skewed, sampler="balanced", crop_scale=0.3)
    loader = batches.train_dataloader()
    loader.sampler.set_epoch(1)  # type: ignore[attr-defined]
    red = [key for key in loader.sampler if batches.splits.train.targets[key[1] % 31] == 2]
    assert len(red) in (10, 11)  # of three pictures
    pixels, targets, sources = zip(*loader.dataset.__getitems__(red), strict=True)  # type: ignore[attr-defined]
    assert set(targets) == {2}
    assert len({*sources}) == 3
    assert len({view.tobytes() for view in pixels}) == len(red)
    place = min(place for _, place in red)
    plain, _ = batches.codec.example(
        batches.splits.train.inputs[place], 2, batches.preset.augment, np.random.default_rng((0, 1, place))
    )
    np.testing.assert_array_equal(pixels[red.index((1, place))], plain)


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_the_number_of_loader_processes_changes_nothing(skewed: Path) -> None:
    found = []
    for workers in (0, 1):
        batches, _ = ImageClassifier(**TINY).lightning(skewed, sampler="balanced", batch_size=8, workers=workers)
        found.append(list(batches.train_dataloader()))
    assert len(found[0]) == len(found[1]) == 4
    assert all(torch.equal(one[0], other[0]) and torch.equal(one[1], other[1]) for one, other in zip(*found))  # noqa: B905


@pytest.mark.parametrize("lengths", [(1, 9), (30, 3), (400, 2)])
def test_texts_of_a_balanced_epoch_come_in_batches_by_length_as_many_in_each_epoch(lengths: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    targets = [0] * 45 + [1] * 5
    arrays = [np.zeros((1, 1, int(length))) for place in targets for length in rng.integers(1, 5, 1) * lengths[place]]
    sampler = EpochSampler(50, 0, Balance.of(examples(targets, "ab")))
    batches = LengthBatches(arrays, 4, sampler)
    for epoch in range(12):
        sampler.set_epoch(epoch)
        found = list(batches)
        assert len(found) == len(batches)
        assert all(found)
        assert sorted(key for batch in found for key in batch) == sorted(sampler)
        assert Counter(targets[place % 50] for batch in found for _, place in batch) == {0: 25, 1: 25}


def test_texts_train_with_the_sampler_and_rare_ones_are_found(reviews: Path) -> None:
    task = TextClassifier(backbone="ngrams").fit(reviews, quiet=True, sampler="balanced", mixup=0.3, **FAST)
    assert task.history is not None
    assert all(np.isfinite(row["train_loss"]) for row in task.history.epochs)  # type: ignore[arg-type]
    assert task.predict("dull slow")[0].label == "bad"
    several = TextClassifier(backbone="ngrams").fit(tags(64), quiet=True, sampler="balanced", mixup=0.3, **FAST)
    assert several.history is not None


def test_the_sampler_trains_with_mixed_pictures_and_smoothed_labels(skewed: Path) -> None:
    task = ImageClassifier(**TINY).fit(
        skewed, sampler="balanced", mixup=0.2, cutmix=0.5, mix_off=0.0, label_smoothing=0.1, **QUICK
    )
    assert task.history is not None
    assert all(np.isfinite(row["train_loss"]) for row in task.history.epochs)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------------------
# The last layer


def heads(skewed: Path, **settings: Any) -> torch.Tensor:
    task = ImageClassifier(**TINY).fit(skewed, preset="quick", quiet=True, precision="32", **settings)
    assert task.network is not None
    assert task.network.head is not None
    return task.network.head.weight.detach()


def test_the_fitted_last_layer_weighs_examples_as_the_sampler_draws_them(skewed: Path) -> None:
    drawn, weighed, plain = (
        heads(skewed, **how) for how in ({"sampler": "balanced"}, {"class_weights": "balanced"}, {})
    )
    assert (drawn - weighed).norm() < 0.2 * (drawn - plain).norm()  # the search stops a little apart


def test_of_more_examples_than_are_needed_a_balanced_part_fits_the_last_layer(
    skewed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "_ENOUGH_FOR_HEAD", 12)
    looked: list[Examples] = []
    features = preparing.features

    def look(network: Any, found: Examples, *arguments: Any, **named: Any) -> Any:
        looked.append(found)
        return features(network, found, *arguments, **named)

    monkeypatch.setattr(preparing, "features", look)
    heads(skewed, sampler="balanced")
    assert looked[0].counts()[2] == 3  # all of the rarest
    assert len(looked[0]) <= 12


@pytest.mark.parametrize("several", [False, True])
def test_the_regression_of_drawn_examples_is_that_of_examples_repeated(several: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, generator=rng)
    places: list[Any] = [0] * 30 + [1] * 10
    targets = torch.tensor(places)
    if several:
        places, targets = [(0,)] * 30 + [(0, 1)] * 10, one_hot(targets, 2).float()
        targets[:, 0] = 1
    balance = Balance.of(examples(places, "ab"))
    often = (balance.weights[balance.rarest] * 3 * 40).round().astype(int) // (40 if not several else 1)
    repeated = torch.from_numpy(np.repeat(np.arange(40), (often / often.min()).round().astype(int)))
    scores = x @ torch.randn(3, 2, generator=rng)
    weighed = preparing._loss(scores, targets, None, balance)
    torch.testing.assert_close(weighed, preparing._loss(scores[repeated], targets[repeated], None, None))


def test_a_last_layer_is_fitted_where_no_validation_example_counts() -> None:
    x, targets = torch.randn(20, 4), torch.tensor([0, 1] * 10)
    weights = torch.tensor([1.0, 1.0, 0.0])
    held_out = (x, torch.full((20,), 2))
    weight, bias = preparing._logistic_regression((x, targets), held_out, 3, preparing._STRENGTHS, weights)
    assert weight.isfinite().all()
    assert bias.isfinite().all()


# ---------------------------------------------------------------------------------------------------------------------
# A run that is taken up again, and what its loaders hold


@pytest.mark.slow
def test_a_killed_run_with_the_sampler_ends_with_the_same_weights(skewed: Path, tmp_path: Path) -> None:
    settings = {**QUICK, "epochs": 3, "sampler": "balanced", "mixup": 0.2, "cutmix": 0.5, "mix_off": 0.0, "patience": 0}
    code = f"""
import os, signal, sys
import pytorch_lightning as pl
from recipes import ImageClassifier
class Cut(pl.Callback):
    def on_train_batch_end(self, trainer, *_):
        trainer.global_step == 6 and os.kill(os.getpid(), signal.SIGKILL)
ImageClassifier(**{TINY!r}).fit({str(skewed)!r}, out={str(tmp_path / "cut")!r}, callbacks=[Cut()], **{settings!r})
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    ImageClassifier(**TINY).fit(skewed, out=tmp_path / "cut", resume=True, **settings)
    ImageClassifier(**TINY).fit(skewed, out=tmp_path / "whole", **settings)
    whole, cut = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def test_loader_processes_get_names_and_labels_as_blocks(skewed: Path) -> None:
    batches, _ = ImageClassifier(**TINY).lightning(skewed)
    found = batches.splits.train
    many = found.take([place % len(found) for place in range(20_000)])
    letters = sum(map(len, many.inputs))
    encoded = EncodedExamples(many, batches.codec, batches.preset)
    assert len(pickle.dumps(encoded)) < letters + 20_000 * 16 + 10_000
    assert [encoded[place][1:] for place in (0, 19_999)] == [
        (many.targets[place], many.inputs[place]) for place in (0, 19_999)
    ]
    assert type(encoded[0][1]) is int


def test_a_batch_of_which_nothing_counts_teaches_nothing(skewed: Path) -> None:
    _, module = ImageClassifier(**TINY).lightning(skewed, class_weights="green=0")
    scores = torch.randn(4, 3, requires_grad=True)
    loss = module.loss(scores, torch.tensor([1] * 4))
    loss.backward()
    assert (loss.item(), scores.grad.abs().sum().item()) == (0, 0)


# ---------------------------------------------------------------------------------------------------------------------
# Notes


def noted(targets: list[Any], amounts: list[list[int]] | None = None) -> list[str]:
    return note_rare(Splits(examples([0, 1, 2]), examples(targets, amounts=amounts)))


def test_labels_that_are_too_rare_to_be_scored_are_named() -> None:
    assert noted([0] * 2 + [1] * 5 + [2] * 4) == [
        "2 labels have fewer than 5 examples for validation, so their own scores are rough: a (2), c (4)"
    ]
    assert noted([(0, 1)] * 5 + [()] * 3) == [
        "1 label has fewer than 5 examples for validation, so its own scores are rough: c (0)"
    ]
    assert noted([0, 1, 2] * 5) == []


def test_what_has_no_labels_of_its_own_gets_no_note() -> None:
    assert noted([]) == []
    assert noted([0.5, 1.5]) == []
    assert noted([None], amounts=[[3, 0, 0]]) == []
