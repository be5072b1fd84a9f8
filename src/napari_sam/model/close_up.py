"""A second look at each mask, from close up: a small network redraws it on a square of the image around it.

The mask decoder says well where an object is, and its logits are as coarse as the embedding. In a square that
is scaled to the object all objects have about the same size, whatever theirs is in the image, and the network
sees the pixels themselves. Mask R-CNN (He et al., 2017) draws its masks in such squares; that clicks and the
last mask are drawn beside the pixels follows Sofiiuk et al., "Reviving Iterative Training with Mask Guidance
for Interactive Segmentation" (2021), and the look at a part of the image Chen et al., "FocalClick" (2022).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_sam.model.conv_encoder import ConvNorm, ResidualPair
from napari_sam.model.prompt_encoder import NEGATIVE, POSITIVE
from napari_sam.model.squares import Square, sampled, scaled, scaled_together

# Pixels along a side of a view, in which an object spans about a half.
VIEW = 64
# The view's channels: the pixels, the mask so far, positive points, negative points, the box.
CHANNELS = 5
# Views get this many features of the embedding along a side.
_FEATURES = VIEW // 4
_WIDTHS = (16, 40, 80, 128)

# What a point is drawn as: a disc of this radius in the view.
_POINT = 2.5
# Logits are shown to the network bounded, in this unit.
_LOGIT_UNIT = 4.0
# From this score on scores are bent below one, which the network overshoots.
_SURE = 0.95
# Contrast lower than this, in grey values of 255, is not enhanced.
_LEAST_CONTRAST = 2.0


class CloseUp(nn.Module):
    """Redraw masks in views of their objects and score them.

    Parameters
    ----------
    width
        Channels of the embedding without its fine ones.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second, third, fourth = _WIDTHS
        self.width = width
        self.enter = nn.Sequential(ConvNorm(CHANNELS, first), ConvNorm(first, first))
        self.down = nn.ModuleList(
            [
                nn.Sequential(ConvNorm(first, second, stride=2), ResidualPair(second)),
                nn.Sequential(ConvNorm(second, third, stride=2), ConvNorm(third, third)),
                nn.Sequential(ConvNorm(third, fourth, stride=2), ConvNorm(fourth, fourth)),
            ]
        )
        self.context = nn.Conv2d(width, third, 1)
        upwards = ((fourth, third), (third, second), (second, first))
        self.up = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in upwards)
        self.join = nn.ModuleList([ResidualPair(third), ResidualPair(second), ResidualPair(first)])
        self.out = nn.Conv2d(first, 1, 1)
        self.score = nn.Sequential(nn.Linear(fourth + third, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, views: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, 5, 64, 64) views and (B, C, 16, 16) features to (B, 64, 64) logits and (B,) scores."""
        # With the channels last convolutions take a fifth less on a processor.
        views, features = (x.contiguous(memory_format=torch.channels_last) for x in (views, features))
        x = self.enter(views)
        maps = [x]
        for number, down in enumerate(self.down):
            x = down(x)
            if number == 1:
                x = x + self.context(features)
            maps.append(x)
        for up, join, finer in zip(self.up, self.join, maps[-2::-1], strict=True):
            x = join(finer + F.interpolate(up(x), scale_factor=2.0, mode="nearest"))
            if finer is maps[2]:
                pooled = torch.cat([maps[3].mean((2, 3)), x.mean((2, 3))], 1)
        return self.out(x)[:, 0], self.score(pooled)[:, 0]


def views_of(
    images: Tensor,
    which: Tensor | None,
    squares: Tensor,
    logits: Tensor,
    stride: float,
    points: tuple[Tensor, Tensor] | None,
    boxes: Tensor | None,
    origins: Tensor | None = None,
) -> Tensor:
    """Draw what the network looks at: (B, 5, 64, 64).

    Parameters
    ----------
    images
        (I, 1, h, w) brightness.
    which
        (B,) the image of each view; the first if left out.
    squares
        (B, 3) on the images, see `napari_sam.model.squares`.
    logits, stride
        (B, h, w) of the mask so far, and their pixel in pixels of the images.
    points, boxes
        As for `Sam.decode`, relative to the images' first pixel.
    origins
        (B, 2) pixel ``(x, y)`` at which the logits of each mask begin; zero if left out.
    """
    pixels = _pixels_of(images, which, squares)
    inside = squares if origins is None else torch.cat([squares[:, :2] - origins, squares[:, 2:]], 1)
    bounded = (logits / _LOGIT_UNIT).tanh()[:, None] + 1
    mask = sampled(bounded, inside, stride, VIEW) - 1
    drawn = [pixels, mask]
    unit = squares[:, 2:].float() / VIEW
    grid = torch.arange(VIEW, device=squares.device) + 0.5
    if points is None:
        drawn.append(mask.new_zeros(len(mask), 2, VIEW, VIEW))
    else:
        places = (points[0] + 0.5 - squares[:, None, :2]) / unit[:, None]  # (B, N, 2)
        x = grid - places[..., :1]
        y = grid - places[..., 1:]
        near = (_POINT + 0.5 - (x.square()[:, :, None, :] + y.square()[..., None]).sqrt()).clamp(0, 1)
        drawn += [
            (near * (points[1] == label)[..., None, None]).amax(1, keepdim=True)
            for label in (POSITIVE, NEGATIVE)
        ]
    if boxes is None:
        drawn.append(torch.zeros_like(mask))
    else:
        corners = (boxes.unflatten(1, (2, 2)) + 0.5 - squares[:, None, :2]) / unit[:, None]
        low, high = corners[:, 0, :, None], corners[:, 1, :, None]  # (B, 2, 1)
        inside = (torch.minimum(grid - low, high - grid) + 0.5).clamp(0, 1)  # (B, 2, 64)
        drawn.append((inside[:, 0, None, :] * inside[:, 1, :, None])[:, None])
    return torch.cat(drawn, 1)


def _pixels_of(images: Tensor, which: Tensor | None, squares: Tensor) -> Tensor:
    """Scale squares of (I, 1, h, w) images to views: (B, 1, 64, 64)."""
    if images.device.type != "cpu":
        numbers = (
            torch.zeros(len(squares), dtype=torch.long, device=images.device) if which is None else which
        )
        return scaled_together(images[:, 0], numbers, squares, VIEW, _LEAST_CONTRAST)[:, None]
    several = [0] * len(squares) if which is None else which.tolist()
    return torch.stack(
        [_pixels(images[number], square) for number, square in zip(several, squares.tolist(), strict=True)]
    )


def _pixels(image: Tensor, square: Square) -> Tensor:
    """Scale the square of a (1, h, w) image to a view, its contrast made the same as in any other."""

    def normalised(inside: Tensor, shares: Tensor) -> Tensor:
        inside = inside - (inside * shares).sum() / shares.sum()
        return inside / (((inside.square() * shares).sum() / shares.sum()).sqrt() + _LEAST_CONTRAST)

    return scaled(image, square, VIEW, normalised)


def bounded(scores: Tensor) -> Tensor:
    """Keep estimates of an IoU below one, in their order: above 0.95 they come closer and closer to it."""
    rest = 1 - _SURE
    return torch.where(scores < _SURE, scores, _SURE + rest * ((scores - _SURE) / rest).tanh())


def features_of(embedding: Tensor, squares: Tensor, patch: float) -> Tensor:
    """Sample the features of each square from (B or 1, C, h, w): (B, C, 16, 16)."""
    return sampled(embedding, squares, patch, _FEATURES)
