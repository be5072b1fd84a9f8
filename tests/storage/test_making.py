"""A store is made aside and moved to its name in one step."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from napari_sam.storage.making import made_aside
from napari_sam.storage.opening import LabelsError


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_nothing_has_the_name_before_all_is_there(tmp_path: Path) -> None:
    path = tmp_path / "labels.zarr"
    with made_aside(path) as folder:
        (folder / "first").touch()
        assert not path.exists()
        (folder / "second").touch()
    assert names(tmp_path) == ["labels.zarr"] and names(path) == ["first", "second"]


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with made_aside(tmp_path / "labels.zarr") as folder:
            (folder / "first").touch()
            raise KeyError("first")

    with pytest.raises(KeyError):
        fail()
    assert names(tmp_path) == []


def test_what_the_system_says_of_other_files_passes(tmp_path: Path) -> None:
    def fail() -> None:
        with made_aside(tmp_path / "labels.zarr"):
            raise FileNotFoundError("the image")

    with pytest.raises(FileNotFoundError, match="the image"):
        fail()


def test_two_threads_have_a_folder_each(tmp_path: Path) -> None:
    path = tmp_path / "labels.zarr"
    both = threading.Barrier(2, timeout=60)
    folders: set[Path] = set()

    def make() -> None:
        with made_aside(path) as folder:
            folders.add(folder)
            (folder / "mine").touch()
            both.wait()

    with ThreadPoolExecutor(2) as pool:
        one, other = (pool.submit(make) for _ in range(2))
    refused = [x.exception() for x in (one, other) if x.exception()]
    assert len(folders) == 2
    assert len(refused) == 1 and isinstance(refused[0], LabelsError)
    assert names(tmp_path) == ["labels.zarr"] and names(path) == ["mine"]


def test_the_slower_of_two_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.zarr"

    def make() -> None:
        with made_aside(path) as folder:
            (folder / "mine").touch()
            path.mkdir()
            (path / "theirs").touch()  # of another process

    with pytest.raises(LabelsError, match="cannot be stored"):
        make()
    assert names(tmp_path) == ["labels.zarr"] and names(path) == ["theirs"]


def test_what_a_killed_process_left_a_day_ago_is_removed(tmp_path: Path) -> None:
    old, new, other = (tmp_path / f".{x}.partial" for x in ("labels.zarr.1", "labels.zarr.2", "b.zarr.1"))
    for folder in (old, new, other):
        folder.mkdir()
    long_ago = time.time() - 2 * 24 * 3600
    for folder in (old, other):
        os.utime(folder, (long_ago, long_ago))
    with made_aside(tmp_path / "labels.zarr"):
        pass
    assert names(tmp_path) == [".b.zarr.1.partial", ".labels.zarr.2.partial", "labels.zarr"]
