"""Regions are what numpy makes of their slices."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from napari_sam.region import Region, around, common, relative_to, shape_of
from napari_sam.runs import MaskRuns

SHAPE = (4, 5, 6)


@st.composite
def regions(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> Region:
    starts = [draw(st.integers(0, n - 1)) for n in shape]
    return tuple(slice(a, draw(st.integers(a + 1, n))) for a, n in zip(starts, shape, strict=True))


def drawn(region: Region | None) -> NDArray[np.bool_]:
    pixels = np.zeros(SHAPE, bool)
    if region is not None:
        pixels[region] = True
    return pixels


@given(regions(), regions())
def test_what_two_have_in_common(one: Region, other: Region) -> None:
    assert_array_equal(drawn(common(one, other)), drawn(one) & drawn(other))


@given(regions(), regions())
def test_what_is_around_two(one: Region, other: Region) -> None:
    both = drawn(around(one, other))
    assert both[one].all() and both[other].all()
    for axis in range(both.ndim):
        others = tuple(x for x in range(both.ndim) if x != axis)
        assert_array_equal(both.any(others), _filled((drawn(one) | drawn(other)).any(others)))


@given(regions(), regions())
def test_a_part_as_an_index_into_the_whole(one: Region, other: Region) -> None:
    array = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    whole = around(one, other)
    assert array[whole].shape == shape_of(whole)
    assert_array_equal(array[whole][relative_to(whole, one)], array[one])


@given(regions((5, 6)), st.integers(1, 2**30 - 1))
def test_a_mask_within_a_window(window: Region, bits: int) -> None:
    mask = np.array([bits >> i & 1 for i in range(30)], bool).reshape(5, 6)
    runs = MaskRuns.of(mask)
    assert runs is not None
    assert_array_equal(runs.within(window), mask[window])


def _filled(along: NDArray[np.bool_]) -> NDArray[np.bool_]:
    set_ = np.flatnonzero(along)
    filled = np.zeros_like(along)
    filled[set_[0] : set_[-1] + 1] = True
    return filled
