"""The objects table measures beside the window, and shows what is of the session that runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QItemSelectionModel, Qt
from qtpy.QtWidgets import QApplication

from napari_sam.objects import measuring
from napari_sam.objects.measuring import ObjectRow, RecordedObjects
from napari_sam.storage.ome import Geometry
from napari_sam.widgets import objects_measured
from napari_sam.widgets.objects_model import ObjectsModel
from napari_sam.widgets.objects_table import ObjectsWidget
from widgets.conftest import disc
from widgets.driving import User, wait_until
from widgets.table_driving import Held, labels_shown


@pytest.fixture
def held(table: ObjectsWidget, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    wait_until(lambda: not table.is_busy)
    work, rows = Held(), RecordedObjects.rows

    def hold(objects: RecordedObjects, geometry: Geometry) -> list[ObjectRow]:
        work.wait()
        return rows(objects, geometry)

    monkeypatch.setattr(RecordedObjects, "rows", hold)
    yield work
    work.may_go_on.set()


def add(user: User, column: int) -> None:
    user.session.store.commit(user.session.plane, disc((150, column), 5))


def test_the_window_goes_on_while_objects_are_measured(user: User, table: ObjectsWidget, held: Held) -> None:
    add(user, 100)
    wait_until(held.began.is_set)
    assert table.is_busy and labels_shown(table) == ["1", "2", "3"]
    assert threading.main_thread() not in held.threads
    add(user, 150)  # what is measured is told, and then what it is by now
    held.may_go_on.set()
    wait_until(lambda: labels_shown(table) == ["1", "2", "3", "4", "5"])
    assert table.status.text() == "5 objects."


def test_order_and_selection_stay(user: User, table: ObjectsWidget) -> None:
    table.table.sortByColumn(4, Qt.SortOrder.DescendingOrder)
    table.table.selectRow(1)
    assert [row.label for row in table.selected()] == [3]
    add(user, 100)
    wait_until(lambda: labels_shown(table) == ["2", "3", "1", "4"])
    assert [row.label for row in table.selected()] == [3]
    table.table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    assert labels_shown(table) == ["1", "2", "3", "4"]
    assert [row.label for row in table.selected()] == [3]
    table.filter.setText("CLI")
    assert table.selected() == [] and labels_shown(table) == []


def test_nothing_is_shown_of_a_session_that_has_ended(user: User, table: ObjectsWidget, held: Held) -> None:
    add(user, 100)
    wait_until(held.began.is_set)
    user.widget.stop()
    held.may_go_on.set()
    wait_until(lambda: not table.is_busy)
    assert labels_shown(table) == [] and "No annotation runs" in table.status.text()


def test_a_ledger_that_is_being_read_is_one_file_when_its_session_has_ended(
    user: User, table: ObjectsWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_until(lambda: not table.is_busy)
    began, read = threading.Event(), measuring.read_objects

    def slowly(ledger: Any) -> RecordedObjects:
        began.set()
        time.sleep(0.3)
        return read(ledger)

    monkeypatch.setattr(objects_measured, "read_objects", slowly)
    folder = user.session.store.path
    add(user, 100)
    wait_until(began.is_set)
    user.widget.stop()
    wait_until(lambda: not user.widget.is_busy)
    assert not list(folder.glob("ledger.sqlite-*"))


def test_what_cannot_be_measured_is_told(
    user: User, table: ObjectsWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_ledger: Any) -> RecordedObjects:
        raise ValueError("The ledger is damaged.")

    monkeypatch.setattr(objects_measured, "read_objects", fail)
    add(user, 100)
    wait_until(lambda: table.status.text() == "The ledger is damaged.")
    assert labels_shown(table) == ["1", "2", "3"]


def rows_of(count: int) -> list[ObjectRow]:
    scores = np.random.default_rng(0).permutation(count)
    return [
        ObjectRow(n + 1, "", "", "", 1, 1.0, None, "pixel", float(score), "click", (0.0, 1.0))
        for n, score in enumerate(scores)
    ]


def test_thousands_of_rows_are_sorted_within_a_moment(
    qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    model = ObjectsModel()
    monkeypatch.setattr(ObjectsModel, "data", lambda *arguments: asked.append(arguments))
    model.show_rows(rows_of(5000))
    model.sort(6, Qt.SortOrder.DescendingOrder)
    assert [row.score for row in model.rows] == list(range(5000))[::-1]
    model.show_only("click")
    assert model.rowCount() == 5000 and len(asked) < 5000
    labels = {row.label for row in model.rows[10:20]} | {model.rows[30].label}
    assert [(x.top(), x.bottom()) for x in model.selection_of(labels)] == [(10, 19), (30, 30)]


def test_what_is_selected_stays_selected_where_it_is_still_shown(qapp: QApplication) -> None:
    model = ObjectsModel()
    model.show_rows(rows_of(100))
    selection = QItemSelectionModel(model)
    selection.select(model.selection_of({7, 50, 77}), selection.SelectionFlag.Select)

    def selected() -> set[int]:
        return {model.rows[index.row()].label for index in selection.selectedRows()}

    model.sort(6)
    assert selected() == {7, 50, 77}
    model.show_only("7")
    shown = {row.label for row in model.rows}
    assert {7, 17, 77} <= shown != set(range(1, 101)) and selected() == {7, 50, 77} & shown


def test_thousands_of_rows_are_selected_without_asking_each_of_them(
    table: ObjectsWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.model.show_rows(rows_of(5000))
    asked = []
    count = ObjectsModel.rowCount
    monkeypatch.setattr(ObjectsModel, "rowCount", lambda *x: asked.append(x) or count(*x))
    table.table.selectAll()
    table.grab()
    assert len(table.selected()) == 5000 and len(asked) < 5000
