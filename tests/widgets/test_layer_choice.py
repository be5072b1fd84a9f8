"""The panel offers the viewer's layers by the names that they have now."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from magicgui.widgets import ComboBox
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication

from napari_sam.widgets.layer_choice import LayerChoice
from napari_sam.widgets.models import model_choices
from napari_sam.widgets.settings_form import SettingsForm
from widgets.driving import User


@pytest.fixture
def viewer() -> ViewerModel:
    made = ViewerModel()
    made.add_image(np.zeros((20, 30)), name="cells")
    made.add_image(np.zeros((20, 30)), name="nuclei")
    made.add_points(name="clicks")
    made.add_shapes(name="drawn")
    return made


@pytest.fixture
def form(qapp: QApplication, viewer: ViewerModel) -> Iterator[SettingsForm]:
    made = SettingsForm(model_choices())
    choice = LayerChoice(viewer, made)
    yield made
    choice.close()
    before = texts(made.image)
    for layer in viewer.layers:
        layer.name = f"{layer.name} after the end"
    assert texts(made.image) == before, "nothing listens any more"


def texts(box: ComboBox) -> list[str]:
    """What the user reads in a box, but for the dashes that stand for nothing."""
    every = [box.native.itemText(index) for index in range(box.native.count())]
    return [text for text in every if text.strip("-")]


def test_a_renamed_layer_has_its_new_name_in_its_old_place(viewer: ViewerModel, form: SettingsForm) -> None:
    _, nuclei, clicks, drawn = viewer.layers
    form.image.value, form.points.value = nuclei, clicks
    told: list[object] = []
    form.image.changed.connect(told.append)
    nuclei.name, clicks.name, drawn.name = "DAPI", "seeds", "outlines"
    assert texts(form.image) == ["DAPI", "cells"]
    assert texts(form.points) == ["new layer", "seeds"] and texts(form.boxes) == ["new layer", "outlines"]
    assert form.image.value is nuclei and form.points.value is clicks and not told
    assert form.image.native.currentText() == "DAPI"


def test_a_name_that_is_taken_is_shown_as_napari_makes_it(viewer: ViewerModel, form: SettingsForm) -> None:
    cells, nuclei, *_ = viewer.layers
    form.image.value = cells
    nuclei.name = "cells"
    assert texts(form.image) == ["cells [1]", "cells"]
    assert form.image.value is cells and form.image.choices[-2:] == (nuclei, cells)


def test_layers_come_and_go(viewer: ViewerModel, form: SettingsForm) -> None:
    nuclei, clicks = viewer.layers["nuclei"], viewer.layers["clicks"]
    form.image.value, form.points.value = nuclei, clicks
    other = viewer.add_image(np.zeros((20, 30)), name="other")
    assert texts(form.image) == ["other", "nuclei", "cells"] and form.image.value is nuclei
    viewer.layers.selection.active = other
    viewer.layers.remove(nuclei)
    viewer.layers.remove(clicks)
    assert texts(form.image) == ["other", "cells"] and form.points.value == "new layer"
    nuclei.name = "renamed outside"
    assert texts(form.image) == ["other", "cells"] and form.image.value is not nuclei


def test_an_image_is_renamed_while_it_is_annotated(user: User) -> None:
    session = user.session
    user.image.name = "nuclei"
    assert user.panel.settings.image.native.currentText() == "nuclei"
    assert user.panel.settings.image.value is user.image and user.session is session
