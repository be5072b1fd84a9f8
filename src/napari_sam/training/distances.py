"""How deep pixels lie in their objects, and what the proposal head learns of it: of many label images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_sam.model.proposal_head import OFFSET_UNIT, TAUGHT

# Pixels of the model's input per pixel of the proposal maps.
MAP_STRIDE = 4


def depths(labels: Tensor, most: int) -> Tensor:
    """Give each pixel's distance to the border of its object, at most ``most``: (B, h, w).

    0 in the pixels at the border and on the ground; the image's edge is a border. Exact: the distances along
    the rows are combined along the columns (Felzenszwalb and Huttenlocher, "Distance Transforms of Sampled
    Functions", 2012), here by trying all shifts, which a graphics card does faster than anything cleverer.
    """
    height, width = labels.shape[1:]
    padded = F.pad(labels, (1, 1, 1, 1))
    inner = labels > 0
    for rows, columns in ((0, 1), (2, 1), (1, 0), (1, 2)):
        inner &= labels == padded[:, rows : rows + height, columns : columns + width]
    along = torch.arange(width, device=labels.device, dtype=torch.float32)
    before = along - torch.where(inner, -torch.inf, along).cummax(2).values
    after = torch.where(inner, torch.inf, along).flip(2).cummin(2).values.flip(2) - along
    squares = torch.minimum(before, after).clamp(max=most).square()
    nearest = squares.clone()
    for shift in range(1, min(most, height - 1) + 1):
        torch.minimum(nearest[:, shift:], squares[:, :-shift] + shift**2, out=nearest[:, shift:])
        torch.minimum(nearest[:, :-shift], squares[:, shift:] + shift**2, out=nearest[:, :-shift])
    return nearest.sqrt()


def proposal_targets(labels: Tensor, most_labels: int) -> Tensor:
    """Make the maps that the proposal head learns from (B, side, side) labels: (B, 4, side / 4, side / 4).

    Foreground; closeness to the innermost point (1 there, falling to 0 at the border); and on objects the
    offset (x, y) to that point in units of ``OFFSET_UNIT``. Labels are below ``most_labels``.
    """
    seen = labels[:, MAP_STRIDE // 2 :: MAP_STRIDE, MAP_STRIDE // 2 :: MAP_STRIDE].long()
    b, h, w = seen.shape
    on_object = seen > 0
    depth = torch.where(on_object, depths(seen, max(h, w)) + 1, 0.0).flatten(1)
    flat = seen.flatten(1)
    deepest = depth.new_zeros(b, most_labels).scatter_reduce(1, flat, depth, "amax")
    places = torch.arange(h * w, device=labels.device).expand(b, -1)
    candidates = torch.where(depth == deepest.gather(1, flat), places, h * w)
    middles = candidates.new_full((b, most_labels), h * w).scatter_reduce(1, flat, candidates, "amin")
    middle = middles.gather(1, flat).unflatten(1, (h, w))
    maps = depth.new_zeros(b, TAUGHT, h, w)
    maps[:, 0] = on_object
    maps[:, 1] = torch.where(
        on_object, (depth / deepest.gather(1, flat).clamp(min=1)).unflatten(1, (h, w)), 0.0
    )
    rows, columns = torch.arange(h, device=labels.device)[:, None], torch.arange(w, device=labels.device)
    for channel, offset in ((2, middle % w - columns), (3, middle // w - rows)):
        maps[:, channel] = torch.where(on_object, offset * (MAP_STRIDE / OFFSET_UNIT), 0.0)
    return maps
