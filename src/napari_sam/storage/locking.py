"""One writer at a time: a lock of the operating system that ends with its process, however that ends."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from napari_sam.storage.errors import reason_of

_NAME = "ledger.lock"


class NotWritable(Exception):
    """Why a store can be read only."""


def take_lock(folder: Path) -> FileLock:
    """Take the lock of a store, for this object alone: a second one in the same process is refused as well.

    Raises
    ------
    NotWritable
        If somebody else has it, or the folder cannot be written.
    """
    # Made in a thread that loads, given back in the window's.
    lock = FileLock(folder / _NAME, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise NotWritable(
            "they are open in another window or program; close it there, then start anew"
        ) from error
    except (OSError, NotImplementedError) as error:
        raise NotWritable(
            f"the folder cannot be written ({reason_of(error)}); make it writable, or copy it"
        ) from error
    return lock
