"""Where the objects of drawn images lie: bodies, rods, fibres and the cells of a tissue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, zoom
from scipy.spatial import cKDTree
from skimage.draw import line
from skimage.measure import label

# Side of the drawn images in pixels of the model's input.
SIDE = 512
# A new object of which more than this share is free is placed; what is not free stays its neighbour's.
_FREE = 0.8
# What other objects leave over of an object must be larger than this, in pixels.
_MIN_AREA = 20

_ANGLES = np.linspace(-np.pi, np.pi, 91)

Labels = NDArray[np.int32]
Window = tuple[slice, slice]


def bodies(rng: np.random.Generator) -> Labels:
    """Place ellipses with wavy outlines, scattered or crowded, of one size or of many."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    radius = np.exp(rng.uniform(np.log(5), np.log(60)))
    spread = rng.choice([0.1, 0.25, 0.5])
    elongation = rng.choice([1.0, 1.4, 2.2])
    waviness = rng.choice([0.02, 0.08, 0.16])
    crowding = rng.uniform(0.2, 1.0)
    for number in range(1, int(crowding * SIDE**2 / (4 * radius**2)) + 2):
        size = radius * np.exp(np.clip(spread * rng.normal(), -1, 1))
        along = size * np.sqrt(elongation * np.exp(0.15 * rng.normal()))
        across = size**2 / along
        window, y, x = _around(rng.uniform(0, SIDE, 2), 1.6 * along)
        turn = rng.uniform(0, np.pi)
        u = (x * np.cos(turn) + y * np.sin(turn)) / along
        v = (y * np.cos(turn) - x * np.sin(turn)) / across
        outline = np.interp(np.arctan2(v, u), _ANGLES, 1 + waviness * _waves(rng))
        _place(labels, window, np.hypot(u, v) < outline, number)
    return labels


def rods(rng: np.random.Generator) -> Labels:
    """Place bent rods with round ends, alone or side by side in colonies, some about to divide."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    radius = np.exp(rng.uniform(np.log(3), np.log(14)))
    aspect = rng.uniform(1.5, 6)
    bend = rng.choice([0.0, 0.3, 1.0])
    crowded = rng.random() < 0.6
    count = int(rng.uniform(0.2, 0.9) * SIDE**2 / (8 * aspect * radius**2)) + 2
    colonies = rng.uniform(0, SIDE, (int(rng.integers(1, 8)), 2))
    directions = rng.uniform(0, np.pi, len(colonies))
    for number in range(1, count + 1):
        half = radius * aspect * rng.uniform(0.6, 1.3)
        centre, turn = rng.uniform(0, SIDE, 2), rng.uniform(0, np.pi)
        if crowded:
            colony = int(rng.integers(len(colonies)))
            centre = colonies[colony] + rng.normal(size=2) * 0.09 * SIDE
            turn = directions[colony] + 0.35 * rng.normal()
        window, y, x = _around(centre, half + 2 * radius)
        t = np.linspace(-1, 1, 25)
        heading = turn + bend * rng.normal() * t
        middle = np.cumsum(np.stack([np.sin(heading), np.cos(heading)]), 1) * half / 12
        middle -= middle.mean(1, keepdims=True)
        waist = 1 - rng.choice([0.0, 0.0, 0.4]) * np.exp(-((t / 0.15) ** 2))
        far = np.hypot(y[..., None] - middle[0], x[..., None] - middle[1]) / (radius * waist)
        _place(labels, window, far.min(-1) < 1, number)
    return labels


def fibres(rng: np.random.Generator) -> Labels:
    """Lay long, winding fibres, straight or curled; a later one lies on those that it crosses."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    width = np.exp(rng.uniform(np.log(1.6), np.log(6)))
    stiffness = rng.choice([0.02, 0.06, 0.15])
    aligned = rng.random() < 0.4
    direction = rng.uniform(0, 2 * np.pi)
    for number in range(1, int(rng.integers(4, 26)) + 1):
        steps = int(np.exp(rng.uniform(np.log(15), np.log(120))))
        start = direction + 0.2 * rng.normal() if aligned else rng.uniform(0, 2 * np.pi)
        heading = start + np.cumsum(gaussian_filter(rng.normal(size=steps), 4)) * 8 * stiffness
        path = rng.uniform(0, SIDE, (2, 1)) + np.cumsum(6 * np.stack([np.sin(heading), np.cos(heading)]), 1)
        inside = ((path >= 0) & (path < SIDE)).all(0)
        # Beyond the edge of the image a fibre ends.
        end = steps if inside.all() else int(np.argmin(inside))
        if end < 6:
            continue
        track = np.ones((SIDE, SIDE), bool)
        points = path[:, :end].astype(int)
        for a, b in zip(points.T[:-1], points.T[1:], strict=True):
            track[line(*a, *b)] = False
        labels[distance_transform_edt(track) < width * rng.uniform(0.8, 1.2)] = number
    return _without_crumbs(labels)


