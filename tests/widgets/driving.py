"""A user of the napari window: real mouse and key events, and the patience to wait for what they start."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import napari
import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer, Points, Shapes
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_sam.annotation import Session
from napari_sam.widgets.annotate import AnnotateWidget
from napari_sam.widgets.coordinates import ChannelsTogether
from napari_sam.widgets.made_layers import MadeLayers
from napari_sam.widgets.made_prompts import made_boxes, made_points
from napari_sam.widgets.prompt_layers import PromptLayers

_PATIENCE_S = 60.0


class User:
    """Somebody who annotates ``image`` in ``viewer`` with the docked ``widget``."""

    def __init__(self, viewer: napari.Viewer, image: Image) -> None:
        self.viewer = viewer
        self.image = image
        self.widget = AnnotateWidget(viewer)
        self.panel = self.widget.panel
        viewer.window.add_dock_widget(self.widget, name="Segment Anything: annotate", area="right")
        self.canvas = viewer.window._qt_viewer.canvas

    @property
    def session(self) -> Session:
        assert self.widget.session is not None, self.status
        return self.widget.session

    @property
    def status(self) -> str:
        return self.panel.status.text()

    def layer(self, name: str) -> Any:
        return self.viewer.layers[name]

    def start(self, labels: Path) -> None:
        """Choose the labels' folder, press the button, and wait until the first plane is embedded."""
        self.panel.labels.value = labels
        self.panel.start.click()
        self.settle()

    def click(self, *position: float) -> None:
        """Click on the canvas at a position in the image's array."""
        place = self.place(position)
        QTest.mouseMove(self.canvas.native, place)
        QTest.mouseClick(self.canvas.native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
        self.settle()

    def double_click(self, *position: float) -> None:
        """Click twice in quick succession; the second press is told as a double click."""
        self.click(*position)
        place = self.place(position)
        left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        QTest.mouseDClick(self.canvas.native, left, none, place)
        self.settle()

    def drag(self, start: tuple[float, ...], end: tuple[float, ...]) -> None:
        """Press at one position in the image's array, move, and let go at another."""
        a, b = self.place(start), self.place(end)
        native, left, none = self.canvas.native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        QTest.mouseMove(native, a)
        QTest.mousePress(native, left, none, a)
        for step in range(1, 6):
            QTest.mouseMove(native, a + (b - a) * step / 5)
            QApplication.processEvents()
        QTest.mouseRelease(native, left, none, b)
        self.settle()

    def press(self, key: str) -> None:
        """Press a key, such as ``"C"`` or ``"Ctrl+Z"``, while the main window has the focus."""
        window = self.viewer.window._qt_window
        if not window.isActiveWindow():  # shortcuts, as on any desktop, belong to the active window
            window.activateWindow()
            wait_until(window.isActiveWindow)
        *modifiers, letter = key.split("+")
        held = Qt.KeyboardModifier.NoModifier
        for name in modifiers:
            held |= {"Ctrl": Qt.KeyboardModifier.ControlModifier, "Shift": Qt.KeyboardModifier.ShiftModifier}[
                name
            ]
        QTest.keyClick(window, Qt.Key[f"Key_{letter}"], held)
        self.settle()

    def go_to(self, axis: int, index: int) -> None:
        """Move the slider of an image axis to the plane with this index."""
        world = self.image.data_to_world([index] * self.image.ndim)
        self.viewer.dims.set_point(axis, world[axis])
        self.settle()

    def place(self, position: tuple[float, ...]) -> QPoint:
        """Give the canvas pixel that shows a position in the image's array."""
        rows_columns = np.array(position)[list(self.viewer.dims.displayed)]
        node = self.canvas.layer_to_visual[self.image].node
        x, y, _, w = node.get_transform("visual", "canvas").map([*(rows_columns[::-1] + 0.5), 0, 1])
        return QPoint(round(x / w), round(y / w))

    def settle(self) -> None:
        """Wait until nothing is computed or about to be, and all events are handled.

        What a thread has told may be yet to be handled, and begin the next thing: so it is asked again.
        """
        for _ in range(3):
            wait_until(lambda: not self.widget.is_busy)


def prompt_layers_of(
    viewer: ViewerModel,
    image: Image | ChannelsTogether,
    points: Points | None = None,
    boxes: Shapes | None = None,
) -> PromptLayers:
    """Bind layers for prompts as they are made for a session on ``image``."""
    made = made_points(viewer, image, points), made_boxes(viewer, image, boxes)
    return PromptLayers(viewer, image, *made)


def all_made(steps: Generator[Layer, None, MadeLayers]) -> MadeLayers:
    """Make all layers of a session, one right after the other."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: MadeLayers = end.value
            return made


def wait_until(condition: Callable[[], bool]) -> None:
    """Handle events until the condition holds."""
    end = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "nothing came of it"
        QApplication.processEvents()
        time.sleep(0.005)
    QApplication.processEvents()
