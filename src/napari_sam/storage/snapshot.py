"""The ledger as it was at one moment, to be read for as long as it takes while others go on writing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from napari_sam.storage.errors import explained
from napari_sam.storage.ledger import Ledger
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
    with explained(ledger.path):
        seen = Ledger.open(ledger.path, read_only=True)
        try:
            seen.hold()
        except BaseException:
            seen.close()
            raise
    try:
        with explained(ledger.path):
            yield seen
    finally:
        seen.close()
