"""Windows of the embedding: large enough for the object, inside the embedding, around the point."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam.inference.windows import touches_border, window_corners, window_sides


def test_a_larger_object_has_a_larger_window() -> None:
    assert window_sides(np.array([0.5, 3.9, 4.5, 6.5, 40.0]), 64).tolist() == [16, 24, 32, 64, 64]


def test_no_window_is_larger_than_the_embedding() -> None:
    assert window_sides(np.array([1.0, 3.0, 9.0]), 20).tolist() == [16, 20, 20]


def test_windows_lie_around_their_points_and_inside() -> None:
    points = np.array([[30.0, 41.5], [2.0, 63.0], [63.5, 0.2]])
    assert window_corners(points, 16, 64).tolist() == [[22, 34], [0, 48], [48, 0]]


@pytest.mark.parametrize(
    ("pixel", "corner", "touches"),
    [
        ((0, 30), (3, 5), True),
        ((0, 30), (0, 5), False),  # there the embedding ends too
        ((63, 30), (47, 5), True),
        ((63, 30), (48, 5), False),
        ((30, 0), (3, 5), True),
        ((30, 63), (3, 48), False),
        ((30, 30), (3, 5), False),
    ],
)
def test_a_mask_at_the_border_of_its_window(
    pixel: tuple[int, int], corner: tuple[int, int], touches: bool
) -> None:
    mask = np.zeros((64, 64), bool)
    mask[pixel] = True
    assert touches_border(mask, corner, 64) == touches
