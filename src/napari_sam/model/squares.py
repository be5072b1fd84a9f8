"""Squares of the model's input, each around one object: where they lie, into them and back.

Squares are (B, 3) numbers ``(x, y, side)`` in pixels of the model's input: where they begin, and how far they
reach. They end anywhere between two pixels: so what is seen in a square changes as little as the square does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor

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
# From minus so much to so much a logit counts more and more as of the mask.
_RAMP = 0.5
# The logit of what lies beside a square.
OUTSIDE = -10.0
# Squares that are scaled together at once: so many copies of their images are made.
_TOGETHER = 256

# One of them as numbers.
Square = Sequence[float]


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
    # As a ramp: a pixel that rounding takes over the threshold must not move the square.
    mask = (logits / (2 * _RAMP) + 0.5).clamp(0, 1)
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
    half = half.clamp(min=_LEAST_HALF)[:, None]
    return torch.cat([middle - half, 2 * half], 1)


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
    image: Tensor,
    square: Square,
    side: int,
    change: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Scale a square of a (C, h, w) image to (C, side, side), with antialiasing; zero beside the image.

    ``change`` is made to the pixels that lie in the image; it is also told the (h', w') shares of these that
    lie in the square.
    """
    x, y, extent = square
    rows, row_shares, from_rows = _seen_along(y, extent, image.shape[-2], side, image.device)
    columns, column_shares, from_columns = _seen_along(x, extent, image.shape[-1], side, image.device)
    inside = image[:, rows, columns].float()
    if change is not None and inside.numel():
        inside = change(inside, row_shares[:, None] * column_shares)
    return from_rows @ inside @ from_columns.T


def scaled_together(
    images: Tensor, which: Tensor, squares: Tensor, side: int, least_deviation: float | None = None
) -> Tensor:
    """Scale (B, 3) squares of (I, h, w) images, of image ``which`` each: (B, side, side), as `scaled` does.

    A few large products for all squares: a graphics card would take long for many small ones. With
    ``least_deviation`` the pixels of a square that lie in the image are brought to mean zero, and to
    deviation one if that much is added to it.
    """
    h, w = images.shape[1:]
    rows, row_shares = _seen_along_together(squares[:, 1], squares[:, 2], h, side)
    columns, column_shares = _seen_along_together(squares[:, 0], squares[:, 2], w, side)
    parts = []
    for some in torch.arange(len(squares), device=squares.device).split(_TOGETHER):
        inside = images[which[some]].float()
        part = rows[some] @ inside @ columns[some].transpose(1, 2)
        if least_deviation is not None:
            down, across = row_shares[some], column_shares[some]
            total = (down.sum(1) * across.sum(1)).clamp(min=1e-6)
            mean, square = (
                torch.einsum("bh,bhw,bw->b", down, each, across) / total for each in (inside, inside.square())
            )
            deviation = (square - mean.square()).clamp(min=0).sqrt() + least_deviation
            shown = rows[some].sum(2)[:, :, None] * columns[some].sum(2)[:, None, :]
            part = (part - mean[:, None, None] * shown) / deviation[:, None, None]
        parts.append(part)
    return torch.cat(parts)


def _seen_along_together(starts: Tensor, extents: Tensor, length: int, side: int) -> tuple[Tensor, Tensor]:
    """Give the (B, side, length) weights and the (B, length) shares of `_seen_along` for many squares."""
    ends = starts + extents
    first = starts.floor()
    most = int((ends.ceil() - first).max()) if len(starts) else 0
    pixels = first[:, None] + torch.arange(most, device=starts.device)  # (B, n)
    shares = (torch.minimum(pixels + 1, ends[:, None]) - torch.maximum(pixels, starts[:, None])).clamp(min=0)
    step = (extents / side)[:, None]
    parts = starts[:, None] + step * (torch.arange(side, device=starts.device) + 0.5)
    apart = (pixels[:, None, :] + 0.5 - parts[:, :, None]).abs()
    near = (1 - apart / step.clamp(min=1.0)[..., None]).clamp(min=0) * shares[:, None, :]
    near = near / near.sum(2, keepdim=True)
    # Pixels beside the image are counted at its first one, for nothing.
    seen = (pixels >= 0) & (pixels < length)
    places = torch.where(seen, pixels, 0).long()
    weights = near.new_zeros(len(starts), side, length)
    weights.scatter_add_(2, places[:, None, :].expand_as(near), near * seen[:, None, :])
    return weights, shares.new_zeros(len(starts), length).scatter_add_(1, places, shares * seen)


def _seen_along(
    start: float, extent: float, length: int, side: int, device: torch.device
) -> tuple[slice, Tensor, Tensor]:
    """Give the pixels along an axis of an image that lie in a square, and what its parts take of them.

    What comes are the pixels that are in the image, the share of each of these n that lies in the square, and
    (side, n) weights: less the farther a pixel's middle is from that of a part, as far as the parts lie
    apart, or one pixel. Each part's weights sum to one with the pixels beside the image. Of a square between
    whole pixels they are those of PyTorch's antialiased interpolation.
    """
    first, last = floor(start), ceil(start + extent)
    pixels = torch.arange(first, last, device=device)
    shares = (pixels + 1).clamp(max=start + extent) - pixels.clamp(min=start)
    step = extent / side
    parts = start + step * (torch.arange(side, device=device) + 0.5)
    near = (1 - (pixels + 0.5 - parts[:, None]).abs() / max(step, 1.0)).clamp(min=0) * shares
    weights = near / near.sum(1, keepdim=True)
    low = min(max(first, 0), length)
    high = max(low, min(last, length))
    here = slice(low - first, high - first)
    return slice(low, high), shares[here], weights[:, here]


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
