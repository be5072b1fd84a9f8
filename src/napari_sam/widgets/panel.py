"""What the user sees of the annotation: a view that shows state and emits signals, and decides nothing."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_sam.widgets.footer import Footer
from napari_sam.widgets.forms import button
from napari_sam.widgets.prompt_box import PromptBox
from napari_sam.widgets.seen import SeenView
from napari_sam.widgets.settings_form import SettingsForm
from napari_sam.widgets.stack_status import StackStatus

# Kinds of slow work, in the order in which they are shown and ended.
DOWNLOADING, WRITING, PROPAGATING, ENCODING = "downloading", "writing", "propagating", "encoding"


class AnnotatePanel(QWidget):
    """The controls of the annotation, docked beside the canvas.

    Attributes
    ----------
    settings
        What a session is started with.
    prompting
        What is done in a running one.
    stack, seen
        Which planes are ready, and what the model sees of the shown one.
    footer
        What is said and done now, to be laid below the panel.
    """

    start_requested = Signal()
    cancel_requested = Signal()

    def __init__(self, models: list[tuple[str, str]]) -> None:
        super().__init__()
        self._shortcuts: list[QShortcut] = []
        self.settings, self.prompting = SettingsForm(models), PromptBox()
        tip = "Load the model and open the labels."
        self.start = button("Start annotating", tip, self.start_requested.emit)
        self.footer = Footer(DOWNLOADING, WRITING, PROPAGATING, ENCODING, text="Choose an image and start.")
        self.footer.cancel_requested.connect(self.cancel_requested)
        self.status, self.activity = self.footer.status, self.footer.activity
        self.progress, self.cancel = self.activity.bar, self.activity.cancel
        self.stack = StackStatus()
        self.stack.setVisible(False)
        self.seen = SeenView()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 8, 6)
        layout.setSpacing(5)
        for part in (self.settings, self.start, self.prompting, self.stack, self.seen):
            layout.addWidget(part)
        layout.addStretch(1)
        self.show_session(False)
        self.setMinimumWidth(326)

    def add_shortcuts(self, window: QWidget) -> None:
        """Let the keys work wherever in ``window`` the focus is; a text field still gets its letters."""
        for shortcut, act in self.prompting.keys:
            key = QShortcut(QKeySequence(shortcut.key), window)
            key.activated.connect(act)
            key.setEnabled(False)
            self._shortcuts.append(key)

    def remove_shortcuts(self) -> None:
        """Give the keys back."""
        for key in self._shortcuts:
            key.setEnabled(False)
            key.setParent(None)
            key.deleteLater()
        self._shortcuts.clear()

    def show_session(self, active: bool) -> None:
        """Enable what needs a running session."""
        self.prompting.setEnabled(active)
        self.start.setText("Start anew with these choices" if active else "Start annotating")
        for key in self._shortcuts:
            key.setEnabled(active)

    def show_share(self, kind: str, done: float | None, what: str = "") -> None:
        """Show how far one kind of work is; see `Activity.show_share`."""
        self.activity.show_share(kind, done, what)

    def show_status(self, text: str, problem: bool = False) -> None:
        """Say something below the controls."""
        self.footer.show_status(text, problem)
