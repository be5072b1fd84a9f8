"""A store opens in other programs' OME-Zarr readers, which share no code with what wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import yaozarrs
import zarr
from numpy.testing import assert_array_equal
from ome_zarr_models.v05.image_label import ImageLabel
from yaozarrs import v05

from napari_sam.plane import Plane
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ome import Geometry

CASES = [
    pytest.param(((90, 80), Geometry("yx")), id="plane"),
    pytest.param(
        ((3, 600, 90), Geometry("zyx", (2.0, 0.5, 0.25), (10.0, -3.0, 4.5), ("micrometer",) * 3)),
        id="stack with scale, position and units",
    ),
    pytest.param(
        ((2, 3, 60, 70), Geometry("tzyx", (30, 2, 1, 1), None, ("second", "um", "um", "um"))), id="time"
    ),
    pytest.param(((2, 2, 3, 20, 30), Geometry("tczyx")), id="five axes"),
]


@pytest.fixture
def made(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[LabelsStore, np.ndarray[Any, Any]]:
    """A store with some objects, still open, and what its array holds."""
    shape, geometry = request.param
    store = LabelsStore.create(tmp_path / "cells.labels.zarr", shape, geometry)
    mask = np.zeros(shape[-2:], bool)
    mask[-30:, 5:20] = True
    last = tuple(n - 1 for n in shape[:-2])
    store.commit(Plane((len(shape) - 2, len(shape) - 1), (*last, 0, 0)), mask)
    wanted = np.zeros(shape, np.uint32)
    wanted[last][mask] = 1
    return store, wanted


@pytest.mark.parametrize("made", CASES, indirect=True)
def test_yaozarrs_and_tensorstore_read_what_was_committed(
    made: tuple[LabelsStore, np.ndarray[Any, Any]],
) -> None:
    store, wanted = made
    yaozarrs.validate_zarr_store(str(store.path))  # metadata and arrays on disk, together
    group = yaozarrs.open_group(str(store.path))
    image = group.ome_metadata()
    assert isinstance(image, v05.LabelImage)
    multiscale = image.multiscales[0]
    assert [axis.name for axis in multiscale.axes] == list(store.geometry.axes)
    units = store.geometry.units or [None] * len(store.geometry.axes)
    assert [getattr(axis, "unit", None) for axis in multiscale.axes] == list(units)
    assert multiscale.datasets[0].scale_transform.scale == list(store.geometry.pixel_size)
    if store.geometry.translation is not None:
        moved = multiscale.datasets[0].translation_transform
        assert moved is not None and moved.translation == list(store.geometry.translation)
    array = group[multiscale.datasets[0].path].to_tensorstore()
    assert isinstance(array, tensorstore.TensorStore)
    assert array.dtype.numpy_dtype == np.uint32
    assert array.domain.labels == tuple(store.geometry.axes)
    assert_array_equal(np.asarray(array.read().result()), wanted)


@pytest.mark.parametrize("made", CASES, indirect=True)
def test_the_metadata_are_those_of_the_model_library(
    made: tuple[LabelsStore, np.ndarray[Any, Any]],
) -> None:
    store, wanted = made
    label = ImageLabel.from_zarr(zarr.open_group(store.path, mode="r"))
    assert label.ome_attributes.version == "0.5"
    assert label.ome_attributes.multiscales[0].name == "cells"
    assert list(label.members) == ["0"]
    assert label.members["0"].shape == wanted.shape
