"""Features in 16 bits a value: whole steps, whose size and middle each channel has of its own.

Half precision spends its bits on small values, which decide nothing here: with steps of one size the error of
an embedding of `nano` is a fifth. Sizes are powers of two and middles whole steps, so what was rounded once
stays bit for bit the same when it is rounded again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# From the least value of a channel to its largest; even, so that their rounded values are no further apart.
_RANGE = 65532
# Values of more steps are not whole in float32.
_FARTHEST = 2**22
_LEAST_SIZE = 2.0**-100  # where a channel is nothing but zeros


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """Features as whole steps away from the middle of their channel.

    Attributes
    ----------
    steps
        (C, h, w) int16.
    sizes, middles
        (C,) float32: how large a channel's steps are, and the value that has none.
    """

    steps: Tensor
    sizes: Tensor
    middles: Tensor

    @classmethod
    def of(cls, features: Tensor) -> FixedPoint:
        """Round (C, h, w) features, on their own device."""
        sizes, middles = (part.to(features.device) for part in _scales(features))
        steps = ((features - middles) / sizes).round().to(torch.int16)
        return cls(steps, sizes.flatten(), middles.flatten())

    def features(self) -> Tensor:
        """Give the (C, h, w) features in float32."""
        return self.steps * self.sizes[:, None, None] + self.middles[:, None, None]


def rounded(features: Tensor) -> Tensor:
    """Give (C, h, w) float32 features as they come back from their `FixedPoint`, on their own device."""
    return FixedPoint.of(features).features()


def _scales(features: Tensor) -> tuple[Tensor, Tensor]:
    """Give the size of each channel's steps and its middle, each (C, 1, 1), on the CPU."""
    least, most = (end((1, 2), keepdim=True).cpu() for end in (features.amin, features.amax))
    farthest = torch.maximum(least.abs(), most.abs())
    needed = torch.maximum((most - least) / _RANGE, farthest / _FARTHEST).clamp(min=_LEAST_SIZE)
    _, exponent = needed.frexp()
    sizes = torch.ldexp(torch.ones_like(needed), exponent)
    return sizes, ((least + most) / 2 / sizes).round() * sizes
