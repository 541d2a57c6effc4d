"""Small labelled folders drawn on the spot, and one tiny fitted model that most tests share."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from recipes import ImageClassifier
from recipes.cli import main

if "PYTEST_XDIST_WORKER" in os.environ:  # one process for each core: threads would only stand in each other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells start what runs in their background
    signal.signal(signal.SIGINT, signal.default_int_handler)

COLOURS = {"blue": (20, 30, 220), "green": (30, 200, 40), "red": (220, 20, 30)}

# A tiny network from timm, which needs no download, and settings that fit it in a second or two.
TINY: dict[str, Any] = {"backbone": "test_resnet", "pretrained": False, "size": 32}
QUICK: dict[str, Any] = {
    "epochs": 1,
    "batch_size": 4,
    "workers": 0,
    "precision": "32",
    "head_first": False,
    "lr": 1e-2,
}


def draw_picture(colour: tuple[int, ...], seed: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    noise = np.random.default_rng(seed).normal(0, 12, (size[1], size[0], 3))
    return Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))


def draw_pictures(
    folder: str | Path,
    number: int = 8,
    labels: Mapping[str, tuple[int, ...]] = COLOURS,
    suffix: str = ".png",
    size: tuple[int, int] = (40, 32),
) -> Path:
    """Draw `number` pictures of each label, nearly of one colour, in a folder for each label."""
    for place, (label, colour) in enumerate(labels.items()):
        below = Path(folder) / label
        below.mkdir(parents=True, exist_ok=True)
        for count in range(number):
            draw_picture(colour, 1000 * place + count, size).save(below / f"{count}{suffix}")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own: nothing that a user or another run has kept comes in, and nothing is left behind."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("RECIPES_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def pictures() -> Callable[..., Path]:
    """Draws a small labelled folder whose labels have clearly different colours."""
    return draw_pictures


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled folder that all tests share; it is only read."""
    return draw_pictures(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="session")
def fitted(photos: Path) -> ImageClassifier:
    """A fitted task that all tests share; it is not changed."""
    return ImageClassifier(**TINY).fit(photos, quiet=True, **{**QUICK, "epochs": 4})


@pytest.fixture(scope="session")
def model_folder(fitted: ImageClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fitted task as a saved folder; it is only read."""
    return fitted.save(tmp_path_factory.mktemp("models") / "pets")


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in this process and an empty folder: exit code, stdout, stderr."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*words: Any, stdin: bytes = b"") -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            code = main([str(word) for word in words])
        sys.stdout.flush()
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def mistake(run: Run) -> Callable[..., str]:
    """Runs what is a user's mistake: exit code 2, nothing on stdout, one line on stderr, which it gives; no files."""

    def call(*words: Any) -> str:
        before = sorted(os.listdir())
        code, out, err = run(*words)
        assert (code, out) == (2, ""), err
        assert len(err.splitlines()) == 1, err
        assert err.startswith("error: ")
        assert sorted(os.listdir()) == before
        return err

    return call
