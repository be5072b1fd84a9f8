"""A prompt drawn as a mask: the pixels that vote for the same middle as the prompt does.

Every pixel of the proposal head's maps says where the middle of its object is. So a click already means a
mask, that of all pixels which say the same as the clicked one (Neven et al., "Instance Segmentation by
Jointly Optimizing Spatial Embeddings", 2019). It is rough, and the mask decoder is shown it as a mask prompt,
as it is shown the last mask where clicks correct it.

Positions are ``(x, y)`` in pixels of the model's input, or of the part of it that the maps show.
"""

from __future__ import annotations

import torch
from torch import Tensor

from napari_sam.model.prompt_encoder import POSITIVE
from napari_sam.model.proposal_head import OFFSET_UNIT

# The logit of the middle of a drawn prompt, about as sure as the decoder's own.
_INSIDE = 6.0
# The reach of votes whose logarithm is zero, in pixels of the maps.
_REACH = 2.0
# Votes of a box are counted within this square of the ellipse's radius.
_INNER = 0.5


def drawn_points(maps: Tensor, points: Tensor, labels: Tensor, pixel: float) -> Tensor:
    """Draw the objects under the positive points as mask logits: (B, 1, h, w).

    Parameters
    ----------
    maps
        (1 or B, 5, h, w) of the proposal head.
    points, labels
        (B, N, 2) and (B, N); only positive points vote, and there is at least one for each prompt.
    pixel
        Side of a pixel of the maps in pixels of the input, whose origins are the same.
    """
    h, w = maps.shape[-2:]
    middles = _middles(maps, pixel)  # (1 or B, 2, h, w)
    xy = torch.div(points + 0.5, pixel, rounding_mode="floor").long()
    places = xy[..., 1].clamp(0, h - 1) * w + xy[..., 0].clamp(0, w - 1)  # (B, N)
    seeds = _said(maps, middles, len(points)).gather(2, places[:, None].expand(-1, 3, -1))  # (B, 3, N)
    logits = [_agreement(middles, seeds[:, :, n]) for n in range(places.shape[1])]
    silent = maps.new_full((), -2 * _INSIDE)
    logits = [
        torch.where((labels[:, n] == POSITIVE)[:, None, None], each, silent) for n, each in enumerate(logits)
    ]
    return torch.minimum(torch.stack(logits).amax(0), _foreground(maps))[:, None]


def drawn_boxes(boxes: Tensor, side: tuple[int, int], pixel: float) -> Tensor:
    """Draw the ellipse inscribed in each of (B, 4) boxes as mask logits: (B, 1, h, w) for ``side`` (h, w).

    Most objects in microscopy are closer to the ellipse in their tight box than to the box.
    """
    return (_INSIDE * (1 - _squared_radii(boxes, side, pixel))).clamp(-2 * _INSIDE, _INSIDE)[:, None]


def voted_boxes(maps: Tensor, boxes: Tensor, pixel: float) -> Tensor:
    """Draw the object whose middle the inner pixels of each of (B, 4) boxes vote for: (B, 1, h, w).

    For ``maps`` and ``pixel`` see `drawn_points`.
    """
    size = (maps.shape[-2], maps.shape[-1])
    middles, foreground = _middles(maps, pixel), _foreground(maps)
    radii = _squared_radii(boxes, size, pixel)
    weights = (_INNER - radii).clamp(min=0) * foreground.detach().sigmoid()
    # A box smaller than a pixel of the maps has the one nearest its middle.
    nearest = radii <= radii.flatten(1).amin(1)[:, None, None]
    weights = (weights + 1e-4 * nearest).flatten(1)
    weights = weights / weights.sum(1, keepdim=True)
    seeds = torch.einsum("bp,bcp->bc", weights, _said(maps, middles, len(boxes)))
    return torch.minimum(_agreement(middles, seeds), foreground)[:, None]


def _middles(maps: Tensor, pixel: float) -> Tensor:
    """Give where each pixel says that its object's middle is, (x, y) in pixels of the maps: (B, 2, h, w)."""
    h, w = maps.shape[-2:]
    x, y = torch.arange(w, device=maps.device), torch.arange(h, device=maps.device)
    here = torch.stack([x.expand(h, w), y[:, None].expand(h, w)])
    return here + maps[:, 2:4] * (OFFSET_UNIT / pixel)


def _said(maps: Tensor, middles: Tensor, prompts: int) -> Tensor:
    """Give what each pixel says for each prompt, its middle (x, y) and the reach: (B, 3, h * w)."""
    return torch.cat([middles, maps[:, 4:]], 1).flatten(2).expand(prompts, -1, -1)


def _foreground(maps: Tensor) -> Tensor:
    """Give the logits of the foreground, bounded as drawn prompts are: (B, h, w)."""
    return maps[:, 0].clamp(-2 * _INSIDE, _INSIDE)


def _agreement(middles: Tensor, seeds: Tensor) -> Tensor:
    """Give the logits (B, h, w) of pixels that agree with the (B, 3) middles (x, y) and their reach."""
    distances = (middles - seeds[:, :2, None, None]).square().sum(1)
    reach = (_REACH * seeds[:, 2].clamp(-2, 4).exp()).square()
    return (_INSIDE * (1 - distances / reach[:, None, None])).clamp(-2 * _INSIDE, _INSIDE)


def _squared_radii(boxes: Tensor, size: tuple[int, int], pixel: float) -> Tensor:
    """Give squared distances from the middles of (B, 4) boxes, 1 along the ellipses in them: (B, h, w)."""
    squares = []
    for axis, length in ((1, size[0]), (0, size[1])):
        centres = (torch.arange(length, device=boxes.device) + 0.5) * pixel - 0.5
        low, high = boxes[:, axis, None], boxes[:, axis + 2, None]
        squares.append(((2 * centres - low - high) / (high - low).clamp(min=1e-3)).square())
    return squares[0][:, :, None] + squares[1][:, None, :]
