"""An export goes on for minutes, and so does the annotation: the file is of the moment at which it began."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from napari_sam.exporting.coco import coco_lines
from napari_sam.exporting.formats import export_labels
from napari_sam.exporting.geojson import geojson_lines
from napari_sam.exporting.names import FORMATS
from napari_sam.exporting.shapes import object_polygons
from napari_sam.objects.editing import Objects
from napari_sam.objects.measuring import measure_all
from napari_sam.plane import Plane
from napari_sam.progress import Progress
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.view import LedgerView

SHAPE = (10, 64, 64)


def add_object(store: LabelsStore, z: int, row: int = 5) -> None:
    mask = np.zeros(SHAPE[1:], bool)
    mask[row : row + 5, 5:10] = True
    store.commit(Plane((1, 2), (z, 0, 0)), mask)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[LabelsStore]:
    """The annotation: objects 1, 2 and 3 on the planes 3, 5 and 7."""
    store = LabelsStore.create(tmp_path / "cells.zarr", SHAPE, "zyx")
    for z in (3, 5, 7):
        add_object(store, z)
    yield store
    store.close()


@pytest.fixture
def reader(writer: LabelsStore) -> Iterator[LabelsStore]:
    store = LabelsStore.open(writer.path, read_only=True)
    yield store
    store.close()


def erase_first(store: LabelsStore) -> None:
    store.labels[3] = 0


def add_on_a_plane_to_come(store: LabelsStore) -> None:
    add_object(store, 7, row=30)


def add_on_a_new_plane(store: LabelsStore) -> None:
    add_object(store, 4)


def classify(store: LabelsStore) -> None:
    Objects(store).classify([1, 2, 3], "nucleus")


MEANWHILE = [erase_first, add_on_a_plane_to_come, add_on_a_new_plane, classify]


@pytest.mark.parametrize("read", [1, 2, 3])
@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("lines_of", [coco_lines, geojson_lines, object_polygons])
def test_every_line_is_of_the_same_moment(
    writer: LabelsStore,
    reader: LabelsStore,
    lines_of: Callable[[LabelsStore], Iterator[Any]],
    meanwhile: Callable[[LabelsStore], None],
    read: int,
) -> None:
    undisturbed = list(map(repr, lines_of(reader)))
    lines = lines_of(reader)
    written = [repr(next(lines)) for _ in range(read)]
    meanwhile(writer)
    assert written + [repr(line) for line in lines] == undisturbed


def test_coco_annotations_name_the_image_that_they_are_on(writer: LabelsStore, reader: LabelsStore) -> None:
    lines = coco_lines(reader)
    written = ""
    while '"annotations"' not in written:
        written += next(lines)
    erase_first(writer)
    found = json.loads(written + "".join(lines))
    image_of = {image["id"]: image["position"]["z"] for image in found["images"]}
    assert {x["label"]: image_of[x["image_id"]] for x in found["annotations"]} == {1: 3, 2: 5, 3: 7}


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_bears_an_annotation_that_goes_on(
    writer: LabelsStore, reader: LabelsStore, tmp_path: Path, format_: str
) -> None:
    def annotate(_done: float) -> None:
        add_object(writer, 8, row=len(writer.ledger.objects()) * 5 % 60)

    assert export_labels(reader, tmp_path / "out", format_, progress=annotate).exists()


@pytest.mark.parametrize("meanwhile", MEANWHILE)
def test_pixels_are_those_of_the_beginning(
    writer: LabelsStore, reader: LabelsStore, tmp_path: Path, meanwhile: Callable[[LabelsStore], None]
) -> None:
    before = writer.array[:]
    path = export_labels(reader, tmp_path / "x.tif", progress=once(lambda: meanwhile(writer)))
    np.testing.assert_array_equal(tifffile.imread(path), before)


def test_pixels_of_a_stroke_that_goes_on_are_those_of_the_beginning(
    writer: LabelsStore, reader: LabelsStore, tmp_path: Path
) -> None:
    """It is a step that is there already."""
    writer.labels[8, :5, :5] = 9
    before = writer.array[:]

    def paint() -> None:
        writer.labels[8, 20:25, :5] = 9

    path = export_labels(reader, tmp_path / "x.tif", progress=once(paint))
    np.testing.assert_array_equal(tifffile.imread(path), before)


def test_what_was_written_past_the_ledger_is_in_the_image(
    writer: LabelsStore, reader: LabelsStore, tmp_path: Path
) -> None:
    writer.array[0, :3, :3] = 7
    path = export_labels(reader, tmp_path / "x.tif")
    assert tifffile.imread(path)[0, 0, 0] == 7


def test_categories_are_those_of_the_beginning(
    writer: LabelsStore, reader: LabelsStore, tmp_path: Path
) -> None:
    Objects(writer).classify([1, 2, 3], "nucleus")
    path = export_labels(
        reader,
        tmp_path / "c.zarr",
        "categories-zarr",
        progress=once(lambda: Objects(writer).classify([3], "")),
    )
    assert [int(np.max(zarr.open_group(path, mode="r")["0"][z])) for z in (3, 5, 7)] == [1, 1, 1]
    path = export_labels(
        reader, tmp_path / "c.tif", "categories-tiff", progress=once(lambda: add_object(writer, 9))
    )
    # The pixels of the new object are there, its category is not known.
    assert not tifffile.imread(path)[9].any()


def once(work: Callable[[], object]) -> Progress:
    left = [work]

    def tell(_done: float) -> None:
        if left:
            left.pop()()

    return tell


def test_a_table_leaves_out_what_another_thread_makes_while_it_measures(writer: LabelsStore) -> None:
    class Disturbed(LedgerView):
        def categories(self) -> Any:
            add_object(writer, 9)
            return super().categories()

    ledger = Disturbed(writer.ledger._db)
    assert [row.label for row in measure_all(ledger, writer.geometry)] == [1, 2, 3]
