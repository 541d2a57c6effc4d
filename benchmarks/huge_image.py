"""Peak memory and time of predicting one huge image with the segmenter's default network.

python benchmarks/huge_image.py [--side 12000] [--labels 2]
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from recipes import Preset, Segmenter
from recipes.examples import Examples, Splits
from recipes.masks import MaskCode, label_colours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--side", type=int, default=12_000)
    parser.add_argument("--labels", type=int, default=2)
    asked = parser.parse_args()
    names = tuple(f"label {place}" for place in range(asked.labels))
    task = Segmenter(pretrained=False)
    splits = Splits(*[Examples([], [], names)] * 2)
    splits.code = MaskCode("values", tuple(range(asked.labels)), label_colours(names))
    task.codec, task.network = task.make(splits, Preset())
    image = np.random.default_rng(0).integers(0, 256, (asked.side, asked.side, 3), dtype=np.uint8)
    began = time.perf_counter()
    mask = task.predict(image)[0].mask
    assert mask.shape == image.shape[:2]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{asked.side} × {asked.side}, {asked.labels} labels: {time.perf_counter() - began:.0f} s, peak {peak:.2f} GiB"
    )


if __name__ == "__main__":
    main()
