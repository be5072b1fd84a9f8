"""Noise of small images that are enlarged: its grains would be as large as the objects that a model knows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve, gaussian_filter

# An image is smoothed if its noise has at least this share of all its contrast, and if it is enlarged at
# least so many times. On shrunken training images with noise added, smoothing makes masks better from about
# that share on and hardly differs at less.
_NOISY, _ENLARGED = 0.45, 2.0
# The smoothing's deviation in pixels of the image.
_SMOOTHING = 0.8
# The difference of two Laplacians, zero on slopes and edges, and its response to noise of deviation 1.
_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_RESPONSE = 6.0
# The median of absolute values of a normal distribution of deviation 1.
_MEDIAN = 0.6745


def noise_share(image: NDArray[np.uint8]) -> float:
    """Estimate which share of the standard deviation of an (H, W) or (H, W, 3) image is noise.

    After Immerkaer, "Fast Noise Variance Estimation" (1996), with the median in the place of the mean, so
    that outlines do not count.
    """
    grey = image.astype(np.float32)
    if grey.ndim == 3:
        grey = grey.mean(2)
    contrast = float(grey.std())
    if contrast == 0 or min(grey.shape) < 3:
        return 0.0
    response = np.abs(convolve(grey, _MASK)[1:-1, 1:-1])
    return float(np.median(response)) / (_MEDIAN * _RESPONSE) / contrast


def without_grain(image: NDArray[np.uint8], enlarged: float) -> NDArray[np.uint8]:
    """Smooth an image that is noisy and will be ``enlarged`` much; others are given back as they are."""
    if enlarged < _ENLARGED or noise_share(image) < _NOISY:
        return image
    sigma = (_SMOOTHING, _SMOOTHING, 0)[: image.ndim]
    smooth: NDArray[np.uint8] = gaussian_filter(image.astype(np.float32), sigma).round().astype(np.uint8)
    return smooth
