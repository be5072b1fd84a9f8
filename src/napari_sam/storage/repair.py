"""Chunks that are damaged or lost get their labels back from the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from napari_sam.region import Region
from napari_sam.storage.errors import UNREADABLE
from napari_sam.storage.ledger import Ledger
from napari_sam.storage.view import LedgerView
from napari_sam.storage.volumes import (
    array_folder,
    chunk_file,
    chunk_region,
    chunks_under,
    numbers_under,
    written_chunks,
    written_regions,
)


@dataclass(frozen=True)
class Repair:
    """What a repair found.

    Attributes
    ----------
    checked
        Number of chunks that were looked at.
    restored
        The chunks that were damaged or had lost pixels, which they have again.
    foreign
        Number of pixels with labels that the ledger does not know of; they stay as they are.
    """

    checked: int
    restored: tuple[Region, ...]
    foreign: int


def repair_regions(array: zarr.Array[Any], ledger: Ledger, regions: Sequence[Region] | None = None) -> Repair:
    """Compare chunks with the ledger, and give back what they lack.

    A chunk that cannot be read is written anew. In one that can, background becomes the object that the
    ledger has there; labels that were written past the ledger stay.

    Parameters
    ----------
    array, ledger
        A labels store's.
    regions
        Where to look; every chunk that was ever written, or should have been, if left out.
    """
    chunks = list(chunks_under(array, _expected(array, ledger) if regions is None else regions))
    restored, foreign = [], 0
    for chunk in chunks:
        known = ledger.block(chunk, array.dtype)
        try:
            now = np.asarray(array[chunk])
        except UNREADABLE:
            if (file := chunk_file(array, chunk)) is not None:
                file.unlink(missing_ok=True)  # zarr would read it to fill in what is written
            array[chunk] = known
            restored.append(chunk)
            continue
        lost = (now == 0) & (known != 0)
        foreign += int(np.count_nonzero((now != known) & ~lost))
        if lost.any():
            array[chunk] = np.where(lost, known, now)
            restored.append(chunk)
    return Repair(len(chunks), tuple(restored), foreign)


def lost_chunks(array: zarr.Array[Any], ledger: LedgerView) -> list[Region]:
    """Give the chunks that hold objects, by the ledger, and whose files are gone.

    zarr reads background there. Such is left of a folder that was copied in part.
    """
    if array_folder(array) is None:
        return []
    there = set(written_chunks(array))
    sides = array.shards or array.chunks
    gone = numbers_under(array, ledger.boxes(*sides[-2:])) - there
    chunks = [chunk_region(number, sides, array.shape) for number in sorted(gone)]
    # A box may reach into a chunk of which no pixel is set: that has no file.
    return [chunk for chunk in chunks if ledger.block(chunk, array.dtype).any()]


def _expected(array: zarr.Array[Any], ledger: Ledger) -> Iterator[Region]:
    """Give all parts of the volume that hold anything: on disk, or by the ledger."""
    yield from written_regions(array)
    yield from ledger.boxes(*(array.shards or array.chunks)[-2:])
