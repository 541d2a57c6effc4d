"""Look at data before a minute of training is wasted on them: what is wrong, where, and what to do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rich.text import Text

from recipes import images
from recipes.archives import is_archive, unpacked
from recipes.catalog import task_class
from recipes.columns import are_numbers, letters
from recipes.display import console, counted, say
from recipes.errors import DataError, OptionError, OutputError, did_you_mean, printable
from recipes.examples import Splits, note_rare, split_folders
from recipes.findings import Finding
from recipes.image_examples import PICTURES
from recipes.mask_pairs import check_masked, find_pairs
from recipes.sources import find, names_shards, tables_in
from recipes.tables import Table, existing
from recipes.task import Task
from recipes.text_examples import TEXTS

# How a list of what to leave out begins; a file that does not begin so was written by somebody else.
_MARK = "# left out by recipes check"

_ORDER = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Report:
    """What a check of data has found.

    Args:
        data: what was checked.
        task: the task it was checked for, by its name in the shell.
        labels: the labels' names.
        counts: by split, how many examples each label has; of masks, how many pixels.
        examples: by split, how many examples there are.
        findings: what was found, the gravest first.
    """

    data: str
    task: str
    labels: tuple[str, ...]
    counts: Mapping[str, list[int]]
    examples: Mapping[str, int]
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether nothing must be fixed."""
        return all(finding.severity != "error" for finding in self.findings)

    @property
    def exclude_list(self) -> list[str]:
        """The names of those examples that are better left out, each once."""
        return list(dict.fromkeys(name for finding in self.findings for name in finding.leave_out))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "data": self.data,
            "task": self.task,
            "ok": self.ok,
            "examples": dict(self.examples),
            "labels": {
                label: {part: counts[place] for part, counts in self.counts.items()}
                for place, label in enumerate(self.labels)
            },
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def show(self, file: IO[str] | None = None) -> None:
        """Print what was found, a line for each finding, and what to do."""
        lines = [f"{self.data}, as {self.task}: {self._amounts()}"]
        for finding in self.findings:
            lines.append(f"{finding.severity}: {finding}")
            if finding.remedy and finding.severity != "note":
                lines.append(f"    to do: {finding.remedy}")
        wrong = sum(finding.severity == "error" for finding in self.findings)
        lines.append(f"{counted(wrong, 'finding')} must be fixed" if wrong else "nothing must be fixed")
        out = console(file)
        for line in lines:
            out.print(Text(line))

    def _amounts(self) -> str:
        found = [f"{number:,} {_USE[part]}" for part, number in self.examples.items()]
        kinds = f", {counted(len(self.labels), 'label')}" if len(self.labels) > 1 else ""
        return f"{', '.join(found) or 'nothing that can be used'}{kinds}"

    def write_exclude_list(self, path: str | os.PathLike[str]) -> Path:
        """Write the names of what is better left out, one on a line, for `fit(..., exclude_list=FILE)`.

        Raises:
            OutputError: a file is there that no check wrote, or it cannot be written.
        """
        target = Path(os.path.expanduser(path))
        try:
            if target.exists() and not target.read_text("utf-8", "surrogateescape").startswith(_MARK):
                raise OutputError(f"{printable(str(target))} is there and no list of recipes; give another name")
            text = "".join(f"{line}\n" for line in (f"{_MARK} of {self.data}", *self.exclude_list))
            target.write_text(text, "utf-8", "surrogateescape")
        except OSError as error:
            raise OutputError(f"{printable(str(target))} cannot be written ({error.strerror})") from error
        return target


_USE = {"train": "for training", "val": "for validation", "test": "for testing"}


