"""A file is there as a whole, or as it was before."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from napari_sam.storage.whole_files import write_whole


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
