"""Splits of rows: words in many spellings, numbers of folds, and cells that are neither."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recipes.errors import DataError
from recipes.folds import parts_of, split_of


def row(place: int) -> str:
    return f"data.csv:{place + 2}"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train", "train"),
        ("TRAINING", "train"),
        ("Validation", "val"),
        ("dev", "val"),
        ("valid.csv", "val"),
        ("reviews_train", "train"),
        ("test-00000-of-00001", "test"),
        ("instances_val2017", "val"),
        ("training the testers", "train"),
        ("train_test", None),
        ("contest", None),
        ("trainer", None),
        ("0", None),
        ("", None),
    ],
)
def test_a_name_stands_for_a_split_by_one_of_its_words(name: str, part: str | None) -> None:
    assert split_of(name) == part


@pytest.mark.parametrize("column", ["split", "fold", "Set"])
def test_words_name_the_split_of_their_row_whatever_the_column_is_called(column: str) -> None:
    cells = ["train", " Validation", "test-00000", "DEV", "Training"]
    assert parts_of(cells, row, column) == (["train", "val", "test", "val", "train"], [])


@pytest.mark.parametrize(
    "cells",
    [
        [0, 1, 2, 3, 4, 0],
        ["0", "1", " 2", "3", "4", "0"],
        [0.0, 1.0, 2.0, 3.0, 4.0, 0.0],
        ["0.0", "1.0", "2.0", "3.0", "4.0", "0.0"],
        ["fold_0", "fold_1", "Fold 2", "fold3", "fold-4", "fold_0"],
        list(np.array([0, 1, 2, 3, 4, 0])),
        list(np.array([0, 1, 2, 3, 4, 0], np.float32)),
    ],
)
@pytest.mark.parametrize("column", ["fold", "Folds", "k-fold"])
def test_the_highest_fold_is_for_validation_and_this_is_said(cells: list[Any], column: str) -> None:
    parts, notes = parts_of(cells, row, column)
    assert parts == ["train", "train", "train", "train", "val", "train"]
    assert notes == [
        f"took fold 4 of column '{column}' for validation, 0 to 3 for training; a split column names others"
    ]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([0, 1], "took fold 1 of column 'fold' for validation, 0 for training"),
        ([10, 2, 1], "took fold 10 of column 'fold' for validation, 1, 2 for training"),
        ([7, 5, 3, 1], "took fold 7 of column 'fold' for validation, 1, 3, 5 for training"),
        ([-1, 0, 1, 2], "took fold 2 of column 'fold' for validation, -1 to 1 for training"),
    ],
)
def test_folds_are_numbers_and_not_words(cells: list[int], words: str) -> None:
    parts, notes = parts_of(cells, row)
    assert parts == ["val" if cell == max(cells) else "train" for cell in cells]
    assert notes[0].startswith(words)


def test_a_single_fold_divides_nothing() -> None:
    assert parts_of([3, 3.0, "3"], row) == (
        ["train", "train", "train"],
        ["column 'fold' is not used: all rows have the fold 3"],
    )


@pytest.mark.parametrize(
    ("cells", "column", "message"),
    [
        (
            ["train", "trian"],
            "fold",
            "data.csv:3: the split is 'trian'; expected train, val or test; did you mean train?",
        ),
        (["train", "valdation"], "split", "data.csv:3: the split is 'valdation'"),
        (["train", 3, "val"], "fold", "data.csv:3: the split is '3'"),
        ([0, 1, "val"], "fold", "data.csv:4: the fold is 'val'; expected a whole number"),
        ([0, 0.5, 1], "fold", "data.csv:3: the fold is '0.5'; expected a whole number"),
        ([0, None, 1], "fold", "data.csv:3: the fold is ''; expected a whole number"),
        ([0, float("nan"), 1], "fold", "data.csv:3: the fold is 'nan'; expected a whole number"),
        ([True, False], "fold", "data.csv:2: the split is 'True'; expected train, val or test"),
        (["train", None], "split", "data.csv:3: the split is ''; expected train, val or test"),
        ([0, 1, 2], "split", "data.csv:2: the split is '0'; expected train, val or test"),
    ],
)
def test_a_cell_that_is_neither_is_named(cells: list[Any], column: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        parts_of(cells, row, column)
    assert str(caught.value).startswith(message)


def test_no_rows_have_no_splits() -> None:
    assert parts_of([], row) == ([], [])
