"""The objects table as a user meets it: beside the annotation, in a real napari window."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_sam.widgets.objects_table import ObjectsWidget
from widgets.conftest import DISCS, SCALE, TRANSLATE, disc
from widgets.driving import User, wait_until


@pytest.fixture
def table(user: User) -> ObjectsWidget:
    """The table beside an annotation with one object on each plane."""
    widget = ObjectsWidget(user.viewer)
    user.viewer.window.add_dock_widget(widget, name="Segment Anything: objects", area="bottom")
    for z, (row, column, radius) in enumerate(DISCS):
        user.session.go_to(z=z)
        user.session.store.commit(user.session.plane, disc((row, column), radius))
    wait_until(lambda: widget.proxy.rowCount() == 3)
    return widget


def cell(widget: ObjectsWidget, row: int, title: str) -> str:
    titles = [
        widget.proxy.headerData(i, Qt.Orientation.Horizontal) for i in range(widget.proxy.columnCount())
    ]
    column = next(i for i, x in enumerate(titles) if x.startswith(title))
    return str(widget.proxy.index(row, column).data())


def labels_shown(widget: ObjectsWidget) -> list[str]:
    return [cell(widget, row, "Label") for row in range(widget.proxy.rowCount())]


def test_the_table_measures_sorts_filters_and_writes(
    user: User, table: ObjectsWidget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    areas = [disc(x[:2], x[2]).sum() * SCALE[1] * SCALE[2] for x in DISCS]
    assert [float(cell(table, row, "Area")) for row in range(3)] == pytest.approx(areas, rel=1e-3)
    assert float(cell(table, 0, "Volume")) == pytest.approx(areas[0] * SCALE[0], rel=1e-3)
    table.table.sortByColumn(4, Qt.SortOrder.DescendingOrder)
    assert labels_shown(table) == ["2", "3", "1"]
    table.table.selectRow(0)
    table.category.setText("nucleus")
    table.classify.click()
    wait_until(lambda: "nucleus" in [cell(table, row, "Category") for row in range(3)])
    table.filter.setText("NUCL")
    assert labels_shown(table) == ["2"]
    file = tmp_path / "objects.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(file), "*.csv"))
    table.save.click()
    with file.open(newline="") as lines:
        assert [row["category"] for row in csv.DictReader(lines)] == ["", "nucleus", ""]


def test_rows_are_edited_and_undo_brings_them_back(user: User, table: ObjectsWidget) -> None:
    before: NDArray[np.uint32] = user.session.labels[:]
    table.delete.click()
    assert "No object was chosen" in table.status.text()
    table.table.selectRow(1)
    table.delete.click()
    wait_until(lambda: labels_shown(table) == ["1", "3"])
    assert not np.asarray(user.session.labels[1]).any()
    table.table.selectAll()
    table.merge.click()
    wait_until(lambda: labels_shown(table) == ["1"])
    assert cell(table, 0, "Planes") == "2"
    user.press("Ctrl+Z")
    user.press("Ctrl+Z")
    wait_until(lambda: labels_shown(table) == ["1", "2", "3"])
    np.testing.assert_array_equal(user.session.labels[:], before)


def test_a_double_click_flies_to_the_object(user: User, table: ObjectsWidget) -> None:
    user.go_to(0, 0)
    table.table.doubleClicked.emit(table.proxy.index(1, 0))
    user.settle()
    assert user.session.plane.position[0] == 1
    row, column, _ = DISCS[1]
    centre = [TRANSLATE[1] + row * SCALE[1], TRANSLATE[2] + column * SCALE[2]]
    camera = getattr(user.viewer, "scene", user.viewer).camera
    assert camera.center[-2:] == pytest.approx(centre, abs=0.5)


def test_an_object_is_refined_from_the_table(user: User, table: ObjectsWidget) -> None:
    user.go_to(0, 0)
    user.session.objects.delete([1])
    user.click(0, *DISCS[0][:2])
    user.press("C")
    made = user.session.prompt, user.session.labels[0].max()
    assert made[0].is_empty and made[1] == 4
    user.go_to(0, 2)
    wait_until(lambda: labels_shown(table) == ["2", "3", "4"])
    table.table.selectRow(2)
    table.refine.click()
    user.settle()
    assert user.session.plane.position[0] == 0 and user.session.target == 4
    assert len(user.layer("SAM points").data) == 1
    user.session.set_box((10, 20, 50, 60))
    user.settle()
    preview = user.session.preview
    assert preview is not None
    user.press("C")
    np.testing.assert_array_equal(user.session.labels[0], 4 * preview.mask)


def test_the_table_ends_with_the_annotation(user: User, table: ObjectsWidget) -> None:
    user.widget.stop()
    assert table.proxy.rowCount() == 0 and not table.delete.isEnabled()
    assert "No annotation runs" in table.status.text()
    user.panel.start.click()
    user.settle()
    assert labels_shown(table) == ["1", "2", "3"]
    store = user.session.store
    user.viewer.window.remove_dock_widget(table)
    store.undo()  # must not reach the closed table
    assert table._session is None
