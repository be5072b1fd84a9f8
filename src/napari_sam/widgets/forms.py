"""Rows of a form: a name, a control, and one line of help on both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QPushButton, QSizePolicy, QWidget


def form_of(page: QWidget) -> QFormLayout:
    """Lay a page out as a form."""
    form = QFormLayout(page)
    form.setContentsMargins(6, 6, 6, 6)
    form.setSpacing(3)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form


def add_row(form: QFormLayout, name: str, control: QWidget, tip: str, above: QWidget | None = None) -> None:
    """Add a row; a picture of what the control decides may stand above it."""
    label = QLabel(name)
    label.setToolTip(tip)
    control.setToolTip(tip)
    if above is not None:
        form.addRow(above)
    form.addRow(label, control)


def combo(choices: Sequence[tuple[str, Any]]) -> QComboBox:
    """Make a box of choices: what the user reads, and the value that it stands for."""
    box = QComboBox()
    box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    for text, value in choices:
        box.addItem(text, value)
    return box


def button(text: str, tip: str, clicked: Callable[[], None]) -> QPushButton:
    """Make a button."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.clicked.connect(lambda _checked: clicked())
    return made


def restyle(widget: QWidget, sheet: str) -> None:
    """Give a widget its style sheet, if it is another one: Qt lays the whole panel out again for each."""
    if widget.styleSheet() != sheet:
        widget.setStyleSheet(sheet)
