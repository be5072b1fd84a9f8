"""What a training step sees: crops of annotated images, and prompts that lie on their objects."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from napari_sam.model.proposal_head import OFFSET_UNIT
from napari_sam.training.crops import Batch, innermost_point, proposal_target, sample_batch, tight_box
from napari_sam.training.data import AnnotatedImage

CROPS, OBJECTS, SIDE, IMAGE_SIZE, PATCH = 3, 4, 64, 512, 8


def squares(height: int, width: int, colours: bool = False) -> AnnotatedImage:
    """Bright squares of 20 pixels on a dark ground, 10 apart, each a label of its own."""
    rows, columns = np.ogrid[:height, :width]
    inside = (rows % 30 < 20) & (columns % 30 < 20)
    labels = np.where(inside, 1 + rows // 30 * (width // 30 + 1) + columns // 30, 0).astype(np.int32)
    image = np.where(inside, 200, 40).astype(np.uint8)
    return AnnotatedImage("squares", np.stack([image] * 3, -1) if colours else image, labels)


SETS = [(0.7, [squares(300, 400)]), (0.3, [squares(100, 90, colours=True), squares(600, 40)])]


def batch_of(seed: int) -> Batch:
    return sample_batch(np.random.default_rng(seed), SETS, CROPS, OBJECTS, SIDE, IMAGE_SIZE, PATCH)


@pytest.fixture(scope="module", params=range(3))
def batch(request: pytest.FixtureRequest) -> Batch:
    return batch_of(request.param)


class TestBatch:
    def test_shapes(self, batch: Batch) -> None:
        shapes = {field.name: tuple(getattr(batch, field.name).shape) for field in dataclasses.fields(Batch)}
        assert shapes == {
            "images": (CROPS, 3, SIDE, SIDE),
            "offsets": (CROPS, 2),
            "masks": (CROPS * OBJECTS, SIDE, SIDE),
            "points": (CROPS * OBJECTS, 2),
            "boxes": (CROPS * OBJECTS, 4),
            "by_box": (CROPS * OBJECTS,),
            "maps": (CROPS, 4, SIDE // 4, SIDE // 4),
        }
        assert (batch.images.dtype, batch.masks.dtype) == (torch.uint8, torch.bool)

    def test_crops_lie_on_the_grid_inside_the_input(self, batch: Batch) -> None:
        assert (batch.offsets % PATCH == 0).all()
        assert batch.offsets.min() >= 0 and batch.offsets.max() <= IMAGE_SIZE - SIDE

    def test_points_lie_on_their_objects(self, batch: Batch) -> None:
        inside = (batch.points - batch.offsets.repeat_interleave(OBJECTS, 0)).long()
        for mask, (x, y) in zip(batch.masks, inside.tolist(), strict=True):
            assert mask[y, x]

    def test_boxes_lie_around_their_objects(self, batch: Batch) -> None:
        """Within the jitter: a quarter of their sides."""
        shifts = batch.offsets.repeat_interleave(OBJECTS, 0).repeat(1, 2)
        for mask, box in zip(batch.masks, batch.boxes - shifts, strict=True):
            row0, column0, row1, column1 = tight_box(mask.numpy())
            spans = np.array([column1 - column0, row1 - row0] * 2)
            assert (np.abs(box.numpy() - [column0, row0, column1, row1]) <= 0.25 * spans + 1e-3).all()
            assert box.min() >= -0.5 and box.max() <= SIDE - 0.5

    def test_is_the_same_for_the_same_seed(self) -> None:
        one, again, other = batch_of(5), batch_of(5), batch_of(6)
        for field in dataclasses.fields(Batch):
            torch.testing.assert_close(getattr(one, field.name), getattr(again, field.name), rtol=0, atol=0)
        assert not torch.equal(one.images, other.images)


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


def test_what_the_proposal_head_is_to_say() -> None:
    """Of a square of 40 pixels: foreground, closeness rising to its middle, offsets that point there."""
    labels = np.zeros((96, 96), np.int32)
    labels[8:48, 24:64] = 3
    foreground, closeness, x, y = proposal_target(labels)
    assert np.array_equal(foreground, labels[2::4, 2::4] > 0)
    assert closeness.max() == 1 and closeness[foreground == 0].max() == 0
    rows, columns = np.nonzero(foreground)
    aims = {
        (round(row + y[row, column] * OFFSET_UNIT / 4), round(column + x[row, column] * OFFSET_UNIT / 4))
        for row, column in zip(rows, columns, strict=True)
    }
    ((row, column),) = aims
    assert closeness[row, column] == 1
    assert (4 * row + 2, 4 * column + 2) == pytest.approx((28, 44), abs=4)


def test_without_objects_the_proposal_head_is_to_say_nothing() -> None:
    assert not proposal_target(np.zeros((32, 32), np.int32)).any()
