"""The objects table as a user meets it: beside the annotation, in a real napari window."""

from __future__ import annotations

import csv
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog, QInputDialog, QPushButton

from napari_sam import planes
from napari_sam.exporting.names import FORMATS
from napari_sam.widgets.objects_table import ObjectsWidget
from widgets.conftest import DISCS, SCALE, SHAPE, TRANSLATE, disc
from widgets.driving import User, wait_until
from widgets.table_driving import cell, choose, click, export, labels_shown, push


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
    table.filter.setText("1")  # one plane has each, and areas hold the digit
    assert labels_shown(table) == ["1"]
    file = tmp_path / "objects.csv"
    export(table, "Table of measures", file, monkeypatch)
    with file.open(newline="") as lines:
        assert [row["category"] for row in csv.DictReader(lines)] == ["", "nucleus", ""]


def test_rows_are_edited_and_undo_brings_them_back(user: User, table: ObjectsWidget) -> None:
    before: NDArray[np.uint32] = user.session.labels[:]
    push(table.delete)
    assert "No object was chosen" in table.status.text()
    click(table, 1)
    push(table.delete)
    wait_until(lambda: labels_shown(table) == ["1", "3"])
    assert not np.asarray(user.session.labels[1]).any()
    table.table.selectAll()
    push(table.merge)
    wait_until(lambda: labels_shown(table) == ["1"])
    assert cell(table, 0, "Planes") == "2"
    user.press("Ctrl+Z")
    user.press("Ctrl+Z")
    wait_until(lambda: labels_shown(table) == ["1", "2", "3"])
    np.testing.assert_array_equal(user.session.labels[:], before)


@pytest.mark.window
def test_a_double_click_flies_to_the_object(
    user: User, table: ObjectsWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.go_to(0, 0)
    click(table, 1, twice=True)
    user.settle()
    assert user.session.plane.position[0] == 1
    row, column, _ = DISCS[1]
    centre = [TRANSLATE[1] + row * SCALE[1], TRANSLATE[2] + column * SCALE[2]]
    camera = getattr(user.viewer, "scene", user.viewer).camera
    assert camera.center[-2:] == pytest.approx(centre, abs=0.5)
    monkeypatch.setattr(planes, "LARGEST_SIDE", SHAPE[0])
    click(table, 0, twice=True)
    assert "is larger than" in table.status.text() and user.session.plane.position[0] == 1
    monkeypatch.undo()
    user.session.objects.delete([1])
    table._settle.stop()  # the user is faster than the table, which still has the row
    click(table, 0, twice=True)
    assert user.session.plane.position[0] == 1


def test_an_object_is_refined_from_the_table(user: User, table: ObjectsWidget) -> None:
    user.go_to(0, 0)
    user.session.objects.delete([1])
    user.click(0, *DISCS[0][:2])
    user.press("C")
    made = user.session.prompt, user.session.labels[0].max()
    assert made[0].is_empty and made[1] == 4
    user.go_to(0, 2)
    wait_until(lambda: labels_shown(table) == ["2", "3", "4"])
    click(table, 2)
    push(table.refine)
    user.settle()
    assert user.session.plane.position[0] == 0 and user.session.target == 4
    assert len(user.layer("SAM points").data) == 1
    user.session.set_box((10, 20, 50, 60))
    user.settle()
    preview = user.session.preview
    assert preview is not None
    user.press("C")
    np.testing.assert_array_equal(user.session.labels[0], 4 * preview.mask)


def test_what_another_program_found_is_imported_and_refined(user: User, table: ObjectsWidget) -> None:
    user.session.objects.delete([1])
    found = np.zeros(user.session.labels.shape, np.int32)
    row, column, radius = DISCS[0]
    found[0] = 5 * disc((row + 3, column - 2), radius - 4)  # not quite on the nucleus
    user.viewer.add_labels(found, name="cellpose")
    choose(table.imports, "cellpose")
    wait_until(lambda: labels_shown(table) == ["2", "3", "4"])
    assert cell(table, 2, "Source") == "import"
    np.testing.assert_array_equal(user.session.labels[0] == 4, found[0] == 5)

    user.go_to(0, 2)
    click(table, 2)
    push(table.refine)
    user.settle()
    assert user.session.plane.position[0] == 0 and user.session.target == 4
    assert user.session.prompt.mask is not None
    np.testing.assert_array_equal(user.session.prompt.mask, found[0] == 5)
    assert user.layer("SAM preview").visible
    user.click(0, row, column)  # a click corrects the mask, which stays the prompt
    preview = user.session.preview
    assert preview is not None and preview.prompt.mask is not None and len(preview.prompt.points) == 1
    user.press("C")
    np.testing.assert_array_equal(user.session.labels[0], 4 * preview.mask)
    wait_until(lambda: cell(table, 2, "Source") == "click")
    truth = disc((row, column), radius)
    iou = (preview.mask & truth).sum() / (preview.mask | truth).sum()
    before = ((found[0] == 5) & truth).sum() / ((found[0] == 5) | truth).sum()
    assert iou > before
    user.press("Ctrl+Z")
    np.testing.assert_array_equal(user.session.labels[0] == 4, found[0] == 5)


def test_an_object_is_split_by_green_and_red_points(user: User, table: ObjectsWidget) -> None:
    row, column, _ = DISCS[0]
    user.go_to(0, 0)
    click(table, 0)
    choose(table.edits, "Split")
    assert "put green points on one part and red ones on the other" in table.status.text()
    user.click(0, row, column - 8)
    user.press("Q")
    user.click(0, 5, 5)
    choose(table.edits, "Split")
    assert table.status.text() == "A red point lies beside object 1; put it on it, or take it away."
    user.session.set_points(user.session.prompt.points[:1], [1])
    user.click(0, row, column + 8)
    choose(table.edits, "Split")
    wait_until(lambda: labels_shown(table) == ["1", "2", "3", "4"])
    assert user.session.labels[0, row, column - 8] == 1 and user.session.labels[0, row, column + 8] == 4
    assert len(user.layer("SAM points").data) == 0
    user.press("Ctrl+Z")
    wait_until(lambda: labels_shown(table) == ["1", "2", "3"])


def test_the_edits_of_the_menu(user: User, table: ObjectsWidget, monkeypatch: pytest.MonkeyPatch) -> None:
    row, column, _ = DISCS[0]
    whole = np.asarray(user.session.labels[0])
    user.session.labels[0, row - 1 : row + 2, column] = 0
    user.session.labels[0, 150:153, 200:203] = 1
    user.session.store.end_stroke()
    click(table, 0)
    choose(table.edits, "Remove islands")
    choose(table.edits, "Fill holes")
    np.testing.assert_array_equal(user.session.labels[0], whole)
    choose(table.edits, "Fill holes")
    assert "Nothing changed" in table.status.text()
    monkeypatch.setattr(QInputDialog, "getInt", lambda *_: (12, True))
    choose(table.edits, "Renumber")
    wait_until(lambda: labels_shown(table) == ["2", "3", "12"])
    monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: ("mother", True))
    click(table, 2)
    choose(table.edits, "Rename")
    wait_until(lambda: cell(table, 2, "Name") == "mother")
    for _ in range(4):
        user.press("Ctrl+Z")
    assert user.session.labels[0, row, column] == 0
    wait_until(lambda: labels_shown(table) == ["1", "2", "3"])
    table.table.selectAll()
    steps = len(user.session.store.ledger.steps())
    choose(table.edits, "Smooth")
    assert len(user.session.store.ledger.steps()) == steps + 1
    choose(table.edits, "Renumber")
    assert table.status.text() == "3 objects are selected; select one."


