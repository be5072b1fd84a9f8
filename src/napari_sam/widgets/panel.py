"""What the user sees of the annotation: a view that shows state and emits signals, and decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magicgui.types import FileDialogMode
from magicgui.widgets import ComboBox, FileEdit, LineEdit
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QFormLayout,
    QFrame,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_sam.model.precision import FULL
from napari_sam.weights.checkpoint import SUFFIXES
from napari_sam.widgets.footer import Footer
from napari_sam.widgets.forms import button, restyle
from napari_sam.widgets.made_prompts import BOX_COLOUR, NEGATIVE_COLOUR, POSITIVE_COLOUR
from napari_sam.widgets.overlap import OverlapChoice
from napari_sam.widgets.seen import SeenView
from napari_sam.widgets.stack_status import StackStatus

NEW_LAYER = "new layer"
# Kinds of slow work, in the order in which they are shown and ended.
DOWNLOADING, WRITING, PROPAGATING, ENCODING = "downloading", "writing", "propagating", "encoding"
# Below this score hardly a mask is of any use, and a box says what is meant.
_UNSURE = 0.3
STACK_CONTRAST, LAYER_CONTRAST = "stack", "layer"
CONTRASTS = [("of the whole stack", STACK_CONTRAST), ("as the layer shows it", LAYER_CONTRAST)]


@dataclass(frozen=True)
class Shortcut:
    """A key, and the words on its button."""

    key: str
    text: str
    help: str

    @property
    def label(self) -> str:
        """The button's text with its key."""
        return f"{self.text}  [{self.key}]"


# Letters that napari leaves free while an image, points, shapes or labels layer is active; C alone is taken,
# by the contrast of an active image layer.
POINT_TOOL = Shortcut("G", "Points", "Click on the object; G goes on to boxes, lasso, scribble.")
BOX_TOOL = Shortcut("G", "Boxes", "Drag a rectangle around the object; G goes on to the next tool.")
AREA_TOOL = Shortcut("G", "Lasso", "Draw around the object; napari's polygons and ellipses count as well.")
STROKE_TOOL = Shortcut("G", "Scribble", "Draw a line over the object, or, after Q, over what is beside it.")
HOVER = Shortcut("H", "Outline under the cursor", "Where the cursor rests, show what a click would give.")
EACH = Shortcut("N", "One object per prompt", "Each box, area or click is an object; commit writes them all.")
LABEL = Shortcut("U", "Use label", "Take the selected object of the Labels layer as a prompt, to refine it.")
POLARITY = Shortcut("Q", "Click adds", "Whether the next click lies on the object or beside it.")
NEXT = Shortcut("W", "Next candidate", "A click may mean a part or the whole: show the next of three masks.")
COMMIT = Shortcut("C", "Commit", "Write the mask into the labels as a new object; what is there stays.")
PROPAGATE = Shortcut(
    "Shift+C", "Along", "Commit, and carry the object on along {0} to all planes that it is on."
)
CLEAR = Shortcut("K", "Clear", "Take the prompts of this plane away.")
# In a Labels layer that is not the session's these two are napari's own: see `own_strokes`.
UNDO = Shortcut("Ctrl+Z", "Undo", "Take the last step back: commit, edit or brush stroke; prompts return.")
REDO = Shortcut("Ctrl+Shift+Z", "Redo", "Do again what was taken back last.")
PREDICT = Shortcut("J", "Predict", "Compute the mask of the prompts now.")


