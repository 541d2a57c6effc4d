"""Numbers: fit on pictures with a number each, predict one, and look at the largest errors.

    python image_regressor.py prices.csv     fit on a table of your own: a column of files and one of numbers
    python image_regressor.py                fit on glasses that are drawn for the occasion, without network

Without a table, everything is written to a temporary folder that is removed at the end.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import recipes
from recipes import ImageRegressor
from recipes.demo import draw_glasses


def main(table: Path, task: ImageRegressor, **settings: Any) -> None:
    # The columns are found by what is in them. A part of the rows is set aside for validation: low and high numbers.
    model = task.fit(table, **settings)

    # Errors are in the units of the numbers; R² is 1 if all are right, and 0 for one who always says the mean.
    evaluation = model.evaluate(table)
    print(", ".join(f"{name} {score:.2f}" for name, score in evaluation.scores.items()))

    # The largest errors come first; a wrong number in the table shows up here.
    for row in evaluation.worst[:3]:
        print(f"{row['file']}: {row['value']:.1f}, predicted {row['predicted']:.1f}")

    # A picture without a number gets one.
    prediction = model.predict(evaluation.worst[0]["file"])[0]
    with tempfile.TemporaryDirectory() as temporary:
        model.save(Path(temporary) / "levels")
        again = recipes.load(Path(temporary) / "levels").predict(prediction.file)[0]
    print(f"{prediction.value:.1f}; loaded again, it says the same: {again == prediction}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), ImageRegressor())
    else:
        with tempfile.TemporaryDirectory() as drawn:
            draw_glasses(Path(drawn) / "glasses", number=60, seed=0, size=32)
            # A tiny network with random weights: it starts at once, learns little, and needs no download.
            task = ImageRegressor(backbone="test_resnet", pretrained=False, size=32)
            main(Path(drawn) / "glasses" / "levels.csv", task, epochs=3, crop_scale=1.0)
