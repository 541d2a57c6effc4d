"""What is found out before training begins: the precision that is fastest here, and a last layer that already fits."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recipes import backbones
from recipes.backbones import Network
from recipes.data import DataModule, EncodedExamples, collate, training_device
from recipes.errors import OptionError
from recipes.inference import keep_freed_memory

Loss = Callable[[Tensor, Tensor], Tensor]

# A run of fewer steps is over before trying out precisions has paid for itself.
_WORTH_TRYING = 40

# More examples than this do not make the first guess of the last layer better, and their features would fill memory.
_ENOUGH_FOR_HEAD = 20_000


def precision(network: Network, loss: Loss, data: DataModule, trainer_arguments: Mapping[str, Any]) -> str:
    """What to compute in: as the preset says or, for `auto`, the fastest that is safe on this machine."""
    preset = data.preset
    if preset.precision != "auto" or "precision" in trainer_arguments:
        return "32" if preset.precision == "auto" else preset.precision
    device = training_device(preset.accelerator)
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
    steps = preset.epochs * math.ceil(len(data.splits.train) / preset.batch_size)
    if device.type != "cpu" or steps < _WORTH_TRYING or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "32"
    return _faster_on_cpu(network, loss, data)


def _faster_on_cpu(network: Network, loss: Loss, data: DataModule) -> str:
    """`bf16` if a few training steps of a copy of the network are clearly faster with it, else `32`.

    Depthwise convolutions are slower in bfloat16 on today's CPUs, others more than twice as fast: no rule holds for
    all networks. "Clearly" is a quarter, so that chance on a busy machine does not decide.
    """
    keep_freed_memory()  # as training will, or the two would be compared under other conditions
    examples = EncodedExamples(data.splits.train, data.codec, data.preset)
    batch = collate([examples[0, place] for place in range(min(data.preset.batch_size, len(examples)))])
    if batch is None:
        return "32"
    pixels, targets, _ = batch
    seconds = {}
    for name in ("32", "bf16"):
        trial = copy.deepcopy(network).train()
        times = []
        for _ in range(4):
            began = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"):
                value = loss(trial(pixels), targets)
            value.backward()  # type: ignore[no-untyped-call]
            trial.zero_grad()
            times.append(time.perf_counter() - began)
        seconds[name] = min(times[1:])
    return "bf16" if seconds["bf16"] * 1.25 < seconds["32"] else "32"


def fit_head(network: Network, data: DataModule) -> None:
    """Give the last layer the weights of a logistic regression on the frozen network's features.

    Training that starts from there does not distort what the network already knows (Kumar et al. 2022, "Fine-tuning
    can distort pretrained features"), and it costs one look at each picture. Networks without a linear last layer are
    left as they are.

    Raises:
        OptionError: nothing else is to be trained, and the network has no linear last layer.
    """
    head = network.head
    if head is None:
        if data.preset.epochs == 0:
            name = network.config["architecture"]
            raise OptionError(f"{name} has no linear last layer to fit alone; take epochs of 1 or more")
        return
    if data.preset.epochs and not backbones.knows_figures(network):
        return  # in evaluation mode a new network's batch norms do nothing; training would see quite other features
    network.eval().to(training_device(data.preset.accelerator))
    train = data.splits.train
    if len(train) > _ENOUGH_FOR_HEAD:
        chosen = np.random.default_rng(data.preset.seed).permutation(len(train))[:_ENOUGH_FOR_HEAD]
        train = train.take(sorted(chosen.tolist()))
    seen = _features(network, head, data.loader(EncodedExamples(train, data.codec)))
    for view in range(data.preset.views):
        varied = EncodedExamples(train, data.codec, data.preset)
        more = _features(network, head, data.loader(varied, [(view, place) for place in range(len(train))]))
        seen = torch.cat([seen[0], more[0]]), torch.cat([seen[1], more[1]])
    val = EncodedExamples(data.splits.val, data.codec)
    held_out = _features(network, head, data.loader(val)) if len(val) else None
    weight, bias = _logistic_regression(seen, held_out, head.out_features)
    with torch.no_grad():
        head.weight.copy_(weight)
        if head.bias is not None:
            head.bias.copy_(bias)
    network.cpu()


@torch.no_grad()
def _features(network: Network, head: nn.Module, batches: Iterable[Any]) -> tuple[Tensor, Tensor]:
    """What the frozen network gives to its last layer: features (examples, width) and targets, on the CPU."""
    kept: list[Tensor] = []
    targets: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].float().cpu()))
    try:
        for batch in batches:
            if batch is not None:
                network(batch[0].to(network.mean.device))
                targets.append(batch[1])
    finally:
        handle.remove()
    return torch.cat(kept), torch.cat(targets)


def _logistic_regression(
    seen: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor] | None, labels: int
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the regression whose strength of regularisation does best on the held-out examples.

    Without any to choose by, the strength is 0.03.
    """
    mean, std = seen[0].mean(0), seen[0].std(0) + 1e-3 * seen[0].std()
    x = (seen[0] - mean) / std
    lowest = math.inf
    weight, bias = torch.zeros(labels, x.shape[1]), torch.zeros(labels)
    threads = torch.get_num_threads()
    if x.numel() < 2**20:  # steps this small only wait for one another on several threads
        torch.set_num_threads(1)
    strengths = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001) if held_out else (0.03,)
    for strength in strengths:  # from strong to weak, each starting from the one before
        weight, bias = _minimised(x, seen[1], weight, bias, strength)
        loss = _loss((held_out[0] - mean) / std, held_out[1], weight, bias) if held_out else 0.0
        if loss < lowest:
            lowest, chosen = loss, (weight, bias)
    torch.set_num_threads(threads)
    weight, bias = chosen
    return weight / std, bias - weight @ (mean / std)


def _loss(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> float:
    """Cross entropy, which is steadier than accuracy on few examples."""
    return float(nn.functional.cross_entropy(x @ weight.T + bias, y))


def _minimised(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    search = torch.optim.LBFGS([weight, bias], max_iter=100, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = nn.functional.cross_entropy(x @ weight.T + bias, y) + 0.5 * strength * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()
