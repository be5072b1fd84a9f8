"""Drawn images of cells with exact labels: shapes and contrasts that the real training sets lack."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom
from scipy.spatial import cKDTree

from napari_sam.contrast import Contrast
from napari_sam.training.data import AnnotatedImage

# Side of the drawn images in pixels of the model's input.
SIDE = 512


def draw_set(count: int, seed: int) -> list[AnnotatedImage]:
    """Draw ``count`` images, the same for the same ``seed``."""
    return [draw(np.random.default_rng([seed, number])) for number in range(count)]


def draw(rng: np.random.Generator) -> AnnotatedImage:
    """Draw either separate bodies (cells, bacteria) or a tissue of cells with membranes."""
    labels = _bodies(rng) if rng.random() < 0.6 else _tissue(rng)
    image = _render(rng, labels)
    return AnnotatedImage("synthetic", Contrast.of(image).apply(image), labels)


def _bodies(rng: np.random.Generator) -> NDArray[np.int32]:
    """Place ellipses with wavy outlines, from round to rod-like, that do not overlap."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    radius = np.exp(rng.uniform(np.log(6), np.log(40)))
    elongation = rng.choice([1.0, 1.4, 3.5]) * rng.uniform(1, 1.3)
    waviness = rng.uniform(0, 0.15)
    for number in range(1, int(rng.uniform(0.3, 1.0) * SIDE**2 / (4 * radius**2 * elongation**0.5)) + 2):
        half = int(2 * radius * elongation) + 2
        centre = rng.integers(0, SIDE, 2)
        rows = np.arange(max(0, centre[0] - half), min(SIDE, centre[0] + half))
        columns = np.arange(max(0, centre[1] - half), min(SIDE, centre[1] + half))
        y, x = np.meshgrid(rows - centre[0], columns - centre[1], indexing="ij")
        turn = rng.uniform(0, np.pi)
        along = (x * np.cos(turn) + y * np.sin(turn)) / elongation**0.5
        across = (y * np.cos(turn) - x * np.sin(turn)) * elongation**0.5
        angle = np.arctan2(across, along)
        outline = sum(
            waviness * rng.normal() * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) / k for k in (2, 3, 4)
        )
        inside = np.hypot(along, across) < radius * rng.uniform(0.7, 1.3) * (1 + outline)
        window = labels[np.ix_(rows, columns)]
        free = inside & (window == 0)
        if free.sum() > 0.8 * inside.sum():
            labels[np.ix_(rows, columns)] = np.where(free, number, window)
    return labels


def _tissue(rng: np.random.Generator) -> NDArray[np.int32]:
    """Fill the image with the cells of a bent Voronoi diagram, thin gaps between them."""
    count = int(np.exp(rng.uniform(np.log(25), np.log(400))))
    seeds = rng.uniform(0, SIDE, (count, 2))
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    bend = rng.uniform(0, 60)
    y, x = (axis + bend * gaussian_filter(rng.normal(size=(SIDE, SIDE)), 12) for axis in (y, x))
    distances, nearest = cKDTree(seeds).query(np.stack([y, x], -1), k=2)
    gap = distances[..., 1] - distances[..., 0] < rng.uniform(1.5, 5)
    labels: NDArray[np.int32] = np.where(gap, 0, nearest[..., 0] + 1).astype(np.int32)
    return labels


def _render(rng: np.random.Generator, labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """Give every object, its rim and the background an intensity; add texture, blur, shading, noise."""
    count = int(labels.max()) + 1
    inside, rim, outside = rng.uniform(0, 1, 3)
    if abs(inside - outside) < 0.2 and abs(rim - outside) < 0.3:
        rim = outside + rng.choice([-1, 1]) * rng.uniform(0.3, 0.6)
    levels = inside + rng.uniform(0, 0.15) * rng.normal(size=count)
    levels[0] = outside
    image = levels[labels]
    edge = (labels != np.roll(labels, 1, 0)) | (labels != np.roll(labels, 1, 1))
    edge_map = gaussian_filter(edge.astype(float), rng.uniform(0.7, 2.0))
    image += rng.uniform(0, 1) * (rim - inside) * np.clip(2 * edge_map, 0, 1)
    texture = gaussian_filter(rng.normal(size=labels.shape), rng.uniform(0.8, 4))
    image += rng.uniform(0, 0.12) * texture / texture.std() * (labels > 0)
    shading = zoom(rng.normal(size=(4, 4)), SIDE / 4, order=1)
    image += rng.uniform(0, 0.2) * shading / shading.std()
    sharp = rng.uniform(0.3, 1.8)
    blurred: NDArray[np.float64] = gaussian_filter(image, sharp)
    return blurred + rng.uniform(0, 0.12) * rng.normal(size=labels.shape)
