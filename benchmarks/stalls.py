"""Measure how long Qt's main thread stalls while a stack is encoded, moved through and clicked.

``python benchmarks/stalls.py`` opens a napari window, under a display of your own or a virtual one, and does
the same four times: without the plugin, with the image alone and with layers such as an annotation has; with
previews; and while the whole stack is encoded. Of the stalls with the plugin it also says how long its own
handlers took: the longest one, and which that was. What napari does because of them counts as theirs.
"""

from __future__ import annotations

import functools
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("NAPARI_CONFIG", "")  # none of your settings is read or written

import napari
import numpy as np
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_sam.storage.recorded import RecordedLabels
from napari_sam.widgets.annotate import AnnotateWidget
from napari_sam.widgets.cache_settings import CacheChoice
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.hover import Hover

_PLANES, _SHAPE = 40, (500, 400)
_TICK_MS, _MOVES = 5, (3, 4, 9, 5, 20, 21, 22, 8)


class Handlers:
    """The time that the plugin's handlers take on the main thread, each with those that it calls."""

    def __init__(self) -> None:
        self.longest, self.name, self._depth = 0.0, "-", 0
        connect = Connections.add

        def add(connections: Connections, signal: Any, handler: Callable[..., Any]) -> None:
            connect(connections, signal, self.timed(handler))

        Connections.add = add  # type: ignore[method-assign]
        for owner, name in (
            (Hover, "_on_mouse_moved"),
            (RecordedLabels, "__getitem__"),
        ):
            setattr(owner, name, self.timed(getattr(owner, name)))

    def timed(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Give a handler whose time is taken, unless another one has called it."""

        @functools.wraps(handler)
        def call(*arguments: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return handler(*arguments)
            self._depth += 1
            began = time.perf_counter()
            try:
                return handler(*arguments)
            finally:
                self._depth -= 1
                took = time.perf_counter() - began
                if self._depth == 0 and took > self.longest:
                    self.longest, self.name = took, handler.__qualname__

        return call

    def cell(self) -> str:
        """Give the longest one for the table, and begin anew."""
        cell = f"{1000 * self.longest:.0f} ms, {self.name}"
        self.longest, self.name = 0.0, "-"
        return cell


class Heartbeat:
    """A timer on the main thread; what delays its ticks stalls the window."""

    def __init__(self, handlers: Handlers) -> None:
        self.ticks: list[float] = []
        self._handlers = handlers
        self.timer = QTimer()
        self.timer.setTimerType(Qt.TimerType.PreciseTimer)
        self.timer.timeout.connect(lambda: self.ticks.append(time.perf_counter()))
        self.timer.start(_TICK_MS)

    def row(self, name: str) -> str:
        """Give a row of the table, and begin anew."""
        gaps = 1000 * np.diff(self.ticks)
        self.ticks.clear()
        figures = f"{gaps.max():.0f} ms | {np.percentile(gaps, 99):.0f} ms | {np.count_nonzero(gaps > 50)}"
        return f"| {name} | {figures} of {len(gaps)} | {self._handlers.cell()} |"

    def start(self) -> None:
        """Forget what was before."""
        self.ticks.clear()
        self._handlers.cell()


def wait(seconds: float) -> None:
    """Handle events for so long."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.001)


def use(viewer: napari.Viewer) -> None:
    """Move the slider and click, with the time that a user takes between."""
    canvas = viewer.window._qt_viewer.canvas.native  # noqa: SLF001 - napari offers no other way
    for number, z in enumerate(_MOVES):
        viewer.dims.set_point(0, z)
        wait(0.4)
        place = QPoint(canvas.width() // 2 + 7 * number, canvas.height() // 2)
        QTest.mouseMove(canvas, place)
        wait(0.2)
        left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        QTest.mousePress(canvas, left, none, place)
        wait(0.06)  # as long as a finger takes
        QTest.mouseRelease(canvas, left, none, place)
        wait(0.4)


def begin(widget: AnnotateWidget) -> None:
    """Press the button that starts, or starts anew, and wait until the first plane is encoded."""
    wait(0.1)  # a stall lies between two ticks
    widget.panel.start.click()
    while widget.session is None or widget.is_busy:
        wait(0.1)


def main() -> None:
    handlers = Handlers()
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 60, (_PLANES, *_SHAPE)).astype(np.uint8)
    stack[:, 200:260, 150:220] += 120
    viewer = napari.Viewer()
    image = viewer.add_image(stack, axis_labels=("z", "y", "x"))
    use(viewer)  # what napari compiles at its first click counts for neither
    beat = Heartbeat(handlers)
    print("| | longest stall | 99th percentile | over 50 ms | longest handler of ours |")
    print("| --- | --- | --- | --- | --- |")
    use(viewer)
    print(beat.row("napari alone, the image: slider and clicks"), flush=True)
    # What an annotation shows beside it: labels, a preview, points.
    own = [
        viewer.add_labels(np.zeros(stack.shape, np.int32)),
        viewer.add_labels(np.zeros((1, *_SHAPE), np.uint8)),
        viewer.add_points(ndim=3),
    ]
    own[-1].mode = "add"
    use(viewer)
    beat.start()
    use(viewer)
    print(beat.row("napari alone, with labels and points"), flush=True)
    for layer in own:
        viewer.layers.remove(layer)
    widget = AnnotateWidget(viewer)
    viewer.window.add_dock_widget(widget, area="right")
    with tempfile.TemporaryDirectory() as folder:
        widget._cache = CacheChoice("chosen", folder)  # noqa: SLF001 - yours is left alone
        widget.panel.settings.labels.value = Path(folder) / "labels.zarr"
        viewer.layers.selection.active = image
        for name in ("starting an annotation", "starting anew"):
            beat.start()
            begin(widget)
            print(beat.row(name), flush=True)
        use(viewer)
        assert widget.session is not None
        widget.session.clear_prompt()
        beat.start()
        use(viewer)
        print(beat.row("slider and clicks with previews"), flush=True)
        widget.panel.stack.button.click()
        use(viewer)
        print(beat.row("the same while the whole stack is encoded"), flush=True)
        widget.let_go()
    beat.timer.stop()
    viewer.close()


if __name__ == "__main__":
    main()
