"""What the user sees and presses of the automatic masks: a view that decides nothing."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QTabWidget, QVBoxLayout, QWidget

from napari_sam.widgets.automatic_outputs import StackPage, WritePage
from napari_sam.widgets.automatic_settings import FindPage, SelectPage
from napari_sam.widgets.footer import Footer
from napari_sam.widgets.forms import button, combo

# Kinds of slow work, in the order in which they are shown.
WRITING, RUNNING, FINDING = "writing", "running", "finding masks"


class AutomaticPanel(QWidget):
    """Settings of the automatic masks, what they leave, and the buttons.

    Attributes
    ----------
    finding, selecting, writing, stack
        The pages of settings.
    footer
        What is said and done now, to be laid below the panel.
    """

    propose_requested = Signal()
    cancel_requested = Signal()
    commit_requested = Signal()
    accept_all_requested = Signal()
    clear_requested = Signal()
    preset_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.finding, self.selecting = FindPage(), SelectPage()
        self.writing, self.stack = WritePage(), StackPage()
        self.preset = combo([])
        self.preset.setToolTip("Settings for common kinds of objects, to start from.")
        self.preset.activated.connect(self.preset_chosen)
        tip = "Ask the model for masks of all objects; slow once, then they are kept."
        self.propose = button("Find masks on this plane", tip, self.propose_requested.emit)
        self.tabs = QTabWidget()
        for title, page in (
            ("Select", self.selecting),
            ("Find", self.finding),
            ("Write", self.writing),
            ("Stack", self.stack),
        ):
            self.tabs.addTab(page, title)
        self.count = QLabel()
        self.count.setAlignment(Qt.AlignmentFlag.AlignCenter)
        tip = "Write the accepted masks as objects; undo takes all of them back at once."
        self.commit = button("Commit", tip, self.commit_requested.emit)
        tip = "Take back what was rejected by click."
        self.accept_all = button("Accept all", tip, self.accept_all_requested.emit)
        tip = "Take the shown masks away; what is written stays."
        self.clear = button("Clear", tip, self.clear_requested.emit)
        self.footer = Footer(WRITING, RUNNING, FINDING)
        self.footer.cancel_requested.connect(self.cancel_requested)
        self.status, self.activity = self.footer.status, self.footer.activity
        self.progress, self.cancel = self.activity.bar, self.activity.cancel
        self.cancel.setToolTip("End what the bar shows; what is done is kept.")
        self._has_masks = self._is_writing = False
        self._lay_out()
        self.show_session(False)
        self.show_count(None)
        self.setMinimumWidth(320)

    def show_session(self, active: bool) -> None:
        """Enable what needs a session."""
        self.propose.setEnabled(active)
        self.tabs.setEnabled(active)
        self.preset.setEnabled(active)

    def show_presets(self, presets: Sequence[tuple[str, str]]) -> None:
        """Offer presets: names, and what each is for."""
        self.preset.clear()
        for number, (name, use) in enumerate(presets):
            self.preset.addItem(name)
            self.preset.setItemData(number, use, Qt.ItemDataRole.ToolTipRole)

    def show_count(self, text: str | None) -> None:
        """Say how many masks are shown; None if there are none."""
        self.count.setText(text or "no masks shown")
        self._has_masks = text is not None
        self._enable_masks()

    def show_writing(self, active: bool) -> None:
        """Let nothing be committed twice, or be cleared, while it is being written."""
        self._is_writing = active
        self._enable_masks()

    def show_share(self, kind: str, done: float | None, what: str = "") -> None:
        """Show how far one kind of work is; see `Activity.show_share`."""
        self.activity.show_share(kind, done, what)

    def show_status(self, text: str, problem: bool = False) -> None:
        """Say something below the controls."""
        self.footer.show_status(text, problem)

    def _enable_masks(self) -> None:
        for each in (self.commit, self.accept_all, self.clear):
            each.setEnabled(self._has_masks and not self._is_writing)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 8, 6)
        layout.setSpacing(4)
        grid = QGridLayout()
        grid.addWidget(QLabel("Preset"), 0, 0)
        grid.addWidget(self.preset, 0, 1)
        grid.addWidget(self.propose, 1, 0, 1, 2)
        grid.addWidget(self.tabs, 2, 0, 1, 2)
        grid.addWidget(self.count, 3, 0, 1, 2)
        grid.addWidget(self.commit, 4, 0, 1, 2)
        grid.addWidget(self.accept_all, 5, 0)
        grid.addWidget(self.clear, 5, 1)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        layout.addLayout(grid)
        layout.addStretch(1)
