"""The table's edits are written beside the window, whole or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QInputDialog

from napari_sam.objects import editing
from napari_sam.storage.records import Step
from napari_sam.widgets.objects_table import ObjectsWidget
from widgets.driving import User, wait_until
from widgets.table_driving import Held, choose, click, labels_shown, push


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """Hold what an edit makes of the objects of a plane."""
    work, renumbered = Held(), editing._renumbered

    def hold(*arguments: object) -> object:
        work.wait()
        return renumbered(*arguments)

    monkeypatch.setattr(editing, "_renumbered", hold)
    yield work
    work.may_go_on.set()


def delete_all(table: ObjectsWidget) -> None:
    table.table.selectAll()
    QTest.mouseClick(table.delete, Qt.MouseButton.LeftButton)


def test_the_window_goes_on_while_an_edit_is_written(user: User, table: ObjectsWidget, held: Held) -> None:
    delete_all(table)
    wait_until(held.began.is_set)
    assert table.is_writing and threading.main_thread() not in held.threads
    user.go_to(0, 1)
    wait_until(table.activity.cancel.isVisible)
    QTest.mouseClick(table.merge, Qt.MouseButton.LeftButton)
    assert table.status.text().startswith("Another edit is still being written")
    user.press("Ctrl+Z")
    assert "being written; wait until that is done" in user.status
    held.may_go_on.set()
    wait_until(lambda: labels_shown(table) == [])
    assert not np.asarray(user.session.labels[:]).any() and not table.activity.cancel.isVisible()
    user.press("Ctrl+Z")
    wait_until(lambda: labels_shown(table) == ["1", "2", "3"])


def test_an_edit_that_is_stopped_leaves_nothing(user: User, table: ObjectsWidget, held: Held) -> None:
    before: np.ndarray = user.session.labels[:]
    steps = user.session.store.ledger.steps()
    delete_all(table)
    wait_until(table.activity.cancel.isVisible)
    QTest.mouseClick(table.activity.cancel, Qt.MouseButton.LeftButton)
    held.may_go_on.set()
    wait_until(lambda: not table.is_writing)
    assert table.status.text() == "Stopped; nothing was written."
    np.testing.assert_array_equal(user.session.labels[:], before)
    assert user.session.store.ledger.steps() == steps


def test_an_edit_of_a_session_that_has_ended_is_told_to_no_other(
    user: User, table: ObjectsWidget, held: Held
) -> None:
    delete_all(table)
    wait_until(held.began.is_set)
    user.widget.stop()
    wait_until(lambda: table.status.text() == "No annotation runs in this viewer.")
    held.may_go_on.set()
    wait_until(lambda: not table.is_writing)
    assert table.status.text() == "No annotation runs in this viewer."
    user.panel.start.click()
    user.settle()
    wait_until(lambda: labels_shown(table) == ["1", "2", "3"])


def test_what_is_written_is_shown_also_where_the_table_is_closed_by_then(
    user: User, table: ObjectsWidget
) -> None:
    shown, ledger = list[Step](), user.session.store.ledger
    user.session.store.changed.connect(shown.append)
    steps = len(ledger.steps())
    delete_all(table)
    end = time.monotonic() + 60
    while len(ledger.steps()) == steps or table._writer._job._job.is_busy:  # and Qt hears of nothing
        assert time.monotonic() < end
        time.sleep(0.01)
    user.desk.undock(table)
    wait_until(lambda: len(shown) > 0)
    assert shown == [ledger.last_done()]


def test_a_session_that_ends_while_the_user_is_asked_is_not_edited(
    user: User, table: ObjectsWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(*_: object, **__: object) -> tuple[str, bool]:
        user.widget.stop()
        return "mother", True

    monkeypatch.setattr(QInputDialog, "getText", answer)
    click(table, 0)
    choose(table.edits, "Rename")
    assert table.status.text() == "The annotation has ended meanwhile; nothing was edited."


def test_what_was_said_stays_until_something_else_changes(user: User, table: ObjectsWidget) -> None:
    wait_until(lambda: table.status.text() == "3 objects.")
    push(table.merge)
    assert table.status.text().startswith("No object was chosen")
    table.refresh()
    wait_until(lambda: not table.is_busy)
    QTest.qWait(50)
    assert table.status.text().startswith("No object was chosen")
    click(table, 0)
    push(table.delete)
    wait_until(lambda: table.status.text() == "2 objects.")


def test_the_bar_and_stop_are_about_the_edit_while_an_export_runs_too(table: ObjectsWidget) -> None:
    bar = table.activity
    bar.show_share("exporting", 0.5)
    assert bar.shown == "exporting"
    bar.show_share("writing", 0.1)
    assert bar.shown == "writing"
    bar.show_share("writing", None)
    wait_until(bar.cancel.isVisible)
    assert bar.shown == "exporting"
    bar.show_share("exporting", None)
    assert bar.shown is None and not bar.cancel.isVisible()


def test_labels_are_imported_beside_the_window(user: User, table: ObjectsWidget) -> None:
    """They may be a volume on a disk."""
    threads = list[threading.Thread]()

    class Volume(np.ndarray):
        def __getitem__(self, index: object) -> object:
            threads.append(threading.current_thread())
            return super().__getitem__(index)

    found = np.zeros(user.session.labels.shape, np.int32)
    found[:, 150:170, 180:200] = 5
    layer = user.viewer.add_labels(found, name="found")
    layer._data = found.view(Volume)
    choose(table.imports, "found")
    wait_until(lambda: labels_shown(table) == ["1", "2", "3", "4"])
    assert threads and threading.main_thread() not in threads


def test_labels_that_lie_elsewhere_are_imported_pixel_for_pixel_and_that_is_said(
    user: User, table: ObjectsWidget
) -> None:
    """Results of other programs mostly lack the image's scale."""
    found = np.zeros(user.session.labels.shape, np.int32)
    found[:, 150:170, 180:200] = 5
    user.viewer.add_labels(found, name="found", scale=(1, 7, 7))
    choose(table.imports, "found")
    wait_until(lambda: table.status.text().startswith("'found' has another scale or position"))
    wait_until(lambda: labels_shown(table) == ["1", "2", "3", "4"])
    np.testing.assert_array_equal(user.session.labels[0] == 4, found[0] == 5)
    assert table.status.text().startswith("'found' has another scale or position")


def test_nothing_is_written_where_nothing_changes(user: User, table: ObjectsWidget) -> None:
    click(table, 0)
    choose(table.edits, "Fill holes")
    assert table.status.text() == "Nothing changed: the objects are like that already."
    push(table.merge)
    assert "give two or more" in table.status.text()
