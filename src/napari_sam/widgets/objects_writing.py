"""Edits of the objects table, written beside Qt's thread: one at a time, and each can be stopped."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from qtpy.QtCore import QObject, Signal

from napari_sam.annotation import Session
from napari_sam.objects.editing import Objects
from napari_sam.progress import Progress
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.records import Step
from napari_sam.widgets.objects_edits import TableEdit
from napari_sam.widgets.write_job import WriteJob

_BUSY = "Another edit is still being written; wait until it is, or press Stop, and try again."
Written = tuple[TableEdit, Step | None]


class _Announcer(QObject):
    """Tell in Qt's thread what another one has written, also where the table is closed by then."""

    written = Signal(object, object)

    def __init__(self) -> None:
        super().__init__()
        self.written.connect(self._on_written)

    def _on_written(self, store: LabelsStore, step: Step) -> None:
        store.changed.emit(step)


@cache
def _announcer() -> _Announcer:
    return _Announcer()


class EditsWriter:
    """Write edits of the objects of one session, one at a time.

    Parameters
    ----------
    told
        Called, in Qt's thread, with what the user should read.
    progressed
        Called with the share that is done; with None when nothing is written any more.
    """

    def __init__(self, told: Callable[[str], None], progressed: Callable[[float | None], None]) -> None:
        self._told, self._progressed = told, progressed
        self._announcer = _announcer()
        self._job: WriteJob[Written] = WriteJob(progressed, self._on_ended, self._on_failed)

    @property
    def is_busy(self) -> bool:
        """Whether an edit is being written, or not yet told."""
        return self._job.is_busy

    def write(self, session: Session, edit: TableEdit) -> None:
        """Begin to write an edit."""
        if self._job.is_busy:
            self._told(_BUSY)
            return
        store, announcer = session.store, self._announcer

        def work(progress: Progress) -> Written:
            step = edit.write(Objects(store, aside=progress))
            if step is not None:
                announcer.written.emit(store, step)
            return edit, step

        self._told("Writing ...")
        self._progressed(0.0)
        self._job.start(work)

    def cancel(self) -> None:
        """Stop: nothing of the edit is left, unless it is written already."""
        self._job.cancel()

    def close(self) -> None:
        """Stop, and tell the user nothing more; the thread ends by itself."""
        self._job.close()

    def _on_ended(self, written: Written | None) -> None:
        self._progressed(None)
        if written is None:
            self._told("Stopped; nothing was written.")
            return
        edit, step = written
        if step is None:
            self._told(edit.nothing)
        else:
            edit.then()

    def _on_failed(self, error: Exception) -> None:
        self._progressed(None)
        self._told(str(error) or type(error).__name__)
