"""Intensities of any real dtype become the 0-255 that the models expect, robustly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The share of pixels cut off at either end, in per cent. One hot pixel, or a few, then change nothing.
_TAIL = 0.1


@dataclass(frozen=True)
class Contrast:
    """The intensities that become 0 and 255."""

    low: float
    high: float

    @classmethod
    def of(cls, sample: NDArray[np.generic]) -> Contrast:
        """Take the 0.1 and 99.9 percentiles of the finite values of ``sample``.

        Where these coincide (an image that is nearly all background), the extremes are taken instead.
        """
        values = sample.astype(np.float64).ravel()
        values = values[np.isfinite(values)]
        if values.size == 0:
            return cls(0.0, 1.0)
        low, high = np.percentile(values, [_TAIL, 100 - _TAIL])
        if high <= low:
            low, high = values.min(), values.max()
        return cls(float(low), float(high))

    def apply(self, plane: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Map ``plane`` linearly to 0-255; NaN becomes 0, infinities the nearer end, a constant image 0."""
        span = self.high - self.low
        if not span > 0:
            return np.zeros(plane.shape, np.uint8)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (plane.astype(np.float32) - np.float32(self.low)) * np.float32(255 / span)
        scaled = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0)
        return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
