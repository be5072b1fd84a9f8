"""Timers that fire once."""

from __future__ import annotations

from qtpy.QtCore import QObject, QTimer


def single_shot(after_ms: int = 0, parent: QObject | None = None) -> QTimer:
    """Make a timer that fires once after each start, in so many milliseconds; started again it waits anew."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(after_ms)
    return timer
