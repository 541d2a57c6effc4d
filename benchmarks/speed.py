"""Images per second of `recipes` beside the loop a good engineer writes by hand, in one run, as a ratio of medians.

    python benchmarks/speed.py [--backbone mobilenetv3_small_100] [--rounds 3] [--images 640]

Both read the same drawn 500 × 375 JPEGs of about 70 kB, 224 px, batch 32, on this machine's CPU, in turns (A B A B …),
each turn in a process of its own. The hand-written side is ImageFolder, torchvision's v2 transforms on PIL pictures, a
DataLoader with a worker for each core, AdamW and float32. Training is timed over an epoch after a first one that warms
up; predicting over a whole call on a folder, its start included. "overhead" compares a whole run of recipes, with
progress bar and checkpoints, with the very same steps (its own batches and network) in a plain loop.
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

import numpy as np


def draw(folder: Path, images: int) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(images):
        place = folder / f"label{number % 4}"
        place.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((500, 375), Image.BICUBIC)
        noise = rng.normal(0, 14, (375, 500, 1))
        pixels = (np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{number:05}.jpg", quality=87)


def by_hand_train(folder: str, backbone: str) -> float:
    import timm
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transform = v2.Compose(
        [
            v2.RandomResizedCrop(224, scale=(0.5, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    data = ImageFolder(folder, transform)
    loader = DataLoader(data, 32, shuffle=True, num_workers=os.cpu_count() or 1, persistent_workers=True)
    model = timm.create_model(backbone, num_classes=len(data.classes)).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for epoch in range(2):
        began = time.perf_counter()
        for pixels, targets in loader:
            loss = torch.nn.functional.cross_entropy(model(pixels), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        if epoch == 1:
            return len(data) / (time.perf_counter() - began)
    raise AssertionError


def recipes_train(folder: str, backbone: str) -> float:
    from recipes import ImageClassifier

    task = ImageClassifier(backbone=backbone, pretrained=False)
    # 64 of the images go to validation, outside the timed part, as in any recipe.
    task.fit(folder, epochs=2, head_first=False, val_fraction=0.1, patience=0, quiet=True)
    assert task.history is not None
    return task.history.epochs[1]["examples_per_second"]


def by_hand_predict(folder: str, backbone: str) -> float:
    import timm
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transform = v2.Compose(
        [
            v2.Resize(256, antialias=True),
            v2.CenterCrop(224),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    model = timm.create_model(backbone, num_classes=4).eval()
    began = time.perf_counter()
    data = ImageFolder(folder, transform)
    found = []
    with torch.inference_mode():
        for pixels, _ in DataLoader(data, 32, num_workers=os.cpu_count() or 1):
            found += model(pixels).softmax(1).argmax(1).tolist()
    assert len(found) == len(data)
    return len(found) / (time.perf_counter() - began)


def recipes_predict(folder: str, backbone: str) -> float:
    from recipes import ImageClassifier, Preset
    from recipes.examples import Examples, Splits

    task = ImageClassifier(backbone=backbone, pretrained=False)
    task.codec, task.network = task.make(Splits(*[Examples([], [], ("a", "b", "c", "d"))] * 2), Preset())
    began = time.perf_counter()
    found = task.predict(folder)
    return len(found) / (time.perf_counter() - began)


def recipes_whole(folder: str, backbone: str) -> float:
    """A whole run with progress bar and checkpoints, from the first step to the last: images per second."""
    from recipes import ImageClassifier

    task = ImageClassifier(backbone=backbone, pretrained=False)
    with tempfile.TemporaryDirectory() as scratch:
        task.fit(folder, out=Path(scratch) / "model", **SAME_STEPS)
    assert task.history is not None
    return SAME_STEPS["epochs"] * 0.9 * count(folder) / task.history.seconds


def same_steps_by_hand(folder: str, backbone: str) -> float:
    """The same batches, network, optimizer, schedule, clipping and validation in a plain loop: images per second."""
    import torch
    from torch.nn.functional import cross_entropy

    from recipes import ImageClassifier, backbones
    from recipes.inference import keep_freed_memory

    task = ImageClassifier(backbone=backbone, pretrained=False)
    data, module = task.lightning(folder, **SAME_STEPS)
    network = module.network
    keep_freed_memory()
    began = time.perf_counter()
    optimizer = backbones.optimizer(network, data.preset)
    batches, val = data.train_dataloader(), data.val_dataloader()
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-4, SAME_STEPS["epochs"] * len(batches))
    for epoch in range(SAME_STEPS["epochs"]):
        batches.sampler.set_epoch(epoch)
        network.train()
        for pixels, targets, _ in batches:
            optimizer.zero_grad()
            loss = cross_entropy(network(pixels), targets, label_smoothing=0.1)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        network.eval()
        right = 0
        with torch.inference_mode():
            for pixels, targets, _ in val:
                right += int((network(pixels).argmax(1) == targets).sum())
    return SAME_STEPS["epochs"] * 0.9 * count(folder) / (time.perf_counter() - began)


def count(folder: str) -> int:
    return len(list(Path(folder).glob("*/*.jpg")))


SAME_STEPS = {"epochs": 3, "head_first": False, "val_fraction": 0.1, "patience": 0, "precision": "32"}

SIDES = {
    "overhead": (recipes_whole, same_steps_by_hand),
    "train": (recipes_train, by_hand_train),
    "predict": (recipes_predict, by_hand_predict),
}


def one_picture(folder: str, backbone: str, rounds: int) -> None:
    """One picture through the shell, beside the imports that nothing which uses timm can avoid."""
    from recipes import ImageClassifier, Preset
    from recipes.examples import Examples, Splits

    task = ImageClassifier(backbone=backbone, pretrained=False)
    task.codec, task.network = task.make(Splits(*[Examples([], [], ("a", "b", "c", "d"))] * 2), Preset())
    task.save(Path(folder) / "model")
    picture = str(next(Path(folder).glob("*/*.jpg")))
    commands = (
        [sys.executable, "-m", "recipes", "predict", str(Path(folder) / "model"), picture],
        [sys.executable, "-c", "import torch, torchvision, timm"],
    )
    seconds: list[list[float]] = [[], []]
    for _ in range(rounds + 1):
        for side, command in enumerate(commands):
            began = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            seconds[side].append(time.perf_counter() - began)
    ours, theirs = (statistics.median(values[1:]) for values in seconds)  # the first warms the file cache
    print(f"one      recipes {ours:.2f} s  imports {theirs:.2f} s  ratio {ours / theirs:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backbone", default="mobilenetv3_small_100")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--only", default=",".join(SIDES))
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        what, number = asked.side.split(":")
        print(json.dumps(SIDES[what][int(number)](asked.folder, asked.backbone)))
        return
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), asked.images)
        size = statistics.median(path.stat().st_size for path in Path(folder).glob("*/*.jpg")) / 1000
        print(f"{asked.backbone}, {asked.images} JPEGs of 500 × 375 (median {size:.0f} kB), {os.cpu_count()} cores")
        for what in asked.only.split(","):
            rates: list[list[float]] = [[], []]
            for _ in range(asked.rounds):
                for side in (0, 1):
                    command = [sys.executable, __file__, "--side", f"{what}:{side}", "--folder", folder]
                    command += ["--backbone", asked.backbone]
                    seen = {**os.environ, "FORCE_COLOR": "1"}  # the progress bar is drawn as on a terminal
                    done = subprocess.run(command, capture_output=True, text=True, check=True, env=seen)
                    rates[side].append(json.loads(done.stdout.splitlines()[-1]))
            ours, theirs = (statistics.median(values) for values in rates)
            spread = "  ".join(f"{min(values):.0f}–{max(values):.0f}" for values in rates)
            print(f"{what:8} recipes {ours:.0f}  by hand {theirs:.0f} images/s  ratio {ours / theirs:.2f}  ({spread})")
        one_picture(folder, asked.backbone, asked.rounds)


if __name__ == "__main__":
    main()
