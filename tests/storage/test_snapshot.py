"""A snapshot of the ledger stays as it was, and is in nobody's way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_sam.plane import Plane
from napari_sam.storage.errors import LabelsError
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.opening import LEDGER
from napari_sam.storage.records import Category
from napari_sam.storage.snapshot import snapshot

SQUARE = np.zeros((20, 30), bool)
SQUARE[3:8, 4:9] = True
PLANE = Plane((0, 1), (0, 0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    store = LabelsStore.create(tmp_path / "cells.zarr", SQUARE.shape, "yx")
    store.commit(PLANE, SQUARE)
    store.close()
    return store.path


def test_it_stays_while_others_write(path: Path) -> None:
    store = LabelsStore.open(path)
    with snapshot(store.ledger) as seen:
        store.commit(PLANE, np.roll(SQUARE, 10, axis=0))
        store.ledger.put_category(Category("nucleus", 1, "#e69f00"))
        assert [info.label for info in seen.objects()] == [1]
        assert list(seen.masks_at(())) == list(seen.all_masks()) == [1]
        assert seen.categories() == []
    assert [info.label for info in store.ledger.objects()] == [1, 2]
    store.close()


def test_the_labels_can_be_opened_and_written_meanwhile(path: Path) -> None:
    """Those that rest have no write-ahead log: an open transaction would keep a writer out."""
    reader = LabelsStore.open(path, read_only=True)
    with snapshot(reader.ledger) as seen:
        writer = LabelsStore.open(path)
        assert not writer.read_only
        writer.commit(PLANE, np.roll(SQUARE, 10, axis=0))
        assert [info.label for info in seen.objects()] == [1]
        writer.close()
    reader.close()


def test_labels_without_a_ledger_have_one_in_memory(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "plain.zarr", data=SQUARE.astype(np.uint8))
    store = LabelsStore.open(tmp_path / "plain.zarr", read_only=True)
    with snapshot(store.ledger) as seen:
        assert [info.label for info in seen.objects()] == [1]


def test_a_damaged_ledger_is_named_with_what_to_do(path: Path) -> None:
    store = LabelsStore.open(path, read_only=True)
    damage(path / LEDGER)
    with (
        pytest.raises(LabelsError, match=r"ledger\.sqlite is damaged .*; restore it from a copy"),
        snapshot(store.ledger),
    ):
        pass
    store.close()


def test_a_ledger_that_is_gone_is_no_damage(path: Path) -> None:
    store = LabelsStore.open(path, read_only=True)
    (path / LEDGER).unlink()
    with pytest.raises(LabelsError, match="see that the file is there"), snapshot(store.ledger):
        pass
    store.close()


def damage(ledger: Path) -> None:
    """Overwrite all but the first pages, which say what tables there are."""
    content = bytearray(ledger.read_bytes())
    content[4096 * 8 :] = b"\xff" * (len(content) - 4096 * 8)
    ledger.write_bytes(content)
