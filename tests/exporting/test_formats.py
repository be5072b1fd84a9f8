"""What is exported holds the same pixels when other programs' readers, or our own import, read it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import tifffile
import yaozarrs
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from napari.layers import Shapes
from napari_builtins.io import csv_to_layer_data
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from pycocotools.coco import COCO

from napari_sam.cli import main
from napari_sam.exporting.formats import export_labels
from napari_sam.exporting.names import FORMATS
from napari_sam.exporting.outlines import closed_paths, outline
from napari_sam.exporting.shapes import object_polygons
from napari_sam.objects.editing import Objects
from napari_sam.runs import MaskRuns
from napari_sam.storage.errors import LabelsError
from napari_sam.storage.importing import import_labels
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ome import Geometry, plain_name

MICRONS = Geometry("zyx", (2.0, 0.5, 0.25), None, ("micrometer",) * 3)


def volume() -> NDArray[np.uint32]:
    """A ring around another object, ragged noise with holes and touching corners, and the last pixel."""
    labels = np.zeros((4, 60, 70), np.uint32)
    labels[0, 5:30, 5:40] = 1
    labels[0, 10:20, 10:20] = 0
    labels[0, 12, 12] = 2
    labels[1, 20:40, 30:55] = np.where(np.random.default_rng(0).random((20, 25)) > 0.6, 3, 0)
    labels[3, 59, 69] = 70_000
    return labels


@pytest.fixture
def store(tmp_path: Path) -> LabelsStore:
    store = LabelsStore.create(tmp_path / "cells.labels.zarr", volume().shape, MICRONS)
    store.labels[:] = volume()
    store.end_stroke()
    objects = Objects(store)
    objects.classify([1, 3], "nucleus")
    objects.classify([2], "vacuole")
    objects.rename(1, "mother")
    return store


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("cells.labels.zarr", "cells"),
        ("exp1.5um.labels.zarr", "exp1.5um"),
        ("exp1.5um.zarr", "exp1.5um"),
        ("exp.labels", "exp"),
        ("exp1.5um", "exp1.5um"),
        (".zarr", ".zarr"),
        (".exp1.5um.labels.zarr.0a1b2c3d.partial", "exp1.5um"),
    ],
)
def test_a_store_is_called_by_its_name_without_the_ending(folder: str, name: str) -> None:
    assert plain_name(Path("data.zarr", folder)) == name


def ome_pixels(path: Path) -> dict[str, Any]:
    with tifffile.TiffFile(path) as file:
        described: dict[str, Any] = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        return described


def read_tiff(store: LabelsStore, path: Path) -> NDArray[Any]:
    with tifffile.TiffFile(path) as file:
        assert file.is_ome
        assert file.series[0].axes == "ZYX"
        pixels = ome_pixels(path)
        sizes = [pixels[f"PhysicalSize{axis}"] for axis in "ZYX"]
        assert (sizes, pixels["PhysicalSizeXUnit"]) == ([2.0, 0.5, 0.25], "µm")
        x, y = (file.pages.first.tags[f"{axis}Resolution"].value for axis in "XY")
        assert (x[0] / x[1], y[0] / y[1]) == (40_000, 20_000)  # pixels in a centimetre
        return np.asarray(file.asarray())


def read_coco(store: LabelsStore, path: Path) -> NDArray[Any]:
    coco = COCO(path)
    found = np.zeros(store.array.shape, np.uint32)
    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(annotation).astype(bool)
        x, y, width, height = annotation["bbox"]
        assert mask[y : y + height, x : x + width].sum() == mask.sum() == annotation["area"]
        image = coco.loadImgs(annotation["image_id"])[0]
        assert image["file_name"] == f"cells_z{image['position']['z']:03d}.tif"
        found[image["position"]["z"]][mask] = annotation["label"]
        named = {1: "nucleus", 2: "vacuole", 3: "nucleus", 70_000: "object"}
        assert names[annotation["category_id"]] == named[annotation["label"]]
    return found


def read_geojson(store: LabelsStore, path: Path) -> NDArray[Any]:
    found = np.zeros(store.array.shape, np.uint32)
    rows, columns = np.mgrid[: found.shape[1], : found.shape[2]]
    for feature in json.loads(path.read_text())["features"]:
        geometry, properties = feature["geometry"], feature["properties"]
        area = shapely.from_geojson(json.dumps(geometry))
        assert area.is_valid
        inside = shapely.contains_xy(area, columns + 0.5, rows + 0.5)
        found[geometry["plane"]["z"]][inside] = int(properties["metadata"]["label"])
        assert (properties["objectType"], geometry["plane"]["t"]) == ("annotation", 0)
        if properties["metadata"]["label"] == "1":
            assert properties["name"] == "mother"
            assert properties["classification"] == {"name": "nucleus", "color": [0xE6, 0x9F, 0x00]}
    return found


def read_shapes(store: LabelsStore, path: Path) -> NDArray[Any]:
    """Open the table with napari's own reader, and let the layer draw its polygons."""
    vertices, arguments, kind = csv_to_layer_data(str(path))
    assert (kind, set(arguments["shape_type"])) == ("shapes", {"polygon"})
    drawn = Shapes(vertices, **arguments).to_labels(store.array.shape)
    labels = np.array([0, *(polygon.label for polygon in object_polygons(store))], np.uint32)
    return labels[drawn]


