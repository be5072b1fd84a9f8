"""Random looks of many crops at once, on any device; see `napari_sam.training.looks` for those of one."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_sam.training.looks import LARGEST_GRAIN, MOST_NOISE

# The pixels that a blur of the largest deviation reaches, to each side.
_REACH = 6
# The share of noisy crops that are much noisier, as small confocal images are, and how much.
_VERY_NOISY, _VERY = 0.2, 3.0
# The share of noisy crops that are smoothed afterwards, as the plugin smooths the grain of small images.
_SMOOTHED = 0.3
# The share of crops that are seen as enlarged from an image of fewer pixels, how many times at most along
# each axis, and the least side in such pixels of a usual object. The slices of a volume have longer pixels.
_ENLARGED, _MOST_TIMES, _LEAST_SIDE = 0.25, 8.0, 6.0


class Chance:
    """Random numbers for ``count`` crops, each a column that fits (B, C, h, w) tensors."""

    def __init__(self, generator: torch.Generator, count: int, device: torch.device) -> None:
        self._generator = generator
        self._shape = (count, 1, 1, 1)
        self._device = device

    def uniform(self, low: float, high: float) -> Tensor:
        """Draw numbers between ``low`` and ``high``."""
        drawn = torch.rand(self._shape, generator=self._generator, device=self._device)
        return low + (high - low) * drawn

    def true(self, share: float) -> Tensor:
        """Draw truth values of which about ``share`` are true."""
        return self.uniform(0, 1) < share

    def normal(self, *shape: int) -> Tensor:
        """Draw normal numbers of any shape."""
        return torch.randn(shape, generator=self._generator, device=self._device)


def change_looks_of(crops: Tensor, sides: Tensor, generator: torch.Generator) -> Tensor:
    """Change contrast, gamma, polarity, colours, sharpness and noise of (B, 3, h, w) crops of 0-255.

    What comes are bytes. ``sides`` (B,) are those of usual objects, in pixels of the crops.
    """
    x = crops / 255
    chance = Chance(generator, len(x), x.device)
    x = torch.where(chance.true(0.1), 1 - x, x)
    shares = -torch.log(torch.cat([chance.uniform(1e-6, 1) for _ in range(3)], 1))
    grey = (x * (shares / shares.sum(1, keepdim=True))).sum(1, keepdim=True)
    x = torch.where(chance.true(0.1), grey, x)
    order = torch.cat([chance.uniform(0, 1) for _ in range(3)], 1).argsort(1)
    x = torch.where(chance.true(0.15), x.gather(1, order.expand_as(x)), x)
    x = torch.where(chance.true(0.5), x.clamp(0, 1) ** chance.uniform(-0.5, 0.5).exp(), x)
    x = torch.where(chance.true(0.3), chance.uniform(0.5, 1.2) * x + chance.uniform(-0.1, 0.2), x)
    x = torch.where(chance.true(0.15), _blurred(x, chance.uniform(0.4, 2.0)), x)
    noisy = chance.true(0.3)
    strength = chance.uniform(0.01, MOST_NOISE) * torch.where(chance.true(_VERY_NOISY), _VERY, 1.0)
    seen = x + strength * _noise(x, chance)
    seen = torch.where(chance.true(_SMOOTHED), _blurred(seen, chance.uniform(0.5, 2.0)), seen)
    x = torch.where(noisy, seen, x)
    few = _enlarged(x, sides, chance)
    return (255 * torch.where(chance.true(_ENLARGED), few, x)).round().clamp(0, 255).to(torch.uint8)


def _noise(x: Tensor, chance: Chance) -> Tensor:
    """Draw noise of deviation one in grains of a random size; half the time that of counted photons."""
    b, _, h, w = x.shape
    noise = chance.normal(b, 1, h, w)
    grain = torch.where(chance.true(0.5), chance.uniform(1, LARGEST_GRAIN + 1).floor(), 1.0)
    for size in range(2, LARGEST_GRAIN + 1):
        coarse = chance.normal(b, 1, math.ceil(h / size), math.ceil(w / size))
        coarse = F.interpolate(coarse, (h, w), mode="bilinear")
        noise = torch.where(grain == size, coarse / coarse.std((2, 3), keepdim=True), noise)
    photons = (2 * x.mean(1, keepdim=True).clamp(0, 1)).sqrt()
    return torch.where(chance.true(0.5), noise * photons, noise)


def _blurred(x: Tensor, deviations: Tensor) -> Tensor:
    """Blur each crop by a Gaussian of its own deviation."""
    b, c, h, w = x.shape
    places = torch.arange(-_REACH, _REACH + 1, device=x.device)
    kernel = (-places.square() / (2 * deviations.view(b, 1).square())).exp()
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(c, 0)  # (B * C, 2 * reach + 1)
    flat = F.pad(x.reshape(1, b * c, h, w), (_REACH,) * 4, mode="replicate")
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=b * c)
    return F.conv2d(flat, kernel[:, None, :, None], groups=b * c).view(b, c, h, w)


def _enlarged(x: Tensor, sides: Tensor, chance: Chance) -> Tensor:
    """See crops with fewer pixels along each axis, with noise in them, and enlarge them again.

    Each crop is shrunk by sampling its blurred self at the middles of the larger pixels.
    """
    b, _, h, w = x.shape
    most = (sides.view(b, 1, 1, 1) / _LEAST_SIDE).clamp(1, _MOST_TIMES)
    times = most ** chance.uniform(0, 1)
    longer = torch.where(chance.true(0.3), chance.uniform(1, 3), 1.0)
    along = chance.true(0.5)
    down, across = torch.where(along, times * longer, times), torch.where(along, times, times * longer)
    x = _blurred(x, (0.4 * times).clamp(0.3, 3.0))
    strength = 2 * MOST_NOISE * chance.uniform(0, 1).square()
    # The same noise in all pixels that become one.
    rows, columns = (
        ((torch.arange(n, device=x.device) + 0.5) / each.view(b, 1)) for n, each in ((h, down), (w, across))
    )
    coarse = chance.normal(b, 1, h, w)
    photons = chance.true(0.5)

    def at(row: Tensor, column: Tensor) -> Tensor:
        """Give what the larger pixels with these numbers, (B, h) and (B, w), show."""
        y = ((row + 0.5) * down.view(b, 1) - 0.5).clamp(0, h - 1).long()
        z = ((column + 0.5) * across.view(b, 1) - 0.5).clamp(0, w - 1).long()
        every = torch.arange(b, device=x.device)[:, None, None]
        value = x.permute(0, 2, 3, 1)[every, y[:, :, None], z[:, None, :]].permute(0, 3, 1, 2)
        noise = coarse[
            every, 0, row.long().clamp(0, h - 1)[:, :, None], column.long().clamp(0, w - 1)[:, None, :]
        ]
        grey = (2 * value.mean(1).clamp(0, 1)).sqrt()
        return value + strength * torch.where(photons[:, 0], noise * grey, noise)[:, None]

    row, column = (rows - 0.5).floor().clamp(min=0), (columns - 0.5).floor().clamp(min=0)
    below, right = (rows - 0.5 - row).clamp(0, 1)[:, None, :, None], (columns - 0.5 - column).clamp(0, 1)
    right = right[:, None, None, :]
    above = at(row, column) * (1 - right) + at(row, column + 1) * right
    under = at(row + 1, column) * (1 - right) + at(row + 1, column + 1) * right
    return above * (1 - below) + under * below
