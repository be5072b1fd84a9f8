"""Any n-D array is 2-D planes, read one at a time, with one contrast for all."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from napari.layers import Image
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from napari_sam.inference.loading import load_predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.matching import iou
from napari_sam.plane import Plane
from napari_sam.planes import Planes

STACK = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7)


class CountingStack:
    """A stack of noise that is computed where it is read, and remembers what that was."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.dtype = np.dtype(np.uint16)
        self.read: list[int] = []

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[np.uint16]:
        number, *inside = key
        assert isinstance(number, int)
        self.read.append(number)
        plane = np.random.default_rng(number).integers(0, 4096, self.shape[1:], dtype=np.uint16)
        return plane[tuple(inside)]


def as_zarr(array: NDArray[Any], folder: Path) -> zarr.Array:
    stored = zarr.create_array(folder / "image.zarr", shape=array.shape, chunks="auto", dtype=array.dtype)
    stored[:] = array
    return stored


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda array, _: array, id="numpy"),
        pytest.param(lambda array, _: da.from_array(array, chunks=3), id="dask"),
        pytest.param(as_zarr, id="zarr"),
        pytest.param(lambda array, _: [array, array[:, ::2, ::2]], id="multiscale"),
        pytest.param(lambda array, _: (da.from_array(array),), id="multiscale of one level"),
        pytest.param(lambda array, _: Image([array, array[:, ::2, ::2]]).data, id="napari's multiscale"),
    ],
)
def test_any_array_is_read_plane_by_plane(tmp_path: Path, wrap: Callable[[Any, Path], Any]) -> None:
    planes = Planes(wrap(STACK, tmp_path), "zyx")
    assert (planes.shape, planes.axes, planes.ndim) == ((5, 6, 7), "zyx", 3)
    plane = Plane.at(planes.last_displayed, (3, 0, 0))
    assert_array_equal(planes.read(plane), STACK[3], strict=True)
    assert planes.image(plane).dtype == np.uint8


@pytest.mark.parametrize(
    ("shape", "rgb", "axes"),
    [
        pytest.param((6, 7), False, "yx", id="2-D"),
        pytest.param((5, 6, 7), False, "zyx", id="3-D"),
        pytest.param((2, 5, 6, 7), False, "czyx", id="4-D"),
        pytest.param((3, 2, 5, 6, 7), False, "tczyx", id="5-D"),
        pytest.param((2, 3, 2, 5, 6, 7), False, "mtczyx", id="6-D"),
        pytest.param((6, 7, 3), True, "yx", id="RGB"),
        pytest.param((5, 6, 7, 4), True, "zyx", id="stack of RGBA"),
    ],
)
def test_axes_are_named_from_the_end(shape: tuple[int, ...], rgb: bool, axes: str) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    planes = Planes(array, rgb=rgb)
    assert (planes.axes, planes.ndim, planes.rgb) == (axes, len(axes), rgb)
    last = Plane.at(planes.last_displayed, [n - 1 for n in planes.shape])
    assert_array_equal(planes.read(last), array[(-1,) * (len(axes) - 2)][..., : 3 if rgb else None])


@pytest.mark.parametrize(("shape", "axes"), [((5, 6, 3), "yx"), ((4, 5, 6, 4), "zyx")], ids=str)
def test_the_letter_of_colours_may_be_left_out(shape: tuple[int, ...], axes: str) -> None:
    planes = Planes(np.zeros(shape, np.uint8), axes)
    assert planes.rgb and planes.axes == axes and planes.shape == shape[:-1]


@pytest.mark.parametrize(
    ("displayed", "expected"),
    [
        pytest.param((1, 2), STACK[4], id="YX"),
        pytest.param((2, 1), STACK[4].T, id="XY"),
        pytest.param((0, 2), STACK[:, 4], id="ZX"),
        pytest.param((2, 0), STACK[:, 4].T, id="XZ"),
        pytest.param((0, 1), STACK[:, :, 4], id="ZY"),
        pytest.param((1, 0), STACK[:, :, 4].T, id="YZ"),
    ],
)
def test_any_two_axes_are_rows_and_columns(displayed: tuple[int, int], expected: NDArray[Any]) -> None:
    plane = Plane.at(displayed, (4, 4, 4))
    assert_array_equal(Planes(STACK).read(plane), expected)
    assert plane.shape(STACK.shape) == expected.shape


def test_colours_stay_last_in_a_transposed_plane() -> None:
    stack = np.arange(4 * 5 * 6 * 4, dtype=np.uint8).reshape(4, 5, 6, 4)
    assert_array_equal(
        Planes(stack, "zyxs").read(Plane.at((2, 0), (0, 3, 0))), stack[:, 3, :, :3].swapaxes(0, 1)
    )


