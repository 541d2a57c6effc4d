"""Draw a small set of pictures and do the main job on it: fit, evaluate, predict; no network, no pretrained weights."""

from __future__ import annotations

import colorsys
import math
import os
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from recipes import artifact
from recipes.catalog import TASKS, task_class
from recipes.display import say
from recipes.errors import OptionError, OutputError, did_you_mean, printable

#: The corners of each shape, as angles on a circle and shares of its radius; none for the circle itself.
_SHAPES: dict[str, list[tuple[float, float]]] = {
    "circle": [],
    "cross": [(90 * turn + side, radius) for turn in range(4) for side, radius in ((-18, 1.0), (18, 1.0), (45, 0.42))],
    "square": [(90 * turn + 45, 1.0) for turn in range(4)],
    "star": [(36 * turn - 90, 1.0 if turn % 2 == 0 else 0.45) for turn in range(10)],
    "triangle": [(120 * turn - 90, 1.0) for turn in range(3)],
}


def draw_shapes(folder: str | os.PathLike[str], number: int, seed: int, size: int = 64) -> None:
    """Draw pictures of shapes, in a folder for each shape: any place and size, a little turned, on a noisy ground.

    Each shape has a range of colours that overlaps with its neighbours': colour helps, and does not decide.

    Args:
        folder: where; the folders of the labels are made in it.
        number: pictures for each label.
        seed: the same seed draws the same pictures.
        size: side of the pictures in pixels.
    """
    rng = np.random.default_rng(seed)
    for number_of_shape, (name, corners) in enumerate(_SHAPES.items()):
        place = Path(folder) / name
        place.mkdir(parents=True)
        for count in range(number):
            hue = (number_of_shape / len(_SHAPES) + rng.uniform(-0.12, 0.12)) % 1.0
            _shape(corners, hue, size, rng).save(place / f"{count:03}.png")


def _shape(corners: list[tuple[float, float]], hue: float, size: int, rng: np.random.Generator) -> Image.Image:
    large = 4 * size  # drawn large and made small, so that edges are smooth
    picture = Image.new("RGB", (large, large), _colour(rng.uniform(), rng.uniform(0.0, 0.3), rng.uniform(0.5, 1.0)))
    radius = large * rng.uniform(0.25, 0.45)
    x, y = rng.uniform(radius, large - radius, 2)
    turn = rng.uniform(-20, 20)
    draw = ImageDraw.Draw(picture)
    colour = _colour(hue, rng.uniform(0.6, 1.0), rng.uniform(0.3, 0.9))
    if corners:
        angles = [(math.radians(angle + turn), radius * share) for angle, share in corners]
        draw.polygon([(x + r * math.cos(a), y + r * math.sin(a)) for a, r in angles], colour)
    else:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)
    small = np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS)).astype(np.float64)
    return Image.fromarray((small + rng.normal(0, 12, small.shape)).clip(0, 255).astype(np.uint8))


def _colour(hue: float, saturation: float, brightness: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, brightness)
    return round(255 * red), round(255 * green), round(255 * blue)


def run(task: str, out: str) -> None:
    """Draw, fit, evaluate and predict, saying each step and the command that does it on data of one's own.

    Args:
        task: the task's name in the shell.
        out: a new folder for the pictures and the model.

    Raises:
        OptionError: there is no such task.
        OutputError: the folder exists already or cannot be written.
    """
    if task not in TASKS:
        raise OptionError(
            f"there is no task {printable(task)!r}{did_you_mean(task, TASKS)} (tasks: {', '.join(TASKS)})"
        )
    folder = Path(out)
    if folder.exists():
        raise OutputError(f"{printable(folder)} exists already; remove it, or choose another with --out")
    artifact.check_output(folder / "model", overwrite=False)
    began = time.perf_counter()
    pictures, model = folder / "pictures", folder / "model"
    say(f"1. Drawing pictures of {len(_SHAPES)} shapes in {printable(pictures)}, none of them twice.")
    draw_shapes(pictures / "train", 100, seed=1)
    draw_shapes(pictures / "val", 20, seed=2)
    draw_shapes(pictures / "test", 40, seed=3)

    options = {"backbone": "test_resnet", "pretrained": False, "size": 64}
    settings = {"preset": "scratch", "epochs": 10, "mixup": 0.0, "cutmix": 0.0, "crop_scale": 0.7, "lr": 0.005}
    flags = " ".join(
        f"--{name.replace('_', '-')} {str(value).lower()}" for name, value in {**options, **settings}.items()
    )
    say(
        f"\n2. Fitting a small network from scratch:\n"
        f"   recipes fit {task} {printable(pictures)} --out {printable(model)} {flags}"
    )
    fitted = task_class(task)(**options).fit(pictures, out=model, **settings)  # type: ignore[arg-type]

    say(
        f"\n3. Scoring it on pictures it has never seen:\n"
        f"   recipes evaluate {printable(model)} {printable(pictures / 'test')}"
    )
    evaluation = fitted.evaluate(pictures / "test")
    say(f"   {evaluation.accuracy:.0%} of {evaluation.examples} are right; guessing would give {1 / len(_SHAPES):.0%}.")

    one = pictures / "test" / "star" / "000.png"
    prediction = fitted.predict(one)[0]
    say(f"\n4. Predicting one picture:\n   recipes predict {printable(model)} {printable(one)}")
    say(f"   {prediction.label} with a score of {prediction.score:.2f}")
    say(f"\nDone in {time.perf_counter() - began:.0f} s. Now with pictures of your own, in a folder for each label:")
    say("   recipes fit image-classifier photos/ --out pets\n   recipes predict pets photo.jpg")