READERS = {
    "tiff": read_tiff,
    "coco": read_coco,
    "geojson": read_geojson,
    "shapes": read_shapes,
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
@pytest.mark.parametrize("format_", READERS)
def test_another_reader_finds_the_same_pixels(store: LabelsStore, tmp_path: Path, format_: str) -> None:
    path = export_labels(store, tmp_path / f"out{FORMATS[format_].suffix}", format_)
    assert_array_equal(READERS[format_](store, path), volume())


@given(
    arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    st.tuples(st.integers(0, 5), st.integers(0, 5)),
)
def test_an_outline_holds_the_pixels_of_its_mask(mask: NDArray[np.bool_], origin: tuple[int, int]) -> None:
    runs = MaskRuns.of(mask, origin)
    if runs is None:
        return
    rows, columns = np.mgrid[:15, :15]
    area = outline(runs)
    assert area.is_valid
    assert area.area == runs.area
    assert_array_equal(shapely.contains_xy(area, columns + 0.5, rows + 0.5), runs.on((15, 15)))
    assert sum(_signed_area(path) for path in closed_paths(runs)) == pytest.approx(runs.area)


def _signed_area(path: NDArray[np.float64]) -> float:
    """By the shoelace formula; a hole is walked round the other way, so its area is taken away."""
    (y, x), (y1, x1) = path.T, np.roll(path, -1, axis=0).T
    return abs(float(np.sum(x * y1 - x1 * y))) / 2


def test_tiff_comes_back_with_scale_and_objects(store: LabelsStore, tmp_path: Path) -> None:
    path = export_labels(store, tmp_path / "out.ome.tif")
    again = import_labels(path, tmp_path / "again.zarr")
    assert_array_equal(again.array[:], volume())
    assert again.geometry.axes == "zyx"
    assert list(again.geometry.pixel_size) == [2.0, 0.5, 0.25]
    assert list(again.geometry.units or ()) == ["micrometer"] * 3


@pytest.mark.parametrize("axes", ["yx", "tyx", "czyx", "pyx", "tczyx", "nmyx"])
def test_tiff_of_any_axes_comes_back(tmp_path: Path, axes: str) -> None:
    shape = (2, 3, 2, 20, 30)[5 - len(axes) :]
    labels = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint32)
    store = LabelsStore.create(tmp_path / "cells.zarr", shape, axes)
    store.labels[:] = labels
    path = export_labels(store, tmp_path / "out.tif")
    assert_array_equal(tifffile.imread(path), labels)
    assert_array_equal(import_labels(path, tmp_path / "again.zarr", axes).array[:], labels)


