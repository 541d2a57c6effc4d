"""Training settings by name: `default` and its kin, and how single settings are changed."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from recipes.errors import OptionError, did_you_mean
from recipes.images import Augment


@dataclass(frozen=True)
class Preset:
    """Every setting of a training run. Each can be changed by name: `fit(..., epochs=5)`, `--epochs 5`, `epochs: 5`.

    Args:
        epochs: how often the network sees every training picture; early stopping may end sooner.
        batch_size: pictures in one step.
        optimizer: any optimizer that timm or torch knows by name, such as `adamw`, `sgd` or `lion`.
        lr: the highest learning rate, reached after the warm-up, for the layers nearest the output.
        weight_decay: how strongly weights are pulled towards zero; biases and norms are left out.
        layer_decay: the factor from one layer's learning rate to that of the layer before it; 1 treats all alike.
        warmup: the share of all steps in which the learning rate rises from zero; a cosine lowers it afterwards.
        head_first: fit the last layer on the frozen network's features before the whole network is trained.
        clip_grad: the largest norm of a gradient; 0 for no limit.
        label_smoothing: the share of a label's weight that is spread over all labels, 0 to 1.
        mixup: the strength of mixing pairs of pictures and their labels; 0 for none.
        cutmix: the strength of pasting a part of one picture into another; 0 for none.
        crop_scale: the smallest share of a picture's area that a random crop keeps; 1 for no random crops.
        hflip: the probability of a mirrored picture.
        auto_augment: a random policy on top: none, trivialaugment or randaugment.
        random_erasing: the probability that a rectangle of the picture is erased.
        patience: stop after this many epochs without a better validation score; 0 never stops early.
        val_fraction: the share of each label's pictures set aside for validation where none is given.
        precision: auto (the faster of those that are safe here, tried for a few steps), 32, bf16 or fp16.
        seed: governs the split, the shuffling, the augmentation and new weights.
        workers: processes that read pictures; -1 chooses by the machine.
        devices: how many devices to train on.
        accelerator: auto, cpu, gpu, mps or another that Lightning knows.
    """

    epochs: int = 8
    batch_size: int = 32
    optimizer: str = "adamw"
    lr: float = 3e-4
    weight_decay: float = 0.05
    layer_decay: float = 0.85
    warmup: float = 0.1
    head_first: bool = True
    clip_grad: float = 1.0
    label_smoothing: float = 0.1
    mixup: float = 0.0
    cutmix: float = 0.0
    crop_scale: float = 0.5
    hflip: float = 0.5
    auto_augment: Literal["none", "trivialaugment", "randaugment"] = "none"
    random_erasing: float = 0.0
    patience: int = 4
    val_fraction: float = 0.2
    precision: Literal["auto", "32", "bf16", "fp16"] = "auto"
    seed: int = 0
    workers: int = -1
    devices: int = 1
    accelerator: str = "auto"

    def __post_init__(self) -> None:
        for name, problem in _problems(self):
            raise OptionError(f"{name}={getattr(self, name)!r} cannot be: {problem}")

    @property
    def augment(self) -> Augment:
        """The part of the settings that varies training pictures."""
        return Augment(
            **{item.name: getattr(self, item.name) for item in dataclasses.fields(Augment) if hasattr(self, item.name)}
        )


def find(preset: str | Preset, settings: Mapping[str, Any]) -> Preset:
    """A preset by name, or one of your own, with single settings changed.

    Raises:
        OptionError: there is no such preset or setting, or a value is of the wrong type or out of range.
    """
    if isinstance(preset, str):
        if preset not in PRESETS:
            known = ", ".join(PRESETS)
            raise OptionError(f"there is no preset {preset!r}{did_you_mean(preset, PRESETS)} (presets: {known})")
        preset = PRESETS[preset]
    kinds = setting_types()
    for name, value in settings.items():
        if name not in kinds:
            raise OptionError(f"there is no setting {name!r}{did_you_mean(name, kinds)}")
        if not _fits(value, kinds[name]):
            raise OptionError(f"{name} takes {in_words(kinds[name])}, found {value!r}")
    return dataclasses.replace(preset, **settings)


def sorted_out(preset: str | Preset, settings: Mapping[str, Any]) -> tuple[Preset, dict[str, Any]]:
    """The preset with those settings that are its own, and the others, which may be meant for Lightning's Trainer."""
    own = setting_types()
    others = {name: value for name, value in settings.items() if name not in own}
    return find(preset, {name: value for name, value in settings.items() if name in own}), others


@lru_cache
def setting_types() -> dict[str, Any]:
    """Every setting's name and type."""
    return typing.get_type_hints(Preset)


def _fits(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is Literal:
        return value in typing.get_args(kind)
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def in_words(kind: Any) -> str:
    """A type as a person would say it: `a whole number`, `one of a, b`."""
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(typing.get_args(kind))
    for part in typing.get_args(kind):  # an optional one
        if part is not type(None):
            return in_words(part)
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "a text")


def _problems(preset: Preset) -> list[tuple[str, str]]:
    """The settings whose values make no sense, and why."""
    shares = ("warmup", "label_smoothing", "hflip", "random_erasing", "val_fraction", "crop_scale", "layer_decay")
    rules: list[tuple[str, bool, str]] = [
        *((name, preset.__dict__[name] >= 1, "it is at least 1") for name in ("epochs", "batch_size", "devices")),
        *((name, 0 <= preset.__dict__[name] <= 1, "it is a share from 0 to 1") for name in shares),
        *(
            (name, preset.__dict__[name] >= 0, "it is not negative")
            for name in ("weight_decay", "clip_grad", "mixup", "cutmix", "patience", "seed")
        ),
        ("lr", preset.lr > 0, "it is greater than 0"),
        ("crop_scale", preset.crop_scale > 0, "a crop keeps some of the picture"),
        ("layer_decay", preset.layer_decay > 0, "it is greater than 0"),
        ("val_fraction", 0 < preset.val_fraction < 1, "some pictures are needed on either side"),
        ("workers", preset.workers >= -1, "it is -1 (by the machine), 0 or more"),
    ]
    return [(name, reason) for name, holds, reason in rules if not holds]


PRESETS: dict[str, Preset] = {
    "default": Preset(),
    "scratch": Preset(
        epochs=60, lr=2e-3, layer_decay=1.0, head_first=False, crop_scale=0.35, mixup=0.1, cutmix=0.5, patience=15
    ),
}
