"""Test accuracy and time of the presets on real pictures, several seeds, mean and spread.

    RECIPES_SHARED=... python benchmarks/accuracy.py [--presets quick,default,best] [--sets clothing10,sign_digits]
        [--seeds 0,1,2]

`RECIPES_SHARED` is a folder with `data/SET/train` and `data/SET/test` (and perhaps `val`) folders, and with
`weights/mobilenetv2_100_imagenet_timm.safetensors`, the ImageNet weights that every run starts from. Nothing is tuned
here: a run is the preset as it stands. Without a `val` folder a stratified part of `train` is set aside.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import torch

from recipes import ImageClassifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--presets", default="quick,default,best")
    parser.add_argument("--sets", default="clothing10,sign_digits")
    parser.add_argument("--seeds", default="0,1,2")
    asked = parser.parse_args()
    if not (shared := os.environ.get("RECIPES_SHARED")):
        sys.exit("RECIPES_SHARED is not set; see the first lines of this file")
    weights = str(Path(shared) / "weights" / "mobilenetv2_100_imagenet_timm.safetensors")
    print(f"mobilenetv2_100, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("set          preset    seed  accuracy  macro F1  val     epoch  precision  minutes", flush=True)
    for name in asked.sets.split(","):
        folder = Path(shared) / "data" / name
        for preset in asked.presets.split(","):
            found = []
            for seed in map(int, asked.seeds.split(",")):
                began = time.perf_counter()
                task = ImageClassifier(backbone="mobilenetv2_100", weights=weights)
                task.fit(folder, preset=preset, seed=seed, quiet=True)
                minutes = (time.perf_counter() - began) / 60
                scores = task.evaluate(folder / "test").scores
                assert task.history is not None
                found.append(scores["accuracy"])
                print(
                    f"{name:12} {preset:9} {seed:4}  {scores['accuracy']:8.4f}  {scores['macro_f1']:8.4f}  "
                    f"{task._scores['accuracy']:.4f}  {task.history.best_epoch or 0:5}  {task.history.precision:9}  "
                    f"{minutes:7.2f}",
                    flush=True,
                )
            spread = statistics.stdev(found) if len(found) > 1 else 0.0
            print(f"{name:12} {preset:9} mean  {statistics.mean(found):.4f} ± {spread:.4f}", flush=True)


if __name__ == "__main__":
    main()
