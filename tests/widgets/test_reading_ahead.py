"""Labels are read before a view across the stack asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from napari_sam.plane import Plane
from napari_sam.storage.labels import LabelsStore
from napari_sam.widgets import reading_ahead
from napari_sam.widgets.reading_ahead import ReadingAhead
from widgets.driving import wait_until

SHAPE = (20, 16, 24)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabelsStore]:
    """Twenty planes; objects on ten of them."""
    monkeypatch.setattr(reading_ahead, "_REST_MS", 0)
    made = LabelsStore.create(tmp_path / "cells.zarr", SHAPE, "zyx")
    for z in range(10):
        commit(made, z)
    yield made
    made.close()


def commit(store: LabelsStore, z: int) -> None:
    mask = np.zeros(SHAPE[1:], np.bool_)
    mask[2:6, 3:9] = True
    store.commit(Plane((1, 2), (z, 0, 0)), mask)


def test_all_that_is_there_and_then_what_each_step_changes(qtbot: QtBot, store: LabelsStore) -> None:
    ahead = ReadingAhead(store)
    kept = store.sections._kept
    wait_until(lambda: len(kept) == 10)
    commit(store, 15)
    wait_until(lambda: len(kept) == 11)
    before = kept[15, 0, 0]
    np.testing.assert_array_equal(store.labels[:, 4], store.array[:, 4])
    assert kept[15, 0, 0] is before
    ahead.close()
    commit(store, 16)
    qtbot.wait(50)
    assert len(kept) == 11
