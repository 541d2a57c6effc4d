"""Scores for every pixel: the same in one go and row by row, without seams, and in the image's own size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from recipes import Segmenter, mask_losses, tiles
from recipes.crops import IGNORED, DensePreparation
from recipes.inference import scores_for
from recipes.masks import MaskCode, label_colours
from recipes.presets import Preset
from recipes.tasks.segmenter import SegmenterCodec
from recipes.training_module import TrainingModule


def linear(pixels: Tensor) -> Tensor:
    """Scores that depend on the pixel alone, so that tiles must give what the whole gives."""
    return torch.cat([pixels[:, :1] / 255, 1 - pixels[:, 1:2] / 255], 1)


def whole(pixels: Tensor, height: int, width: int) -> Tensor:
    return torch.cat(list(tiles.score_rows(linear, pixels, height, width)), 1)


@pytest.mark.parametrize("size", [(37, 50), (64, 64), (96, 33), (200, 130), (129, 300)])
@pytest.mark.parametrize("factor", [1.0, 0.5, 1.7, 3.0])
@pytest.mark.parametrize("rows", [7, 256])
def test_scores_are_those_of_bilinear_resizing(
    size: tuple[int, int], factor: float, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "TILE", 64)
    monkeypatch.setattr(tiles, "OVERLAP", 16)
    monkeypatch.setattr(tiles, "_ROWS", rows)
    pixels = torch.randint(0, 256, (1, 3, *size)).to(torch.uint8)
    height, width = round(size[0] * factor), round(size[1] * factor)
    expected = interpolate(linear(pixels.float()), (height, width), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(whole(pixels, height, width), expected, atol=1e-4, rtol=1e-4)


def test_tiles_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "TILE", 64)
    monkeypatch.setattr(tiles, "OVERLAP", 32)
    calls = 0

    def uneven(pixels: Tensor) -> Tensor:
        """Each tile is off by another constant: the worst that a lack of context can do."""
        nonlocal calls
        calls += 1
        return torch.full((1, 1, *pixels.shape[2:]), float(calls % 2))

    pixels = torch.zeros((1, 3, 150, 170), dtype=torch.uint8)
    scores = torch.cat(list(tiles.score_rows(uneven, pixels, 150, 170)), 1)[0]
    assert calls == 20
    steps = torch.cat([scores.diff(dim=0).abs().flatten(), scores.diff(dim=1).abs().flatten()])
    assert steps.max() < 0.1  # a hard edge would be 1


def test_a_small_image_is_seen_in_one_go_as_it_is() -> None:
    seen = []

    def watched(pixels: Tensor) -> Tensor:
        seen.append((tuple(pixels.shape), pixels.dtype))
        return linear(pixels)

    rows = list(tiles.score_rows(watched, torch.zeros((1, 3, 50, 70), dtype=torch.uint8), 50, 70))
    assert seen == [((1, 3, 50, 70), torch.uint8)]
    assert [tuple(part.shape) for part in rows] == [(2, 50, 70)]


def test_every_row_comes_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "TILE", 32)
    monkeypatch.setattr(tiles, "OVERLAP", 8)
    pixels = torch.arange(100)[:, None].expand(100, 40).repeat(1, 3, 1, 1).to(torch.uint8)
    scores = torch.cat(list(tiles.score_rows(lambda values: values[:, :1].float(), pixels, 100, 40)), 1)[0, :, 0]
    torch.testing.assert_close(scores, torch.arange(100.0))


# -- validation, strip by strip ---------------------------------------------------------------------------------------

LABELS = tuple("abcdefghijk")
CODEC = SegmenterCodec(LABELS, DensePreparation(), MaskCode("values", tuple(range(11)), label_colours(LABELS)))


def network() -> Any:
    torch.manual_seed(0)

    class Scaled(nn.Conv2d):
        def forward(self, pixels: Tensor) -> Tensor:
            return super().forward(pixels.float() / 64 - 2)

    return Scaled(3, len(LABELS), 5, padding=2)


def batch(height: int, width: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """An image and its mask, which agree to a part; some pixels do not count, among them whole rows."""
    torch.manual_seed(1)
    small = torch.randint(0, 256, (1, 3, height // 8, width // 8)).float()
    pixels = interpolate(small, (round(height * scale), round(width * scale)), mode="bilinear").to(torch.uint8)
    with torch.no_grad():
        targets = interpolate(network()(pixels), (height, width), mode="bilinear").argmax(1)
    targets[torch.rand(targets.shape) < 0.4] = 3
    targets[torch.rand(targets.shape) < 0.1] = IGNORED
    targets[:, 40:80] = IGNORED
    return pixels, targets


def joined(pixels: Tensor, targets: Tensor) -> Tensor:
    """All scores at once, as validation had them before."""
    return torch.cat(list(tiles.score_rows(network(), pixels, *targets.shape[1:])), 1)[None]


@pytest.mark.parametrize("size", [(64, 48), (200, 130), (300, 90), (90, 300)])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_scores_of_strips_are_exactly_those_of_the_whole_image(
    size: tuple[int, int], scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "TILE", 64)
    monkeypatch.setattr(tiles, "OVERLAP", 16)
    monkeypatch.setattr(tiles, "_ROWS", 20)
    pixels, targets = batch(*size, scale)
    expected, found = Segmenter().metrics(len(LABELS)), Segmenter().metrics(len(LABELS))
    rows = []

    def each(scores: Tensor, truth: Tensor) -> None:
        assert scores.shape == (1, len(LABELS), *truth.shape[1:])
        rows.append(truth.shape[1])
        found.update(scores, truth)

    with torch.no_grad():
        scores_for(network(), CODEC, pixels, targets, each)
        expected.update(joined(pixels, targets), targets)
    assert sum(rows) == size[0]
    assert max(rows) <= 20  # so much is in memory at once
    assert {name: float(value) for name, value in found.compute().items()} == {
        name: float(value) for name, value in expected.compute().items()
    }
    assert 0.2 < float(found.compute()["accuracy"]) < 0.9


@pytest.mark.parametrize(("size", "step"), [((64, 64), 1), ((40, 100), 1), ((65, 64), 2), ((200, 130), 3)])
def test_the_loss_is_that_of_the_image_or_of_a_regular_sample_of_a_large_one(
    size: tuple[int, int], step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "TILE", 64)
    monkeypatch.setattr(tiles, "OVERLAP", 16)
    monkeypatch.setattr(tiles, "_ROWS", 20)
    pixels, targets = batch(*size)
    with torch.no_grad():
        scores, truth = scores_for(network(), CODEC, pixels, targets, lambda *_: None)
        expected = joined(pixels, targets)
    assert torch.equal(scores, expected[:, :, ::step, ::step])
    assert torch.equal(truth, targets[:, ::step, ::step])


@pytest.mark.parametrize("criterion", ["ce_dice", "ce", "dice", "focal", "lovasz", "tversky"])
def test_the_loss_of_a_sample_is_nearly_that_of_the_whole(criterion: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "TILE", 256)
    pixels, targets = batch(600, 500)
    with torch.no_grad():
        whole = mask_losses.loss(criterion, joined(pixels, targets), targets, 0.1, None)
        sample = scores_for(network(), CODEC, pixels, targets, lambda *_: None)
        assert sample[0].shape[2:] == (200, 167)
        torch.testing.assert_close(mask_losses.loss(criterion, *sample, 0.1, None), whole, rtol=0.02, atol=0)


def test_a_validation_step_gives_the_scores_and_the_loss_of_its_image() -> None:
    pixels, targets = batch(520, 300)
    task, preset = Segmenter(), Preset()
    metrics, expected = task.metrics(len(LABELS)), task.metrics(len(LABELS))
    module = object.__new__(TrainingModule)
    nn.Module.__init__(module)

    def loss(scores: Tensor, truth: Tensor) -> Tensor:
        return task.loss(scores, truth, preset, None)

    module.codec, module.loss, module.metrics, module.step_network = CODEC, loss, metrics, network()
    module.lost, module._val_loss = set(), []
    with torch.no_grad():
        module.validation_step((pixels, targets, []), 0)
        expected.update(scores := joined(pixels, targets), targets)
    assert metrics.compute() == expected.compute()
    assert module._val_loss == [(loss(scores, targets), 1)]
