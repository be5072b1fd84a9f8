"""A process was killed between the ledger and the pixels: who only reads finds the step whole, or is told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_sam.cli import main
from napari_sam.plane import Plane
from napari_sam.storage.changes import Labels
from napari_sam.storage.chunks import Chunks
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.volumes import Region

SHAPE = (2, 30, 40)
SQUARE = np.zeros(SHAPE[1:], bool)
SQUARE[5:15, 10:20] = True


class Killed(BaseException):
    """The end of a process."""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose second commit is in the ledger, and not in the array."""
    store = LabelsStore.create(tmp_path / "live.zarr", SHAPE, "zyx")
    store.commit(Plane((1, 2), (0, 0, 0)), SQUARE)

    def kill(self: Chunks, region: Region, block: Labels) -> None:
        shutil.copytree(store.path, tmp_path / "killed.zarr")
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Chunks, "put", kill)
        with pytest.raises(Killed):
            store.commit(Plane((1, 2), (1, 0, 0)), SQUARE)
    return tmp_path / "killed.zarr"


def labels_in(path: Path) -> Sequence[int]:
    found: list[int] = np.unique(tifffile.imread(path)).tolist()
    return found


def test_an_export_has_all_that_was_committed(path: Path, tmp_path: Path) -> None:
    assert main(["export", str(path), str(tmp_path / "cells.tif")]) == 0
    assert labels_in(tmp_path / "cells.tif") == [0, 1, 2]


def test_where_it_cannot_be_finished_that_is_told(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LabelsStore, "finish_pending", lambda _: None)  # as in a folder that nobody may write
    assert main(["export", str(path), str(tmp_path / "cells.tif")]) == 0
    assert "is not finished, and some of its pixels may be missing" in capsys.readouterr().err
    assert labels_in(tmp_path / "cells.tif") == [0, 1, 2]  # as the ledger has it


def test_the_current_folder_is_a_store_like_any_other(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path)
    assert main(["export", ".", os.fspath(tmp_path / "cells.json")]) == 0
    assert '"killed_z000.tif"' in (tmp_path / "cells.json").read_text()
    store = LabelsStore.open(".", read_only=True)
    assert store.path == path
    store.close()
