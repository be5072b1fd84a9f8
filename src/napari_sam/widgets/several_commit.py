"""Several objects are written one after the other, between whatever else the window does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from qtpy.QtCore import QTimer

from napari_sam.annotation import Session
from napari_sam.inference.prompts import Prompt
from napari_sam.previews import Preview
from napari_sam.several import SeveralResponse, commit_each
from napari_sam.storage.changes import Claim
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.panel import WRITING, AnnotatePanel

# So long objects are written before the window has its turn; one takes less.
_TURN_S = 0.02


@dataclass(frozen=True, eq=False)
class Outcome:
    """How the writing of several objects ended.

    Attributes
    ----------
    response
        What was to be written.
    finished
        The prompts of what was, with the labels of the objects.
    written
        How many of these are there.
    left_out
        How many objects were left out, or lost all their pixels to a surer one.
    unwritten
        The response with those alone that were not written.
    error
        What went wrong, if anything did.
    """

    response: SeveralResponse
    finished: tuple[tuple[Prompt, int], ...]
    written: int
    left_out: int
    unwritten: SeveralResponse
    error: Exception | None


class SeveralCommit:
    """Write the objects of one response at a time, and show in the panel how far that is.

    Each is a step of its own, which those who listen are told of in Qt's thread: that is why they are written
    in it too, a few at each turn of its loop.

    Parameters
    ----------
    session, panel
        Where to, and where it is shown.
    ended
        Called when all are done, or it was stopped, or something went wrong.
    """

    def __init__(
        self,
        session: Session,
        panel: AnnotatePanel,
        ended: Callable[[Outcome], None],
    ) -> None:
        self._session, self._panel, self._ended = session, panel, ended
        self._response: SeveralResponse | None = None
        self._labels: Iterator[tuple[Preview, int | None]] = iter(())
        self._written: dict[Preview, int] = {}
        self._left_out = 0
        self._timer = QTimer()
        self._timer.setInterval(0)
        self._connections = Connections()
        self._connections.add(self._timer.timeout, self._on_turn)

    @property
    def is_busy(self) -> bool:
        """Whether objects are being written."""
        return self._response is not None

    def write(self, response: SeveralResponse, claim: Claim) -> None:
        """Begin to write; see `commit_several`."""
        assert self._response is None, "one after the other"
        self._response = response
        labels = commit_each(self._session, response, claim)
        self._labels = zip(response.in_order(claim), labels, strict=True)
        self._written, self._left_out = {}, 0
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
            for preview, label in self._labels:
                if label is None:
                    self._left_out += 1
                else:
                    self._written[preview] = label
                if end is not None and time.perf_counter() > end:
                    done = (len(self._written) + self._left_out) / len(self._response.previews)
                    self._panel.show_share(WRITING, done)
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
        self._panel.show_share(WRITING, None)
        rest = tuple(preview for preview in response.previews if preview not in self._written)
        unwritten = replace(response, previews=rest)
        finished = tuple((preview.prompt, label) for preview, label in self._written.items())
        ledger = self._session.store.ledger
        there = sum(ledger.object(label) is not None for _, label in finished)
        left_out = self._left_out + len(finished) - there
        self._ended(Outcome(response, finished, there, left_out, unwritten, error))
