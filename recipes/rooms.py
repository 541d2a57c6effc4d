"""What a study searches: for each setting the numbers between two ends, or some choices."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recipes import presets
from recipes.errors import OptionError, did_you_mean, printable

if TYPE_CHECKING:
    from recipes.presets import Preset
    from recipes.task import Task

# Mixing needs many epochs to pay, so shorter runs do not try it unless they are asked to.
_ENOUGH_TO_MIX = 10

# What would change the split, the machine, or how long a trial may learn, so that trials could not be compared.
_SHARED = {
    *("epochs", "time", "val_fraction", "seed", "precision", "compile", "logger", "cache", "workers", "devices"),
    *("num_nodes", "strategy", "accelerator", "find_lr", "find_batch_size"),
}

# What the fit of a last layer depends on; how views are varied only where there are any.
_OF_HEAD = {"views", "mirror", "sampler", "class_weights"}
_OF_VIEWS = {"crop_scale", "hflip", "color_jitter", "auto_augment", "random_erasing"}


@dataclass(frozen=True)
class Span:
    """The numbers between two ends that a setting may take; `log` says that their magnitudes are equally likely."""

    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


Room = Span | tuple[Any, ...]


def nearest(room: Room, value: Any) -> Any:
    """The value itself where the room has it, or else the end that is nearer, or the first choice."""
    if isinstance(room, Span):
        return min(max(value, room.low), room.high)
    return value if value in room else room[0]


def own_rooms(preset: Preset) -> dict[str, Room]:
    """What a setting may be where nobody says; the preset's own value is always within."""
    decay = preset.weight_decay
    found: dict[str, Room] = {
        "lr": Span(preset.lr / 10, preset.lr * 10, log=True),
        "weight_decay": Span(decay / 100, decay * 10, log=True) if decay else (0.0, 1e-5, 1e-4, 1e-3, 1e-2),
        "layer_decay": Span(0.6, 1.0),
        "label_smoothing": Span(0.0, 0.2),
        "crop_scale": Span(0.2, 1.0),
        "hflip": (0.0, 0.5),
        "color_jitter": Span(0.0, 0.4),
        "auto_augment": ("none", "trivialaugment", "randaugment"),
        "random_erasing": Span(0.0, 0.5),
        "mixup": Span(0.0, 0.4),
        "cutmix": Span(0.0, 1.0),
        "batch_size": tuple(max(2, int(preset.batch_size * factor)) for factor in (0.5, 1, 2, 4)),
    }
    return {name: _widened(room, getattr(preset, name)) for name, room in found.items()}


def _widened(room: Room, value: Any) -> Room:
    if isinstance(room, Span):
        return dataclasses.replace(room, low=min(room.low, value), high=max(room.high, value))
    return tuple(dict.fromkeys(room if value in room else (*room, value)))


def search_space(
    task: Task, data: Any, preset: Preset, search: str | Sequence[str] | Mapping[str, Any], backbones: Sequence[str]
) -> dict[str, Room]:
    """The settings that are searched, each with what it may be.

    Args:
        task: the task.
        data: what it is to be fitted on; the task says what it has use for.
        preset: the settings to start from.
        search: names of settings, in one text with commas or in a list, each alone or as `lr=1e-5..1e-2` or
            `hflip=0|0.5`; or a mapping with (low, high), a list of choices, or None for each name. Nothing for those
            that suit the task.
        backbones: the networks to choose from; searched if there are several.

    Raises:
        OptionError: a name or a range is wrong, or searching it would change nothing.
    """
    own, asked = own_rooms(preset), _asked(search)
    found: dict[str, Room] = {}
    for name, given in (asked or dict.fromkeys(_unasked(preset, own))).items():
        room = _room(name, given, preset, own)
        problem = _useless(name, task, data, preset, room)
        if problem and asked:
            raise OptionError(f"{name} cannot be searched: {problem}")
        if not problem:
            found[name] = room
    if len(backbones) > 1:
        found["backbone"] = tuple(backbones)
    if not found:
        views = "; with epochs=0 and views=1 what varies the views is searched" if not preset.epochs else ""
        raise OptionError(
            f"there is nothing to search; name settings with search=..., or several networks in backbones{views}"
        )
    return found


