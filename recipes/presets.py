"""Training settings by name: `default` and its kin, and how single settings are changed."""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from recipes.display import listed
from recipes.errors import OptionError, did_you_mean, printable
from recipes.images import Augment

# Settings that count something that has to be there.
_AT_LEAST_1 = ("batch_size", "accumulate", "devices", "num_nodes", "window")

# Outside of these a weight could not be told from 0, or make the loss infinite, in the network's float32.
_LEAST_WEIGHT, _MOST_WEIGHT = 1e-6, 1e6


@dataclass(frozen=True)
class Preset:
    """Every setting of a training run. Each can be changed by name: `fit(..., epochs=5)`, `--epochs 5`, `epochs: 5`.

    Args:
        epochs: how often the network sees every training example; early stopping may end sooner, and 0 fits the
            last layer alone.
        batch_size: examples in one step, of all devices together; of texts as many tokens as this many have on
            average.
        find_batch_size: take the largest batch that fits into memory and leaves ten steps in an epoch; of n-grams,
            which fit anyway, a hundred.
        optimizer: any optimizer that timm or torch knows by name, such as `adamw`, `sgd` or `lion`.
        lr: the highest learning rate, reached after the warm-up, for the layers nearest the output.
        find_lr: try rising learning rates for a hundred steps first, and take one instead of `lr`.
        weight_decay: how strongly weights are pulled towards zero; biases and norms are left out.
        layer_decay: the factor from one layer's learning rate to that of the layer before it; 1 treats all alike.
        warmup: the share of all steps in which the learning rate rises from zero; a cosine lowers it afterwards.
        head_first: fit the last layer on the frozen network's features before the whole network is trained.
        views: augmented views of each picture that the last layer is fitted on besides the picture itself.
        freeze: how many of the network's first stages are left as they are; -1 is all but the last layer.
        freeze_bn: leave the running figures of batch norms as pretraining left them; those of new networks are learnt.
        ema: decay of the moving average of the weights that is validated and kept; 0 for the weights themselves.
        accumulate: steps whose gradients are added up before the weights change, for a larger batch in little memory.
        clip_grad: the largest norm of a gradient; 0 for no limit.
        label_smoothing: the share of a label's weight that is spread over all labels, 0 to 1.
        class_weights: what labels count in the loss: none (all alike), balanced (those with few examples as much as
            those with many), or weights such as `cat=2,dog=0.5`, in Python also `{"cat": 2, "dog": 0.5}`; for names
            with a comma a JSON object. A label that is not named counts 1; 0 leaves one out.
        sampler: shuffled shows every example once in an epoch, balanced every label equally often.
        mixup: the strength of mixing pairs of pictures (of texts the embeddings) and their labels; 0 for none.
        cutmix: the strength of pasting a part of one picture into another; 0 for none.
        mix_off: the share of all epochs, at the end, in which nothing is mixed.
        crop_scale: the smallest share of a picture's area that a random crop keeps; 1 for no random crops.
        hflip: the probability of a mirrored picture.
        color_jitter: by how much brightness, contrast and saturation vary; 0.2 is up to a fifth more or less.
        auto_augment: a random policy on top: none, trivialaugment or randaugment.
        random_erasing: the probability that a rectangle of the picture is erased.
        mirror: predict each picture twice, once mirrored, and take the mean.
        patience: stop after this many epochs without a better validation score; 0 never stops early.
        time: stop after this long, such as `30s`, `10m` or `1h30m`, and keep the best so far; empty for no limit.
        val_fraction: the share of each label's examples set aside for validation where none is given.
        precision: auto (the faster of those that are safe here, tried for a few steps), 32, bf16 or fp16.
        compile: compile the network before training; pays on a GPU in long runs.
        logger: also log to `tensorboard`, `wandb` or `csv` (an extra package each, but for the last).
        window: examples of a stream of shards in an epoch; so many lie in memory, and as many for the next epoch.
        seed: governs the split, the shuffling, the augmentation and new weights.
        cache: keep what the frozen network sees in each example on disk, so that the next run need not look again.
        workers: processes that read examples; -1 chooses by the machine.
        devices: how many devices of this machine to train on; of a CPU, how many processes. They share each batch.
        num_nodes: how many machines take part; a launcher such as torchrun or SLURM starts the command on each.
        strategy: how devices work together: auto (which is ddp), ddp (each has the whole network) or fsdp (each keeps a
            part of it).
        accelerator: auto, cpu, gpu, mps or another that Lightning knows.
    """

    epochs: int = 8
    batch_size: int = 32
    find_batch_size: bool = False
    optimizer: str = "adamw"
    lr: float = 3e-4
    find_lr: bool = False
    weight_decay: float = 0.05
    layer_decay: float = 0.85
    warmup: float = 0.1
    head_first: bool = True
    views: int = 0
    freeze: int = 0
    freeze_bn: bool = True
    ema: float = 0.0
    accumulate: int = 1
    clip_grad: float = 1.0
    label_smoothing: float = 0.1
    class_weights: str = "none"
    sampler: Literal["shuffled", "balanced"] = "shuffled"
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_off: float = 0.15
    crop_scale: float = 0.5
    hflip: float = 0.5
    color_jitter: float = 0.0
    auto_augment: Literal["none", "trivialaugment", "randaugment"] = "none"
    random_erasing: float = 0.0
    mirror: bool = False
    patience: int = 4
    time: str = ""
    val_fraction: float = 0.2
    precision: Literal["auto", "32", "bf16", "fp16"] = "auto"
    compile: bool = False
    logger: Literal["none", "tensorboard", "wandb", "csv"] = "none"
    window: int = 10_000
    seed: int = 0
    cache: bool = True
    workers: int = -1
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    accelerator: str = "auto"

    def __post_init__(self) -> None:
        # However weights are given, equal ones are one text: presets compare, and go into YAML and into flags.
        object.__setattr__(self, "class_weights", _as_text(self.class_weights))
        for name, problem in _problems(self):
            raise OptionError(f"{name}={getattr(self, name)!r} cannot be: {problem}")

    @property
    def augment(self) -> Augment:
        """The part of the settings that varies training pictures."""
        return Augment(
            **{item.name: getattr(self, item.name) for item in dataclasses.fields(Augment) if hasattr(self, item.name)}
        )


