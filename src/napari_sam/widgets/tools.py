"""What the mouse does on the canvas: the tools of the panel are modes of napari's layers, and follow them."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from napari.utils.notifications import show_warning
from psygnal import Signal

from napari_sam.widgets.connections import Connections
from napari_sam.widgets.prompt_box import PromptBox
from napari_sam.widgets.prompt_layers import PromptLayers

# The tools that draw in the Shapes layer, and napari's modes that they are.
_SHAPE_TOOLS = {"boxes": "add_rectangle", "areas": "add_polygon_lasso", "strokes": "add_path"}


class ToolChoice:
    """Bind the buttons of tools and of the polarity to the prompt layers, until it is closed.

    Attributes
    ----------
    changed
        Emitted after another layer, or mode of a layer, may have become another tool, without arguments.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, prompts: PromptLayers, box: PromptBox) -> None:
        self._viewer, self._prompts, self._box = viewer, prompts, box
        self._connections = Connections()
        self._connections.add_all(
            (viewer.layers.selection.events.active, self._on_tool_changed),
            (prompts.points.events.mode, self._on_tool_changed),
            (prompts.boxes.events.mode, self._on_tool_changed),
            (box.tool_chosen, self.choose),
            (box.polarity_requested, self._on_polarity_requested),
        )
        box.show_polarity(prompts.positive)

    def close(self) -> None:
        """Stop to listen."""
        self._connections.close()

    @property
    def tool(self) -> str:
        """Which of the panel's tools the canvas has; empty where it has one of napari's own, as to pan."""
        active, prompts = self._viewer.layers.selection.active, self._prompts
        if active is prompts.points and prompts.points.mode == "add":
            return "points"
        if active is prompts.boxes:
            mode = str(prompts.boxes.mode)
            return next((tool for tool, itself in _SHAPE_TOOLS.items() if itself == mode), "")
        return ""

    def choose(self, tool: str) -> None:
        """Let the mouse add points, or draw rectangles, closed lines or strokes."""
        layer, mode = (
            (self._prompts.points, "add") if tool == "points" else (self._prompts.boxes, _SHAPE_TOOLS[tool])
        )
        self._viewer.layers.selection.active = layer
        if not layer.visible:  # napari gives a hidden layer no mode but to pan
            layer.visible = True
        layer.mode = mode
        if str(layer.mode) != mode and self._viewer.dims.ndisplay == 2:  # in 3-D napari draws no shapes
            show_warning(
                f"The layer {layer.name!r} cannot be edited, so no prompts can be set in it. Unlock it, or "
                "choose another one or a new layer, and start anew."
            )
        self._prompts.show_colour()
        self._box.show_tool(self.tool)

    def _on_tool_changed(self, _event: Any) -> None:
        self._box.show_tool(self.tool)
        self.changed.emit()

    def _on_polarity_requested(self) -> None:
        self._prompts.positive = not self._prompts.positive
        self._box.show_polarity(self._prompts.positive)
