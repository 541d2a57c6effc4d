"""Labelled examples from tables: the one way in for every task whose inputs have labels or numbers."""

from __future__ import annotations

import json
import os
import re
import unicodedata
import zlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from recipes import sources
from recipes.columns import (
    Columns,
    are_numbers,
    columns_in,
    find_columns,
    find_number_column,
    label_names,
    numbers,
    spelled,
)
from recipes.display import counted, listed, say
from recipes.errors import DataError, OptionError, did_you_mean, printable
from recipes.examples import (
    MANY,
    SPLITS,
    Examples,
    Reading,
    Splits,
    below,
    fingerprint,
    in_threads,
    path_of,
    strata,
    stratified_split,
)
from recipes.findings import Finding
from recipes.sources import Kind, Source
from recipes.sources import check as check
from recipes.streams import Stream, digest
from recipes.tables import Table, existing

# Of fewer rows nothing can be said from how many different labels they have.
_LARGE = 50

_USE = {"train": "training", "val": "validation", "test": "testing"}


@dataclass
class Rows:
    """Inputs with their labels, as a table has them.

    Args:
        title: what to call the table.
        inputs: the inputs.
        targets: the names of each one's labels, or its number.
        names: what each row is called; None where inputs are paths, which name themselves.
        groups: what each row belongs to, where that was asked for.
        where: what to call the column of labels, or the folder whose folders are labels.
        root: the folder below which paths are named.
    """

    title: str
    inputs: list[Any]
    targets: list[Any]
    names: list[str] | None
    groups: list[Hashable] | None = None
    where: str = ""
    root: str = ""

    def name(self, place: int) -> str:
        """What the row at a place is called: by its table, or by its file's name below the root."""
        return below(self.inputs[place], self.root) if self.names is None else self.names[place]

    def take(self, places: Sequence[int]) -> Rows:
        """The rows at these places, in this order."""
        return Rows(
            self.title,
            [self.inputs[place] for place in places],
            [self.targets[place] for place in places],
            None if self.names is None else [self.names[place] for place in places],
            None if self.groups is None else [self.groups[place] for place in places],
            self.where,
            self.root,
        )


@dataclass
class Sifted:
    """What a look at all inputs found.

    Args:
        forms: by split and row, what is equal for copies of an input; None for an input without copies.
        exact: by split and row, what is equal for copies to the last byte or letter.
        unreadable: by split, files that were left out.
    """

    forms: dict[str, list[Hashable]]
    exact: dict[str, list[Hashable]]
    unreadable: dict[str, list[str]] = field(default_factory=dict)


class Missing(str):
    """The path of a file that does not exist."""


class Inputs(Kind):
    """What the inputs of a task are, for the reader that tasks with labels share."""

    #: What a row without one has.
    empty: ClassVar[str]
    #: The most columns that hold one.
    most: ClassVar[int] = 1
    #: How copies are alike that are the same in every detail.
    exactly: ClassVar[str]
    #: Whether texts are paths.
    files: ClassVar[bool]

    @abstractmethod
    def find(self, table: Table, taken: Sequence[str]) -> tuple[tuple[str, ...], bool]:
        """The columns of inputs, and whether others may do."""

    @abstractmethod
    def cells(self, table: Table, columns: tuple[str, ...]) -> list[Any]:
        """Each row's input; None where there is none, and `Missing` where it names a file that is not there."""

    @abstractmethod
    def sift(self, rows: dict[str, Rows], reading: Reading, notes: list[str]) -> Sifted:
        """Look at all inputs, leave out in place what cannot be read, and find copies."""

    def hint(self, where: str, label: str) -> str:
        """What may be meant where there is one label only."""
        return ""

    def content(self, source: Any) -> Any:
        """What a fingerprint is taken of where an input is no file."""
        return str(source)


