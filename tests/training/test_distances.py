"""Depths in objects against scipy's distances, and what the proposal head learns of them by hand."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from napari_sam.model.proposal_head import OFFSET_UNIT
from napari_sam.training.distances import MAP_STRIDE, depths, proposal_targets

Labels = NDArray[np.int64]


def label_images(most_side: int = 14) -> st.SearchStrategy[Labels]:
    """A few label images of one size, (B, h, w), with objects of any shape and some that are large."""
    shapes = array_shapes(min_dims=3, max_dims=3, max_side=most_side)
    return arrays(np.int64, shapes, elements=st.integers(0, 3), fill=st.integers(1, 2))


def scipy_depth(labels: Labels) -> NDArray[np.float64]:
    """The distance to the next pixel that touches, or is, another object or the edge of the image."""
    padded = np.pad(labels, 1)
    sides = [np.roll(padded, shift, axis)[1:-1, 1:-1] for shift in (-1, 1) for axis in (0, 1)]
    inner = (labels > 0) & np.logical_and.reduce([labels == side for side in sides])
    # At the edge of the image no pixel is inner, so scipy always finds one that is not.
    depth: NDArray[np.float64] = distance_transform_edt(inner)
    return depth


@given(label_images(), st.integers(1, 9))
def test_depths_are_scipy_s_up_to_the_most(labels: Labels, most: int) -> None:
    found = depths(torch.from_numpy(labels), most)
    expected = np.minimum([scipy_depth(each) for each in labels], most)
    assert_allclose(found, expected, rtol=1e-6)


@given(label_images(40))
def test_the_maps_follow_from_the_depths(labels: Labels) -> None:
    """Each object is closest, and all its offsets point, to its deepest pixel: the first of several."""
    maps = proposal_targets(torch.from_numpy(labels), 4).numpy()
    seen = labels[:, MAP_STRIDE // 2 :: MAP_STRIDE, MAP_STRIDE // 2 :: MAP_STRIDE]
    expected = np.zeros((len(labels), 4, *seen.shape[1:]))
    for image, each in zip(expected, seen, strict=True):
        for number in np.unique(each[each > 0]):
            on = each == number
            depth = np.where(on, scipy_depth(each) + 1, 0)
            row, column = np.unravel_index(depth.argmax(), depth.shape)
            rows, columns = np.nonzero(on)
            offsets = np.stack([column - columns, row - rows]) * MAP_STRIDE / OFFSET_UNIT
            image[:, on] = np.concatenate([[np.ones(on.sum()), depth[on] / depth.max()], offsets])
    assert_allclose(maps, expected, atol=1e-6)


def test_the_maps_of_a_square_by_hand() -> None:
    """20 x 20 pixels are 5 x 5 of the maps; the border is one deep, the middle three."""
    labels = torch.zeros(1, 40, 40, dtype=torch.int64)
    labels[0, 8:28, 12:32] = 3
    foreground, closeness, x, y = proposal_targets(labels, 4)[0, :, 2:7, 3:8]
    assert foreground.all() and proposal_targets(labels, 4)[0, 0].sum() == 25
    one, two = 1 / 3, 2 / 3
    assert_allclose(
        closeness,
        [
            [one, one, one, one, one],
            [one, two, two, two, one],
            [one, two, 1, two, one],
            [one, two, two, two, one],
            [one, one, one, one, one],
        ],
        rtol=1e-6,
    )
    steps = np.array([2, 1, 0, -1, -2]) * MAP_STRIDE / OFFSET_UNIT
    assert_allclose(x, np.tile(steps, (5, 1)))
    assert_allclose(y, np.tile(steps, (5, 1)).T)


def test_of_objects_that_touch_each_has_a_middle_of_its_own() -> None:
    labels = torch.ones(1, 24, 48, dtype=torch.int64)
    labels[0, :, 24:] = 2
    closeness, to_middle = proposal_targets(labels, 3)[0, 1:3]
    # Of 6 x 6 pixels the four in the middle are three deep, and the first of them is the middle.
    assert torch.nonzero(closeness == 1).tolist() == [[y, x] for y in (2, 3) for x in (2, 3, 8, 9)]
    assert_allclose(torch.arange(12) + to_middle[0] * OFFSET_UNIT / MAP_STRIDE, [2] * 6 + [8] * 6)


def test_without_objects_the_proposal_head_is_to_say_nothing() -> None:
    assert not proposal_targets(torch.zeros(2, 32, 32, dtype=torch.int64), 1).any()
