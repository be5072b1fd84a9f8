"""Objects are propagated beside the window, one after the other, while the user goes on with the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from napari_sam.annotation import Session
from napari_sam.plane import Plane
from napari_sam.propagating.finding import PropagationRequest, request_propagation
from napari_sam.propagating.writing import WrittenPropagation, run_and_write
from napari_sam.storage.changes import Claim
from napari_sam.widgets.each_object import EachObject
from napari_sam.widgets.panel import PROPAGATING, AnnotatePanel
from napari_sam.widgets.session_layers import SessionLayers
from napari_sam.widgets.telling import Tell, words_of
from napari_sam.widgets.write_job import WriteJob


class Propagator:
    """Propagate objects in the order in which they are asked for, and show in the panel how far that is.

    Parameters
    ----------
    session, panel
        Whose objects, and where it is shown.
    layers, each
        What is selected, and the objects that are prompted together.
    tell
        Says something in the panel, and whether it is a problem.
    note
        Told the planes that have become ready on the way.
    """

    def __init__(
        self,
        session: Session,
        panel: AnnotatePanel,
        layers: SessionLayers,
        each: EachObject,
        tell: Tell,
        note: Callable[..., None],
    ) -> None:
        self._session, self._panel, self._tell, self._note = session, panel, tell, note
        self._layers, self._each = layers, each
        self._wanted: deque[PropagationRequest] = deque()  # the first one is at work
        self._dropped = 0  # how many waited when it was stopped
        self._found: list[bool] = []  # whether each was, since there was nothing to do
        self._job = WriteJob[WrittenPropagation](self._on_progressed, self._on_ended, self._on_failed)

    @property
    def is_busy(self) -> bool:
        """Whether objects are being propagated, or wait for it."""
        return self._job.is_busy

    def commit_along(self, axis: str) -> None:
        """Commit what is previewed and propagate it; else the object that is selected in the labels."""
        session, choice = self._session, self._panel.prompting.overlap
        try:
            if self._each.is_shown:
                self._each.commit(then=partial(self._add, axis, choice.of_several()))
                return
            if session.preview is None:
                claim = choice.of_several()
                label = int(self._layers.labels.selected_label)
            else:
                claim = choice.of(session)
                label = session.commit(claim.overlap, claim.inside)
        except (ValueError, OSError) as error:
            self._tell(str(error), problem=True)
            return
        self._add(axis, claim, session.plane, [label])

    def cancel(self) -> None:
        """Stop; of the object at work nothing is written, and those that wait are left as they are."""
        self._dropped = len(self._wanted) - 1
        while len(self._wanted) > 1:
            self._wanted.pop()
        self._job.cancel()

    def close(self) -> None:
        """Stop, and let go; the thread ends by itself."""
        self._wanted.clear()
        self._job.close()
        self._panel.show_share(PROPAGATING, None)

    def _add(self, axis: str, claim: Claim, plane: Plane, labels: Sequence[int]) -> None:
        """Propagate objects of a plane after those that were asked for before."""
        session = self._session
        try:
            requests = [
                request_propagation(session, label, axis, claim=claim, plane=plane) for label in labels
            ]
        except (ValueError, OSError) as error:
            self._tell(str(error), problem=True)
            return
        self._wanted.extend(requests)
        which = f"Label {labels[0]} is" if len(labels) == 1 else f"{len(labels)} objects are"
        self._tell(f"{which} looked for on the other planes ...")
        if not self._job.is_busy:
            self._found.clear()
            self._start()

    def _start(self) -> None:
        self._job.start(partial(run_and_write, self._session, self._wanted[0]))
        self._on_progressed(0.0)

    def _on_progressed(self, done: float) -> None:
        waiting = len(self._wanted) - 1
        self._panel.show_share(PROPAGATING, done, f"propagating, {waiting} more" if waiting else "")

    def _on_failed(self, error: Exception) -> None:
        self._end()
        self._tell(words_of(error), problem=True)

    def _on_ended(self, written: WrittenPropagation | None) -> None:
        label = self._end().label
        if written is None:
            others = ", as do those that waited" if self._dropped else ""
            self._tell(f"Stopped; label {label} stays as it was{others}.")
            return
        self._found.append(bool(written.planes))
        self._note(*written.planes)
        if written.step is not None:
            self._session.announce(written.step)
        self._tell(self._said(label, written))

    def _end(self) -> PropagationRequest:
        """Go on with the next one, if there is one."""
        ended = self._wanted.popleft()
        if self._wanted:
            self._start()
        else:
            self._panel.show_share(PROPAGATING, None)
        return ended

    def _said(self, label: int, written: WrittenPropagation) -> str:
        """Say what came of the last object, or of several."""
        if len(self._found) > 1:
            return f"Of {len(self._found)} objects {sum(self._found)} are on other planes too."
        gone = f" It is no longer on {self._range(written.erased)}." if written.erased else ""
        if not written.planes:
            return f"Label {label} does not go on to the planes beside it.{gone}"
        count = f"{len(written.planes)} more planes, " if len(written.planes) > 1 else ""
        return f"Label {label} is on {count}{self._range(written.planes)}.{gone}"

    def _range(self, planes: Sequence[Plane]) -> str:
        first, last = (self._session.planes.name_of(plane) for plane in (planes[0], planes[-1]))
        return first if first == last else f"{first} to {last}"
