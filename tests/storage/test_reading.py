"""Images of other programs are opened where their metadata say, or refused in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.testing import assert_array_equal

from napari_sam.storage.errors import LabelsError
from napari_sam.storage.ome import Geometry, read_geometry
from napari_sam.storage.reading import axes_in_file, read_array

PIXELS = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
SCALE = [4.0, 0.5, 0.25]
IMAGE: dict[str, Any] = {
    "multiscales": [
        {
            "axes": [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"],
            "datasets": [
                {"path": "s0", "coordinateTransformations": [{"type": "scale", "scale": SCALE}]},
                {"path": "s1", "coordinateTransformations": [{"type": "scale", "scale": SCALE}]},
            ],
        }
    ]
}


def write_image(group: zarr.Group, attributes: Mapping[str, Any]) -> None:
    """Write two levels, the finest one under ``s0``."""
    group.attrs.update(attributes)
    for name, pixels in (("s0", PIXELS), ("s1", PIXELS[:, ::2, ::2])):
        group.create_array(name, data=pixels)


@pytest.mark.parametrize(
    ("zarr_format", "root"),
    [
        pytest.param(2, {"bioformats2raw.layout": 3}, id="NGFF 0.4"),
        pytest.param(3, {"ome": {"version": "0.5", "bioformats2raw.layout": 3}}, id="NGFF 0.5"),
        pytest.param(3, None, id="an image alone"),
    ],
)
def test_the_finest_level_of_the_first_image_is_read(
    tmp_path: Path, zarr_format: Any, root: dict[str, Any] | None
) -> None:
    group = zarr.create_group(tmp_path / "x.zarr", zarr_format=zarr_format, attributes=root or {})
    attributes = IMAGE if zarr_format == 2 else {"ome": {"version": "0.5", **IMAGE}}
    write_image(group if root is None else group.create_group("0"), attributes)
    array, geometry = read_array(tmp_path / "x.zarr")
    assert_array_equal(np.asarray(array[:]), PIXELS)
    assert geometry is not None and geometry.axes == "zyx"
    assert geometry.scale == SCALE
    assert axes_in_file(tmp_path / "x.zarr", PIXELS.shape) == "zyx"


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param({}, id="a group of groups"),
        pytest.param({"multiscales": []}, id="no levels"),
        pytest.param({"multiscales": [{"datasets": []}]}, id="an empty list of levels"),
        pytest.param({"multiscales": [{"datasets": [{"path": "s0"}]}]}, id="a level that is not there"),
        pytest.param({"multiscales": [{"datasets": [{"path": "0"}]}]}, id="a level that is a group"),
        pytest.param({"ome": {"multiscales": 5}}, id="nonsense"),
        pytest.param({"bioformats2raw.layout": 3}, id="an empty first image"),
    ],
)
def test_what_holds_no_image_is_refused(tmp_path: Path, attributes: dict[str, Any]) -> None:
    zarr.create_group(tmp_path / "x.zarr", attributes=attributes).create_group("0")
    with pytest.raises(LabelsError, match=r"is neither a zarr array nor an OME-Zarr image; choose"):
        read_array(tmp_path / "x.zarr")
    assert axes_in_file(tmp_path / "x.zarr", PIXELS.shape) is None


def described(axes: str, level: list[dict[str, Any]], all_levels: list[dict[str, Any]]) -> dict[str, Any]:
    multiscale = {
        "axes": [{"name": axis, "type": "space"} for axis in axes],
        "datasets": [{"path": "s0", "coordinateTransformations": level}],
        **({"coordinateTransformations": all_levels} if all_levels else {}),
    }
    return {"ome": {"version": "0.5", "multiscales": [multiscale]}}


UNITS = {"type": "scale", "scale": [1.0, 1.0, 1.0]}
SIZES = {"type": "scale", "scale": SCALE}
CORNER = {"type": "translation", "translation": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    ("level", "all_levels", "scale", "translation"),
    [
        pytest.param([UNITS], [SIZES], SCALE, None, id="the size of all levels"),
        pytest.param([SIZES, CORNER], [], SCALE, [1.0, 2.0, 3.0], id="of the level alone"),
        pytest.param(
            [UNITS, CORNER], [SIZES], SCALE, [4.0, 1.0, 0.75], id="the corner is in the level's pixels"
        ),
        pytest.param([UNITS, CORNER], [SIZES, CORNER], SCALE, [5.0, 3.0, 3.75], id="a corner of both"),
    ],
)
def test_what_all_levels_have_in_common_comes_after_what_the_level_has(
    level: list[dict[str, Any]],
    all_levels: list[dict[str, Any]],
    scale: list[float],
    translation: list[float] | None,
) -> None:
    geometry = read_geometry(described("zyx", level, all_levels), ("z", "y", "x"), 3)
    assert geometry == Geometry("zyx", scale, translation, [None, None, None])


def test_metadata_of_another_number_of_axes_are_of_another_array() -> None:
    plane = described("yx", [{"type": "scale", "scale": [0.5, 0.25]}], [])
    assert read_geometry(plane, ("z", "y", "x"), 3) == Geometry("zyx")
