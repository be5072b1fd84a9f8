"""An object is parted between points: each pixel goes to the one that is nearest by a way inside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
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

    It goes to the group with the seed from which the shortest path within the object leads to it.

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
    costs = np.where(mask, 1.0, np.inf)  # no way leads outside
    ways = [MCP_Geometric(costs, sampling=spacing).find_costs([*pixels])[0] for pixels in seeds]
    # A part that no seed is connected to stays with the first group.
    nearest = np.argmin(np.stack(ways), axis=0)
    after: Labels = np.where(mask, np.array(numbers)[nearest], block).astype(block.dtype)
    return after
