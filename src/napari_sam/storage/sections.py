"""Views across the planes of the labels: a line of each of many chunks, which are kept small in memory.

zarr decodes a whole chunk for one line of it, and takes a while for one that is not even there: seconds for
every step of the slider, in a view across a stack of thousands of planes.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore

from napari_sam.region import Region
from napari_sam.storage.errors import UNREADABLE
from napari_sam.storage.recorded import expanded
from napari_sam.storage.volumes import chunk_region, numbers_under, written_chunks

# What takes more chunks than this, and of their pixels no more than this share, is read as a section.
_FEW_CHUNKS, _SHARE = 8, 1 / 16
# Between two chunks that are read ahead others may run for so long, in seconds: a window is drawn meanwhile.
_BREATH = 1e-3

# Start and stop along every axis.
_Bounds = tuple[tuple[int, int], ...]
# What another content of a chunk's file changes: zarr writes each into a file of its own.
_Stamp = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class _Runs:
    """A chunk as runs of equal pixels in C order: where each begins, and its label."""

    shape: tuple[int, ...]
    starts: NDArray[np.int32]
    labels: NDArray[np.integer[Any]]

    @classmethod
    def of(cls, chunk: NDArray[np.integer[Any]]) -> _Runs:
        flat = chunk.reshape(-1)
        starts = np.append(0, np.flatnonzero(flat[1:] != flat[:-1]) + 1)
        return cls(chunk.shape, starts.astype(np.int32), flat[starts])

    def at(self, places: NDArray[np.int32]) -> NDArray[np.integer[Any]]:
        """Give the pixels at places in C order."""
        return self.labels[np.searchsorted(self.starts, places, side="right") - 1]

    @property
    def nbytes(self) -> int:
        return self.starts.nbytes + self.labels.nbytes


class Sections:
    """An array of labels that is fast to look at across its chunks; safe in any thread.

    What is kept of a chunk holds as long as its file is the same, whoever writes it.

    Parameters
    ----------
    array
        The labels.
    most_bytes
        How much is kept; what was not used for longest goes first.
    """

    def __init__(self, array: zarr.Array[Any], most_bytes: int = 2**28) -> None:
        self._array = array
        store = array.store
        self._folder: str | None = None
        if isinstance(store, LocalStore) and array.shards is None:
            self._folder = str(store.root / array.path)
        self._key_of = array.metadata.encode_chunk_key
        self._most_bytes = most_bytes
        self._used = 0
        self._kept: OrderedDict[tuple[int, ...], tuple[_Stamp, _Runs]] = OrderedDict()
        self._lock = threading.Lock()

    def __getitem__(self, key: Any, /) -> Any:
        entries = expanded(key, self._array.ndim)
        bounds = None if self._folder is None else _bounds(entries, self._array.shape)
        if bounds is None or not (self._is_section(bounds) or self._is_blank(bounds)):
            return self._array[key]
        found = np.full([stop - start for start, stop in bounds], self._array.fill_value, self._array.dtype)
        places: dict[tuple[_Bounds, tuple[int, ...]], NDArray[np.int32]] = {}
        with self._lock:
            for chunk, inside, there in _chunks_in(bounds, self._array.chunks):
                if (runs := self._runs(chunk)) is None:
                    continue
                shape = runs.shape
                if (wanted := places.get((inside, shape))) is None:
                    grid = np.ix_(*(np.arange(start, stop) for start, stop in inside))
                    wanted = places[inside, shape] = np.ravel_multi_index(grid, shape).astype(np.int32)
                found[there] = runs.at(wanted)
        return found[tuple(slice(None) if isinstance(entry, slice) else 0 for entry in entries)]

    def read_ahead(
        self, regions: Iterable[Region] | None = None, check: Callable[[], object] = lambda: None
    ) -> None:
        """Keep chunks before anyone looks at them, unhurried, so that the first look is as fast as the next.

        It ends where half of what may be kept is, and leaves out chunks that cannot be read.

        Parameters
        ----------
        regions
            Where to read; all that was ever written, if left out.
        check
            Called before each chunk; what it raises ends the call.
        """
        if self._folder is None:
            return
        # One by one as they are found: to hold all of many would cost the window a long garbage collection.
        array = self._array
        for chunk in written_chunks(array) if regions is None else numbers_under(array, regions):
            check()
            with self._lock:
                if 2 * self._used > self._most_bytes:
                    return
                with suppress(*UNREADABLE):
                    self._runs(chunk)
            time.sleep(_BREATH)

    def _is_section(self, bounds: _Bounds) -> bool:
        """Whether so many chunks give a few pixels each."""
        chunks = self._array.chunks
        crossed = np.prod(
            [(stop - 1) // c - start // c + 1 for (start, stop), c in zip(bounds, chunks, strict=True)]
        )
        pixels = np.prod([stop - start for start, stop in bounds])
        return bool(crossed > _FEW_CHUNKS and pixels <= _SHARE * crossed * np.prod(chunks))

    def _is_blank(self, bounds: _Bounds) -> bool:
        """Whether so few chunks are crossed that it is soon known, and there is none of them."""
        crossed = list(islice(_chunks_in(bounds, self._array.chunks), _FEW_CHUNKS + 1))
        return len(crossed) <= _FEW_CHUNKS and all(self._stamp(chunk) is None for chunk, _, _ in crossed)

    def _stamp(self, chunk: tuple[int, ...]) -> _Stamp | None:
        """Give the stamp of a chunk's file; None where it has none."""
        try:
            # Thousands of times: a `Path` would take three times as long.
            file = os.stat(f"{self._folder}/{self._key_of(chunk)}")  # noqa: PTH116
        except FileNotFoundError:
            return None
        return file.st_ino, file.st_mtime_ns, file.st_size

    def _runs(self, chunk: tuple[int, ...]) -> _Runs | None:
        """Give what is kept of a chunk, read again if its file is another one; None where it has none."""
        if (stamp := self._stamp(chunk)) is None:
            return None
        kept = self._kept.get(chunk)
        if kept is not None:
            if kept[0] == stamp:
                self._kept.move_to_end(chunk)
                return kept[1]
            self._used -= self._kept.pop(chunk)[1].nbytes
        runs = _Runs.of(np.asarray(self._array[chunk_region(chunk, self._array.chunks, self._array.shape)]))
        self._kept[chunk] = (stamp, runs)
        self._used += runs.nbytes
        while self._used > self._most_bytes and len(self._kept) > 1:
            self._used -= self._kept.popitem(last=False)[1][1].nbytes
        return runs


