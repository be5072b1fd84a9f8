"""How a step goes into ledger and array together, and out of both where the disk refuses it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import zarr

from napari_sam.plane import Plane, Position
from napari_sam.progress import Progress, ignore_progress, reporting
from napari_sam.region import Region
from napari_sam.runs import MaskRuns
from napari_sam.storage.changes import Change, changed_masks
from napari_sam.storage.chunks import Chunks
from napari_sam.storage.errors import UNREADABLE
from napari_sam.storage.ledger import Ledger
from napari_sam.storage.origins import Making, Origin
from napari_sam.storage.records import Draft, Step
from napari_sam.storage.repair import Repair, repair_regions
from napari_sam.storage.volumes import remainders

BRUSH: Final = "brush"


class StepWriter:
    """Write steps, one at a time: the caller sees to it that nobody else writes.

    A step is first one transaction in the ledger, then the chunks under the changed box, forced to the disk,
    then a mark that these are written. Until the mark the step is pending. It is finished by the next
    `settle_pending`, or taken back if it was refused: what a method raised, the user was told.

    Attributes
    ----------
    chunks
        Those of the array.
    """

    def __init__(self, path: Path, array: zarr.Array[Any], ledger: Ledger) -> None:
        self.chunks = Chunks(path, array)
        self._array = array
        self._ledger = ledger
        self._take_back: Callable[[], None] | None = None

    @property
    def is_in_arrears(self) -> bool:
        """Whether a step was refused, and the disk refused also to take it back."""
        return self._take_back is not None

    def write(self, draft: Draft, into: int | None = None, progress: Progress = ignore_progress) -> Step:
        """Do a step, or go on with the last one, whose number is ``into``.

        Raises
        ------
        OSError, sqlite3.Error
            If the disk refuses; also what ``progress`` raises.
        LabelsError
            If a chunk is damaged.
        """
        draft = self._with_masks(draft, into, lambda done: progress(0.2 * done))
        step = self._ledger.record(draft, into, lambda done: progress(0.2 + 0.4 * done))
        try:
            if len(draft.changes) == 1:  # nobody else writes: what was read before is there still
                self.chunks.put(draft.changes[0].region, draft.changes[0].after)
            else:  # of several blocks one may hold what another has changed since
                self.chunks.apply(reporting(draft.changes, progress, 0.6, 1))
            self.chunks.force()
        except BaseException:  # the disk refuses, or the user has enough of it
            last = None if into is None else len(draft.changes)
            self._refuse(partial(self._forget, step, last))
            raise
        self._settle()
        return step

    def move(self, step: Step, forward: bool) -> None:
        """Do a step again, or take it back; raises what `write` does."""
        changes = self._ledger.changes(step.number, self._array.dtype)
        (self._ledger.redo if forward else self._ledger.undo)(step)
        try:
            self.chunks.apply(changes if forward else reversed(changes), forward)
            self.chunks.force()
        except BaseException:  # the disk refuses, or a chunk is damaged
            self._refuse(partial(self._move_back, step, forward))
            raise
        self._settle()

    def settle_pending(self) -> None:
        """Finish the pending step, or take it back, if there is one; raises what `write` does."""
        if (number := self._ledger.pending) is None:
            return
        if self._take_back is None:
            self._finish(number)
        else:
            self._take_back()
            self._settle()

    def repair(self, regions: Sequence[Region] | None = None) -> Repair:
        """See `repair_regions`; raises what `write` does."""
        repair = repair_regions(self._array, self._ledger, regions)
        for chunk in repair.restored:
            self.chunks.touch(chunk)
        self.chunks.force()
        return repair

    def _finish(self, number: int) -> None:
        """Write what was recorded but perhaps not written, by a process that was killed."""
        for remainder in remainders(self._array):
            remainder.unlink(missing_ok=True)
        changes = self._ledger.changes(number, self._array.dtype)
        if torn := self.chunks.finish(changes, forward=number <= self._ledger.cursor):
            self.repair(torn)  # what they held is in the ledger as well
        self.chunks.force()
        self._settle()

    def _settle(self) -> None:
        """Set the mark; where the disk refuses it nothing is lost: the step is finished once more."""
        self._take_back = None
        with suppress(sqlite3.Error):
            self._ledger.settle()

    def _refuse(self, take_back: Callable[[], None]) -> None:
        """Take the pending step back; now, or before the next one where the disk refuses that too."""
        self._take_back = take_back
        with suppress(sqlite3.Error, *UNREADABLE):
            self.settle_pending()

    def _forget(self, step: Step, last: int | None) -> None:
        """Undo a step in array and ledger: all of it, or so many of its ``last`` changes.

        The earlier part of a stroke stays, and what could not be written is erased from it.
        """
        changes = self._ledger.changes(step.number, self._array.dtype)
        refused = changes if last is None else changes[-last:]
        self.chunks.revert(refused, forward=False)
        self.chunks.force()
        if last is None:
            self._ledger.forget(step)
            return
        reverse = [Change(x.region, x.after, x.before) for x in reversed(refused)]
        draft = self._with_masks(Draft(step.kind, step.label, reverse), step.number)
        self._ledger.record(draft, step.number)

    def _move_back(self, step: Step, forward: bool) -> None:
        """Undo an undo, or a redo, in array and ledger."""
        self.chunks.revert(self._ledger.changes(step.number, self._array.dtype), not forward)
        self.chunks.force()
        (self._ledger.undo if forward else self._ledger.redo)(step)

    def _with_masks(self, draft: Draft, into: int | None, progress: Progress = ignore_progress) -> Draft:
        """Add the masks that the changes leave, and note what the brush began."""
        masks = changed_masks(reporting(draft.changes, progress, 0, 1), self._ledger.mask)
        origins = draft.origins
        if draft.kind == BRUSH:
            painted = {key: mask for key, mask in masks.items() if mask is not None}
            origins = [*origins, *self._brushed(painted, into)]
        return replace(draft, masks=masks, origins=origins)

    def _brushed(self, masks: Mapping[tuple[int, Position], MaskRuns], into: int | None) -> Iterator[Origin]:
        """Give the brush as the origin of the masks that nothing else has made."""
        positions: dict[int, list[Position]] = {}
        for label, position in masks:
            positions.setdefault(label, []).append(position)
        for label, touched in positions.items():
            planes = [Plane.own(x) for x in touched]
            others = self._ledger.made_otherwise(BRUSH, label, planes, into)
            for position, plane in zip(touched, planes, strict=True):
                if plane not in others:
                    yield Origin(label, plane, masks[label, position], Making(BRUSH))
