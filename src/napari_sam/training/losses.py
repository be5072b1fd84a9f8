"""What the training minimises: focal and dice loss of the masks, errors of the score and of the proposals."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# The focal loss is a sum over pixels in units of the object's area and this many pixels more: so it weighs
# the same in a small crop and in a whole plane. (SAM takes twenty times the mean over all pixels.)
_FOCAL_WEIGHT = 1.5
_MARGIN = 64.0
# The exponent that the paper of the focal loss calls gamma.
_FOCAL_GAMMA = 2.0
# The share of the mean over the three candidates beside their best. It is large, since few objects of these
# data are ambiguous: then what the score chooses is hardly worse than the best.
_MEAN_WEIGHT = 1.0
# The score is what chooses among the candidates, so its error weighs as much as a mask.
_SCORE_WEIGHT = 4.0
# Below this distance (in units of the offsets) the error of an offset counts squared.
_SMALL_OFFSET = 0.1


def prompt_losses(logits: Tensor, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Give the loss and the true IoU of each prompt's masks.

    The single mask (the first) always learns; of the three candidates the best one does, and the others
    a little. Where there is no object, the scores alone learn.

    Parameters
    ----------
    logits, scores
        (B, 4, h, w) and (B, 4), as the mask decoder gives them.
    target
        (B, h, w) covered share of each low-resolution pixel, 0 to 1.

    Returns
    -------
    loss, iou
        (B,) and (B, 4).
    """
    target = target[:, None].expand_as(logits)
    iou = mask_iou(logits, target)
    per_mask = _FOCAL_WEIGHT * focal_loss(logits, target) + dice_loss(logits, target)
    candidates = per_mask[:, 1:]
    masks = per_mask[:, 0] + candidates.min(1).values + _MEAN_WEIGHT * candidates.mean(1)
    masks = masks * on_objects(target[:, 0])
    return masks + _SCORE_WEIGHT * F.mse_loss(scores, iou, reduction="none").mean(1), iou


def drawing_loss(drawn: Tensor, target: Tensor) -> Tensor:
    """Give the mean loss of prompts as they are drawn from votes, (B, 1, h, w); ``target`` as above."""
    there = on_objects(target)[:, None]
    target = target[:, None]
    return (there * (_FOCAL_WEIGHT * focal_loss(drawn, target) + dice_loss(drawn, target))).mean()


def on_objects(target: Tensor) -> Tensor:
    """Tell of (B, h, w) targets which hold an object: (B,), 1 or 0; the others are clicks on the ground."""
    return target.flatten(1).any(1).to(target.dtype)


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy, weighted by how wrong a pixel is (Lin et al., 2017), per pixel of the object: (B, M)."""
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    total = ((target - logits.sigmoid()).abs() ** _FOCAL_GAMMA * entropy).sum((-2, -1))
    return total / (target.sum((-2, -1)) + _MARGIN)


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the soft Dice coefficient (Milletari et al., 2016): (B, M)."""
    p = logits.sigmoid()
    overlap = (p * target).sum((-2, -1))
    return 1 - (2 * overlap + 1) / (p.sum((-2, -1)) + target.sum((-2, -1)) + 1)


def proposal_loss(maps: Tensor, target: Tensor) -> Tensor:
    """Loss of the proposal head's (I, 5, h, w) ``maps``: cross-entropies, and the offsets on objects.

    The (I, 4, h, w) ``target`` teaches all but the reach of the votes, which `drawing_loss` does.
    """
    on_object = target[:, :1]
    entropy = F.binary_cross_entropy_with_logits(maps[:, :2], target[:, :2])
    offsets = F.smooth_l1_loss(maps[:, 2:4], target[:, 2:], reduction="none", beta=_SMALL_OFFSET)
    return entropy + (offsets * on_object).sum() / on_object.sum().clamp(min=1)


@torch.no_grad()
def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of the thresholded masks: (B, M)."""
    mask, truth = logits > 0, target > 0.5
    union = (mask | truth).sum((-2, -1))
    return (mask & truth).sum((-2, -1)) / union.clamp(min=1)
