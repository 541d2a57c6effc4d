"""Training settings: found by name, changed one by one, checked before anything runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from recipes import Preset
from recipes.errors import OptionError, did_you_mean
from recipes.presets import PRESETS, find, in_words, setting_types, sorted_out


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
