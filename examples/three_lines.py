"""The three lines: fit on a folder of pictures, predict, save and load.

    python three_lines.py photos/      fit on a folder of your own
    python three_lines.py              fit on shapes that are drawn for the occasion, without network

Without a folder, everything is written to a temporary folder that is removed at the end.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import recipes
from recipes import ImageClassifier
from recipes.demo import draw_shapes


def main(photos: Path, task: ImageClassifier, **settings: int) -> None:
    # The one thing that people wait for. It finds the labels in the folders' names and sets pictures aside to
    # choose the best epoch by.
    model = task.fit(photos, **settings)

    # Predictions come as a list, in order, one for each picture that was found.
    picture = next(path for path in sorted(photos.rglob("*")) if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    prediction = model.predict(picture)[0]
    print(f"{prediction.file}: {prediction.label} ({prediction.score:.0%})")
    print("next best:", ", ".join(f"{label} {score:.0%}" for label, score in prediction.top(3)[1:]))

    # A saved model is a folder of JSON and safetensors. It knows its labels and how to prepare a picture.
    with tempfile.TemporaryDirectory() as temporary:
        model.save(Path(temporary) / "pets")
        again = recipes.load(Path(temporary) / "pets").predict(picture)[0]
    print("loaded again, it says the same:", again == prediction)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), ImageClassifier())
    else:
        with tempfile.TemporaryDirectory() as drawn:
            draw_shapes(Path(drawn) / "shapes", number=12, seed=0, size=32)
            # A tiny network with random weights: it starts at once, learns little, and needs no download.
            main(
                Path(drawn) / "shapes",
                ImageClassifier(backbone="test_resnet", pretrained=False, size=32),
                epochs=2,
            )
