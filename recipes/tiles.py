"""Scores for every pixel of an image of any size: at once where it is small, else in overlapping tiles, row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

#: Images of up to this side, in the network's pixels, are seen in one go.
TILE = 1024

#: How far tiles reach into one another; the nearer a pixel is to its tile's edge, the less the tile counts there.
OVERLAP = 128

# Rows that are brought to the image's size at a time.
_ROWS = 256

Score = Callable[[Tensor], Tensor]


def score_rows(score: Score, pixels: Tensor, height: int, width: int) -> Iterator[Tensor]:
    """Scores for the rows of an image from top to bottom, a part at a time: memory grows with its width alone.

    Args:
        score: gives scores, shape (1, labels, h, w), for pixels, shape (1, 3, h, w).
        pixels: the image as the network sees it, shape (1, 3, h, w).
        height: the rows to bring the scores to.
        width: the columns to bring the scores to.

    Returns:
        Parts of shape (labels, rows, width), in all `height` rows.
    """
    h = pixels.shape[2]
    known: list[Tensor] = []
    first = done = 0  # the row of `known` that comes first, and the rows that are finished
    for strip in _strips(score, pixels):
        known = [torch.cat([*known, strip], 1)]
        last = first + known[0].shape[1]
        while done < height:
            end = min(done + _ROWS, height)
            above, below, share = _between(done, end, h, height, strip)
            if int(below[-1]) >= last:
                break
            rows = _mixed(known[0], 1, above - first, below - first, share[:, None])
            yield _mixed(rows, 2, *_between(0, width, pixels.shape[3], width, strip))
            done = end
        if done < height:
            needed = int(_between(done, done + 1, h, height, strip)[0][0])
            known, first = [known[0][:, needed - first :].clone()], needed


def number(height: int, width: int) -> int:
    """How many tiles an image of this size is looked at in."""
    return len(_starts(height)) * len(_starts(width))


def _between(begin: int, end: int, given: int, wanted: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of which two given rows each wanted one is made, and the second one's share, as bilinear resizing has it."""
    places = (torch.arange(begin, end, device=like.device, dtype=torch.float64) + 0.5) * given / wanted - 0.5
    places = places.clamp(0, given - 1)
    above = places.floor().long()
    return above, (above + 1).clamp(max=given - 1), (places - above).to(like.dtype)


def _mixed(values: Tensor, axis: int, above: Tensor, below: Tensor, share: Tensor) -> Tensor:
    if values.shape[axis] == len(above) and not share.any() and int(above[0]) == 0:
        return values
    return torch.lerp(values.index_select(axis, above), values.index_select(axis, below), share)


def _strips(score: Score, pixels: Tensor) -> Iterator[Tensor]:
    """Finished rows of scores, shape (labels, rows, w), in the size that the network sees."""
    high, wide = pixels.shape[2:]
    tops, lefts = _starts(high), _starts(wide)
    sums = weights = None
    for place, top in enumerate(tops):
        band = _band(score, pixels[:, :, top : top + TILE], lefts)
        if len(tops) == 1:
            yield band
            return
        share = _ramp(band.shape[1], band)
        band = band * share[:, None]
        if sums is not None and weights is not None:
            band[:, : sums.shape[1]] += sums
            share[: len(weights)] += weights
        ready = (tops[place + 1] if place + 1 < len(tops) else high) - top
        sums, weights = band[:, ready:].clone(), share[ready:].clone()  # a view would keep the whole band
        yield band[:, :ready].div_(share[:ready, None])


def _band(score: Score, pixels: Tensor, lefts: list[int]) -> Tensor:
    """Scores of one row of tiles, blended where they overlap."""
    high, wide = pixels.shape[2:]
    if len(lefts) == 1:
        return score(pixels)[0].float()
    sums = weights = None
    for left in lefts:
        tile = score(pixels[:, :, :, left : left + TILE])[0].float()
        share = _ramp(tile.shape[2], tile)
        if sums is None or weights is None:
            sums, weights = tile.new_zeros(len(tile), high, wide), tile.new_zeros(wide)
        sums[:, :, left : left + TILE] += tile * share
        weights[left : left + TILE] += share
    assert sums is not None
    assert weights is not None
    return sums.div_(weights)


def _starts(length: int) -> list[int]:
    """Where tiles begin, the last one so that it ends with the image."""
    if length <= TILE:
        return [0]
    return [*range(0, length - TILE, TILE - OVERLAP), length - TILE]


def _ramp(length: int, like: Tensor) -> Tensor:
    """How much each row or column of a tile counts: less towards the edges, never nothing."""
    inside = torch.arange(1, length + 1, device=like.device, dtype=like.dtype)
    return torch.minimum(inside, inside.flip(0)).clamp(max=OVERLAP) / OVERLAP
