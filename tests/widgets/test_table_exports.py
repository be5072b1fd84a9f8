"""What is exported from the objects table is what was asked for, where it was asked for, and all of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_sam.storage.labels import LabelsStore
from napari_sam.widgets import objects_exports
from napari_sam.widgets.objects_table import ObjectsWidget
from widgets.driving import User, wait_until
from widgets.table_driving import cell, choose

OUTLINES = "SAM outlines"


@pytest.fixture
def may_go_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Exports wait, once they have begun, until they may go on."""
    event = threading.Event()

    def held(work: Callable[..., Any]) -> Callable[..., Any]:
        def wait(*arguments: Any, **options: Any) -> Any:
            assert event.wait(60)
            return work(*arguments, **options)

        return wait

    for name in ("export_labels", "object_polygons"):
        monkeypatch.setattr(objects_exports, name, held(getattr(objects_exports, name)))
    yield event
    event.set()


def answer(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """Type the name of a file, whenever it is asked for."""
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(file), ""))


def test_a_second_export_is_refused_while_one_is_written(
    table: ObjectsWidget, may_go_on: threading.Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, tmp_path / "first.csv")
    choose(table.exports, "Table of measures")
    answer(monkeypatch, tmp_path / "second.json")
    for second in ("COCO", "Outlines as a Shapes"):
        choose(table.exports, second)
        assert table.status.text().startswith("Another export has not ended yet")
    may_go_on.set()
    wait_until(lambda: not table.exports.is_busy)
    assert table.status.text() == f"Written: {tmp_path / 'first.csv'}"
    choose(table.exports, "COCO")
    wait_until(lambda: table.status.text() == f"Written: {tmp_path / 'second.json'}")
    assert {file.name for file in tmp_path.glob("*.*") if file.is_file()} == {"first.csv", "second.json"}


def test_labels_in_the_middle_of_a_write_are_not_exported(
    table: ObjectsWidget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LabelsStore, "unfinished", "The last step is not finished.")
    answer(monkeypatch, tmp_path / "half.csv")
    choose(table.exports, "Table of measures")
    wait_until(lambda: table.status.text().startswith("The labels are being written"))
    assert not (tmp_path / "half.csv").exists()


def test_outlines_lie_where_the_objects_lay_when_they_were_asked_for(
    user: User, table: ObjectsWidget, may_go_on: threading.Event
) -> None:
    table.table.selectRow(0)
    table.category.setText("nucleus")
    table.classify.click()
    wait_until(lambda: cell(table, 0, "Category") == "nucleus")
    choose(table.exports, "Outlines as a Shapes")
    user.session.objects.add_category("nucleus", "#102030")
    may_go_on.set()
    wait_until(lambda: OUTLINES in user.viewer.layers)
    layer = user.layer(OUTLINES)
    np.testing.assert_array_equal(layer.scale, user.image.scale)
    np.testing.assert_array_equal(layer.translate, user.image.translate)
    np.testing.assert_allclose(layer.edge_color[0][:3], np.array([0xE6, 0x9F, 0x00]) / 255, atol=1e-6)


@pytest.mark.parametrize("is_next_open", [False, True], ids=["none", "another"])
def test_outlines_of_a_session_that_has_ended_are_laid_on_no_other(
    user: User, table: ObjectsWidget, may_go_on: threading.Event, tmp_path: Path, is_next_open: bool
) -> None:
    choose(table.exports, "Outlines as a Shapes")
    user.widget.stop()
    if is_next_open:
        user.start(tmp_path / "others.zarr")
    may_go_on.set()
    wait_until(lambda: "has ended; start it and ask again" in table.status.text())
    assert OUTLINES not in user.viewer.layers


@pytest.mark.parametrize(
    ("title", "typed", "written"),
    [
        pytest.param("Table of measures", "mine", "mine.csv", id="no ending"),
        pytest.param("Labels as TIFF", "exp.2024", "exp.2024.ome.tif", id="a point in the name"),
        pytest.param("COCO", "mine.csv", "mine.csv.json", id="the ending of another format"),
    ],
)
def test_a_file_gets_the_ending_of_its_format(
    table: ObjectsWidget,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    title: str,
    typed: str,
    written: str,
) -> None:
    answer(monkeypatch, tmp_path / typed)
    choose(table.exports, title)
    wait_until(lambda: not table.exports.is_busy)
    assert table.status.text() == f"Written: {tmp_path / written}"
    assert (tmp_path / written).is_file() and not (tmp_path / typed).exists()


def test_a_file_is_replaced_only_where_the_user_was_asked(
    table: ObjectsWidget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("years of work")
    asked = []

    def reply(_parent: object, _title: str, text: str) -> QMessageBox.StandardButton:
        asked.append(text)
        return QMessageBox.StandardButton.Yes if len(asked) > 1 else QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", reply)
    answer(monkeypatch, tmp_path / "mine")
    choose(table.exports, "Table of measures")
    assert not table.exports.is_busy and file.read_text() == "years of work"
    choose(table.exports, "Table of measures")
    wait_until(lambda: not table.exports.is_busy)
    assert file.read_text().startswith("label,")
    assert asked == [f"{file} exists already. Do you want to replace it?"] * 2

    file.write_text("years of work")
    answer(monkeypatch, file)  # the dialog itself has asked
    choose(table.exports, "Table of measures")
    wait_until(lambda: not table.exports.is_busy)
    assert file.read_text().startswith("label,") and len(asked) == 2