def read(
    data: Any,
    val: Any,
    inputs: Inputs,
    reading: Reading,
    *,
    column: str | None = None,
    label: str | None = None,
    multi_label: bool | None = None,
    regression: bool = False,
) -> Splits:
    """Inputs with their labels, wherever they are, for training, for validation and perhaps for testing.

    Args:
        data: a folder, a table, a data frame, a data set, two lists, or a dict of any of these by split.
        val: the same for validation, or None to find or split it.
        inputs: what inputs are.
        reading: how to split, and what to leave out.
        column: the column of inputs, or two separated by a comma; found if None.
        label: the column of labels, or several of 0 and 1, separated by commas; found if None.
        multi_label: whether an input may have several labels; found if None.
        regression: whether labels are numbers to predict.

    Raises:
        DataError: there are no inputs with two labels or more.
        OptionError: there is no such column.
    """
    source = sources.find(data, inputs, reading)
    given = None if val is None else sources.find(val, inputs, reading)
    try:
        splits = _splits(source, given, inputs, reading, column, label, multi_label, regression)
    except DataError as error:
        if source.stream is None:
            raise
        raise DataError(f"{error}; {source.stream.first_window(reading.window)}") from error
    splits.paths = path_of(data), path_of(val)
    return splits


def _splits(
    source: Source,
    given: Source | None,
    inputs: Inputs,
    reading: Reading,
    column: str | None,
    label: str | None,
    multi_label: bool | None,
    regression: bool,
) -> Splits:
    if "train" not in source.tables:
        raise DataError(
            f"found {inputs.thing}s for {listed(source.tables)} and none for training; call these train, as in "
            f"train.csv"
        )
    columns, guess = _columns(source.tables["train"], inputs, column, label, multi_label, regression)
    notes = [*source.notes, *guess]
    if given is not None:
        if "val" in source.tables:
            number, name = counted(len(source.tables["val"]), "row"), printable(source.tables["val"].name)
            notes.append(f"left out {number} of {name} for validation, as others are given")
        source.tables["val"] = next(given.tables[part] for part in ("val", "train", "test") if part in given.tables)
        sources.name_apart(source.tables["val"], "val")
        notes += given.notes
        if given.stream is not None and "val" not in given.tables:
            notes.append(given.stream.first_alone(len(source.tables["val"])))
    rows = _rows_by_part(source, given is not None, columns, inputs, reading, regression, notes)
    if reading.left_out:
        leave_out(rows, reading.left_out, notes)
    labels = columns.label if regression else _checked_labels(rows["train"], columns, inputs, notes)
    if source.stream is not None:
        labels = _labels_of_stream(source.stream, labels, columns, regression)
    for part, own in rows.items():
        if not regression:
            rows[part] = _known(own, labels, reading, notes)
    sifted = inputs.sift(rows, reading, notes)
    if not regression and source.stream is None:
        there = {label for own in rows["train"].targets for label in own}
        if lost := [label for label in labels if label not in there]:
            raise DataError(f"no {inputs.thing} of {listed(lost)} in {printable(rows['train'].title)} can be read")
    found = {part: _examples(own, labels, columns, regression) for part, own in rows.items()}
    for part, lost in sifted.unreadable.items():
        found[part].unreadable = lost
    note_copies(rows, sifted, inputs, "number" if regression else "label", notes)
    note_groups(rows, notes)
    train, held_out = found["train"], found.get("val")
    if held_out is None:
        targets = strata(train.targets) if regression else train.targets
        kept, out = parted(targets, reading, sifted.forms["train"], rows["train"])
        train, held_out = train.take(kept), train.take(out)
    if not regression:
        _note_counts(found["train"], inputs, notes)
    splits = Splits(train, held_out, found.get("test"), notes, source.root, columns, reading=reading)
    splits.sources = _fingerprints([source, *([given] if given else [])], rows, inputs, splits)
    if source.stream is not None:
        settled: dict[str, Any] = {"labels": labels, "columns": columns, "inputs": inputs, "regression": regression}
        convert = partial(_further, **settled, left_out=reading.left_out)
        go_on_with(source.stream, splits, convert, inputs.thing, reading)
    return splits


