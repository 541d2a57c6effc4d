"""Test accuracy of `recipes` beside fastai's `fine_tune`, same backbone and weights, in one run, at equal wall time.

    RECIPES_SHARED=... python benchmarks/fastai_fine_tune.py --fastai PYTHON [--sets clothing10] [--seeds 0,1,2]

fastai has an environment of its own, whose Python is given. `RECIPES_SHARED` is as for `accuracy.py`. For each seed
fastai fine-tunes first (its defaults: `fine_tune(3)`, 224 px by `RandomResizedCrop`, `aug_transforms`), then recipes
trains with its default preset for as many epochs as end sooner. Both times are whole: data, network, training.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WEIGHTS = "mobilenetv2_100_imagenet_timm.safetensors"


def fastai_side(folder: Path, backbone: Path, epochs: int, seed: int) -> dict[str, float]:
    from fastai.vision.all import (
        CategoryBlock,
        DataBlock,
        GrandparentSplitter,
        ImageBlock,
        RandomResizedCrop,
        RandomSplitter,
        accuracy,
        aug_transforms,
        get_image_files,
        parent_label,
        set_seed,
        vision_learner,
    )

    began = time.perf_counter()
    set_seed(seed)
    given = (folder / "val").is_dir()
    splitter = GrandparentSplitter("train", "val") if given else RandomSplitter(0.2, seed)
    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_items=lambda path: get_image_files(path, folders=["train", "val"]),
        splitter=splitter,
        get_y=parent_label,
        item_tfms=RandomResizedCrop(224, min_scale=0.5),
        batch_tfms=aug_transforms(),
    )
    loaders = block.dataloaders(folder, bs=32, num_workers=os.cpu_count() or 1)
    learner = vision_learner(loaders, f"local-dir:{backbone}", metrics=accuracy)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)
    seconds = time.perf_counter() - began
    files = get_image_files(folder / "test")
    scores, _ = learner.get_preds(dl=loaders.test_dl(files, num_workers=0))
    labels = list(loaders.vocab)
    right = [labels[int(row.argmax())] == file.parent.name for row, file in zip(scores, files, strict=True)]
    return {"accuracy": sum(right) / len(right), "seconds": seconds}


def recipes_side(folder: Path, backbone: Path, epochs: int, seed: int) -> dict[str, float]:
    from recipes import ImageClassifier

    began = time.perf_counter()
    task = ImageClassifier(backbone="mobilenetv2_100", weights=str(backbone / "model.safetensors"))
    task.fit(folder, epochs=epochs, seed=seed, cache=False, quiet=True)
    seconds = time.perf_counter() - began
    return {"accuracy": task.evaluate(folder / "test").accuracy, "seconds": seconds}


def backbone_folder(where: Path, weights: Path) -> Path:
    """The weights as a folder that timm opens by `local-dir:`, so that both sides start from the same file."""
    figures = {
        "num_classes": 1000,
        "input_size": [3, 224, 224],
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "interpolation": "bicubic",
        "first_conv": "conv_stem",
        "classifier": "classifier",
    }
    config = {"architecture": "mobilenetv2_100", "num_classes": 1000, "pretrained_cfg": figures}
    (where / "config.json").write_text(json.dumps(config))
    (where / "model.safetensors").symlink_to(weights.absolute())
    return where


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fastai", help="the Python of an environment with fastai and timm")
    parser.add_argument("--sets", default="clothing10")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=3, help="for fastai")
    parser.add_argument("--our-epochs", type=int, default=4)
    parser.add_argument("--side", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        name, folder, backbone, seed = asked.side
        side, epochs = (fastai_side, asked.epochs) if name == "fastai" else (recipes_side, asked.our_epochs)
        print(json.dumps(side(Path(folder), Path(backbone), epochs, int(seed))))
        return
    shared = Path(os.environ.get("RECIPES_SHARED") or sys.exit("RECIPES_SHARED is not set"))
    pythons = {"fastai": asked.fastai or sys.exit("--fastai is not given"), "recipes": sys.executable}
    print("set          side     seed  accuracy  seconds", flush=True)
    for name in asked.sets.split(","):
        found: dict[str, list[dict[str, float]]] = {side: [] for side in pythons}
        with tempfile.TemporaryDirectory() as scratch:
            backbone = backbone_folder(Path(scratch), shared / "weights" / WEIGHTS)
            for seed in asked.seeds.split(","):
                for side, python in pythons.items():
                    command = [python, __file__, "--epochs", str(asked.epochs), "--our-epochs", str(asked.our_epochs)]
                    command += ["--side", side, str(shared / "data" / name), str(backbone), seed]
                    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                    row = json.loads(done.stdout.splitlines()[-1])
                    found[side].append(row)
                    print(f"{name:12} {side:8} {seed:>4}  {row['accuracy']:8.4f}  {row['seconds']:7.1f}", flush=True)
        for side, rows in found.items():
            accuracy, seconds = (statistics.median(row[key] for row in rows) for key in ("accuracy", "seconds"))
            print(f"{name:12} {side:8} median {accuracy:6.4f}  {seconds:7.1f}", flush=True)


if __name__ == "__main__":
    main()
