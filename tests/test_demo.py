"""The demo, end to end as a newcomer runs it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from recipes import demo
from recipes.cli import main


def everything(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.png")
    }


def test_the_same_seed_draws_the_same_pictures(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        demo.draw_shapes(tmp_path / name, 3, seed, size=32)
    assert everything(tmp_path / "one") == everything(tmp_path / "two") != everything(tmp_path / "three")


@pytest.mark.slow
def test_the_demo_fits_evaluates_predicts_and_says_what_to_type_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == 0
    said = capsys.readouterr().err
    right = re.search(r"(\d+)% of 200 are right", said)
    assert right is not None
    assert int(right.group(1)) > 70
    commands = [line.strip() for line in said.splitlines() if line.strip().startswith("recipes ")]
    assert [command.split()[1] for command in commands] == ["fit", "evaluate", "predict", "fit", "predict"]
    assert main(commands[2].split()[1:]) == 0
    assert main(["demo", "--out", str(out)]) == 2