def read_held_out(
    data: Any, labels: tuple[str, ...], columns: Columns, inputs: Inputs, regression: bool = False
) -> Examples:
    """Labelled inputs to score a model on; of what is divided into splits those for testing, or else for validation.

    Args:
        data: as for `read`.
        labels: the labels that the model knows.
        columns: the columns it was trained on; where they are missing, others are found.
        inputs: what inputs are.
        regression: whether labels are numbers to predict.

    Raises:
        DataError: there are no labelled inputs, or one has a label that is not among `labels`.
    """
    source = sources.find(data, inputs)
    notes = source.notes
    if source.stream is not None and len(source.tables) == 1:
        notes.append(source.stream.first_alone(len(source.tables["train"])))
    parts: list[str] = [part for part in ("test", "val") if part in source.tables] or ["train"]
    rows = None
    for part in parts:
        try:
            rows = _rows_held_out(source.tables[part], columns, inputs, regression, notes)
            break
        except DataError as error:
            if part == parts[-1]:
                raise
            notes.append(f"left out what is for {_USE[part]}: {error}")
    assert rows is not None
    if not regression:
        rows = _known(rows, labels, Reading(), notes)
    examples = _examples(rows, labels, columns, regression)
    examples.root = source.root
    if len(source.tables) > 1:
        say(f"note: evaluating on {_USE[part]} {inputs.thing}s of {printable(rows.title)}")
    for note in notes:
        say(f"note: {note}")
    return examples


# ---------------------------------------------------------------------------------------------------------------------
# Streams


def _labels_of_stream(stream: Stream, found: tuple[str, ...], columns: Columns, regression: bool) -> tuple[str, ...]:
    """All labels of a stream that tells them, or those of its first window."""
    known = () if regression else stream.known_labels(columns.label)
    return tuple(sorted(known)) if {*found} <= {*known} else found


def go_on_with(
    stream: Stream, splits: Splits, convert: Callable[[Table, Stream], Examples | None], thing: str, reading: Reading
) -> None:
    """Settle how later windows become examples, and say what the first one has decided.

    Args:
        stream: what the examples for training are the first window of.
        splits: all examples that are in memory; those that are not for training are never trained on.
        convert: makes examples of a later window.
        thing: what an input is called.
        reading: how the first window was read.
    """
    train = splits.train
    others = [own for own in (splits.val, splits.test) if own is not None]
    stream.further(len(train), train.labels, {digest(source) for own in others for source in own.inputs}, convert)
    splits.stream = stream
    splits.sources = {**(splits.sources or {}), **stream.prints}
    what = "" if train.numeric else f"; it has {counted(len(train.labels), 'label')}, and others are left out later"
    splits.notes.append(
        f"read {counted(reading.window, thing)} of {counted(stream.number, 'shard')} as the first window{what}; each "
        f"epoch has the next {len(train):,}"
    )


def _further(
    table: Table,
    stream: Stream,
    labels: tuple[str, ...],
    columns: Columns,
    inputs: Inputs,
    regression: bool,
    left_out: frozenset[str],
) -> Examples | None:
    """The examples of a later window, which nobody looks at any more; None if none of them can be used."""
    notes: list[str] = []
    try:
        rows = _rows(table, columns, inputs, regression, notes)
    except DataError:
        if len(table) == 1:
            stream.leave(f"without a {inputs.thing} or a label", [table.row_name(0)])
            return None
        each = [
            _further(table.take([place]), stream, labels, columns, inputs, regression, left_out)
            for place in range(len(table))
        ]
        return _put_together([own for own in each if own is not None])
    if not regression:
        rows = _known(rows, labels, Reading(thorough=True), notes)
    for note in notes:
        if isinstance(note, Finding) and note.severity == "error":
            reason = "whose labels the first window did not have" if note.kind == "unknown labels" else "incomplete"
            stream.leave(reason, note.names)
    rows.names = rows.names or [rows.name(place) for place in range(len(rows.inputs))]
    kept = [place for place, name in enumerate(rows.names) if name not in left_out]
    return _examples(rows.take(kept), labels, columns, regression) if kept else None


