"""A widget in napari's dock that lets go of everything when it is taken out or closed, or its window is."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QScrollArea, QWidget


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
        self._has_place = False

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
            if not self._has_place:
                self._has_place = True
                QTimer.singleShot(0, self._find_place)  # by then it is in its dock

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

    def _find_place(self) -> None:
        """Become a tab beside another widget of ours that is docked in the same area, if both are too high.

        napari puts docks below each other, and so squeezes those that are there to a few rows.
        """
        window, own = self.window(), _dock_of(self)
        if own is None or not isinstance(window, QMainWindow):
            return
        for other in window.findChildren(DockedWidget):
            dock = _dock_of(other)
            if (
                dock is not None
                and dock is not own
                and not (dock.isFloating() or dock.isHidden() or own.isFloating())
                and window.dockWidgetArea(dock) == window.dockWidgetArea(own)
                and _height(self) + _height(other) > window.height()
            ):
                window.tabifyDockWidget(dock, own)
                own.raise_()
                return


def _height(widget: QWidget) -> int:
    """Give the height that a widget would like to have, with all that it scrolls."""
    scrolled = (area.widget() for area in widget.findChildren(QScrollArea))
    return max(x.sizeHint().height() for x in (widget, *scrolled) if x is not None)


def _dock_of(widget: QWidget) -> QDockWidget | None:
    """Give the dock that a widget lies in."""
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent
