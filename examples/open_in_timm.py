"""A saved model is timm's, too: open the folder with timm alone and get the same scores.

python open_in_timm.py [MODEL]      (without a model: one is fitted on drawn shapes, without network)

Without a model, everything is written to a temporary folder that is removed at the end.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

import recipes
from recipes import ImageClassifier
from recipes.demo import draw_shapes


def main(folder: Path, picture: Image.Image) -> None:
    # What timm needs lies in config.json and model.safetensors; it reads nothing else.
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    labels = network.pretrained_cfg["label_names"]

    # timm's own transforms, made from the figures in config.json, stand for what recipes does to a picture.
    transform = create_transform(**resolve_data_config(model=network), is_training=False)
    with torch.inference_mode():
        logits = network(transform(picture).unsqueeze(0))[0]

    prediction = recipes.load(folder).predict(picture)[0]
    theirs = dict(zip(labels, logits.softmax(0).tolist(), strict=True))
    for label, score in prediction.top(3):
        print(f"{label:<12} recipes {score:.4f}   timm {theirs[label]:.4f}")
    # The last digits may differ: timm normalises one picture at a time, recipes a batch.
    assert all(abs(theirs[label] - score) < 1e-4 for label, score in prediction.scores.items())
    print("the same scores")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        shapes = Path(temporary) / "shapes"
        draw_shapes(shapes, number=12, seed=0, size=32)
        if len(sys.argv) > 1:
            model = Path(sys.argv[1])
        else:
            model = Path(temporary) / "model"
            task = ImageClassifier(backbone="test_resnet", pretrained=False, size=32)
            task.fit(shapes, epochs=1, out=model, quiet=True)
        with Image.open(shapes / "star" / "000.png") as star:
            main(model, star.convert("RGB"))
