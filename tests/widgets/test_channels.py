"""The model sees channels as the user does, and masks lie where they are shown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.colormaps import AVAILABLE_COLORMAPS
from numpy.typing import NDArray

from napari_sam.annotation import Session
from napari_sam.matching import iou
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.starting import open_session
from napari_sam.widgets.shown_channels import arrays_of, composite_of, layers_like
from widgets.conftest import DISCS, SHAPE, disc
from widgets.driving import User, wait_until

ROW, COLUMN, RADIUS = DISCS[1]


@pytest.fixture
def halves() -> NDArray[np.uint16]:
    """Two channels of three planes: each shows one half of a disc, the other is as dark as the ground."""
    rng = np.random.default_rng(0)
    stack = rng.normal(400, 20, (2, 3, *SHAPE))
    whole = disc((ROW, COLUMN), RADIUS)
    left = np.arange(SHAPE[1]) < COLUMN
    stack[0] += 2000 * (whole & left)
    stack[1] += 2000 * (whole & ~left)
    return stack.astype(np.uint16)


def choose_channels(user: User, value: str) -> None:
    user.panel.settings.channels.value = value
    assert user.panel.settings.channels.value == value


def composite_by_hand(two: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Colour one plane of two channels as the layers of the first test are: in magenta and green."""
    first, second = np.rint(255 * np.clip((two - 300.0) / (2600 - 300), 0, 1))
    return np.stack([first, second, first], axis=-1).astype(np.uint8)


def mask_of_colours(picture: NDArray[np.uint8], like: Session, folder: Path) -> NDArray[np.bool_]:
    """Give the mask that the same model makes of a colour image from the same prompt."""
    session = open_session(
        picture, model=like.predictor, labels=folder / "by_hand.zarr", rgb=True, cache=folder / "by_hand"
    )
    with closing(session):
        session.set_prompt(like.prompt)
        preview = session.predict()
        assert preview is not None
        return preview.mask


