"""Viewer and session show the same plane, and the prompt layers hold what the session's prompt is there."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel

from napari_sam.annotation import Session
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.each_object import EachObject
from napari_sam.widgets.panel import AnnotatePanel
from napari_sam.widgets.predicting import Predicting
from napari_sam.widgets.session_layers import SessionLayers
from napari_sam.widgets.stack_binding import StackBinding
from napari_sam.widgets.telling import Tell
from napari_sam.widgets.tools import ToolChoice


class Following:
    """Let the session follow the viewer and its layers, and these follow a session that a script moves.

    The layers hold the prompts of all planes; the session has those of the plane that is shown.

    Parameters
    ----------
    viewer, session, layers
        What follows each other.
    panel, tell
        Where it is said which plane is shown, and what is wrong.
    tools
        Is given the points where an object was taken up.
    each, predicting
        Are told that a plane is left, or what is prompted has changed.
    stack
        Knows along which axis objects go on.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        session: Session,
        layers: SessionLayers,
        panel: AnnotatePanel,
        tell: Tell,
        tools: ToolChoice,
        each: EachObject,
        predicting: Predicting,
        stack: StackBinding,
    ) -> None:
        self._session, self._layers, self._panel, self._tell = session, layers, panel, tell
        self._tools, self._each, self._predicting, self._stack = tools, each, predicting, stack
        self._is_moving = False  # whether the viewer is brought to the session's plane
        self._unread = False  # whether prompts have changed while no plane was shown
        self._greeting = ""
        # Since napari 0.9 the grid belongs to the viewer's canvas.
        self._grid = getattr(viewer, "canvas", viewer).grid
        dims = viewer.dims.events
        self._connections = Connections()
        self._connections.add_all(
            (session.plane_changed, self._on_plane_changed),
            (session.prompt_changed, self._on_prompt_changed),
            (layers.prompts.changed, self._on_prompts_changed),
            (dims.current_step, self._on_dims_changed),
            (dims.order, self._on_dims_changed),
            (dims.ndisplay, self._on_dims_changed),
            (self._grid.events.enabled, self._on_grid_switched),
        )

    def begin(self, greeting: str) -> None:
        """Take over what is shown and prompted, and say so after ``greeting``."""
        self._greeting = greeting
        self._on_dims_changed()
        self._read_prompts()
        self._greeting = ""
        self._on_grid_switched()

    def close(self) -> None:
        """Stop to listen."""
        self._connections.close()

    def is_shown(self) -> bool:
        """Whether the session's plane is before the user's eyes; if not, say why."""
        try:
            plane = self._layers.shown_plane()
            self._session.planes.check(plane)
        except ValueError as error:  # there is none, or one that is too large
            self._tell(str(error), problem=True)
            return False
        if plane != self._session.plane:
            self._tell("Another plane is shown than the prompts belong to; go to theirs first.", problem=True)
        return plane == self._session.plane

    def show_where(self) -> None:
        """Say which plane is shown, instead of what was said before."""
        session = self._session
        sentences = [self._greeting] if self._greeting else []
        if where := session.planes.name_of(session.plane):
            sentences.append(f"Plane {where}.")
        if session.store.read_only:
            sentences.append(f"The labels can only be read: {session.store.read_only}.")
        self._panel.show_status(" ".join(sentences))

    # The session tells

    def _on_plane_changed(self) -> None:
        """Follow the session to another plane, of which the layers may hold prompts that it does not know."""
        self._each.leave_plane()
        self._is_moving = True  # on the way the viewer passes planes that nobody asked for
        try:
            self._layers.show_plane(self._session.plane)
        finally:
            self._is_moving = False
        self._panel.prompting.show_propagation(self._stack.objects_go_on_along)
        self.show_where()
        self._read_prompts()
        self._predicting.soon()

    def _on_prompt_changed(self) -> None:
        self._each.drop()  # they are of the prompts before
        self._layers.prompts.write(self._session.plane, self._session.prompt)
        if self._session.target is not None and not self._tools.tool:
            self._tools.choose("points")  # an object was taken up, to be corrected by clicks
        self._predicting.after_changes()

    # The viewer and its layers tell

    def _on_prompts_changed(self) -> None:
        try:
            self._session.show(self._layers.shown_plane())
        except ValueError as error:
            self._unread = True
            self._tell(str(error), problem=True)
            return
        self._unread = False
        strays = self._layers.prompts.take_strays()
        before = self._session.prompt
        self._read_prompts()
        # What all of them mean together may be the same where what each means is not.
        if self._each.is_wanted and self._session.prompt is before and self._each.is_outdated:
            self._predicting.anew()
        self._panel.prompting.show_polarity(self._layers.prompts.positive)
        if strays:
            self._tell("Clicks beside the image are no prompts; click on the image.", problem=True)

    def _on_dims_changed(self, _event: Any = None) -> None:
        if self._is_moving:
            return
        try:
            plane = self._layers.shown_plane()
            self._session.show(plane)
        except ValueError as error:  # there is none, or one that is too large
            self._panel.show_status(str(error), problem=True)
            return
        self.show_where()
        self._predicting.soon()
        if self._unread:
            self._on_prompts_changed()

    def _on_grid_switched(self, _event: Any = None) -> None:
        if self._grid.enabled:
            self._tell("The grid lays masks and image apart: switch it off (Ctrl+G).", problem=True)

    def _read_prompts(self) -> None:
        """Give the session what the layers hold for its plane."""
        self._session.set_prompt(self._layers.prompts.read(self._session.plane))