@given(st.data())
def test_what_is_written_at_an_index_is_read_there(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=6))
    displayed = data.draw(st.sampled_from(list(permutations(range(len(shape)), 2))))
    plane = Plane.at(displayed, [data.draw(st.integers(0, n - 1)) for n in shape])
    rows, columns = (
        slice(*sorted(data.draw(st.tuples(st.integers(0, shape[axis]), st.integers(0, shape[axis])))))
        for axis in displayed
    )
    values = np.arange(1, 1 + np.prod(plane.shape(shape))).reshape(plane.shape(shape))
    array = np.zeros(shape, int)
    array[plane.index(rows, columns)] = plane.to_plane(values[rows, columns])
    assert_array_equal(plane.to_plane(array[plane.index(rows, columns)]), values[rows, columns])
    read = Planes(array).read(plane)
    assert_array_equal(read[rows, columns], values[rows, columns])
    assert np.count_nonzero(array) == values[rows, columns].size == np.count_nonzero(read)


@pytest.mark.parametrize(
    ("image", "arguments", "message"),
    [
        pytest.param(
            STACK, {"axes": "yx"}, r"'yx' do not fit .* \(5, 6, 7\); give 3 different", id="too few letters"
        ),
        pytest.param(STACK, {"axes": "tzyx"}, "'tzyx' do not fit", id="too many letters"),
        pytest.param(STACK, {"axes": "zzx"}, "'zzx' do not fit", id="a letter twice"),
        pytest.param(STACK, {"axes": ""}, "'' do not fit", id="no letters"),
        pytest.param(np.array(5), {"axes": ""}, "do not fit", id="a number as an array"),
        pytest.param(
            STACK, {"axes": "yxs"}, "'s' of 'yxs' has length 7; colours have 3 or 4", id="no colours"
        ),
        pytest.param(STACK, {"rgb": True}, "has length 7; colours have 3 or 4", id="not RGB"),
        pytest.param(np.zeros(9), {}, "1 axes has no plane", id="1-D"),
        pytest.param(np.zeros((9, 3)), {"rgb": True}, "2 axes with colours has no plane", id="1-D RGB"),
        pytest.param(np.zeros((9, 3)), {"axes": "xs"}, r"\(9, 3\) has no plane", id="1-D RGB by axes"),
        pytest.param(np.zeros((1,) * 8), {}, "at most 7 axes, this one has 8; give their letters", id="8-D"),
        pytest.param(np.zeros((5, 0, 7)), {}, r"\(5, 0, 7\) has no pixels", id="empty"),
        pytest.param(np.zeros((0, 6, 7)), {}, "no pixels", id="no planes"),
        pytest.param(np.zeros((6, 7), complex), {}, "complex128 is not a real number", id="complex"),
        pytest.param(np.zeros((6, 7), "M8[s]"), {}, "not a real number", id="dates"),
        pytest.param(np.full((6, 7), "a"), {}, "not a real number", id="text"),
        pytest.param([[1, 2], [3, 4]], {}, "A list is not an image; give an array", id="nested lists"),
        pytest.param([], {}, "A list is not an image", id="an empty list"),
        pytest.param("cells.tif", {}, "A str is not an image", id="a path"),
        pytest.param(None, {}, "A NoneType is not an image", id="nothing"),
        pytest.param(list(STACK), {}, r"two have the shape \(6, 7\); stack planes", id="a list of planes"),
    ],
)
def test_what_is_no_image_is_refused(image: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Planes(image, **arguments)


@pytest.mark.parametrize(
    ("plane", "message"),
    [
        pytest.param(Plane.at((1, 2), (5, 0, 0)), "no plane z=5; z goes from 0 to 4", id="behind the last"),
        pytest.param(
            Plane.at((1, 2), (-1, 0, 0)), "no plane z=-1; z goes from 0 to 4", id="before the first"
        ),
        pytest.param(Plane.at((0, 2), (0, 6, 0)), "no plane y=6; y goes from 0 to 5", id="behind the last y"),
        pytest.param(
            Plane((1, 2), (0, 0)), r"\(0, 0\) has not one index for each axis of 'zyx'", id="too short"
        ),
        pytest.param(Plane((1, 1), (0, 0, 0)), r"axes \(1, 1\); give two of 0 to 2", id="one axis twice"),
        pytest.param(Plane((-2, -1), (0, 0, 0)), r"axes \(-2, -1\)", id="axes from the end"),
        pytest.param(Plane((1, 3), (0, 0, 0)), r"axes \(1, 3\)", id="an axis too many"),
    ],
)
def test_a_plane_outside_is_named(plane: Plane, message: str) -> None:
    planes = Planes(STACK)
    for read in (planes.check, planes.read, planes.image):
        with pytest.raises(ValueError, match=message):
            read(plane)


def broken_floats() -> NDArray[np.float32]:
    stack = np.linspace(-3, 8, STACK.size, dtype=np.float32).reshape(STACK.shape)
    stack[0, 0, :3] = np.nan, np.inf, -np.inf
    return stack


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(STACK, id="uint16"),
        pytest.param(-(10**15) * STACK.astype(np.int64), id="int64"),
        pytest.param(STACK > 100, id="bool"),
        pytest.param(broken_floats(), id="floats with NaN and infinities"),
        pytest.param(np.full((3, 4), np.nan), id="nothing but NaN"),
        pytest.param(np.full((3, 4), 7, np.uint8), id="constant"),
        pytest.param(np.ones((1, 1), np.int8), id="1x1"),
        pytest.param(np.arange(9000.0)[None], id="one row"),
        pytest.param(np.arange(9000.0)[:, None], id="one column"),
    ],
)
def test_any_real_dtype_and_shape_becomes_bytes(array: NDArray[Any]) -> None:
    before = array.copy()
    planes = Planes(array)
    image = planes.image(Plane.at(planes.last_displayed, (0,) * array.ndim))
    assert (image.dtype, image.shape) == (np.uint8, array.shape[-2:])
    assert_array_equal(array, before)