def _put_together(parts: Sequence[Examples]) -> Examples | None:
    if not parts:
        return None
    names = [name for own in parts for name in own.called()]
    inputs, targets = ([one for own in parts for one in getattr(own, what)] for what in ("inputs", "targets"))
    return Examples(inputs, targets, parts[0].labels, names=names)


# ---------------------------------------------------------------------------------------------------------------------
# Rows


def _columns(
    table: Table, inputs: Inputs, column: str | None, label: str | None, multi_label: bool | None, regression: bool
) -> tuple[Columns, list[str]]:
    """The columns of inputs and labels, and a note if they were guessed."""
    if table.where and column is None and label is None and not multi_label:  # a folder's own
        if regression and not are_numbers(table.columns[inputs.target]):
            names = listed(dict.fromkeys(table.columns[inputs.target]))
            raise DataError(
                f"{table.where} holds folders that are no numbers ({names}); name each by its number, as in "
                f"ages/23/1.jpg, or give a table with a column of numbers"
            )
        return Columns((inputs.option,), (inputs.target,)), []
    if regression:
        return find_number_column(table, inputs, column, label)
    return find_columns(table, inputs, column, label, multi_label)


def _rows_by_part(
    source: Source,
    given: bool,
    columns: Columns,
    inputs: Inputs,
    reading: Reading,
    regression: bool,
    notes: list[str],
) -> dict[str, Rows]:
    rows = {"train": _rows(source.tables["train"], columns, inputs, regression, notes, reading.group, source.root)}
    for part in (part for part in SPLITS if part in source.tables and part != "train"):
        try:
            table = source.tables[part]
            group = reading.group if reading.group not in source.tables["train"].columns.keys() - table.columns else ""
            rows[part] = _rows_held_out(table, columns, inputs, regression, notes, group, source.root)
        except DataError as error:  # as in competitions, whose test.csv has no labels
            if part == "val" and given:
                raise
            notes.append(f"left out what is for {_USE[part]}: {error}")
    return rows


def _rows(
    table: Table,
    columns: Columns,
    inputs: Inputs,
    regression: bool,
    notes: list[str],
    group: str = "",
    root: str = "",
) -> Rows:
    """What can be used of a table; what cannot is counted and named.

    Raises:
        DataError: nothing can.
    """
    title, what = printable(table.name), "number" if regression else "label"
    found = inputs.cells(table, columns.inputs)
    targets = numbers(table, columns.label[0]) if regression else label_names(table, columns)
    gone = [place for place, one in enumerate(found) if isinstance(one, Missing)]
    empty = [place for place, one in enumerate(found) if one is None]
    bare = [place for place, own in enumerate(targets) if own is None or own == ()]
    if gone and len(gone) + len(empty) == len(found):
        raise DataError(
            f"{title} names {counted(len(gone), 'file')} in column {printable(columns.inputs[0])!r}, and none is there "
            f"(the first: {printable(found[gone[0]])}); paths count from the table's folder"
        )
    lost = {*gone, *empty} if columns.multi_label else {*gone, *empty, *bare}
    kept = [place for place in range(len(table)) if place not in lost] if lost else range(len(table))
    if not any(targets[place] not in ((), None) for place in kept):
        raise DataError(f"no row of {title} has a {inputs.thing} and a {what} ({counted(len(table), 'row')})")
    for verb, places, lacks in (
        ("left out", gone, "files that do not exist"),
        ("left out", empty, inputs.empty),
        ("kept" if columns.multi_label else "left out", bare, f"no {what}"),
    ):
        if places:
            names = [table.row_name(place) for place in places]
            named = [f"{found[place]} ({table.row_name(place)})" for place in places] if places is gone else names
            notes.append(
                Finding(
                    f"{verb} {counted(len(places), 'row')} of {title} with {lacks}: {listed(named)}",
                    kind="missing" if places is gone else "incomplete",
                    severity="note" if verb == "kept" else "error",
                    names=named,
                    remedy=f"give each row a {inputs.thing} and a {what}, or take it out",
                )
            )
    chosen = [found[place] for place in kept]
    paths = all(isinstance(one, str) for one in chosen) and inputs.files
    rows = Rows(
        table.name,
        chosen,
        [targets[place] for place in kept],
        None if paths else [table.row_name(place) for place in kept],
        where=table.where or f"column {listed(columns.label)} of {title}",
        root=root,
    )
    if group:
        rows.groups = _groups(table, kept, rows, group)
    return rows


