"""An object is parted along its narrowest places: each pixel goes to the seed with the easiest way to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from skimage.graph import MCP_Geometric

Labels = NDArray[np.integer[Any]]


def split_labels(
    block: Labels,
    label: int,
    numbers: Sequence[int],
    seeds: Sequence[Sequence[tuple[int, ...]]],
    spacing: Sequence[float],
) -> Labels:
    """Give each pixel of an object to one of several groups of seeds.

    It goes to the group from which the cheapest path within the object leads to it, where a step costs its
    length over the squared distance to the object's edge: so wide places are passed easily, and necks part.

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
    for group, pixels in enumerate(seeds, 1):
        for pixel in pixels:
            inside = all(0 <= x < n for x, n in zip(pixel, block.shape, strict=True))
            if not inside or not mask[pixel]:
                raise ValueError(f"A point of group {group} lies beside the object {label}; put it on it.")
    # The block's own border is an edge of the object as well.
    distance = distance_transform_edt(np.pad(mask, 1), sampling=spacing)[(slice(1, -1),) * mask.ndim]
    costs = np.full(mask.shape, np.inf)  # no way leads outside
    costs[mask] = 1 / distance[mask] ** 2
    ways = [MCP_Geometric(costs, sampling=spacing).find_costs([*pixels])[0] for pixels in seeds]
    # A part that no seed is connected to stays with the first group.
    nearest = np.argmin(np.stack(ways), axis=0)
    after: Labels = np.where(mask, np.array(numbers)[nearest], block).astype(block.dtype)
    return after
