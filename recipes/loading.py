"""Open a saved model of any task."""

from __future__ import annotations

import os

from recipes import artifact
from recipes.catalog import TASKS, task_class
from recipes.errors import ModelError, printable
from recipes.task import Task


def load(folder: str | os.PathLike[str]) -> Task:
    """Open a saved model, whatever its task: nothing in the folder is executed, and nothing is downloaded.

    Args:
        folder: a model folder, or `hf-hub:OWNER/NAME` for one on the Hugging Face Hub.

    Returns:
        The fitted task, ready to predict.

    Raises:
        ModelError: it is missing, damaged, unsafe, or from a newer version.
    """
    where = artifact.locate(folder)
    name = artifact.read_manifest(where).get("task")
    if not isinstance(name, str) or name not in TASKS:
        raise ModelError(f"{printable(where)} is of a task that is not known here: {printable(str(name), 40)}")
    return task_class(name).load(where)
