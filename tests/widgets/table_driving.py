"""A user's hands on the objects table."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog, QMenu, QWidget

from napari_sam.widgets.objects_table import ObjectsWidget
from widgets.driving import wait_until


class Held:
    """What works beside the window, held until it may go on."""

    def __init__(self) -> None:
        self.began, self.may_go_on = threading.Event(), threading.Event()
        self.threads: list[threading.Thread] = []

    def wait(self) -> None:
        self.threads.append(threading.current_thread())
        self.began.set()
        assert self.may_go_on.wait(60)


def cell(widget: ObjectsWidget, row: int, title: str) -> str:
    titles = [
        widget.model.headerData(i, Qt.Orientation.Horizontal) for i in range(widget.model.columnCount())
    ]
    column = next(i for i, x in enumerate(titles) if x.startswith(title))
    return str(widget.model.index(row, column).data())


def labels_shown(widget: ObjectsWidget) -> list[str]:
    return [cell(widget, row, "Label") for row in range(widget.model.rowCount())]


def click(widget: ObjectsWidget, row: int, twice: bool = False) -> None:
    """Click on a row with the mouse."""
    viewport = widget.table.viewport()
    assert viewport is not None
    place = widget.table.visualRect(widget.model.index(row, 0)).center()
    press = QTest.mouseDClick if twice else QTest.mouseClick
    QTest.mouseClick(viewport, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
    if twice:
        press(viewport, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)


def push(button: QWidget) -> None:
    """Press a button of the table with the mouse, and wait until an edit is written."""
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    table = button.parentWidget()
    assert isinstance(table, ObjectsWidget)
    wait_until(lambda: not table.is_writing)


def choose(menu: QMenu, text: str) -> None:
    """Take the entry of a menu that begins with these words, and wait until an edit is written."""
    menu.aboutToShow.emit()
    (action,) = (x for x in menu.actions() if x.text().startswith(text))
    assert action.isEnabled()
    action.trigger()
    table = menu.parentWidget()
    assert isinstance(table, ObjectsWidget)
    wait_until(lambda: not table.is_writing)


def export(table: ObjectsWidget, title: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a file by the menu, and wait until it is there."""
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(file), ""))
    choose(table.exports, title)
    wait_until(lambda: not table.exports.is_busy)
    assert table.status.text() == f"Written: {file}"
