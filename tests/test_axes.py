"""Axes are what the user, a reader or the file says, and a guess only where nobody does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from napari_sam.axes import axes_in_metadata, axes_of_layer, check_axes, known_axes
from napari_sam.inference.predictor import Predictor
from napari_sam.starting import open_session
from napari_sam.storage.errors import LabelsError
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.reading import axes_in_file


@pytest.mark.parametrize("text", ["tzyx", "TZYX", "t z y x", "t,z,y,x"])
def test_letters_may_be_typed_in_several_ways(text: str) -> None:
    assert check_axes(text, (2, 3, 4, 5)) == "tzyx"


@pytest.mark.parametrize("text", ["", "zyx", "ttyx", "tz1x", "syxc", "tczyx"])
def test_letters_that_do_not_fit_are_refused_with_some_that_do(text: str) -> None:
    with pytest.raises(ValueError, match=rf"'{text}' do not fit .*\(2, 3, 4, 5\); give 4 .* such as czyx"):
        check_axes(text, (2, 3, 4, 5))


@pytest.mark.parametrize(
    ("labels", "axes"),
    [
        pytest.param(("z", "y", "x"), "zyx", id="letters"),
        pytest.param(("Time", "channel", "y", "x"), "tcyx", id="words"),
        pytest.param(("axis -3", "axis -2", "axis -1"), None, id="napari's own"),
        pytest.param(("-2", "-1"), None, id="numbers"),
        pytest.param(("s", "y", "x"), None, id="samples"),
    ],
)
def test_labels_that_are_different_letters_are_axes(labels: tuple[str, ...], axes: str | None) -> None:
    assert known_axes(labels) == axes


NGFF = [{"axes": [{"name": x} for x in "tczyx"], "datasets": []}]


@pytest.mark.parametrize(
    ("metadata", "shape", "axes"),
    [
        pytest.param({"multiscales": NGFF}, (2, 2, 3, 4, 5), "tczyx", id="OME-Zarr 0.4"),
        pytest.param({"ome": {"multiscales": NGFF}}, (2, 2, 3, 4, 5), "tczyx", id="OME-Zarr 0.5"),
        pytest.param({"multiscales": NGFF}, (2, 3, 4, 5), "tzyx", id="a layer for each channel"),
        pytest.param({"axes": "TZYX"}, (2, 3, 4, 5), "tzyx", id="a text"),
        pytest.param({"axes": ["t", "y", "x"]}, (2, 4, 5), "tyx", id="a list"),
        pytest.param({"axes": "TZYX"}, (4, 5), None, id="of another image"),
        pytest.param({"axes": 3}, (4, 5), None, id="a number"),
        pytest.param({"ome": "<xml/>"}, (4, 5), None, id="nothing"),
    ],
)
def test_metadata_of_a_reader_are_read(
    metadata: dict[str, Any], shape: tuple[int, ...], axes: str | None
) -> None:
    assert axes_in_metadata(metadata, shape) == axes


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        pytest.param((2, 3, 4, 5), "tcyx", id="all"),
        pytest.param((2, 4, 5), "tyx", id="channels apart"),
        pytest.param((3, 2, 4, 5), None, id="another order"),
    ],
)
def test_axes_of_a_file_are_those_of_its_layer(shape: tuple[int, ...], axes: str | None) -> None:
    assert axes_of_layer("tcyx", (2, 3, 4, 5), shape) == axes
    assert axes_of_layer("tcyxs", (2, 3, 4, 5, 3), shape) == axes


def test_axes_of_one_index_may_be_left_out() -> None:
    assert axes_of_layer("tczyx", (1, 2, 3, 4, 5), (2, 3, 4, 5)) == "czyx"
    assert axes_of_layer("tczyx", (1, 2, 3, 4, 5), (3, 4, 5)) == "zyx"


def test_files_that_name_their_axes_are_asked(tmp_path: Path) -> None:
    array = np.zeros((2, 3, 4, 5), np.uint16)
    tifffile.imwrite(tmp_path / "image.ome.tif", array, metadata={"axes": "TCYX"})
    tifffile.imwrite(tmp_path / "imagej.tif", array, imagej=True, metadata={"axes": "ZCYX"})
    tifffile.imwrite(tmp_path / "plain.tif", array, photometric="minisblack")
    group = zarr.create_group(
        tmp_path / "image.zarr",
        attributes={
            "multiscales": [
                {
                    "axes": [{"name": x, "type": "space"} for x in "zyx"],
                    "datasets": [
                        {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 1]}]}
                    ],
                }
            ]
        },
        zarr_format=2,
    )
    group.create_array("0", shape=(3, 4, 5), dtype="u2")
    shape = array.shape
    assert axes_in_file(tmp_path / "image.ome.tif", shape) == "tcyx"
    assert axes_in_file(tmp_path / "image.ome.tif", (2, 4, 5)) == "tyx"
    assert axes_in_file(tmp_path / "imagej.tif", shape) == "zcyx"
    assert axes_in_file(tmp_path / "plain.tif", shape) is None
    assert axes_in_file(tmp_path / "image.zarr", (3, 4, 5)) == "zyx"
    assert axes_in_file(tmp_path / "gone.tif", shape) is None


class TestLabels:
    def test_of_an_image_without_axes_say_which_they_are(
        self, tiny_predictor: Predictor, tmp_path: Path
    ) -> None:
        image = np.zeros((3, 40, 50), np.uint8)
        for given in ("tyx", None):
            session = open_session(image, given, tiny_predictor, tmp_path / "cells.zarr", cache=tmp_path)
            assert session.planes.axes == "tyx"
            session.close()

    def test_of_axes_that_ngff_has_no_words_for_are_told_by_the_array(self, tmp_path: Path) -> None:
        """Two axes without a type are one too many."""
        store = LabelsStore.create(tmp_path / "cells.zarr", (2, 3, 40, 50), "tzyx")
        store.rename_axes("nmyx")
        store.close()
        assert "ome" not in json.loads((tmp_path / "cells.zarr" / "zarr.json").read_text())["attributes"]
        assert LabelsStore.open(tmp_path / "cells.zarr", read_only=True).geometry.axes == "nmyx"

    def test_get_other_axes_and_keep_all_else(self, tmp_path: Path) -> None:
        store = LabelsStore.create(tmp_path / "cells.zarr", (3, 40, 50), "zyx")
        store.labels[1, 2:9, 3:8] = 1
        with pytest.raises(ValueError, match="'zz' do not fit"):
            store.rename_axes("zz")
        store.rename_axes("tyx")
        store.close()
        again = LabelsStore.open(tmp_path / "cells.zarr")
        assert again.geometry.axes == "tyx" and again.labels[1].sum() == 35
        assert again.array.metadata.dimension_names == ("t", "y", "x")
        described = json.loads((tmp_path / "cells.zarr" / "zarr.json").read_text())["attributes"]["ome"]
        assert [x.get("type") for x in described["multiscales"][0]["axes"]] == ["time", "space", "space"]
        again.rename_axes("nyx")  # NGFF has no type for n, but takes one axis without
        again.close()
        described = json.loads((tmp_path / "cells.zarr" / "zarr.json").read_text())["attributes"]["ome"]
        assert [x.get("type") for x in described["multiscales"][0]["axes"]] == [None, "space", "space"]
        again = LabelsStore.open(tmp_path / "cells.zarr", read_only=True)
        assert again.geometry.axes == "nyx"
        with pytest.raises(LabelsError, match="cannot be renamed: they were opened to be read"):
            again.rename_axes("zyx")
