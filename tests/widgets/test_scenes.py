"""Two scenes of one file are two images, and its channels are one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from napari.layers._source import layer_source

from napari_sam.widgets.annotate import AnnotateWidget
from napari_sam.widgets.scenes import scene_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "plate.czi"
    path.touch()
    return path


def add(viewer: ViewerModel, file: Path, **arguments: Any) -> Image:
    """Add a layer as napari does with what a reader gives."""
    with layer_source(path=str(file)):
        return viewer.add_layer(Image(np.zeros((3, 20, 30)), **arguments))


@pytest.mark.parametrize(
    ("arguments", "scene"),
    [
        pytest.param({"metadata": {"Series": 2}}, "2", id="a number in the metadata"),
        pytest.param({"metadata": {"scene_index": "3"}}, "3", id="a number in letters"),
        pytest.param({"metadata": {"series": 0}}, None, id="the first"),
        pytest.param({"metadata": {"scene": "Image:0"}}, None, id="perhaps the only one"),
        pytest.param({"name": "1 :: B3 :: DAPI"}, "1 B3", id="before the channel"),
        pytest.param({"name": "DAPI :: 1 :: B3 :: plate"}, "1 B3", id="after the channel"),
        pytest.param({"name": "1 :: B3"}, "1 B3", id="without channels"),
        pytest.param({"name": "0 :: Image:0 :: DAPI"}, None, id="the first by its name"),
        pytest.param({"name": "plate 1"}, None, id="nothing"),
    ],
)
def test_it_is_what_the_reader_says(file: Path, arguments: dict[str, Any], scene: str | None) -> None:
    viewer = ViewerModel()
    assert scene_of(viewer, add(viewer, file, **arguments)) == scene


def test_else_layers_that_lie_apart_are_different_ones(file: Path, tmp_path: Path) -> None:
    viewer = ViewerModel()
    other = tmp_path / "other.czi"
    other.touch()
    add(viewer, other, translate=(0, 900, 0))
    here = [add(viewer, file, name=f"here {channel}") for channel in ("DAPI", "GFP")]
    there = [add(viewer, file, name=f"there {x}", translate=(0, 99, 0)) for x in ("DAPI", "GFP")]
    assert [scene_of(viewer, layer) for layer in here] == [None, None]
    assert [scene_of(viewer, layer) for layer in there] == ["there DAPI", "there DAPI"]
    for row in (0, 50):
        assert scene_of(viewer, viewer.add_image(np.zeros((3, 20, 30)), translate=(0, row, 0))) is None


def test_their_labels_do_not_meet(make_napari_viewer: Callable[..., napari.Viewer], file: Path) -> None:
    viewer = make_napari_viewer()
    layers = [add(viewer, file, name=name, translate=(0, x, 0)) for x, name in enumerate("AB")]
    widget = AnnotateWidget(viewer)
    paths = [widget._labels_path(layer) for layer in layers]
    assert [path.name for path in paths] == ["plate.czi.labels.zarr", "plate.czi.scene-B.labels.zarr"]
    assert {path.parent for path in paths} == {file.parent}
    widget.let_go()