def test_categories_have_their_colours_in_table_and_layer(
    user: User, table: ObjectsWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    click(table, 1)
    choose(table.exports, "Categories as a Labels")
    assert "no categories yet" in table.status.text()
    table.category.setText("nucleus")
    push(table.classify)
    wait_until(lambda: cell(table, 1, "Category") == "nucleus")
    index = table.model.index(1, 2)
    assert index.data(Qt.ItemDataRole.DecorationRole).name() == "#e69f00"
    choose(table.exports, "Categories as a Labels")
    layer = user.layer("SAM categories")
    np.testing.assert_array_equal(np.asarray(layer.data), np.asarray(user.session.labels) == 2)
    assert type(duplicate := deepcopy(layer.data)) is np.ndarray and duplicate.any()
    np.testing.assert_array_equal(layer.scale, user.image.scale)
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor("#102030"))
    click(table, 1)
    choose(table.edits, "Colour of the category")
    wait_until(lambda: table.model.index(1, 2).data(Qt.ItemDataRole.DecorationRole).name() == "#102030")
    np.testing.assert_allclose(layer.get_color(1), [0x10 / 255, 0x20 / 255, 0x30 / 255, 1], atol=1e-6)


def test_the_layer_of_the_categories_outlives_the_annotation(user: User, table: ObjectsWidget) -> None:
    click(table, 1)
    table.category.setText("nucleus")
    push(table.classify)
    choose(table.exports, "Categories as a Labels")
    layer, expected = user.layer("SAM categories"), user.session.labels[:] == 2
    user.widget.stop()
    user.viewer.dims.set_point(0, user.image.data_to_world([1, 0, 0])[0])
    np.testing.assert_array_equal(np.asarray(layer.data), expected)
    user.panel.start.click()
    user.settle()
    wait_until(lambda: labels_shown(table) == ["1", "2", "3"])
    assert user.widget._choice._seen is not None, "the start was not broken off"
    user.session.undo()
    assert not np.asarray(layer.data).any()


def test_every_format_is_written_from_the_menu(
    user: User, table: ObjectsWidget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for form in FORMATS.values():
        export(table, form.title, tmp_path / f"out-{form.key}{form.suffix}", monkeypatch)
        assert (tmp_path / f"out-{form.key}{form.suffix}").exists()
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out-tiff.ome.tif"), user.session.labels[:])


def test_outlines_lie_on_the_objects(user: User, table: ObjectsWidget) -> None:
    click(table, 1)
    choose(table.exports, "Outlines as a Shapes")
    wait_until(lambda: "SAM outlines" in user.viewer.layers)
    layer = user.layer("SAM outlines")
    assert list(layer.features["label"]) == [2]
    np.testing.assert_array_equal(layer.to_labels(user.session.labels.shape) > 0, user.session.labels[:] == 2)
    np.testing.assert_array_equal(layer.scale, user.image.scale)


@pytest.mark.window
def test_the_table_fits_beside_the_annotation_at_1280_by_800(user: User, table: ObjectsWidget) -> None:
    for button in table.findChildren(QPushButton):
        if button.isVisible():
            text = button.fontMetrics().horizontalAdvance(button.text())
            assert text < button.width(), button.text()
    assert table.height() >= table.minimumSizeHint().height()


@pytest.mark.window
def test_the_table_ends_with_the_annotation(user: User, table: ObjectsWidget) -> None:
    user.widget.stop()
    assert table.model.rowCount() == 0 and not table.delete.isEnabled()
    assert "No annotation runs" in table.status.text()
    user.panel.start.click()
    wait_until(lambda: labels_shown(table) == ["1", "2", "3"])
    store = user.session.store
    user.desk.undock(table)
    store.undo()  # must not reach the closed table
    assert table._session is None
