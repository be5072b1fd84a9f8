"""Any real intensities become 0-255, and neither a hot pixel nor NaN spoils the picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from napari_sam.contrast import Contrast, stretched, without_hot_pixels

RAMP = np.arange(256, dtype=np.uint16).repeat(4).reshape(32, 32)


def by_its_own(plane: NDArray[np.generic]) -> NDArray[np.uint8]:
    return Contrast.of(plane).apply(plane)


def with_pixel(plane: NDArray[np.generic], value: float) -> NDArray[np.generic]:
    changed = plane.copy()
    changed[3, 5] = value
    return changed


@pytest.mark.parametrize(
    ("plane", "expected"),
    [
        pytest.param(RAMP * 257, RAMP, id="16-bit"),
        pytest.param(RAMP / 1000 - 7, RAMP, id="floats below zero"),
        pytest.param((RAMP / 256).astype(np.float16), RAMP, id="half precision"),
        pytest.param(RAMP.astype(np.int64) - 2**40, RAMP, id="64-bit, far from zero"),
        pytest.param(RAMP.astype(np.uint32) + (2**32 - 256), RAMP, id="top of 32-bit"),
        pytest.param(RAMP.astype(np.uint64) << 56, RAMP, id="all of unsigned 64-bit"),
        pytest.param((RAMP.astype(np.int64) - 128) << 56, RAMP, id="all of signed 64-bit"),
        pytest.param(RAMP > 99, 255 * (RAMP > 99), id="bool"),
        pytest.param(np.full((4, 4), 3.5), np.zeros((4, 4)), id="constant"),
        pytest.param(np.full((4, 4), np.nan), np.zeros((4, 4)), id="nothing but NaN"),
        pytest.param(np.array([[7]]), np.zeros((1, 1)), id="one pixel"),
        pytest.param(np.array([[1, 2]]), np.array([[0, 255]]), id="two pixels"),
    ],
)
def test_the_range_is_by_its_own(plane: NDArray[np.generic], expected: NDArray[np.integer]) -> None:
    np.testing.assert_allclose(by_its_own(plane), expected, atol=1)


@pytest.mark.parametrize("value", [65535, 0], ids=["hot pixel", "dead pixel"])
@pytest.mark.parametrize("size", [8, 30, 100])
def test_one_wrong_pixel_changes_no_other(value: int, size: int) -> None:
    plane = np.random.default_rng(0).integers(1000, 1100, (size, size)).astype(np.uint16)
    changed = by_its_own(with_pixel(plane, value)).astype(int)
    others = np.ones(plane.shape, bool)
    others[3, 5] = False
    assert np.abs(changed - by_its_own(plane))[others].max() < 25
    assert changed[3, 5] == (255 if value else 0)


@pytest.mark.parametrize(
    ("value", "expected"), [(np.nan, 0), (np.inf, 255), (-np.inf, 0)], ids=["NaN", "infinity", "-infinity"]
)
def test_what_is_not_finite_is_left_out(value: float, expected: int) -> None:
    ramp = RAMP.astype(np.float32)
    image = by_its_own(with_pixel(ramp, value))
    assert image[3, 5] == expected
    np.testing.assert_allclose(with_pixel(image, 0), with_pixel(by_its_own(ramp), 0), atol=1)


def test_few_bright_pixels_on_an_even_background_stay_visible() -> None:
    plane = np.zeros((100, 100), np.uint16)
    plane[40:42, 40:42] = 9
    assert (by_its_own(plane) == 255).sum() == 4


@given(
    st.sampled_from([np.bool_, np.int8, np.uint16, np.int64, np.float32, np.float64]),
    arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(-1e6, 1e6)),
)
def test_brighter_stays_brighter(dtype: type[np.generic], values: NDArray[np.float64]) -> None:
    whole = values.astype(np.int64) if np.issubdtype(dtype, np.integer) else values  # wraps, never overflows
    plane = whole.astype(dtype)
    order = np.argsort(plane, axis=None)
    assert np.all(np.diff(by_its_own(plane).ravel()[order].astype(int)) >= 0)


class TestHotPixels:
    def image(self) -> NDArray[np.uint8]:
        return np.random.default_rng(0).integers(90, 110, (40, 60)).astype(np.uint8)

    @pytest.mark.parametrize("place", [(0, 0), (0, 31), (39, 59), (20, 0), (17, 44)])
    @pytest.mark.parametrize("value", [255, 180, 0])
    def test_one_gets_the_median_of_its_neighbours(self, place: tuple[int, int], value: int) -> None:
        image = self.image()
        image[place] = value
        before = image.copy()
        mended = without_hot_pixels(image)
        assert 90 <= mended[place] < 110
        np.testing.assert_array_equal(image, before)
        mended[place] = value
        np.testing.assert_array_equal(mended, image)

    @pytest.mark.parametrize(
        ("rows", "columns"),
        [
            pytest.param(slice(5, 7), slice(8, 9), id="two pixels"),
            pytest.param(slice(5, 6), slice(0, 60), id="a line"),
            pytest.param(slice(5, 25), slice(9, 31), id="an area"),
        ],
    )
    def test_what_is_larger_stays(self, rows: slice, columns: slice) -> None:
        image = self.image()
        image[rows, columns] = 255
        np.testing.assert_array_equal(without_hot_pixels(image), image)

    def test_grain_stays(self) -> None:
        image = np.zeros((40, 60), np.uint8)
        image[2:-2:5, 2:-2:5] = 255
        np.testing.assert_array_equal(without_hot_pixels(image), image)

    def test_each_colour_is_mended_by_itself(self) -> None:
        image = np.stack([self.image()] * 3, axis=-1)
        image[9, 8, 1] = 255
        mended = without_hot_pixels(image)
        assert mended[9, 8, 1] < 110
        np.testing.assert_array_equal(mended[..., [0, 2]], image[..., [0, 2]])

    @pytest.mark.parametrize("shape", [(1, 9), (9, 2), (1, 1)])
    def test_where_there_are_no_eight_neighbours_nothing_stands_alone(self, shape: tuple[int, int]) -> None:
        image = np.zeros(shape, np.uint8)
        image[0, 0] = 255
        np.testing.assert_array_equal(without_hot_pixels(image), image)

    def test_bytes_that_are_given_as_they_are_stay_so(self) -> None:
        image = self.image()
        image[20:30, 20:50] = 250
        image[3, 4] = 255
        np.testing.assert_array_equal(stretched(image), image)
        assert stretched(image.astype(np.uint16))[3, 4] < 100
