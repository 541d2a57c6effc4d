"""Losses of masks by name: finite, over the pixels that count, and what their papers say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, one_hot

from recipes.crops import IGNORED
from recipes.mask_losses import loss

NAMES = ["ce_dice", "ce", "dice", "focal", "lovasz", "tversky"]


def batch(labels: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores and targets of which a quarter does not count."""
    torch.manual_seed(seed)
    scores = torch.randn(2, labels, 12, 16, requires_grad=True)
    targets = torch.randint(0, labels, (2, 12, 16))
    targets[:, :6, :8] = IGNORED
    return scores, targets


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("labels", [2, 3, 11])
def test_every_criterion_is_finite_and_falls_when_one_follows_it(name: str, labels: int) -> None:
    scores, targets = batch(labels)
    before = loss(name, scores, targets, 0.0, None)
    (gradient,) = torch.autograd.grad(before, scores)
    assert before.shape == ()
    assert before > 0
    assert gradient.isfinite().all()
    assert loss(name, scores - 0.1 * gradient / gradient.abs().max(), targets, 0.0, None) < before


@pytest.mark.parametrize("name", NAMES)
def test_pixels_that_do_not_count_change_nothing(name: str) -> None:
    scores, targets = batch()
    expected = loss(name, scores, targets, 0.1, torch.tensor([0.5, 1.0, 1.5]))
    (gradient,) = torch.autograd.grad(expected, scores)
    ignored = (targets == IGNORED)[:, None].expand_as(scores)
    assert (gradient[ignored] == 0).all()
    assert (gradient[~ignored] != 0).any()
    other = torch.where(ignored, 100 * torch.randn_like(scores), scores)
    torch.testing.assert_close(loss(name, other, targets, 0.1, torch.tensor([0.5, 1.0, 1.5])), expected)


@pytest.mark.parametrize("name", NAMES)
def test_perfect_scores_cost_nothing_and_wrong_ones_much(name: str) -> None:
    _, targets = batch()
    right = 40.0 * one_hot(targets.clamp(max=2), 3).permute(0, 3, 1, 2).float() - 20
    assert loss(name, right, targets, 0.0, None) < 1e-3
    assert loss(name, -right, targets, 0.0, None) > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_in_which_nothing_counts_costs_nothing_and_moves_nothing(name: str) -> None:
    scores, targets = batch()
    value = loss(name, scores, torch.full_like(targets, IGNORED), 0.1, torch.ones(3))
    value.backward()  # type: ignore[no-untyped-call]
    assert value == 0
    assert scores.grad is not None
    assert (scores.grad == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_with_one_label_alone_or_with_one_pixel_that_counts_is_finite(name: str) -> None:
    scores, targets = batch()
    one = torch.full_like(targets, IGNORED)
    one[0, 0, 0] = 1
    for some in (torch.zeros_like(targets), one):
        value = loss(name, scores, some, 0.0, None)
        (gradient,) = torch.autograd.grad(value, scores)
        assert value.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_sure_mistake_has_a_finite_gradient_in_bfloat16_too(name: str) -> None:
    scores, targets = batch()
    large = (300 * scores.detach()).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(name, large.bfloat16(), targets, 0.0, None)
    (gradient,) = torch.autograd.grad(value, large)
    assert value.isfinite()
    assert gradient.isfinite().all()


def test_ce_dice_is_the_sum_of_its_parts() -> None:
    scores, targets = batch()
    parts = [loss(name, scores, targets, 0.1, None) for name in ("ce", "dice")]
    torch.testing.assert_close(loss("ce_dice", scores, targets, 0.1, None), sum(parts))


def test_dice_is_that_of_milletari() -> None:
    scores, targets = batch()
    counts = (targets != IGNORED)[:, None]
    shares = scores.softmax(1) * counts
    truth = one_hot(targets.clamp(max=2), 3).permute(0, 3, 1, 2) * counts
    both, all_of_both = (shares * truth).sum((0, 2, 3)), (shares + truth).sum((0, 2, 3))
    torch.testing.assert_close(loss("dice", scores, targets, 0.0, None), (1 - 2 * both / all_of_both).mean())


def test_smoothing_spreads_a_share_over_all_labels_where_pixels_count() -> None:
    scores, targets = batch()
    counts = targets != IGNORED
    pixels, truth = scores.permute(0, 2, 3, 1)[counts], targets[counts]
    expected = cross_entropy(pixels, truth, label_smoothing=0.2)
    by_hand = -(0.8 * log_softmax(pixels, 1).gather(1, truth[:, None])[:, 0] + 0.2 * log_softmax(pixels, 1).mean(1))
    torch.testing.assert_close(expected, by_hand.mean())
    torch.testing.assert_close(loss("ce", scores, targets, 0.2, None), expected)


def test_weights_say_what_a_label_counts() -> None:
    scores, targets = batch()
    counts, weights = targets != IGNORED, torch.tensor([0.2, 1.0, 3.0])
    single = cross_entropy(scores.permute(0, 2, 3, 1)[counts], targets[counts], reduction="none")
    expected = (single * weights[targets[counts]]).sum() / weights[targets[counts]].sum()
    torch.testing.assert_close(loss("ce", scores, targets, 0.0, weights), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_label_that_training_never_shows_has_a_finite_loss_in_validation(smoothing: float) -> None:
    """Balanced weights let it count nothing; an image of validation may hold it, or nothing else."""
    scores, targets = batch()
    weights = torch.tensor([0.6, 1.2, 0.0])
    for some in (targets, torch.where(targets == IGNORED, targets, 2)):
        value = loss("ce_dice", scores, some, smoothing, weights)
        (gradient,) = torch.autograd.grad(value, scores)
        assert value.isfinite()
        assert gradient.isfinite().all()
