"""What quantizing and pruning do to a fitted classifier of pictures: size, speed and score before and after.

    python benchmarks/shrink.py MODEL DATA [--shares 0.1,0.3,0.5] [--turns 3]

MODEL is a model folder, DATA labelled data that it was not fitted on. Needs the extra `onnx`; structured pruning, which
recipes does not offer, needs torch-pruning here (`pip install torch-pruning`) and is left out without it.

Pruning is measured in both of its kinds. Magnitude pruning sets the smallest weights of each layer to zero; the tensors
keep their sizes, so that nothing is smaller before it is compressed, and nothing faster. Structured pruning takes whole
channels out of the network. Neither is followed by training here.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

import recipes
from recipes import artifact, shrinking


def figures(task: Any, data: str, pixels: Any, plain: Any) -> str:
    """Size, speed beside the plain network in turns, and score."""
    weights = artifact.weights_bytes(task.network.native_state())
    before, after = shrinking._rates(plain, task.network, pixels)
    evaluation = task.evaluate(data)
    return (
        f"{len(weights) / 1e6:6.1f} MB ({len(zlib.compress(weights, 6)) / 1e6:5.1f} compressed)  {after:5.0f} a second "
        f"({after / before:.2f} ×)  {task.decisive} {evaluation.scores[task.decisive]:.4f}"
    )


def with_body(task: Any, change: Any) -> Any:
    """A copy of the task whose network's body was changed."""
    changed = copy.copy(task)
    changed.network = copy.deepcopy(task.network)
    change(changed.network.body)
    return changed


def smallest_to_zero(body: nn.Module, share: float) -> None:
    for layer in body.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            size = layer.weight.detach().abs()
            layer.weight.data *= size > size.flatten().kthvalue(max(1, int(share * size.numel()))).values


def channels_taken_out(body: Any, share: float, size: int) -> None:
    import torch_pruning

    pruner = torch_pruning.pruner.MagnitudePruner(
        body,
        torch.zeros(1, 3, size, size),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=share,
        ignored_layers=[body.get_classifier()],
    )
    pruner.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--shares", default="0.1,0.3,0.5")
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    task: Any = recipes.load(asked.model)
    examples = task.read_labelled(asked.data, task.codec.labels)
    pixels = shrinking._pixels(task, list(examples.inputs[:32]))
    for turn in range(asked.turns):
        with tempfile.TemporaryDirectory() as folder:
            report = task.quantize(asked.data, Path(folder) / "small", most_lost=1.0)
        print(f"int8, turn {turn + 1}: {report.line()}", flush=True)
    print(f"{'plain':<24}{figures(task, asked.data, pixels, task.network)}", flush=True)
    for share in map(float, asked.shares.split(",")):
        zeros = with_body(task, lambda body, share=share: smallest_to_zero(body, share))
        print(f"{f'{share:.0%} of weights to zero':<24}{figures(zeros, asked.data, pixels, task.network)}", flush=True)
    try:
        import torch_pruning  # noqa: F401
    except ImportError:
        print("torch-pruning is not installed: no structured pruning")
        return
    for share in map(float, asked.shares.split(",")):
        thin = with_body(task, lambda body, share=share: channels_taken_out(body, share, pixels.shape[-1]))
        print(f"{f'{share:.0%} of channels out':<24}{figures(thin, asked.data, pixels, task.network)}", flush=True)


if __name__ == "__main__":
    main()
