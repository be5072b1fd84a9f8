"""The power goes right after a step was acknowledged: it is on the disk, and not only in the ledger."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from napari_sam.plane import Plane
from napari_sam.storage import forcing
from napari_sam.storage.changes import Change
from napari_sam.storage.importing import import_labels
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.opening import LEDGER
from napari_sam.storage.records import Draft
from storage.power import Disk

SHAPE = (3, 600, 20)  # two chunks a plane
ALL = tuple(slice(0, n) for n in SHAPE)
TALL = np.zeros(SHAPE[1:], bool)
TALL[400:600, 3:9] = True


@pytest.fixture
def store(tmp_path: Path) -> LabelsStore:
    """A store with two objects on its first plane, the second of which has been taken back."""
    store = LabelsStore.create(tmp_path / "cells.zarr", SHAPE, "zyx")
    commit(store, 0)
    commit(store, 0, np.roll(TALL, 8, axis=1))
    store.undo()
    return store


def commit(store: LabelsStore, z: int, mask: NDArray[np.bool_] = TALL) -> None:
    store.commit(Plane((1, 2), (z, 0, 0)), mask)


def write_planes(store: LabelsStore) -> None:
    """One object on all planes but the first."""
    before = np.zeros((1, 50, 20), np.uint32)
    regions = [(slice(z, z + 1), slice(500, 550), slice(0, 20)) for z in (1, 2)]
    changes = [Change(region, before, before + 7) for region in regions]
    store.write_aside(Draft("automatic", changes=changes))


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda store: commit(store, 1), id="commit on a new plane"),
        pytest.param(lambda store: commit(store, 0, ~TALL), id="commit into chunks that are there"),
        pytest.param(lambda store: store.labels.__setitem__((0, slice(9)), 7), id="brush"),
        pytest.param(lambda store: store.labels.__setitem__(0, 0), id="erase, chunks are deleted"),
        pytest.param(lambda store: store.undo(), id="undo, chunks are deleted"),
        pytest.param(lambda store: store.redo(), id="redo"),
        pytest.param(write_planes, id="automatic masks of several planes"),
    ],
)
def test_what_was_acknowledged_is_there(store: LabelsStore, act: Callable[[LabelsStore], object]) -> None:
    before, disk = store.array[:], Disk(store.path)
    with disk.watched():
        act(store)
    expected = store.array[:]
    assert not np.array_equal(expected, before)
    store.close()
    disk.lose_power()
    again = LabelsStore.open(store.path)
    assert_array_equal(again.array[:], expected)
    assert_array_equal(again.ledger.block(ALL, expected.dtype), expected)


def test_what_a_killed_process_had_written_is_forced_before_it_counts_as_written(store: LabelsStore) -> None:
    disk = Disk(store.path)
    commit(store, 2)
    expected = store.array[:]
    store.close()
    with sqlite3.connect(store.path / LEDGER) as db:
        db.execute("UPDATE state SET pending = cursor")
    db.close()
    with disk.watched():
        LabelsStore.open(store.path).close()
    disk.lose_power()
    assert_array_equal(LabelsStore.open(store.path).array[:], expected)


@pytest.mark.parametrize("make", ["create", "import"])
def test_a_new_store_is_there_with_its_metadata(tmp_path: Path, make: str) -> None:
    disk, path = Disk(tmp_path), tmp_path / "cells.zarr"
    labels = np.zeros(SHAPE, np.uint16)
    labels[1] = TALL * 5
    with disk.watched():
        if make == "create":
            LabelsStore.create(path, SHAPE, "zyx").close()
        else:
            import_labels(labels, path, "zyx").close()
    disk.lose_power()
    again = LabelsStore.open(path)
    assert_array_equal(again.array[:], labels if make == "import" else 0)
    assert again.geometry.axes == "zyx"


def test_each_file_and_folder_is_forced_once(store: LabelsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[str] = []
    folder = store.path / "0"
    monkeypatch.setattr(
        forcing, "_force_one", lambda place: forced.append(place.relative_to(folder).as_posix())
    )
    commit(store, 1)
    assert sorted(forced) == ["c", "c/1", "c/1/0", "c/1/0/0", "c/1/1", "c/1/1/0"]
    forced.clear()
    commit(store, 1, ~TALL)  # into the same two chunks: no folder is new
    assert sorted(forced) == ["c/1/0", "c/1/0/0", "c/1/1", "c/1/1/0"]


def test_a_disk_that_refuses_to_force_takes_the_step_back(
    store: LabelsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, steps = store.array[:], store.ledger.steps()

    def refuse(_place: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(forcing, "_force_one", refuse)
        with pytest.raises(ValueError, match=r"cannot be written .*; what was begun is taken back before"):
            commit(store, 1)
    commit(store, 2)
    assert not store.array[1].any()
    assert_array_equal(store.array[0], before[0])
    assert len(store.ledger.steps()) == len(steps) + 1
