"""Files are forced to the disk: what the system only holds in memory is lost when the power goes."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# A disk takes as long for one file as for many that wait for it together.
_AT_ONCE = 16
# For so few it takes longer to begin threads.
_FEW = 4
_IS_WINDOWS = os.name == "nt"
# Some file systems of networks force no folders.
_NOT_FOR_FOLDERS = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}


def force(places: Collection[Path]) -> None:
    """Return when files, and the names in folders, are on the disk itself; those that are gone need nothing.

    Raises
    ------
    OSError
        If the disk refuses one of them.
    """
    if len(places) > _FEW:
        try:
            with ThreadPoolExecutor(min(len(places), _AT_ONCE)) as threads:
                for _ in threads.map(_force_one, places):
                    pass
        except RuntimeError:  # Python is ending, and begins no threads any more
            pass
        else:
            return
    for place in places:
        _force_one(place)


def force_tree(folder: Path) -> None:
    """Force a folder and all that is in it."""
    force([folder, *folder.rglob("*")])


def _force_one(place: Path) -> None:
    is_folder = place.is_dir()
    if is_folder and _IS_WINDOWS:  # it opens none
        return
    try:
        opened = os.open(place, os.O_RDWR if _IS_WINDOWS else os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if not is_folder or error.errno not in _NOT_FOR_FOLDERS:
            raise
    finally:
        os.close(opened)
