"""What changes where an object gets a mask: the pixels that it may have, and no others on that plane."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from napari_sam.plane import Plane
from napari_sam.region import Region, around
from napari_sam.runs import MaskRuns
from napari_sam.storage.changes import Change, Claim, Labels

# Reads a block of the labels.
ReadBlock = Callable[[Region], Labels]


def repainted(
    block: ReadBlock,
    plane: Plane,
    mask: MaskRuns,
    label: int,
    own: MaskRuns | None,
    claim: Claim,
) -> Change:
    """Give what changes where an object gets ``mask`` on a plane, instead of what it has there.

    Parameters
    ----------
    block
        See `RecordedVolume.block`.
    plane, mask
        Where, and the pixels.
    label, own
        The object, and its mask on that plane if it has one.
    claim
        What becomes of pixels of other objects.

    Raises
    ------
    ValueError
        If nothing of the mask is left, or the object is to be refined inside itself.
    """
    if claim.inside == label:
        raise ValueError(
            f"The object {label} cannot be refined inside itself; choose another overlap, or leave the label "
            "out to cut a new object out of it."
        )
    window = mask.index if own is None else around(mask.index, own.index)
    region = plane.region(*window)
    there = block(region)
    before = plane.from_block(there)
    wanted = mask.within(window)
    free = _free(before, wanted, claim, label)
    if not free.any():
        raise ValueError(_nothing_left(before, wanted, claim))
    # What it had and has no longer: of a nucleus it is the cell's again, else background.
    after = np.where(before == label, claim.inside or 0, before).astype(before.dtype)
    after[free] = label
    return Change(region, there, plane.to_block(after))


def room_for(
    block: ReadBlock,
    plane: Plane,
    index: tuple[slice, slice],
    mask: NDArray[np.bool_],
    claim: Claim,
    label: int | None = None,
) -> int:
    """Count the pixels of a mask that an object may have on a plane.

    Parameters
    ----------
    block
        See `RecordedVolume.block`.
    plane, index, mask
        Where: the rows and columns, and which of them. Nothing else of the labels is read.
    claim
        What becomes of pixels of other objects.
    label
        The object: what it has there counts; None for a new one.
    """
    there = plane.from_block(block(plane.region(*index)))
    return int(np.count_nonzero(_free(there, mask, claim, label)))


def erased(block: ReadBlock, plane: Plane, label: int, own: MaskRuns) -> Change:
    """Give what changes where an object loses the mask that it has on a plane."""
    region = plane.region(*own.index)
    there = block(region)
    return Change(region, there, np.where(there == label, 0, there).astype(there.dtype))


def _free(before: Labels, mask: NDArray[np.bool_], claim: Claim, label: int | None) -> NDArray[np.bool_]:
    """Give the pixels of a mask that an object may have: what it has already, and what it may claim."""
    own = mask & (before == label) if label is not None else np.zeros_like(mask)
    free: NDArray[np.bool_] = claim.of(before, mask) | own
    return free


def _nothing_left(before: Labels, mask: NDArray[np.bool_], claim: Claim) -> str:
    if claim.overlap == "inside":
        where = f"in the object {claim.inside}"
        return f"No pixel of the mask lies {where}; choose another object, or another overlap."
    return (
        f"The mask covers only what is already annotated (label {before[mask][0]}); "
        "erase that first, or let the new object replace it."
    )
