"""Grids and crops are those of the official generator."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam.inference.grid import GridCrop, layer_crops, layer_grids, point_grid


def test_points_lie_in_the_middles_of_equal_cells() -> None:
    assert point_grid(2).tolist() == [[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]]
    assert np.allclose(point_grid(32)[0], 1 / 64) and len(point_grid(32)) == 1024


def test_layers_have_fewer_points() -> None:
    assert [len(grid) for grid in layer_grids(9, 2, 2)] == [81, 16, 4]
    assert [len(grid) for grid in layer_grids(2, 2, 4)] == [4, 1, 1]  # never none


def test_crops_are_the_official_ones() -> None:
    """What the official `generate_crop_boxes` gives for 300 x 400 pixels, in our order of axes."""
    whole, *crops = layer_crops((300, 400), 1, 512 / 1500)
    assert whole == GridCrop((0, 0, 300, 400), 0)
    assert crops == [
        GridCrop(box, 1)
        for box in [(0, 0, 201, 251), (99, 0, 300, 251), (0, 149, 201, 400), (99, 149, 300, 400)]
    ]


def test_crops_of_every_layer_cover_the_plane() -> None:
    crops = layer_crops((97, 61), 2, 0.3)
    assert [sum(crop.layer == layer for crop in crops) for layer in range(3)] == [1, 4, 16]
    for layer in range(3):
        covered = np.zeros((97, 61), bool)
        for row0, column0, row1, column1 in (crop.box for crop in crops if crop.layer == layer):
            covered[row0:row1, column0:column1] = True
        assert covered.all()


@pytest.mark.parametrize("shape", [(1, 40), (3, 200), (40, 5), (2, 2)], ids=str)
@pytest.mark.parametrize("overlap_ratio", [0, 512 / 1500, 1])
def test_crops_of_a_thin_plane_have_pixels_and_none_comes_twice(
    shape: tuple[int, int], overlap_ratio: float
) -> None:
    crops = layer_crops(shape, 3, overlap_ratio)
    assert len(set(crops)) == len(crops)
    for layer in range(4):
        covered = np.zeros(shape, bool)
        for row0, column0, row1, column1 in (crop.box for crop in crops if crop.layer == layer):
            assert 0 <= row0 < row1 <= shape[0] and 0 <= column0 < column1 <= shape[1]
            covered[row0:row1, column0:column1] = True
        assert covered.all()
