"""What is made aside is moved to its name in one step."""

from __future__ import annotations

import errno
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from napari_sam.storage.aside import clear_up, folder_aside, write_whole
from napari_sam.storage.errors import LabelsError


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_nothing_has_the_name_before_all_is_there(tmp_path: Path) -> None:
    path = tmp_path / "labels.zarr"
    with folder_aside(path) as folder:
        (folder / "first").touch()
        assert not path.exists()
        (folder / "second").touch()
    assert names(tmp_path) == ["labels.zarr"] and names(path) == ["first", "second"]


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with folder_aside(tmp_path / "labels.zarr") as folder:
            (folder / "first").touch()
            raise KeyError("first")

    with pytest.raises(KeyError):
        fail()
    assert names(tmp_path) == []


def test_what_the_system_says_of_other_files_passes(tmp_path: Path) -> None:
    def fail() -> None:
        with folder_aside(tmp_path / "labels.zarr"):
            raise FileNotFoundError("the image")

    with pytest.raises(FileNotFoundError, match="the image"):
        fail()


def test_two_threads_have_a_folder_each(tmp_path: Path) -> None:
    path = tmp_path / "labels.zarr"
    both = threading.Barrier(2, timeout=60)
    folders: set[Path] = set()

    def make() -> None:
        with folder_aside(path) as folder:
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
        with folder_aside(path) as folder:
            (folder / "mine").touch()
            path.mkdir()
            (path / "theirs").touch()  # of another process

    with pytest.raises(LabelsError, match="cannot be stored"):
        make()
    assert names(tmp_path) == ["labels.zarr"] and names(path) == ["theirs"]


def test_what_takes_longer_than_a_day_is_not_removed(tmp_path: Path) -> None:
    """Chunks are written far below the folder, whose own time stands still."""
    with folder_aside(tmp_path / "labels.zarr") as folder:
        (folder / "0" / "c").mkdir(parents=True)
        (folder / "0" / "c" / "7").touch()
        for old in (folder / "0" / "c", folder / "0", folder):
            os.utime(old, (0, 0))
        clear_up(tmp_path / "labels.zarr")
        assert (folder / "0" / "c" / "7").exists()


def test_what_a_killed_process_left_a_day_ago_is_removed(tmp_path: Path) -> None:
    old, new, other = (tmp_path / f".{x}.partial" for x in ("labels.zarr.1", "labels.zarr.2", "b.zarr.1"))
    for folder in (old, new, other):
        folder.mkdir()
    long_ago = time.time() - 2 * 24 * 3600
    for folder in (old, other):
        os.utime(folder, (long_ago, long_ago))
    with folder_aside(tmp_path / "labels.zarr"):
        pass
    assert names(tmp_path) == [".b.zarr.1.partial", ".labels.zarr.2.partial", "labels.zarr"]


def test_what_cannot_be_written_leaves_the_one_before_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image.json"
    write_whole(path, b"before")
    write = Path.write_bytes

    def fill(partial: Path, content: bytes) -> int:
        write(partial, content[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"after")
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_of_several_that_write_the_last_one_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "image.json"
    contents = [bytes([number]) * 100_000 for number in range(8)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda content: write_whole(path, content), contents))
    assert path.read_bytes() in contents and list(tmp_path.iterdir()) == [path]
