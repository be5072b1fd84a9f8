"""What an annotation is started with, as the user chooses it: a view that decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from magicgui.types import FileDialogMode
from magicgui.widgets import ComboBox, FileEdit, LineEdit
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QSizePolicy, QWidget

from napari_sam.model.precision import FULL
from napari_sam.weights.checkpoint import SUFFIXES

NEW_LAYER = "new layer"
STACK_CONTRAST, LAYER_CONTRAST = "stack", "layer"
CONTRASTS = [("of the whole stack", STACK_CONTRAST), ("as the layer shows it", LAYER_CONTRAST)]


class SettingsForm(QWidget):
    """The image, the model and the labels, and how the image is seen.

    Parameters
    ----------
    models
        As (what the user reads, key).
    """

    axes_typed = Signal(str)

    def __init__(self, models: list[tuple[str, str]]) -> None:
        super().__init__()
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
        self._form = self._lay_out()
        self.axes.native.editingFinished.connect(lambda: self.axes_typed.emit(self.axes.value))
        self.model.changed.connect(lambda _: self._on_model_changed())
        self._on_model_changed()

    @property
    def chosen_checkpoint(self) -> Path | None:
        """The user's own weights; None for the published ones."""
        return None if self.model.value == "nano" else _path(self.checkpoint)

    @property
    def named_labels(self) -> Path | None:
        """The folder of the labels; None if none is named."""
        return _path(self.labels)

    def show_labels(self, folder: Path | None) -> None:
        """Name the folder of the labels, or none."""
        self.labels.line_edit.value = str(folder or "")

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

    def _lay_out(self) -> QFormLayout:
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
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
        return form

    def _on_model_changed(self) -> None:
        """Ask for weights only where the model needs them."""
        self._form.setRowVisible(self.checkpoint.native, self.model.value != "nano")


def _path(field: FileEdit) -> Path | None:
    """Give what a field names; magicgui makes a dot of an empty one."""
    text = str(field.value)
    return None if text in ("", ".") else Path(text)
