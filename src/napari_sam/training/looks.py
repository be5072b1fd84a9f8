"""Random looks of a crop: what microscopes, stains and cameras do to the same objects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

# Grains of noise have up to this side, in pixels: small images are enlarged with their noise.
LARGEST_GRAIN = 5
MOST_NOISE = 0.12


def change_looks(rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Change contrast, gamma, polarity, colours, sharpness and noise of a (H, W, 3) image."""
    x = image.astype(np.float32) / 255
    if rng.random() < 0.1:
        x = 1 - x
    if rng.random() < 0.1:
        x = np.repeat(x @ rng.dirichlet((1, 1, 1)).astype(np.float32)[:, None], 3, axis=2)
    if rng.random() < 0.15:
        x = x[..., rng.permutation(3)]
    if rng.random() < 0.5:
        x = np.clip(x, 0, 1) ** np.exp(rng.uniform(-0.5, 0.5))
    if rng.random() < 0.3:
        x = rng.uniform(0.5, 1.2) * x + rng.uniform(-0.1, 0.2)
    if rng.random() < 0.15:
        x = gaussian_filter(x, (sigma := rng.uniform(0.4, 2.0), sigma, 0))
    if rng.random() < 0.3:
        x = x + rng.uniform(0.01, MOST_NOISE) * _noise(rng, x.astype(np.float32, copy=False))
    return np.clip(np.rint(255 * x), 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Draw noise of deviation one in grains of a random size; half the time that of counted photons."""
    height, width = x.shape[:2]
    grain = int(rng.integers(1, LARGEST_GRAIN + 1)) if rng.random() < 0.5 else 1
    coarse = rng.normal(size=(-(-height // grain), -(-width // grain))).astype(np.float32)
    if grain > 1:
        coarse = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))
        coarse = coarse / coarse.std()
    noise: NDArray[np.float32] = coarse[..., None]
    if rng.random() < 0.5:
        noise = noise * np.sqrt(2 * np.clip(x.mean(2, keepdims=True), 0, 1))
    return noise