def test_layers_as_shown_are_what_the_model_sees(
    sit_down: Callable[..., User], halves: NDArray[np.uint16], tmp_path: Path
) -> None:
    user = sit_down(halves[0], colormap="magenta", blending="additive", contrast_limits=(300, 2600))
    other = user.viewer.add_image(
        halves[1], colormap="green", blending="additive", contrast_limits=(300, 2600), name="green"
    )
    panel = user.panel
    assert panel.settings.channels.native.itemText(1) == "as shown (2 of 2)"
    assert panel.settings.channels.value == "alone"
    panel.settings.image.value = user.image
    choose_channels(user, "shown")
    user.start(tmp_path / "cells.zarr")
    user.click(0, ROW, COLUMN - RADIUS // 2)
    assert user.session.preview is not None, user.status
    by_hand = composite_by_hand(halves[:, user.session.plane.position[0]])
    np.testing.assert_allclose(user.session.planes.image(user.session.plane).astype(int), by_hand, atol=1)
    expected = mask_of_colours(by_hand, user.session, tmp_path)
    assert np.count_nonzero(expected) > 100
    assert iou(user.session.preview.mask, expected) > 0.99
    seen = user.session.embedder.seen(user.session.plane)
    assert seen is not None and seen[1].shape == (*SHAPE, 3)
    assert seen[1][ROW, COLUMN - 8, 0] > 200 and seen[1][ROW, COLUMN + 8, 1] > 200
    assert panel.seen.picture.pixmap().toImage().isGrayscale() is False
    user.press("C")
    assert user.session.labels.shape == halves[0].shape

    before = user.session.planes.key()
    other.colormap = "cyan"
    wait_until(lambda: "start anew" in user.status)
    user.start(tmp_path / "cells.zarr")
    assert user.session.planes.key() != before
    other.visible = False
    wait_until(lambda: panel.settings.channels.native.itemText(1) == "as shown (1 of 2)")
    user.start(tmp_path / "cells.zarr")
    assert not user.session.planes.image(user.session.plane)[..., 1].any()
    assert str(user.image.colormap.name) == "magenta" and str(other.colormap.name) == "cyan"


def test_along_an_axis_masks_and_prompts_are_shown_with_every_channel(
    sit_down: Callable[..., User], halves: NDArray[np.uint16], tmp_path: Path
) -> None:
    whole = halves.max(0)
    three = np.stack([whole, whole // 2, whole], axis=1)  # z, c, y, x
    user = sit_down(three, axis_labels=("z", "c", "y", "x"), scale=(2, 1, 0.5, 0.5))
    steps = user.viewer.dims.nsteps
    choose_channels(user, "along")
    user.start(tmp_path / "cells.zarr")
    session = user.session
    assert session.planes.shape == (3, 1, *SHAPE)
    for channel in (2, 0):
        user.go_to(1, channel)
        user.go_to(0, 1)
        assert session.plane == Plane((2, 3), (1, 0, 0, 0))
        user.click(1, channel, ROW, COLUMN)
        assert session.prompt.points == (pytest.approx((ROW, COLUMN), abs=0.6),), user.status
        assert session.preview is not None
        assert iou(session.preview.mask, disc((ROW, COLUMN), RADIUS)) > 0.8
        for shown in (0, 1, 2):
            user.go_to(1, shown)
            assert len(session.prompt.points) == 1 and session.preview is not None
            assert len(user.layer("SAM points")._view_data) == 1
            assert user.layer("SAM preview")._slice.image.raw[ROW, COLUMN] == 1
        user.press("C")
        user.press("Ctrl+Z")
        user.press("K")
        assert user.viewer.dims.point[1] == 2
    user.click(1, 2, ROW, COLUMN)
    user.press("C")
    assert session.labels.shape == (3, 1, *SHAPE)
    assert iou(session.labels[1, 0] > 0, disc((ROW, COLUMN), RADIUS)) > 0.8
    for shown in (0, 1, 2):
        user.go_to(1, shown)
        assert user.layer("cells labels")._slice.image.raw[ROW, COLUMN] > 0
    assert user.viewer.dims.nsteps == steps
    user.viewer.dims.order = (0, 2, 1, 3)
    user.settle()
    assert "channels of 'cells' are seen together" in user.status


def test_layers_that_lie_elsewhere_are_no_channels() -> None:
    viewer = ViewerModel()
    image = viewer.add_layer(Image(np.zeros((3, 20, 30))))
    viewer.add_layer(Image(np.zeros((3, 20, 31)), name="of another shape"))
    viewer.add_layer(Image(np.zeros((3, 20, 30)), translate=(0, 1, 0), name="moved"))
    viewer.add_layer(Image(np.zeros((3, 20, 30, 3)), name="colours"))
    assert layers_like(viewer, image) == [image]
    multiscale = viewer.add_layer(Image([np.zeros((3, 20, 30)), np.zeros((3, 10, 15))]))
    assert layers_like(viewer, multiscale) == [image, multiscale]


# Napari 0.6 has no HiLo.
COLORMAPS = [
    name for name in ("gray", "magenta", "viridis", "HiLo", "I Blue", "gray_r") if name in AVAILABLE_COLORMAPS
]


@pytest.mark.window
@pytest.mark.parametrize("colormap", COLORMAPS)
def test_the_picture_is_napari_s_own(sit_down: Callable[..., User], colormap: str) -> None:
    """Compared with the canvas in the middle of blocks of one intensity."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 1000, (2, 6, 8)).repeat(8, 1).repeat(8, 2).astype(np.uint16)
    user = sit_down(
        blocks[0], colormap=colormap, contrast_limits=(100, 900), gamma=0.8, interpolation2d="nearest"
    )
    user.viewer.add_image(
        blocks[1], colormap="green", blending="additive", contrast_limits=(0, 1500), opacity=0.7
    )
    user.settle()
    layers = layers_like(user.viewer, user.image)
    planes = Planes(arrays_of(layers), channels=composite_of(layers))
    seen = planes.image(Plane((0, 1), (0, 0)))
    canvas = user.viewer.export_figure(flash=False)
    assert canvas.shape[:2] == seen.shape[:2]
    centres = np.s_[4::8, 4::8]
    np.testing.assert_allclose(canvas[centres][..., :3].astype(int), seen[centres], atol=4)
