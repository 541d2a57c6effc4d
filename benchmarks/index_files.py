"""Seconds and peak memory of reading a folder of very many pictures, from its name to the splits.

    python benchmarks/index_files.py [--files 1000000] [--folders 1000] [--keep FOLDER] [--profile]

It draws tiny pictures in a folder for each label, in a temporary folder, and reads them in a fresh process. All differ,
and some have the same size, so that looking for copies has its work, too.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def draw(root: Path, files: int, folders: int) -> None:
    """Draw grey noise of 8 × 8 pixels, each picture with its number in a comment."""
    for label in range(folders):
        (folder := root / f"label_{label:04}").mkdir(parents=True)
        for number in range(label, files, folders):
            comment = b"#%07d%s\n" % (number, b" " * (number % 997))
            pixels = random.Random(number).randbytes(64)
            (folder / f"picture_{number:07}.pgm").write_bytes(b"P5\n" + comment + b"8 8\n255\n" + pixels)


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print(f"{what:<42} {time.perf_counter() - began:6.1f} s   peak so far {peak:6.0f} MB", flush=True)


def measure(root: str) -> None:
    """Read the folder as `fit` does before it trains."""
    with timed("import"):
        from recipes.examples import Reading
        from recipes.image_examples import PICTURES
        from recipes.labelled import read
    with timed("read: find, label, look, split"):
        splits = read(root, None, PICTURES, Reading())
    with timed("record of what is in which split"):
        record = splits.record()
    with timed("fingerprints"):
        fingerprints = splits.fingerprints
    print(f"{len(splits.train):,} + {len(splits.val):,} pictures, {len(splits.train.labels):,} labels")
    assert sum(map(len, record.values())) == len(fingerprints) == len(splits.train) + len(splits.val)
    for note in splits.notes:
        print(f"note: {note}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--folders", type=int, default=1_000)
    parser.add_argument("--keep", help="draw here, or read what was drawn here before")
    parser.add_argument("--profile", action="store_true", help="say where the time goes")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        profile = cProfile.Profile()
        if asked.profile:
            profile.runcall(measure, asked.measure)
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        else:
            measure(asked.measure)
        return
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(asked.keep or temporary) / f"{asked.files}"
        if not root.exists():
            began = time.perf_counter()
            draw(root, asked.files, asked.folders)
            print(f"drew {asked.files:,} pictures in {time.perf_counter() - began:.0f} s; {os.cpu_count()} cores")
        extra = ["--profile"] if asked.profile else []
        subprocess.run([sys.executable, __file__, "--measure", str(root), *extra], check=True)


if __name__ == "__main__":
    main()
