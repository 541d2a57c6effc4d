"""What is found out before training begins: precision, batch size, learning rate, and a last layer that fits."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from recipes import accounts, backbones, ranks
from recipes.backbones import Network
from recipes.data import Balance, DataModule, EncodedExamples, EpochSampler, collate, training_device
from recipes.errors import OptionError
from recipes.features import View, features, weights_digest
from recipes.inference import keep_freed_memory
from recipes.training_module import Loss, TrainingModule

# A run of fewer steps is over before trying out precisions has paid for itself.
_WORTH_TRYING = 40

# Where nothing but the last layer is fitted, so many examples are looked at in each precision, four times over.
_LOOKS_TO_TRY = 12

# More examples than this do not make the first guess of the last layer better, and their features would fill memory.
_ENOUGH_FOR_HEAD = 20_000

# Of logistic regression on standardised features, from strong to weak; and what is taken where nothing can choose.
_STRENGTHS, _USUAL_STRENGTH = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001), 0.03

# Where the whole network is trained afterwards. A layer that fits best, which the others have done by then, is so steep
# that training first loses what the network knew: clothes 84 % at the start, then 73, 85 and 84 % after the first three
# epochs; with this strength 78, 86, 89 and 88 %, and sign language 89, 94, 97 and 98 % against 95, 90, 98 and 98 %.
# Encoders of texts learn in smaller steps; there it has not been tried, and the layer that fits best is the start.
_START_STRENGTH = 3.0

# A search for the last layer ends at a step that lowers its loss by less. Torch's own 1e-9 took three times as many
# steps for the same accuracy on clothes, sign language and bank questions (0.858, 0.954 and 0.931 with either).
_SMALLEST_STEP = 1e-5

# Of ridge regression on standardised features, from strong to weak.
_RIDGE_STRENGTHS = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)

# Rates that are tried, from the lowest to the highest, and in how many steps.
_LOWEST_LR, _HIGHEST_LR, _LR_STEPS = 1e-6, 1.0, 100


def settled(
    module: TrainingModule, data: DataModule, trainer_arguments: Mapping[str, Any], before: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings that the preset leaves open, each with the value that suits this machine, network and data.

    Args:
        module: the network in training.
        data: its batches.
        trainer_arguments: those for `pl.Trainer`; they come first.
        before: the settings of the run to go on with, which it keeps; empty for a new run.
    """
    found: dict[str, Any] = {}
    number = ranks.world()

    def settle(name: str, find: Callable[[], Any]) -> None:
        found[name] = before.get(name) or find()
        module.preset = data.preset = dataclasses.replace(data.preset, **found)

    if data.preset.find_batch_size:
        found["find_batch_size"] = False
        settle("batch_size", lambda: max(batch_size(module.network, module.loss, data) // number, 1) * number)
    if data.preset.precision == "auto":
        settle("precision", lambda: precision(module.network, module.loss, data, trainer_arguments))
    if data.preset.find_lr:
        found["find_lr"] = False
        settle("lr", lambda: learning_rate(module.network, module.loss, data))
    return found


def precision(network: Network, loss: Loss, data: DataModule, trainer_arguments: Mapping[str, Any]) -> str:
    """What to compute in: the fastest that is safe on this machine."""
    preset = data.preset
    if "precision" in trainer_arguments:
        return "32"
    device = training_device(preset.accelerator)
    if device.type == "cuda":
        older = "32" if preset.strategy == "fsdp" else "fp16"
        return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else older
    steps = max(preset.epochs, 1) * math.ceil(data.views / preset.batch_size)
    if device.type != "cpu" or steps < _WORTH_TRYING or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "32"
    return _faster_on_cpu(network, loss, data)


def _faster_on_cpu(network: Network, loss: Loss, data: DataModule) -> str:
    """`bf16` if a few training steps of a copy of the network are clearly faster with it, else `32`.

    Where nothing but the last layer is trained, it is a few looks of the network that are timed. Depthwise
    convolutions are slower in bfloat16 on today's CPUs, others more than twice as fast: no rule holds for
    all networks. "Clearly" is a quarter, so that chance on a busy machine does not decide.
    """
    keep_freed_memory()  # as training will, or the two would be compared under other conditions
    examples = EncodedExamples(data.splits.train, data.codec, data.preset)
    looks = data.preset.epochs == 0
    number = min(data.preset.batch_size, _LOOKS_TO_TRY if looks else data.preset.batch_size, len(examples))
    batch = collate([examples[0, place] for place in range(number)], data.codec)
    if batch is None:
        return "32"
    pixels, targets, _ = batch
    looking = backbones.folded(network.eval()) if looks else None
    seconds = {}
    for name in ("32", "bf16"):
        trial = looking or copy.deepcopy(network).train()
        times = []
        for _ in range(4):
            began = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"), torch.set_grad_enabled(not looks):
                value = loss(trial(pixels), targets)
            if not looks:
                value.backward()  # type: ignore[no-untyped-call]
                trial.zero_grad()
            times.append(time.perf_counter() - began)
        seconds[name] = min(times[1:])
    accounts.compared(seconds)
    return "bf16" if seconds["bf16"] * 1.25 < seconds["32"] else "32"


def batch_size(network: Network, loss: Loss, data: DataModule) -> int:
    """The largest power of two that fits into memory and leaves ten steps in an epoch: fewer learn too little.

    On a GPU sizes are tried until memory runs out. On a CPU that would end the process, so there the memory that one
    picture's gradients need is counted, and half of what is free is used.
    """
    if network.config["library"] == "recipes":  # n-grams, whose gradients take the same memory for any batch
        return int(2 ** min(max(round(math.log2(max(data.views, 1) / 100)), 5), 10))
    device = training_device(data.preset.accelerator)
    number = ranks.world() if device.type == "cuda" else 1  # processes on a CPU share its memory
    batches = data.train_dataloader()
    most = max(2, min(1024, data.views // 10) // number)
    pixels, targets, _ = next(batch for batch in batches if batch is not None)
    trial = copy.deepcopy(network).train().to(device)

    def step(number: int) -> int:
        """Bytes that are kept for the gradients of so many pictures."""
        places = [place % len(pixels) for place in range(number)]
        kept: dict[int, int] = {}

        def count(tensor: Tensor) -> Tensor:
            kept[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            value = loss(trial(pixels[places].to(device)), targets[places].to(device))
        value.backward()  # type: ignore[no-untyped-call]
        trial.zero_grad()
        return sum(kept.values())

    size = 2
    if device.type == "cpu":
        one = max(1, (step(6) - step(2)) // 4)
        fits = free_memory() // 2 // one
        while 2 * size <= min(most, fits):
            size *= 2
        return size
    try:
        while 2 * size <= most:
            step(3 * size)  # half as many again as will be used, for what the optimizer and other steps need
            size *= 2
    except RuntimeError as error:  # torch's OutOfMemoryError is one; Apple's GPUs raise a plain one
        if "out of memory" not in str(error):
            raise
        torch.cuda.empty_cache()
    return size * number


def free_memory() -> int:
    """Bytes of memory that the machine, or the container around this process, can still give; 4 GiB if none tells."""
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    with contextlib.suppress(OSError, ValueError):  # "max" where the container has no limit
        limit, used = (int(Path("/sys/fs/cgroup", name).read_text()) for name in ("memory.max", "memory.current"))
        found.append(limit - used)
    return min(found, default=4 * 2**30)


def learning_rate(network: Network, loss: Loss, data: DataModule) -> float:
    """A tenth of the learning rate at which the loss is lowest while the rate rises (Smith 2017), on a copy.

    Lightning's own finder gives all layers the same rate; here each has the share that it will have in training.
    """
    preset, device = data.preset, training_device(data.preset.accelerator)
    trial = copy.deepcopy(network)
    if preset.head_first:
        fit_head(trial, data)
    trial.train().to(device)
    for part in backbones.frozen_parts(trial, preset.freeze_bn):
        part.eval()
    optimizer = backbones.optimizer(trial, preset)
    lowest, best, mean = math.inf, preset.lr, 0.0
    batches = (batch for _ in range(_LR_STEPS) for batch in data.train_dataloader() if batch is not None)
    for step, (pixels, targets, _) in enumerate(islice(batches, _LR_STEPS)):
        rate = _LOWEST_LR * (_HIGHEST_LR / _LOWEST_LR) ** (step / (_LR_STEPS - 1))
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        value = loss(trial(pixels.to(device)), targets.to(device))
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        mean = 0.9 * mean + 0.1 * float(value.detach())
        smooth = mean / (1 - 0.9 ** (step + 1))
        if step >= 10 and smooth < lowest:
            lowest, best = smooth, rate
        if not math.isfinite(smooth) or smooth > 4 * lowest:
            break
    return float(f"{best / 10:.2g}")


def fit_head(network: Network, data: DataModule, quiet: bool = True) -> Tensor | None:
    """Give the last layer the weights of a logistic (for numbers ridge) regression on the frozen network's features.

    Training that starts from there does not distort what the network already knows (Kumar et al. 2022, "Fine-tuning
    can distort pretrained features"), and it costs one look at each picture. Examples that the sampler draws more often
    are not looked at again; they count more. Networks without a linear last layer are left as they are.

    Returns:
        The scores that the network gives the validation examples, shape (examples, labels), if nothing else is to be
        trained and it has looked at all of them just as prediction does.

    Raises:
        OptionError: nothing else is to be trained, and the network has no linear last layer.
    """
    head = network.head
    if head is None:
        if data.preset.epochs == 0:
            name = network.config["architecture"]
            raise OptionError(f"{name} has no linear last layer to fit alone; take epochs of 1 or more")
        return None
    if data.preset.epochs and not backbones.knows_figures(network):
        return None  # in evaluation mode a new network's batch norms do nothing; training would see other features
    network.eval().to(training_device(data.preset.accelerator))
    train = data.splits.train
    balanced = data.preset.sampler == "balanced"
    if len(train) > _ENOUGH_FOR_HEAD:
        order = EpochSampler(len(train), data.preset.seed, Balance.of(train) if balanced else None).places(0)
        train = train.take(sorted({place % len(train) for place in order[:_ENOUGH_FOR_HEAD].tolist()}))
    balance = Balance.of(train) if balanced else None
    plain: list[View] = ["as it is", "mirrored"] if getattr(data.codec, "mirror", False) else ["as it is"]
    weights = weights_digest(network) if data.preset.cache else None
    look = partial(features, backbones.folded(network), data=data, quiet=quiet, weights=weights)
    looks = look(train, [*plain, *range(data.preset.views)])
    seen = torch.cat([found for found, _ in looks]), torch.cat([targets for _, targets in looks])
    held_out = None
    if len(data.splits.val):  # a linear layer's mean of two scores is its score of the mean
        looks = look(data.splits.val, plain, precision="32")  # as prediction does, so that they can be scored
        held_out = torch.stack([found for found, _ in looks]).mean(0), looks[0][1]
    if seen[1].is_floating_point() and seen[1].ndim == 1:
        weight, bias = _ridge_regression(seen, held_out)
    else:
        strengths = _STRENGTHS if held_out else (_USUAL_STRENGTH,)
        if data.preset.epochs and data.preset.freeze >= 0 and not data.codec.ragged:
            strengths = (_START_STRENGTH,)
        weight, bias = _logistic_regression(seen, held_out, head.out_features, strengths, data.class_weights, balance)
    with torch.no_grad():
        head.weight.copy_(weight)
        if head.bias is not None:
            head.bias.copy_(bias)
    network.cpu()
    if data.preset.epochs or held_out is None or len(held_out[0]) < len(data.splits.val):
        return None
    with torch.no_grad():
        return head(held_out[0])  # type: ignore[no-any-return]


def _ridge_regression(seen: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    """Weight and bias of the linear regression whose strength of regularisation does best on the held-out examples.

    Each is solved exactly. Without any to choose by, the strength is 0.3.
    """
    mean, std = seen[0].mean(0), seen[0].std(0) + 1e-3 * seen[0].std()
    middle, width = seen[1].double().mean(), seen[0].shape[1]
    products, towards = torch.zeros(width, width).double(), torch.zeros(width, 1).double()
    for rows, numbers in zip(*(torch.split(part, 4096) for part in seen), strict=True):
        x = ((rows - mean) / std).double()
        products += x.T @ x / len(seen[0])
        towards += x.T @ (numbers.double() - middle)[:, None] / len(seen[0])
    lowest = math.inf
    for strength in _RIDGE_STRENGTHS if held_out else (0.3,):
        factor = torch.linalg.cholesky(products + strength * torch.eye(width).double())
        weight = torch.cholesky_solve(towards, factor).T
        scores = ((held_out[0] - mean) / std).double() @ weight[0] + middle if held_out else None
        loss = float(mse_loss(scores, held_out[1].double())) if held_out and scores is not None else 0.0
        if loss < lowest:
            lowest, chosen = loss, weight
    weight = chosen / std
    return weight.float(), (middle - weight @ mean.double()).float()


def _logistic_regression(
    seen: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor] | None,
    labels: int,
    strengths: Sequence[float],
    weights: Tensor | None = None,
    balance: Balance | None = None,
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the regression whose strength of regularisation does best on the held-out examples.

    Strengths are tried in order, until one does worse than the one before.
    """
    mean, std = seen[0].mean(0), seen[0].std(0) + 1e-3 * seen[0].std()
    x = (seen[0] - mean) / std
    loss = partial(_loss, weights=weights, balance=balance)
    lowest = math.inf
    weight, bias = torch.zeros(labels, x.shape[1]), torch.zeros(labels)
    threads = torch.get_num_threads()
    if x.numel() < 2**20:  # steps this small only wait for one another on several threads
        torch.set_num_threads(1)
    chosen = weight, bias
    for strength in strengths:  # from strong to weak, each starting from the one before
        weight, bias = _minimised(x, seen[1], weight, bias, strength, loss)
        scores = (held_out[0] - mean) / std @ weight.T + bias if held_out else None
        # Cross entropy is steadier than accuracy on few examples.
        found = float(loss(scores, held_out[1])) if held_out and scores is not None else 0.0
        if not found < lowest and strength != strengths[0]:  # where no held-out example counts, it is no number
            break
        lowest, chosen = found, (weight, bias)
    torch.set_num_threads(threads)
    weight, bias = chosen
    return weight / std, bias - weight @ (mean / std)


def _loss(scores: Tensor, targets: Tensor, weights: Tensor | None, balance: Balance | None) -> Tensor:
    """Cross entropy of places of labels; of zeros and ones the sum over the labels, each a regression of its own.

    With a balance, each example counts as often as it is drawn.
    """
    rows = None if balance is None else balance.rows(targets)
    if not targets.is_floating_point():
        if rows is None:
            return cross_entropy(scores, targets, weights)
        return cross_entropy(scores, targets, reduction="none") @ rows / rows.sum()
    if rows is None:
        return binary_cross_entropy_with_logits(scores, targets, weights, reduction="sum") / len(scores)
    return (binary_cross_entropy_with_logits(scores, targets, reduction="none").sum(1) @ rows) / rows.sum()


def _minimised(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, strength: float, loss: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    search = torch.optim.LBFGS(
        [weight, bias], max_iter=100, tolerance_change=_SMALLEST_STEP, history_size=10, line_search_fn="strong_wolfe"
    )

    def value() -> Tensor:
        search.zero_grad()
        found = loss(x @ weight.T + bias, y) + 0.5 * strength * weight.square().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    search.step(value)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()
