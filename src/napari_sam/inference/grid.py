"""Where the automatic masks of the SAM paper look: a regular grid of points, and crops in layers.

Kirillov et al., "Segment Anything" (2023), section 5 and appendix B; positions and roundings are those of the
official `SamAutomaticMaskGenerator`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from napari_sam.runs import PixelBox


@dataclass(frozen=True)
class GridCrop:
    """A part of a plane that is encoded by itself: its pixels, and the layer whose grid it is prompted by."""

    box: PixelBox
    layer: int


def point_grid(per_side: int) -> NDArray[np.float64]:
    """Give (per_side ** 2, 2) evenly spaced positions ``(row, column)`` as fractions of the sides."""
    middle = 1 / (2 * per_side)
    along = np.linspace(middle, 1 - middle, per_side)
    rows, columns = np.meshgrid(along, along, indexing="ij")
    return np.stack([rows, columns], axis=-1).reshape(-1, 2)


def layer_grids(per_side: int, layers: int, downscale_factor: int) -> tuple[NDArray[np.float64], ...]:
    """Give the grid of the plane and of each layer of crops, which has fewer points by the factor."""
    return tuple(point_grid(max(1, int(per_side / downscale_factor**layer))) for layer in range(layers + 1))


def layer_crops(shape: tuple[int, int], layers: int, overlap_ratio: float) -> list[GridCrop]:
    """Give the crops of a plane of ``shape``: itself, then 2 x 2, 4 x 4, ... overlapping ones.

    Those of the first layer overlap by ``overlap_ratio`` of the shorter side, those of the next ones by half
    of the one before. A plane of a few pixels along a side has fewer.
    """
    height, width = shape
    crops = [GridCrop((0, 0, height, width), 0)]
    for layer in range(1, layers + 1):
        across = 2**layer
        overlap = int(overlap_ratio * min(shape) * (2 / across))
        rows, columns = (_spans(length, across, overlap) for length in shape)
        crops += [
            GridCrop((row0, column0, row1, column1), layer)
            for column0, column1 in columns
            for row0, row1 in rows
        ]
    return crops


def _spans(length: int, across: int, overlap: int) -> list[tuple[int, int]]:
    """Cut ``length`` into ``across`` spans that overlap, or fewer where there are not so many pixels."""
    extent = ceil((overlap * (across - 1) + length) / across)
    starts = [(extent - overlap) * number for number in range(across)]
    spans = [(start, min(start + extent, length)) for start in starts if start < length]
    return [*dict.fromkeys(spans)]
