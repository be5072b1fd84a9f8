"""The layer that shows automatic masks before they are written, and is clicked to reject one."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer
from numpy.typing import NDArray
from psygnal import Signal

from napari_sam.plane import Plane
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.coordinates import plane_transform, world_units
from napari_sam.widgets.own_layers import note_overlay
from napari_sam.widgets.session_layers import moving_signals
from napari_sam.widgets.timers import single_shot

NAME = "SAM automatic"
_REJECTED, _FIRST_COLOUR, _COLOURS = 1, 2, 24


class MasksLayer:
    """Make the layer when there is something to show, and take it away again.

    Attributes
    ----------
    clicked
        Emitted with the row and column that the user clicked on while the layer was active.
    taken_away
        Emitted when the user has removed the layer, without arguments.
    """

    clicked = Signal(int, int)
    taken_away = Signal()

    def __init__(self, viewer: ViewerModel, like: Layer) -> None:
        self._viewer = viewer
        self._like = like
        self._layer: Labels | None = None
        self._plane: Plane | None = None
        self._active_before: Layer | None = None
        # What the mouse did once the masks, which it had clicked on, were gone.
        self._mouse_since: tuple[Layer | None, str] | None = None
        # A layer that moves tells of its scale, translation and so on one by one.
        self._moving = single_shot()
        self._connections = Connections()
        self._connections.add(self._moving.timeout, self._on_moved)
        self._connections.add(viewer.layers.events.removed, self._on_removed)
        for signal in moving_signals(viewer, like):
            self._connections.add(signal, self._on_moving)

    @property
    def is_shown(self) -> bool:
        """Whether there is such a layer now."""
        return self._layer is not None and self._layer in self._viewer.layers

    def show(self, plane: Plane, numbers: NDArray[np.integer[Any]], rejected: NDArray[np.bool_]) -> None:
        """Show masks on their plane: each number in a colour of its own, rejected pixels in grey.

        Clicks go to them again if they did when masks were shown last, unless the user took another tool.
        """
        painted = np.where(rejected, np.uint8(_REJECTED), np.uint8(0))
        there = numbers > 0
        painted[there] = _FIRST_COLOUR + (numbers[there] - 1) % _COLOURS
        goes_on = self._mouse_since is not None and self._mouse_since == self._mouse()
        self._mouse_since = None
        layer = self._made(plane)
        self._plane = plane
        layer.data = plane.to_block(painted)
        layer.editable = False  # napari lets other data be painted in, and this is not what is written
        self._on_moved()
        layer.visible = True
        if goes_on:
            self.take_clicks()

    def take_clicks(self) -> None:
        """Let clicks on the canvas go to the masks."""
        active = self._viewer.layers.selection.active
        if self.is_shown and active is not self._layer:
            self._active_before = active
            self._viewer.layers.selection.active = self._layer

    def clear(self) -> None:
        """Take the layer away; the layer that was active before is again."""
        layer, self._layer = self._layer, None
        if layer is None or layer not in self._viewer.layers:
            return
        was_active = self._viewer.layers.selection.active is layer
        layer.mouse_drag_callbacks.remove(self._on_pressed)  # and not those that napari keeps there
        self._viewer.layers.remove(layer)
        if was_active and self._active_before in self._viewer.layers:
            self._viewer.layers.selection.active = self._active_before
        self._mouse_since = self._mouse() if was_active else None

    def close(self) -> None:
        """Take the layer away, and let go of the viewer."""
        self._moving.stop()
        self._connections.close()
        self.clear()

    def _on_moving(self, _event: Any) -> None:
        self._moving.start()

    def _on_moved(self) -> None:
        """Lay the layer where its plane is by now."""
        if self._layer is not None and self._plane is not None:
            place = plane_transform(self._like, self._plane, world_units(self._viewer))
            self._layer.units = place["units"]
            self._layer.affine = place["affine"]

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer is not None:
            self._layer = None
            self.taken_away.emit()

    def _mouse(self) -> tuple[Layer | None, str]:
        """Say what the mouse does: which layer it is for, and the mode of that."""
        active = self._viewer.layers.selection.active
        return active, "" if active is None else str(active.mode)

    def _made(self, plane: Plane) -> Labels:
        """Give the layer, made on its plane: anywhere else it would widen the range of the sliders."""
        if self._layer is not None and self._layer in self._viewer.layers:
            return self._layer
        active = self._viewer.layers.selection.active
        layer = self._viewer.add_labels(
            np.zeros((1,) * self._like.ndim, np.uint8),
            name=NAME,
            opacity=0.55,
            **plane_transform(self._like, plane, world_units(self._viewer)),
        )
        note_overlay(layer)
        self._viewer.layers.selection.active = active
        layer.colormap = _colours()
        layer.mouse_drag_callbacks.append(self._on_pressed)
        self._layer = layer
        return layer

    def _on_pressed(self, layer: Labels, event: Any) -> Iterator[None]:
        """Tell of a click, which is a press and a release without a move between."""
        yield
        if event.type != "mouse_release" or self._plane is None:
            return
        place = np.floor(np.array(layer.world_to_data(event.position)) + 0.5).astype(int)
        row, column = place[list(self._plane.displayed)].tolist()
        self.clicked.emit(row, column)


def _colours() -> dict[int | None, Any]:
    """Give colours that neighbours differ in, and grey for what is rejected."""
    colours: dict[int | None, Any] = {
        0: "transparent",
        None: "transparent",
        _REJECTED: (0.55, 0.55, 0.55, 0.8),
    }
    for number in range(_COLOURS):
        hue = (0.33 + 0.618034 * number) % 1.0
        colours[_FIRST_COLOUR + number] = (*colorsys.hsv_to_rgb(hue, 0.75, 1.0), 1.0)
    return colours
