"""Intensities of any real dtype become the 0-255 that the models expect, robustly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The share of pixels cut off at either end, and at least one, so that a hot pixel changes nothing.
_TAIL = 0.001


@dataclass(frozen=True)
class Contrast:
    """The intensities that become 0 and 255."""

    low: float
    high: float

    @classmethod
    def of(cls, sample: NDArray[np.generic]) -> Contrast:
        """Take the extremes of ``sample``'s finite values, less the thousandth at either end.

        Where these coincide (an image that is nearly all background), nothing is left out.
        """
        values = sample.astype(np.float64).ravel()
        values = values[np.isfinite(values)]
        if values.size == 0:
            return cls(0.0, 1.0)
        cut = min(max(1, round(_TAIL * values.size)), (values.size - 1) // 2)
        values.partition((cut, values.size - 1 - cut))
        low, high = values[cut], values[-1 - cut]
        if high <= low:
            low, high = values.min(), values.max()
        return cls(float(low), float(high))

    @classmethod
    def between(cls, low: float, high: float) -> Contrast:
        """Take these limits.

        Raises
        ------
        ValueError
            If they are not finite, or the first is not below the second.
        """
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"The contrast limits ({low}, {high}) are not a lower and a higher intensity.")
        return cls(float(low), float(high))

    def apply(self, plane: NDArray[np.generic], gamma: float = 1.0) -> NDArray[np.uint8]:
        """Map ``plane`` to 0-255; NaN becomes 0, infinities the nearer end, a constant image 0.

        That is linear, but for a ``gamma``: the power that the shares between the limits are raised to.
        """
        span = self.high - self.low
        if not span > 0:
            return np.zeros(plane.shape, np.uint8)
        # Single precision where it is exact; 32-bit integers and wider need double to keep their last digits.
        real = np.result_type(plane.dtype, np.float32).type
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (plane.astype(real) - real(self.low)) * real(255 / span)
        scaled = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0)
        if gamma != 1:
            scaled = 255 * (np.clip(scaled, 0, 255) / 255) ** gamma
        image: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        return image
