"""What a labels store finds in its folder: the array, its metadata, and the ledger."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zarr

from napari_sam.storage.forcing import force
from napari_sam.storage.ledger import Ledger
from napari_sam.storage.ome import finest_level, is_intensities
from napari_sam.storage.volumes import UNREADABLE, objects_in, written_regions

LEDGER = "ledger.sqlite"

# What SQLite says where the folder cannot be written, and wherever the ledger itself is not to blame.
_UNWRITABLE = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY})
_PASSING = _UNWRITABLE | {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
}
# A value that no row takes, or a ledger that was closed: the caller is to blame.
MISUSES = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError)


class LabelsError(ValueError):
    """A labels store that cannot be used with the image, or not be written; the message says why."""


def open_array(path: Path, shape: Sequence[int] | None) -> zarr.Array[Any]:
    """Open the array of labels at, or in, a folder, and check that it is one."""
    wrong = f"{path} is no labels store, or not a whole one; choose another folder or a new name."
    try:
        node = zarr.open(path, mode="r+")
        attributes = node.attrs.asdict()
    except UNREADABLE as error:
        raise LabelsError(wrong) from error
    if is_intensities(attributes):
        raise LabelsError(f"{path} is an OME-Zarr image, not labels; choose a labels store or a new name.")
    try:
        level = finest_level(attributes)
        array = node[level] if isinstance(node, zarr.Group) and level in node else node
    except (*UNREADABLE, IndexError) as error:
        raise LabelsError(wrong) from error
    if not isinstance(array, zarr.Array) or array.dtype.kind not in "iu":
        raise LabelsError(f"{path} holds no integer array '{level}'; choose a labels store or a new name.")
    if shape is not None and array.shape != tuple(shape):
        raise LabelsError(
            f"The labels at {path} have shape {array.shape}, the image {tuple(shape)}; "
            "choose the store that belongs to this image, or a new name."
        )
    return array


def open_ledger(path: Path, array: zarr.Array[Any], read_only: bool) -> Ledger:
    """Open the ledger of a store; one that has none yet gets it, with the objects that are there."""
    if (path / LEDGER).exists():
        return Ledger.open(path / LEDGER, read_only)
    if read_only:
        ledger = Ledger.in_memory()
        ledger.take_up(objects_in(array, written_regions(array)))
        return ledger
    partial = path / f"{LEDGER}.partial"  # whole or not at all
    partial.unlink(missing_ok=True)
    ledger = Ledger.create(partial)
    try:
        ledger.take_up(objects_in(array, written_regions(array)))
    finally:
        ledger.close()
    partial.rename(path / LEDGER)
    force([path])
    return Ledger.open(path / LEDGER)


@contextmanager
def explained(ledger: Path) -> Iterator[None]:
    """Say what is to be done about a ledger that cannot be read.

    Raises
    ------
    LabelsError
        In the place of any error of SQLite but one of the caller's.
    """
    try:
        yield
    except MISUSES:
        raise
    except sqlite3.Error as error:
        raise LabelsError(what_to_do(ledger, error)) from error


def is_damage(error: Exception) -> bool:
    """Whether SQLite found the ledger itself damaged or emptied, and not locked, gone, or without room."""
    return isinstance(error, sqlite3.Error) and _code(error) not in _PASSING


def what_to_do(ledger: Path, error: Exception) -> str:
    """Say what is to be done about a ledger that SQLite cannot read."""
    if is_damage(error):
        return (
            f"The ledger {ledger} is damaged ({error}); restore it from a copy, or move it away to go "
            "on with the labels alone, without prompts and history."
        )
    if _code(error) in _UNWRITABLE and ledger.with_name(f"{ledger.name}-wal").exists():
        # Its last steps are in the log, which SQLite reads only with a file of its own beside it.
        return (
            f"The ledger {ledger} was not closed and cannot be read where it is ({error}); copy the folder "
            f"{ledger.parent} to a disk that can be written, and open it there."
        )
    return (
        f"The ledger {ledger} cannot be read now ({error}); see that the file is there and the disk "
        "is not full, and try again."
    )


def _code(error: Exception) -> int:
    """Give SQLite's own code of an error, without what it says of its circumstances."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def is_taken(path: Path) -> bool:
    """Whether there is anything at ``path`` but an empty folder."""
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def attributes_above(path: Path, array: zarr.Array[Any]) -> dict[str, Any]:
    """Read the metadata of the group that holds the array, or of the array itself."""
    if array.path:
        return zarr.open_group(path, mode="r").attrs.asdict()
    return array.attrs.asdict()


def reason_of(error: Exception) -> str:
    """Give the shortest words for what went wrong."""
    return str(getattr(error, "strerror", None) or error)
