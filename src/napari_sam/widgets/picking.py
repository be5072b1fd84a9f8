"""A double click on a committed object takes it up again, with its prompts."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel

from napari_sam.annotation import Session
from napari_sam.widgets.session_layers import SessionLayers
from napari_sam.widgets.telling import Tell
from napari_sam.widgets.tools import ToolChoice


class ObjectPicker:
    """Listen for double clicks while the mouse sets points.

    The first of the two clicks has set a point, which goes. A plane with more of a prompt than that is left
    alone: it would be lost.

    Parameters
    ----------
    viewer, layers, tools, session
        Where the objects are shown, what the mouse does there, and whose they are.
    tell
        Says what was taken up, or why nothing was, and whether that is a problem.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        layers: SessionLayers,
        tools: ToolChoice,
        session: Session,
        tell: Tell,
    ) -> None:
        self._callbacks = viewer.mouse_double_click_callbacks
        self._layers = layers
        self._tools = tools
        self._session = session
        self._tell = tell
        self._callbacks.append(self._on_double_click)

    def close(self) -> None:
        """Stop to listen."""
        self._callbacks.remove(self._on_double_click)

    def _on_double_click(self, _viewer: ViewerModel, event: Any) -> None:
        prompt = self._session.prompt
        if self._tools.tool != "points":
            return
        if len(prompt.points) > 1 or prompt.box is not None or prompt.mask is not None:
            self._tell("Commit or clear the prompt of this plane first; then take up another object.")
            return
        label = self._layers.labels.get_value(
            event.position, dims_displayed=list(event.dims_displayed), world=True
        )
        if label:
            self._take_up(int(label))

    def _take_up(self, label: int) -> None:
        """Take an object up instead of the prompt, which stays if that cannot be."""
        session, plane, prompt = self._session, self._session.plane, self._session.prompt
        session.clear_prompt()  # the point of the first click
        try:
            session.take_up(label)
        except ValueError as error:
            session.show(plane)
            session.set_prompt(prompt)
            self._tell(str(error), problem=True)
            return
        self._tell(f"Object {label} is taken up: the next commit replaces it on this plane.")
