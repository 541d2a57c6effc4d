"""What `compare` costs: the ranking of five backbones, against one fine-tuning of the slowest of them.

    RECIPES_SHARED=... python benchmarks/compare.py [--set clothing10] [--size 224] [--images N] [BACKBONE ...]

The weights are random where none are at hand: they change the scores, which are not the point here, and no time. The
features are computed, none come from the cache. The pictures are read (each is decoded once, to see whether it is whole
and a copy of another) before the first backbone is fitted; `head` is what its looks at the pictures take, decoding
included. Of the fine-tuning (preset `default`) one epoch is measured together
with all that happens once (reading, the last layer, scoring), and once more with two; an epoch is the difference, and
the whole run is one epoch and all further ones at that price.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch

from recipes import ImageClassifier, Preset, backbones, training

LOADED = (backbones, training)  # before any clock runs: to import them takes seconds, once

NAMES = ("mobilenetv3_small_100", "mobilenetv2_100", "resnet18", "hgnetv2_b0", "resnet50")


def clocks() -> list[float]:
    """The time by the clock, and that of the processor, which other programs beside this one do not lengthen."""
    return [time.perf_counter(), time.process_time()]


def since(began: list[float]) -> list[float]:
    return [now - then for now, then in zip(clocks(), began, strict=True)]


def part_of(data: Path, images: int, folder: Path) -> Path:
    """A folder with the first pictures of each label, for a short run."""
    train = data / "train" if (data / "train").is_dir() else data
    labels = sorted(entry for entry in train.iterdir() if entry.is_dir())
    for label in labels:
        (folder / label.name).mkdir(parents=True)
        for picture in sorted(label.iterdir())[: max(5, images // len(labels))]:
            shutil.copy(picture, folder / label.name / picture.name)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--set", default="clothing10")
    parser.add_argument("--size", type=int, default=None)
    parser.add_argument("--images", type=int, default=0, help="take so many pictures; 0 takes all")
    asked = parser.parse_args()
    if not (shared := os.environ.get("RECIPES_SHARED")):
        sys.exit("RECIPES_SHARED is not set; see the first lines of this file")
    data = Path(shared) / "data" / asked.set
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["RECIPES_CACHE"] = scratch
        if asked.images:
            data = part_of(data, asked.images, Path(scratch) / "pictures")
        print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {data.name}", flush=True)
        task = ImageClassifier(pretrained=False, size=asked.size)
        began = clocks()
        splits = task.read(data, None, task.reading(task.presets["quick"]))
        reading = since(began)
        comparison = task.compare(splits, backbones=asked.names, cache=False)
        all_five = since(began)
        comparison.show(sys.stdout)
        print(f"reading, once for all: {reading[0]:.1f} s by the clock, {reading[1]:.1f} s of the processor; then")
        for row in comparison.rows:
            parts = ", ".join(f"{name} {spent:.1f}" for name, spent in row.parts.items())
            print(f"  {row.backbone:<24}{row.seconds or 0:>7.1f} s by the clock: {row.error or parts}")
        rest = all_five[0] - reading[0] - sum(row.seconds or 0.0 for row in comparison.rows)
        print(f"  {'timing predictions':<24}{rest:>7.1f} s by the clock")
        slowest = max(comparison.rows, key=lambda row: row.seconds or 0.0).backbone

        def seconds(epochs: int) -> list[float]:
            began = clocks()
            one = ImageClassifier(slowest, pretrained=False, size=asked.size)
            one.fit(data, epochs=epochs, cache=False, quiet=True)
            return since(began)

        first, both = seconds(1), seconds(2)
        epochs = Preset().epochs
        full = [one + (epochs - 1) * (two - one) for one, two in zip(first, both, strict=True)]
        print(f"                        {'by the clock':>14}{'of the processor':>18}")
        for what, figures in (
            (f"compare, {len(comparison.rows)} backbones", all_five),
            (f"{slowest}, 1 epoch", first),
            (f"{slowest}, 2 epochs", both),
            (f"{slowest}, {epochs} (reckoned)", full),
        ):
            print(f"{what:<24}{figures[0]:>12.0f} s{figures[1]:>16.0f} s")
        shares = [one / other for one, other in zip(all_five, full, strict=True)]
        print(f"compare takes {shares[0]:.2f} of one full fine-tuning, of the processor's time {shares[1]:.2f}")


if __name__ == "__main__":
    main()
