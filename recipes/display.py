"""What people see: names made safe to print, messages and tables on stderr, so that stdout carries data alone."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import IO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from recipes import ranks
from recipes.errors import printable


def listed(names: Iterable[str], most: int = 3) -> str:
    """A few names and how many more: `a.jpg, b.jpg and 7 more`."""
    all_names = [printable(name) for name in names]
    if len(all_names) <= most:
        return ", ".join(all_names)
    return f"{', '.join(all_names[:most])} and {len(all_names) - most} more"


def counted(number: int, noun: str) -> str:
    """`1 picture`, `2 pictures`, `3 classes`, `4 copies`."""
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun}es" if noun.endswith(("s", "x", "ch")) else f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {plural}"


def console(file: IO[str] | None = None) -> Console:
    """The console for messages: stderr as it is now, because tests and notebooks replace it."""
    return Console(file=file or sys.stderr, highlight=False, soft_wrap=True)


def say(message: str, always: bool = False) -> None:
    """One line to the person at the screen, on stderr; of several processes the first speaks for all, unless `always`.

    Args:
        message: the line.
        always: what this process has to say concerns it alone.
    """
    if always or ranks.rank() == 0:
        console().print(Text(message))


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table for people: the first column to the left, figures to the right, names made safe."""
    drawn = Table(title=Text(title, style="bold"), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, name in enumerate(header):
        drawn.add_column(Text(name), justify="right" if number else "left", header_style="dim", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(_cell(cell)) for cell in row))
    return drawn


def _cell(cell: object) -> str:
    return f"{cell:.3f}" if isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else printable(str(cell))