def _rows_held_out(
    table: Table,
    columns: Columns,
    inputs: Inputs,
    regression: bool,
    notes: list[str],
    group: str = "",
    root: str = "",
) -> Rows:
    try:
        return _rows(table, columns_in(table, columns, inputs, regression), inputs, regression, notes, group, root)
    except OptionError as error:  # nobody asked for a column here
        raise DataError(str(error)) from error


def _groups(table: Table, kept: Sequence[int], rows: Rows, group: str) -> list[Hashable]:
    """What each row belongs to: by a column, by the folder its file is in, or by a regular expression.

    Raises:
        OptionError: it is none of these.
    """
    if group in table.columns:
        cells = table.columns[group]
        return [str(cells[place]) if cells[place] is not None else ("", place) for place in kept]
    if rows.names is not None:
        known = f"{did_you_mean(group, table.columns)} (columns: {listed(table.columns, 8)})"
        raise OptionError(f"group={group!r} is no column of {printable(table.name)}{known}")
    names = list(map(rows.name, range(len(rows.inputs))))
    return named_groups(names, group)


def named_groups(names: Sequence[str], group: str) -> list[Hashable]:
    """What files belong to by their names: the folder each is in, or what a regular expression finds.

    Raises:
        OptionError: it is no regular expression, or is not in every name.
    """
    if group == "folder":
        return [os.path.dirname(name) for name in names]
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise OptionError(f"group={group!r} is neither a column, folder, nor a regular expression ({error})") from error
    found = [pattern.search(name) for name in names]
    missed = [name for name, match in zip(names, found, strict=True) if match is None]
    if missed:
        raise OptionError(
            f"group={group!r} is found in {len(names) - len(missed):,} of {len(names):,} names, not in "
            f"{listed(missed)}; give a column, folder, or a regular expression that is in every name"
        )
    return [match.groups() or match.group() for match in found if match is not None]


def leave_out(rows: dict[str, Rows], names: frozenset[str], notes: list[str]) -> None:
    """Take out what the list of names to leave out holds, and say what of the list is not there."""
    seen: set[str] = set()
    for part, own in rows.items():
        called = list(map(own.name, range(len(own.inputs))))
        seen |= names.intersection(called)
        rows[part] = own.take([place for place, name in enumerate(called) if name not in names])
    notes.append(f"left out {counted(len(seen), 'example')} that the list names")
    if unknown := sorted(names - seen):
        notes.append(f"{counted(len(unknown), 'name')} of the list to leave out not found here: {listed(unknown)}")
    if not rows["train"].inputs:
        raise DataError("the list of what to leave out names every example for training")


