"""Which planes of the stack are encoded, and the encoding of all of them: a view that decides nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, Signal
from qtpy.QtGui import QColor, QPainter, QPaintEvent
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QSizePolicy, QWidget

_READY, _MISSING, _SHOWN = QColor("#2ee66b"), QColor("#4b4f58"), QColor("#ffffff")
_HEIGHT = 10


class ReadyStrip(QWidget):
    """One line, as long as the slider's axis: green where planes are ready, white where the shown one is."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.ready: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.shown = 0

    def show_ready(self, ready: NDArray[np.bool_], shown: int) -> None:
        """Show which planes along the axis are ready, and where the user is."""
        self.ready, self.shown = ready, shown
        self.update()

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Paint runs of planes as one bar each: there may be many more planes than pixels."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), _MISSING)
        if len(self.ready):
            width = self.width() / len(self.ready)
            edges = np.flatnonzero(np.diff(self.ready.astype(np.int8), prepend=0, append=0))
            for start, stop in edges.reshape(-1, 2).tolist():
                painter.fillRect(QRectF(start * width, 0, (stop - start) * width, self.height()), _READY)
            mark = max(3.0, width)
            left = min(self.shown * width, self.width() - mark)
            painter.fillRect(QRectF(left, self.height() * 0.55, mark, self.height()), _SHOWN)
        painter.end()


class StackStatus(QWidget):
    """The strip, the button that encodes the whole stack, and how far that is."""

    encode_requested = Signal()
    stop_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.strip = ReadyStrip()
        self.caption = QLabel("")
        self.button = QPushButton("Encode whole stack")
        self.button.clicked.connect(lambda _checked: self._on_clicked())
        self._running = False
        self._ready = ""
        grid = QGridLayout(self)
        grid.setContentsMargins(8, 0, 8, 0)
        grid.setSpacing(4)
        grid.addWidget(self.strip, 0, 0, 1, 2)
        grid.addWidget(self.caption, 1, 0)
        grid.addWidget(self.button, 1, 1)
        grid.setColumnStretch(0, 1)
        self.show_run(0, 0, None)

    def show_ready(self, axis: str, ready: NDArray[np.bool_], shown: int) -> None:
        """Show which planes along ``axis`` are ready."""
        self.strip.show_ready(ready, shown)
        self.strip.setToolTip(f"Green: planes along {axis} that are encoded already. White: the one shown.")
        self._ready = f"{np.count_nonzero(ready)} of {len(ready)} planes ready"
        if not self._running:
            self.caption.setText(self._ready)

    def show_run(self, done: int, total: int, remaining_s: float | None) -> None:
        """Show how far the encoding of the whole stack is; a ``total`` of 0 says that it does not run."""
        self._running = total > 0
        self.button.setText("Stop" if self._running else "Encode whole stack")
        self.button.setToolTip(
            "Stop after this step; what is encoded stays."
            if self._running
            else "Encode all planes in the background, so that every click is answered at once."
        )
        if self._running:
            left = "" if remaining_s is None else f", {_duration(remaining_s)} left"
            self.caption.setText(f"{done} of {total} planes{left}")
        else:
            self.caption.setText(self._ready)

    def _on_clicked(self) -> None:
        if self._running:
            self.stop_requested.emit()
        else:
            self.encode_requested.emit()


def _duration(seconds: float) -> str:
    """Say it in the largest fitting unit."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