def find(preset: str | Preset, settings: Mapping[str, Any], named: Mapping[str, Preset] | None = None) -> Preset:
    """A preset by name, or one of your own, with single settings changed.

    Args:
        preset: the preset.
        settings: what to change.
        named: the presets that there are, by name; those for pictures if not given.

    Raises:
        OptionError: there is no such preset or setting, or a value is of the wrong type or out of range.
    """
    if isinstance(preset, str):
        named = PRESETS if named is None else named
        if preset not in named:
            known = ", ".join(named)
            raise OptionError(f"there is no preset {preset!r}{did_you_mean(preset, named)} (presets: {known})")
        preset = named[preset]
    kinds = setting_types()
    for name, value in settings.items():
        if name not in kinds:
            raise OptionError(f"there is no setting {name!r}{did_you_mean(name, kinds)}")
        # Weights may be a mapping, too; a preset says itself what it takes.
        if name != "class_weights" and not _fits(value, kinds[name]):
            raise OptionError(f"{name} takes {in_words(kinds[name])}, found {value!r}")
    return dataclasses.replace(preset, **settings)


def sorted_out(
    preset: str | Preset, settings: Mapping[str, Any], named: Mapping[str, Preset] | None = None
) -> tuple[Preset, dict[str, Any]]:
    """The preset with those settings that are its own, and the others, which may be meant for Lightning's Trainer."""
    own = setting_types()
    others = {
        name: value
        for name, value in settings.items()
        if name not in own or (name == "logger" and not isinstance(value, str))  # one of Lightning's
    }
    return find(preset, {name: value for name, value in settings.items() if name not in others}, named), others


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


# ---------------------------------------------------------------------------------------------------------------------
# What labels count


def given_weights(class_weights: str, labels: Sequence[str]) -> list[float]:
    """What each label counts, in order, where `class_weights` gives numbers; 1 for a label that is not named.

    Raises:
        OptionError: a name is none of the labels.
    """
    given = _read_weights(class_weights)
    for name in given:
        if name not in labels:
            raise OptionError(
                f"class_weights names {printable(name)!r}, which is no label{did_you_mean(name, labels)} (labels: "
                f"{listed(labels, 10)})"
            )
    return [given.get(label, 1.0) for label in labels]


