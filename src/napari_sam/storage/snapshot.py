"""The ledger as it was at one moment, to be read for as long as it takes while others go on writing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from napari_sam.storage.ledger import Ledger
from napari_sam.storage.opening import LabelsError
from napari_sam.storage.view import LedgerView


@contextmanager
def snapshot(ledger: Ledger) -> Iterator[LedgerView]:
    """Give what the ledger says now, through a connection of its own.

    The pixels on the disk may be newer than it, or become so.

    Raises
    ------
    LabelsError
        If it cannot be read.
    """
    if ledger.path is None:  # of labels without a ledger, opened for reading: nobody writes into it
        yield ledger
        return
    try:
        seen = Ledger.open(ledger.path, read_only=True)
        try:
            seen.hold()
        except BaseException:
            seen.close()
            raise
    except sqlite3.OperationalError as error:  # no damage: it is locked, gone, or there is no room
        raise LabelsError(
            f"The ledger {ledger.path} cannot be read now ({error}); see that the file is there and the disk "
            "is not full, and try again."
        ) from error
    except sqlite3.Error as error:
        raise LabelsError(
            f"The ledger {ledger.path} is damaged ({error}); restore it from a copy, or move it away to go "
            "on with the labels alone, without prompts and history."
        ) from error
    try:
        yield seen
    finally:
        seen.close()
