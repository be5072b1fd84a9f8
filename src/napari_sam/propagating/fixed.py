"""On which planes an object stays as it is: where it was made, or changed, by anybody but a propagation."""

from __future__ import annotations

import numpy as np

from napari_sam.plane import Plane
from napari_sam.storage.labels import LabelsStore


class FixedPlanes:
    """Know what earlier propagations have given an object, and whether that is still what it has.

    Parameters
    ----------
    store, label
        The object.
    """

    def __init__(self, store: LabelsStore, label: int) -> None:
        self._store, self._label = store, label
        self._given = store.ledger.made_by("propagated", label)

    def was_given(self, plane: Plane) -> bool:
        """Whether an earlier propagation has given the object a mask on a plane."""
        return plane in self._given

    def has(self, plane: Plane) -> bool:
        """Whether the object is fixed on a plane.

        It is where it has pixels that no propagation gave it, or where somebody has erased some that one did.
        Those that other objects took say nothing.
        """
        own, given = self._store.mask_of(plane, self._label), self._given.get(plane)
        if given is None:
            return own is not None
        there = plane.from_block(self._store.block(plane.region(*given.index)))[given.mask()]
        has_more = own is not None and own.area > np.count_nonzero(there == self._label)
        return bool(has_more or not there.all())