def _known(rows: Rows, labels: tuple[str, ...], reading: Reading, notes: list[str]) -> Rows:
    """The rows with labels that training knows, which are all, or it is refused; a check goes on without the others."""
    known = {*labels}
    if not all(known.issuperset(own) for own in rows.targets):
        _respell(rows, labels)
    unknown = list(dict.fromkeys(label for own in rows.targets for label in own if label not in known))
    if not unknown:
        return rows
    text = (
        f"{printable(rows.title)} has {counted(len(unknown), 'label')} that training did not know: "
        f"{listed(unknown)}{did_you_mean(unknown[0], labels)} (labels: {listed(labels, 12)})"
    )
    if not reading.thorough:
        raise DataError(text)
    odd = [place for place, own in enumerate(rows.targets) if not known.issuperset(own)]
    notes.append(
        Finding(
            text,
            kind="unknown labels",
            severity="error",
            names=list(map(rows.name, odd)),
            remedy="call them as in training, add them to what is for training, or leave them out",
            leave_out=list(map(rows.name, odd)),
        )
    )
    gone = {*odd}
    return rows.take([place for place in range(len(rows.inputs)) if place not in gone])


def _respell(rows: Rows, labels: tuple[str, ...]) -> None:
    """Write labels as training does where they differ in nothing but how a number or a truth value is spelled."""
    forms = Counter(map(spelled, labels))
    known = {spelled(label): label for label in labels if forms[spelled(label)] == 1} | {one: one for one in labels}
    rows.targets = [tuple(known.get(one) or known.get(spelled(one), one) for one in own) for own in rows.targets]


def _examples(rows: Rows, labels: tuple[str, ...], columns: Columns, regression: bool) -> Examples:
    if regression:
        return Examples(rows.inputs, rows.targets, labels, names=rows.names)
    place = {label: number for number, label in enumerate(labels)}
    known: dict[tuple[str, ...], Any] = {}
    for own in rows.targets:
        if own not in known:
            known[own] = tuple(sorted(place[label] for label in own)) if columns.multi_label else place[own[0]]
    return Examples(rows.inputs, [known[own] for own in rows.targets], labels, names=rows.names)


# ---------------------------------------------------------------------------------------------------------------------
# Groups


def united(*relations: Sequence[Hashable] | None) -> list[Hashable] | None:
    """One group for all that any of the relations holds together; None if there is no relation.

    Args:
        relations: for each example what it shares with others; None stands for nothing.
    """
    given = [relation for relation in relations if relation is not None and any(one is not None for one in relation)]
    if not given:
        return None
    parent = list(range(len(given[0])))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for relation in given:
        first: dict[Hashable, int] = {}
        for place, key in enumerate(relation):
            if key is not None:
                parent[root(place)] = root(first.setdefault(key, place))
    return [root(place) for place in range(len(parent))]


def parted(
    targets: Sequence[Any], reading: Reading, forms: Sequence[Hashable], rows: Rows
) -> tuple[list[int], list[int]]:
    """Places to keep and to hold out, whole groups and all copies of an example on one side.

    Args:
        targets: what the split takes its share of, as `stratified_split` knows it.
        reading: how to split.
        forms: what copies have in common.
        rows: the examples, with their groups.

    Raises:
        DataError: groups leave no choice.
    """
    kept, out = stratified_split(targets, reading.fraction, reading.seed, united(forms, rows.groups))
    if not out and len(targets) > 1:  # nothing but copies: better a split that flatters than none
        kept, out = stratified_split(targets, reading.fraction, reading.seed, rows.groups)
    if not out and len(targets) > 1 and rows.groups is not None:
        raise DataError(
            f"group={reading.group!r} puts {counted(len(targets), 'example')} into "
            f"{counted(len({*rows.groups}), 'group')}, so none can be set aside for validation; give val=..., or "
            f"smaller groups"
        )
    return kept, out


def note_groups(rows: Mapping[str, Rows], notes: list[str]) -> None:
    """Say which groups are on both sides of a split that was given."""
    train = rows["train"]
    if train.groups is None:
        return
    own = {*train.groups}
    for part in [part for part in ("val", "test") if part in rows and rows[part].groups]:
        if shared := sorted({str(group) for group in rows[part].groups or () if group in own}):
            notes.append(
                Finding(
                    f"{counted(len(shared), 'group')} for {_USE[part]} are for training too, so scores will flatter: "
                    f"{listed(shared)}",
                    kind="leak",
                    severity="error",
                    names=shared,
                    remedy="move each group to one side",
                )
            )


