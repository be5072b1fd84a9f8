"""A small histogram that shows which values limits leave: a view that decides nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

# Legible on dark themes and on light ones; lines and words have the theme's own colour.
_KEPT, _LEFT_OUT = QColor("#25b955"), QColor("#808591")
_HEIGHT, _CAPTION = 46, 13
_BINS = 40


class Histogram(QWidget):
    """Bars of how many masks have which value: green those that the limits leave, grey the others.

    Parameters
    ----------
    name
        What is counted.
    logarithmic
        Whether each bar is a factor and not a difference wide, for values of many sizes.
    """

    def __init__(self, name: str, logarithmic: bool = False) -> None:
        super().__init__()
        self.name = name
        self._logarithmic = logarithmic
        self.counts: NDArray[np.int64] = np.zeros(_BINS, np.int64)
        self.kept: NDArray[np.int64] = np.zeros(_BINS, np.int64)
        self.limits: tuple[float, ...] = ()
        self._span = (1.0, 10.0) if logarithmic else (0.0, 1.0)
        self.setFixedHeight(_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_values(
        self, values: NDArray[np.number], low: float | None = None, high: float | None = None
    ) -> None:
        """Show values, and between which limits they are left; None is no limit."""
        self.limits = tuple(x for x in (low, high) if x is not None)
        numbers = np.asarray(values, float)
        if self._logarithmic:
            top = max([10.0, *numbers.tolist(), *self.limits])
            self._span = (1.0, top)
        # The span is closed above, so the largest value is in the last bin.
        bins = np.clip((_BINS * self._place(numbers)).astype(int), 0, _BINS - 1)
        inside = (numbers >= (-np.inf if low is None else low)) & (
            numbers <= (np.inf if high is None else high)
        )
        self.counts = np.bincount(bins, minlength=_BINS).astype(np.int64)
        self.kept = np.bincount(bins[inside], minlength=_BINS).astype(np.int64)
        self.update()

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Paint the bars, the limits over them, and below what they are."""
        painter, ink = QPainter(self), self.palette().windowText().color()
        height, most = self.height() - _CAPTION, max(1, int(self.counts.max()))
        width = self.width() / _BINS
        for number, (count, kept) in enumerate(zip(self.counts.tolist(), self.kept.tolist(), strict=True)):
            for n, colour in ((count, _LEFT_OUT), (kept, _KEPT)):
                tall = height * n / most
                painter.fillRect(QRectF(number * width + 0.5, height - tall, width - 1, tall), colour)
        for place in self._place(np.array(self.limits)).tolist():
            left = min(place * self.width(), self.width() - 1.5)
            painter.fillRect(QRectF(left, 0, 1.5, height), ink)
        font = painter.font()
        font.setPixelSize(10)
        painter.setFont(font)
        painter.setPen(ink)
        below = QRectF(0, height, self.width(), _CAPTION)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, f"{self._span[0]:g}")
        painter.drawText(below, Qt.AlignmentFlag.AlignHCenter, self.name)
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, f"{self._span[1]:g}")
        painter.end()

    def _place(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Give how far along the axis values lie, from 0 to 1."""
        low, high = self._span
        if self._logarithmic:
            values, low, high = np.log(np.maximum(values, 1.0)), np.log(low), np.log(high)
        return np.asarray(np.clip((values - low) / (high - low), 0, 1), np.float64)