def _asked(search: str | Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """By name what a setting may be, as it was given; None where it is the setting's own room."""
    if isinstance(search, Mapping):
        return dict(search)
    found: dict[str, Any] = {}
    entries = [word.strip() for word in (search.split(",") if isinstance(search, str) else search)]
    if len(entries) > 1 and not any(entries):
        raise OptionError("search names no setting; leave it away to search those that suit the task")
    for entry in filter(None, entries):
        name, equals, room = (word.strip() for word in entry.partition("="))
        if name in found:
            raise OptionError(f"search names {printable(name)!r} twice")
        found[name] = room if equals else None
    return found


def _room(name: str, given: Any, preset: Preset, own: Mapping[str, Room]) -> Room:
    """What a setting may be: what was given, or its own room.

    Raises:
        OptionError: it is no setting that can be searched, or nothing that it may be.
    """
    known = [one for one in presets.setting_types() if one not in _SHARED]
    if name not in known:
        raise OptionError(
            f"search cannot take {printable(str(name))!r}{did_you_mean(str(name), known)} (it takes {', '.join(own)}; "
            f"others with a range or choices, as in warmup=0..0.2; networks are given with backbones)"
        )
    if given is None and name in own:
        return own[name]
    if isinstance(given, str) and "..." in given:  # `1e-5...1e-2` would go up to .1e-2
        raise _no_room(
            name, "a range has two dots, as in lr=1e-5..1e-2, and numbers begin with a digit, as in 0.1..0.5"
        )
    if isinstance(given, str):
        given = tuple(given.split("..", 1)) if ".." in given else given.split("|")
    if not isinstance(given, (tuple, list)) or "" in given:
        raise _no_room(name, "a range or choices are missing, as in lr=1e-5..1e-2 or hflip=0|0.5")
    values = [_value(name, value, preset) for value in given]
    if isinstance(given, list):
        if len(set(values)) < 2:
            raise _no_room(name, f"one choice is no search; as a setting it is {name}={given[0]}")
        return tuple(dict.fromkeys(values))
    if len(values) != 2 or _kind(name) not in (int, float):
        raise _no_room(name, "a range is two numbers, low and high; give choices, as in sampler=shuffled|balanced")
    low, high = values
    if low >= high:
        wrong = f"is backwards; take {high:g}..{low:g}" if low > high else "holds one number"
        raise _no_room(name, f"the range {low:g}..{high:g} {wrong}")
    room = own.get(name)
    return Span(low, high, log=low > 0 and (high / low > 10 or (isinstance(room, Span) and room.log)))


def _value(name: str, value: Any, preset: Preset) -> Any:
    """A value of a setting, read from text where it is one.

    Raises:
        OptionError: the preset does not take it.
    """
    kind = _kind(name)
    if isinstance(value, str):
        value = value.strip()
        if kind is bool:
            value = {"true": True, "false": False}.get(value, value)
        elif kind in (int, float):
            with contextlib.suppress(ValueError):  # what is no number stays a text, which the preset refuses in words
                value = kind(value)
    try:
        taken = getattr(presets.find(preset, {name: value}), name)
    except OptionError as error:
        raise _no_room(name, str(error)) from error
    return float(taken) if kind is float else taken


def _kind(name: str) -> Any:
    return presets.setting_types()[name]


def _no_room(name: str, problem: str) -> OptionError:
    return OptionError(f"{name} cannot be searched: {problem}")


def _unasked(preset: Preset, rooms: Mapping[str, Room]) -> list[str]:
    """What is searched where nobody says what: learning rate, weight decay and augmentation, as far as they act."""
    left_out = {"batch_size", "random_erasing"}
    if preset.epochs < _ENOUGH_TO_MIX:
        left_out |= {"mixup", "cutmix"}
    if preset.layer_decay == 1:  # a network that is learnt from nothing
        left_out.add("layer_decay")
    if not preset.weight_decay:
        left_out.add("weight_decay")
    if not preset.label_smoothing:
        left_out.add("label_smoothing")
    if preset.mirror:  # which asks for mirrored pictures in training
        left_out.add("hflip")
    return [name for name in rooms if name not in left_out]


def _useless(name: str, task: Task, data: Any, preset: Preset, room: Room) -> str | None:
    """Why searching a setting cannot work for this task and preset; None if it can."""
    if name in task.foreign:
        return f"{task.command} has no use for it"
    if preset.epochs == 0 and name not in (_OF_HEAD | _OF_VIEWS if preset.views else _OF_HEAD):
        return "epochs=0 fits the last layer alone, and it changes nothing there"
    if name == "lr" and preset.find_lr:
        return "find_lr=True looks for it in each trial"
    if name == "batch_size" and preset.find_batch_size:
        return "find_batch_size=True looks for it in each trial"
    try:
        for value in (room.low, room.high) if isinstance(room, Span) else room:
            task.check(data, dataclasses.replace(preset, **{name: value}))
    except OptionError as error:
        return str(error)
    return None
