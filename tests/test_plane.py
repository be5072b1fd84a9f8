"""A plane knows which block of an array it is, whichever axes it shows, in either order."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from napari_sam.plane import Plane

ARRAY = np.arange(3 * 4 * 5 * 6).reshape(3, 4, 5, 6)


@pytest.mark.parametrize("displayed", list(permutations(range(4), 2)), ids=str)
def test_what_lies_on_it_goes_into_its_block_and_back(displayed: tuple[int, int]) -> None:
    plane = Plane.at(displayed, (2, 1, 3, 4))
    rows, columns = slice(1, 3), slice(0, 2)
    block = ARRAY[plane.region(rows, columns)]
    pixels = plane.from_block(block)
    assert block.ndim == 4 and pixels.shape == (2, 2)
    assert_array_equal(plane.to_block(pixels), block)
    assert_array_equal(pixels, plane.to_plane(ARRAY[plane.index(rows, columns)]))
    at = list(plane.position)
    at[displayed[0]], at[displayed[1]] = 2, 1
    assert pixels[1, 1] == ARRAY[tuple(at)]


def test_another_one_lies_at_another_index() -> None:
    assert Plane.at((1, 3), (2, 9, 3, 9)).moved(0, 1) == Plane((1, 3), (1, 0, 3, 0))