@pytest.mark.parametrize(
    ("unit", "symbol"),
    [
        ("centimeter", "cm"),
        ("angstrom", "Å"),
        ("picometer", "pm"),
        ("micrometer", "µm"),
        ("megameter", "Mm"),
        ("yottameter", "Ym"),  # which TIFF itself has no number for
        ("inch", "in"),
        ("µm", "µm"),
        ("second", None),
        ("furlong", None),
    ],
)
def test_lengths_in_tiff_have_the_symbols_of_ome(tmp_path: Path, unit: str, symbol: str | None) -> None:
    geometry = Geometry("yx", (0.5, 0.25), None, (unit, unit))
    pixels = ome_pixels(
        export_labels(LabelsStore.create(tmp_path / "a", (8, 9), geometry), tmp_path / "a.tif")
    )
    assert pixels.get("PhysicalSizeXUnit") == symbol
    assert pixels.get("PhysicalSizeX") == (None if symbol is None else 0.25)


@pytest.mark.parametrize(
    ("unit", "symbol"), [("millisecond", "ms"), ("minute", "min"), ("day", "d"), ("meter", None)]
)
def test_times_in_tiff_have_the_symbols_of_ome(tmp_path: Path, unit: str, symbol: str | None) -> None:
    geometry = Geometry("tyx", (40.0, 1.0, 1.0), None, (unit, None, None))
    store = LabelsStore.create(tmp_path / "a", (2, 8, 9), geometry)
    pixels = ome_pixels(export_labels(store, tmp_path / "a.tif"))
    assert pixels.get("TimeIncrementUnit") == symbol


@pytest.mark.parametrize(
    ("name", "begins"),
    [("a.json", b"{"), ("a.geojson", b"{"), ("a.csv", b"label,"), ("a.TIF", b"II")],
)
def test_the_ending_of_the_name_says_which_format(
    store: LabelsStore, tmp_path: Path, name: str, begins: bytes
) -> None:
    assert export_labels(store, tmp_path / name).read_bytes().startswith(begins)


@pytest.mark.parametrize(
    ("format_", "typed", "name"),
    [
        pytest.param("csv", "mine", "mine.csv", id="none"),
        pytest.param("csv", "MINE.CSV", "MINE.CSV", id="capitals"),
        pytest.param("tiff", "exp.2024", "exp.2024.ome.tif", id="another"),
        pytest.param("tiff", "exp.tif", "exp.tif", id="a shorter one"),
        pytest.param("categories-tiff", "exp.OME.TIFF", "exp.OME.TIFF", id="a longer one"),
    ],
)
def test_a_name_gets_the_suffix_of_its_format(format_: str, typed: str, name: str) -> None:
    assert FORMATS[format_].named(Path("folder") / typed) == Path("folder") / name


def test_an_ending_that_says_nothing_is_refused(store: LabelsStore, tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match=r"ending of 'a.png' stands for no format; choose one of .tif"):
        export_labels(store, tmp_path / "a.png")
    assert not list(tmp_path.glob("a.*"))


def test_categories_are_numbers(store: LabelsStore, tmp_path: Path) -> None:
    wanted = np.array([0, 1, 2, 1], np.uint16)[np.where(volume() == 70_000, 0, volume())]
    tiff = export_labels(store, tmp_path / "classes.ome.tif", "categories-tiff")
    assert_array_equal(read_tiff(store, tiff), wanted)
    folder = export_labels(store, tmp_path / "classes.zarr", "categories-zarr")
    yaozarrs.validate_zarr_store(str(folder))
    assert_array_equal(zarr.open_group(folder, mode="r")["0"][:], wanted)


def test_an_empty_store_gives_empty_files(tmp_path: Path) -> None:
    empty = LabelsStore.create(tmp_path / "empty.zarr", (2, 8, 9), "zyx")
    assert json.loads(export_labels(empty, tmp_path / "a.json", "coco").read_text())["annotations"] == []
    assert json.loads(export_labels(empty, tmp_path / "a.geojson", "geojson").read_text())["features"] == []
    assert not tifffile.imread(export_labels(empty, tmp_path / "a.tif")).any()


