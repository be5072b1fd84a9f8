"""What is exported from the objects table is what was asked for, where it was asked for, and all of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from qtpy.QtWidgets import QFileDialog

from napari_sam.widgets import objects_exports
from napari_sam.widgets.objects_table import ObjectsWidget
from widgets.driving import wait_until
from widgets.table_driving import choose

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
