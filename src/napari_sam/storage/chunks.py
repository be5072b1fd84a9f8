"""The chunks of a store's labels: read, written one by one, and forced to the disk together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from napari_sam.region import Region
from napari_sam.storage.changes import Change, Labels
from napari_sam.storage.errors import UNREADABLE, LabelsError, legible
from napari_sam.storage.forcing import force
from napari_sam.storage.volumes import array_folder, chunk_file, chunks_under


class Chunks:
    """Write changes into an array, and remember which files that left in the system's memory.

    Parameters
    ----------
    path
        The folder of the store, for messages.
    array
        Its labels.
    """

    def __init__(self, path: Path, array: zarr.Array[Any]) -> None:
        self._path = path
        self._array = array
        self._folder = array_folder(array)
        self._unforced: dict[Path, None] = {}  # a set that keeps its order
        self._forced_folders: set[Path] = set()

    def block(self, region: Region) -> Labels:
        """Read a block.

        Raises
        ------
        LabelsError
            If its chunks are damaged.
        """
        with legible(self._path):
            return np.asarray(self._array[region])

    def put(self, region: Region, block: Labels) -> None:
        """Write a block chunk by chunk: of several at once zarr writes some even after one has failed."""
        for part in self._parts(Change(region, block, block)):
            self.touch(part.region)
            self._array[part.region] = part.after

    def apply(self, changes: Iterable[Change], forward: bool = True) -> None:
        """Write the pixels of changes; or those that were there before them, the last change first."""
        for change in changes:
            now = self.block(change.region)
            then = change.apply(now, forward)
            if not np.array_equal(now, then):
                self.put(change.region, then)

    def revert(self, changes: Sequence[Change], forward: bool) -> None:
        """Give the chunks that could be written what was in them; each by itself, since one is in the way.

        Raises
        ------
        OSError
            If one of them cannot be; the others were.
        """
        refused: Exception | None = None
        for part in self._all_parts(changes, forward):
            try:
                self.apply([part], forward)
            except LabelsError:  # it cannot be read, so it was not written either
                continue
            except UNREADABLE as error:
                refused = error
        if refused is not None:
            raise refused

    def finish(self, changes: Sequence[Change], forward: bool) -> list[Region]:
        """Apply changes as far as their chunks can be read, and give those that cannot."""
        torn: dict[tuple[int, ...], Region] = {}
        for part in self._all_parts(changes, forward):
            (chunk,) = chunks_under(self._array, [part.region])
            # Also what was written by a process that ended before it could force it.
            self.touch(chunk)
            try:
                self.apply([part], forward)
            except LabelsError:
                torn[tuple(x.start for x in chunk)] = chunk
        return list(torn.values())

    def touch(self, chunk: Region) -> None:
        """Note that the file of a chunk is to be forced."""
        if self._folder is not None and (file := chunk_file(self._array, chunk)) is not None:
            self._unforced[file] = None

    def force(self) -> None:
        """Bring what was written to the disk itself.

        Raises
        ------
        OSError
            If the disk refuses; the next call tries again.
        """
        folders: dict[Path, None] = {}
        for file in self._unforced:
            folder = file.parent
            folders[folder] = None  # it has the name of a file that was replaced
            while folder != self._folder and folder not in self._forced_folders:
                folder = folder.parent  # it may have the name of a folder that was made
                folders[folder] = None
        force([*self._unforced, *folders])
        self._forced_folders |= {x for x in folders if x.is_dir()}
        self._unforced.clear()

    def _parts(self, change: Change) -> Iterator[Change]:
        """Give the part of a change that lies in each chunk."""
        for chunk in chunks_under(self._array, [change.region]):
            yield change.part(chunk)

    def _all_parts(self, changes: Sequence[Change], forward: bool) -> Iterator[Change]:
        for change in changes if forward else reversed(changes):
            yield from self._parts(change)
