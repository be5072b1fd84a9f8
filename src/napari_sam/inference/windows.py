"""The parts of an embedding in which objects of a known size are decoded.

What a mask needs of an image lies around its object. In a window of the embedding it costs as much less as
the window is smaller, so a plane of a hundred cells need not be looked at a hundred times as a whole. It is
not the same number for number: the tokens beside the window are not attended to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Sides of windows in tokens; what fits in none is decoded on the whole embedding.
_SIDES = (16, 24, 32)
# From an object's middle to the border of its window there are so many of its radii and tokens, or more.
_RADII, _MARGIN = 2.0, 4
# The side of the window of a point of which no size is known.
POINT_WINDOW = _SIDES[-1]


def window_sides(radii: NDArray[np.floating], grid: int) -> NDArray[np.intp]:
    """Choose for each of (N,) objects the side of its window, ``grid`` for the whole embedding.

    ``radii`` are those of the objects in tokens.
    """
    needed = 2 * (_RADII * np.asarray(radii, np.float64) + _MARGIN)
    sides = np.array([*(side for side in _SIDES if side < grid), grid])
    return sides[np.minimum(np.searchsorted(sides, needed), len(sides) - 1)]


@dataclass(frozen=True, eq=False)
class Windows:
    """Squares of a map, one for each of N prompts.

    Attributes
    ----------
    corners
        (N, 2) first element ``(row, column)`` of each.
    side
        Elements along the sides.
    """

    corners: NDArray[np.intp]
    side: int

    @classmethod
    def around(cls, points: NDArray[np.floating], side: int, grid: int) -> Windows | None:
        """Place those of ``side`` tokens around (N, 2) points, which are in tokens too; None for the whole.

        A window ends with the embedding, which has ``grid`` tokens along each side.
        """
        if side >= grid:
            return None
        corners = np.rint(np.asarray(points, np.float64) - side / 2)
        return cls(np.clip(corners, 0, grid - side).astype(np.intp), side)

    def of(self, numbers: NDArray[np.intp]) -> Windows:
        """Give those of some of the prompts."""
        return Windows(self.corners[numbers], self.side)

    def times(self, factor: int) -> Windows:
        """Give the same windows of a map that is ``factor`` times finer."""
        return Windows(self.corners * factor, self.side * factor)

    def cut(self, maps: Tensor) -> Tensor:
        """Cut each out of a (1, C, h, w) map: (N, C, side, side)."""
        tokens = maps[0].permute(1, 2, 0)  # the channels lie last in memory
        cut = [
            tokens[row : row + self.side, column : column + self.side]
            for row, column in self.corners.tolist()
        ]
        return torch.stack(cut).permute(0, 3, 1, 2)


def cut_off(masks: Tensor, windows: Windows | None, grid: int) -> Tensor:
    """Tell of (N, h, w) masks, one in each window, whether they go on beyond it: (N,) booleans on the CPU.

    The masks have four pixels for each token along both sides; the embedding has ``grid`` tokens.
    """
    found = torch.zeros(len(masks), dtype=torch.bool)
    if windows is not None:
        ends = windows.corners + windows.side
        for axis in (1, 2):
            low, high = (masks.select(axis, at).any(1).cpu() for at in (0, -1))
            found |= low & torch.from_numpy(windows.corners[:, axis - 1] > 0)
            found |= high & torch.from_numpy(ends[:, axis - 1] < grid)
    return found
