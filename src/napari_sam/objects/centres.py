"""Where masks have their centres, from their run lengths alone: no pixel is decoded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_sam.runs import MaskRuns, run_lengths

# So many masks are computed with together: the runs of a million would take gigabytes.
_TOGETHER = 4096


def centres(masks: Sequence[MaskRuns]) -> NDArray[np.float64]:
    """Give the mean row and column of each mask's pixels on its plane: (N, 2)."""
    parts = [_centres(masks[i : i + _TOGETHER]) for i in range(0, len(masks), _TOGETHER)]
    return np.concatenate(parts) if parts else np.empty((0, 2))


def _centres(masks: Sequence[MaskRuns]) -> NDArray[np.float64]:
    boxes = np.array([runs.box for runs in masks], np.int64)
    heights, widths = (boxes[:, 2:] - boxes[:, :2]).T
    lengths = [
        run_lengths(runs.runs, (height, width))
        for runs, height, width in zip(masks, heights.tolist(), widths.tolist(), strict=True)
    ]
    counts = np.array([len(x) for x in lengths])
    first = np.cumsum(counts) - counts
    together = np.concatenate(lengths)
    # Where each run ends: how many pixels of its own box lie before that, row by row.
    ends = np.cumsum(together) - np.repeat(np.cumsum(heights * widths) - heights * widths, counts)
    width = np.repeat(widths, counts)
    is_set = (np.arange(len(together)) - np.repeat(first, counts)) % 2 == 1
    sums = [
        np.add.reduceat(np.where(is_set, after - before, 0), first)
        for before, after in zip(_sums(ends - together, width), _sums(ends, width), strict=True)
    ]
    areas = np.array([runs.area for runs in masks])
    found: NDArray[np.float64] = boxes[:, :2] + np.stack(sums, axis=1) / areas[:, None]
    return found


def _sums(pixels: NDArray[np.int64], width: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the sums of the rows, and of the columns, of so many pixels from the first one on."""
    rows, rest = np.divmod(pixels, width)
    of_rows = width * (rows * (rows - 1) // 2) + rows * rest
    of_columns = rows * (width * (width - 1) // 2) + rest * (rest - 1) // 2
    return of_rows, of_columns
