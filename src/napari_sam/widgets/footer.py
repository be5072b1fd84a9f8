"""What is said and done now, to be laid below a panel that scrolls: a view that decides nothing."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_sam.widgets.activity import Activity
from napari_sam.widgets.forms import restyle


class Footer(QWidget):
    """A row for slow work, of the kinds that `Activity` is given, and a sentence below it."""

    cancel_requested = Signal()

    def __init__(self, *kinds: str, text: str = "") -> None:
        super().__init__()
        self.activity = Activity(*kinds)
        self.activity.cancel_requested.connect(self.cancel_requested)
        self.status = QLabel(text)
        self.status.setWordWrap(True)
        self.status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 0, 8, 4)
        layout.setSpacing(0)
        layout.addWidget(self.activity)
        layout.addWidget(self.status)

    def show_status(self, text: str, problem: bool) -> None:
        """Say something."""
        self.status.setText(text)
        restyle(self.status, "color: #ff8a8a;" if problem else "")
