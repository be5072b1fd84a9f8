"""An array of labels and its ledger, written together so that neither a crash nor a full disk parts them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from psygnal import Signal

from napari_sam.planes import Plane
from napari_sam.storage.changes import Change, Labels, changed_masks
from napari_sam.storage.ledger import Ledger
from napari_sam.storage.opening import LabelsError, reason_of
from napari_sam.storage.origins import Making, Origin
from napari_sam.storage.records import Draft, ObjectInfo, Step
from napari_sam.storage.repair import Repair, repair_regions
from napari_sam.storage.telling import Progress, silent, told
from napari_sam.storage.turns import WriteTurn
from napari_sam.storage.volumes import UNREADABLE, Region, chunks_under

_BRUSH: Final = "brush"


class RecordedVolume:
    """Do, undo and redo steps.

    Each is first one transaction in the ledger, then the chunks under the changed box, then a mark that these
    are written; `finish_pending` finishes one without the mark.

    Attributes
    ----------
    path
        The folder, for messages.
    array, ledger
        What is written together.
    read_only
        Why nothing can be written; empty if it can.
    changed
        Emitted (psygnal) with each `Step` that was done, taken back or done again, in the thread that did it.
    """

    changed = Signal(Step)

    def __init__(self, path: Path, array: zarr.Array[Any], ledger: Ledger, read_only: str) -> None:
        self.path = path
        self.array = array
        self.ledger = ledger
        self.read_only = read_only
        self._stroke: int | None = None
        self._turn = WriteTurn()
        self._identity = None if ledger.path is None else _identity(ledger.path)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let no other thread write between what is read here and what is written of it.

        Raises
        ------
        LabelsError
            If another thread writes.
        """
        if not self._turn.take():
            raise LabelsError(
                f"The labels at {self.path} are being written; wait until that is done, or stop it."
            )
        try:
            yield
        finally:
            self._turn.give_back()

    def block(self, region: tuple[slice, ...]) -> Labels:
        """Read a block of the labels.

        Raises
        ------
        LabelsError
            If its chunks are damaged.
        """
        try:
            return np.asarray(self.array[region])
        except UNREADABLE as error:
            raise LabelsError(
                f"A part of the labels at {self.path} is damaged ({reason_of(error)}); restore it from the "
                f'ledger with: napari-sam repair "{self.path}"'
            ) from error

    def write(
        self,
        kind: str,
        changes: Sequence[Change],
        *,
        label: int | None = None,
        origins: Sequence[Origin] = (),
        objects: Sequence[ObjectInfo] = (),
    ) -> Step:
        """Do one step: what a commit and every edit come down to.

        Parameters
        ----------
        kind, label
            What is done, and to which object, for the history.
        changes
            The pixels, as they are (see `block`) and are to be.
        origins, objects
            What the ledger learns with them; see `Draft`.

        Raises
        ------
        LabelsError
            If the store cannot be written; nothing has changed then.
        """
        self.end_stroke()
        step = self._write(Draft(kind, label, changes, origins=origins, objects=objects))
        self.changed.emit(step)
        return step

    def write_aside(
        self,
        kind: str,
        changes: Sequence[Change],
        *,
        origins: Sequence[Origin] = (),
        progress: Progress = silent,
    ) -> Step:
        """Do one step as `write`, in a thread of its own.

        Those who listen belong to another thread, so nobody is told: emit `changed` there.

        Parameters
        ----------
        kind, changes, origins
            See `write`.
        progress
            Told the share that is done; what it raises ends the write, and the labels are as they were. Only
            what had been undone before may then be past redoing.

        Raises
        ------
        LabelsError
            If the store cannot be written; nothing has changed then.
        """
        with self.writing():
            self.end_stroke()
            return self._write(Draft(kind, None, changes, origins=origins), progress=progress)

    def paint(self, region: tuple[slice, ...], after: Labels) -> None:
        """Record and write what a brush or a script painted; a stroke is one step, until `end_stroke`.

        Raises
        ------
        LabelsError
            If the store cannot be written; nothing has changed then.
        """
        self.check_writable()
        with self.writing():
            change = Change(region, self.block(region), after.astype(self.array.dtype))
            differs = change.before != change.after
            if not differs.any():
                return
            label = int(change.after[differs].max()) or None
            step = self._write(Draft(_BRUSH, label, [change]), into=self._stroke)
            self._stroke = step.number
        self.changed.emit(step)

    def end_stroke(self) -> None:
        """Let what is painted from here on be another step."""
        self._stroke = None

    def undo(self) -> Step | None:
        """Take the last step back, and return it; None if there is none.

        Pixels that were written past the ledger since then stay.

        Raises
        ------
        LabelsError
            If the store cannot be written; nothing has changed then.
        """
        return self._told_of(self.undo_aside())

    def redo(self) -> Step | None:
        """Do the step again that was taken back last, and return it; None if there is none.

        Raises
        ------
        LabelsError
            If the store cannot be written; nothing has changed then.
        """
        return self._told_of(self.redo_aside())

    def undo_aside(self) -> Step | None:
        """Do `undo` in any thread: nobody is told; see `write_aside`."""
        return self._move(self.ledger.last_done, self.ledger.undo, self.ledger.redo, forward=False)

    def redo_aside(self) -> Step | None:
        """Do `redo` in any thread: nobody is told; see `write_aside`."""
        return self._move(self.ledger.first_undone, self.ledger.redo, self.ledger.undo, forward=True)

    def _told_of(self, step: Step | None) -> Step | None:
        if step is not None:
            self.changed.emit(step)
        return step

    def _move(
        self,
        find: Callable[[], Step | None],
        move: Callable[[Step], None],
        back: Callable[[Step], None],
        forward: bool,
    ) -> Step | None:
        self.check_writable()
        with self.writing(), self._explained():
            self.end_stroke()
            if (step := find()) is None:
                return None
            changes = self.ledger.changes(step.number, self.array.dtype)
            move(step)
            try:
                self._apply(changes if forward else reversed(changes), forward)
            except BaseException:  # the disk refuses, or a chunk is damaged
                self._revert(changes, not forward)
                with suppress(sqlite3.Error):
                    back(step)
                    self.ledger.settle()
                raise
            self.ledger.settle()
        return step

    def _write(self, draft: Draft, into: int | None = None, progress: Progress = silent) -> Step:
        self.check_writable()
        with self.writing():
            for change in told(draft.changes, progress, 0, 0.1):
                self.check_label(int(change.after.max(initial=0)))
            draft = self._with_masks(draft, lambda done: progress(0.1 + 0.2 * done))
            with self._explained():
                step = self.ledger.record(draft, into, lambda done: progress(0.3 + 0.3 * done))
                try:
                    if len(draft.changes) == 1:  # nobody else writes: what was read before is there still
                        self._put(draft.changes[0].region, draft.changes[0].after)
                    else:  # of several blocks one may hold what another has changed since
                        self._apply(told(draft.changes, progress, 0.6, 1))
                except BaseException:  # the disk refuses, or the user has enough of it
                    self._take_back(draft, step, whole=into is None)
                    raise
                self.ledger.settle()
        return step

    def _take_back(self, draft: Draft, step: Step, whole: bool) -> None:
        """Undo in ledger and array what could be written only in part."""
        self._revert(draft.changes, forward=False)
        with suppress(sqlite3.Error):
            if whole:
                self.ledger.forget(step)
            else:  # the earlier part of a stroke stays, and what could not be written is erased from it
                reverse = [Change(x.region, x.after, x.before) for x in reversed(draft.changes)]
                self.ledger.record(self._with_masks(Draft(draft.kind, draft.label, reverse)), step.number)
                self.ledger.settle()

    def _with_masks(self, draft: Draft, progress: Progress = silent) -> Draft:
        """Add the masks that the changes leave, and note what the brush began."""
        masks = changed_masks(told(draft.changes, progress, 0, 1), self.ledger.mask)
        origins = list(draft.origins)
        if draft.kind == _BRUSH:
            for (label, position), mask in masks.items():
                plane = Plane((len(position), len(position) + 1), (*position, 0, 0))
                made = [x for x in self.ledger.origins(label) if x.plane == plane]
                if mask is not None and all(x.making.source == _BRUSH for x in made):
                    origins.append(Origin(label, plane, mask, Making(_BRUSH)))
        return Draft(draft.kind, draft.label, draft.changes, masks, origins, draft.objects)

    def _apply(self, changes: Iterable[Change], forward: bool = True) -> None:
        """Write the pixels of changes; or those that were there before them, the last change first."""
        for change in changes:
            now = self.block(change.region)
            then = change.apply(now, forward)
            if not np.array_equal(now, then):
                self._put(change.region, then)

    def _put(self, region: Region, block: Labels) -> None:
        """Write a block chunk by chunk: of several at once zarr writes some even after one has failed."""
        whole = Change(region, block, block)
        for chunk in chunks_under(self.array, [region]):
            part = whole.part(chunk)
            self.array[part.region] = part.after

    def _revert(self, changes: Sequence[Change], forward: bool) -> None:
        """Give the chunks that could be written what was in them; each by itself, since one is in the way."""
        for change in changes if forward else reversed(changes):
            for chunk in chunks_under(self.array, [change.region]):
                with suppress(*UNREADABLE):
                    self._apply([change.part(chunk)], forward)

    def repair(self) -> Repair:
        """Give damaged and lost chunks their labels back; see `repair_regions`.

        Raises
        ------
        LabelsError
            If the store cannot be written.
        """
        self.check_writable()
        with self.writing(), self._explained():
            return repair_regions(self.array, self.ledger)

    def finish_pending(self) -> None:
        """Write what a process that was killed had recorded but not written."""
        if (number := self.ledger.pending) is None:
            return
        with self._explained():
            for remainder in self.path.rglob("*.partial"):
                remainder.unlink()
            changes = self.ledger.changes(number, self.array.dtype)
            forward = number <= self.ledger.cursor
            try:
                self._apply(changes if forward else reversed(changes), forward)
            except UNREADABLE:  # a chunk is torn: what it held is in the ledger as well
                repair_regions(self.array, self.ledger, [change.region for change in changes])
            self.ledger.settle()

    def check_painted(self, values: Any) -> None:
        """Raise a `LabelsError` if some values are no labels, or the array cannot hold them."""
        numbers = np.asarray(values)
        low, high = numbers.min(initial=0), numbers.max(initial=0)
        if not low >= 0:  # NaN is neither
            raise LabelsError(
                f"{low} is no label; write numbers from 1 on for objects, and 0 for background."
            )
        self.check_label(high)

    def check_label(self, label: int) -> None:
        """Raise a `LabelsError` if the array cannot hold the label."""
        limit = min(np.iinfo(self.array.dtype).max, np.iinfo(np.int64).max)
        if label > limit:
            raise LabelsError(
                f"The labels at {self.path} are {self.array.dtype} and hold no label beyond {limit}; "
                "go on in a new store."
            )

    def check_writable(self) -> None:
        """Raise a `LabelsError` if nothing can be written, or the folder is another one by now."""
        if self.read_only:
            raise LabelsError(f"The labels at {self.path} can only be read: {self.read_only}.")
        if self.ledger.path is not None and _identity(self.ledger.path) != self._identity:
            raise LabelsError(
                f"The labels at {self.path} are gone: the folder was removed, renamed or replaced. "
                "Put it back and try again."
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what to do where the disk refuses."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise LabelsError(
                f"The labels at {self.path} cannot be written ({reason_of(error)}). "
                "Free some space or make the folder writable, and try again."
            ) from error


def _identity(path: Path) -> tuple[int, int] | None:
    """Tell a file from another one under the same name; None if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
