"""A widget in napari's dock that lets go of everything when it is taken out or closed, or its window is."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QMainWindow, QWidget


class DockedWidget(QWidget):
    """Call `let_go` when the widget leaves its dock, or closes as a window of its own, or the window does.

    Attributes
    ----------
    watched
        The window that is watched; None before the widget was shown in one, and after `stop_watching`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.watched: QWidget | None = None

    def let_go(self) -> None:
        """End threads and connections; may be called more than once."""
        raise NotImplementedError

    def watch_window(self) -> None:
        """See the window close from now on: with it the widget goes without another word."""
        if self.watched is None and (window := self.window()) is not None:
            self.watched = window
            window.installEventFilter(self)

    def stop_watching(self) -> None:
        """Be told no more of the window."""
        if self.watched is not None:
            self.watched.removeEventFilter(self)
            self.watched = None

    def event(self, event: QEvent | None) -> bool:
        """See napari take the widget out of its dock."""
        if event is not None and event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.let_go()
        return super().event(event)

    def closeEvent(self, event: Any) -> None:
        """See the widget, a window of its own, close."""
        self.let_go()
        super().closeEvent(event)

    def showEvent(self, event: Any) -> None:
        """See the main window close from the start, also before anything was begun."""
        super().showEvent(event)
        if isinstance(self.window(), QMainWindow):
            self.watch_window()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """See the main window go, of which a docked widget is not told.

        A request to close can still be declined by the user; being hidden by the program, unlike being
        minimised, means that it is closed.
        """
        if event is not None and (
            (event.type() == QEvent.Type.Hide and not event.spontaneous())
            or event.type() == QEvent.Type.DeferredDelete
        ):
            self.let_go()
        return super().eventFilter(watched, event)
