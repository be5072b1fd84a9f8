"""Categories as a volume: each pixel the number of its object's category, worked out where it is read."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.storage.errors import explained
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ledger import Ledger
from napari_sam.storage.recorded import OnStore
from napari_sam.storage.view import LedgerView


class CategoryLabels(OnStore):
    """The numbers of the objects' categories as an array of the image's shape, 0 for none.

    It holds no pixels of its own: what is read is what the labels and the categories are at that moment. It
    takes what zarr arrays take as an index, and cannot be written to.

    Parameters
    ----------
    store
        The labels.
    ledger
        Where the categories are read; the store's own, if left out. Labels that it does not know have none.
    """

    dtype = np.dtype(np.uint16)

    def __init__(self, store: LabelsStore, ledger: LedgerView | None = None) -> None:
        super().__init__(store)
        self._ledger = ledger or store.ledger

    def __getitem__(self, key: Any, /) -> NDArray[np.uint16]:
        labels = np.asarray(self.store.labels[key])
        found, at = np.unique(labels, return_inverse=True)
        table = np.array(self._numbers_of(found.tolist()), self.dtype)
        classes: NDArray[np.uint16] = table[at].reshape(labels.shape)
        return classes

    def _numbers_of(self, labels: Sequence[int]) -> list[int]:
        """Give the numbers of the categories of some labels."""
        try:
            return _numbers(self._ledger, labels)
        except sqlite3.ProgrammingError:
            path = self.store.ledger.path
            if path is None:
                raise
        # The session has ended, and closed its ledger; a layer of the categories may still be there.
        with explained(path), closing(Ledger.open(path, read_only=True)) as ledger:
            return _numbers(ledger, labels)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)


def _numbers(ledger: LedgerView, labels: Sequence[int]) -> list[int]:
    numbers = {category.name: category.number for category in ledger.categories()}
    names = ledger.categories_of(labels)
    return [numbers.get(names.get(label, ""), 0) for label in labels]
