"""Writing automatic masks beside Qt's thread: one step, that can be stopped until it is whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from napari_sam.annotation import Session
from napari_sam.automatic.masks import PlaneMasks
from napari_sam.automatic.writing import Annotated, WrittenMasks, write_masks
from napari_sam.progress import Progress
from napari_sam.widgets.automatic_panel import AutomaticPanel
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.jobs import LatestJob


class MasksWriter:
    """Write masks into a session's labels, and show in the panel how far that is.

    Parameters
    ----------
    session, panel
        Where to, and where it is shown.
    written
        Called, in Qt's thread, after something was written, with what came of it.
    failed
        Called with what went wrong; nothing was written then.
    """

    def __init__(
        self,
        session: Session,
        panel: AutomaticPanel,
        written: Callable[[WrittenMasks], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._session, self._panel, self._written = session, panel, written
        self._failed = failed
        self._job = LatestJob()
        self._write: _Write | None = None
        self._connections = Connections()
        for signal, handler in (
            (self._job.progressed, self._on_progressed),
            (self._job.failed, self._on_failed),
            (self._job.idle, self._on_idle),
        ):
            self._connections.add(signal, handler)

    @property
    def is_busy(self) -> bool:
        """Whether something is being written, or not yet told."""
        return self._write is not None

    def write(
        self,
        found: Sequence[PlaneMasks],
        numbers: Sequence[NDArray[np.int64]] | None,
        annotated: Annotated,
        region: NDArray[np.bool_] | None,
    ) -> None:
        """Begin to write; see `write_masks`."""
        assert self._write is None, "one after the other"
        self._write = write = _Write(partial(write_masks, self._session, found, numbers, annotated, region))
        self._panel.show_writing(True)
        self._panel.show_progress(0.0, "writing")
        self._panel.show_status("Writing ... Until it is done, nothing else can be written to the labels.")
        self._job.submit(write.run, key=write)

    def cancel(self) -> None:
        """Stop: what was written so far is taken back, unless all of it is."""
        self._job.cancel()

    def close(self) -> None:
        """Stop, and let go; the thread ends by itself."""
        self._connections.close()
        self._job.close()
        if self._write is not None:
            self._panel.show_writing(False)

    def _on_progressed(self, done: float) -> None:
        self._panel.show_progress(done, "writing")

    def _on_failed(self, error: Exception) -> None:
        self._end()
        self._failed(error)

    def _on_idle(self) -> None:
        """See what came of it: a stop may have been too late."""
        write = self._write
        if write is None:  # it has failed, and was told
            return
        self._end()
        if write.written is None:
            self._panel.show_status("Stopped; nothing was written.")
            return
        self._session.announce(write.written.step)
        self._written(write.written)

    def _end(self) -> None:
        self._write = None
        self._panel.show_progress(None)
        self._panel.show_writing(False)


class _Write:
    """What is to be written, and what came of it."""

    def __init__(self, write: Callable[..., WrittenMasks]) -> None:
        self._write = write
        self.written: WrittenMasks | None = None

    def run(self, progress: Progress) -> None:
        """Write; in the job's thread."""
        self.written = self._write(progress=progress)
