"""Mean IoU and Dice of `recipes` beside a loop written by hand around the same network, given the same time.

    RECIPES_SHARED=... python benchmarks/segmentation.py [--sets isbi_membrane,chasedb1] [--seeds 0]

`RECIPES_SHARED` is a folder with `data/SET/train` and `data/SET/test`, each with `images/` and `masks/`, and with
`weights/mobilenetv2_100_imagenet_timm.safetensors`. Both sides train a U-Net of segmentation_models_pytorch with these
weights in its encoder. recipes runs its default preset; the loop is what its users write: random crops and flips of the
same size, AdamW at 1e-3, cross entropy + Dice, all training images, for as long as recipes took (a cosine over that
time), evaluated on whole images, filled up to a multiple of 32. One process each, the same threads.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def recipes_side(folder: Path, weights: str, seed: int, _: float, epochs: int | None) -> dict[str, Any]:
    from recipes import Segmenter

    began = time.perf_counter()
    task = Segmenter(backbone="mobilenetv2_100", weights=weights)
    task.fit(folder, seed=seed, quiet=True, **({"epochs": epochs} if epochs else {}))
    seconds = time.perf_counter() - began
    assert task.history is not None
    scores = task.evaluate(folder / "test").scores
    return {**scores, "seconds": seconds, "epochs": len(task.history.epochs), "best": task.history.best_epoch}


def by_hand(folder: Path, weights: str, seed: int, seconds: float, _: int | None) -> dict[str, Any]:
    import segmentation_models_pytorch as smp
    import torch
    from torch.nn.functional import cross_entropy, pad

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def read(part: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
        found = []
        for image, mask in zip(
            *(sorted((folder / part / kind).iterdir()) for kind in ("images", "masks")), strict=True
        ):
            pixels = torch.from_numpy(np.array(Image.open(image).convert("RGB"))).permute(2, 0, 1) / 255
            found.append(((pixels - mean) / std, torch.from_numpy(np.array(Image.open(mask)) > 0).long()))
        return found

    began = time.perf_counter()
    train = read("train")
    model = smp.Unet(
        "tu-mobilenetv2_100", encoder_weights=True, classes=2, pretrained_cfg_overlay={"file": weights}
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    dice = smp.losses.DiceLoss("multiclass")
    side, steps = 256, 0
    while (share := (time.perf_counter() - began) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * share))
        crops, truths = [], []
        for place in rng.integers(len(train), size=8):
            pixels, truth = train[place]
            top, left = (int(rng.integers(extent - side + 1)) for extent in truth.shape)
            turned = [2] if rng.random() < 0.5 else []
            crops.append(pixels[:, top : top + side, left : left + side].flip(turned))
            truths.append(truth[top : top + side, left : left + side].flip([axis - 1 for axis in turned]))
        scores, truth = model(torch.stack(crops)), torch.stack(truths)
        loss = cross_entropy(scores, truth) + dice(scores, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    model.eval()
    table = np.zeros((2, 2))
    with torch.inference_mode():
        for pixels, truth in read("test"):
            height, width = truth.shape
            filled = pad(pixels[None], (0, -width % 32, 0, -height % 32), mode="replicate")
            found = model(filled)[0, :, :height, :width].argmax(0)
            table += np.bincount((truth * 2 + found).flatten().numpy(), minlength=4).reshape(2, 2)
    right, true, said = np.diag(table), table.sum(1), table.sum(0)
    return {
        "mean_iou": float((right / (true + said - right)).mean()),
        "mean_dice": float((2 * right / (true + said)).mean()),
        "accuracy": float(right.sum() / table.sum()),
        "seconds": seconds,
        "epochs": steps,
        "best": None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", default="isbi_membrane,chasedb1")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--epochs", type=int, help="other than those of the preset")
    parser.add_argument("--side", nargs=5, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        name, folder, weights, seed, seconds = asked.side
        side = recipes_side if name == "recipes" else by_hand
        print(json.dumps(side(Path(folder), weights, int(seed), float(seconds), asked.epochs)))
        return
    shared = Path(os.environ.get("RECIPES_SHARED") or sys.exit("RECIPES_SHARED is not set"))
    weights = str(shared / "weights" / "mobilenetv2_100_imagenet_timm.safetensors")
    print("set            side     seed  mean IoU  mean Dice  accuracy  seconds  epochs or steps", flush=True)
    for name in asked.sets.split(","):
        for seed in asked.seeds.split(","):
            seconds = 0.0
            for side in ("recipes", "by hand"):
                words = [side, str(shared / "data" / name), weights, seed, str(seconds)]
                words += ["--epochs", str(asked.epochs)] if asked.epochs else []
                done = subprocess.run([sys.executable, __file__, "--side", *words], stdout=subprocess.PIPE, check=True)
                row = json.loads(done.stdout.splitlines()[-1])
                seconds = row["seconds"]
                print(
                    f"{name:14} {side:8} {seed:>4}  {row['mean_iou']:8.4f}  {row['mean_dice']:9.4f}  "
                    f"{row['accuracy']:8.4f}  {seconds:7.0f}  {row['epochs']}"
                    + (f" (kept {row['best']})" if row["best"] else ""),
                    flush=True,
                )


if __name__ == "__main__":
    main()
