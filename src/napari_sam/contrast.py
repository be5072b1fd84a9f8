"""Intensities of any real dtype become the 0-255 that the models expect, robustly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The share of pixels cut off at either end, and at least one, so that a hot pixel changes nothing.
_TAIL = 0.001


# A pixel that differs by so much of 255 from each of its eight neighbours stands alone.
_ALONE = 64
# Where more of the pixels than this share stand alone, that is the image's own grain.
_GRAIN = 0.0005


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


def stretched(plane: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Bring a plane to 0-255 by its own contrast, without hot pixels; unsigned bytes stay as they are.

    Parameters
    ----------
    plane
        (H, W) or (H, W, 3).

    Raises
    ------
    ValueError
        For another shape, no pixels, or a dtype that is not real.
    """
    plane = np.asarray(plane)
    if plane.ndim not in (2, 3) or (plane.ndim == 3 and plane.shape[2] != 3):
        raise ValueError(f"A plane has shape (H, W) or (H, W, 3), not {plane.shape}; select one plane.")
    if plane.size == 0:
        raise ValueError(f"The plane of shape {plane.shape} has no pixels.")
    if plane.dtype.kind not in "buif":
        raise ValueError(f"The plane's dtype {plane.dtype} is not a real number; convert it first.")
    if plane.dtype == np.uint8:
        return plane.astype(np.uint8, copy=False)
    return without_hot_pixels(Contrast.of(plane).apply(plane))


def without_hot_pixels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put the median of its neighbours in the place of each pixel that stands alone, far from all of these.

    A model that sees a small plane enlarged takes such a pixel for a spot. Where there are many of them, as
    in images of single photons, nothing is changed.

    Parameters
    ----------
    image
        (H, W), or (H, W, colours).
    """
    height, width = image.shape[:2]
    if min(height, width) < 3:
        return image
    around = np.pad(image, [(1, 1), (1, 1), *[(0, 0)] * (image.ndim - 2)], mode="reflect")
    shifts = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]
    beside = [around[row : row + height, column : column + width] for row, column in shifts]
    lowest, highest = beside[0].copy(), beside[0].copy()
    for one in beside[1:]:
        np.minimum(lowest, one, out=lowest)
        np.maximum(highest, one, out=highest)
    # None of these differences can leave the range of bytes where it counts.
    hot = (image > highest) & (image - highest > _ALONE)
    dead = (image < lowest) & (lowest - image > _ALONE)
    alone = np.nonzero(hot | dead)
    if not 0 < len(alone[0]) <= max(1, _GRAIN * image.size):
        return image
    mended = image.copy()
    mended[alone] = np.median([one[alone] for one in beside], axis=0).astype(np.uint8)
    return mended
