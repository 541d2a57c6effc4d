"""Draw a small set of pictures or texts and do the main job on it: fit, evaluate, predict; nothing is downloaded."""

from __future__ import annotations

import colorsys
import csv
import math
import os
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from recipes import artifact
from recipes.catalog import TASKS, task_class
from recipes.display import say
from recipes.errors import OptionError, OutputError, did_you_mean, printable
from recipes.results import shown

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
    large = 4 * size
    picture = Image.new("RGB", (large, large), _colour(rng.uniform(), rng.uniform(0.0, 0.3), rng.uniform(0.5, 1.0)))
    radius = large * rng.uniform(0.25, 0.45)
    x, y = rng.uniform(radius, large - radius, 2)
    turn = rng.uniform(-20, 20)
    draw = ImageDraw.Draw(picture)
    colour = _colour(hue, rng.uniform(0.6, 1.0), rng.uniform(0.3, 0.9))
    _draw(draw, corners, x, y, radius, turn, colour)
    return _noisy(picture, size, 12, rng)


def _draw(
    draw: ImageDraw.ImageDraw,
    corners: list[tuple[float, float]],
    x: float,
    y: float,
    radius: float,
    turn: float,
    fill: tuple[int, int, int] | int,
) -> None:
    """A shape around a place, turned by some degrees."""
    if corners:
        angles = [(math.radians(angle + turn), radius * share) for angle, share in corners]
        draw.polygon([(x + r * math.cos(a), y + r * math.sin(a)) for a, r in angles], fill)
    else:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill)


def _colour(hue: float, saturation: float, brightness: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, brightness)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_scenes(folder: str | os.PathLike[str], number: int, seed: int, size: int = 64) -> None:
    """Draw scenes of three kinds of shapes with their masks, in `images/` and `masks/`, and the labels' names beside.

    Masks are PNGs of label places with a palette. Each kind has a range of colours that overlaps with the others':
    colour helps, and does not decide.

    Args:
        folder: where.
        number: how many.
        seed: the same seed draws the same scenes.
        size: side of the images in pixels.
    """
    rng = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (Path(folder) / part).mkdir(parents=True)
    for count in range(number):
        image, mask = _scene(size, rng)
        image.save(Path(folder) / "images" / f"{count:03}.png")
        mask.putpalette([channel for _, colour in _SCENE.values() for channel in colour])
        mask.save(Path(folder) / "masks" / f"{count:03}.png")
    (Path(folder) / "classes.txt").write_text("\n".join(_SCENE) + "\n")


#: The labels of scenes: the shape that is drawn, and the label's colour in masks.
_SCENE: dict[str, tuple[str | None, tuple[int, int, int]]] = {
    "background": (None, (0, 0, 0)),
    "disc": ("circle", (230, 159, 0)),
    "box": ("square", (86, 180, 233)),
    "star": ("star", (0, 158, 115)),
}


