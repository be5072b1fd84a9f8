"""An object is parted by a watershed of the distance to its edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import watershed

Labels = NDArray[np.integer[Any]]


def split_labels(
    block: Labels,
    label: int,
    numbers: Sequence[int],
    seeds: Sequence[Sequence[tuple[int, ...]]],
    spacing: Sequence[float],
) -> Labels:
    """Give each pixel of an object to one of several groups of seeds.

    Parameters
    ----------
    block, label
        Labels of any number of axes, and the object in them.
    numbers, seeds
        The new label of each group, and its pixels in the block.
    spacing
        Size of a pixel along each axis.

    Raises
    ------
    ValueError
        If a seed lies beside the object.
    """
    mask = block == label
    markers = np.zeros(block.shape, np.int32)
    for group, pixels in enumerate(seeds, 1):
        for pixel in pixels:
            inside = all(0 <= x < n for x, n in zip(pixel, block.shape, strict=True))
            if not inside or not mask[pixel]:
                raise ValueError(f"A point of group {group} lies beside the object {label}; put it on it.")
            markers[pixel] = group
    # The block's own border is an edge of the object as well.
    distance = distance_transform_edt(np.pad(mask, 1), sampling=spacing)[(slice(1, -1),) * mask.ndim]
    basins = watershed(-distance, markers, mask=mask)
    # A part that no seed is connected to stays with the first group.
    basins[mask & (basins == 0)] = 1
    after: Labels = np.where(mask, np.array([0, *numbers])[basins], block).astype(block.dtype)
    return after
