"""Scores for every pixel: the same in one go and row by row, without seams, and in the image's own size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from recipes import tiles


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
