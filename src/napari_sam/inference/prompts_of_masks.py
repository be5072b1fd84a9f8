"""The point and the box that stand for a whole mask, where masks are judged by what one prompt gives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from napari_sam.runs import PixelBox, outer_edges, pixel_box


def innermost_point(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Give the (row, column) of ``mask`` farthest from its border; the plane's edge counts as border."""
    row0, column0, row1, column1 = _box_of(mask)
    depth = distance_transform_edt(np.pad(mask[row0:row1, column0:column1], 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return int(row + row0), int(column + column0)


def tight_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Give ``(row0, column0, row1, column1)`` along the outer edges of the mask's pixels."""
    return outer_edges(_box_of(mask))


def _box_of(mask: NDArray[np.bool_]) -> PixelBox:
    box = pixel_box(mask)
    assert box is not None, "an object has a pixel"
    return box
