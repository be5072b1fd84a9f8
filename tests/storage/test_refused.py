"""The disk refuses a step in the midst of it, and also to take it back: ledger and array do not part."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from napari_sam.objects.editing import Objects
from napari_sam.plane import Plane
from napari_sam.storage.errors import LabelsError
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ledger import Ledger
from napari_sam.storage.opening import LEDGER

SHAPE = (3, 600, 20)  # two chunks a plane
ALL = tuple(slice(0, n) for n in SHAPE)
TALL = np.zeros(SHAPE[1:], bool)
TALL[400:600, 3:9] = True
TOLD = r"cannot be written \(.*\); what was begun is taken back before the next step\. Free some space"


@pytest.fixture
def store(tmp_path: Path) -> LabelsStore:
    """A store with one object."""
    store = LabelsStore.create(tmp_path / "cells.zarr", SHAPE, "zyx")
    commit(store, 0)
    return store


def commit(store: LabelsStore, z: int, mask: NDArray[np.bool_] = TALL) -> None:
    store.commit(Plane((1, 2), (z, 0, 0)), mask)


def paint(store: LabelsStore) -> None:
    store.labels[2, 500:530, 3] = 9


def assert_agree(store: LabelsStore) -> None:
    found = store.array[:]
    assert_array_equal(store.ledger.block(ALL, found.dtype), found)
    assert store.ledger.pending is None


@contextmanager
def disk_that_fills_up(ledger_too: bool, chunks: int = 1) -> Iterator[None]:
    """Take the ledger's record of a step and so many of its chunks, and nothing more."""
    write, transaction, left = zarr.Array.__setitem__, Ledger._transaction, [None] * chunks

    def write_if_there_is_space(array: zarr.Array[Any], region: Any, block: Any) -> None:
        if not left:
            raise OSError(28, "No space left on device")
        left.pop()
        write(array, region, block)

    def begin(ledger: Ledger) -> Any:
        if ledger_too and not left:
            raise sqlite3.OperationalError("database or disk is full")
        return transaction(ledger)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zarr.Array, "__setitem__", write_if_there_is_space)
        patch.setattr(Ledger, "_transaction", begin)
        yield


@pytest.mark.parametrize("ledger_too", [False, True], ids=["chunks", "ledger and chunks"])
@pytest.mark.parametrize("then", ["go on", "close"])
@pytest.mark.parametrize(
    ("before", "act"),
    [
        pytest.param([], lambda store: commit(store, 2), id="commit"),
        pytest.param([], paint, id="brush"),
        pytest.param([lambda store: store.labels.__setitem__((2, 100, 3), 9)], paint, id="stroke"),
        pytest.param([lambda store: commit(store, 2)], lambda store: store.undo(), id="undo"),
        pytest.param(
            [lambda store: commit(store, 2), lambda store: store.undo()],
            lambda store: store.redo(),
            id="redo",
        ),
    ],
)
def test_a_step_that_was_refused_is_taken_back_as_soon_as_there_is_space(
    store: LabelsStore,
    before: list[Callable[[LabelsStore], object]],
    act: Callable[[LabelsStore], object],
    then: str,
    ledger_too: bool,
) -> None:
    for do in before:
        do(store)
    expected, steps = store.array[:], store.ledger.steps()
    with disk_that_fills_up(ledger_too), pytest.raises(LabelsError, match=TOLD):
        act(store)
    with disk_that_fills_up(ledger_too, chunks=0), pytest.raises(LabelsError, match=TOLD):
        commit(store, 1)
    if then == "close":
        store.close()
        store = LabelsStore.open(store.path)
    else:
        commit(store, 1)
        assert_agree(store)
        store.undo()
    assert_agree(store)
    assert_array_equal(store.array[:], expected)
    assert store.ledger.steps() == steps


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda store: commit(store, 2), id="commit"),
        pytest.param(paint, id="brush"),
        pytest.param(lambda store: store.undo(), id="undo"),
    ],
)
def test_a_step_of_which_only_the_mark_is_refused_is_done(
    store: LabelsStore, monkeypatch: pytest.MonkeyPatch, act: Callable[[LabelsStore], object]
) -> None:
    def refuse(_ledger: Ledger) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    before = store.array[:]
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "settle", refuse)
        act(store)
    expected = store.array[:]
    assert not np.array_equal(expected, before)
    store.end_stroke()
    commit(store, 1)
    assert_agree(store)
    store.undo()
    assert_agree(store)
    assert_array_equal(store.array[:], expected)


def leave_pending(store: LabelsStore) -> None:
    """Close a store as if its process had been killed before the last move was marked as written."""
    store.close()
    with sqlite3.connect(store.path / LEDGER) as db:
        db.execute("UPDATE state SET pending = (SELECT max(number) FROM steps)")
    db.close()


@pytest.mark.parametrize("move", ["delete", "undo"])
@pytest.mark.parametrize("torn", [0, 1])
def test_a_torn_chunk_keeps_nothing_else_of_a_pending_step_from_being_finished(
    store: LabelsStore, move: str, torn: int
) -> None:
    """Of the two chunks, from which the object is to go, one is torn and the other not written yet."""
    files = [store.path / "0" / "c" / "0" / str(y) / "0" for y in (0, 1)]
    unwritten = files[1 - torn].read_bytes()
    Objects(store).delete([1]) if move == "delete" else store.undo()
    leave_pending(store)
    files[1 - torn].write_bytes(unwritten)
    files[torn].write_bytes(b"")
    again = LabelsStore.open(store.path)
    assert not again.array[:].any() and not again.ledger.objects()
    assert_agree(again)


def test_a_chunk_that_can_be_read_keeps_what_others_erased_beside_a_torn_one(store: LabelsStore) -> None:
    store.array[0, 590:595, 4] = 0
    commit(store, 0, np.roll(TALL, 8, axis=1))
    expected = store.array[:]
    leave_pending(store)
    (store.path / "0" / "c" / "0" / "0" / "0").write_bytes(b"torn")
    assert_array_equal(LabelsStore.open(store.path).array[:], expected)


def test_only_files_that_zarr_left_behind_are_removed(store: LabelsStore) -> None:
    leave_pending(store)
    chunks = store.path / "0" / "c" / "0"
    left, folder, mine = chunks / "1" / "0.f00.partial", chunks / "2.partial", store.path / "notes.partial"
    folder.mkdir()
    left.write_bytes(b"half")
    mine.write_text("mine")
    assert LabelsStore.open(store.path).ledger.pending is None
    assert (left.exists(), folder.exists(), mine.exists()) == (False, True, True)
