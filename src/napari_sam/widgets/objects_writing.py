"""Edits of the objects table, written beside Qt's thread: one at a time, and each can be stopped."""

from __future__ import annotations

from collections.abc import Callable

from napari_sam.annotation import Session
from napari_sam.objects.editing import Objects
from napari_sam.progress import Progress
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.records import Step
from napari_sam.widgets.objects_edits import TableEdit
from napari_sam.widgets.telling import words_of
from napari_sam.widgets.write_job import WriteJob

_BUSY = "Another edit is still being written; wait until it is, or press Stop, and try again."
Written = tuple[LabelsStore, TableEdit, Step | None]


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
        self._job: WriteJob[Written] = WriteJob(progressed, self._on_ended, self._on_failed, self._announce)

    @property
    def is_busy(self) -> bool:
        """Whether an edit is being written, or not yet told."""
        return self._job.is_busy

    def write(self, session: Session, edit: TableEdit) -> None:
        """Begin to write an edit."""
        if self._job.is_busy:
            self._told(_BUSY)
            return
        store = session.store

        def work(progress: Progress) -> Written:
            return store, edit, edit.write(Objects(store, aside=progress))

        self._told("Writing ...")
        self._progressed(0.0)
        self._job.start(work)

    def cancel(self) -> None:
        """Stop: nothing of the edit is left, unless it is written already."""
        self._job.cancel()

    def close(self) -> None:
        """Stop, and tell the user nothing more; the thread ends by itself."""
        self._job.close()

    @staticmethod
    def _announce(written: Written) -> None:
        """Tell those who listen to the store, also where the table is closed by then."""
        store, _, step = written
        if step is not None:
            store.changed.emit(step)

    def _on_ended(self, written: Written | None) -> None:
        self._progressed(None)
        if written is None:
            self._told("Stopped; nothing was written.")
            return
        _, edit, step = written
        if step is None:
            self._told(edit.nothing)
        else:
            if edit.note:
                self._told(edit.note)
            edit.then()

    def _on_failed(self, error: Exception) -> None:
        self._progressed(None)
        self._told(words_of(error))