def _as_text(class_weights: Any) -> str:
    """`none`, `balanced`, or weights by name as one text, the same for equal weights."""
    if isinstance(class_weights, str) and class_weights in ("none", "balanced"):
        return class_weights
    weights = dict(sorted(_read_weights(class_weights).items()))
    plain = {label: int(weight) if weight == int(weight) else weight for label, weight in weights.items()}
    if all(label == label.strip() and label.isprintable() and not re.search("^{|^$|[,=]", label) for label in plain):
        return ",".join(f"{label}={weight!r}" for label, weight in plain.items())
    # A file's name may hold bytes that are no UTF-8, which YAML cannot hold.
    return json.dumps(plain, ensure_ascii=not "".join(plain).isprintable())


def _read_weights(given: Any) -> dict[str, float]:
    """Weights by name, from a mapping, a JSON object, or a text such as `cat=2,dog=1`."""
    pairs: Iterable[tuple[Any, Any]]
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif isinstance(given, str) and given.lstrip().startswith("{"):
        pairs = _json_pairs(given)
    elif isinstance(given, str) and "=" in given:
        pairs = [_pair(part, given) for part in given.split(",")]
    else:
        near = did_you_mean(given, ("none", "balanced"), most=1) if isinstance(given, str) else ""
        raise _no_weights(given, f"it is none, balanced, or what labels count, such as cat=2,dog=1{near}")
    weights: dict[str, float] = {}
    for label, weight in pairs:
        if not isinstance(label, (str, numbers.Integral)):
            raise _no_weights(given, f"{label!r:.40} is no name of a label")
        if str(label) in weights:
            raise _no_weights(given, f"{printable(str(label))!r} is named twice")
        weights[str(label)] = _checked_weight(str(label), weight, given)
    if not weights:
        raise _no_weights(given, "it names no label; take none")
    return weights


def _json_pairs(text: str) -> list[tuple[Any, Any]]:
    try:
        # Pairs, because a name that stands there twice would be lost in a dict.
        found: list[tuple[Any, Any]] = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise _no_weights(text, 'it is no JSON object, such as {"a, b": 2, "c": 1}') from error
    return found


def _pair(part: str, text: str) -> tuple[str, Any]:
    """The label and the number of `cat=2`."""
    label, equals, number = part.rpartition("=")
    if not equals:
        raise _no_weights(
            text,
            f"{printable(part.strip(), 40)!r} has no number, as in cat=2; names with a comma stand in a JSON object, "
            f'such as {{"a, b": 2}}',
        )
    try:
        return label.strip(), float(number)
    except ValueError:
        return label.strip(), number


def _checked_weight(label: str, weight: Any, given: Any) -> float:
    is_number = isinstance(weight, numbers.Real) and not isinstance(weight, bool)
    if is_number and (weight == 0 or _LEAST_WEIGHT <= weight <= _MOST_WEIGHT):
        return abs(float(weight))  # of -0.0
    raise _no_weights(
        given,
        f"{printable(label)!r} counts 0 (left out) or a number from 0.000001 to 1,000,000, found "
        f"{printable(str(weight) if is_number else repr(weight), 40)}",
    )


def _no_weights(given: Any, problem: str) -> OptionError:
    return OptionError(f"class_weights={printable(repr(given), 80)} cannot be: {problem}")


