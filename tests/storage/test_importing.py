"""Labels of other programs become a store, and what they were read from stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from numpy.testing import assert_array_equal
from skimage.io import imsave

from napari_sam.cli import main
from napari_sam.storage.errors import LabelsError
from napari_sam.storage.importing import import_labels
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ome import Geometry

VOLUME = np.zeros((3, 20, 30), np.uint16)
VOLUME[0, 2:9, 3:8] = 4
VOLUME[1, 2:9, 3:8] = 4
VOLUME[2, 10:15, 20:29] = 65535
ALL = tuple(slice(0, n) for n in VOLUME.shape)


def as_zarr(folder: Path, **layout: Any) -> Path:
    array = zarr.create_array(folder / "old", shape=VOLUME.shape, chunks=(1, 7, 7), dtype="uint16", **layout)
    array[:] = VOLUME
    return folder / "old"


def as_tiff(folder: Path, **arguments: Any) -> Path:
    tifffile.imwrite(folder / "old.tif", VOLUME, photometric="minisblack", **arguments)
    return folder / "old.tif"


def as_npy(folder: Path) -> Path:
    np.save(folder / "old.npy", VOLUME)
    return folder / "old.npy"


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(as_zarr, id="zarr v3"),
        pytest.param(lambda folder: as_zarr(folder, zarr_format=2), id="zarr v2"),
        pytest.param(as_tiff, id="TIFF"),
        pytest.param(lambda folder: as_tiff(folder, compression="zlib"), id="compressed TIFF"),
        pytest.param(as_npy, id="npy"),
        pytest.param(lambda _: VOLUME, id="numpy"),
        pytest.param(lambda _: da.from_array(VOLUME), id="dask"),
    ],
)
def test_every_object_is_taken_in(tmp_path: Path, write: Callable[[Path], Any]) -> None:
    source = write(tmp_path)
    store = import_labels(source, tmp_path / "new.zarr", "zyx")
    assert_array_equal(store.array[:], VOLUME)
    assert_array_equal(store.ledger.block(ALL, store.array.dtype), VOLUME)
    assert store.ledger.extents() == {4: (2, 70), 65535: (1, 45)}
    assert {x.making.source for x in store.ledger.origins()} == {"import"}
    assert (store.geometry.axes, store.undo()) == ("zyx", None)


def test_the_place_of_the_pixels_is_kept(tmp_path: Path) -> None:
    geometry = Geometry("tyx", (1.0, 0.5, 0.5), (0.0, 3.0, 4.0), ("second", "micrometer", "micrometer"))
    first = LabelsStore.create(tmp_path / "old.zarr", VOLUME.shape, geometry)
    first.labels[:] = VOLUME
    first.close()
    store = import_labels(tmp_path / "old.zarr", tmp_path / "new.zarr")
    for name in ("axes", "scale", "translation", "units"):
        assert list(getattr(store.geometry, name)) == list(getattr(geometry, name))


OME = {
    "axes": "TYX",
    "PhysicalSizeX": 0.5,
    "PhysicalSizeY": 0.25,
    "PhysicalSizeXUnit": "nm",
    "PhysicalSizeYUnit": "nm",
}


@pytest.mark.parametrize("axes", ["zyx", "Z,Y,X", "tyx", None])
@pytest.mark.parametrize(
    ("arguments", "scale", "unit"),
    [
        pytest.param({"ome": True, "metadata": OME}, [1.0, 0.25, 0.5], "nanometer", id="OME"),
        pytest.param(
            {"imagej": True, "resolution": (2, 4), "metadata": {"axes": "TYX", "unit": "um"}},
            [1.0, 0.25, 0.5],
            "micrometer",
            id="ImageJ",
        ),
    ],
)
def test_letters_leave_the_files_sizes_as_they_are(
    tmp_path: Path, axes: str | None, arguments: dict[str, Any], scale: list[float], unit: str
) -> None:
    store = import_labels(as_tiff(tmp_path, **arguments), tmp_path / "new.zarr", axes)
    assert store.geometry.axes == ("zyx" if axes and "z" in axes.lower() else "tyx")
    assert store.geometry.scale == pytest.approx(scale)
    assert store.geometry.units == [None, unit, unit]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        pytest.param("yx", "The axes 'yx' do not fit an image of shape .*; give 3 different", id="too few"),
        pytest.param("zzz", "The axes 'zzz' do not fit", id="twice"),
        pytest.param("cyxs", "The axes 'cyxs' do not fit", id="colours"),
        pytest.param(Geometry("yx", (2.0, 2.0)), "give one letter for each axis", id="a geometry"),
    ],
)
def test_axes_that_do_not_fit_are_refused(tmp_path: Path, axes: Geometry | str, message: str) -> None:
    source = as_tiff(tmp_path)
    with pytest.raises(LabelsError, match=message):
        import_labels(source, tmp_path / "new.zarr", axes)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("axes", [None, "yx", "zyx"])
def test_a_picture_in_colour_is_no_image_of_labels(tmp_path: Path, axes: str | None) -> None:
    tifffile.imwrite(tmp_path / "old.tif", np.zeros((20, 30, 3), np.uint8), photometric="rgb")
    with pytest.raises(LabelsError, match=r"shape \(20, 30, 3\), the last axis of which are colours"):
        import_labels(tmp_path / "old.tif", tmp_path / "new.zarr", axes)


def as_ome_zarr(folder: Path, level: str, what: dict[str, Any]) -> Path:
    scale = {"type": "scale", "scale": [2.0, 0.5, 0.5]}
    multiscale = {
        "axes": [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"],
        "datasets": [{"path": level, "coordinateTransformations": [scale]}],
    }
    group = zarr.create_group(folder / "old", attributes={"ome": {"multiscales": [multiscale], **what}})
    group.create_array(level, data=VOLUME)
    return folder / "old"


@pytest.mark.parametrize("level", ["0", "s0", "scale/full"])
def test_the_level_of_ome_zarr_labels_may_have_any_name(tmp_path: Path, level: str) -> None:
    source = as_ome_zarr(tmp_path, level, {"image-label": {}})
    store = import_labels(source, tmp_path / "new.zarr")
    assert_array_equal(store.array[:], VOLUME)
    assert store.geometry.scale == [2.0, 0.5, 0.5]


@pytest.mark.parametrize("level", ["0", "s0"])
def test_intensities_are_no_labels(tmp_path: Path, level: str) -> None:
    source = as_ome_zarr(tmp_path, level, {})
    with pytest.raises(LabelsError, match="is an OME-Zarr image, not labels"):
        import_labels(source, tmp_path / "new.zarr")


def test_the_command_says_what_came(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    as_tiff(tmp_path)
    assert main(["import", str(tmp_path / "old.tif"), str(tmp_path / "new.zarr"), "--axes", "zyx"]) == 0
    assert "2 objects in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param(VOLUME.astype(float), "dtype float64", id="no labels"),
        pytest.param(VOLUME[0, 0], r"shape \(30,\)", id="one axis"),
        pytest.param(VOLUME.astype(int) - 1, "label -1 is none", id="negative"),
        pytest.param(VOLUME.astype(int) * 2**20, "labels go from 0 to 4294967295", id="too large"),
        pytest.param("notes.txt", "neither a zarr folder nor one of .npy, .tif", id="another file"),
        pytest.param("broken.tif", "cannot be read", id="no TIFF"),
        pytest.param("broken.png", "cannot be read", id="no PNG"),
        pytest.param("colours.png", "the last axis of which are colours", id="colours"),
        pytest.param("pickled.npy", "cannot be read", id="pickled"),
        pytest.param("nothing.npy", "cannot be read", id="not there"),
    ],
)
def test_what_is_none_is_refused_and_leaves_nothing(tmp_path: Path, source: Any, message: str) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "broken.tif").write_text("no image")
    (tmp_path / "broken.png").write_text("no image")
    imsave(tmp_path / "colours.png", np.zeros((20, 30, 3), np.uint8), check_contrast=False)
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    before = {x.name for x in tmp_path.iterdir()}
    with pytest.raises(LabelsError, match=message):
        import_labels(tmp_path / source if isinstance(source, str) else source, tmp_path / "new.zarr")
    assert {x.name for x in tmp_path.iterdir()} == before


def test_labels_may_be_a_picture(tmp_path: Path) -> None:
    imsave(tmp_path / "cells.png", VOLUME[0].astype(np.uint8), check_contrast=False)
    store = import_labels(tmp_path / "cells.png", tmp_path / "new.zarr")
    assert_array_equal(store.array[:], VOLUME[0])
    assert store.geometry.axes == "yx"


def test_a_damaged_chunk_is_told(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "old.zarr", data=VOLUME, chunks=(1, *VOLUME.shape[1:]))
    (tmp_path / "old.zarr" / "c" / "1" / "0" / "0").write_bytes(b"no chunk")
    with pytest.raises(LabelsError, match=r"The plane \(1,\) of the labels cannot be read"):
        import_labels(tmp_path / "old.zarr", tmp_path / "new.zarr")
    assert [x.name for x in tmp_path.iterdir()] == ["old.zarr"]


@pytest.mark.parametrize("read_only", [False, True])
def test_labels_of_others_with_a_damaged_chunk_are_told_and_stay_as_they_are(
    tmp_path: Path, read_only: bool
) -> None:
    path = tmp_path / "old.zarr"
    zarr.create_array(path, data=VOLUME, chunks=(1, *VOLUME.shape[1:]))
    (path / "c" / "1" / "0" / "0").write_bytes(b"no chunk")
    before = {x.name for x in path.iterdir()}
    with pytest.raises(LabelsError, match=r"A part of the labels at .* cannot be read"):
        LabelsStore.open(path, read_only=read_only)
    assert {x.name for x in path.iterdir()} - {"ledger.lock"} == before


def test_the_source_is_named_where_the_system_cannot_read_it(tmp_path: Path) -> None:
    class Unplugged:
        shape, dtype = VOLUME.shape, VOLUME.dtype

        def __getitem__(self, key: Any) -> Any:
            raise OSError(5, "Input/output error")

    with pytest.raises(LabelsError, match=r"cannot be read \(Input/output error\); restore their file"):
        import_labels(Unplugged(), tmp_path / "new.zarr")


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "new.zarr").mkdir()
    (tmp_path / "new.zarr" / "notes.txt").write_text("mine")
    with pytest.raises(LabelsError, match="exists already"):
        import_labels(VOLUME, tmp_path / "new.zarr")
    assert [x.name for x in (tmp_path / "new.zarr").iterdir()] == ["notes.txt"]