def check(data: Any, val: Any = None, *, task: str | Task | None = None, quiet: bool = True, **options: Any) -> Report:
    """Look at all of the data as `fit` would read them, and say what is wrong; no file is changed.

    Args:
        data: what `fit` takes.
        val: the same for validation, if there is any apart.
        task: the task, by its name in the shell or as an object with options; found by the look of the data if None.
        quiet: do not say which task was found.
        **options: options of the task, such as `label="kind"` or `group="folder"`.

    Returns:
        A report with all findings. Without a split of its own, the one that `fit` would make is looked at.

    Raises:
        DataError: there are no such data.
        OptionError: there is no such task or option.
    """
    if isinstance(task, Task):
        if options:
            raise OptionError(
                f"options belong to the task that was given: {type(task).__name__}({next(iter(options))}=…)"
            )
    else:
        if task is None:
            task = guessed(data)
            if not quiet:
                say(f"checking as {task}; recipes check TASK DATA names another")
        task = _made(task, options)
    preset = task.presets["default"]
    findings: list[Finding] = []
    splits: Splits | None = None
    if isinstance(data, (str, os.PathLike)) and not names_shards(data):
        existing(data)
    try:
        splits = task.read(data, val, task.reading(preset, thorough=True))
    except DataError as error:
        findings.append(
            Finding(str(error), kind="refused", severity="error", remedy="what the line says; fit stops there")
        )
    findings += [_finding(note) for note in [*splits.notes, *note_rare(splits)]] if splits else []
    findings.sort(key=lambda one: _ORDER[one.severity])
    name = printable(os.fspath(data)) if isinstance(data, (str, os.PathLike)) else f"({type(data).__name__})"
    parts = {} if splits is None else {"train": splits.train, "val": splits.val, "test": splits.test}
    present = {part: found for part, found in parts.items() if found is not None and len(found)}
    return Report(
        name,
        task.command,
        splits.train.labels if splits else (),
        {part: found.counts() for part, found in present.items()},
        {part: len(found) for part, found in present.items()},
        findings,
    )


def _finding(note: str) -> Finding:
    return note if isinstance(note, Finding) else Finding(note, kind="note", severity="note")


def _made(name: str, options: Mapping[str, Any]) -> Task:
    cls = task_class(name)
    known = {item for kind in cls.__mro__ for item in getattr(kind, "__dataclass_fields__", ())}
    for option in options:
        if option not in known:
            raise OptionError(f"{name} has no option {option!r}{did_you_mean(option, known)}")
    task = cls(**options)
    assert isinstance(task, Task)
    return task


# ---------------------------------------------------------------------------------------------------------------------
# Which task


def guessed(data: Any) -> str:
    """The task that data look as if they were for.

    Raises:
        DataError: there are no such data.
    """
    if isinstance(data, (str, os.PathLike)) and not names_shards(data):
        data = existing(data)
        if not os.path.isdir(data) and is_archive(data):
            data = unpacked(data)
        if _holds_masks(data):
            return "segmenter"
        if os.path.isdir(data) and not _only_tables(data):
            return "text-classifier" if _text_folders(data) else "image-classifier"
    return _guessed_by_columns(next(iter(find(data, PICTURES).tables.values())))


def _guessed_by_columns(table: Table) -> str:
    pictures = PICTURES.find(table, ())[0]
    if not pictures:
        return "text-classifier"
    rest = {letters(name): cells for name, cells in table.columns.items() if name not in pictures}
    if {"mask", "masks", "maskpath"} & rest.keys():
        return "segmenter"
    labels = next((rest[name] for name in ("label", "labels", "target", "class") if name in rest), None)
    cells = labels if labels is not None else next(iter(rest.values()), [])
    several = len({str(cell) for cell in cells}) > max(20, len(cells) // 10)
    return "image-regressor" if several and are_numbers(cells) else "image-classifier"


def _holds_masks(path: str) -> bool:
    """Whether a folder holds images with masks, or a file is one of COCO."""
    if not os.path.isdir(path) and not path.lower().endswith(".json"):
        return False
    try:
        check_masked(path)
        find_pairs(path)
    except DataError:
        return False
    return True


def _only_tables(folder: str) -> bool:
    """Whether a folder holds tables, and no folders of labels."""
    return bool(tables_in(folder)) and not split_folders(folder)


def _text_folders(folder: str) -> bool:
    """Whether the folders in a folder hold text files, and no pictures."""
    if any(entry.name.lower().endswith(tuple(images.SUFFIXES)) for entry in images.walk(folder, set())):
        return False
    try:
        TEXTS.check_folder(folder)
    except DataError:
        return False
    return True
