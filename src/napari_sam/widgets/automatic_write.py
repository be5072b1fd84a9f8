"""Writing automatic masks beside Qt's thread: one step, that can be stopped until it is whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from napari_sam.annotation import Session
from napari_sam.automatic.masks import PlaneMasks
from napari_sam.automatic.writing import Annotated, WrittenMasks, write_masks
from napari_sam.widgets.automatic_panel import WRITING, AutomaticPanel
from napari_sam.widgets.write_job import WriteJob


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
        self._job = WriteJob(self._on_progressed, self._on_ended, self._on_failed, self._announce)

    @property
    def is_busy(self) -> bool:
        """Whether something is being written, or not yet told."""
        return self._job.is_busy

    def write(
        self,
        found: Sequence[PlaneMasks],
        numbers: Sequence[NDArray[np.int64]] | None,
        annotated: Annotated,
        region: NDArray[np.bool_] | None,
    ) -> None:
        """Begin to write; see `write_masks`."""
        self._job.start(partial(write_masks, self._session, found, numbers, annotated, region))
        self._panel.show_writing(True)
        self._panel.show_share(WRITING, 0.0)
        self._panel.show_status("Writing ... Until it is done, nothing else can be written to the labels.")

    def cancel(self) -> None:
        """Stop: what was written so far is taken back, unless all of it is."""
        self._job.cancel()

    def close(self) -> None:
        """Stop, and let go; the thread ends by itself."""
        self._job.close()
        self._show_end()

    def _announce(self, written: WrittenMasks) -> None:
        """Tell those who listen to the session, also where the widget is closed by then."""
        self._session.announce(written.step)

    def _on_progressed(self, done: float) -> None:
        self._panel.show_share(WRITING, done)

    def _on_failed(self, error: Exception) -> None:
        self._show_end()
        self._failed(error)

    def _on_ended(self, written: WrittenMasks | None) -> None:
        self._show_end()
        if written is None:
            self._panel.show_status("Stopped; nothing was written.")
            return
        self._written(written)

    def _show_end(self) -> None:
        self._panel.show_share(WRITING, None)
        self._panel.show_writing(False)
