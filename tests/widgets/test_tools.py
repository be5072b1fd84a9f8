"""The checked button says what the mouse does on the canvas, whoever chose that."""

from __future__ import annotations

from pathlib import Path

import pytest
from napari.utils.notifications import notification_manager

from widgets.conftest import DISCS
from widgets.driving import User


def checked(user: User) -> list[str]:
    return [name for name, button in user.panel.prompting._tool_buttons.items() if button.isChecked()]


@pytest.mark.window
def test_the_checked_tool_is_the_one_that_the_canvas_has(user: User) -> None:
    for tool, name, mode, other in (
        ("points", "SAM points", "add", "pan_zoom"),
        ("points", "SAM points", "add", "select"),
        ("boxes", "SAM boxes", "add_rectangle", "pan_zoom"),
        ("strokes", "SAM boxes", "add_path", "add_ellipse"),
    ):
        user.panel.prompting._tool_buttons[tool].click()
        layer = user.layer(name)
        assert checked(user) == [tool] and layer.mode == mode
        layer.mode = other
        assert checked(user) == []
        layer.mode = mode  # as at the end of a pan with the space bar held
        assert checked(user) == [tool]
        layer.mode = other
        user.press("G")
        assert checked(user) == ["points"] and user.layer("SAM points").mode == "add"
        layer.visible = False
        user.panel.prompting._tool_buttons[tool].click()
        assert checked(user) == [tool] and layer.mode == mode and layer.visible
    user.viewer.dims.ndisplay = 3  # where napari draws no shapes
    user.panel.prompting._tool_buttons["boxes"].click()
    assert checked(user) == [] and user.layer("SAM boxes").mode == "pan_zoom"


@pytest.mark.filterwarnings("ignore:The layer 'mine' cannot be edited")
def test_a_locked_layer_of_the_user_is_told(user: User, tmp_path: Path) -> None:
    mine = user.viewer.add_points(ndim=3, name="mine", scale=user.image.scale)
    mine.editable = False
    user.panel.settings.points.value = mine
    with notification_manager:
        user.start(tmp_path / "others.zarr")
        assert any("'mine' cannot be edited" in x.message for x in notification_manager.records)
    assert checked(user) == []


def test_after_the_end_the_buttons_follow_no_mode(user: User) -> None:
    user.click(0, *DISCS[0][:2])
    points = user.layer("SAM points")
    user.widget.stop()
    before = checked(user)
    for mode in ("pan_zoom", "add"):
        points.mode = mode
        assert checked(user) == before