def test_colour_bytes_stay_as_they_are() -> None:
    image = np.arange(6 * 7 * 4, dtype=np.uint8).reshape(6, 7, 4) // 2
    shown = Planes(image, rgb=True).image(Plane((0, 1), (0, 0)))
    assert_array_equal(shown, image[..., :3], strict=True)


def test_16_bit_colours_are_stretched_alike() -> None:
    image = np.full((6, 7, 3), 1000, np.uint16)
    image[:3] = 2000, 3000, 1000
    shown = Planes(image, "yxs").image(Plane((0, 1), (0, 0)))
    assert_array_equal(shown[[0, -1], 0], [[128, 255, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ("dtype", "record"), [(np.uint8, "contrast none"), (np.uint16, "contrast 10.0:90.0")], ids=["8", "16 bit"]
)
def test_what_was_done_to_colours_is_recorded(dtype: type[np.generic], record: str) -> None:
    image = np.full((6, 7, 3), 10, dtype)
    image[:3] = 90
    assert Planes(image, "yxs").preprocessing == record


def test_limits_that_are_given_hold_for_8_bit_colours_too() -> None:
    image = np.full((6, 7, 3), 10, np.uint8)
    image[:3] = 20, 35, 90
    as_it_is, limited = Planes(image, "yxs"), Planes(image, "yxs", limits=(10, 60))
    plane = Plane((0, 1), (0, 0))
    assert_array_equal(as_it_is.image(plane), image)
    assert_array_equal(limited.image(plane)[[0, -1], 0], [[51, 128, 255], [0, 0, 0]])
    assert limited.preprocessing == "contrast 10.0:60.0"
    assert limited.digest(image) != as_it_is.digest(image)


def test_images_without_limits_keep_the_names_of_their_embeddings() -> None:
    """What is on disk from before is found again."""
    colours = Planes(np.arange(60, dtype=np.uint8).reshape(4, 5, 3), "yxs")
    grey = Planes(np.arange(20, dtype=np.uint8).reshape(4, 5), "yx")
    plane = Plane((0, 1), (0, 0))
    names = [(x.key(), x.digest(x.read(plane)).hex()[:16]) for x in (colours, grey)]
    assert names == [
        ("e7a81f21f3b00223", "da607f6f7a215977"),
        ("1231f555149f0cb5", "5aa3eb817288cf7f"),
    ]


class TestContrast:
    def noise(self) -> NDArray[np.uint16]:
        stack = np.random.default_rng(0).integers(1000, 1100, (8, 30, 40)).astype(np.uint16)
        stack[4] += 500
        return stack

    def images(self, stack: NDArray[Any]) -> list[NDArray[np.uint8]]:
        planes = Planes(stack)
        return [planes.image(Plane.at((1, 2), (z, 0, 0))) for z in range(len(stack))]

    @pytest.mark.parametrize("value", [65535, 0], ids=["hot", "dead"])
    def test_one_wrong_pixel_changes_nothing_else(self, value: int) -> None:
        stack = self.noise()
        before = self.images(stack)
        stack[2, 3, 5] = value
        after = self.images(stack)
        around = before[2][2:5, 4:7]
        assert after[2][3, 5] <= around.max()
        after[2][3, 5] = before[2][3, 5]
        np.testing.assert_allclose(np.stack(after), np.stack(before), atol=1)

    def test_is_the_same_for_all_planes(self) -> None:
        images = self.images(self.noise())
        bright = images.pop(4)
        assert bright.min() > max(image.max() for image in images)

    def test_does_not_depend_on_the_order_of_reading(self) -> None:
        stack = self.noise()
        planes = Planes(stack)
        planes.image(Plane.at((1, 2), (4, 0, 0)))
        assert_array_equal(planes.image(Plane((1, 2), (0, 0, 0))), self.images(stack)[0])


def test_a_long_stack_is_read_in_samples_only() -> None:
    stack = CountingStack((5000, 40, 30))
    planes = Planes(stack, "zyx")
    assert stack.read == []
    wanted = Plane.at((1, 2), (4321, 0, 0))
    planes.image(wanted)
    read, *sample = stack.read
    assert read == 4321
    assert len(sample) <= 16 and sample[0] == 0 and sample[-1] == 4999
    stack.read.clear()
    planes.image(wanted)
    assert stack.read == [4321]


class TestIdentity:
    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(Planes(STACK, "tyx", name="stack"), id="axes"),
            pytest.param(Planes(STACK[1:], name="stack"), id="shape"),
            pytest.param(Planes(STACK.astype(np.int32), name="stack"), id="dtype"),
            pytest.param(
                Planes(STACK[..., :3].reshape(5, 6, 3), "zyx", name="stack"), id="grey, three columns"
            ),
        ],
    )
    def test_images_that_differ_have_other_keys(self, other: Planes) -> None:
        assert other.key() != Planes(STACK, name="stack").key()

    def test_the_same_image_has_the_same_key_under_any_name(self) -> None:
        assert Planes(STACK.copy(), name="stack").key() == Planes(da.from_array(STACK), name="other").key()

    def test_a_digest_covers_pixels_shape_dtype_and_contrast(self) -> None:
        planes = Planes(np.arange(12, dtype=np.uint8).reshape(3, 4))
        image = np.arange(12, dtype=np.uint8).reshape(3, 4)
        changed = image.copy()
        changed[2, 3] = 0
        assert planes.digest(image) == planes.digest(np.asfortranarray(image))
        others = (image, changed, image.reshape(4, 3), image.reshape(2, 6), image.astype(np.int8))
        assert len({planes.digest(x) for x in others} | {Planes(changed).digest(image)}) == 6


