"""What is written comes into being in one step: a crash leaves no half of it under its name."""

from __future__ import annotations

import glob
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_sam.storage.errors import LabelsError, reason_of
from napari_sam.storage.forcing import force, force_tree

# What a killed process left behind is removed when it is older than this, in seconds.
_LEFT_BEHIND_S = 24 * 3600
# How often it is tried to remove a folder, and how long after each other.
_TRIES, _BETWEEN_S = 5, 0.1


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """Give a hidden folder to fill, and move it to ``path`` at the end; each call has its own.

    What is raised while it is filled passes; see `stored_at`.

    Raises
    ------
    LabelsError
        If there is something at ``path`` already, or it cannot be written.
    """
    partial = aside(path)
    try:
        with stored_at(path):
            if is_taken(path):
                raise LabelsError(f"{path} exists already; open it, or choose another name.")
            clear_up(path)
            partial.mkdir(parents=True)
        yield partial
        with stored_at(path):
            force_tree(partial)
            if path.exists():
                path.rmdir()  # it is empty: a file dialog made it
            partial.rename(path)
            force([path.parent])
    finally:
        remove(partial)


@contextmanager
def file_aside(path: Path) -> Iterator[Path]:
    """Give a hidden name to write a file to, and move it to ``path`` at the end; what was there is replaced.

    A folder may be written as well, where there is none yet. Several threads and processes may write the same
    one: each has a name of its own, and the last stays.

    Raises
    ------
    OSError
        If it cannot be written; what was there before stays then.
    """
    partial = aside(path)
    try:
        yield partial
        partial.replace(path)
    finally:
        remove(partial)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, or replace it; see `file_aside`."""
    with file_aside(path) as partial:
        partial.write_bytes(content)


@contextmanager
def stored_at(path: Path) -> Iterator[None]:
    """Raise a `LabelsError` that says what to do where the disk refuses what is written for ``path``."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise LabelsError(
            f"The labels cannot be stored at {path} ({reason_of(error)}); choose another folder."
        ) from error


def is_taken(path: Path) -> bool:
    """Whether there is anything at ``path`` but an empty folder."""
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def aside(path: Path) -> Path:
    """Give a hidden name beside ``path``, another one at each call, for what is not whole yet."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def clear_up(path: Path) -> None:
    """Remove what processes left behind that were killed while they made this file or folder."""
    with suppress(OSError):
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
            if time.time() - _last_written(left) > _LEFT_BEHIND_S:
                remove(left)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, if it is there, as far as the disk lets it go."""
    with suppress(OSError):  # what kept it from being written may keep it from being removed
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
        for _ in range(_TRIES):
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                return
            time.sleep(_BETWEEN_S)  # what was interrupted may still write into it, from a thread of its own


def _last_written(path: Path) -> float:
    """Tell when anything in it was written: what takes days changes files far below the folder itself."""
    return max(x.stat().st_mtime for x in (path, *path.rglob("*")))
