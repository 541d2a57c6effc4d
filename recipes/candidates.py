"""Several networks for one task: their names, a task for each, and what all of them share."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from recipes.errors import OptionError, RecipesError
from recipes.examples import Splits

if TYPE_CHECKING:
    from recipes.presets import Preset
    from recipes.task import Task


def split_names(names: str | Sequence[str]) -> list[str]:
    """Names from a text with commas or a list, each once, without blanks."""
    given = names.split(",") if isinstance(names, str) else names
    return list(dict.fromkeys(name.strip() for name in given if name.strip()))


def with_backbone(task: Task, name: str) -> Task:
    """A new task with the same options and another backbone.

    Raises:
        OptionError: the task does not take it.
    """
    if not hasattr(task, "backbone"):
        raise OptionError(f"{task.command} has no backbone to choose")
    return cast("Task", dataclasses.replace(cast(Any, task), backbone=name))


def read(task: Task, data: Any, val: Any, preset: Preset) -> Splits:
    """The examples that all fits share; no backbone changes how they are read."""
    reading = task.reading(preset)
    return data.again(val, reading) if isinstance(data, Splits) else task.read(data, val, reading)


def in_one_line(error: Exception) -> str:
    """Why something failed: the words of an error of ours, type and words of any other."""
    words = str(error) if isinstance(error, RecipesError) else f"{type(error).__name__}: {error}"
    return " ".join(words.split()).rstrip(": ")


def give_back_memory() -> None:
    """Give back what a network has taken, before the next one begins."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
