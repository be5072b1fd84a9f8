"""A layer that shows other pixels tells napari only what is different."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels, Layer
from numpy.testing import assert_array_equal
from qtpy.QtWidgets import QApplication

from napari_sam.widgets.laying import Overlay
from widgets.driving import wait_until


@pytest.fixture
def layer() -> Labels:
    return Labels(np.zeros((1, 4, 6), np.uint8), visible=False)


def told(layer: Labels) -> list[str]:
    events: list[str] = []
    for name in ("data", "affine", "units"):
        getattr(layer.events, name).connect(lambda event: events.append(event.type))
    return events


def place(layer: Labels, row: float = 0) -> dict[str, object]:
    affine = np.eye(4)
    affine[1, 3] = row
    return {"affine": affine, "units": layer.units}


def test_pixels_of_the_same_shape_are_filled_in(layer: Labels) -> None:
    events, mask = told(layer), np.eye(4, 6, dtype=np.uint8)[None]
    Overlay(layer).lay(mask, place(layer))
    assert layer.visible and events == []
    assert_array_equal(layer.data, mask)
    Overlay(layer).lay(1 - mask, place(layer))
    assert events == []
    assert_array_equal(layer._slice.image.raw, 1 - mask[0])


def test_another_shape_and_another_place_are_told(layer: Labels) -> None:
    events, mask = told(layer), np.ones((1, 3, 5), np.uint8)
    Overlay(layer).lay(mask, place(layer, row=2))
    assert events == ["data", "affine"]
    assert layer.affine.translate.tolist() == [0, 2, 0]
    mask[:] = 0
    assert layer.data.all(), "the layer's array is its own"


@pytest.mark.parametrize(("shape", "row"), [((4, 6), 0), ((4, 6), 2), ((3, 5), 0), ((3, 5), 2)])
def test_what_is_visible_is_drawn_anew(layer: Labels, shape: tuple[int, int], row: int) -> None:
    layer.visible = True
    mask = np.eye(*shape, dtype=np.uint8)
    Overlay(layer).lay(mask[None], place(layer, row))
    assert_array_equal(layer._slice.image.raw, mask)


def test_nobody_paints_in_what_is_laid(layer: Labels) -> None:
    layer.editable = False
    for mask in (np.ones((1, 3, 5), np.uint8), np.zeros((1, 3, 5), np.uint8)):
        Overlay(layer).lay(mask, place(layer))
        layer.mode = "paint"
        assert not layer.editable and layer.mode == "pan_zoom"


def test_it_is_hidden_a_turn_later_unless_something_is_laid_before(layer: Labels, qapp: QApplication) -> None:
    overlay, mask = Overlay(layer), np.ones((1, 4, 6), np.uint8)
    changes: list[bool] = []
    overlay.lay(mask, place(layer))
    layer.events.visible.connect(lambda: changes.append(layer.visible))
    overlay.hide(60_000)
    overlay.lay(1 - mask, place(layer))
    assert not overlay.is_hiding and changes == []
    overlay.hide()
    assert overlay.is_hiding and changes == []
    wait_until(lambda: not overlay.is_hiding)
    assert changes == [False]
    overlay.hide()
    assert not overlay.is_hiding, "it is hidden"
    layers: list[Layer] = [layer]
    overlay.close(layers)
    assert not layers, "it is taken away"
