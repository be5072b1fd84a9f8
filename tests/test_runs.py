"""Run lengths give back what was encoded, and refuse what is damaged."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from pycocotools import mask as coco

from napari_sam.runs import (
    MaskRuns,
    column_runs,
    compressed_counts,
    decode_labels,
    decode_runs,
    encode_labels,
    encode_runs,
    label_boxes,
    outer_edges,
    pixel_box,
)

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


@given(mask=MASKS)
def test_a_mask_comes_back(mask: NDArray[np.bool_]) -> None:
    assert_array_equal(decode_runs(encode_runs(mask), mask.shape), mask)


@given(block=arrays(np.int64, array_shapes(max_dims=4, max_side=5), elements=st.integers(-3, 2**62)))
def test_labels_come_back(block: NDArray[np.int64]) -> None:
    assert_array_equal(decode_labels(encode_labels(block), block.shape, block.dtype), block, strict=True)


def test_the_outer_edges_are_half_a_pixel_beyond_the_outer_centres() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:5, 3] = True
    box = pixel_box(mask)
    assert box is not None and outer_edges(box) == (1.5, 2.5, 4.5, 3.5)


@given(mask=MASKS, origin=st.tuples(st.integers(0, 50), st.integers(0, 50)))
def test_a_mask_in_its_box_lies_where_it_was(mask: NDArray[np.bool_], origin: tuple[int, int]) -> None:
    runs = MaskRuns.of(mask, origin)
    if runs is None:
        assert not mask.any()
        return
    whole = np.zeros((64, 64), bool)
    whole[origin[0] : origin[0] + mask.shape[0], origin[1] : origin[1] + mask.shape[1]] = mask
    assert runs.area == mask.sum()
    assert_array_equal(runs.on((64, 64)), whole)
    assert runs.mask().any(0)[[0, -1]].all() and runs.mask().any(1)[[0, -1]].all()


@given(mask=MASKS)
def test_run_lengths_by_columns_are_those_of_the_whole_plane(mask: NDArray[np.bool_]) -> None:
    runs = MaskRuns.of(mask)
    if runs is None:
        return
    counts = column_runs(runs, mask.shape)
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    assert_array_equal(values.reshape(mask.shape, order="F"), mask)


@pytest.mark.parametrize(
    ("counts", "string"),
    [
        pytest.param([6], "6", id="empty"),
        pytest.param([0, 15, 16, 31], "0?`0`0", id="a digit's end"),
        pytest.param([100, 1, 2, 1000, 3, 5], "T312Wo01mPO", id="differences"),
        pytest.param([5, 70_000, 1, 3], "5`[T21cdkM", id="a great fall"),
    ],
)
def test_compressed_run_lengths_are_known_strings(counts: list[int], string: str) -> None:
    assert compressed_counts(counts) == string


@given(counts=st.lists(st.integers(1, 2**20), max_size=9), first=st.integers(0, 2**20))
def test_run_lengths_are_compressed_as_coco_s_own_program_does(first: int, counts: list[int]) -> None:
    counts = [first, *counts]
    height = sum(counts)
    theirs = coco.frPyObjects({"size": [height, 1], "counts": counts}, height, 1)
    assert compressed_counts(counts) == theirs["counts"].decode()


@given(
    labels=arrays(
        np.int64, array_shapes(min_dims=2, max_dims=3, max_side=6), elements=st.sampled_from([0, 1, 2, 7])
    ),
    factor=st.sampled_from([1, 2**30]),
    shift=st.sampled_from([0, 3, -1]),
)
def test_every_label_has_its_box(labels: NDArray[np.int64], factor: int, shift: int) -> None:
    """Whether labels are few or far apart, with background or without."""
    labels = labels * factor + shift
    found = dict(label_boxes(labels))
    assert sorted(found) == [x for x in np.unique(labels) if x > 0]
    for label, box in found.items():
        assert all(
            (axis.start, axis.stop) == (at.min(), at.max() + 1)
            for axis, at in zip(box, np.nonzero(labels == label), strict=True)
        )


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"not zlib", id="other bytes"),
        pytest.param(encode_runs(np.ones((3, 4), bool))[:-3], id="cut off"),
        pytest.param(encode_runs(np.ones((4, 4), bool)), id="of another shape"),
        pytest.param(zlib.compress(b"\0" * 10_000_000), id="far too much"),
        pytest.param(zlib.compress(b"\0\1\2"), id="half a number"),
    ],
)
def test_damage_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_runs(data, (3, 4))
    with pytest.raises(ValueError, match=r"."):
        decode_labels(data, (3, 4), np.dtype(np.uint32))