def _bounds(entries: Sequence[Any], shape: Sequence[int]) -> _Bounds | None:
    """Give what whole numbers and plain slices select; None for any other index, or nothing."""
    if not all(isinstance(x, int | np.integer | slice) and not isinstance(x, bool) for x in entries):
        return None
    bounds = []
    for entry, length in zip(entries, shape, strict=True):
        if isinstance(entry, slice):
            start, stop, step = entry.indices(length)
        else:
            start, step = int(entry) + length * (entry < 0), 1
            stop = start + 1
        if step != 1 or not 0 <= start < stop <= length:
            return None
        bounds.append((start, stop))
    return tuple(bounds)


def _chunks_in(
    bounds: _Bounds, chunks: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], _Bounds, tuple[slice, ...]]]:
    """Give each chunk that is crossed: its number, what of it is inside, and where that lies."""
    along = []
    for (start, stop), c in zip(bounds, chunks, strict=True):
        parts = []
        for number in range(start // c, (stop - 1) // c + 1):
            low, high = max(start, number * c), min(stop, (number + 1) * c)
            parts.append((number, (low - number * c, high - number * c), slice(low - start, high - start)))
        along.append(parts)
    for crossed in product(*along):
        numbers, inside, there = zip(*crossed, strict=True)
        yield numbers, inside, there
