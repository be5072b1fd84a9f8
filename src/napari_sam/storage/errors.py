"""What goes wrong with files and ledgers, and what the user is told of it."""

from __future__ import annotations

import lzma
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What zarr, NumPy and tifffile raise where files are missing, damaged, or of another kind. The decoders of a
# TIFF raise RuntimeError, or the errors of zlib and lzma as they are.
UNREADABLE = (
    *(OSError, ValueError, RuntimeError, KeyError, IndexError, TypeError, AttributeError, EOFError),
    *(struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
)
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


@contextmanager
def legible(path: Path, errors: tuple[type[Exception], ...] = UNREADABLE) -> Iterator[None]:
    """Say what is to be done where chunks of the store at ``path`` cannot be read.

    Raises
    ------
    LabelsError
        In the place of ``errors``, by default any that damage may cause.
    """
    try:
        yield
    except errors as error:
        raise LabelsError(
            f"A part of the labels at {path} is damaged ({reason_of(error)}); restore it from the ledger "
            f'with: napari-sam repair "{path}"'
        ) from error


def reason_of(error: Exception) -> str:
    """Give the shortest words for what went wrong."""
    return str(getattr(error, "strerror", None) or error)
