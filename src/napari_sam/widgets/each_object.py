"""One object per prompt: what the prompts of a plane give together is shown, and written one by one."""

from __future__ import annotations

from collections.abc import Callable

from psygnal import Signal

from napari_sam.annotation import Session
from napari_sam.inference.prompts import Prompt
from napari_sam.plane import Plane
from napari_sam.several import SeveralRequest, SeveralResponse, request_several
from napari_sam.widgets.finished import FinishedPrompts
from napari_sam.widgets.panel import AnnotatePanel
from napari_sam.widgets.session_layers import SessionLayers
from napari_sam.widgets.several_commit import Outcome, SeveralCommit
from napari_sam.widgets.telling import Tell


class EachObject:
    """Know the objects of the shown plane, one for each prompt, until they are written or out of date.

    Parameters
    ----------
    session, panel, layers
        Whose prompts, where it is chosen, and what holds the prompts and shows the objects.
    tell
        Says something in the panel, and whether it is a problem.

    Attributes
    ----------
    emptied
        Emitted without arguments when there are none to show any more.
    outdated
        Emitted without arguments when what was asked for is out of date.
    """

    emptied = Signal()
    outdated = Signal()

    def __init__(
        self,
        session: Session,
        panel: AnnotatePanel,
        layers: SessionLayers,
        tell: Tell,
    ) -> None:
        self._session, self._panel, self._layers = session, panel, layers
        self._tell = tell
        self._shown: SeveralResponse | None = None
        self._answer: SeveralResponse | None = None  # the last one of the plane
        self._committing = SeveralCommit(session, panel, self._on_committed)
        self._finished = FinishedPrompts(session.store.ledger)
        self._meant: list[Prompt] = []  # the prompts of what is being committed
        self._then: Callable[[Plane, list[int]], None] | None = None
        self._asked: list[Prompt] = []  # those that were asked for last

    @property
    def is_wanted(self) -> bool:
        """Whether each prompt is an object; those of one that was taken up are all about that one."""
        return self._panel.prompting.each.isChecked() and self._session.target is None

    @property
    def is_shown(self) -> bool:
        """Whether objects are shown, which a commit would write."""
        return self._shown is not None

    @property
    def is_writing(self) -> bool:
        """Whether objects are being written."""
        return self._committing.is_busy

    @property
    def is_outdated(self) -> bool:
        """Whether the prompts of the shown plane are others than those that were asked for last."""
        return self._prompts != self._asked

    def request(self) -> SeveralRequest | None:
        """Freeze what is to be predicted for the shown plane; None where nothing is left to be."""
        self._asked = self._prompts
        unfinished = self._finished.left(self._session.plane, self._asked)
        return request_several(self._session, unfinished, self._answer) if unfinished else None

    def show(self, response: SeveralResponse) -> None:
        """Show the objects, unless the session has moved on since they were asked for."""
        if response.request.plane == self._session.plane:
            self._answer = response
        if response.request.generation == self._session.request().generation:
            self._show(response)

    def forget(self) -> None:
        """Let go of what is shown, as something else is."""
        self._shown = None

    def drop(self) -> None:
        """Take away what is shown; the session, which does not know of it, has nothing to tell then."""
        if self._shown is not None:
            self.emptied.emit()

    def leave_plane(self) -> None:
        """Let go of all that was of the plane before, whose pixels may change."""
        self._answer = None
        self.drop()

    def ask_again_for_gone(self) -> None:
        """Ask for objects again that are gone, as by an undo, while their prompts are there."""
        if self._finished.forget_gone() and self.is_wanted:
            self.outdated.emit()

    def commit(self, then: Callable[[Plane, list[int]], None] | None = None) -> None:
        """Begin to write what is shown; ``then`` is told the plane and the labels when all of it is."""
        assert self._shown is not None, "something is shown"
        try:
            claim = self._panel.prompting.overlap.of_several()
        except ValueError as error:
            self._tell(str(error), problem=True)
            return
        self._meant, self._then = self._layers.prompts.read_each(self._shown.request.plane), then
        self._committing.write(self._shown, claim)

    def stop(self) -> None:
        """Write no further ones; those that are written stay."""
        self._committing.stop()

    def close(self) -> None:
        """Write those that are left, as the user was told that they would be, and let go."""
        self._committing.close()

    @property
    def _prompts(self) -> list[Prompt]:
        return self._layers.prompts.read_each(self._session.plane)

    def _show(self, response: SeveralResponse) -> None:
        self._layers.show_several(response.previews)
        self._panel.prompting.show_several(len(response.previews), *response.scores)
        self._shown = response

    def _on_committed(self, outcome: Outcome) -> None:
        """Clear the prompts that were written; the plane may be another one by now, and prompts too."""
        written, left_out = outcome.written, outcome.left_out
        plane, total = outcome.response.request.plane, len(outcome.response.previews)
        is_all = outcome.error is None and written + left_out == total
        stays = self._layers.prompts.read_each(plane) != self._meant
        if not is_all or stays:
            self._finished.add(plane, outcome.finished)
        if self._shown is outcome.response:  # what is written must not be written again
            self.drop()
            if not is_all:
                self._show(outcome.unwritten)
        elif (not is_all or stays) and plane == self._session.plane and self.is_wanted:
            self.outdated.emit()  # what is shown, or on its way, was asked for before they were finished
        if outcome.error is not None:
            self._tell(f"{outcome.error} {written} of {total} objects were written.", problem=True)
            return
        if not is_all:
            self._tell(f"Stopped. Committed {written} of {total} objects; the prompts stay.")
            return
        stay = ""
        if stays:
            stay = ", and the prompts stay, as they have changed"
        elif plane == self._session.plane:
            self._session.clear_prompt()
        else:
            self._layers.prompts.write(plane, Prompt())
        left = f"; of {left_out} others no pixel was left to write" if left_out else ""
        self._tell(f"Committed {written} object{'s' * (written != 1)}{left}{stay}.")
        labels = [label for _, label in outcome.finished if self._session.store.ledger.object(label)]
        if self._then is not None and labels:
            self._then(plane, labels)
