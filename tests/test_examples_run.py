"""Each example runs as a user would run it: in a process of its own, without network, leaving nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))

# Warnings are errors, but for those that Lightning gives to everybody who calls its Trainer: one that its own code
# earns, and the advice to take loader processes, which machines with many cores get.
WARNINGS = (
    *("-W", "error"),
    *("-W", "ignore::FutureWarning:pytorch_lightning.utilities._pytree"),
    *("-W", "ignore:The 'train_dataloader' does not have many workers:UserWarning"),
    *("-W", "ignore:The 'val_dataloader' does not have many workers:UserWarning"),
)


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_without_network_and_writes_nothing_where_it_is_called(example: Path, tmp_path: Path) -> None:
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    # One thread: networks this small gain nothing from more, and lose much on a machine that others use, too.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, *WARNINGS, example],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout
    assert not list(here.iterdir())
    # Neither does it leave folders of its own among the temporary ones; other libraries keep caches there.
    assert not list(temporary.glob("tmp*"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_in_its_first_lines_what_it_shows(example: Path) -> None:
    assert example.read_text("utf-8").startswith('"""')
