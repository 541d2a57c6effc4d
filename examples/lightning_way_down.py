"""The way down to Lightning: callbacks and Trainer arguments through `fit`, or a Trainer of your own.

python lightning_way_down.py [FOLDER]      (without a folder: drawn shapes and a tiny network, without network access)

Everything is written to a temporary folder that is removed at the end.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

import recipes
from recipes import ImageClassifier
from recipes.demo import draw_shapes


class TellLearningRate(pl.Callback):
    """Any Lightning callback will do; this one prints one line for each epoch."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say it."""
        rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
        print(f"epoch {trainer.current_epoch}: highest learning rate {max(rates):.2e}")


def with_fit(photos: Path, options: dict[str, Any]) -> None:
    # `fit` takes every argument of pytorch_lightning.Trainer beside the preset's settings. Here: a callback, and two
    # batches in each epoch instead of all.
    task = ImageClassifier(**options)
    task.fit(photos, epochs=2, callbacks=[TellLearningRate()], limit_train_batches=2, quiet=True)
    print("kept epoch", task.history.best_epoch if task.history else None)


def with_own_trainer(photos: Path, options: dict[str, Any], out: Path) -> None:
    # The two Lightning parts of a task. The codec and the network exist from here on, and the module's network is the
    # task's own: whatever trains the module trains the task.
    task = ImageClassifier(**options)
    data, module = task.lightning(photos, epochs=2)

    # A Trainer of your own decides everything: it chooses no best epoch and no precision unless you tell it to.
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[TellLearningRate()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)

    # The task predicts and saves with what was trained.
    pictures = data.splits.val.inputs[:3]
    for prediction in task.predict(pictures):
        print(prediction.file, prediction.label)
    task.save(out)
    assert [one.label for one in recipes.load(out).predict(pictures)] == [one.label for one in task.predict(pictures)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        if len(sys.argv) > 1:
            photos, options = Path(sys.argv[1]), {}
        else:
            photos = Path(temporary) / "shapes"
            draw_shapes(photos, number=12, seed=0, size=32)
            options = {"backbone": "test_resnet", "pretrained": False, "size": 32}
        with_fit(photos, options)
        with_own_trainer(photos, options, Path(temporary) / "model")
