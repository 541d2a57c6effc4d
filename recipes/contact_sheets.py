"""Pictures for people to look at after a run: what the network was shown, and where it is wrong."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recipes import artifact
from recipes.data import DataModule, EncodedExamples
from recipes.errors import DataError
from recipes.mask_files import grid

if TYPE_CHECKING:
    from recipes.results import Evaluation
    from recipes.task import Task

_ROWS, _ACROSS = 6, 4

Cells = Sequence[tuple[Any, str]]


def drawn(task: Task, data: DataModule, evaluation: Evaluation) -> dict[str, bytes]:
    """Files by name: training examples as the network sees them, and the worst of the validation examples.

    Texts are not drawn; the worst of them are a table.

    Args:
        task: the fitted task.
        data: the run's data.
        evaluation: the scores on the validation examples.
    """
    if data.codec.ragged:
        return {artifact.MISTAKES: evaluation.worst_csv().encode("utf-8", "replace")} if evaluation.worst else {}
    found = {artifact.SEEN: _training(task, data), artifact.WORST: _worst(task, data, evaluation)}
    return {name: _png(cells) for name, cells in found.items() if cells}


def _training(task: Task, data: DataModule) -> list[Cells]:
    assert task.codec is not None
    examples = EncodedExamples(data.splits.train, data.codec, data.preset)
    number = _ROWS * _ACROSS if len(data.splits.train) >= _ROWS * _ACROSS else _ROWS
    step = max(1, len(examples) // number)
    rows = [examples[0, place] for place in range(0, len(examples), step)][:number]
    return [task.codec.cells(pixels, target) for pixels, target, _ in rows if pixels is not None]


def _worst(task: Task, data: DataModule, evaluation: Evaluation) -> list[Cells]:
    assert task.codec is not None
    val = data.splits.val
    targets = {str(source): target for source, target in zip(val.inputs, val.targets, strict=True)}
    files = [row["file"] for row in evaluation.worst if row["file"] in targets][: _ROWS * 2]
    found: list[Cells] = []
    for file in files:
        with contextlib.suppress(DataError):  # a file that has gone meanwhile
            found.append(task.codec.cells(file, targets[file], task.predict(file)[0]))
    return found


def _png(examples: list[Cells]) -> bytes:
    """Examples of a single picture stand beside each other, others below each other."""
    across = _ACROSS if len(examples[0]) == 1 else 1
    chosen = examples if across > 1 else examples[:_ROWS]
    rows = [[one for cells in chosen[at : at + across] for one in cells] for at in range(0, len(chosen), across)]
    sheet = grid([[picture for picture, _ in row] for row in rows], [[words for _, words in row] for row in rows])
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()
