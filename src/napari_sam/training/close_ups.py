"""The close-ups of one round of training: jittered squares, what is to be seen in them, and the loss."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_sam.model.close_up import VIEW, CloseUp, features_of, views_of
from napari_sam.model.squares import scaled, scaled_together, squares_around
from napari_sam.model.upscaling import UPSCALING
from napari_sam.training.losses import dice_loss

# Squares are scaled and moved at random by about these shares of their side: so what is learned does not hang
# on how the first mask places them.
_SCALED, _MOVED = 0.12, 0.04
_LEAST_SIDE = 16
_ENTROPY_WEIGHT = 2.0
# Where a box is that is none: beside all views.
_FAR = -1e6


@dataclass(frozen=True, eq=False)
class CloseUpRound:
    """Redrawn masks and what they should be.

    Attributes
    ----------
    squares
        (B, 3), see `napari_sam.model.squares`.
    logits, scores
        (B, 64, 64) and (B,) of the network.
    target
        (B, 64, 64) covered share of each pixel.
    areas
        (B,) of the whole objects, in pixels of the views.
    """

    squares: Tensor
    logits: Tensor
    scores: Tensor
    target: Tensor
    areas: Tensor

    @cached_property
    def iou(self) -> Tensor:
        """Give the (B,) IoU of the masks with the objects, of which a part may lie beside the square."""
        mask, truth = self.logits > 0, self.target > 0.5
        common = (mask & truth).sum((1, 2))
        whole = torch.maximum(self.areas, truth.sum((1, 2)).float())
        return common / (mask.sum((1, 2)) + whole - common).clamp(min=1)

    def mask_loss(self) -> Tensor:
        """Give the mean loss of the masks, cross-entropy and dice, where there is an object."""
        entropy = F.binary_cross_entropy_with_logits(self.logits, self.target, reduction="none")
        dice = dice_loss(self.logits[:, None], self.target[:, None])[:, 0]
        return ((_ENTROPY_WEIGHT * entropy.mean((1, 2)) + dice) * (self.areas > 0)).mean()

    def score_loss(self) -> Tensor:
        """Give the mean squared error of the scores."""
        return F.mse_loss(self.scores, self.iou)


def draw_close_ups(
    network: CloseUp,
    images: tuple[Tensor, Tensor, Tensor],
    shown: Tensor,
    stride: float,
    prompts: tuple[Tensor, Tensor, Tensor, Tensor],
    masks: Tensor,
    generator: torch.Generator,
) -> CloseUpRound:
    """Redraw the masks ``shown`` on squares that are a little off.

    What comes are the ``B`` masks, and behind them the same once more on other squares that are turned and
    mirrored: a view costs less than the mask that it begins with.

    Parameters
    ----------
    images
        (I, 1, side, side) brightness of the crops, and each prompt's (B,) crop and (B, C, h, w) features.
    shown, stride
        (B, h, w) logits and their pixel in pixels of the crops.
    prompts
        Points with labels, boxes, and which of the prompts are boxes, relative to the crops.
    masks
        (B, side, side) the objects.
    generator
        Of the jitter.
    """
    pixels, which, features = images
    twice = (shown, *prompts, which, features, masks)
    shown, points, labels, boxes, by_box, which, features, masks = (torch.cat([x, x]) for x in twice)
    with torch.no_grad(), torch.autocast(shown.device.type, enabled=False):
        around_points = squares_around(shown, stride, (points, labels), None)
        around_boxes = squares_around(shown, stride, (points, labels), boxes)
        squares = _jittered(torch.where(by_box[:, None], around_boxes, around_points), generator)
        boxes = torch.where(by_box[:, None], boxes, _FAR)
        views = views_of(pixels, which, squares, shown, stride, (points, labels), boxes)
        around = features_of(features.float(), squares, UPSCALING * stride)
        target = _covered(masks, squares)
        areas = masks.flatten(1).sum(1) / (squares[:, 2] / VIEW).square()
        turn = int(torch.randint(4, (), generator=generator)), bool(torch.randint(2, (), generator=generator))
        views, around, target = (_half_turned(x, *turn) for x in (views, around, target))
    logits, scores = network(views, around)
    return CloseUpRound(squares, logits.float(), scores.float(), target, areas)


def _jittered(squares: Tensor, generator: torch.Generator) -> Tensor:
    sides = squares[:, 2:]
    scale, move = (torch.randn(len(squares), n, generator=generator).to(sides.device) for n in (1, 2))
    middles = squares[:, :2] + sides / 2 + _MOVED * sides * move
    sides = (sides * (_SCALED * scale).exp()).clamp(min=_LEAST_SIDE)
    return torch.cat([middles - sides / 2, sides], 1)


def _half_turned(x: Tensor, quarters: int, mirrored: bool) -> Tensor:
    """Turn the second half of a batch of squares by right angles, and mirror it."""
    first, second = x.chunk(2)
    second = second.rot90(quarters, (-2, -1))
    return torch.cat([first, second.flip(-1) if mirrored else second])


def _covered(masks: Tensor, squares: Tensor) -> Tensor:
    """Give the covered share of the views' pixels: (B, 64, 64)."""
    if masks.device.type != "cpu":
        return scaled_together(masks, torch.arange(len(masks), device=masks.device), squares, VIEW)
    return torch.cat(
        [scaled(mask[None], square, VIEW) for mask, square in zip(masks, squares.tolist(), strict=True)]
    )
