"""Several objects are written one after the other, between whatever else the window does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from qtpy.QtCore import QTimer

from napari_sam.annotation import Session
from napari_sam.several import SeveralResponse, commit_each
from napari_sam.storage.changes import Overlap
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.panel import AnnotatePanel

# So long objects are written before the window has its turn; one takes less.
_TURN_S = 0.02


class SeveralCommit:
    """Write the objects of one response at a time, and show in the panel how far that is.

    Each is a step of its own, which those who listen are told of in Qt's thread: that is why they are written
    in it too, a few at each turn of its loop.

    Parameters
    ----------
    session, panel
        Where to, and where it is shown.
    ended
        Called with the response and how many of its objects were written and left out, when all are done or
        it was stopped; and with what went wrong, if anything did.
    """

    def __init__(
        self,
        session: Session,
        panel: AnnotatePanel,
        ended: Callable[[SeveralResponse, int, int, Exception | None], None],
    ) -> None:
        self._session, self._panel, self._ended = session, panel, ended
        self._response: SeveralResponse | None = None
        self._labels: Iterator[int | None] = iter(())
        self._written = self._left_out = 0
        self._timer = QTimer()
        self._timer.setInterval(0)
        self._connections = Connections()
        self._connections.add(self._timer.timeout, self._on_turn)

    @property
    def is_busy(self) -> bool:
        """Whether objects are being written."""
        return self._response is not None

    def write(self, response: SeveralResponse, overlap: Overlap, inside: int | None) -> None:
        """Begin to write; see `commit_several`."""
        assert self._response is None, "one after the other"
        self._response = response
        self._labels = commit_each(self._session, response, overlap, inside)
        self._written = self._left_out = 0
        self._timer.start()

    def stop(self) -> None:
        """Write no further ones; those that are written stay."""
        if self._response is not None:
            self._end(None)

    def close(self) -> None:
        """Write those that are left, as the user was told that they would be, and let go."""
        if self._response is not None:
            self._write_until(None)
        self._connections.close()
        self._timer.stop()

    def _on_turn(self) -> None:
        self._write_until(time.perf_counter() + _TURN_S)

    def _write_until(self, end: float | None) -> None:
        """Write objects until it is so late, or all are done."""
        assert self._response is not None
        try:
            for label in self._labels:
                self._written += label is not None
                self._left_out += label is None
                if end is not None and time.perf_counter() > end:
                    done = (self._written + self._left_out) / len(self._response.previews)
                    self._panel.show_progress(done, "writing")
                    return
        except (ValueError, OSError) as error:
            self._end(error)
            return
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        response, self._response = self._response, None
        assert response is not None
        self._labels = iter(())
        self._timer.stop()
        self._panel.show_progress(None)
        self._ended(response, self._written, self._left_out, error)
