"""A network in training as Lightning knows it: its steps, scores, optimizer and schedule, for any Trainer."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from recipes import backbones, inference
from recipes.backbones import Network
from recipes.codec import Codec
from recipes.data import Batch
from recipes.presets import Preset

Loss = Callable[[Tensor, Tensor], Tensor]


class TrainingModule(pl.LightningModule):
    """A network in training, for any Lightning Trainer; what it trains is the task's own network.

    Args:
        network: the network.
        codec: how the network's scores are read in prediction, so that validation reads them alike.
        loss: the task's loss of (scores, targets).
        metrics: the task's validation scores.
        preset: optimizer, learning rates and schedule.
        decisive: the score that decides which epoch is kept.
    """

    def __init__(
        self, network: Network, codec: Codec, loss: Loss, metrics: MetricCollection, preset: Preset, decisive: str
    ) -> None:
        super().__init__()
        self.network, self.codec, self.loss, self.metrics, self.preset = network, codec, loss, metrics, preset
        self.decisive = decisive
        backbones.freeze(network, preset.freeze)
        self.frozen = backbones.frozen_parts(network, preset.freeze_bn)
        self.step_network: Any = torch.compile(network) if preset.compile else network
        self.validation: dict[str, float] = {}
        self.lost: set[str] = set()
        self._val_loss: list[tuple[Tensor, int]] = []

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores for pixels, as the network gives them."""
        return self.network(pixels)  # type: ignore[no-any-return]

    def on_train_epoch_start(self) -> None:
        """Train what is to be trained, and nothing else."""
        self.network.train()  # Lightning leaves it as it finds it, and the last layer was fitted in evaluation mode
        for part in self.frozen:
            part.eval()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch.

        Chance inside the network (dropout) depends on (seed, epoch, batch), so that a run can be taken up again; a new
        loader, for one, draws from the same generator.
        """
        key = (self.preset.seed, self.current_epoch, batch_idx)
        torch.manual_seed(int(np.random.default_rng(key).integers(2**62)))
        pixels, targets, lost = batch
        self.lost.update(lost)
        value = self.loss(self.step_network(pixels), targets)
        self.log("train_loss", value, on_step=False, on_epoch=True, batch_size=len(targets))
        return value

    def on_validation_epoch_start(self) -> None:
        """Forget the epoch before."""
        self.metrics.reset()
        self._val_loss.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Scores of one clean batch."""
        pixels, targets, lost = batch
        self.lost.update(lost)
        found = inference.scores_for(self.step_network, self.codec, pixels, targets, self.metrics.update)
        self._val_loss.append((self.loss(*found).detach(), len(targets)))

    def on_validation_epoch_end(self) -> None:
        """The scores over all validation examples."""
        number = sum(count for _, count in self._val_loss)
        loss = sum(float(value) * count for value, count in self._val_loss) / max(number, 1)
        scores = {name: float(value) for name, value in self.metrics.compute().items()} if number else {}
        self.validation = {"val_loss": loss, **scores}
        self.log_dict(self.validation)

    def configure_optimizers(self) -> Any:
        """The preset's optimizer with a warm-up and a cosine over all steps."""
        optimizer = backbones.optimizer(self.network, self.preset)
        steps = max(int(self.trainer.estimated_stepping_batches), 1)
        warmup = max(round(self.preset.warmup * steps), 1)

        def scaled(share: float, step: int) -> float:
            if step < warmup:
                return share * (step + 1) / warmup
            return share * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))

        # timm notes each layer's share of the learning rate in its group and leaves it to the schedule to apply it.
        shares = [group.get("lr_scale", 1.0) for group in optimizer.param_groups]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [partial(scaled, share) for share in shares])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
