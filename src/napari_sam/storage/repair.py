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
from napari_sam.storage.volumes import chunk_file, chunks_under, written_regions


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


def _expected(array: zarr.Array[Any], ledger: Ledger) -> Iterator[Region]:
    """Give all parts of the volume that hold anything: on disk, or by the ledger."""
    yield from written_regions(array)
    for position in ledger.positions():
        for runs in ledger.masks_at(position).values():
            yield (*(slice(x, x + 1) for x in position), *runs.index)
