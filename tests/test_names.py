"""Very many names in little memory."""

from __future__ import annotations

import os
import pickle

import pytest

from recipes.names import Names

ODD = [
    "a.jpg",
    "",
    "Käse/größe.png",
    os.fsdecode(b"caf\xe9/\xff.jpg"),
    "\ud800 alone",
    "日本/猫🐈.webp",
    "a.jpg",
    "a\0b\nc",
]


def test_every_name_comes_back_as_it_was() -> None:
    names = Names(ODD)
    assert list(names) == ODD
    assert [names[place] for place in range(-len(ODD), len(ODD))] == ODD + ODD
    assert len(names) == len(ODD)
    assert "日本/猫🐈.webp" in names
    assert names.index("a.jpg") == 0


def test_names_are_sliced_and_taken_in_any_order() -> None:
    names = Names(ODD)
    assert isinstance(names[1:4], Names)
    assert list(names[1:4]) == ODD[1:4]
    assert list(names[::-2]) == ODD[::-2]
    assert list(names.take([5, 0, 5])) == [ODD[5], ODD[0], ODD[5]]
    assert list(names.take([])) == list(Names()) == []
    assert names.take(range(len(ODD))) == names
    assert names != Names(ODD[:-1])


@pytest.mark.parametrize("place", [len(ODD), -len(ODD) - 1])
def test_a_place_that_is_not_there_is_refused(place: int) -> None:
    with pytest.raises(IndexError):
        Names(ODD)[place]


def test_names_from_a_generator_of_more_than_one_block_are_whole() -> None:
    names = Names(f"photos/{number}.jpg" for number in range(25_000))
    assert len(names) == 25_000
    assert names[9_999:10_001] == Names(["photos/9999.jpg", "photos/10000.jpg"])
    assert names[-1] == "photos/24999.jpg"


def test_names_are_pickled_as_small_as_their_letters() -> None:
    long = [f"photos/label_{number % 1000:04}/picture_{number:07}.jpg" for number in range(20_000)]
    names = Names(long)
    letters = sum(map(len, long))
    sent = pickle.dumps(names)
    assert pickle.loads(sent) == names
    assert len(sent) < letters + 8 * len(long) + 1000
    assert names.nbytes < letters + 8 * len(long) + 1000
    assert repr(names).endswith("'], …)")