def test_the_contrast_may_be_chosen_and_names_what_is_made_with_it() -> None:
    chosen, other = Planes(STACK, "zyx", limits=(50, 101)), Planes(STACK, "zyx")
    plane = Plane((1, 2), (2, 0, 0))
    assert_array_equal(chosen.image(plane), np.clip((STACK[2] - 50.0) * 5, 0, 255))
    assert chosen.key() != other.key()
    assert chosen.digest(STACK[2]) != other.digest(STACK[2])
    for limits in ((5.0, 5.0), (7.0, 5.0), (0.0, float("nan"))):
        with pytest.raises(ValueError, match="not a lower and a higher intensity"):
            Planes(STACK, "zyx", limits=limits)


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        pytest.param((120, 160), 65535, id="small, hot"),
        pytest.param((200, 110), 0, id="upright, dead"),
        pytest.param((400, 500), 65535, id="large, hot"),
    ],
)
def test_one_hot_pixel_changes_no_mask(shape: tuple[int, int], value: int) -> None:
    height, width = shape
    y, x = np.mgrid[:height, :width]
    row, column, radius = int(0.4 * height), int(0.6 * width), int(0.16 * min(shape))
    cell = np.hypot(y - row, x - column) < radius
    stack = np.random.default_rng(0).integers(400, 440, (3, *shape)).astype(np.uint16)
    stack += (cell * 600).astype(np.uint16)
    predictor, plane = load_predictor("nano", device="cpu"), Plane((1, 2), (1, 0, 0))
    around = (row - radius - 2, column - radius - 2, row + radius + 2, column + radius + 2)

    def mask() -> NDArray[np.bool_]:
        found = predictor.predict(predictor.encode(Planes(stack).image(plane)), Prompt(box=around))
        return found.masks[found.best]

    before = mask()
    assert iou(before, cell) > 0.85
    inside, beside = (row + 2, column - 3), (row - radius - 3, column)
    for place in (inside, beside, (2, 3), (0, width - 1)):
        kept, stack[1][place] = stack[1][place], value
        assert iou(mask(), before) > 0.99, place
        stack[1][place] = kept
