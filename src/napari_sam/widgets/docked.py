"""A widget in napari's dock that lets go of everything when it is taken out or closed."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QWidget


class DockedWidget(QWidget):
    """Call `let_go` when the widget leaves its dock, or closes as a window of its own."""

    def let_go(self) -> None:
        """End threads and connections; may be called more than once."""
        raise NotImplementedError

    def event(self, event: QEvent | None) -> bool:
        """See napari take the widget out of its dock."""
        if event is not None and event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.let_go()
        return super().event(event)

    def closeEvent(self, event: Any) -> None:
        """See the widget, a window of its own, close."""
        self.let_go()
        super().closeEvent(event)
