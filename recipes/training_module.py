"""A network in training as Lightning knows it: its steps, scores, optimizer and schedule, for any Trainer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import MethodType
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from recipes import backbones, inference, ranks
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
        self.known_scores: Tensor | None = None  # of the validation examples, until the network is trained further
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
        loader, for one, draws from the same generator. Of several processes each has chance of its own, and all take
        the loss of the whole batch.
        """
        own = (ranks.rank(),) if ranks.world() > 1 else ()
        key = (self.preset.seed, self.current_epoch, batch_idx, *own)
        torch.manual_seed(int(np.random.default_rng(key).integers(2**62)))
        pixels, targets, lost = batch
        self.lost.update(lost)
        scores, targets = self._of_all(self.step_network(pixels), targets)
        value = self.loss(scores, targets)
        self.log("train_loss", value, on_step=False, on_epoch=True, batch_size=max(len(targets), 1))
        return value

    def _of_all(self, scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and targets of the batch of all processes; one with nothing to do had a stand-in, which drops out."""
        counts = ranks.counts_of_all(len(targets))
        if len(counts) == 1:
            return scores, targets
        return ranks.rows_of_all(scores[: len(targets)].float(), counts), ranks.rows_of_all(targets, counts)

    def on_validation_epoch_start(self) -> None:
        """Forget the epoch before."""
        self.metrics.reset()
        self._val_loss.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Scores of one clean batch."""
        pixels, targets, lost = batch
        self.lost.update(lost)
        own = len(targets)
        if own:
            found = inference.scores_for(self.step_network, self.codec, pixels, targets, self.metrics.update)
        else:  # a process with nothing to do in this step goes along with the others
            found = inference.scores_of(self.step_network, self.codec, pixels).float(), targets
        if not self.codec.dense:  # of images, each is a batch
            found = self._of_all(*found)
        if len(found[1]):
            self._val_loss.append((self.loss(*found).detach(), own))

    def on_validation_epoch_end(self) -> None:
        """The scores over all validation examples."""
        count = float(sum(count for _, count in self._val_loss))
        loss, number = ranks.summed([sum(float(value) * count for value, count in self._val_loss), count])
        scores = {name: float(value) for name, value in self.metrics.compute().items()} if number else {}
        self.validation = ranks.shared({"val_loss": loss / max(number, 1), **scores})
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


@contextmanager
def batch_norms_agree(network: nn.Module) -> Iterator[None]:
    """Let batch norms that learn take their figures from the batch of all processes, as one process would.

    torch's own SyncBatchNorm is for GPUs alone; and it takes the layers' places, so that those of timm that end in an
    activation would lose it.
    """
    changed = [part for part in network.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    changed = changed if ranks.world() > 1 else []
    for part in changed:
        part.forward = MethodType(_normalised, part)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for part in changed:
            del part.forward


class _SumOfAll(torch.autograd.Function):
    """The sum of all processes' tensors; each of them is in what all compute from it, so gradients are summed, too."""

    @staticmethod
    def forward(_: Any, own: Tensor) -> Tensor:
        return ranks.sum_of_all(own)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        return ranks.sum_of_all(gradients[0])


def _sum_of_all(own: Tensor) -> Tensor:
    return _SumOfAll.apply(own)  # type: ignore[no-any-return]


def _normalised(part: Any, x: Tensor) -> Tensor:
    """What a batch norm gives for one process's share of a batch (Ioffe & Szegedy 2015)."""
    if not part.training:
        return type(part).forward(part, x)  # type: ignore[no-any-return]
    values, axes, shape = x.float(), [0, *range(2, x.dim())], [1, -1, *[1] * (x.dim() - 2)]
    number = values.new_full((1,), x.numel() // x.shape[1])
    sums = _sum_of_all(torch.cat([values.sum(axes), number]))
    number = sums[-1].detach()
    mean = sums[:-1] / number
    centred = values - mean.view(shape)
    variance = _sum_of_all(centred.square().sum(axes)) / number
    if part.running_mean is not None:
        with torch.no_grad():
            part.num_batches_tracked += 1
            share = 1 / float(part.num_batches_tracked) if part.momentum is None else part.momentum
            part.running_mean.lerp_(mean, share)
            part.running_var.lerp_(variance * number / (number - 1).clamp_min(1), share)
    found = centred * (variance + part.eps).rsqrt().view(shape)
    if part.affine:
        found = found * part.weight.view(shape) + part.bias.view(shape)
    found = found.to(x.dtype)
    ended: Tensor = part.act(part.drop(found)) if hasattr(part, "act") else found
    return ended
