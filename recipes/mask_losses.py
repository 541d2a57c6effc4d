"""Losses of masks by name, over those pixels that count."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy

from recipes.crops import IGNORED


def loss(criterion: str, scores: Tensor, targets: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
    """How wrong the scores of pixels are.

    Args:
        criterion: `ce`, `dice` (Milletari et al. 2016), `ce_dice` (their sum), `focal` (Lin et al. 2017), `lovasz`
            (Berman et al. 2018) or `tversky` (Salehi et al. 2017).
        scores: shape (images, labels, height, width).
        targets: places of labels, shape (images, height, width), 255 where nothing counts.
        smoothing: the share of a label's weight that is spread over all labels, in cross entropy.
        weights: what each label counts, in cross entropy; 0 for one that training never shows.
    """
    counts = targets != IGNORED
    if not counts.any():
        return scores.sum() * 0.0
    scores = scores.float()  # not all of these can do with bfloat16, or are exact enough in it
    weights = weights if weights is None else weights.to(scores.device)
    total = scores.new_zeros(())
    for part in criterion.split("_"):
        if part != "ce":
            total = total + _library(part)(scores, targets)
        elif weights is None or weights[targets[counts]].any():  # otherwise its mean would be 0 / 0
            total = total + cross_entropy(scores, targets, weights, ignore_index=IGNORED, label_smoothing=smoothing)
    return total


@lru_cache
def _library(name: str) -> Any:
    from segmentation_models_pytorch import losses

    kinds = {
        "dice": losses.DiceLoss,
        "focal": losses.FocalLoss,
        "lovasz": losses.LovaszLoss,
        "tversky": losses.TverskyLoss,
    }
    return kinds[name]("multiclass", ignore_index=IGNORED)
