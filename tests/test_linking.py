"""Masks of consecutive planes become objects."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from napari_sam.linking import Linking, centroid, link, meeting, suited_linking
from napari_sam.runs import MaskRuns

SHAPE = (40, 48)


def disc(row: float, column: float, radius: float = 5) -> MaskRuns:
    y, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
    runs = MaskRuns.of(np.hypot(y - row, x - column) <= radius)
    assert runs is not None
    return runs


def linked(planes: Sequence[Sequence[MaskRuns]], **options: object) -> list[list[int]]:
    return [numbers.tolist() for numbers in link(planes, Linking(**options))]  # type: ignore[arg-type]


discs = st.builds(disc, st.integers(2, 37), st.integers(2, 45), st.integers(1, 8))
stacks = st.lists(st.lists(discs, max_size=4), max_size=5)


@given(stacks, st.randoms(use_true_random=False), st.sampled_from(["iou", "smaller"]), st.integers(0, 2))
def test_the_order_of_a_planes_masks_changes_nothing(
    stack: list[list[MaskRuns]], random: object, measure: str, gap: int
) -> None:
    orders = [random.sample(range(len(masks)), len(masks)) for masks in stack]  # type: ignore[attr-defined]
    shuffled = [[masks[i] for i in order] for masks, order in zip(stack, orders, strict=True)]
    direct, other = (linked(x, measure=measure, max_gap=gap) for x in (stack, shuffled))
    # Of two equal masks it cannot be told which is which.
    as_sets = [
        [sorted(zip((x.box for x in masks), numbers, strict=True)) for masks, numbers in zip(*x, strict=True)]
        for x in ((stack, direct), (shuffled, other))
    ]
    assert as_sets[0] == as_sets[1]


@given(stacks, st.integers(0, 2))
def test_an_object_has_one_mask_per_plane_and_no_longer_gap_than_allowed(
    stack: list[list[MaskRuns]], gap: int
) -> None:
    found = linked(stack, max_gap=gap)
    assert [len(x) for x in found] == [len(x) for x in stack]
    assert all(len(set(numbers)) == len(numbers) for numbers in found)
    everything = {number for numbers in found for number in numbers}
    assert everything == set(range(1, len(everything) + 1))
    for number in everything:
        planes = np.flatnonzero([number in numbers for numbers in found])
        assert (np.diff(planes) <= gap + 1).all()


@given(
    st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=8),
    st.integers(5, 9),
)
def test_a_disc_that_moves_slowly_stays_one_object(shifts: list[tuple[int, int]], radius: int) -> None:
    places = np.cumsum([(20, 24), *shifts], axis=0)
    planes = [[disc(row, column, radius)] for row, column in places]
    assert linked(planes) == [[1]] * len(planes)


@given(st.integers(1, 4), st.integers(0, 4))
def test_gaps_are_closed_up_to_the_longest_that_is_allowed(missing: int, allowed: int) -> None:
    planes = [[disc(10, 10)], *[[disc(30, 30)]] * missing, [disc(10, 11)]]
    first, *_, last = linked(planes, max_gap=allowed)
    assert (first == last) == (missing <= allowed)


def test_the_assignment_is_optimal_and_not_greedy() -> None:
    """The best single pair is given up where the sum of two others is larger."""
    left, right = disc(20, 14, 6), disc(20, 23, 6)
    middle, far = disc(20, 20, 6), disc(20, 27, 6)
    # right-middle overlaps more than any other pair, but then left and far would be alone.
    assert linked([[left, right], [middle, far]], min_overlap=0.1) == [[1, 2], [1, 2]]
    assert linked([[right], [middle, far]], min_overlap=0.1) == [[1], [1, 2]]


def test_a_way_through_the_masks_between_is_taken_before_one_past_them() -> None:
    planes = [[disc(20, 20, 6)], [disc(20, 23, 6)], [disc(20, 20, 6)]]
    assert linked(planes, max_gap=1) == [[1], [1], [1]]


def test_the_smaller_area_links_what_grows_quickly() -> None:
    planes = [[disc(20, 20, 2)], [disc(20, 20, 8)]]
    assert linked(planes) == [[1], [2]]
    assert linked(planes, measure="smaller") == [[1], [1]]


@pytest.mark.parametrize(
    ("radii", "waist", "numbers"),
    [
        ([3, 7, 8, 6, 2, 3, 7, 8, 5], 0.5, [1, 1, 1, 1, 1, 2, 2, 2, 2]),
        ([3, 7, 8, 6, 2, 3, 7, 8, 5], 0.0, [1] * 9),
        ([8, 3, 8, 8, 2, 8], 0.5, [1, 2, 2, 2, 3, 3]),
        ([2, 5, 8, 7, 4], 0.9, [1] * 5),
        ([8, 7, 7, 8], 0.5, [1] * 4),
        ([8, 2], 0.5, [1, 1]),
    ],
    ids=["one below the other", "parted nowhere", "two waists", "one ellipsoid", "hardly thinner", "a cap"],
)
def test_an_object_is_parted_at_its_waist(radii: list[int], waist: float, numbers: list[int]) -> None:
    planes = [[disc(20, 20, radius)] for radius in radii]
    assert [x for (x,) in linked(planes, measure="smaller", min_overlap=0.4, waist=waist)] == numbers


def test_what_suits_z_links_nuclei_that_lie_on_each_other_and_what_suits_t_parts_nothing() -> None:
    planes = [[disc(20, 20, radius)] for radius in (2, 7, 8, 3, 3, 8, 7, 2)]
    assert np.concatenate(link(planes, suited_linking("z"))).tolist() == [1] * 4 + [2] * 4
    assert set(np.concatenate(link(planes, replace(suited_linking("t"), measure="smaller")))) == {1}


def test_a_division_goes_on_with_one_daughter() -> None:
    planes = [[disc(20, 20, 7)], [disc(20, 18, 5), disc(20, 27, 4)]]
    assert linked(planes, min_overlap=0.1) == [[1], [1, 2]]


def test_short_objects_are_left_out_and_the_others_numbered_without_them() -> None:
    planes = [[disc(8, 8), disc(30, 30)], [disc(30, 31)], []]
    assert linked(planes, min_length=2) == [[0, 1], [1], []]


def test_a_stack_without_masks_has_no_objects() -> None:
    assert linked([[], [], []]) == [[], [], []]
    assert linked([]) == []


def every_pair_compared(boxes: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.stack(np.nonzero((low < high).all(-1)))


sides = st.tuples(st.integers(0, 9), st.integers(1, 9)).map(lambda x: (x[0], x[0] + x[1]))
planes_of_boxes = st.lists(st.builds(lambda y, x: (y[0], x[0], y[1], x[1]), sides, sides), max_size=9).map(
    lambda boxes: np.array(sorted(boxes), np.int64).reshape(-1, 4)
)


@given(planes_of_boxes, planes_of_boxes)
def test_the_boxes_that_meet_are_those_of_a_table_of_all_pairs(
    boxes: NDArray[np.int64], others: NDArray[np.int64]
) -> None:
    assert_array_equal(np.stack(meeting(boxes, others)), every_pair_compared(boxes, others))


def test_crowded_planes_take_no_table_of_all_pairs() -> None:
    """It took 35 bytes for each pair: 143 MB for 2000 masks, 14 GB for 20000."""
    rows, columns = np.divmod(np.arange(2000), 50)
    boxes = np.stack([rows * 10, columns * 10, rows * 10 + 9, columns * 10 + 9], axis=1)
    tracemalloc.start()
    try:
        a, b = meeting(boxes, boxes + 5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(a) == len(b) == 4 * 39 * 49 + 2 * (39 + 49) + 1
    assert peak < 2e6


def test_the_centre_of_a_disc_is_its_centroid() -> None:
    assert centroid(disc(11, 31)) == pytest.approx((11, 31))


@pytest.mark.parametrize(
    "options",
    [
        {"measure": "dice"},
        {"min_overlap": 0.0},
        {"min_overlap": 1.5},
        {"max_gap": -1},
        {"min_length": 0},
        {"waist": 1.0},
    ],
    ids=str,
)
def test_values_out_of_range_are_answered_with_the_value(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        Linking(**options)  # type: ignore[arg-type]
