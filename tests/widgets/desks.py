"""Where a user of the tests sits: in front of napari's window, or at its viewer without one.

Without a window nothing is drawn, so that a test takes a fourth of the time. All else is the same: napari's
layers and their tools, the widgets with real clicks and keys, threads and files. What the mouse does on the
canvas goes straight to napari's callbacks, with the position that the canvas would have told.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Literal, Protocol

import napari
import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils import interactions
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QWidget
from wrapt import ObjectProxy

Act = Literal["move", "press", "release", "double click"]


class Desk(Protocol):
    """What a user has in front of him."""

    @property
    def viewer(self) -> ViewerModel:
        """The viewer that shows the layers."""

    @property
    def keyboard(self) -> QWidget:
        """The window that hears the keys."""

    def dock(self, widget: QWidget, title: str, area: str = "right") -> None:
        """Show a widget under a title."""

    def undock(self, widget: QWidget) -> None:
        """Take a widget away, as the cross of its dock does."""

    def act(self, act: Act, image: Image, position: tuple[float, ...]) -> None:
        """Do something with the mouse at a position in an image's array."""

    def close(self) -> None:
        """Close the viewer while there is work in it."""


class WindowDesk:
    """A napari window: the mouse and the keys go to Qt, as those of a user do."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self.viewer = viewer
        self.canvas = viewer.window._qt_viewer.canvas

    @property
    def keyboard(self) -> QWidget:
        window: QWidget = self.viewer.window._qt_window
        return window

    def dock(self, widget: QWidget, title: str, area: str = "right") -> None:
        self.viewer.window.add_dock_widget(widget, name=f"Segment Anything: {title}", area=area)

    def undock(self, widget: QWidget) -> None:
        self.viewer.window.remove_dock_widget(widget)

    def act(self, act: Act, image: Image, position: tuple[float, ...]) -> None:
        native, place = self.canvas.native, self.place(image, position)
        if act == "move":
            QTest.mouseMove(native, place)
            return
        do = {"press": QTest.mousePress, "release": QTest.mouseRelease, "double click": QTest.mouseDClick}[
            act
        ]
        do(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)

    def place(self, image: Image, position: tuple[float, ...]) -> QPoint:
        """Give the canvas pixel that shows a position in the image's array."""
        rows_columns = np.array(position)[list(self.viewer.dims.displayed)]
        node = self.canvas.layer_to_visual[image].node
        x, y, _, w = node.get_transform("visual", "canvas").map([*(rows_columns[::-1] + 0.5), 0, 1])
        return QPoint(round(x / w), round(y / w))

    def close(self) -> None:
        self.viewer.close()


class ViewerDesk:
    """A viewer without a window; each widget is a window of its own."""

    def __init__(self, viewer: ViewerModel, qtbot: QtBot) -> None:
        self.viewer = viewer
        self._qtbot = qtbot
        self.widgets: list[QWidget] = []
        self._is_down = False

    @property
    def keyboard(self) -> QWidget:
        return self.widgets[0]

    def dock(self, widget: QWidget, title: str, area: str = "right") -> None:
        widget.setWindowTitle(title)
        widget.show()
        self._qtbot.addWidget(widget)
        self.widgets.append(widget)

    def undock(self, widget: QWidget) -> None:
        widget.close()

    def act(self, act: Act, image: Image, position: tuple[float, ...]) -> None:
        dims = self.viewer.dims
        place, world = list(dims.point), image.data_to_world(position)
        for axis in dims.displayed:
            place[axis] = world[axis]
        if act in ("press", "release"):
            self._is_down = act == "press"
        # In a proxy, of which napari exchanges what is in it while the mouse is dragged.
        event: Any = ObjectProxy(
            SimpleNamespace(
                type=f"mouse_{act}".replace(" ", "_"),
                button=1,
                buttons=[1] if self._is_down else [],
                modifiers=[],
                is_dragging=act == "move" and self._is_down,
                position=tuple(place),
                pos=np.array([place[axis] for axis in dims.displayed[::-1]]),
                view_direction=None,
                up_direction=None,
                dims_displayed=list(dims.displayed),
                dims_point=list(dims.point),
                viewbox=(0, 0),
                camera_zoom=1.0,
                native=None,
                handled=False,
            )
        )
        self.viewer.cursor.position = event.position
        call: Any = getattr(interactions, f"{event.type}_callbacks")
        call(self.viewer, event)
        if (layer := self.viewer.layers.selection.active) is not None:
            call(layer, event)

    def close(self) -> None:
        for widget in self.widgets:
            widget.close()
        self.viewer.layers.clear()
