"""Pictures per second in training: one process with all cores beside two that share them, as a ratio of medians.

    python benchmarks/processes.py [--backbone mobilenetv3_small_100] [--rounds 3] [--images 640]

Every turn is one `fit` of two epochs in a Python of its own, and the second epoch counts, without validation. Turns are
taken in order (one, ddp, fsdp, one, ddp, fsdp, …), float32, batch 32, drawn 500 × 375 JPEGs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from speed import draw

SIDES: dict[str, dict[str, Any]] = {
    "one process": {},
    "two, ddp": {"devices": 2, "strategy": "ddp"},
    "two, fsdp": {"devices": 2, "strategy": "fsdp"},
}


def rate(folder: str, backbone: str, settings: dict[str, Any]) -> float:
    from recipes import ImageClassifier

    task = ImageClassifier(backbone=backbone, pretrained=False)
    task.fit(
        folder,
        **{"epochs": 2, "head_first": False, "patience": 0, "precision": "32", "accelerator": "cpu", **settings},
        quiet=True,
    )
    assert task.history is not None
    return float(task.history.epochs[1]["examples_per_second"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backbone", default="mobilenetv3_small_100")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps(rate(asked.folder, asked.backbone, SIDES[asked.side])))
        return
    cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    busy = "; the machine was busy with other work, so these figures say little" if load > 0.5 else ""
    print(f"{asked.backbone}, {asked.images} JPEGs, {cores} cores, load {load:.1f} before the first turn{busy}")
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), asked.images)
        for _ in range(asked.rounds):
            for side, found in rates.items():
                command = [sys.executable, __file__, "--side", side, "--folder", folder, "--backbone", asked.backbone]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found.append(json.loads(done.stdout.splitlines()[-1]))
    alone = statistics.median(rates["one process"])
    for side, found in rates.items():
        middle = statistics.median(found)
        spread = f"{min(found):.1f} to {max(found):.1f}"
        print(f"{side:12} {middle:6.1f} pictures a second ({spread})  ratio to one process {middle / alone:.2f}")


if __name__ == "__main__":
    main()
