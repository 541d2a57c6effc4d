"""Pictures a second, and memory, of reading shards window by window for training, against the same in folders.

python benchmarks/streaming.py [--pictures 40000] [--shards 40] [--window 2000] [--side 128]

Draws the pictures twice, as files in folders and in tars, and goes through as many batches of either as a Trainer does,
with all augmentation and without a network. Each run is a process of its own. The third keeps the whole stream in one
window: what it needs beyond the second is what windows save.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, usual in (("pictures", 40_000), ("shards", 40), ("window", 2_000), ("side", 128)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--run", nargs=3, default=None, help="for the processes that this one starts")
    asked = parser.parse_args()
    if asked.run:
        print(json.dumps(run(asked.run[0], int(asked.run[1]), int(asked.run[2]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        size = draw(Path(folder), asked.pictures, asked.shards, asked.side)
        print(
            f"{asked.pictures:,} pictures of {asked.side} × {asked.side} in {asked.shards} shards, "
            f"{size / 2**20:.0f} MiB"
        )
        seen = asked.pictures - asked.pictures // 10
        rows = [
            ("folders", f"{folder}/folders", asked.window, 1),
            (f"windows of {asked.window:,}", f"{folder}/shards/train-*.tar", asked.window, seen // asked.window),
            ("one window", f"{folder}/shards/train-*.tar", asked.pictures + 1, 1),
        ]
        first = None
        for name, data, window, epochs in rows:
            words = [sys.executable, __file__, "--run", data, str(window), str(epochs)]
            done = subprocess.run(words, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            first = first or found["per_second"]
            print(
                f"{name:20} {found['images']:7,} images  {found['per_second']:6.0f} a second  "
                f"{found['per_second'] / first:5.2f} ×  read in {found['reading']:.1f} s  peak {found['peak']:.0f} MiB"
            )


def draw(folder: Path, pictures: int, shards: int, side: int) -> int:
    """The same pictures in folders of two labels and in tars; how many bytes they have."""
    rng, total = np.random.default_rng(0), 0
    for label in ("dark", "light"):
        (folder / "folders" / label).mkdir(parents=True)
    (folder / "shards").mkdir()
    for shard in range(shards):
        with tarfile.open(folder / "shards" / f"train-{shard:03}.tar", "w") as tar:
            for number in range(shard, pictures, shards):
                label = ("dark", "light")[number // shards % 2]
                coarse = rng.integers(0, 160, (side // 2, side // 2, 3)) + (80 if label == "light" else 0)
                file = io.BytesIO()
                Image.fromarray(coarse.astype(np.uint8)).resize((side, side)).save(file, "JPEG", quality=90)
                total += len(file.getvalue())
                (folder / "folders" / label / f"{number}.jpg").write_bytes(file.getvalue())
                for ending, content in (("jpg", file.getvalue()), ("json", json.dumps({"label": label}).encode())):
                    member = tarfile.TarInfo(f"{number:08}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return total


def run(data: str, window: int, epochs: int) -> dict[str, Any]:
    """Go through the batches as a Trainer does, without a network, and say how fast and in how much memory."""
    import pytorch_lightning as pl
    import torch

    from recipes import ImageClassifier

    class Nothing(pl.LightningModule):
        """Counts images."""

        def __init__(self) -> None:
            super().__init__()
            self.weight, self.images = torch.nn.Parameter(torch.zeros(())), 0

        def on_train_start(self) -> None:
            self.began = time.perf_counter()

        def training_step(self, batch: Any, _: int) -> Any:
            self.images += len(batch[1])
            return self.weight * 0

        def on_train_end(self) -> None:
            self.took = time.perf_counter() - self.began

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    began = time.perf_counter()
    task = ImageClassifier(backbone="test_resnet", pretrained=False, size=64)
    batches, _ = task.lightning(data, window=window, val_fraction=0.1, batch_size=32, epochs=epochs)
    counter, read = Nothing(), time.perf_counter() - began
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        reload_dataloaders_every_n_epochs=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(counter, batches)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {"images": counter.images, "per_second": counter.images / counter.took, "reading": read, "peak": peak}


if __name__ == "__main__":
    main()
