"""The labels as an array that can be written to, with every write in the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.storage.errors import legible

if TYPE_CHECKING:
    from napari_sam.storage.labels import LabelsStore


class OnStore:
    """What arrays tell of their size, for one that has the shape of a store's labels."""

    def __init__(self, store: LabelsStore) -> None:
        self.store = store

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis."""
        return tuple(self.store.array.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> NDArray[Any]:
        """Give what is here now as an array in memory, which knows no store; napari duplicates a layer so.

        It reads every pixel: of 1000 planes of 1000 x 1000 the labels, of 32 bits, take 4 GB.
        """
        return np.asarray(self)


class RecordedLabels(OnStore):
    """The labels of a store, read from the disk and written through its ledger.

    It is read by what zarr arrays take as an index, and written to by what numpy's take; napari's brush does
    so. What is written until
    the next other step, or `LabelsStore.end_stroke`, is one step, which undo takes back as a whole.
    """

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the labels."""
        dtype: np.dtype[Any] = np.dtype(self.store.array.dtype)
        return dtype

    def __getitem__(self, key: Any, /) -> Any:
        # No others: a key may be to blame for these.
        with legible(self.store.path, (OSError, RuntimeError)):
            return self.store.sections[key]

    def __setitem__(self, key: Any, value: Any, /) -> None:
        entries = [_entry(x, n) for x, n in zip(expanded(key, self.ndim), self.shape, strict=True)]
        if any(bounds is None for bounds, _ in entries):
            return  # nothing is selected
        region = tuple(bounds for bounds, _ in entries if bounds is not None)
        self.store.check_painted(value)  # numpy would wrap a negative one to a high label
        with self.store.writing():
            block = self.store.block(region).copy()
            block[tuple(inside for _, inside in entries)] = value
            self.store.paint(region, block)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        with legible(self.store.path):
            whole = np.asarray(self.store.array[...])
        return whole if dtype is None else whole.astype(dtype)


def expanded(key: Any, ndim: int) -> list[Any]:
    """Give one entry of an index for each axis."""
    if isinstance(key, np.ndarray) and key.dtype == bool and key.ndim == ndim:
        return list(np.nonzero(key))
    entries = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis not in [x for x in entries if not isinstance(x, np.ndarray)]:
        entries.append(Ellipsis)
    at = next(i for i, x in enumerate(entries) if x is Ellipsis)
    missing = ndim - (len(entries) - 1)
    if missing < 0:
        raise IndexError(f"The index {key!r} has more entries than the labels' {ndim} axes.")
    return [*entries[:at], *[slice(None)] * missing, *entries[at + 1 :]]


def _entry(entry: Any, length: int) -> tuple[slice | None, Any]:
    """Give the bounds of what an index selects of one axis, None for nothing, and the index within them."""
    if isinstance(entry, slice):
        chosen = range(length)[entry]
        if chosen.step < 0:
            raise IndexError(f"The labels cannot be written backwards, by {entry}; turn the values instead.")
        if not chosen:
            return None, entry
        return slice(chosen[0], chosen[-1] + 1), slice(None, None, chosen.step)
    numbers = np.asarray(entry)
    if numbers.dtype == bool and numbers.shape == (length,):
        numbers = np.flatnonzero(numbers)
    if numbers.size == 0:
        return None, entry
    if numbers.dtype.kind not in "iu":
        raise IndexError(
            f"The labels cannot be indexed by {entry!r}; give whole numbers, slices or a mask of all."
        )
    numbers = np.where(numbers < 0, numbers + length, numbers)
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high >= length:
        raise IndexError(f"The index {entry!r} lies outside an axis of length {length}.")
    inside = numbers - low
    return slice(low, high + 1), inside if inside.ndim else int(inside)
