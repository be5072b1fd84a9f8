"""What the ledger keeps of an object while the brush paints on it, erases it and draws it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from napari_sam.inference.prompts import Prompt
from napari_sam.objects.editing import Objects
from napari_sam.plane import Plane
from napari_sam.storage import view
from napari_sam.storage.errors import LabelsError
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.origins import Making
from napari_sam.storage.records import ObjectInfo

SHAPE = (40, 16, 16)
PLANE = Plane((1, 2), (3, 0, 0))
POINT = (5.0, 5.0)


@pytest.fixture
def store(tmp_path: Path) -> LabelsStore:
    """A nucleus that was clicked."""
    store = LabelsStore.create(tmp_path / "cells.zarr", SHAPE, "zyx")
    mask = np.zeros(SHAPE[1:], bool)
    mask[2:9, 2:9] = True
    store.commit(PLANE, mask, Making("click", Prompt([POINT]), model="nano"))
    Objects(store).rename(1, "left one")
    Objects(store).classify([1], "nucleus")
    return store


def known(store: LabelsStore) -> tuple[list[ObjectInfo], list[tuple[Plane, str, Any]]]:
    made = [(x.plane, x.making.source, x.making.prompt.points) for x in store.ledger.origins()]
    return store.ledger.objects(), made


def test_an_object_that_a_stroke_erases_and_draws_again_is_the_same(store: LabelsStore) -> None:
    before = known(store)
    assert before[0][0].name == "left one" and before[1] == [(PLANE, "click", (POINT,))]
    store.labels[3, 2:9, 2:9] = 0
    assert known(store) == ([], [])
    store.labels[3, 3:8, 3:8] = 1
    assert known(store) == before
    store.labels[3, 2:9, 2:9] = 0
    store.labels[3, 3:8, 3:8] = 1
    assert known(store) == before
    store.undo()
    assert known(store) == before
    store.redo()
    assert known(store) == before


def test_it_begins_anew_in_another_stroke(store: LabelsStore) -> None:
    before = known(store)
    store.labels[3, 2:9, 2:9] = 0
    store.end_stroke()
    store.labels[3, 3:8, 3:8] = 1
    assert known(store) == ([ObjectInfo(1)], [(PLANE, "brush", ())])
    store.undo()
    store.undo()
    assert known(store) == before


def test_an_object_that_a_refused_part_of_a_stroke_covers_is_the_same(
    store: LabelsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.labels[3, 0, 0] = 2
    before = known(store)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(zarr.Array, "__setitem__", full)
        with pytest.raises(LabelsError, match="No space left"):
            store.labels[3, 2:9, 2:9] = 2
    assert known(store) == before


def test_the_brush_is_the_origin_where_nothing_else_is(
    store: LabelsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many planes a write goes through, no origin is decoded for it."""
    decoded: list[object] = []
    real = view.origin_from_row
    monkeypatch.setattr(view, "origin_from_row", lambda row: decoded.append(row) or real(row))
    queries: list[str] = []
    for value in (slice(4, 10), slice(5, 11)):
        store.ledger._db.set_trace_callback(queries.append)
        store.labels[:, value, 4] = 1
        store.ledger._db.set_trace_callback(None)
        store.end_stroke()
    assert decoded == []
    assert len([x for x in queries if x.startswith("SELECT position FROM origins")]) == 2
    sources = {x.plane.position[0]: x.making.source for x in store.ledger.origins(1)}
    assert sources == {z: "click" if z == 3 else "brush" for z in range(SHAPE[0])}