def _scene(size: int, rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    large = 4 * size
    image = Image.new("RGB", (large, large), _colour(rng.uniform(), rng.uniform(0.0, 0.3), rng.uniform(0.5, 1.0)))
    mask = Image.new("P", (large, large), 0)
    for _ in range(int(rng.integers(2, 5))):
        place = int(rng.integers(1, len(_SCENE)))
        corners = _SHAPES[str(list(_SCENE.values())[place][0])]
        radius, turn = large * rng.uniform(0.15, 0.3), rng.uniform(-20, 20)
        x, y = rng.uniform(0.1 * large, 0.9 * large, 2)
        hue = (place / (len(_SCENE) - 1) + rng.uniform(-0.17, 0.17)) % 1.0
        colour = _colour(hue, rng.uniform(0.5, 1.0), rng.uniform(0.3, 0.9))
        for picture, fill in ((image, colour), (mask, place)):
            _draw(ImageDraw.Draw(picture), corners, x, y, radius, turn, fill)
    return _noisy(image, size, 10, rng), mask.resize((size, size), Image.Resampling.NEAREST)


def draw_glasses(folder: str | os.PathLike[str], number: int, seed: int, size: int = 64) -> None:
    """Draw glasses, any place and size, and write how full each is into a table `levels.csv` beside them.

    The table has two columns: `image`, the name of the file, and `level`, 0 to 100.

    Args:
        folder: where; it is made.
        number: how many.
        seed: the same seed draws the same glasses.
        size: side of the pictures in pixels.
    """
    rng = np.random.default_rng(seed)
    Path(folder).mkdir(parents=True)
    rows = []
    for count in range(number):
        level = round(float(rng.uniform(0, 100)), 1)
        _glass(level / 100, size, rng).save(Path(folder) / f"{count:03}.png")
        rows.append((f"{count:03}.png", level))
    with open(Path(folder) / "levels.csv", "w", encoding="utf-8", newline="") as table:
        csv.writer(table).writerows([("image", "level"), *rows])


def _glass(level: float, size: int, rng: np.random.Generator) -> Image.Image:
    large = 4 * size
    picture = Image.new("RGB", (large, large), _colour(rng.uniform(), rng.uniform(0.0, 0.2), rng.uniform(0.7, 1.0)))
    draw = ImageDraw.Draw(picture)
    high, wide = large * rng.uniform(0.45, 0.8, 2) * (1.0, 0.6)
    top, left = rng.uniform(0, large - high), rng.uniform(0, large - wide)
    filled = _colour(rng.uniform(), rng.uniform(0.6, 1.0), rng.uniform(0.4, 0.8))
    draw.rectangle((left, top + high * (1 - level), left + wide, top + high), filled)
    for line in ((left, top, left, top + high), (left + wide, top, left + wide, top + high)):
        draw.line(line, (30, 30, 30), large // 32)
    draw.line((left, top + high, left + wide, top + high), (30, 30, 30), large // 32)
    return _noisy(picture, size, 10, rng)


def _noisy(picture: Image.Image, size: int, deviation: float, rng: np.random.Generator) -> Image.Image:
    """A picture that was drawn large, made small, so that edges are smooth, with noise on it."""
    small = np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS)).astype(np.float64)
    return Image.fromarray((small + rng.normal(0, deviation, small.shape)).clip(0, 255).astype(np.uint8))


@dataclass(frozen=True)
class _Demo:
    """What a task's demo draws and how it fits: options and settings of a short run without pretrained weights."""

    drawn: str
    draw: Callable[[Path], None]
    options: dict[str, Any]
    settings: dict[str, Any]
    one: str
    next: str
    test: str = "test"
    things: str = "pictures"


#: What people write to a shop: for each label how its messages speak of a thing.
_MESSAGES: dict[str, tuple[str, ...]] = {
    "delivery": (
        "when will {} arrive",
        "{} has not come yet",
        "the parcel with {} is late",
        "can you bring {} on another day",
        "nobody was at home when {} came",
        "where is {} now",
    ),
    "refund": (
        "I want to send {} back",
        "{} is broken, I would like my money back",
        "please take {} back",
        "{} is not what I ordered, how do I return it",
        "I have returned {} and still wait for the money",
        "{} does not fit me, may I return it",
    ),
    "payment": (
        "I was charged twice for {}",
        "my card is not accepted when I buy {}",
        "can I pay for {} in two parts",
        "where do I find the bill for {}",
        "the price of {} on my bill is wrong",
        "which cards can I use to pay for {}",
    ),
}
_THINGS = ("the lamp", "my new shoes", "the red coat", "this kettle", "a book", "the garden chairs", "our sofa")
_OPENINGS = (
    "Hello,",
    "Hi there,",
    "Good morning,",
    "Dear team,",
    "Excuse me,",
    "Quick question:",
    "Sorry to ask again,",
)
_CLOSINGS = ("thanks", "please help", "thank you for a quick answer", "what can I do?", "any news?", "best wishes", "")


def draw_messages(file: str | os.PathLike[str], number: int, seed: int) -> None:
    """Write messages to a shop, with slips of the pen, and their labels as a table of two columns, `text` and `label`.

    Args:
        file: where, a `.csv` file.
        number: messages for each label.
        seed: the same seed writes the same messages.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for label, forms in _MESSAGES.items():
        for _ in range(number):
            opening, form, thing, closing = (
                words[int(rng.integers(len(words)))] for words in (_OPENINGS, forms, _THINGS, _CLOSINGS)
            )
            letters = list(f"{opening} {form.format(thing)} {closing}".strip())
            for place in rng.integers(len(letters) - 1, size=len(letters) // 8):
                letters[place], letters[place + 1] = letters[place + 1], letters[place]
            rows.append(("".join(letters), label))
    with open(file, "w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        writer.writerows([("text", "label"), *(rows[place] for place in rng.permutation(len(rows)))])


def _draw_texts(folder: Path) -> None:
    folder.mkdir(parents=True)
    for seed, (part, number) in enumerate({"train": 200, "val": 40, "test": 60}.items()):
        draw_messages(folder / f"{part}.csv", number, seed)


def _draw_labelled(folder: Path) -> None:
    draw_shapes(folder / "train", 100, seed=1)
    draw_shapes(folder / "val", 20, seed=2)
    draw_shapes(folder / "test", 40, seed=3)


def _draw_measured(folder: Path) -> None:
    for seed, (part, number) in enumerate({"train": 400, "val": 60, "test": 100}.items()):
        draw_glasses(folder / part, number, seed)


def _draw_masked(folder: Path) -> None:
    for seed, (part, number) in enumerate({"train": 120, "val": 20, "test": 40}.items()):
        draw_scenes(folder / part, number, seed)
    (folder / "classes.txt").write_text("\n".join(_SCENE) + "\n")


_DEMOS = {
    "image-classifier": _Demo(
        f"pictures of {len(_SHAPES)} shapes",
        _draw_labelled,
        {"backbone": "test_resnet", "pretrained": False, "size": 64},
        {"preset": "scratch", "epochs": 10, "mixup": 0.0, "cutmix": 0.0, "crop_scale": 0.7, "lr": 0.005},
        "test/star/000.png",
        "with pictures of your own, in a folder for each label:\n"
        "   recipes fit image-classifier photos/ --out pets\n   recipes predict pets photo.jpg",
    ),
    "image-regressor": _Demo(
        "glasses that are more or less full",
        _draw_measured,
        {"backbone": "test_resnet", "pretrained": False, "size": 64},
        {"preset": "scratch", "epochs": 10, "mixup": 0.0, "cutmix": 0.0, "crop_scale": 1.0, "lr": 0.005},
        "test/000.png",
        "with pictures of your own, and a table with their names and a number for each:\n"
        "   recipes fit image-regressor prices.csv --out prices\n   recipes predict prices photo.jpg",
    ),
    "segmenter": _Demo(
        f"scenes of {len(_SCENE) - 1} kinds of shapes, with masks",
        _draw_masked,
        {"backbone": "test_resnet", "pretrained": False, "size": 64},
        {"preset": "scratch", "epochs": 10, "batch_size": 4, "crop_scale": 1.0, "lr": 0.003},
        "test/images/000.png",
        "with images of your own in images/ and their masks in masks/:\n"
        "   recipes fit segmenter cells/ --out cells-model\n"
        "   recipes predict cells-model image.png --output masks/",
    ),
    "text-classifier": _Demo(
        f"messages of {len(_MESSAGES)} kinds",
        _draw_texts,
        {"backbone": "ngrams"},
        {"epochs": 2},
        "When will my new lamp arrive?",
        "with texts of your own, in a table with the columns text and label:\n"
        "   recipes fit text-classifier reviews.csv --out reviews\n   recipes predict reviews 'I loved it'",
        "test.csv",
        "texts",
    ),
}


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
    began, demo = time.perf_counter(), _DEMOS[task]
    data, model = folder / demo.things, folder / "model"
    say(f"1. Drawing {demo.drawn} in {printable(data)}.")
    demo.draw(data)
    options, settings = demo.options, demo.settings
    flags = " ".join(
        f"--{name.replace('_', '-')} {str(value).lower()}" for name, value in {**options, **settings}.items()
    )
    say(
        f"\n2. Fitting a small network from scratch:\n"
        f"   recipes fit {task} {printable(data)} --out {printable(model)} {flags}"
    )
    fitted = task_class(task)(**options).fit(data, out=model, **settings)

    say(
        f"\n3. Scoring it on {demo.things} it has never seen:\n   recipes evaluate {printable(model)} "
        f"{printable(data / demo.test)}"
    )
    evaluation = fitted.evaluate(data / demo.test)
    score = evaluation.scores[fitted.decisive]
    words = f"{score:.0%}" if evaluation.per_label else shown(score)
    say(f"   {fitted.decisive} {words} on {evaluation.examples} {demo.things}")

    texts = fitted.codec is not None and fitted.codec.ragged
    one = demo.one if texts else os.fspath(data / demo.one)
    prediction = fitted.predict(one)[0]
    words = f"{printable(model)} {shlex.quote(one) if texts else printable(one)}"
    if fitted.codec is not None and fitted.codec.dense:
        say(f"\n4. Predicting one picture:\n   recipes predict {words} --masks overlay --output {printable(folder)}")
        (written,) = prediction.save(folder, "overlay", name="overlay")
        say(f"   {', '.join(f'{label} {share:.0%}' for label, share in prediction.areas.items())}")
        say(f"   the mask over the picture: {printable(written)}")
    else:
        say(f"\n4. Predicting one {demo.things[:-1]}:\n   recipes predict {words}")
        if hasattr(prediction, "value"):
            say(f"   {shown(prediction.value)}")
        else:
            say(f"   {prediction.label} with a score of {prediction.score:.2f}")
    say(f"\nDone in {time.perf_counter() - began:.0f} s. Now {demo.next}")
