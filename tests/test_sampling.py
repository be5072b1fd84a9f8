"""The contrast of a stack comes from a sample that costs about the same however large its planes are."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.sampling import blocks, sample


class Lazy:
    """An array of noise between 1000 and 2000 that is computed where it is read, and remembers where."""

    dtype = np.dtype(np.uint16)

    def __init__(self, shape: tuple[int, ...], chunks: Any = None) -> None:
        self.shape, self.chunks = shape, chunks
        self.read: list[tuple[int | slice, ...]] = []

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[np.uint16]:
        self.read.append(key)
        lengths = [len(range(n)[x]) for n, x in zip(self.shape, key, strict=True) if isinstance(x, slice)]
        return np.random.default_rng(len(self.read)).integers(1000, 2000, lengths, np.uint16)

    def pixels(self) -> int:
        return sum(
            int(
                np.prod(
                    [len(range(n)[x]) for n, x in zip(self.shape, key, strict=True) if isinstance(x, slice)]
                )
            )
            for key in self.read
        )

    def chunks_read(self) -> set[tuple[int, ...]]:
        """Numbers of the chunks that were read."""
        found = set()
        for key in self.read:
            sides = [
                range(n)[x] if isinstance(x, slice) else range(x, x + 1)
                for n, x in zip(self.shape, key, strict=True)
            ]
            first = tuple(side[0] // n for side, n in zip(sides, self.chunks, strict=True))
            assert first == tuple(side[-1] // n for side, n in zip(sides, self.chunks, strict=True))
            found.add(first)
        return found


@pytest.mark.parametrize(
    ("shape", "chunks", "at_most"),
    [
        pytest.param((4096, 4096), (256, 256), 64, id="one plane of 256 chunks"),
        pytest.param((16, 20_000, 20_000), (1, 512, 512), 64, id="16 planes of 20 000 x 20 000"),
        pytest.param((5000, 2048, 2048), (1, 2048, 2048), 16, id="planes that are chunks"),
        pytest.param((90, 20_000, 20_000), (1, 20_000, 20_000), 1, id="large planes that are chunks"),
        pytest.param((2, 300, 3000, 4000), (1, 64, 256, 256), 16, id="chunks through many planes"),
        pytest.param((9, 9000, 9000), (1, 8, 9000), 64, id="strips of a TIFF"),
    ],
)
def test_few_chunks_of_a_large_plane_are_read_each_once(
    shape: tuple[int, ...], chunks: tuple[int, ...], at_most: int
) -> None:
    image = Lazy(shape, chunks)
    contrast = Planes(image).contrast
    assert (1000 <= contrast.low < 1010) and (1990 < contrast.high < 2000)
    assert len(image.chunks_read()) == len(image.read) <= at_most
    assert image.pixels() <= 2**20
    again = Lazy(shape, chunks)
    Planes(again).image(
        Plane.at((len(shape) - 2, len(shape) - 1), [n - 1 for n in shape]), slice(9), slice(9)
    )
    assert again.read[1:] == image.read, "the sample is the same whichever plane is looked at"


def test_the_sample_is_spread_over_planes_and_over_each() -> None:
    found = list(blocks((16, 20_000, 20_000), (1, 500, 500), (1, 2), {}))
    assert {index[0] for index in found} == set(range(16))
    corners = np.array([[part.start for part in index[1:] if isinstance(part, slice)] for index in found])
    quarters, counts = np.unique(corners // 10_000, axis=0, return_counts=True)
    assert len(quarters) == 4 and counts.min() >= 12


def test_a_coarser_level_serves_if_it_has_enough_pixels() -> None:
    levels = [Lazy((3, 8192 // n, 8192 // n), (1, 256, 256)) for n in (1, 2, 4, 8, 16, 32)]
    assert Planes(levels, "zyx").contrast.high > 1990
    assert [len(level.read) > 0 for level in levels] == [False, False, False, True, False, False]
    assert len(levels[3].read) <= 64


def test_a_level_without_the_channels_is_passed_over() -> None:
    levels = [Lazy((3, 4096, 4096), (1, 256, 256)), Lazy((1, 2048, 2048), (1, 256, 256))]
    planes = Planes(levels, "cyx", channels="c")
    planes.image(Plane((1, 2), (0, 0, 0)), slice(4), slice(4))
    assert not levels[1].read and {key[0] for key in levels[0].read} == {0, 1, 2}


@pytest.mark.parametrize(
    "shape", [(300, 400, 500), (9, 1000, 1040)], ids=["small", "as large as a model's input"]
)
def test_planes_that_are_not_large_are_sampled_evenly(shape: tuple[int, ...]) -> None:
    stack = da.random.default_rng(0).integers(0, 999, shape, chunks=(1, *shape[1:]))
    step = int(np.sqrt(shape[1] * shape[2] / 256**2))
    planes = np.linspace(0, shape[0] - 1, min(16, shape[0])).round().astype(int)
    expected = [np.asarray(stack[z, ::step, ::step]) for z in planes]
    assert_array_equal(list(sample([stack], (1, 2), {})), expected)


def test_an_array_in_memory_is_sampled_evenly_however_large() -> None:
    image = np.arange(2000 * 3000).reshape(2000, 3000)
    (found,) = sample([image], (0, 1), {})
    assert_array_equal(found, image[::9, ::9])


@pytest.mark.parametrize("cut", [lambda x: da.from_array(x, chunks=((700, 900, 400), 1000)), zarr.array])
def test_dask_and_zarr_say_how_they_are_cut(cut: Any) -> None:
    image = np.arange(2000 * 2000, dtype=np.int32).reshape(2000, 2000)
    found = np.concatenate([part.ravel() for part in sample([cut(image)], (0, 1), {})])
    assert len(np.unique(found)) == len(found) <= 2**20
    assert found.min() < 0.1 * image.size and found.max() > 0.9 * image.size


@pytest.mark.parametrize("value", [65535, 0], ids=["hot", "dead"])
def test_one_wrong_pixel_in_the_sample_changes_little(value: int) -> None:
    image = (
        da.random.default_rng(0).integers(1000, 2000, (2048, 2048), chunks=256).astype(np.uint16).compute()
    )
    before = Planes(da.from_array(image, chunks=256)).contrast
    image[next(iter(blocks(image.shape, (256, 256), (0, 1), {})))][3, 5] = value
    after = Planes(da.from_array(image, chunks=256)).contrast
    assert abs(after.low - before.low) <= 1 and abs(after.high - before.high) <= 1


def test_colours_are_read_together() -> None:
    image = da.random.default_rng(0).integers(1000, 2000, (3, 2048, 2048, 4), chunks=(1, 512, 512, 4))
    planes = Planes(image.astype(np.uint16), "zyxs")
    assert (1000 <= planes.contrast.low < 1010) and (1990 < planes.contrast.high < 2000)


def test_a_small_object_on_an_empty_plane_is_found() -> None:
    image = np.zeros((4096, 4096), np.uint16)
    image[2000:2200, 1000:1300] = 700
    planes = Planes(da.from_array(image, chunks=128))
    assert planes.image(Plane((0, 1), (0, 0)))[2100, 1100] == 255
