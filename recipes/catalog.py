"""The tasks: the name in the shell and where the class lives. A new task is one line here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from recipes.errors import OptionError, did_you_mean

if TYPE_CHECKING:
    from recipes.task import Task

#: Command name → (module, class, what it learns, in words a user would say).
TASKS: dict[str, tuple[str, str, str]] = {
    "image-classifier": (
        "recipes.tasks.image_classifier",
        "ImageClassifier",
        "which of several labels a picture shows",
    ),
    "image-regressor": (
        "recipes.tasks.image_regressor",
        "ImageRegressor",
        "the number that belongs to a picture, such as an age",
    ),
    "segmenter": (
        "recipes.tasks.segmenter",
        "Segmenter",
        "which label each pixel of an image has",
    ),
    "text-classifier": (
        "recipes.tasks.text_classifier",
        "TextClassifier",
        "which of several labels a text has, or which of them",
    ),
}


def task_class(name: str) -> type[Task]:
    """The class of a task by its command name, such as `image-classifier`.

    Raises:
        OptionError: there is no such task; the nearest names are in the message.
    """
    if name not in TASKS:
        raise OptionError(f"there is no task {name!r}{did_you_mean(name, TASKS)} (tasks: {', '.join(TASKS)})")
    module, attribute, _ = TASKS[name]
    found: type[Task] = getattr(importlib.import_module(module), attribute)
    return found
