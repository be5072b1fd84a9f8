"""One running annotation: what the user does goes to the session, what the session says to the view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer
from napari.utils.notifications import show_error, show_warning

from napari_sam.annotation import Session
from napari_sam.previews import Response
from napari_sam.several import SeveralResponse, run_several
from napari_sam.storage.records import Step
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.each_object import EachObject
from napari_sam.widgets.history import History, Move, own_strokes
from napari_sam.widgets.hover import Hover
from napari_sam.widgets.jobs import LatestJob
from napari_sam.widgets.label_prompt import selected_object
from napari_sam.widgets.made_layers import MadeLayers
from napari_sam.widgets.panel import ENCODING, AnnotatePanel
from napari_sam.widgets.picking import ObjectPicker
from napari_sam.widgets.propagation import Propagator
from napari_sam.widgets.reading_ahead import ReadingAhead
from napari_sam.widgets.session_layers import SessionLayers
from napari_sam.widgets.stack_binding import StackBinding
from napari_sam.widgets.strokes import Strokes
from napari_sam.widgets.taking_away import together
from napari_sam.widgets.telling import tell, words_of
from napari_sam.widgets.timers import single_shot
from napari_sam.widgets.tools import ToolChoice

# While the slider moves, planes that are only passed are not encoded.
_SETTLE_MS = 60


class SessionController:
    """Bind a session to its layers, the viewer and the panel, until it is closed.

    The layers hold the prompts of all planes; the session follows them for the plane that is shown, and they
    follow the session when a script sets its prompt.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        panel: AnnotatePanel,
        image: Image,
        session: Session,
        made: MadeLayers,
    ) -> None:
        self.session = session
        self._viewer = viewer
        self._panel = panel
        self._tell = partial(tell, panel)
        self._layers = SessionLayers(viewer, image, session, made)
        self._strokes = Strokes(self._layers.labels, self._tell)
        self._tools = ToolChoice(viewer, self._layers.prompts, panel)
        self._job = LatestJob()
        self._hover = Hover(viewer, self._layers.frame, session, made.hover, self._is_hover_wanted)
        self._hover.switch(panel.hover.isChecked())
        self._picker = ObjectPicker(viewer, self._layers, self._tools, session, self._tell)
        self._history = History(session, self._tell)
        self._each = EachObject(
            session,
            panel,
            self._layers,
            self._tell,
            show_none=self._on_session_preview_changed,
            predict_anew=self._predict_anew,
        )
        self._stack = StackBinding(session, panel.stack, panel.seen)
        self._propagator = Propagator(session, panel, self._layers, self._each, self._tell, self._stack.note)
        self._ahead = ReadingAhead(session.store)
        self._settle = single_shot(_SETTLE_MS)
        self._following = False
        self._unread = False  # whether prompts have changed while no plane was shown
        self._connections = Connections()
        self._connections.add_all(*self._signals())
        panel.show_session(True)
        self._tools.choose("points")
        self._greeting = f"Click on an object. Labels: {session.store.path}"
        if session.store.read_only:
            show_error(f"The labels can only be read: {session.store.read_only}.")
        self._on_dims_changed()
        self._read_prompts()
        self._greeting = ""
        self._stack.start()
        self._panel.show_propagation(self._stack.objects_go_on_along)

    @property
    def is_busy(self) -> bool:
        """Whether something is being computed or taken away, or about to be."""
        computing = (
            self._layers.is_busy or self._settle.isActive() or self._job.is_busy or self._hover.is_busy
        )
        return computing or self._history.is_busy or self._each.is_writing or self._propagator.is_busy

    def close(self) -> None:
        """Let go of everything; all layers but the preview stay, and what was committed is on disk."""
        self._each.close()
        self._settle.stop()
        self._connections.close()
        self._job.close()
        self._history.close()
        self._propagator.close()
        self._picker.close()
        self._stack.close()
        self._ahead.close()
        self._tools.close()
        self._strokes.close()
        with together(self._viewer):
            self._hover.close()
            self._layers.close()
        self.session.close()
        self._panel.show_session(False)
        self._panel.show_preview(None)
        self._panel.show_share(ENCODING, None)

    def needs(self, layer: Layer) -> bool:
        """Whether the annotation cannot go on without ``layer``."""
        return self._layers.needs(layer)

    def _signals(self) -> list[tuple[Any, Callable[..., Any]]]:
        session, panel, job, dims = self.session, self._panel, self._job, self._viewer.dims.events
        return [
            (session.plane_changed, self._on_session_plane_changed),
            (session.prompt_changed, self._on_session_prompt_changed),
            (session.preview_changed, self._on_session_preview_changed),
            (session.committed, self._layers.show_commit),
            (session.undone, self._on_session_moved),
            (session.redone, self._on_session_moved),
            (session.store.changed, self._on_store_changed),
            (session.noticed, self._on_session_noticed),
            (self._layers.prompts.changed, self._on_prompts_changed),
            (dims.current_step, self._on_dims_changed),
            (dims.order, self._on_dims_changed),
            (dims.ndisplay, self._on_dims_changed),
            (self._tools.changed, self._on_tool_changed),
            (panel.next_requested, session.next_candidate),
            (panel.commit_requested, self._on_commit_requested),
            (panel.propagate_requested, self._on_propagate_requested),
            (panel.clear_requested, self._on_clear_requested),
            (panel.undo_requested, self._on_undo_requested),
            (panel.redo_requested, self._on_redo_requested),
            (panel.predict_requested, self._on_predict_requested),
            (panel.cancel_requested, self._on_cancel_requested),
            (panel.live_changed, self._on_live_changed),
            (panel.hover.toggled, self._hover.switch),
            (panel.each.toggled, self._on_each_changed),
            (panel.label_requested, self._on_label_requested),
            (self._settle.timeout, self._compute),
            (job.progressed, self._on_job_progressed),
            (job.finished, self._on_job_finished),
            (job.failed, self._on_job_failed),
            (job.idle, self._on_job_idle),
        ]

    # The session tells

    def _on_session_plane_changed(self) -> None:
        """Follow the session to another plane, of which the layers may hold prompts that it does not know."""
        self._each.leave_plane()
        self._following = True  # on the way the viewer passes planes that nobody asked for
        try:
            self._layers.show_plane(self.session.plane)
        finally:
            self._following = False
        self._panel.show_propagation(self._stack.objects_go_on_along)
        self._panel.show_status(self._where())
        self._read_prompts()
        self._settle.start()

    def _on_session_prompt_changed(self) -> None:
        self._each.drop()  # they are of the prompts before
        self._layers.prompts.write(self.session.plane, self.session.prompt)
        if self.session.target is not None and not self._tools.tool:
            self._tools.choose("points")  # an object was taken up, to be corrected by clicks
        if self._panel.live.isChecked():
            self._settle.start(0)

    def _on_session_preview_changed(self) -> None:
        preview = self.session.preview
        self._each.forget()
        if preview is None:
            is_next_near = self._panel.live.isChecked() and not self.session.prompt.is_empty
            self._layers.hide_preview(is_next_near)
            self._panel.show_preview(None)
        else:
            self._layers.show_preview(preview)
            order = np.argsort(-preview.scores, kind="stable").tolist()
            self._panel.show_preview(preview.score, order.index(preview.chosen) + 1, len(order))

    def _on_session_moved(self, _step: Step) -> None:
        self._layers.show_labels()

    def _on_store_changed(self, step: Step) -> None:
        """Show edits of objects; the brush shows what it paints by itself, faster."""
        if step.kind != "brush":
            self._layers.show_labels()
        self._each.ask_again_for_gone()

    def _on_session_noticed(self, message: str) -> None:
        show_warning(message)
        self._panel.show_status(message, problem=True)

    # The viewer and its layers tell

    def _on_prompts_changed(self) -> None:
        try:
            self.session.show(self._layers.shown_plane())
        except ValueError as error:
            self._unread = True
            self._tell(str(error), problem=True)
            return
        self._unread = False
        strays = self._layers.prompts.take_strays()
        before = self.session.prompt
        self._read_prompts()
        # What all of them mean together may be the same where what each means is not.
        if self._each.is_wanted and self.session.prompt is before and self._each.is_outdated:
            self._predict_anew()
        self._panel.show_polarity(self._layers.prompts.positive)
        if strays:
            self._tell("Clicks beside the image are no prompts; click on the image.", problem=True)

    def _on_dims_changed(self, _event: Any = None) -> None:
        if self._following:
            return
        try:
            plane = self._layers.shown_plane()
            self.session.show(plane)
        except ValueError as error:  # there is none, or one that is too large
            self._panel.show_status(str(error), problem=True)
            return
        self._panel.show_status(self._where())
        self._settle.start()
        if self._unread:
            self._on_prompts_changed()

    def _on_tool_changed(self) -> None:
        if not self._is_hover_wanted():
            self._hover.hide()

    def _read_prompts(self) -> None:
        """Give the session what the layers hold for its plane."""
        self.session.set_prompt(self._layers.prompts.read(self.session.plane))

    def _where(self) -> str:
        """Say which plane is shown, after what is said first of all."""
        sentences = [self._greeting] if self._greeting else []
        if where := self.session.planes.name_of(self.session.plane):
            sentences.append(f"Plane {where}.")
        if self.session.store.read_only:
            sentences.append(f"The labels can only be read: {self.session.store.read_only}.")
        return " ".join(sentences)

    # The panel asks

    def _is_shown(self) -> bool:
        """Whether the session's plane is before the user's eyes; if not, say why."""
        try:
            plane = self._layers.shown_plane()
            self.session.planes.check(plane)
        except ValueError as error:  # there is none, or one that is too large
            self._tell(str(error), problem=True)
            return False
        if plane != self.session.plane:
            self._tell(
                "Another plane is shown than the prompts belong to; go to theirs first.",
                problem=True,
            )
        return plane == self.session.plane

    def _on_commit_requested(self) -> None:
        if not self._may_write() or not self._is_shown():
            return
        if self._each.is_shown:
            self._each.commit()
            return
        if self._is_computing():
            return
        try:
            overlap, inside = self._panel.overlap.of(self.session)
            label = self.session.commit(overlap, inside)
        except (ValueError, OSError) as error:
            self._tell(str(error), problem=True)
            return
        self._tell(f"Committed as label {label}.")

    def _on_propagate_requested(self) -> None:
        axis = self._stack.objects_go_on_along
        if axis is None:
            self._tell("This image has no axis along which objects go on; commit by C.")
        elif self._may_write() and self._is_shown() and not self._is_computing():
            self._propagator.commit_along(axis)

    def _is_computing(self) -> bool:
        """Whether the mask of the prompt is not there yet; if not, say so."""
        session = self.session
        if self._each.is_shown or session.prompt.is_empty or session.preview is not None:
            return False
        is_near = self._settle.isActive() or self._job.is_busy
        how = "it is still being computed" if is_near else "press Predict first"
        self._tell(f"There is no mask of the prompt yet: {how}.")
        return True

    def _may_write(self) -> bool:
        """Whether nothing is being written; if it is, say so."""
        if self._each.is_writing:
            self._tell("The objects are still being written; wait until they are, or press Stop.")
        return not self._each.is_writing

    def _on_clear_requested(self) -> None:
        self.session.clear_prompt()
        self._panel.show_status(self._where())  # what was said of an object that was taken up holds no more

    def _on_undo_requested(self) -> None:
        self._move("undo")

    def _on_redo_requested(self) -> None:
        self._move("redo")

    def _move(self, move: Move) -> None:
        """Undo or redo, in another Labels layer if the user paints there."""
        if (theirs := own_strokes(self._viewer, self._layers.labels)) is not None:
            (theirs.undo if move == "undo" else theirs.redo)()
            self._tell(f"{move.capitalize()} in {theirs.name!r}.")
        elif self._may_write():
            self._history.move(move)

    def _on_label_requested(self) -> None:
        """Take the selected object of a Labels layer as prompt; one of ours is taken up, to be refined."""
        if not self._is_shown():
            return
        layer, session = self._layers.labels_chosen(), self.session
        try:
            mask = selected_object(self._viewer, layer, self._layers.frame, session.plane)
            if layer is self._layers.labels:
                session.take_up(int(layer.selected_label))
            else:
                session.set_prompt(replace(session.prompt, mask=mask))
        except ValueError as error:
            self._tell(str(error), problem=True)

    def _is_hover_wanted(self) -> bool:
        """Whether a click would start an object on the plane that is shown."""
        return self.session.prompt.is_empty and self._tools.tool == "points"

    def _on_predict_requested(self) -> None:
        if not self._is_shown():
            return
        if self.session.prompt.is_empty:
            self._tell("There is no prompt on this plane; click on an object or drag a box.")
        self._compute(asked=True)

    def _on_cancel_requested(self) -> None:
        if self._each.is_writing:
            self._each.stop()
            return
        if self._propagator.is_busy:
            self._propagator.cancel()
            return
        self._job.cancel()
        self._tell("Stopped. Move to another plane, or press Predict, to go on.")

    def _on_live_changed(self, live: bool) -> None:
        if live:
            self._compute()

    def _on_each_changed(self, _each: bool) -> None:
        """Let the same prompts mean one object, or one each."""
        self._predict_anew()

    def _predict_anew(self) -> None:
        """Let go of what the prompts gave, also of what is on its way, and ask for it again."""
        self.session.clear_preview()
        self._on_session_preview_changed()
        if self._panel.live.isChecked():
            self._compute()

    # Computing

    def _compute(self, asked: bool = False) -> None:
        """Ask for the embedding of the shown plane, and for the preview if it is wanted."""
        session = self.session
        wanted = asked or self._panel.live.isChecked()
        each = wanted and self._each.is_wanted
        if each and (several := self._each.request()) is not None:
            self._job.submit(lambda progress: run_several(session, several, progress), key=several.plane)
            return
        request = session.request(preview=wanted and not each)
        self._job.submit(lambda progress: session.run(request, progress), key=request.plane)

    def _on_job_finished(self, response: Response | SeveralResponse) -> None:
        self._stack.note(response.request.plane)
        if isinstance(response, Response):
            self.session.accept(response)
        else:
            self._each.show(response)

    def _on_job_failed(self, error: Exception) -> None:
        self._tell(words_of(error), problem=True)

    def _on_job_progressed(self, done: float) -> None:
        self._panel.show_share(ENCODING, done)

    def _on_job_idle(self) -> None:
        self._panel.show_share(ENCODING, None)
