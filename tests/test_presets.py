"""Training settings: found by name, changed one by one, checked before anything runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import yaml

from recipes import Preset
from recipes.artifact import yaml_bytes
from recipes.errors import OptionError, did_you_mean
from recipes.presets import PRESETS, find, given_weights, in_words, setting_types, sorted_out


def test_a_preset_is_found_by_name_and_single_settings_are_changed() -> None:
    assert find("default", {}) == Preset()
    assert find("scratch", {"epochs": 3}) == dataclasses.replace(PRESETS["scratch"], epochs=3)
    assert find(Preset(lr=0.1), {"epochs": 3}) == Preset(lr=0.1, epochs=3)


def test_a_preset_is_a_plain_value() -> None:
    assert find("default", {"epochs": 3}) == find("default", {"epochs": 3})
    with pytest.raises(dataclasses.FrozenInstanceError):
        Preset().epochs = 3  # type: ignore[misc]
    assert PRESETS["default"] == Preset()


def test_whole_numbers_may_stand_for_numbers() -> None:
    assert find("default", {"lr": 1}).lr == 1


@pytest.mark.parametrize(
    ("name", "near"), [("defualt", "default"), ("Scratch", "scratch"), ("zzz", "presets: default")]
)
def test_a_wrong_preset_gets_the_nearest_right_one(name: str, near: str) -> None:
    with pytest.raises(OptionError, match=near):
        find(name, {})


@pytest.mark.parametrize(("name", "near"), [("epoch", "epochs"), ("batchsize", "batch_size"), ("LR", "lr")])
def test_a_wrong_setting_gets_the_nearest_right_one(name: str, near: str) -> None:
    with pytest.raises(OptionError, match=f"did you mean .*{near}"):
        find("default", {name: 1})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("epochs", "5", "a whole number"),
        ("epochs", 2.0, "a whole number"),
        ("epochs", True, "a whole number"),
        ("epochs", None, "a whole number"),
        ("lr", "fast", "a number"),
        ("lr", True, "a number"),
        ("head_first", 1, "true or false"),
        ("optimizer", 3, "a text"),
        ("precision", "64", "one of auto, 32, bf16, fp16"),
        ("precision", 32, "one of auto, 32, bf16, fp16"),
        ("auto_augment", ["none"], "one of none"),
        ("sampler", "blanced", "one of shuffled, balanced"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_in_words(name: str, value: Any, words: str) -> None:
    with pytest.raises(OptionError, match=f"{name} takes {words}"):
        find("default", {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", -1),
        ("batch_size", 0),
        ("devices", 0),
        ("lr", 0.0),
        ("lr", -1e-3),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("weight_decay", -0.1),
        ("weight_decay", float("inf")),
        ("clip_grad", -1.0),
        ("clip_grad", float("nan")),
        ("mixup", -0.1),
        ("cutmix", -0.1),
        ("cutmix", float("inf")),
        ("warmup", 1.1),
        ("layer_decay", 0.0),
        ("label_smoothing", -0.1),
        ("hflip", 1.5),
        ("crop_scale", 0.0),
        ("random_erasing", 2.0),
        ("val_fraction", 0.0),
        ("val_fraction", 1.0),
        ("val_fraction", float("nan")),
        ("patience", -1),
        ("seed", -1),
        ("workers", -2),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{name}=.* cannot be: "):
        find("default", {name: value})
    with pytest.raises(OptionError):
        Preset(**{name: value})


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"dog": 1, "cat": 2.0}, "cat=2,dog=1"),
        (" dog = 1, cat = 2 ", "cat=2,dog=1"),
        ('{"dog": 1, "cat": 2}', "cat=2,dog=1"),
        ({1: 0.1, "Köln": 0}, "1=0.1,Köln=0"),
        ({"cat": np.float32(0.5), "dog": np.int64(3)}, "cat=0.5,dog=3"),
        ('{"a, b": 2, "c=d": 1}', '{"a, b": 2, "c=d": 1}'),
        ("c=d=1", '{"c=d": 1}'),
        ({"caf\udce9": 2}, '{"caf\\udce9": 2}'),
        ({"{a": 1e-6, " b": 1e6}, '{" b": 1000000, "{a": 1e-06}'),
        ("none", "none"),
        ("balanced", "balanced"),
    ],
)
def test_weights_of_labels_are_one_text_however_they_are_given(given: Any, text: str) -> None:
    preset = find("default", {"class_weights": given})
    assert preset.class_weights == text
    assert Preset(**dataclasses.asdict(preset)) == preset
    assert yaml.safe_load(yaml_bytes(dataclasses.asdict(preset))) == dataclasses.asdict(preset)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("balance", "did you mean balanced"),
        ("", "none, balanced, or what labels count"),
        (None, "none, balanced, or what labels count"),
        ([1, 2], "none, balanced, or what labels count"),
        ({}, "it names no label"),
        ("{}", "it names no label"),
        ('{"cat": 2', "no JSON object"),
        ("cat=2,dog", "'dog' has no number, as in cat=2"),
        ("cat=2,", "'' has no number"),
        ("cat=2,cat=3", "'cat' is named twice"),
        ('{"cat": 2, "cat": 3}', "'cat' is named twice"),
        ({1: 2, "1": 3}, "'1' is named twice"),
        ({("cat",): 2}, "is no name of a label"),
        ("cat=two", "found 'two'"),
        ("cat=-1", r"'cat' counts 0 \(left out\) or a number from 0.000001 to 1,000,000, found -1"),
        ({"cat": float("nan")}, "found nan"),
        ('{"cat": Infinity}', "found inf"),
        ({"cat": 10**400}, "found 1000"),
        ({"cat": True}, "found True"),
        ({"cat": "2"}, "found '2'"),
        ('{"cat": {"dog": 1}}', "found"),
    ],
)
def test_weights_that_make_no_sense_are_refused(given: Any, words: str) -> None:
    with pytest.raises(OptionError, match=f"^class_weights=.* cannot be: .*{words}"):
        find("default", {"class_weights": given})


def test_weights_for_unknown_labels_name_the_nearest_and_those_there_are() -> None:
    assert given_weights("cat=2", ("cat", "dog")) == [2.0, 1.0]
    with pytest.raises(OptionError, match=r"'cta', which is no label; did you mean cat\? \(labels: cat, dog\)"):
        given_weights("cta=2", ("cat", "dog"))
    with pytest.raises(OptionError, match=r"\(labels: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 90 more\)"):
        given_weights("cat=2", tuple(map(str, range(100))))


@pytest.mark.parametrize("weights", ["balanced", "cat=2"])
def test_weights_and_the_balanced_sampler_would_count_twice(weights: str) -> None:
    with pytest.raises(OptionError, match=r"sampler=.*a second time; take class_weights=none with it, or sampler=shuf"):
        find("default", {"sampler": "balanced", "class_weights": weights})
    assert find("default", {"sampler": "balanced"}).sampler == "balanced"


def test_settings_of_the_trainer_are_kept_apart() -> None:
    preset, others = sorted_out("default", {"epochs": 2, "max_steps": 3})
    assert (preset.epochs, others) == (2, {"max_steps": 3})


def test_the_augmentation_is_a_part_of_the_preset() -> None:
    augment = Preset(crop_scale=0.3, hflip=0.2, auto_augment="randaugment", random_erasing=0.1).augment
    assert (augment.crop_scale, augment.hflip, augment.auto_augment, augment.random_erasing) == (
        0.3,
        0.2,
        "randaugment",
        0.1,
    )


def test_every_setting_is_documented_and_has_a_type() -> None:
    documented = Preset.__doc__ or ""
    for name in setting_types():
        assert f"        {name}: " in documented.replace("\n    ", "\n        ").replace("            ", "        ")


def test_types_are_said_in_words() -> None:
    assert in_words(int | None) == "a whole number"
    assert in_words(str) == "a text"


def test_near_names_are_found_across_case_and_nothing_is_guessed() -> None:
    assert did_you_mean("RESNET18", ["resnet18", "vit"]) == "; did you mean resnet18?"
    assert did_you_mean("qqq", ["resnet18", "vit"]) == ""
