"""Networks whose weights are shared out among the devices, each device keeping a part (FSDP)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pytorch_lightning.strategies import ModelParallelStrategy, Strategy
from torch import Tensor, nn
from torch.optim import Optimizer

from recipes import backbones, inference, ranks, tiles
from recipes.backbones import Network
from recipes.data import Batch
from recipes.display import listed
from recipes.errors import OptionError, printable
from recipes.presets import Preset
from recipes.training_module import TrainingModule

# The side of a part of an image that is looked at for the others' sake.
_SMALL = 32

# Smaller parts of a network are not worth a message of their own; the part around them gathers them.
_LEAST_SHARE = 0.01


class SharedOut(TrainingModule):
    """A training module whose network is a copy in parts; the network itself gets what was learned at the end.

    Args:
        module: what is to be trained.
    """

    def __init__(self, module: TrainingModule) -> None:
        super().__init__(module.network, module.codec, module.loss, module.metrics, module.preset, module.decisive)
        self._own = (module.network,)  # in a tuple it is no part of this module, and is not trained

    def configure_model(self) -> None:
        """Share a copy of the network out among Lightning's devices."""
        assert self.device_mesh is not None
        mesh = self.device_mesh["data_parallel"]
        check_optimizer(self.preset, mesh)
        self.network = copy.deepcopy(self._own[0])
        share_out(self.network, mesh)
        self.frozen = backbones.frozen_parts(self.network, self.preset.freeze_bn)
        self.step_network = torch.compile(self.network) if self.preset.compile else self.network

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Scores of one clean batch; whoever has fewer tiles looks as often as the others, or they would wait forever:
        all processes gather weights together.
        """
        pixels, targets, _ = batch
        if self.codec.dense:
            looks = tiles.number(*pixels.shape[2:]) if len(targets) else 1
            for _ in range(ranks.largest(looks) - looks):
                inference.scores_of(self.step_network, self.codec, pixels[:, :, :_SMALL, :_SMALL])
        super().validation_step(batch, batch_idx)

    def on_train_end(self) -> None:
        """Give the network what was learned."""
        state = self.network.state_dict()
        self._own[0].load_state_dict({name: ranks.whole(value).cpu() for name, value in state.items()})


class Sharded(ModelParallelStrategy):
    """Lightning's way of sharing a network out, with the same checkpoints as any other run: one file, whole tensors.

    So a run can go on with another number of devices, or with another strategy.
    """

    def __init__(self) -> None:
        super().__init__(ranks.world(), tensor_parallel_size=1, save_distributed_checkpoint=False)

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Lightning is to hand the optimizer's state over, as it does for other strategies."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole weights, in the first process, which writes them."""
        assert self.lightning_module is not None
        return _whole(self.lightning_module.state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The whole state, in the first process, which writes it."""
        found = optimizer.state_dict()
        return {**found, "state": {number: _whole(values) for number, values in found["state"].items()}}

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """The state of a run, as it was written."""
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Give each device its part of the weights."""
        assert self.lightning_module is not None
        own = self.lightning_module.state_dict()
        parts = {name: ranks.part_of(value, own[name]) for name, value in checkpoint["state_dict"].items()}
        self.lightning_module.load_state_dict(parts, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Give each device its part of the optimizer's state."""
        for optimizer, found in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            parts = {
                number: {name: ranks.part_of(value, weights[number]) for name, value in values.items()}
                for number, values in found["state"].items()
            }
            optimizer.load_state_dict({**found, "state": parts})


def _whole(values: Mapping[str, Any]) -> dict[str, Any]:
    """Whole tensors in the memory of the first process; the others help to gather them, and keep nothing."""
    found = {}
    for name, value in values.items():
        whole = ranks.whole(value).detach().cpu() if isinstance(value, Tensor) else value
        found[name] = whole if ranks.rank() == 0 else None
    return found


def share_out(network: Network, mesh: Any) -> None:
    """Leave each device a part of the network's weights; a unit's weights are gathered while it computes.

    Args:
        network: the network; the whole one is in the memory of every process until now.
        mesh: the devices.

    Raises:
        OptionError: the network cannot be shared out.
    """
    from torch.distributed.fsdp import fully_shard

    for name, weight in network.named_parameters():
        if weight.dim() == 0:
            raise OptionError(
                f"strategy='fsdp' cannot share {network.config['architecture']} out, because {name} is a single "
                f"number; take ddp"
            )
        weight.data = weight.data.contiguous()  # which is what it asks for, and channels last is not
    for unit in units(network):
        fully_shard(unit, mesh=mesh)
    fully_shard(network, mesh=mesh)


def check_optimizer(preset: Preset, mesh: Any) -> None:
    """Refuse an optimizer that cannot work on parts of weights, before the first step.

    Raises:
        OptionError: two steps of a small network do not work, or leave a state that could not be taken up again.
    """
    network = Network(nn.Sequential(nn.Conv2d(4, 4, 3), nn.Linear(4, 4)), {"library": "torch", "architecture": "probe"})
    share_out(network, mesh)
    try:
        optimizer = backbones.optimizer(network, preset)
        for _ in range(2):
            for weight in network.parameters():
                weight.grad = torch.ones_like(weight)
            optimizer.step()
        odd = {
            name
            for weight, values in optimizer.state.items()
            for name, value in values.items()
            if isinstance(value, Tensor) and value.numel() > 1 and value.shape != weight.shape
        }
        reason = f"its state {listed(sorted(odd))} is not of the weights' shapes" if odd else ""
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = printable(str(error).partition("\n")[0] or type(error).__name__, 120)
    if reason:
        raise OptionError(
            f"optimizer={preset.optimizer!r} cannot work on weights that are shared out ({reason}); take adamw or sgd, "
            f"or strategy=ddp"
        )


def units(network: Network) -> list[nn.Module]:
    """The parts that are gathered one at a time, inner ones first: blocks that follow one another in a list.

    A network without such a list is one unit.
    """
    least = _LEAST_SHARE * _size(network)

    def found() -> Iterator[nn.Module]:
        for part in network.body.modules():
            entries = list(part.children()) if isinstance(part, (nn.ModuleList, nn.Sequential)) else []
            if len(entries) > 1 and len({type(entry) for entry in entries}) == 1:
                yield from (entry for entry in entries if any(entry.children()) and _size(entry) >= least)

    return list(found())[::-1]


def _size(part: nn.Module) -> int:
    return sum(weight.numel() for weight in part.parameters())
