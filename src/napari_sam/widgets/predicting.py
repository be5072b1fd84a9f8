"""What the prompts of the shown plane mean is predicted beside the window, and shown when it comes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from napari_sam.annotation import Session
from napari_sam.previews import Response
from napari_sam.several import SeveralResponse, run_several
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.each_object import EachObject
from napari_sam.widgets.jobs import LatestJob
from napari_sam.widgets.panel import ENCODING, AnnotatePanel
from napari_sam.widgets.session_layers import SessionLayers
from napari_sam.widgets.telling import Tell, words_of
from napari_sam.widgets.timers import single_shot

# While the slider moves, planes that are only passed are not encoded.
_SETTLE_MS = 60


class Predicting:
    """Predict the mask of the prompts, or those of `EachObject`, until this is closed.

    Parameters
    ----------
    session, panel, layers
        Whose prompts, where it is chosen how, and where the mask is shown.
    each
        The objects, where each prompt is one.
    tell
        Says something in the panel.
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
        self._session, self._panel, self._layers, self._each = session, panel, layers, each
        self._tell, self._note = tell, note
        self._job = LatestJob()
        self._settle = single_shot(_SETTLE_MS)
        self._connections = Connections()
        self._connections.add_all(
            (session.preview_changed, self._on_preview_changed),
            (each.emptied, self._on_preview_changed),
            (each.outdated, self.anew),
            (panel.prompting.live_changed, self._on_live_changed),
            (panel.prompting.each.toggled, self._on_each_changed),
            (self._settle.timeout, self.now),
            (self._job.progressed, self._on_progressed),
            (self._job.finished, self._on_finished),
            (self._job.failed, self._on_failed),
            (self._job.idle, self._on_idle),
        )

    @property
    def is_busy(self) -> bool:
        """Whether something is being predicted, or about to be."""
        return self._settle.isActive() or self._job.is_busy

    def close(self) -> None:
        """Let go; the thread ends by itself."""
        self._settle.stop()
        self._connections.close()
        self._job.close()
        self._panel.prompting.show_preview(None)
        self._panel.show_share(ENCODING, None)

    def soon(self) -> None:
        """Predict once the user stays on the plane."""
        self._settle.start(_SETTLE_MS)  # or it would keep the last interval

    def after_changes(self) -> None:
        """Predict once all that changes in this turn has, if that is wanted at every change."""
        if self._panel.prompting.live.isChecked():
            self._settle.start(0)

    def now(self, asked: bool = False) -> None:
        """Predict what the prompts mean if that is ``asked`` for, or wanted at every change; else encode."""
        session = self._session
        wanted = asked or self._panel.prompting.live.isChecked()
        each = wanted and self._each.is_wanted
        if each and (several := self._each.request()) is not None:
            self._job.submit(lambda progress: run_several(session, several, progress), key=several.plane)
            return
        request = session.request(preview=wanted and not each)
        self._job.submit(lambda progress: session.run(request, progress), key=request.plane)

    def anew(self) -> None:
        """Let go of what the prompts gave, also of what is on its way, and ask for it again."""
        self._session.clear_preview()
        self._on_preview_changed()
        if self._panel.prompting.live.isChecked():
            self.now()

    def stop(self) -> None:
        """Stop, until it is asked for again."""
        self._job.cancel()

    def _on_preview_changed(self) -> None:
        preview = self._session.preview
        self._each.forget()
        if preview is None:
            is_next_near = self._panel.prompting.live.isChecked() and not self._session.prompt.is_empty
            self._layers.hide_preview(is_next_near)
            self._panel.prompting.show_preview(None)
        else:
            self._layers.show_preview(preview)
            order = np.argsort(-preview.scores, kind="stable").tolist()
            self._panel.prompting.show_preview(preview.score, order.index(preview.chosen) + 1, len(order))

    def _on_live_changed(self, live: bool) -> None:
        if live:
            self.now()

    def _on_each_changed(self, _each: bool) -> None:
        """Let the same prompts mean one object, or one each."""
        self.anew()

    def _on_finished(self, response: Response | SeveralResponse) -> None:
        self._note(response.request.plane)
        if isinstance(response, Response):
            self._session.accept(response)
        else:
            self._each.show(response)

    def _on_failed(self, error: Exception) -> None:
        self._tell(words_of(error), problem=True)

    def _on_progressed(self, done: float) -> None:
        self._panel.show_share(ENCODING, done)

    def _on_idle(self) -> None:
        self._panel.show_share(ENCODING, None)