class TestAFileThat:
    def test_is_there_stays(self, store: LabelsStore, tmp_path: Path) -> None:
        (tmp_path / "mine.json").write_text("mine")
        with pytest.raises(LabelsError, match="exists already"):
            export_labels(store, tmp_path / "mine.json", "coco")
        assert (tmp_path / "mine.json").read_text() == "mine"
        export_labels(store, tmp_path / "mine.json", "coco", overwrite=True)
        assert (tmp_path / "mine.json").read_text() != "mine"

    @pytest.mark.parametrize("format_", ["geojson", "coco"])
    def test_two_exports_write_is_whole(self, store: LabelsStore, tmp_path: Path, format_: str) -> None:
        out, alone = tmp_path / "out", export_labels(store, tmp_path / "alone", format_).read_bytes()
        others: list[bytes] = []

        def write_another(_done: float) -> None:
            if not others:
                others.append(export_labels(store, out, format_, overwrite=True).read_bytes())

        export_labels(store, out, format_, overwrite=True, progress=write_another)
        assert out.read_bytes() == others[0] == alone

    @pytest.mark.parametrize("format_", ["coco", "categories-zarr"])
    def test_another_export_has_made_meanwhile_stays(
        self, store: LabelsStore, tmp_path: Path, format_: str
    ) -> None:
        out = tmp_path / "out"

        def write_another(_done: float) -> None:
            if not out.exists():
                export_labels(store, out, "csv")

        with pytest.raises(LabelsError, match="exists already"):
            export_labels(store, out, format_, progress=write_another)
        assert out.read_text().startswith("label,name")

    def test_a_killed_process_left_half_written_goes_after_a_day(
        self, store: LabelsStore, tmp_path: Path
    ) -> None:
        old, new = tmp_path / ".out[1].json.0123abcd.partial", tmp_path / ".out[1].json.4567abcd.partial"
        for file in (old, new):
            file.write_text("half")
        os.utime(old, (0, 0))
        export_labels(store, tmp_path / "out[1].json", "coco")
        assert [file.exists() for file in (old, new)] == [False, True]

    @pytest.mark.parametrize("format_", ["tiff", "coco", "categories-zarr"])
    def test_was_cancelled_leaves_nothing(self, store: LabelsStore, tmp_path: Path, format_: str) -> None:
        before = set(tmp_path.iterdir())

        def cancel(done: float) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            export_labels(store, tmp_path / "out", format_, progress=cancel)
        assert set(tmp_path.iterdir()) == before

    @pytest.mark.parametrize(
        "name", ["file/out.json", "x" * 245 + ".json", "x" * 300 + ".json"], ids=["file", "long", "too long"]
    )
    def test_cannot_be_written_says_so(self, store: LabelsStore, tmp_path: Path, name: str) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(LabelsError, match="choose another name or folder"):
            export_labels(store, tmp_path / name, "coco")

    def test_can_be_neither_written_nor_removed_says_so(
        self, store: LabelsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "replace", refuse)
        monkeypatch.setattr(Path, "unlink", refuse)
        with pytest.raises(LabelsError, match=r"cannot be written \(Permission denied\)"):
            export_labels(store, tmp_path / "out.json", "coco")

    def test_has_an_unknown_format_is_refused(self, store: LabelsStore, tmp_path: Path) -> None:
        with pytest.raises(LabelsError, match="choose tiff, coco"):
            export_labels(store, tmp_path / "out.xyz", "xyz")


@pytest.mark.parametrize("format_", FORMATS)
def test_the_command_writes_every_format(
    store: LabelsStore, tmp_path: Path, format_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"out{FORMATS[format_].suffix}"
    assert main(["export", str(store.path), str(out), "--to", format_]) == 0
    assert out.exists()
    assert capsys.readouterr().out == f"{out}\n"
