"""The window goes on being drawn between slow steps that have to be made on Qt's thread."""

from __future__ import annotations

from qtpy.QtCore import QEventLoop
from qtpy.QtWidgets import QApplication


def breathe() -> None:
    """Draw what has changed, and handle timers; what the user does waits until all steps are done.

    napari takes a tenth of a second for each layer that is added, and as much to draw it first.
    """
    QApplication.processEvents(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)
