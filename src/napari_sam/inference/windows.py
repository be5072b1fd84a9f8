"""The parts of an embedding in which objects of a known size are decoded.

What a mask needs of an image lies around its object. In a window of the embedding it costs as much less as
the window is smaller, so a plane of a hundred cells need not be looked at a hundred times as a whole. It is
not the same number for number: the tokens beside the window are not attended to.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Sides of windows in tokens; what fits in none is decoded on the whole embedding.
_SIDES = (16, 24, 32)
# From an object's middle to the border of its window there are so many of its radii and tokens, or more.
_RADII, _MARGIN = 2.0, 4


def window_sides(radii: NDArray[np.floating], grid: int) -> NDArray[np.intp]:
    """Choose for each of (N,) objects the side of its window, ``grid`` for the whole embedding.

    ``radii`` are those of the objects in tokens.
    """
    needed = 2 * (_RADII * np.asarray(radii, np.float64) + _MARGIN)
    sides = np.array([*(side for side in _SIDES if side < grid), grid])
    return sides[np.minimum(np.searchsorted(sides, needed), len(sides) - 1)]


def window_corners(points: NDArray[np.floating], side: int, grid: int) -> NDArray[np.intp]:
    """Give the first token ``(row, column)`` of the window of ``side`` around each of (N, 2) points.

    The points are in tokens. A window ends with the embedding, which has ``grid`` tokens along each side.
    """
    corners = np.rint(np.asarray(points, np.float64) - side / 2)
    return np.clip(corners, 0, grid - side).astype(np.intp)


def touches_border(mask: NDArray[np.bool_], corner: tuple[int, int], grid: int) -> bool:
    """Whether the mask of a window has a pixel at a border at which the embedding goes on.

    ``mask`` has four pixels for each token along both sides.
    """
    row, column = corner
    height, width = (side // 4 for side in mask.shape)
    return bool(
        (row > 0 and mask[0].any())
        or (column > 0 and mask[:, 0].any())
        or (row + height < grid and mask[-1].any())
        or (column + width < grid and mask[:, -1].any())
    )
