"""Of a stack in files only the chunks of the shown plane are read, however the files are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

from napari_sam.annotation import Session
from napari_sam.inference.predictor import Predictor
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.storage.embeddings import EmbeddingCache
from napari_sam.storage.labels import LabelsStore
from seeded import seeded_image

STACK = np.stack([seeded_image(40, 50, seed=z)[..., 0] for z in range(24)]).astype(np.uint16) * 7
POINT = (20.0, 31.0)


def open_session(predictor: Predictor, image: Any, axes: str, folder: Path) -> Session:
    planes = Planes(image, axes)
    store = LabelsStore.open_or_create(folder / "cells.zarr", planes.shape, planes.axes)
    return Session(planes, predictor, store, EmbeddingCache(planes, predictor, None))


def click(session: Session, **position: int) -> NDArray[np.bool_]:
    """Go to a plane, wait for its embedding, and click."""
    session.go_to(**position)
    session.run(session.request(preview=False))
    session.add_point(POINT)
    preview = session.predict()
    assert preview is not None
    return preview.masks


def as_zarr(version: int) -> Callable[[NDArray[Any], Path], Any]:
    def write(array: NDArray[Any], folder: Path) -> Any:
        chunks = (1, *array.shape[1:])
        stored = zarr.create_array(
            folder / "image.zarr", shape=array.shape, chunks=chunks, dtype=array.dtype, zarr_format=version
        )
        stored[:] = array
        return zarr.open_array(folder / "image.zarr", mode="r")

    return write


def as_ome_zarr(array: NDArray[Any], folder: Path) -> Any:
    """A multiscale image, from fine to coarse, as its readers hand it to napari."""
    group = zarr.create_group(folder / "image.ome.zarr", zarr_format=3)
    for level in range(3):
        small = array[:, :: 2**level, :: 2**level]
        group.create_array(str(level), data=small, chunks=(1, *small.shape[1:]))
    return [da.from_zarr(group[str(level)]) for level in range(3)]


def as_tiff(array: NDArray[Any], folder: Path) -> Any:
    tifffile.imwrite(folder / "image.tif", array, photometric="minisblack", metadata={"axes": "ZYX"})
    return zarr.open_array(tifffile.imread(folder / "image.tif", aszarr=True), mode="r")


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda array, _: da.from_array(array, chunks=(1, 20, 20)), id="dask"),
        pytest.param(as_zarr(2), id="zarr v2"),
        pytest.param(as_zarr(3), id="zarr v3"),
        pytest.param(as_ome_zarr, id="OME-Zarr"),
        pytest.param(as_tiff, id="TIFF"),
    ],
)
def test_any_source_gives_the_masks_of_the_array_in_memory(
    tiny_predictor: Predictor, tmp_path: Path, wrap: Callable[[NDArray[Any], Path], Any]
) -> None:
    (tmp_path / "a").mkdir()
    expected = click(open_session(tiny_predictor, STACK, "zyx", tmp_path / "a"), z=13)
    image = wrap(STACK, tmp_path)
    masks = click(open_session(tiny_predictor, image, "zyx", tmp_path / "b"), z=13)
    if isinstance(image, zarr.Array):
        image.store.close()
    assert expected.any() and not expected.all()
    np.testing.assert_array_equal(masks, expected)


@pytest.mark.parametrize("ndim", [2, 3, 4, 5, 6])
def test_two_to_six_axes(tiny_predictor: Predictor, tmp_path: Path, ndim: int) -> None:
    axes = "nmtzyx"[-ndim:]
    lengths = (3, 2, 4, 5)[: ndim - 2]
    image = np.zeros((*lengths, 40, 50), np.uint16)
    last = tuple(n - 1 for n in lengths)
    image[last] = STACK[13]
    position = dict(zip(axes, last, strict=False))
    session = open_session(tiny_predictor, da.from_array(image), axes, tmp_path)
    assert click(session, **position).any()


class Lazy:
    """A stack of noise that is computed where it is read, and remembers which planes were."""

    shape, dtype = (5000, 40, 50), np.dtype(np.uint16)

    def __init__(self) -> None:
        self.whole: list[int] = []
        self.sampled: set[int] = set()

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[np.uint16]:
        number, *inside = key
        assert isinstance(number, int)
        self.whole.append(number)
        plane = np.random.default_rng(number).integers(0, 4096, self.shape[1:], dtype=np.uint16)
        return plane[tuple(inside)]


def test_a_click_in_5000_planes_reads_one_of_them_and_the_sample(
    tiny_predictor: Predictor, tmp_path: Path
) -> None:
    image = Lazy()
    session = open_session(tiny_predictor, image, "zyx", tmp_path)
    assert image.whole == []
    assert session.planes.contrast.high > 4000
    sample = list(image.whole)
    assert len(sample) <= 16
    click(session, z=2468)
    assert image.whole[len(sample) :] == [2468]
    session.add_point((3.0, 4.0))
    session.predict()
    assert image.whole[len(sample) :] == [2468], "a second click reads nothing"


class CountingStore(WrapperStore[LocalStore]):
    """A store that remembers which chunks are read."""

    def __init__(self, store: LocalStore) -> None:
        super().__init__(store)
        self.chunks: list[str] = []

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        if "/c/" in f"/{key}":
            self.chunks.append(key)
        return await super().get(key, prototype, byte_range)


def test_a_part_of_a_large_plane_reads_its_own_chunks(tmp_path: Path) -> None:
    folder = tmp_path / "image.zarr"
    zarr.create_array(folder, shape=(2, 4096, 4096), chunks=(1, 64, 64), dtype=np.uint8)
    zarr.open_array(folder)[1, 2000:2200, 1000:1300] = seeded_image(200, 300)[..., 0]
    store = CountingStore(LocalStore(folder))
    planes = Planes(zarr.open_array(store, mode="r+"), "zyx")
    assert planes.contrast.high > 0
    store.chunks.clear()
    planes.image(Plane((1, 2), (1, 0, 0)), slice(1984, 2112), slice(1024, 1152))
    assert sorted(store.chunks) == [f"c/1/{row}/{column}" for row in (31, 32) for column in (16, 17)]
