"""What can be done to labels that have a ledger: steps, undo, redo and repair, by one writer at a time."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from psygnal import Signal

from napari_sam.progress import Progress, ignore_progress, reporting
from napari_sam.region import Region
from napari_sam.storage.changes import Change, Labels
from napari_sam.storage.errors import MISUSES, LabelsError, explained, is_damage, reason_of, what_to_do
from napari_sam.storage.ledger import Ledger
from napari_sam.storage.opening import LEDGER
from napari_sam.storage.records import Draft, Step
from napari_sam.storage.repair import Repair
from napari_sam.storage.step_writer import BRUSH, StepWriter
from napari_sam.storage.turns import WriteTurn

# So often who waits for another thread's write looks whether that is done.
_POLL_S = 0.02


class RecordedVolume:
    """Do, undo and redo steps; see `StepWriter` for what becomes of them when something fails.

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
        self._writer = StepWriter(path, array, ledger)
        self._turn = WriteTurn()
        self._identity = None if ledger.path is None else _identity(ledger.path)

    @contextmanager
    def writing(self, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Let no other thread write between what is read here and what is written of it.

        A step that the disk has left half done is finished, or taken back, first.

        Parameters
        ----------
        waiting
            Called again and again while another thread writes, until that is done; what it raises ends the
            wait. Without it nobody waits.

        Raises
        ------
        LabelsError
            If another thread writes, the disk still refuses, or the ledger cannot be read.
        """
        while not self._turn.take():
            if waiting is None:
                raise LabelsError(
                    f"The labels at {self.path} are being written; wait until that is done, or stop it."
                )
            waiting()
            time.sleep(_POLL_S)
        try:
            if not self.read_only:
                self.finish_pending()
            with explained(self.path / LEDGER):
                yield
        finally:
            self._turn.give_back()

    def block(self, region: Region) -> Labels:
        """Read a block of the labels.

        Raises
        ------
        LabelsError
            If its chunks are damaged.
        """
        return self._writer.chunks.block(region)

    def write(self, draft: Draft) -> Step:
        """Do one step: what a commit and every edit come down to.

        Raises
        ------
        LabelsError
            If the store cannot be written; nothing has changed then.
        """
        step = self.write_aside(draft)
        self.changed.emit(step)
        return step

    def write_aside(self, draft: Draft, progress: Progress = ignore_progress) -> Step:
        """Do one step as `write`, in a thread of its own.

        Those who listen belong to another thread, so nobody is told: emit `changed` there.

        Parameters
        ----------
        draft
            The step.
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
            return self._write(draft, progress=progress)

    def paint(self, region: Region, after: Labels) -> None:
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
            step = self._write(Draft(BRUSH, label, [change]), into=self._stroke)
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
        return self._move(forward=False)

    def redo_aside(self) -> Step | None:
        """Do `redo` in any thread: nobody is told; see `write_aside`."""
        return self._move(forward=True)

    def _told_of(self, step: Step | None) -> Step | None:
        if step is not None:
            self.changed.emit(step)
        return step

    def _move(self, forward: bool) -> Step | None:
        self.check_writable()
        with self.writing(), self._explained():
            self.end_stroke()
            step = self.ledger.first_undone() if forward else self.ledger.last_done()
            if step is not None:
                self._writer.move(step, forward)
        return step

    def _write(self, draft: Draft, into: int | None = None, progress: Progress = ignore_progress) -> Step:
        self.check_writable()
        with self.writing():
            for change in reporting(draft.changes, progress, 0, 0.1):
                self.check_label(int(change.after.max(initial=0)))
            with self._explained():
                return self._writer.write(draft, into, lambda done: progress(0.1 + 0.9 * done))

    def repair(self) -> Repair:
        """Give damaged and lost chunks their labels back; see `repair_regions`.

        Raises
        ------
        LabelsError
            If the store cannot be written.
        """
        self.check_writable()
        with self.writing(), self._explained():
            return self._writer.repair()

    def finish_pending(self) -> None:
        """Finish what a process that was killed had only recorded, or take back what the disk refused."""
        with self._explained():
            if self.ledger.pending is not None:
                self.check_writable()
                self._writer.settle_pending()

    def check_painted(self, values: Any) -> None:
        """Raise a `LabelsError` if some values are no labels, or the array cannot hold them."""
        numbers = np.asarray(values)
        low, high = numbers.min(initial=0), numbers.max(initial=0)
        if not low >= 0:  # NaN is neither
            raise LabelsError(
                f"{low} is no label; write numbers from 1 on for objects, and 0 for background."
            )
        if numbers.dtype.kind == "f" and (broken := numbers[numbers != np.trunc(numbers)]).size:
            raise LabelsError(f"{broken[0]} is no label; write whole numbers, such as {int(broken[0])}.")
        self.check_label(high)

    @property
    def highest_possible(self) -> int:
        """The highest label that the array, and SQLite, can hold."""
        return int(min(np.iinfo(self.array.dtype).max, np.iinfo(np.int64).max))

    def check_label(self, label: int) -> None:
        """Raise a `LabelsError` if the array cannot hold the label."""
        if label > self.highest_possible:
            raise LabelsError(
                f"The labels at {self.path} are {self.array.dtype} and hold no label beyond "
                f"{self.highest_possible}; go on in a new store."
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
        """Say what to do where the disk refuses, or the ledger is damaged."""
        try:
            yield
        except MISUSES:
            raise
        except (OSError, sqlite3.Error) as error:
            if is_damage(error):
                raise LabelsError(what_to_do(self.path / LEDGER, error)) from error
            later = "; what was begun is taken back before the next step" * self._writer.is_in_arrears
            raise LabelsError(
                f"The labels at {self.path} cannot be written ({reason_of(error)}){later}. "
                "Free some space or make the folder writable, and try again."
            ) from error


def _identity(path: Path) -> tuple[int, int] | None:
    """Tell a file from another one under the same name; None if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
