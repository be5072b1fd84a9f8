"""A long write in a thread of its own: stopped anywhere it leaves nothing, and nobody writes into it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_sam.objects.editing import Objects
from napari_sam.plane import Plane
from napari_sam.runs import MaskRuns
from napari_sam.storage.changes import Change
from napari_sam.storage.errors import LabelsError
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.origins import Making, Origin
from napari_sam.storage.records import Draft

SHAPE = (4, 30, 40)
SQUARE = (slice(5, 15), slice(8, 20))


class Stopped(Exception):
    """The user has enough of it."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelsStore]:
    """A store with one object, number 1, in a corner of the first plane."""
    made = LabelsStore.create(tmp_path / "cells.zarr", SHAPE, "zyx")
    mask = np.zeros(SHAPE[1:], bool)
    mask[20:25, 30:36] = True
    made.commit(Plane((1, 2), (0, 0, 0)), mask)
    yield made
    made.close()


def squares() -> tuple[list[Change], list[Origin]]:
    """One object, number 2, on all planes."""
    changes, origins = [], []
    for z in range(SHAPE[0]):
        before = np.zeros((1, 10, 12), np.uint32)
        changes.append(Change((slice(z, z + 1), *SQUARE), before, before + 2))
        runs = MaskRuns.of(np.ones((10, 12), bool), (5, 8))
        assert runs is not None
        origins.append(Origin(2, Plane((1, 2), (z, 0, 0)), runs, Making("automatic")))
    return changes, origins


class LongWrite:
    """A write that stands still at a share of its way, until it goes on or ends."""

    def __init__(self, store: LabelsStore, share: float) -> None:
        self._share = share
        self._stands, self._may_go = threading.Event(), threading.Event()
        self.ends = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._write, args=(store,))
        self._thread.start()
        assert self._stands.wait(60)

    def go_on(self) -> None:
        self._may_go.set()
        self._thread.join(60)

    def _write(self, store: LabelsStore) -> None:
        changes, origins = squares()
        try:
            store.write_aside(Draft("automatic", changes=changes, origins=origins), self._progress)
        except (Stopped, LabelsError) as error:
            self.error = error

    def _progress(self, done: float) -> None:
        if done >= self._share:
            self._stands.set()
            assert self._may_go.wait(60)
            if self.ends:
                raise Stopped


def test_it_tells_how_far_it_is_and_writes_one_step(store: LabelsStore) -> None:
    shares: list[float] = []
    told: list[object] = []
    store.changed.connect(told.append)
    changes, origins = squares()
    step = store.write_aside(Draft("automatic", changes=changes, origins=origins), shares.append)
    assert shares == sorted(shares) and 0 <= shares[0] < 0.1 and 0.8 < shares[-1] < 1
    assert told == [], "nobody in this thread is told"
    assert (store.labels[(slice(None), *SQUARE)] == 2).all() and store.ledger.last_done() == step
    store.undo()
    assert np.unique(store.labels[...]).tolist() == [0, 1]


@pytest.mark.parametrize("share", np.linspace(0, 0.9, 19).round(2).tolist())
def test_stopped_anywhere_it_leaves_nothing(store: LabelsStore, share: float) -> None:
    before, steps = np.array(store.labels[...]), store.ledger.steps()

    def stop(done: float) -> None:
        if done >= share:
            raise Stopped

    changes, origins = squares()
    with pytest.raises(Stopped):
        store.write_aside(Draft("automatic", changes=changes, origins=origins), stop)
    assert np.array_equal(store.labels[...], before)
    assert (store.ledger.steps(), store.ledger.pending) == (steps, None)
    assert [x.label for x in store.ledger.objects()] == [1] and not store.ledger.masks(2)
    assert store.repair().restored == ()
    store.write_aside(Draft("automatic", changes=changes, origins=origins))
    assert (store.labels[(slice(None), *SQUARE)] == 2).all()


@pytest.mark.parametrize("share", [0.0, 0.4, 0.7], ids=["before", "in the ledger", "in the array"])
def test_meanwhile_nothing_else_is_written(store: LabelsStore, share: float) -> None:
    write = LongWrite(store, share)
    plane, mask = Plane((1, 2), (1, 0, 0)), np.ones(SHAPE[1:], bool)
    for attempt in (
        lambda: store.commit(plane, mask),
        lambda: store.labels.__setitem__((1, 2, 3), 5),
        store.undo,
        store.redo,
        store.repair,
        lambda: Objects(store).delete([1]),
        lambda: Objects(store).rename(1, "nucleus"),
    ):
        with pytest.raises(LabelsError, match="are being written"):
            attempt()
    recorded = [1] if share < 0.6 else [1, 2]
    assert [x.label for x in store.ledger.objects()] == recorded, "a step is read when all of it is recorded"
    write.go_on()
    assert write.error is None
    assert (store.labels[(slice(None), *SQUARE)] == 2).all()
    assert store.commit(plane, mask).label == 3


@pytest.mark.parametrize("ends", [False, True], ids=["finished", "stopped"])
def test_a_store_that_is_closed_meanwhile_is_whole_when_it_is_opened_again(
    store: LabelsStore, ends: bool
) -> None:
    write = LongWrite(store, 0.7)
    store.close()
    store.close()
    reopened: list[LabelsStore] = []
    opener = threading.Thread(target=lambda: reopened.append(LabelsStore.open(store.path)))
    opener.start()
    write.ends = ends
    write.go_on()
    opener.join(60)
    (again,) = reopened
    assert not again.read_only
    assert (again.labels[(slice(None), *SQUARE)] == (0 if ends else 2)).all()
    assert [x.label for x in again.ledger.objects()] == ([1] if ends else [1, 2])
    again.close()
