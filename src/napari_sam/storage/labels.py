"""The labels of one image: an OME-Zarr array, and the ledger that every write goes through first."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from filelock import FileLock

from napari_sam.axes import check_axes
from napari_sam.plane import Plane
from napari_sam.runs import MaskRuns
from napari_sam.storage.aside import folder_aside, is_taken, stored_at
from napari_sam.storage.changes import Claim, Labels, Overlap
from napari_sam.storage.errors import UNREADABLE, LabelsError, explained, legible, reason_of
from napari_sam.storage.ledger import Ledger
from napari_sam.storage.locking import NotWritable, take_lock
from napari_sam.storage.ome import Geometry, make_group, read_geometry, write_axes
from napari_sam.storage.opening import LEDGER, attributes_above, open_array, open_ledger
from napari_sam.storage.origins import Making, Origin
from napari_sam.storage.painting import repainted
from napari_sam.storage.recorded import RecordedLabels
from napari_sam.storage.records import Draft, Step
from napari_sam.storage.repair import lost_chunks
from napari_sam.storage.sections import Sections
from napari_sam.storage.steps import RecordedVolume
from napari_sam.storage.turns import WriteTurn, leaving


class LabelsStore(RecordedVolume):
    """A ``uint32`` volume of instance labels, background 0, with the record of how each object was made.

    Use `create`, `open` or `open_or_create`. The store is an OME-Zarr label image (NGFF 0.5) with one level,
    where NGFF knows the image's axes. Integer arrays of other programs can be opened too, and the finest
    level of their label images, whatever it is called.

    Every write is a step: first one transaction in the ledger, then the chunks under the changed box, forced
    to the disk, then a mark that these are written. A step without the mark is finished when the store is
    opened the next time.

    Attributes
    ----------
    path
        The folder.
    array
        The labels on disk. What is written to it directly is in no ledger; write to `labels`.
    sections
        The same, to be read fast across its planes.
    ledger
        Objects, their prompts, and all steps.
    geometry
        Axes, pixel size, position and units.
    read_only
        Why nothing can be written; empty if it can.
    """

    def __init__(
        self, path: Path, array: zarr.Array[Any], ledger: Ledger, lock: FileLock | None, why: str
    ) -> None:
        super().__init__(path, array, ledger, why)
        names = getattr(array.metadata, "dimension_names", None) or ()
        self.geometry = read_geometry(attributes_above(path, array), names, array.ndim)
        self.sections = Sections(array)
        self._is_leaving = False
        self._close = weakref.finalize(self, _let_go, ledger, lock, self._turn)

    @classmethod
    def create(cls, path: str | Path, shape: Sequence[int], geometry: Geometry | str) -> LabelsStore:
        """Make an empty store.

        Parameters
        ----------
        path
            Folder that does not exist yet, or is empty.
        shape
            That of the image, colours left out.
        geometry
            The image's axes, or all that is known of where its pixels lie.

        Raises
        ------
        LabelsError
            If there is something at ``path`` already, or it cannot be written.
        """
        path = Path(path).expanduser()
        geometry = Geometry(geometry) if isinstance(geometry, str) else geometry
        with folder_aside(path) as folder, stored_at(path):
            make_group(folder, shape, geometry)
            Ledger.create(folder / LEDGER).close()
        return cls.open(path, shape)

    @classmethod
    def open(
        cls, path: str | Path, shape: Sequence[int] | None = None, read_only: bool = False
    ) -> LabelsStore:
        """Open a store with all that was annotated in it, and finish what was interrupted.

        A store that another window or program has open, or whose folder cannot be written, is opened for
        reading: `read_only` then says why, and every write raises. So is any with ``read_only``, once what
        was interrupted is finished; where it cannot be, `unfinished` says so.

        Raises
        ------
        LabelsError
            If ``path`` holds no such store, or an image's intensities, or its shape is not ``shape``, or the
            ledger in it is damaged.
        """
        path = Path(path).expanduser().absolute()  # whatever the current folder is later on
        store = cls._opened(path, shape, read_only)
        if read_only and store.ledger.pending is not None:
            store.close()
            cls._opened(path, shape, read_only=False).close()
            store = cls._opened(path, shape, read_only=True)
        return store

    @classmethod
    def _opened(cls, path: Path, shape: Sequence[int] | None, read_only: bool) -> LabelsStore:
        leaving.wait(path)  # closed here a moment ago, in the middle of a write
        array = open_array(path, shape)
        lock, why = None, "they were opened to be read"
        if not read_only:
            try:
                lock, why = take_lock(path), ""
            except NotWritable as reason:
                why = str(reason)
        try:
            with explained(path / LEDGER):
                store = cls(path, array, open_ledger(path, array, bool(why)), lock, why)
                if not why:
                    store.finish_pending()
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        return store

    @classmethod
    def open_or_create(cls, path: str | Path, shape: Sequence[int], geometry: Geometry | str) -> LabelsStore:
        """Open the store at ``path`` if there is one, else make it; an empty folder becomes a store."""
        if is_taken(Path(path).expanduser()):
            return cls.open(path, shape)
        try:
            return cls.create(path, shape, geometry)
        except LabelsError:
            if not is_taken(Path(path).expanduser()):
                raise
            return cls.open(path, shape)  # another process has made it meanwhile

    def close(self) -> None:
        """Let others write; from here on the store can only be read from `array`.

        A write that is under way in another thread ends first, or is finished when the store is opened again
        if the process ends before; nobody waits here.
        """
        self.read_only = self.read_only or "this session has ended; start the annotation again"
        if self._close.alive and not self._is_leaving:
            self._is_leaving = True
            leaving.add(self.path)
            self._turn.when_free(self._leave)

    def _leave(self) -> None:
        try:
            if self._writer.is_in_arrears:  # the next one who opens the store would finish it
                with suppress(sqlite3.Error, *UNREADABLE):
                    self._writer.settle_pending()
            self._close()
        finally:
            leaving.remove(self.path)

    @property
    def unfinished(self) -> str:
        """What to tell of a step that is in the ledger, and perhaps not yet in the pixels; else empty."""
        if self.ledger.pending is None:
            return ""
        return (
            f"The last step of the labels at {self.path} is not finished, and some of its pixels may be "
            "missing here: another program is writing it, or was killed. Open them where they can be written."
        )

    def find_losses(self) -> str:
        """Say how many chunks with objects are gone, and what to do; nothing if all are there.

        Raises
        ------
        LabelsError
            If the ledger is damaged.
        """
        with explained(self.path / LEDGER):
            if self.ledger.pending is not None:  # see `unfinished`
                return ""
            count = len(lost_chunks(self.array, self.ledger))
        if count == 0:
            return ""
        return (
            f"{count} chunk{'s' * (count != 1)} of the labels at {self.path}, with objects in, cannot be "
            f'found; close the labels and restore them from the ledger with: napari-sam repair "{self.path}"'
        )

    @property
    def labels(self) -> RecordedLabels:
        """The labels as an array that may be written to: every write is recorded, and can be undone."""
        return RecordedLabels(self)

    @property
    def next_label(self) -> int:
        """The label of the next new object; see `new_labels`."""
        return next(self.new_labels())

    def new_labels(self) -> Iterator[int]:
        """Give labels for new objects: from the highest that was ever used upwards.

        Where the dtype ends, the lowest follow that no object has, or would have again after an undo.

        Raises
        ------
        LabelsError
            If there is no further one.
        """
        yield from range(self.ledger.highest + 1, self.highest_possible + 1)
        known = self.ledger.known_labels()
        given = self.ledger.highest + 1  # from there on they were given just now
        yield from (label for label in range(1, given) if label not in known)
        self.check_label(self.highest_possible + 1)

    def rename_axes(self, axes: str) -> None:
        """Give the axes other letters, in the store's metadata too.

        Raises
        ------
        ValueError
            If these are not one different letter for each axis; or NGFF has no words for them, and the store
            is another program's label image, the level of which only its metadata name.
        LabelsError
            If the metadata cannot be written.
        """
        try:
            geometry = replace(self.geometry, axes=check_axes(axes, self.array.shape))
            if geometry != self.geometry:
                if self.read_only:
                    raise LabelsError(f"The axes cannot be renamed: {self.read_only}.")
                write_axes(self.path, geometry, self.array.path)
                self.geometry = geometry
        except (OSError, KeyError) as error:
            raise LabelsError(f"The axes of {self.path} cannot be renamed ({reason_of(error)}).") from error

    def read(self, plane: Plane) -> Labels:
        """Read the labels of one plane: (H, W).

        Raises
        ------
        LabelsError
            If a chunk of it is damaged.
        """
        with legible(self.path):
            return plane.to_plane(np.asarray(self.array[plane.index()]))

    def mask_of(self, plane: Plane, label: int) -> MaskRuns | None:
        """Find what an object has on a plane, whichever way that lies in the array; None for nothing.

        Raises
        ------
        LabelsError
            If a chunk of it is damaged.
        """
        here = plane.own_position
        if here is not None and plane == Plane.own(here):
            return self.ledger.mask(label, here)
        return MaskRuns.of(self.read(plane) == label)

    # Steps

    def commit(
        self,
        plane: Plane,
        mask: np.typing.NDArray[np.bool_],
        making: Making | None = None,
        *,
        label: int | None = None,
        overlap: Overlap = "keep",
        inside: int | None = None,
    ) -> Step:
        """Write ``mask`` into its plane.

        Parameters
        ----------
        plane, mask
            Where, and the (H, W) pixels.
        making
            How the mask was made.
        label
            The object that the mask becomes part of, replacing what it has on this plane; a new one if left
            out.
        overlap, inside
            What becomes of pixels that are annotated already; see `Claim`. By default they stay.

        Raises
        ------
        ValueError
            If the mask is not boolean, or nothing of it is left: it is empty, or covers only what is
            annotated already; or an object is to be refined inside itself; or ``overlap`` and ``inside`` do
            not belong together.
        LabelsError
            If the store cannot be written, or its dtype holds no further label; nothing has changed then.
        """
        self.check_writable()
        if mask.dtype != bool:
            raise ValueError(f"The mask has dtype {mask.dtype}; give a boolean one, such as labels == 3.")
        if mask.shape != (shape := plane.shape(self.array.shape)):
            raise ValueError(f"The mask has shape {mask.shape}, the plane {shape}; give a mask of the plane.")
        runs = MaskRuns.of(mask)
        if runs is None:
            raise ValueError("The mask is empty; there is nothing to commit.")
        claim = Claim(overlap, inside)
        with self.writing():
            for needed in (label, inside):
                if needed is not None and self.ledger.object(needed) is None:
                    raise ValueError(
                        f"There is no object {needed}; choose one that is there, or leave it out."
                    )
            own = None if label is None else self.mask_of(plane, label)
            number = self.next_label if label is None else label
            change = repainted(self.block, plane, runs, number, own, claim)
            origins = [] if making is None else [Origin(number, plane, runs, making)]
            kind = "commit" if label is None else "refine"
            return self.write(Draft(kind, number, [change], origins=origins))


def _let_go(ledger: Ledger, lock: FileLock | None, turn: WriteTurn) -> None:
    turn.wait()  # at the end of the process, for a thread that still writes
    ledger.close()
    if lock is not None:
        lock.release()
