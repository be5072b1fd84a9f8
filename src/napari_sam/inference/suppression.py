"""Non-maximum suppression: of masks that mean the same object, the preferred one stays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def suppress_boxes(
    boxes: NDArray[np.integer], preference: NDArray[np.floating], threshold: float
) -> NDArray[np.intp]:
    """Name the boxes that stay, the most preferred first.

    A box goes if its IoU with a preferred one that stays is above ``threshold``. As in the official code, a
    box reaches from the middle of its first pixel to that of its last, so one that is a single pixel wide has
    no area; among equally preferred ones the first comes first.

    Parameters
    ----------
    boxes
        (N, 4) ``(row0, column0, row1, column1)`` in whole pixels, the ends left out.
    preference
        (N,) higher is better.
    threshold
        IoU, 0 to 1.
    """
    order = np.argsort(-preference, kind="stable")
    row0, column0, row1, column1 = boxes.T.astype(np.float64)[:, order]
    row1, column1 = row1 - 1, column1 - 1
    area = (row1 - row0) * (column1 - column0)
    left = np.arange(len(order))
    kept = []
    while left.size:
        one, left = left[0], left[1:]
        kept.append(one)
        height = np.minimum(row1[one], row1[left]) - np.maximum(row0[one], row0[left])
        width = np.minimum(column1[one], column1[left]) - np.maximum(column0[one], column0[left])
        shared = np.maximum(height, 0) * np.maximum(width, 0)
        left = left[shared <= threshold * (area[one] + area[left] - shared)]
    chosen: NDArray[np.intp] = order[np.array(kept, np.intp)]
    return chosen
