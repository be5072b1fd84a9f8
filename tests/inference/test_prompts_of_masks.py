"""The point and the box of a mask, by which masks are judged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from napari_sam.inference.prompts_of_masks import innermost_point, tight_box


@pytest.mark.parametrize(
    ("mask", "point"),
    [
        pytest.param(np.ones((1, 1), bool), (0, 0), id="one pixel"),
        pytest.param(np.ones((5, 7), bool), (2, 2), id="the whole plane: its edge is a border"),
        pytest.param(np.pad(np.ones((3, 3), bool), ((9, 0), (0, 9))), (10, 1), id="in a corner"),
        pytest.param(
            np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool), (1, 1), id="with a tail"
        ),
        pytest.param(np.array([[1, 0, 1]], bool), (0, 0), id="in two pieces"),
    ],
)
def test_the_innermost_point(mask: NDArray[np.bool_], point: tuple[int, int]) -> None:
    assert innermost_point(mask) == point


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)).filter(np.any))
def test_points_and_boxes_of_any_mask(mask: NDArray[np.bool_]) -> None:
    assert mask[innermost_point(mask)]
    row0, column0, row1, column1 = (int(x + 0.5) for x in tight_box(mask))
    assert mask[row0:row1, column0:column1].sum() == mask.sum()
    for edge in (mask[row0], mask[row1 - 1], mask[:, column0], mask[:, column1 - 1]):
        assert edge.any()
