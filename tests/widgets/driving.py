"""A user of the widgets: mouse and keys, and the patience to wait for what they start."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer, Points, Shapes
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_sam.annotation import Session
from napari_sam.widgets.annotate import AnnotateWidget
from napari_sam.widgets.coordinates import ChannelsTogether
from napari_sam.widgets.made_layers import MadeLayers
from napari_sam.widgets.made_prompts import made_boxes, made_points
from napari_sam.widgets.prompt_layers import PromptLayers
from widgets.desks import Desk

_PATIENCE_S = 60.0


class User:
    """Somebody who annotates ``image`` at a ``desk`` with the docked ``widget``."""

    def __init__(self, desk: Desk, image: Image) -> None:
        self.desk = desk
        self.viewer = desk.viewer
        self.image = image
        self.widget = AnnotateWidget(desk.viewer)
        self.panel = self.widget.panel
        desk.dock(self.widget, "annotate")

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
        self.panel.settings.labels.value = labels
        self.panel.start.click()
        self.settle()

    def point_at(self, *position: float) -> None:
        """Bring the mouse to a position in the image's array."""
        self.desk.act("move", self.image, position)

    def click(self, *position: float) -> None:
        """Click on the canvas at a position in the image's array."""
        for act in ("move", "press", "release"):
            self.desk.act(act, self.image, position)
        self.settle()

    def double_click(self, *position: float) -> None:
        """Click twice in quick succession; the second press is told as a double click."""
        self.click(*position)
        for act in ("double click", "release"):
            self.desk.act(act, self.image, position)
        self.settle()

    def drag(self, start: tuple[float, ...], end: tuple[float, ...]) -> None:
        """Press at one position in the image's array, move straight to another, and let go there."""
        self.draw([tuple(x) for x in np.linspace(start, end, 6)])

    def draw(self, line: list[tuple[float, ...]]) -> None:
        """Press at the first of some positions in the image's array, move along the others, and let go."""
        self.desk.act("move", self.image, line[0])
        self.desk.act("press", self.image, line[0])
        for position in line[1:]:
            self.desk.act("move", self.image, position)
            QApplication.processEvents()
        self.desk.act("release", self.image, line[-1])
        self.settle()

    def press(self, key: str) -> None:
        """Press a key, such as ``"C"`` or ``"Ctrl+Z"``, while the window has the focus."""
        window = self.desk.keyboard
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
        QTest.keyRelease(window, Qt.Key.Key_Shift)  # else Qt would go on to think that Shift or Ctrl is held
        self.settle()

    def go_to(self, axis: int, index: int) -> None:
        """Move the slider of an image axis to the plane with this index."""
        world = self.image.data_to_world([index] * self.image.ndim)
        self.viewer.dims.set_point(axis, world[axis])
        self.settle()

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
