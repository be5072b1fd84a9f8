"""Random looks of crops: what microscopes, stains and cameras do to the same objects."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_sam.training.chance import Chance

# Grains of noise have up to this side, in pixels: small images are enlarged with their noise.
_LARGEST_GRAIN = 5
_MOST_NOISE = 0.12
# The share of noisy crops that are much noisier, as small confocal images are, and how much.
_VERY_NOISY, _VERY = 0.2, 3.0
# The share of noisy crops that are smoothed afterwards, as the plugin smooths the grain of small images.
_SMOOTHED = 0.3
# The pixels that a blur of the largest deviation reaches, to each side.
_REACH = 6
# The share of crops that are seen as enlarged from an image of fewer pixels, how many times at most along
# each axis, and the least side in such pixels of a usual object. The slices of a volume have longer pixels.
_ENLARGED, _MOST_TIMES, _LEAST_SIDE = 0.25, 8.0, 6.0


def change_looks(crops: Tensor, sides: Tensor, chance: Chance) -> Tensor:
    """Change contrast, gamma, polarity, colours, sharpness and noise of (B, 3, h, w) crops of 0-255.

    What comes are bytes. ``sides`` (B,) are those of usual objects, in pixels of the crops.
    """
    x = crops / 255
    for share, change in _CHANGES:
        x = _sometimes(share, change, x, chance)
    x = _sometimes(_ENLARGED, _enlarged, x, chance, sides)
    return (255 * x).round().clamp(0, 255).to(torch.uint8)


def _sometimes(
    share: float, change: Callable[..., Tensor], x: Tensor, chance: Chance, *further: Tensor
) -> Tensor:
    """Change about this share of the crops; the change is told what ``further`` (B,) says of these."""
    chosen = chance.true(share, len(x))
    if x.device.type != "cpu":
        # A graphics card that is asked which they are makes all wait for the answer; it rather changes all.
        return torch.where(chosen[:, None, None, None], change(x, chance, *further), x)
    if not chosen.any():
        return x
    return x.index_put((chosen,), change(x[chosen], chance, *(each[chosen] for each in further)))


def _each(x: Tensor) -> tuple[int, int, int, int]:
    """Give the shape of one number for each of (B, C, h, w) crops."""
    return (len(x), 1, 1, 1)


def _inverted(x: Tensor, _chance: Chance) -> Tensor:
    return 1 - x


def _grey(x: Tensor, chance: Chance) -> Tensor:
    """Mix the colours in random shares; all shares are equally likely."""
    shares = -chance.uniform(len(x), 3, 1, 1, low=1e-6).log()
    return (x * (shares / shares.sum(1, keepdim=True))).sum(1, keepdim=True).expand_as(x)


def _recoloured(x: Tensor, chance: Chance) -> Tensor:
    """Put the colours in another order."""
    return x.gather(1, chance.uniform(len(x), 3, 1, 1).argsort(1).expand_as(x))


def _curved(x: Tensor, chance: Chance) -> Tensor:
    """Change gamma."""
    return x.clamp(0, 1) ** chance.uniform(*_each(x), low=-0.5, high=0.5).exp()


def _stretched(x: Tensor, chance: Chance) -> Tensor:
    """Change contrast and brightness."""
    contrast = chance.uniform(*_each(x), low=0.5, high=1.2)
    return contrast * x + chance.uniform(*_each(x), low=-0.1, high=0.2)


def _out_of_focus(x: Tensor, chance: Chance) -> Tensor:
    return _blurred(x, chance.uniform(*_each(x), low=0.4, high=2.0))


def _noisy(x: Tensor, chance: Chance) -> Tensor:
    """Add noise, now and then much, and smooth some of the crops afterwards."""
    strength = chance.uniform(*_each(x), low=0.01, high=_MOST_NOISE)
    strength = strength * torch.where(chance.true(_VERY_NOISY, *_each(x)), _VERY, 1.0)
    return _sometimes(_SMOOTHED, _smoothed, x + strength * _noise(x, chance), chance)


def _smoothed(x: Tensor, chance: Chance) -> Tensor:
    return _blurred(x, chance.uniform(*_each(x), low=0.5, high=2.0))


# In this order, each with the share of the crops that it is made to.
_CHANGES = (
    (0.1, _inverted),
    (0.1, _grey),
    (0.15, _recoloured),
    (0.5, _curved),
    (0.3, _stretched),
    (0.15, _out_of_focus),
    (0.3, _noisy),
)


def _noise(x: Tensor, chance: Chance) -> Tensor:
    """Draw noise of deviation one in grains of a random size; half the time that of counted photons."""
    b, _, h, w = x.shape
    noise = chance.normal(b, 1, h, w)
    grain = chance.uniform(*_each(x), low=1, high=_LARGEST_GRAIN + 1).floor()
    grain = torch.where(chance.true(0.5, *_each(x)), grain, 1.0)
    for size in range(2, _LARGEST_GRAIN + 1):
        coarse = chance.normal(b, 1, math.ceil(h / size), math.ceil(w / size))
        coarse = F.interpolate(coarse, (h, w), mode="bilinear")
        noise = torch.where(grain == size, coarse / coarse.std((2, 3), keepdim=True), noise)
    photons = (2 * x.mean(1, keepdim=True).clamp(0, 1)).sqrt()
    return torch.where(chance.true(0.5, *_each(x)), noise * photons, noise)


def _blurred(x: Tensor, deviations: Tensor) -> Tensor:
    """Blur each crop by a Gaussian of its own deviation."""
    b, c, h, w = x.shape
    places = torch.arange(-_REACH, _REACH + 1, device=x.device)
    kernel = (-places.square() / (2 * deviations.view(b, 1).square())).exp()
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(c, 0)  # (B * C, 2 * reach + 1)
    flat = F.pad(x.reshape(1, b * c, h, w), (_REACH,) * 4, mode="replicate")
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=b * c)
    return F.conv2d(flat, kernel[:, None, :, None], groups=b * c).view(b, c, h, w)


def _enlarged(x: Tensor, chance: Chance, sides: Tensor) -> Tensor:
    """See crops with fewer pixels along each axis, with noise in them, and enlarge them again.

    Each crop is shrunk by sampling its blurred self at the middles of the larger pixels.
    """
    b, _, h, w = x.shape
    most = (sides / _LEAST_SIDE).clamp(1, _MOST_TIMES)
    times = most ** chance.uniform(b)
    longer = torch.where(chance.true(0.3, b), chance.uniform(b, low=1, high=3), 1.0)
    along = chance.true(0.5, b)
    down, across = torch.where(along, times * longer, times), torch.where(along, times, times * longer)
    x = _blurred(x, (0.4 * times).clamp(0.3, 3.0))
    strength = 2 * _MOST_NOISE * chance.uniform(*_each(x)).square()
    # The same noise in all pixels that become one.
    coarse = chance.normal(b, 1, h, w)
    photons = chance.true(0.5, *_each(x))
    rows, columns = (
        (torch.arange(n, device=x.device) + 0.5) / each[:, None] for n, each in ((h, down), (w, across))
    )
    every = torch.arange(b, device=x.device)[:, None, None]

    def at(row: Tensor, column: Tensor) -> Tensor:
        """Give what the larger pixels with these numbers, (B, h) and (B, w), show."""
        y = ((row + 0.5) * down[:, None] - 0.5).clamp(0, h - 1).long()
        z = ((column + 0.5) * across[:, None] - 0.5).clamp(0, w - 1).long()
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
