"""Categories as a volume: each pixel the number of its object's category, worked out where it is read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.storage.labels import LabelsStore
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
        numbers = {category.name: category.number for category in self._ledger.categories()}
        names = self._ledger.categories_of(found.tolist())
        table = np.array([numbers.get(names.get(label, ""), 0) for label in found.tolist()], self.dtype)
        classes: NDArray[np.uint16] = table[at].reshape(labels.shape)
        return classes

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)
