"""What networks cost on this machine's CPU, beside what they are worth: the reason for the default backbone.

    python benchmarks/backbones.py [NAME ...]

For each network: parameters, images per second in training (forward, backward, AdamW; batch 32, 224 px, channels last,
the faster of float32 and bfloat16) and in prediction (float32). The published ImageNet accuracies stand in the page on
the image classifier; no weights are read here.
"""

from __future__ import annotations

import statistics
import sys
import time

import timm
import torch

from recipes.inference import keep_freed_memory

NAMES = (
    "mobilenetv3_small_100",
    "mobilenetv2_100",
    "mobilenetv3_large_100",
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
    "efficientnet_lite0",
    "efficientnet_b0",
    "hgnetv2_b0",
    "resnet18",
    "regnety_004",
    "tiny_vit_5m_224",
    "resnet50",
)


def rate(name: str, train: bool, bfloat16: bool, batch: int = 32) -> float:
    model = timm.create_model(name, num_classes=10).to(memory_format=torch.channels_last).train(train)
    pixels = torch.randn(batch, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    targets = torch.randint(0, 10, (batch,))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    times = []
    for _ in range(6):
        began = time.perf_counter()
        with torch.set_grad_enabled(train), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = torch.nn.functional.cross_entropy(model(pixels), targets)
        if train:
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        times.append(time.perf_counter() - began)
    return batch / statistics.median(times[2:])


def main() -> None:
    keep_freed_memory()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, timm {timm.__version__}")
    print("network                   parameters  train f32  train bf16  predict f32   images/s", flush=True)
    for name in sys.argv[1:] or NAMES:
        size = sum(value.numel() for value in timm.create_model(name).parameters()) / 1e6
        plain, short, predict = rate(name, True, False), rate(name, True, True), rate(name, False, False)
        print(f"{name:25} {size:8.1f} M  {plain:9.0f}  {short:10.0f}  {predict:11.0f}", flush=True)


if __name__ == "__main__":
    main()
