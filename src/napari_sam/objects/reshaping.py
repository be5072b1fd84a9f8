"""Other outlines for the objects of a plane, by rules that look at one mask alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve
from scipy.ndimage import label as connected
from skimage.morphology import disk

from napari_sam.runs import MaskRuns, PixelBox
from napari_sam.storage.changes import Labels

# Gives another mask of the same shape.
Form = Callable[[NDArray[np.bool_]], NDArray[np.bool_]]


def box_around(masks: Sequence[MaskRuns], shape: Sequence[int], margin: int = 0) -> PixelBox:
    """Give the box around masks of one plane of ``shape``, with a margin where there is room."""
    boxes = np.array([runs.box for runs in masks])
    row0, column0 = np.maximum(boxes[:, :2].min(axis=0) - margin, 0).tolist()
    row1, column1 = np.minimum(boxes[:, 2:].max(axis=0) + margin, shape).tolist()
    return row0, column0, row1, column1


def reshaped(
    on_plane: Labels,
    masks: Mapping[int, MaskRuns],
    form: Form,
    margin: int = 0,
    corner: tuple[int, int] = (0, 0),
) -> Labels:
    """Give objects their new forms one after the other; each may grow into background alone.

    An object of which nothing would be left stays as it is.

    Parameters
    ----------
    on_plane
        (H, W) labels, with all of the objects and the margin around them.
    masks
        The objects by label, in the order in which they are formed.
    form, margin
        The rule, and how many pixels around the object it looks at.
    corner
        Where on the plane the first pixel lies.
    """
    result = on_plane.copy()
    end = [start + length for start, length in zip(corner, on_plane.shape, strict=True)]
    for label, runs in masks.items():
        row0, column0, row1, column1 = box_around([runs], end, margin)
        inside = (
            slice(max(row0 - corner[0], 0), row1 - corner[0]),
            slice(max(column0 - corner[1], 0), column1 - corner[1]),
        )
        now = result[inside]
        old = now == label
        new = form(old) & (old | (now == 0))
        if new.any():
            now[old & ~new] = 0
            now[new] = label
    return result


def largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the largest of the parts that hang together, also across corners."""
    parts, count = connected(mask, np.ones((3, 3)))
    if count < 2:
        return mask
    largest: NDArray[np.bool_] = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    return largest


def majority(radius: int) -> Form:
    """Give the rule by which each pixel becomes what most within ``radius`` are."""
    kernel = disk(radius).astype(np.int32)
    half = kernel.sum() // 2

    def rule(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        # Beyond the image, the object goes on as it is at the border.
        most: NDArray[np.bool_] = convolve(mask.astype(np.int32), kernel, mode="nearest") > half
        return most

    return rule
