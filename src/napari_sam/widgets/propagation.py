"""Objects are propagated beside the window, one after the other, while the user goes on with the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from napari_sam.annotation import Session
from napari_sam.progress import Progress, between
from napari_sam.propagating.finding import PropagationRequest, request_propagation, run_propagation
from napari_sam.propagating.writing import WrittenPropagation, write_propagation
from napari_sam.storage.changes import Overlap
from napari_sam.widgets.panel import AnnotatePanel
from napari_sam.widgets.write_job import WriteJob

# So much of the work is the search for the sections; the rest is writing them.
_SEARCH = 0.95


@dataclass(frozen=True, eq=False)
class _Wanted:
    """An object that is to be propagated, and what becomes of pixels of others."""

    request: PropagationRequest
    overlap: Overlap
    inside: int | None


class Propagator:
    """Propagate objects in the order in which they are asked for, and show in the panel how far that is.

    Parameters
    ----------
    session, panel
        Whose objects, and where it is shown.
    tell
        Says something in the panel, and whether it is a problem.
    """

    def __init__(self, session: Session, panel: AnnotatePanel, tell: Callable[[str, bool], None]) -> None:
        self._session, self._panel, self._tell = session, panel, tell
        self._wanted: deque[_Wanted] = deque()  # the first one is at work
        self._job = WriteJob[WrittenPropagation](self._on_progressed, self._on_ended, self._on_failed)

    @property
    def is_busy(self) -> bool:
        """Whether objects are being propagated, or wait for it."""
        return self._job.is_busy

    def add(self, label: int, axis: str, overlap: Overlap, inside: int | None) -> None:
        """Propagate an object of the shown plane after those that were asked for before.

        Raises
        ------
        ValueError, LabelsError
            See `request_propagation`.
        """
        self._wanted.append(_Wanted(request_propagation(self._session, label, axis), overlap, inside))
        self._tell(f"Label {label} is looked for on the other planes ...", False)
        if not self._job.is_busy:
            self._start()

    def cancel(self) -> None:
        """Stop; of the object at work nothing is written, and those that wait are left as they are."""
        while len(self._wanted) > 1:
            self._wanted.pop()
        self._job.cancel()

    def close(self) -> None:
        """Stop, and let go; the thread ends by itself."""
        self._wanted.clear()
        self._job.close()

    def _start(self) -> None:
        session, wanted = self._session, self._wanted[0]

        def work(progress: Progress) -> WrittenPropagation:
            found = run_propagation(session, wanted.request, between(progress, 0, _SEARCH))
            told = between(progress, _SEARCH, 1)
            return write_propagation(session, found, wanted.overlap, wanted.inside, told)

        self._job.start(work)
        self._on_progressed(0.0)

    def _on_progressed(self, done: float) -> None:
        waiting = len(self._wanted) - 1
        self._panel.show_progress(done, f"propagating, {waiting} more" if waiting else "propagating")

    def _on_failed(self, error: Exception) -> None:
        self._tell(str(error) or type(error).__name__, True)
        self._go_on()

    def _on_ended(self, written: WrittenPropagation | None) -> None:
        label = self._wanted[0].request.label
        if written is None:
            self._tell(f"Stopped; label {label} stays as it was.", False)
        else:
            if written.step is not None:
                self._session.announce(written.step)
            self._tell(self._said_of(label, written), False)
        self._go_on()

    def _go_on(self) -> None:
        self._wanted.popleft()
        self._panel.show_progress(None)
        if self._wanted:
            self._start()

    def _said_of(self, label: int, written: WrittenPropagation) -> str:
        planes = written.planes
        if not planes:
            return f"Label {label} was not found on the planes beside it."
        first, last = (self._session.planes.name_of(plane) for plane in (planes[0], planes[-1]))
        where = first if len(planes) == 1 else f"{len(planes)} more planes, {first} to {last}"
        return f"Label {label} is on {where}."