def tissue(rng: np.random.Generator) -> Labels:
    """Fill the image with the cells of a bent Voronoi diagram, thin gaps between them.

    Cells may be of one or of many sizes, stretched, and in part empty.
    """
    count = int(np.exp(rng.uniform(np.log(20), np.log(400))))
    stretch = rng.choice([1.0, 1.0, 2.0, 3.5])
    seeds = rng.uniform(0, SIDE, (count, 2)) * (1, 1 / stretch)
    if rng.random() < 0.5:  # the more even cells of an epithelium
        seeds = _relaxed(rng, seeds, (SIDE, SIDE / stretch))
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    wave = np.exp(rng.uniform(np.log(8), np.log(80)))
    bend = rng.uniform(0, 0.25 if rng.random() < 0.5 else 0.6) * wave
    y, x = (axis + bend * clouds(rng, wave) for axis in (y, x))
    distances, nearest = cKDTree(seeds).query(np.stack([y, x / stretch], -1), k=2)
    cells = nearest[..., 0]
    if rng.random() < 0.4:  # neighbours grown together: cells of many sizes and winding outlines
        joined = np.arange(count)
        neighbours = cKDTree(seeds).query(seeds, k=2)[1][:, 1]
        some = rng.random(count) < 0.5
        joined[some] = neighbours[some]
        cells = joined[cells]
        border = _borders(cells)
        gap = distance_transform_edt(~border) < rng.uniform(0.7, 2)
    else:
        gap = distances[..., 1] - distances[..., 0] < rng.uniform(1.5, 5)
    empty = np.nonzero(rng.random(count) < rng.choice([0.0, 0.0, 0.15]))[0]
    labels = np.where(gap | np.isin(cells, empty), 0, cells + 1)
    return _without_crumbs(label(labels, connectivity=1).astype(np.int32))


def clouds(rng: np.random.Generator, sigma: float) -> NDArray[np.float64]:
    """Give smooth noise of mean 0 and deviation 1, whose patches are about ``sigma`` pixels large."""
    coarse = max(1, int(sigma / 3))
    noise = gaussian_filter(rng.normal(size=(-(-SIDE // coarse) + 2,) * 2), sigma / coarse, mode="wrap")
    if coarse > 1:
        noise = zoom(noise, coarse, order=1)
    noise = noise[:SIDE, :SIDE]
    smooth: NDArray[np.float64] = (noise - noise.mean()) / max(float(noise.std()), 1e-9)
    return smooth


def _around(
    centre: NDArray[np.float64], reach: float
) -> tuple[Window, NDArray[np.float64], NDArray[np.float64]]:
    """Give the window around ``centre``, and its rows and columns relative to the centre."""
    low = np.clip(centre - reach, 0, SIDE - 1).astype(int)
    high = np.clip(centre + reach + 1, 1, SIDE).astype(int)
    rows, columns = (slice(a, max(a + 1, b)) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    y, x = np.ogrid[rows, columns]
    return (rows, columns), y - centre[0], x - centre[1]


def _place(labels: Labels, window: Window, inside: NDArray[np.bool_], number: int) -> None:
    """Add an object where it is mostly free."""
    here = labels[window]
    free = inside & (here == 0)
    if free.sum() >= max(_MIN_AREA, _FREE * inside.sum()):
        here[free] = number


def _waves(rng: np.random.Generator) -> NDArray[np.float64]:
    """Give a random sum of waves around a circle, between -3 and 3, at `_ANGLES`."""
    orders = np.arange(2, 7)
    heights = rng.normal(size=5) / np.sqrt(orders)
    waves = np.cos(orders * _ANGLES[:, None] + rng.uniform(0, 2 * np.pi, 5)) @ heights
    clipped: NDArray[np.float64] = np.clip(waves, -3, 3)
    return clipped


def _relaxed(
    rng: np.random.Generator, seeds: NDArray[np.float64], size: tuple[float, float]
) -> NDArray[np.float64]:
    """Move each seed to the middle of the random positions that are nearest to it (Lloyd, 1982)."""
    positions = rng.uniform(0, 1, (8000, 2)) * size
    for _ in range(3):
        nearest = cKDTree(seeds).query(positions)[1]
        counts = np.bincount(nearest, minlength=len(seeds))
        sums = np.stack([np.bincount(nearest, positions[:, axis], len(seeds)) for axis in (0, 1)], 1)
        seeds = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], seeds)
    return seeds


def _borders(cells: NDArray[np.intp]) -> NDArray[np.bool_]:
    border = np.zeros(cells.shape, bool)
    border[1:] |= cells[1:] != cells[:-1]
    border[:, 1:] |= cells[:, 1:] != cells[:, :-1]
    return border


def _without_crumbs(labels: Labels) -> Labels:
    """Take out what is too small to be an object."""
    areas = np.bincount(labels.ravel())
    kept: Labels = np.where(areas[labels] >= _MIN_AREA, labels, 0).astype(np.int32)
    return kept
