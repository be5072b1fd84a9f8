"""Prompt layers that the plugin made are taken up by the next session on their image; the user's stay his."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_sam.inference.prompts import Prompt
from napari_sam.plane import Plane
from napari_sam.widgets.coordinates import ChannelsTogether
from widgets.conftest import DISCS, SCALE, SHAPE, TRANSLATE
from widgets.driving import User, prompt_layers_of

PLANE = Plane((1, 2), (2, 0, 0))
PROMPT = Prompt([(3, 4), (5, 6)], [1, 0], (1, 2, 8, 9))


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def image(viewer: ViewerModel) -> Image:
    layer: Image = viewer.add_layer(Image(np.zeros((5, 20, 30)), name="cells"))
    return layer


def names(viewer: ViewerModel) -> list[str]:
    return [layer.name for layer in viewer.layers]


def test_start_anew_goes_on_with_what_was_prompted_and_leaves_all_else(user: User) -> None:
    mine = user.viewer.add_points([[0, 5, 5]], name="mine", scale=SCALE, translate=TRANSLATE)
    user.panel.prompting.point_tool.click()
    user.click(0, *DISCS[0][:2])
    user.press("C")
    committed = np.asarray(user.session.labels)
    user.click(0, 90, 100)
    user.session.set_box((80, 90, 95, 110))
    user.settle()
    prompt, before = user.session.prompt, sorted(names(user.viewer))
    for _ in range(2):
        user.panel.start.click()
        user.settle()
        assert sorted(names(user.viewer)) == before
        assert user.session.prompt == prompt and user.session.preview is not None
    assert mine.data.tolist() == [[0, 5, 5]]
    np.testing.assert_array_equal(user.session.labels, committed)
    user.press("K")
    user.widget.stop()
    assert "SAM points" not in user.viewer.layers and mine in user.viewer.layers


def test_layers_of_the_user_are_never_taken_up(viewer: ViewerModel, image: Image) -> None:
    mine = viewer.add_points([[2, 3, 4]], name="SAM points")
    layers = prompt_layers_of(viewer, image)
    assert layers.points is not mine and layers.points in layers.own
    layers.close()
    assert names(viewer) == ["cells", "SAM points"]


def test_those_of_another_image_wait_for_it(viewer: ViewerModel, image: Image) -> None:
    first = prompt_layers_of(viewer, image)
    first.write(PLANE, PROMPT)
    first.close()
    other = prompt_layers_of(viewer, viewer.add_layer(Image(np.zeros((5, 20, 30)), name="other")))
    assert other.read(PLANE).is_empty
    other.close()
    again = prompt_layers_of(viewer, image)
    assert (again.points, again.boxes) == (first.points, first.boxes)
    assert again.read(PLANE) == PROMPT


def test_they_lie_where_the_image_is_by_then_and_above_it(viewer: ViewerModel, image: Image) -> None:
    first = prompt_layers_of(viewer, image)
    first.write(PLANE, PROMPT)
    first.positive = False
    first.points.visible = False
    colours = np.array(first.points.face_color)
    first.close()
    image.scale = (2, 3, 3)
    viewer.layers.move(viewer.layers.index(image), len(viewer.layers))
    again = prompt_layers_of(viewer, image, points=first.points)  # chosen in the panel it is no less ours
    assert again.read(PLANE) == PROMPT
    assert again.points.scale.tolist() == [2, 3, 3]
    assert names(viewer) == ["cells", "SAM points", "SAM boxes"]
    assert again.points.visible and again.positive and len(again.own) == 2
    np.testing.assert_array_equal(again.points.face_color, colours)
    again.points.add((2, 7, 8))
    np.testing.assert_array_equal(again.points.face_color[2], colours[0])


@pytest.mark.parametrize("shape", [(4, 20, 30), (5, 5, 20, 30), (20, 30)], ids=str)
def test_prompts_of_an_array_that_is_gone_go_too(
    viewer: ViewerModel, image: Image, shape: tuple[int, ...]
) -> None:
    first = prompt_layers_of(viewer, image)
    first.write(PLANE, PROMPT)
    first.close()
    image.data = np.zeros(shape)
    again = prompt_layers_of(viewer, image)
    assert len(again.points.data) == len(again.boxes.data) == 0
    assert again.points.ndim == again.boxes.ndim == len(shape)
    assert names(viewer) == ["cells", "SAM points", "SAM boxes"]


def test_with_channels_seen_together_they_stay_on_their_plane(viewer: ViewerModel) -> None:
    image = viewer.add_layer(Image(np.zeros((5, 3, *SHAPE)), scale=(2, 1, 1, 1)))
    alone, together = Plane((2, 3), (2, 1, 0, 0)), Plane((2, 3), (2, 0, 0, 0))
    first = prompt_layers_of(viewer, image)
    first.write(alone, PROMPT)
    first.close()
    second = prompt_layers_of(viewer, ChannelsTogether(image, 1))
    assert second.read(together) == PROMPT
    second.close()
    assert prompt_layers_of(viewer, image).read(alone) == PROMPT
