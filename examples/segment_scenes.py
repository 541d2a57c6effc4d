"""Masks: fit on images with masks, predict one, and look at what came out.

    python segment_scenes.py cells/      fit on images/ and masks/ of your own
    python segment_scenes.py             fit on scenes that are drawn for the occasion, without network

Without a folder, everything is written to a temporary folder that is removed at the end.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from recipes import Segmenter
from recipes.demo import draw_scenes


def main(data: Path, task: Segmenter, **settings: int) -> None:
    # Images and masks are paired by their names; what the masks' values mean is found, or given as options.
    model = task.fit(data, **settings)

    # A mask has the size of its image. Its values are places in the list of labels.
    image = sorted((data / "images").iterdir())[0]
    prediction = model.predict(image)[0]
    print(prediction.mask.shape, ", ".join(f"{label} {share:.0%}" for label, share in prediction.areas.items()))

    # A PNG of label places with a palette, the mask over the image, and outlines that a map or an editor reads.
    with tempfile.TemporaryDirectory() as temporary:
        for kind in ("index", "overlay", "polygons"):
            print(kind, prediction.save(Path(temporary) / kind, kind)[0].name)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), Segmenter())
    else:
        with tempfile.TemporaryDirectory() as drawn:
            draw_scenes(Path(drawn) / "scenes", number=12, seed=0, size=64)
            # A tiny network with random weights: it starts at once, learns little, and needs no download.
            main(Path(drawn) / "scenes", Segmenter(backbone="test_resnet", pretrained=False, size=64), epochs=2)
