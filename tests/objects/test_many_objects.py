"""Edits of many objects on many planes take the time and the memory of the planes, not of each object."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from napari_sam.objects.editing import Objects
from napari_sam.planes import ArrayLike
from napari_sam.storage.importing import import_labels
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.records import Step

PLANES, SIDE, STEP = 3, 60, 10


def squares() -> NDArray[np.uint32]:
    """36 objects on each of three planes."""
    labels = np.zeros((PLANES, SIDE, SIDE), np.uint32)
    corners = np.arange(1, 1 + PLANES * (SIDE // STEP) ** 2).reshape(PLANES, SIDE // STEP, SIDE // STEP)
    for row in range(5):
        for column in range(5):
            labels[:, row::STEP, column::STEP] = corners
    return labels


class Counted(np.ndarray[Any, Any]):
    """An array that counts how often all of it is computed with."""

    passes = 0

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        Counted.passes += 1
        plain = [x.view(np.ndarray) if isinstance(x, Counted) else x for x in inputs]
        return getattr(ufunc, method)(*plain, **options)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelsStore]:
    made = import_labels(squares(), tmp_path / "cells.zarr", "zyx")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("edit", "wanted"),
    [
        pytest.param(lambda x, labels: x.delete(labels), lambda _: 0, id="delete"),
        pytest.param(lambda x, labels: x.merge(labels), lambda _: 1, id="merge"),
    ],
)
def test_a_plane_is_gone_over_once_for_all_its_objects(
    store: LabelsStore,
    monkeypatch: pytest.MonkeyPatch,
    edit: Callable[[Objects, list[int]], object],
    wanted: Callable[[int], int],
) -> None:
    read = store.block
    monkeypatch.setattr(store, "block", lambda region: read(region).view(Counted))
    monkeypatch.setattr(Counted, "passes", 0)
    labels = [info.label for info in store.ledger.objects()]
    edit(Objects(store), labels)
    assert len(labels) == 108
    assert Counted.passes < 10 * PLANES
    assert_array_equal(store.array[:], np.where(squares() > 0, wanted(0), 0))
    store.undo()
    assert_array_equal(store.array[:], squares())


@pytest.mark.parametrize(
    "edit", [Objects.fill_holes, Objects.remove_islands, Objects.smooth], ids=lambda edit: edit.__name__
)
def test_several_objects_are_reshaped_in_one_step_as_each_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    edit: Callable[[Objects, int | Iterable[int]], Step | None],
) -> None:
    labels = squares()
    labels[:, 2::STEP, 2::STEP] = 0
    labels[:, 7::STEP, 7::STEP] = labels[:, ::STEP, ::STEP]
    store = import_labels(labels, tmp_path / "other.zarr", "zyx")
    objects, chosen = Objects(store), [1, 2, 36, 40, 108]
    for label in chosen:
        assert edit(objects, label) is not None
    wanted = store.array[:]
    for _ in chosen:
        store.undo()
    assert_array_equal(store.array[:], labels)

    read, regions = store.block, []
    monkeypatch.setattr(store, "block", lambda region: regions.append(region) or read(region))
    step = edit(objects, chosen)
    assert step is not None and len(regions) == PLANES
    assert [x.number for x in store.ledger.steps()] == [step.number]
    assert_array_equal(store.array[:], wanted)
    assert_array_equal(store.ledger.block(tuple(slice(0, n) for n in labels.shape), labels.dtype), wanted)
    store.close()


class Sparse(ArrayLike):
    """A stack with two small objects far from each other on every plane, made when it is read."""

    shape = (24, 512, 512)
    dtype = np.dtype(np.uint16)

    def __getitem__(self, key: Any, /) -> NDArray[np.uint16]:
        plane = np.zeros(self.shape[1:], np.uint16)
        plane[5:15, 5:15] = 1
        plane[490:500, 490:500] = 2
        return plane[key[1:]]


def peak(work: Callable[[], object]) -> int:
    """Give the most bytes that something takes beyond what is there."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_stack_is_imported_and_deleted_with_few_planes_in_memory(tmp_path: Path) -> None:
    store = LabelsStore.create(tmp_path / "cells.zarr", Sparse.shape, "zyx")
    objects = Objects(store)
    plane_bytes = 512 * 512 * store.array.dtype.itemsize
    assert peak(lambda: objects.import_labels(Sparse())) < 12 * plane_bytes
    assert np.count_nonzero(store.array[:]) == 24 * 200
    assert peak(lambda: objects.delete([1, 2])) < 12 * plane_bytes
    assert not store.array[:].any()
    store.close()