class AnnotatePanel(QWidget):
    """The controls of the annotation, docked beside the canvas."""

    start_requested = Signal()
    tool_chosen = Signal(str)
    polarity_requested = Signal()
    next_requested = Signal()
    commit_requested = Signal()
    propagate_requested = Signal()
    clear_requested = Signal()
    undo_requested = Signal()
    redo_requested = Signal()
    predict_requested = Signal()
    cancel_requested = Signal()
    live_changed = Signal(bool)
    label_requested = Signal()
    axes_typed = Signal(str)

    def __init__(self, models: list[tuple[str, str]]) -> None:
        super().__init__()
        self._shortcuts: list[QShortcut] = []
        self.image = ComboBox(label="Image", choices=[], nullable=True)
        self.model = ComboBox(label="Model", choices=models, value=models[0][1])
        self.precision = ComboBox(label="Precision", choices=[FULL], value=FULL)
        self.checkpoint = FileEdit(
            label="Weights",
            mode=FileDialogMode.EXISTING_FILE,
            filter=" ".join(f"*{suffix}" for suffix in SUFFIXES),
        )
        self.labels = FileEdit(label="Labels", mode=FileDialogMode.EXISTING_DIRECTORY)
        self.points = ComboBox(label="Points", choices=[NEW_LAYER], value=NEW_LAYER)
        self.contrast = ComboBox(label="Contrast", choices=CONTRASTS, value=CONTRASTS[0][1])
        self.axes = LineEdit(label="Axes")
        self.channels = ComboBox(label="Channels", choices=[("this layer alone", "alone")])
        self.boxes = ComboBox(label="Boxes", choices=[NEW_LAYER], value=NEW_LAYER)
        tip = "Load the model and open the labels."
        self.start = button("Start annotating", tip, self.start_requested.emit)
        self.footer = Footer(DOWNLOADING, WRITING, PROPAGATING, ENCODING, text="Choose an image and start.")
        self.footer.cancel_requested.connect(self.cancel_requested)
        self.status, self.activity = self.footer.status, self.footer.activity
        self.progress, self.cancel = self.activity.bar, self.activity.cancel
        self.score = QLabel("-")
        self.live = QCheckBox("Preview at every change")
        self.live.setToolTip("Otherwise the preview is computed when you ask for it.")
        self.live.setChecked(True)
        self.live.toggled.connect(self.live_changed)
        self.hover = _check(HOVER, True)
        self.each = _check(EACH, False)

        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 8, 6)
        layout.setSpacing(5)
        layout.addLayout(self._settings())
        layout.addWidget(self.start)
        self.work = self._work()
        layout.addWidget(self.work)
        self.stack = StackStatus()
        self.stack.setVisible(False)
        layout.addWidget(self.stack)
        self.seen = SeenView()
        layout.addWidget(self.seen)
        layout.addStretch(1)
        self.axes.native.editingFinished.connect(lambda: self.axes_typed.emit(self.axes.value))
        self.model.changed.connect(lambda _: self._on_model_changed())
        self._on_model_changed()
        self.show_session(False)
        self.setMinimumWidth(326)

    def add_shortcuts(self, window: QWidget) -> None:
        """Let the keys work wherever in ``window`` the focus is; a text field still gets its letters."""
        for shortcut, emit in (
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
        ):
            key = QShortcut(QKeySequence(shortcut.key), window)
            key.activated.connect(emit)
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
        self.work.setEnabled(active)
        self.start.setText("Start anew with these choices" if active else "Start annotating")
        for key in self._shortcuts:
            key.setEnabled(active)

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

    def show_models(self, models: list[tuple[str, str]]) -> None:
        """Offer models, as (what the user reads, key), keeping the choice."""
        chosen = self.model.value
        with self.model.changed.blocked():
            self.model.choices = []  # else a model whose text changes moves to the end
            self.model.choices = models
            self.model.value = chosen

    def show_precisions(self, names: Sequence[str]) -> None:
        """Offer the precisions from which the chosen model gains; a choice between one is none."""
        chosen = self.precision.value
        self.precision.choices = list(names)
        self.precision.value = chosen if chosen in names else FULL
        self._form.setRowVisible(self.precision.native, len(names) > 1)

    def show_axes(self, axes: str) -> None:
        """Show the letters of the image's axes."""
        with self.axes.changed.blocked():
            self.axes.value = axes
        self.show_axes_fit(True)

    def show_axes_fit(self, fit: bool) -> None:
        """Show whether what was typed can be the axes."""
        self.axes.native.setStyleSheet("" if fit else "QLineEdit { border: 1px solid #ff8a8a; }")

    def show_channels(self, choices: list[tuple[str, str]]) -> None:
        """Offer what the model may see of channels, as (what the user reads, value), keeping the choice."""
        chosen, values = self.channels.value, [value for _, value in choices]
        with self.channels.changed.blocked():
            self.channels.choices = []  # else a choice whose text changes moves to the end
            self.channels.choices = choices
            self.channels.value = chosen if chosen in values else values[0]
        self.channels.native.setVisible(len(choices) > 1)

    def show_share(self, kind: str, done: float | None, what: str = "") -> None:
        """Show how far one kind of work is; see `Activity.show_share`."""
        self.activity.show_share(kind, done, what)

    def show_status(self, text: str, problem: bool = False) -> None:
        """Say something below the controls."""
        self.footer.show_status(text, problem)

    def _settings(self) -> QFormLayout:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setSpacing(4)
        tips = (
            (self.image, "The image to annotate."),
            (self.model, "nano ships with the plugin; the others are downloaded when you start."),
            (
                self.precision,
                "Of the image encoder: less than float32 encodes faster here; masks stay all but the same.",
            ),
            (
                self.checkpoint,
                f"Your own checkpoint of the model ({', '.join(SUFFIXES)}). Empty for the published one.",
            ),
            (self.labels, "Folder of the labels; opened if it exists, else made."),
            (self.points, "Layer whose points are prompts; those of a committed plane are removed."),
            (self.boxes, "Layer whose shapes are prompts: areas around an object, lines over it."),
            (
                self.contrast,
                "What the model sees as black and white: percentiles of the stack, or the layer's limits.",
            ),
            (
                self.axes,
                "One letter per axis: t for time, z for depth, c for channels. Type others if wrong.",
            ),
            (
                self.channels,
                "What the model sees: this layer, all layers on its pixels as shown, or all its channels.",
            ),
        )
        for control, tip in tips:
            control.tooltip = tip
            control.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for control in (self.image, self.model, self.precision, self.checkpoint, self.labels):
            form.addRow(QLabel(control.label), control.native)
        layers = QHBoxLayout()  # both in one row: the panel is to fit a window of 800 pixels
        layers.addWidget(self.points.native)
        layers.addWidget(self.boxes.native)
        form.addRow(QLabel("Prompts in"), layers)
        form.addRow(QLabel(self.contrast.label), self.contrast.native)
        seen = QHBoxLayout()
        seen.addWidget(self.axes.native, 1)
        seen.addWidget(self.channels.native, 3)
        form.addRow(QLabel(self.axes.label), seen)
        self._form = form
        return form

    def _work(self) -> QWidget:
        box = QGroupBox("Prompt")
        grid = QGridLayout(box)
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
        self.show_polarity(True)
        self.show_preview(None)
        return box

    def _toggle_tool(self) -> None:
        """Go on to the next tool; from napari's own to points."""
        names = list(self._tool_buttons)
        chosen = next((n for n, name in enumerate(names) if self._tool_buttons[name].isChecked()), -1)
        self.tool_chosen.emit(names[(chosen + 1) % len(names)])

    def _on_model_changed(self) -> None:
        """Ask for weights only where the model needs them."""
        self._form.setRowVisible(self.checkpoint.native, self.model.value != "nano")


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