# ---------------------------------------------------------------------------------------------------------------------
# Checks


def _checked_labels(rows: Rows, columns: Columns, inputs: Inputs, notes: list[str]) -> tuple[str, ...]:
    """The labels in order; refuses what cannot be meant, and says what is odd."""
    labels = sorted({label for own in rows.targets for label in own})
    if len(labels) < 2:
        hint = inputs.hint(rows.where, labels[0])
        raise DataError(f"{rows.where} holds one label only, {printable(labels[0])}; two or more are needed{hint}")
    if len(rows.inputs) >= _LARGE and 2 * len(labels) > len(rows.inputs):
        raise DataError(
            f"{rows.where} has {len(labels):,} different values in {counted(len(rows.inputs), 'row')}, like numbers or "
            f"ids and unlike labels; name the column of labels with label=..."
        )
    forms = [" ".join(unicodedata.normalize("NFKC", label).casefold().split()) for label in labels]
    alike = Counter(forms)
    if twins := [label for label, form in zip(labels, forms, strict=True) if alike[form] > 1]:
        notes.append(
            Finding(
                f"labels that differ only in case, spaces or how letters are encoded are kept apart: "
                f"{listed(twins, 6)}; put them together if they are one",
                kind="labels",
                names=twins,
                remedy="give what is one label one name",
            )
        )
    numeric = [label for label in labels if re.fullmatch(r"[+-]?\d+([.,]\d+)?|nan|true|false", label, re.IGNORECASE)]
    if 0 < len(numeric) < len(labels):
        words = [label for label in labels if label not in {*numeric}]
        notes.append(
            Finding(
                f"{rows.where} mixes numbers and words: {listed(numeric)}; {listed(words)}",
                kind="labels",
                names=labels,
                remedy="give what is one label one name",
            )
        )
    if not columns.multi_label and (barred := [label for label in labels if "|" in label]):
        notes.append(
            f"{counted(len(barred), 'label')} with | in it, as {printable(barred[0])!r}; multi_label splits there"
        )
    return tuple(labels)


def _note_counts(examples: Examples, inputs: Inputs, notes: list[str]) -> None:
    """Say which labels are rare."""
    counts = examples.counts()
    most, least = max(counts), min(counts)
    if most > 10 * least:
        large, small = (printable(examples.labels[counts.index(number)]) for number in (most, least))
        notes.append(
            Finding(
                f"{large} has {counted(most, inputs.thing)}, {small} {least:,}; class_weights=balanced lets both count "
                f"alike",
                kind="imbalance",
                names=(examples.labels[counts.index(least)],),
                remedy="class_weights=balanced, sampler=balanced, or more examples of the rare labels",
            )
        )
    if alone := [label for label, number in zip(examples.labels, counts, strict=True) if number == 1]:
        notes.append(
            Finding(
                f"{counted(len(alone), 'label')} with one {inputs.thing} only, which cannot be validated: "
                f"{listed(alone)}",
                kind="rare",
                names=alone,
                remedy=f"give each label several {inputs.thing}s",
            )
        )


