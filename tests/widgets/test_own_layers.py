"""What the plugin lays over the image for a while is nobody's labels."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam.widgets.masks_layer import MasksLayer
from napari_sam.widgets.objects_table import ObjectsWidget
from widgets.conftest import DISCS, SHAPE, disc
from widgets.driving import User

LABELS = "cells labels"
OVERLAYS = ["SAM preview", "SAM hover", "SAM automatic"]


@pytest.fixture
def overlaid(user: User) -> User:
    """A user with a preview, an outline under the cursor and automatic masks over the first plane."""
    masks = MasksLayer(user.viewer, user.layer(LABELS))
    numbers = np.zeros(SHAPE, np.int64)
    numbers[100:120, 100:120] = 1
    masks.show(user.session.plane, numbers, numbers > 1)
    return user


def test_it_is_not_offered_to_be_imported(overlaid: User, table: ObjectsWidget) -> None:
    assert set(OVERLAYS) < {layer.name for layer in overlaid.viewer.layers}
    for name in OVERLAYS:  # nor under another name
        overlaid.layer(name).name = f"my {name}"
    table.imports.aboutToShow.emit()
    assert [x.text() for x in table.imports.actions()] == ["There is no other Labels layer"]
    overlaid.viewer.add_labels(np.zeros((3, *SHAPE), int), name="SAM automatic")  # the user's own
    table.imports.aboutToShow.emit()
    assert [x.text() for x in table.imports.actions()] == ["SAM automatic"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_key_takes_the_sessions_labels_where_it_is_active(overlaid: User, name: str) -> None:
    overlaid.session.store.commit(overlaid.session.plane, disc(DISCS[0][:2], DISCS[0][2]))
    overlaid.layer(LABELS).selected_label = 1
    overlaid.viewer.layers.selection.active = overlaid.layer(name)
    overlaid.press("U")
    assert overlaid.session.target == 1, overlaid.status
