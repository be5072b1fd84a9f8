"""Squares of the model's input, each around one object: where they lie, into them and back.

Squares are (B, 3) integers ``(x, y, side)``: the first pixel in the model's input, and the extent.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_sam.model.prompt_encoder import POSITIVE

# Half the side of a square, in deviations of the mask's pixels from their middle: a disc's radius is two.
_DEVIATIONS = 3.5
# Half the side of a square, in halves of the box.
_HALF_BOXES = 1.75
# Half the side of the smallest square, in pixels of the input.
_LEAST_HALF = 8.0
# The share of a square, on each side of its middle, in which a point must lie.
_INNER = 2 / 3
# The logit of what lies beside a square.
OUTSIDE = -10.0


def squares_around(
    logits: Tensor,
    stride: float,
    points: tuple[Tensor, Tensor] | None,
    boxes: Tensor | None,
    origins: Tensor | None = None,
) -> Tensor:
    """Choose the square for each of (B, h, w) masks: around its pixels, its box and its positive points.

    ``stride`` is that of the logits, in pixels of the input, and ``origins`` (B, 2) where they begin; for
    ``points`` and ``boxes`` see `Sam.decode`.
    """
    mask = (logits > 0).float()
    total = mask.sum((1, 2)).clamp(min=1e-6)
    means, deviations = [], []
    for along in (mask.sum(1), mask.sum(2)):  # x, y
        places = (torch.arange(along.shape[1], device=mask.device) + 0.5) * stride
        mean = (along * places).sum(1) / total
        means.append(mean)
        deviations.append(((along * (places - mean[:, None]).square()).sum(1) / total).sqrt())
    middle = torch.stack(means, 1)
    if origins is not None:
        middle = middle + origins
    half = _DEVIATIONS * torch.stack(deviations, 1).amax(1)
    if points is not None:
        middle, half = _with_points(middle, half, total > 0.5, *points)
    if boxes is not None:
        corners = boxes.unflatten(1, (2, 2)) + 0.5
        middle = corners.mean(1)
        half = _HALF_BOXES * (corners[:, 1] - corners[:, 0]).amax(1) / 2
        if points is not None:
            middle, half = _with_points(middle, half, half > 0, *points)
    half = half.clamp(min=_LEAST_HALF)
    side = (2 * half).round()
    return torch.cat([(middle - side[:, None] / 2).round(), side[:, None]], 1).long()


def _with_points(
    middle: Tensor, half: Tensor, placed: Tensor, points: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Move and widen squares so that positive points lie inside; where nothing is ``placed``, around them."""
    positive = (labels == POSITIVE)[..., None]
    low = torch.where(positive, points + 0.5, torch.inf).amin(1)
    high = torch.where(positive, points + 0.5, -torch.inf).amax(1)
    some = positive.any(1)[:, 0]
    low = torch.where(placed[:, None], torch.minimum(low, middle - _INNER * half[:, None]), low)
    high = torch.where(placed[:, None], torch.maximum(high, middle + _INNER * half[:, None]), high)
    wider = (high - low).amax(1) / 2 / _INNER
    moved = torch.where(some[:, None], (low + high) / 2, middle)
    return moved, torch.where(some, torch.maximum(wider, half), half)


def scaled(
    image: Tensor, square: list[int], side: int, change: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Scale a square of a (C, h, w) image to (C, side, side), with antialiasing; zero beside the image.

    ``change`` is made to the pixels that lie in the image.
    """
    x, y, extent = square
    h, w = image.shape[-2:]
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + extent, w), min(y + extent, h)
    if right <= left or bottom <= top:
        return image.new_zeros(image.shape[0], side, side, dtype=torch.float32)
    inside = image[:, top:bottom, left:right].float()
    inside = inside if change is None else change(inside)
    whole = F.pad(inside, (left - x, x + extent - right, top - y, y + extent - bottom))
    return F.interpolate(whole[None], side, mode="bilinear", antialias=True)[0]


def sampled(maps: Tensor, squares: Tensor, stride: float, side: int) -> Tensor:
    """Sample (B or 1, C, h, w) maps in the middles of ``side`` x ``side`` parts of each square.

    ``stride`` is the maps' pixel in pixels of the input; beside the maps is zero.
    """
    h, w = maps.shape[-2:]
    steps = (torch.arange(side, device=maps.device) + 0.5) / side
    x, y = (
        (squares[:, axis, None] + steps * squares[:, 2:]) * (2 / (stride * length)) - 1
        for axis, length in ((0, w), (1, h))
    )
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)
    maps = maps.expand(len(squares), -1, -1, -1)
    return F.grid_sample(maps, grid.to(maps.dtype), mode="bilinear", align_corners=False)


def placed(
    drawn: Tensor,
    squares: Tensor,
    size: tuple[int, int],
    pixel: tuple[float, float],
    first: tuple[int, int] = (0, 0),
) -> Tensor:
    """Put (B, n, n) logits of squares where they belong: (B, h, w), far below zero beside them.

    ``pixel`` gives height and width of a pixel of what comes, in pixels of the model's input, and ``first``
    the row and column of its first one.
    """
    x, y = (
        ((torch.arange(n, device=drawn.device) + start + 0.5) * step - squares[:, axis, None])
        * (2 / squares[:, 2:])
        - 1
        for axis, n, step, start in ((0, size[1], pixel[1], first[1]), (1, size[0], pixel[0], first[0]))
    )
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)
    found = F.grid_sample(drawn[:, None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    inside = ((grid >= -1) & (grid < 1)).all(-1)
    return torch.where(inside, found[:, 0], OUTSIDE)