def seconds(time: str) -> int:
    """`1h30m` as seconds; 0 where it has no such form."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", time.replace(" ", ""))
    hours, minutes, rest = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    return 3600 * hours + 60 * minutes + rest


def _problems(preset: Preset) -> list[tuple[str, str]]:
    """The settings whose values make no sense, and why."""
    shares = (
        "warmup",
        "label_smoothing",
        "mix_off",
        "hflip",
        "random_erasing",
        "color_jitter",
        "val_fraction",
        "crop_scale",
        "layer_decay",
    )
    numbers = [name for name, value in preset.__dict__.items() if isinstance(value, float)]
    rules: list[tuple[str, bool, str]] = [
        *((name, math.isfinite(preset.__dict__[name]), "it is a finite number") for name in numbers),
        *((name, preset.__dict__[name] >= 1, "it is at least 1") for name in _AT_LEAST_1),
        *((name, 0 <= preset.__dict__[name] <= 1, "it is a share from 0 to 1") for name in shares),
        *(
            (name, preset.__dict__[name] >= 0, "it is not negative")
            for name in ("epochs", "weight_decay", "clip_grad", "mixup", "cutmix", "views", "patience", "seed")
        ),
        ("epochs", preset.epochs > 0 or preset.head_first, "nothing would be trained (head_first is off, too)"),
        ("lr", preset.lr > 0, "it is greater than 0"),
        (
            "find_lr",
            preset.epochs > 0 or not preset.find_lr,
            "epochs=0 needs no learning rate",
        ),
        ("ema", 0 <= preset.ema < 1, "it is a decay from 0 to less than 1"),
        ("freeze", preset.freeze >= -1, "it is -1 (all but the last layer), 0 or more"),
        (
            "sampler",
            preset.sampler == "shuffled" or preset.class_weights == "none",
            f"class_weights={preset.class_weights!r} would count rare labels a second time; take class_weights=none "
            f"with it, or sampler=shuffled",
        ),
        ("time", not preset.time or seconds(preset.time) > 0, "it has a form such as 30s, 10m or 1h30m"),
        ("crop_scale", preset.crop_scale > 0, "a crop keeps some of the picture"),
        ("layer_decay", preset.layer_decay > 0, "it is greater than 0"),
        ("val_fraction", 0 < preset.val_fraction < 1, "some examples are needed on either side"),
        (
            "mirror",
            preset.hflip > 0 or not preset.mirror,
            "hflip=0 trains on none; take mirror=False",
        ),
        ("workers", preset.workers >= -1, "it is -1 (by the machine), 0 or more"),
    ]
    return [(name, reason) for name, holds, reason in rules if not holds]


PRESETS: dict[str, Preset] = {
    "default": Preset(),
    "quick": Preset(epochs=0, mirror=True),
    "best": Preset(
        epochs=30,
        lr=5e-4,
        crop_scale=0.35,
        auto_augment="trivialaugment",
        mixup=0.1,
        cutmix=0.5,
        ema=0.998,
        mirror=True,
        patience=10,
    ),
    "scratch": Preset(
        epochs=60, lr=2e-3, layer_decay=1.0, head_first=False, crop_scale=0.35, mixup=0.1, cutmix=0.5, patience=15
    ),
}

# Masks give a label to each pixel, so that few images teach much; steps are small, because crops are dear.
_MASKS = Preset(
    epochs=30,
    batch_size=8,
    lr=1e-3,
    head_first=False,
    label_smoothing=0.0,
    color_jitter=0.2,
    patience=10,
)

# Texts are not varied; a pretrained encoder needs small steps, and few of them.
_TEXTS = Preset(
    epochs=6,
    lr=1e-4,
    weight_decay=0.01,
    crop_scale=1.0,
    hflip=0.0,
    val_fraction=0.1,
    patience=4,
)

TEXT_PRESETS: dict[str, Preset] = {
    "default": _TEXTS,
    "quick": dataclasses.replace(_TEXTS, epochs=0),
    "best": dataclasses.replace(_TEXTS, epochs=10, ema=0.998, patience=5),
    "scratch": dataclasses.replace(_TEXTS, epochs=30, lr=5e-4, layer_decay=1.0, head_first=False, patience=8),
}

# N-grams are learnt from nothing. Each batch changes few of the embeddings, which AdaGrad takes into account (Duchi et
# al. 2011). The embeddings are many, and a step that touches them all pays for a large batch only.
_NGRAMS = dataclasses.replace(
    _TEXTS,
    epochs=3,
    find_batch_size=True,
    optimizer="adagrad",
    lr=0.5,
    weight_decay=0.0,
    layer_decay=1.0,
    head_first=False,
    clip_grad=0.0,
    precision="32",
    patience=3,
)

NGRAM_PRESETS: dict[str, Preset] = {
    "default": _NGRAMS,
    "quick": dataclasses.replace(_NGRAMS, epochs=2),
    "best": dataclasses.replace(_NGRAMS, epochs=8),
    "scratch": _NGRAMS,
}

MASK_PRESETS: dict[str, Preset] = {
    "default": _MASKS,
    "quick": dataclasses.replace(_MASKS, epochs=8, freeze=-1, lr=2e-3, patience=4),
    "best": dataclasses.replace(_MASKS, epochs=80, cutmix=1.0, ema=0.99, mirror=True, patience=25),
    "scratch": dataclasses.replace(_MASKS, epochs=100, lr=2e-3, layer_decay=1.0, patience=30),
}
