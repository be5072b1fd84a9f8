"""How the user prompts, and what becomes of the mask: a view that shows it and decides nothing."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QFrame,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QWidget,
)

from napari_sam.widgets.forms import button, restyle
from napari_sam.widgets.made_prompts import BOX_COLOUR, NEGATIVE_COLOUR, POSITIVE_COLOUR
from napari_sam.widgets.overlap import OverlapChoice
from napari_sam.widgets.shortcuts import (
    AREA_TOOL,
    BOX_TOOL,
    CLEAR,
    COMMIT,
    EACH,
    HOVER,
    LABEL,
    NEXT,
    POINT_TOOL,
    POLARITY,
    PREDICT,
    PROPAGATE,
    REDO,
    STROKE_TOOL,
    UNDO,
    Shortcut,
)

# Below this score hardly a mask is of any use, and a box says what is meant.
_UNSURE = 0.3


class PromptBox(QGroupBox):
    """The tools, the score of the mask, and the buttons that have keys too."""

    tool_chosen = Signal(str)
    polarity_requested = Signal()
    next_requested = Signal()
    commit_requested = Signal()
    propagate_requested = Signal()
    clear_requested = Signal()
    undo_requested = Signal()
    redo_requested = Signal()
    predict_requested = Signal()
    label_requested = Signal()
    live_changed = Signal(bool)

    def __init__(self) -> None:
        super().__init__("Prompt")
        self.score = QLabel("-")
        self.live = QCheckBox("Preview at every change")
        self.live.setToolTip("Otherwise the preview is computed when you ask for it.")
        self.live.setChecked(True)
        self.live.toggled.connect(self.live_changed)
        self.hover = _check(HOVER, True)
        self.each = _check(EACH, False)
        self._lay_out()
        self.show_polarity(True)
        self.show_preview(None)

    @property
    def keys(self) -> list[tuple[Shortcut, Callable[[], object]]]:
        """What each key does."""
        return [
            (POINT_TOOL, self._toggle_tool),
            (POLARITY, self.polarity_requested.emit),
            (NEXT, self.next_requested.emit),
            (COMMIT, self.commit_requested.emit),
            (PROPAGATE, self.propagate_requested.emit),
            (CLEAR, self.clear_requested.emit),
            (UNDO, self.undo_requested.emit),
            (REDO, self.redo_requested.emit),
            (PREDICT, self.predict_requested.emit),
            (LABEL, self.label_requested.emit),
            (HOVER, self.hover.toggle),
            (EACH, self.each.toggle),
        ]

    def show_tool(self, tool: str) -> None:
        """Show which tool the canvas has: ``"points"``, ``"boxes"``, ``"areas"``, ``"strokes"`` or ``""``."""
        self._tools.setExclusive(False)
        for name, one in self._tool_buttons.items():
            one.setChecked(name == tool)
        self._tools.setExclusive(True)

    def show_polarity(self, positive: bool) -> None:
        """Show what the next click means."""
        what, colour = ("object", POSITIVE_COLOUR) if positive else ("background", NEGATIVE_COLOUR)
        self.polarity.setText(f"Add {what} [{POLARITY.key}]")
        restyle(self.polarity, f"QPushButton {{ border-left: 6px solid {colour}; }}")

    def show_preview(self, score: float | None, number: int = 0, count: int = 0) -> None:
        """Show the score of the mask, and which of how many candidates it is."""
        self.commit.setEnabled(score is not None)
        self.next.setEnabled(score is not None and count > 1)
        if score is None:
            self.score.setText("no mask yet")
        else:
            which = f", candidate {number} of {count}" if count > 1 else ""
            unsure = "; drag a box" if score < _UNSURE else ""
            self.score.setText(f"score {max(score, 0):.2f}{which}{unsure}")

    def show_several(self, count: int, least: float, most: float) -> None:
        """Show that several objects can be committed, and the range of their scores."""
        self.commit.setEnabled(True)
        self.next.setEnabled(False)
        between = f"{least:.2f}" if count == 1 else f"{least:.2f} to {most:.2f}"
        self.score.setText(f"{count} object{'s' if count > 1 else ''}, score {between}")

    def show_propagation(self, axis: str | None) -> None:
        """Show along which axis an object is propagated; None where there is none."""
        self.propagate.setVisible(axis is not None)
        if axis is not None:
            self.propagate.setText(f"{PROPAGATE.text} {axis}  [{PROPAGATE.key}]")
            self.propagate.setToolTip(PROPAGATE.help.format(axis))

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(8, 8, 8, 8)
        grid.setSpacing(4)
        self.point_tool = button(POINT_TOOL.label, POINT_TOOL.help, lambda: self.tool_chosen.emit("points"))
        self.box_tool = button(BOX_TOOL.label, BOX_TOOL.help, lambda: self.tool_chosen.emit("boxes"))
        self.area_tool = button(AREA_TOOL.label, AREA_TOOL.help, lambda: self.tool_chosen.emit("areas"))
        self.stroke_tool = button(
            STROKE_TOOL.label, STROKE_TOOL.help, lambda: self.tool_chosen.emit("strokes")
        )
        self._tool_buttons = {
            "points": self.point_tool,
            "boxes": self.box_tool,
            "areas": self.area_tool,
            "strokes": self.stroke_tool,
        }
        self._tools = QButtonGroup(self)
        for tool in self._tool_buttons.values():
            tool.setCheckable(True)
            self._tools.addButton(tool)
        self.box_tool.setStyleSheet(f"QPushButton {{ border-left: 6px solid {BOX_COLOUR}; }}")
        self.polarity = button("", POLARITY.help, self.polarity_requested.emit)
        self.next = button(NEXT.label, NEXT.help, self.next_requested.emit)
        self.commit = button(COMMIT.label, COMMIT.help, self.commit_requested.emit)
        self.propagate = button("", "", self.propagate_requested.emit)
        self.clear = button(CLEAR.label, CLEAR.help, self.clear_requested.emit)
        self.undo = button(UNDO.label, UNDO.help, self.undo_requested.emit)
        self.redo = button(REDO.label, REDO.help, self.redo_requested.emit)
        self.predict = button(PREDICT.label, PREDICT.help, self.predict_requested.emit)
        self.score.setAlignment(Qt.AlignmentFlag.AlignCenter)
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        grid.addWidget(self.point_tool, 0, 0)
        grid.addWidget(self.box_tool, 0, 1)
        self.use_label = button(LABEL.label, LABEL.help, self.label_requested.emit)
        self.overlap = OverlapChoice()
        grid.addWidget(self.area_tool, 1, 0)
        grid.addWidget(self.stroke_tool, 1, 1)
        grid.addWidget(self.polarity, 2, 0)
        grid.addWidget(self.use_label, 2, 1)
        grid.addLayout(_row((self.live, 1), (self.predict, 0)), 3, 0, 1, 2)
        grid.addWidget(self.hover, 4, 0, 1, 2)
        grid.addWidget(self.each, 5, 0, 1, 2)
        grid.addWidget(line, 6, 0, 1, 2)
        grid.addWidget(self.score, 7, 0, 1, 2)
        grid.addWidget(self.next, 8, 0)
        grid.addWidget(self.clear, 8, 1)
        # Where there is no way to propagate, Commit takes its room.
        grid.addLayout(_row((self.commit, 1), (self.propagate, 1)), 9, 0, 1, 2)
        grid.addWidget(self.undo, 10, 0)
        grid.addWidget(self.redo, 10, 1)
        grid.addWidget(self.overlap, 11, 0, 1, 2)

    def _toggle_tool(self) -> None:
        """Go on to the next tool; from napari's own to points."""
        names = list(self._tool_buttons)
        chosen = next((n for n, name in enumerate(names) if self._tool_buttons[name].isChecked()), -1)
        self.tool_chosen.emit(names[(chosen + 1) % len(names)])


def _row(*widgets: tuple[QWidget, int]) -> QHBoxLayout:
    """Put widgets beside each other, each with its share of the room that is left."""
    row = QHBoxLayout()
    for widget, share in widgets:
        row.addWidget(widget, share)
    return row


def _check(shortcut: Shortcut, on: bool) -> QCheckBox:
    box = QCheckBox(shortcut.label)
    box.setToolTip(shortcut.help)
    box.setChecked(on)
    return box
