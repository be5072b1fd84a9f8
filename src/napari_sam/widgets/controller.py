"""One running annotation: what the user does goes to the session, what the session says to the view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Layer
from napari.utils.notifications import show_error, show_warning

from napari_sam.annotation import Session
from napari_sam.storage.records import Step
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.each_object import EachObject
from napari_sam.widgets.following import Following
from napari_sam.widgets.history import History, Move, own_strokes
from napari_sam.widgets.hover import Hover
from napari_sam.widgets.label_prompt import selected_object
from napari_sam.widgets.made_layers import MadeLayers
from napari_sam.widgets.panel import AnnotatePanel
from napari_sam.widgets.picking import ObjectPicker
from napari_sam.widgets.predicting import Predicting
from napari_sam.widgets.propagation import Propagator
from napari_sam.widgets.reading_ahead import ReadingAhead
from napari_sam.widgets.session_layers import SessionLayers
from napari_sam.widgets.stack_binding import StackBinding
from napari_sam.widgets.strokes import Strokes
from napari_sam.widgets.taking_away import together
from napari_sam.widgets.telling import tell
from napari_sam.widgets.tools import ToolChoice


class SessionController:
    """Bind a session to its layers, the viewer and the panel, until it is closed."""

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
        self._tools = ToolChoice(viewer, self._layers.prompts, panel.prompting)
        self._hover = Hover(viewer, self._layers.frame, session, made.hover, self._is_hover_wanted)
        self._hover.switch(panel.prompting.hover.isChecked())
        self._picker = ObjectPicker(viewer, self._layers, self._tools, session, self._tell)
        self._history = History(session, self._tell)
        self._each = EachObject(session, panel, self._layers, self._tell)
        self._stack = StackBinding(session, panel.stack, panel.seen)
        self._propagator = Propagator(session, panel, self._layers, self._each, self._tell, self._stack.note)
        self._ahead = ReadingAhead(session.store)
        self._predicting = Predicting(session, panel, self._layers, self._each, self._tell, self._stack.note)
        self._following = Following(
            viewer,
            session,
            self._layers,
            panel,
            self._tell,
            self._tools,
            self._each,
            self._predicting,
            self._stack,
        )
        self._connections = Connections()
        self._connections.add_all(*self._signals())
        panel.show_session(True)
        self._tools.choose("points")
        if session.store.read_only:
            show_error(f"The labels can only be read: {session.store.read_only}.")
        self._following.begin(f"Click on an object. {_labels_in_words(session)}")
        self._stack.start()
        self._panel.prompting.show_propagation(self._stack.objects_go_on_along)

    @property
    def is_busy(self) -> bool:
        """Whether something is being computed or taken away, or about to be."""
        parts = (self._layers, self._predicting, self._hover, self._history, self._propagator, self._strokes)
        return self._each.is_writing or any(part.is_busy for part in parts)

    def close(self) -> None:
        """Let go of everything; all layers but the preview stay, and what was committed is on disk."""
        self._each.close()
        self._connections.close()
        self._following.close()
        self._predicting.close()
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

    def needs(self, layer: Layer) -> bool:
        """Whether the annotation cannot go on without ``layer``."""
        return self._layers.needs(layer)

    def _signals(self) -> list[tuple[Any, Callable[..., Any]]]:
        session, panel = self.session, self._panel
        return [
            (session.committed, self._layers.show_commit),
            (session.undone, self._on_session_moved),
            (session.redone, self._on_session_moved),
            (session.store.changed, self._on_store_changed),
            (session.noticed, self._on_session_noticed),
            (self._tools.changed, self._on_tool_changed),
            (panel.prompting.next_requested, session.next_candidate),
            (panel.prompting.commit_requested, self._on_commit_requested),
            (panel.prompting.propagate_requested, self._on_propagate_requested),
            (panel.prompting.clear_requested, self._on_clear_requested),
            (panel.prompting.undo_requested, self._on_undo_requested),
            (panel.prompting.redo_requested, self._on_redo_requested),
            (panel.prompting.predict_requested, self._on_predict_requested),
            (panel.cancel_requested, self._on_cancel_requested),
            (panel.prompting.hover.toggled, self._hover.switch),
            (panel.prompting.label_requested, self._on_label_requested),
        ]

    # The session tells

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

    def _on_tool_changed(self) -> None:
        if not self._is_hover_wanted():
            self._hover.hide()

    # The panel asks

    def _on_commit_requested(self) -> None:
        if not self._may_write() or not self._following.is_shown():
            return
        if self._each.is_shown:
            self._each.commit()
            return
        if self._is_computing():
            return
        try:
            claim = self._panel.prompting.overlap.of(self.session)
            label = self.session.commit(claim.overlap, claim.inside)
        except (ValueError, OSError) as error:
            self._tell(str(error), problem=True)
            return
        self._tell(f"Committed as label {label}.")

    def _on_propagate_requested(self) -> None:
        axis = self._stack.objects_go_on_along
        if axis is None:
            self._tell("This image has no axis along which objects go on; commit by C.")
        elif self._may_write() and self._following.is_shown() and not self._is_computing():
            self._propagator.commit_along(axis)

    def _is_computing(self) -> bool:
        """Whether the mask of the prompt is not there yet; if not, say so."""
        session = self.session
        if self._each.is_shown or session.prompt.is_empty or session.preview is not None:
            return False
        how = "it is still being computed" if self._predicting.is_busy else "press Predict first"
        self._tell(f"There is no mask of the prompt yet: {how}.")
        return True

    def _may_write(self) -> bool:
        """Whether nothing is being written; if it is, say so."""
        if self._each.is_writing:
            self._tell("The objects are still being written; wait until they are, or press Stop.")
        return not self._each.is_writing

    def _on_clear_requested(self) -> None:
        self.session.clear_prompt()
        self._following.show_where()  # what was said of an object that was taken up holds no more

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
        if not self._following.is_shown():
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
        if not self._following.is_shown():
            return
        if self.session.prompt.is_empty:
            self._tell("There is no prompt on this plane; click on an object or drag a box.")
        self._predicting.now(asked=True)

    def _on_cancel_requested(self) -> None:
        if self._each.is_writing:
            self._each.stop()
            return
        if self._propagator.is_busy:
            self._propagator.cancel()
            return
        self._predicting.stop()
        self._tell("Stopped. Move to another plane, or press Predict, to go on.")


def _labels_in_words(session: Session) -> str:
    """Say which labels these are: a path may be mistyped, and a disk not be there."""
    store = session.store
    count = store.ledger.object_count()
    if count == 0 and store.ledger.last_done() is None:
        return f"New labels: {store.path}"
    return f"Labels, {count} object{'s' * (count != 1)}: {store.path}"
