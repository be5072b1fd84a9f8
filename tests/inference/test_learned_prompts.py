"""The maps that the head is taught give one point on each object."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_sam.inference.coordinates import Geometry
from napari_sam.inference.learned_prompts import learned_points
from napari_sam.training.distances import proposal_targets

SIDE = 256


def discs(*circles: tuple[int, int, int]) -> NDArray[np.int32]:
    """Draw (row, column, radius) discs into the model's square input, numbered from 1 on."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for number, (row, column, radius) in enumerate(circles, 1):
        labels[np.hypot(rows - row, columns - column) < radius] = number
    return labels


def perfect_maps(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Give the maps of a head that is always right: its targets, the shares as logits."""
    maps: NDArray[np.float32] = proposal_targets(torch.from_numpy(labels)[None], labels.max() + 1)[0].numpy()
    maps[:2] = 20 * maps[:2] - 10
    return maps


@pytest.mark.parametrize(
    "labels",
    [
        discs((60, 80, 30)),
        discs((40, 40, 8), (40, 58, 8), (200, 30, 40), (128, 200, 20)),
        discs(*[(r, c, 7) for r in range(12, 250, 18) for c in range(12, 250, 18)]),
        discs((0, 128, 40), (128, 255, 30)),
    ],
    ids=["one", "of several sizes, touching", "many", "at the border"],
)
def test_one_point_on_each_object(labels: NDArray[np.int32]) -> None:
    points, _ = learned_points(perfect_maps(labels), Geometry.fit((SIDE, SIDE), SIDE))
    on = labels[tuple(np.rint(points).astype(int).T)]
    assert sorted(on) == np.unique(labels[labels > 0]).tolist()


def test_points_are_in_pixels_of_the_plane() -> None:
    """A plane of 512 x 256 fills the left half of the input, at half its size."""
    labels = discs((60, 80, 30))
    (point,), _ = learned_points(perfect_maps(labels), Geometry.fit((512, 256), SIDE))
    assert np.hypot(*(point - (120, 160))) < 8


def test_the_radii_are_those_of_the_objects() -> None:
    """In pixels of the input, whatever the plane's own size."""
    _, radii = learned_points(
        perfect_maps(discs((60, 80, 30), (180, 100, 12))), Geometry.fit((512, 512), SIDE)
    )
    np.testing.assert_allclose(sorted(radii), [12, 30], rtol=0.15)


def test_the_padding_holds_no_object() -> None:
    labels = discs((60, 60, 20), (60, 200, 20))
    points, _ = learned_points(perfect_maps(labels), Geometry.fit((SIDE, SIDE // 2), SIDE))
    assert len(points) == 1


def test_no_foreground_no_points() -> None:
    maps = perfect_maps(np.zeros((SIDE, SIDE), np.int32))
    points, radii = learned_points(maps, Geometry.fit((SIDE, SIDE), SIDE))
    assert points.shape == (0, 2) and radii.shape == (0,)