def note_copies(rows: Mapping[str, Rows], sifted: Sifted, inputs: Inputs, target: str, notes: list[str]) -> None:
    """Say what is there again: in training, with the same or another label, and on both sides of a split.

    Args:
        rows: by split.
        sifted: what is a copy of what.
        inputs: what inputs are.
        target: what copies may differ in, `label` or `number`; empty where nothing is compared.
        notes: gets the lines.
    """
    train = rows["train"]
    first: dict[Hashable, int] = {}
    pairs = [
        (first.setdefault(form, place), place) for place, form in enumerate(sifted.forms["train"]) if form is not None
    ]
    copies = [(one, other) for one, other in pairs if one != other]
    apart = [(one, other) for one, other in copies if target and _unlike(train.targets[one], train.targets[other])]
    unlike = {*apart}
    same = [pair for pair in copies if pair not in unlike]
    if same:
        exact = sum(sifted.exact["train"][one] == sifted.exact["train"][other] for one, other in same)
        notes.append(
            Finding(
                f"{counted(len(same), inputs.thing)} of {len(train.inputs):,} for training repeat others"
                f"{f' with the same {target}' if target else ''}, {exact:,} of them {inputs.exactly}",
                kind="copies",
                names=[train.name(other) for _, other in same],
                remedy="leave the copies out; they count several times",
                leave_out=[train.name(other) for _, other in same],
            )
        )
    if apart:
        named = [
            " and ".join(f"{train.name(place)} ({_said(train.targets[place])})" for place in pair) for pair in apart
        ]
        notes.append(
            Finding(
                f"{counted(len(apart), inputs.thing)} for training with different "
                f"{target}s: {'; '.join(map(printable, named[:3]))}"
                f"{'; …' if len(apart) > 3 else ''}; which is right?",
                kind="contradiction",
                severity="error",
                names=named,
                remedy="give all copies the right label, or leave them out",
                leave_out=[train.name(place) for place in dict.fromkeys(place for pair in apart for place in pair)],
            )
        )
    for part in [part for part in ("val", "test") if part in rows]:
        shared = [
            (place, first[form]) for place, form in enumerate(sifted.forms[part]) if form is not None and form in first
        ]
        if shared:
            named = [f"{rows[part].name(place)} (= {train.name(other)})" for place, other in shared]
            notes.append(
                Finding(
                    f"{len(shared):,} of {counted(len(rows[part].inputs), inputs.thing)} for {_USE[part]} are for "
                    f"training too, so scores will flatter: {listed(named)}",
                    kind="leak",
                    severity="error",
                    names=named,
                    remedy=f"leave them out of the {inputs.thing}s for training",
                    leave_out=[*dict.fromkeys(train.name(other) for _, other in shared)],
                )
            )


def _unlike(one: Any, other: Any) -> bool:
    """Whether two examples have different labels, or numbers."""
    return bool({*one} != {*other}) if isinstance(one, tuple) else bool(one != other)


def _said(target: Any) -> str:
    return "|".join(target) if isinstance(target, tuple) else f"{target:g}"


def _fingerprints(
    found: Sequence[Source], rows: Mapping[str, Rows], inputs: Inputs, splits: Splits
) -> dict[str, str] | None:
    """Size and checksum of each file, and of inputs and labels themselves where some are from no file.

    None where inputs are files and stand in no table: then they speak for themselves.
    """
    files = list(dict.fromkeys(file for source in found for file in source.files))
    prints = dict(zip(map(splits.name, files), in_threads(fingerprint, files), strict=True))
    if inputs.files and all(own.names is None for own in rows.values()):
        return {**splits.file_prints(), **prints} if files else None
    if not all(source.files for source in found):
        number = sum(len(own.inputs) for own in rows.values())
        few = number <= MANY or not inputs.files  # to fetch very many pictures would take long
        contents = [
            (part, [inputs.content(one) if few else str(one)[:200] for one in own.inputs], own.targets)
            for part, own in rows.items()
        ]
        prints[f"({inputs.thing}s)"] = f"{number}-{zlib.crc32(json.dumps(contents).encode()):08x}"
    return prints


def names_in(path: str | os.PathLike[str]) -> frozenset[str]:
    """The names that a list of what to leave out holds, one on a line.

    Raises:
        DataError: it is not there or no text.
    """
    where = existing(path)
    try:
        lines = Path(where).read_text("utf-8", "surrogateescape").splitlines()
    except OSError as error:
        raise DataError(f"{printable(where)} cannot be read ({error.strerror})") from error
    return frozenset(line for line in lines if line.strip() and not line.startswith("#"))
