"""The annotation widget as a user meets it: mouse and keys in a real napari window."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from napari.layers._layer_actions import _duplicate_layer
from napari.settings import get_settings
from numpy.typing import NDArray
from qtpy.QtCore import Qt

import napari_sam
from napari_sam import planes
from napari_sam.inference.loading import precisions
from napari_sam.matching import iou
from napari_sam.plane import Plane
from napari_sam.widgets.panel import AnnotatePanel
from napari_sam.widgets.scrolling import Scrolled
from widgets.conftest import DISCS, SCALE, SHAPE, TRANSLATE, disc
from widgets.driving import User, wait_until


@pytest.mark.window
def test_a_click_and_a_key_make_an_object_that_is_still_there_after_reopening(
    user: User, sit_down: Callable[..., User], stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    row, column, radius = DISCS[1]
    user.go_to(0, 1)
    user.click(1, row, column)
    user.press("C")

    on_disk = zarr.open_group(tmp_path / "cells.zarr", mode="r")["0"][:]
    assert on_disk.dtype == np.uint32
    assert not on_disk[[0, 2]].any()
    assert iou(on_disk[1] == 1, disc((row, column), radius)) > 0.8

    user.desk.close()
    later = sit_down(stack, scale=SCALE, translate=TRANSLATE, axis_labels=("z", "y", "x"))
    later.start(tmp_path / "cells.zarr")
    np.testing.assert_array_equal(later.session.labels[:], on_disk)
    np.testing.assert_array_equal(np.asarray(later.viewer.layers["cells labels"].data), on_disk)
    later.go_to(0, 0)
    later.click(0, *DISCS[0][:2])
    later.press("C")
    assert np.unique(later.session.labels[0]).tolist() == [0, 2], later.status


@pytest.mark.window
def test_a_dragged_box_gives_the_object_in_it(user: User) -> None:
    row, column, radius = DISCS[0]
    user.press("G")
    assert user.layer("SAM boxes").mode == "add_rectangle"
    user.drag((0, row - radius, column - radius), (0, row + radius, column + radius))
    assert user.session.prompt.box == pytest.approx(
        (row - radius, column - radius, row + radius, column + radius), abs=1
    )
    assert user.session.preview is not None
    assert iou(user.session.preview.mask, disc((row, column), radius)) > 0.8
    user.press("C")
    assert len(user.layer("SAM boxes").data) == 0
    assert iou(user.session.labels[0] == 1, disc((row, column), radius)) > 0.8


def test_boxes_are_shown_while_there_are_some_or_they_are_drawn(user: User) -> None:
    """A layer of no shapes costs a third of each frame; which of them is seen stays the user's choice."""
    boxes = user.layer("SAM boxes")
    assert not boxes.visible
    user.press("G")
    assert boxes.visible and boxes.mode == "add_rectangle"
    user.drag((0, 10, 20), (0, 50, 60))
    user.panel.prompting.point_tool.click()
    assert boxes.visible
    boxes.visible = False
    user.click(0, 30, 40)
    assert not boxes.visible
    user.press("C")
    user.press("G")
    assert boxes.visible and boxes.mode == "add_rectangle"
    user.panel.prompting.point_tool.click()
    assert not boxes.visible


def test_the_overlap_of_a_commit_is_chosen_in_the_panel(user: User) -> None:
    row, column, radius = DISCS[0]
    cell = disc((row, column), radius + 20) & (np.arange(SHAPE[1]) < column)
    user.session.store.commit(user.session.plane, cell)
    user.click(0, row, column)
    preview = user.session.preview
    assert preview is not None and (preview.mask & cell).any() and (preview.mask & ~cell).any()
    expected = {
        "keep": np.where(cell, 1, 2 * preview.mask),
        "replace": np.where(preview.mask, 2, 1 * cell),
        "only inside": np.where(preview.mask & cell, 2, 1 * cell),
    }
    for title, labels in expected.items():
        mode = user.panel.prompting.overlap.mode
        mode.setCurrentIndex(mode.findText(title, Qt.MatchFlag.MatchStartsWith))
        user.press("C")
        found = np.asarray(user.session.labels[0])
        np.testing.assert_array_equal(found > 0, labels > 0)
        np.testing.assert_array_equal(found == 1, labels == 1)
        user.press("Ctrl+Z")
    user.press("J")
    user.session.objects.delete([1])
    user.press("C")
    assert "There is no object under the mask" in user.status


@pytest.mark.window
def test_a_double_click_takes_an_object_up_with_its_prompts(user: User) -> None:
    row, column, radius = DISCS[0]
    user.click(0, row, column)
    prompt = user.session.prompt
    user.press("C")
    user.double_click(0, row + 4, column + 4)
    assert user.session.target == 1 and user.session.prompt == prompt
    assert len(user.layer("SAM points").data) == 1
    user.press("Q")
    user.click(0, row + radius - 3, column)
    preview = user.session.preview
    assert preview is not None and len(preview.prompt.points) == 2
    user.double_click(0, row, column + 3)  # in the middle of a prompt: nothing of it is lost
    assert user.session.prompt.points[:2] == preview.prompt.points
    user.session.set_prompt(preview.prompt)
    user.settle()
    user.press("C")
    np.testing.assert_array_equal(user.session.labels[0], 1 * preview.mask)
    user.double_click(0, 150, 150)  # the background
    assert user.session.target is None


@pytest.mark.window
def test_the_preview_lies_on_the_pixels_under_the_click(user: User) -> None:
    user.go_to(0, 2)
    user.click(2, *DISCS[2][:2])
    preview = user.layer("SAM preview")
    assert preview.visible
    mask = np.asarray(preview.data)
    assert mask.shape == (1, *SHAPE)
    inside = np.argwhere(mask)[len(np.argwhere(mask)) // 2]
    world = preview.data_to_world(inside)
    on_image = user.image.world_to_data(world)
    np.testing.assert_allclose(on_image, [2, *inside[1:]], atol=1e-6)


@pytest.mark.window
def test_each_key_does_what_its_button_says(user: User) -> None:
    panel = user.panel
    user.click(0, *DISCS[0][:2])
    first = user.session.preview
    assert first is not None and len(first.scores) == 3
    assert "candidate 1 of 3" in panel.prompting.score.text()

    user.press("W")
    assert user.session.preview is not None
    assert user.session.preview.chosen != first.chosen
    assert "candidate 2 of 3" in panel.prompting.score.text()

    user.press("Q")
    assert "background" in panel.prompting.polarity.text()
    user.click(0, 80, 100)
    assert user.session.prompt.labels == (1, 0)

    user.press("K")
    assert user.session.prompt.is_empty and user.session.preview is None
    assert len(user.layer("SAM points").data) == 0
    assert not user.layer("SAM preview").visible

    user.press("Q")
    user.click(0, *DISCS[0][:2])
    user.press("C")
    assert user.session.labels[0].max() == 1
    assert user.session.prompt.is_empty

    user.press("Ctrl+Z")
    assert user.session.labels[0].max() == 0
    assert len(user.session.prompt.points) == 1
    assert user.session.preview is not None

    user.press("G")
    assert panel.prompting.box_tool.isChecked() and not panel.prompting.point_tool.isChecked()


def test_each_plane_keeps_its_own_prompts(user: User) -> None:
    user.click(0, *DISCS[0][:2])
    user.go_to(0, 1)
    assert user.session.prompt.is_empty and user.session.preview is None
    user.click(1, *DISCS[1][:2])
    user.press("C")
    user.go_to(0, 0)
    assert user.session.prompt.points == (pytest.approx(DISCS[0][:2], abs=1),)
    assert user.session.preview is not None and user.session.preview.plane.position == (0, 0, 0)


def test_the_other_planes_of_the_array_work_like_the_first(
    sit_down: Callable[..., User], tmp_path: Path
) -> None:
    """A ball, cut by the planes of rows and z."""
    z, y, x = np.ogrid[:72, :96, :60]
    ball = np.hypot(np.hypot(z - 34, y - 40), x - 30) <= 16
    noise = np.random.default_rng(0).normal(0, 4, ball.shape)
    user = sit_down(np.clip(40 + 140 * ball + noise, 0, 255).astype(np.uint8))
    user.start(tmp_path / "ball.zarr")
    user.viewer.dims.order = (2, 1, 0)
    user.viewer.dims.set_current_step(2, 30)
    user.viewer.reset_view()
    user.settle()
    assert user.session.plane.displayed == (1, 0)
    user.click(34, 40, 30)
    user.press("C")
    written = np.asarray(user.session.labels) > 0
    assert set(np.argwhere(written)[:, 2]) == {30}
    assert iou(written[:, :, 30], ball[:, :, 30]) > 0.7


def test_without_live_previews_the_mask_comes_when_asked_for(user: User) -> None:
    user.panel.prompting.live.setChecked(False)
    user.click(0, *DISCS[0][:2])
    assert user.session.preview is None
    user.press("J")
    assert user.session.preview is not None


def test_a_script_and_the_widget_give_the_same_labels(
    user: User, stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    user.click(0, *DISCS[0][:2])
    user.press("Q")
    user.click(0, 85, 100)
    prompt = user.session.prompt
    user.press("C")

    script = napari_sam.open_session(
        stack, axes="zyx", labels=tmp_path / "script.zarr", cache=tmp_path / "cache of the script"
    )
    script.go_to(z=0)
    for point, label in zip(prompt.points, prompt.labels or (), strict=True):
        script.add_point(point, label)
    script.predict()
    script.commit()
    np.testing.assert_array_equal(script.labels[:], user.session.labels[:])


def test_the_console_drives_the_window(user: User) -> None:
    session = napari_sam.session(user.viewer)
    session.go_to(z=2)
    user.settle()
    assert user.viewer.dims.point[0] == TRANSLATE[0] + 2 * SCALE[0]
    session.add_point((34, 70))
    session.add_point((5, 5), label=0)
    session.set_box((15, 50, 55, 90))
    user.settle()
    np.testing.assert_allclose(user.layer("SAM points").data, [[2, 34, 70], [2, 5, 5]])
    assert user.layer("SAM points").features["on_object"].tolist() == [True, False]
    np.testing.assert_allclose(user.layer("SAM boxes").data[0].min(0), [2, 15, 50])
    assert user.layer("SAM preview").visible
    session.commit()
    assert session.labels[2].max() == 1
    assert len(user.layer("SAM points").data) == 0


def test_existing_layers_with_another_transform_are_read_through_the_world(
    sit_down: Callable[..., User], stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    someone = sit_down(stack, scale=SCALE, translate=TRANSLATE)
    row, column, _ = DISCS[0]
    world = someone.image.data_to_world((0, row, column))
    mine = someone.viewer.add_points([world], name="mine")
    someone.panel.settings.points.value = mine
    someone.start(tmp_path / "cells.zarr")
    someone.go_to(0, 0)
    assert someone.session.prompt.points == (pytest.approx((row, column)),)
    assert (mine.name, mine.scale.tolist()) == ("mine", [1, 1, 1])
    assert "SAM points" not in someone.viewer.layers


def test_the_brush_writes_into_the_store_and_its_label_stays_its_own(user: User) -> None:
    labels = user.layer("cells labels")
    labels.selected_label = 7
    labels.mode = "paint"
    user.viewer.layers.selection.active = labels
    user.click(0, 80, 20)
    painted = np.argwhere(np.asarray(user.session.labels[0]) == 7)
    assert abs(painted.mean(0) - (80, 20)).max() < 1
    user.panel.prompting.point_tool.click()
    user.click(0, *DISCS[0][:2])
    user.press("C")
    assert set(np.unique(user.session.labels[0])) == {0, 7, 8}


@pytest.mark.parametrize("tool", [pytest.param("paint", marks=pytest.mark.window), "fill"])
def test_each_stroke_of_the_brush_is_taken_back_and_done_again(user: User, tool: str) -> None:
    labels, store = user.layer("cells labels"), user.session.store
    labels.mode, labels.selected_label = tool, 7
    user.viewer.layers.selection.active = labels
    user.session.store.commit(user.session.plane, disc((80, 60), 12))
    volumes = [store.array[:]]
    for label, column in ((7, 60), (5, 62)):
        labels.selected_label = label
        user.drag((0, 80, column - 10), (0, 80, column + 10)) if tool == "paint" else user.click(0, 80, 60)
        volumes.append(store.array[:])
        assert labels.data[0, 80, 60] == label
    assert [step.kind for step in store.ledger.steps()] == ["commit", "brush", "brush"]
    for expected in volumes[1::-1]:
        user.press("Ctrl+Z")
        np.testing.assert_array_equal(store.array[:], expected)
        np.testing.assert_array_equal(labels._slice.image.raw, expected[0])
    for expected in volumes[1:]:
        user.press("Ctrl+Shift+Z")
        np.testing.assert_array_equal(store.array[:], expected)
        np.testing.assert_array_equal(labels._slice.image.raw, expected[0])


def test_undo_in_labels_of_the_user_takes_his_own_stroke_back(user: User) -> None:
    user.click(0, *DISCS[0][:2])
    user.press("C")
    mine = user.viewer.add_labels(np.zeros((3, *SHAPE), int), scale=SCALE, translate=TRANSLATE, name="mine")
    mine.mode = "paint"
    user.click(0, 80, 20)
    assert mine.data.any()
    user.press("Ctrl+Z")
    assert not mine.data.any() and user.session.labels[0].max() == 1
    assert user.status == "Undo in 'mine'."
    user.press("Ctrl+Shift+Z")
    assert mine.data.any() and user.session.labels[0].max() == 1
    user.viewer.layers.selection.active = user.layer("cells labels")
    user.press("Ctrl+Z")
    assert mine.data.any() and not np.asarray(user.session.labels).any()


def test_undo_leaves_an_unfinished_prompt_alone(user: User) -> None:
    user.click(0, *DISCS[0][:2])
    user.press("C")
    user.click(0, 90, 100)
    unfinished = user.session.prompt
    user.press("Ctrl+Z")
    assert not np.asarray(user.session.labels).any()
    assert user.session.prompt == unfinished
    assert user.status == "The commit of label 1 was taken back; the prompt that is there stays."
    user.press("K")
    user.press("Ctrl+Shift+Z")
    user.press("Ctrl+Z")
    assert user.session.prompt.points == (pytest.approx(DISCS[0][:2], abs=1),)


def test_undo_goes_on_after_reopening_and_the_prompts_come_back(
    user: User, sit_down: Callable[..., User], stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    user.click(0, *DISCS[0][:2])
    user.press("C")
    user.desk.close()
    later = sit_down(stack, scale=SCALE, translate=TRANSLATE, axis_labels=("z", "y", "x"))
    later.start(tmp_path / "cells.zarr")
    later.go_to(0, 2)
    later.press("Ctrl+Z")
    assert not later.session.labels[:].any()
    assert later.session.plane.position[0] == 0
    assert later.session.prompt.points == (pytest.approx(DISCS[0][:2], abs=1),)
    assert later.session.preview is not None
    assert "commit of label 1 was taken back" in later.status
    later.press("Ctrl+Shift+Z")
    assert later.session.labels[0].max() == 1
    assert later.session.prompt.is_empty


def test_a_second_window_may_look_but_not_write(
    user: User, sit_down: Callable[..., User], stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    user.click(0, *DISCS[0][:2])
    user.press("C")
    other = sit_down(stack, scale=SCALE, translate=TRANSLATE, axis_labels=("z", "y", "x"))
    other.start(tmp_path / "cells.zarr")
    assert "can only be read: they are open in another window" in other.status
    assert not other.layer("cells labels").editable
    other.go_to(0, 1)
    other.click(1, *DISCS[1][:2])
    other.press("C")
    assert "can only be read" in other.status
    assert other.session.preview is not None
    assert user.session.labels[:].max() == 1


def test_a_duplicate_of_the_labels_is_an_array_of_its_own(user: User) -> None:
    user.click(0, *DISCS[0][:2])
    user.press("C")
    user.viewer.layers.selection = {user.layer("cells labels")}
    _duplicate_layer(user.viewer.layers)
    duplicate = user.layer("cells labels copy")
    assert type(duplicate.data) is np.ndarray and duplicate.editable
    np.testing.assert_array_equal(duplicate.data, user.session.labels)
    user.session.undo()
    assert duplicate.data.any() and not np.asarray(user.session.labels).any()
    duplicate.paint((1, 60, 60), 7)
    assert duplicate.data[1, 60, 60] == 7 and not np.asarray(user.session.labels).any()
    user.viewer.layers.remove(duplicate)
    assert user.widget.session is not None


def test_labels_without_a_session_cannot_be_painted(user: User) -> None:
    labels = user.layer("cells labels")
    user.widget.stop()
    assert not labels.editable
    user.panel.start.click()
    user.settle()
    assert user.layer("cells labels") is labels and labels.editable


def test_what_the_user_owns_stays_as_it_was(user: User, stack: NDArray[np.uint8]) -> None:
    user.click(0, *DISCS[0][:2])
    user.press("C")
    assert user.image.name == "cells"
    np.testing.assert_array_equal(user.image.data, stack)
    np.testing.assert_allclose(user.image.scale, SCALE)
    np.testing.assert_allclose(user.image.translate, TRANSLATE)
    for name in ("SAM points", "SAM boxes", "cells labels"):
        np.testing.assert_allclose(user.layer(name).scale, SCALE)
        np.testing.assert_allclose(user.layer(name).translate, TRANSLATE)


def test_start_without_an_image_says_what_to_do(user: User, tmp_path: Path) -> None:
    user.viewer.layers.clear()
    user.panel.start.click()
    user.settle()
    assert "no image" in user.status


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        pytest.param(
            lambda folder: zarr.create_array(folder / "x.zarr", shape=(4, 5, 6), dtype="uint32"),
            r"shape \(4, 5, 6\)",
            id="labels of another image",
        ),
        pytest.param(
            lambda folder: (folder / "x.zarr").mkdir() or (folder / "x.zarr/notes.txt").write_text("hi"),
            "no labels store",
            id="a folder that is no store",
        ),
    ],
)
def test_unusable_labels_are_refused_and_left_alone(
    sit_down: Callable[..., User],
    stack: NDArray[np.uint8],
    tmp_path: Path,
    prepare: Callable[[Path], object],
    message: str,
) -> None:
    someone = sit_down(stack)
    prepare(tmp_path)
    before = sorted(path.name for path in (tmp_path / "x.zarr").rglob("*"))
    someone.start(tmp_path / "x.zarr")
    assert someone.widget.session is None
    assert re.search(message, someone.status)
    assert sorted(path.name for path in (tmp_path / "x.zarr").rglob("*")) == before


def test_a_foreign_checkpoint_is_refused(
    sit_down: Callable[..., User], stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    someone = sit_down(stack)
    someone.panel.settings.model.value = "vit_b"
    someone.settle()
    assert someone.panel.settings.checkpoint.native.isVisible()
    someone.panel.settings.checkpoint.value = tmp_path / "other.pth"
    someone.start(tmp_path / "cells.zarr")
    assert someone.widget.session is None
    assert "is not a checkpoint of vit_b" in someone.status
    assert not (tmp_path / "cells.zarr").exists()


def test_a_click_beside_the_image_is_no_prompt(user: User) -> None:
    user.click(0, -8, 40)
    assert user.session.prompt.is_empty
    assert len(user.layer("SAM points").data) == 0
    assert "beside the image" in user.status


def test_the_3d_view_asks_for_the_2d_one_where_what_was_set_is_a_prompt(user: User) -> None:
    points, (row, column, _) = user.layer("SAM points"), DISCS[0]

    def set_in_3d(change: Callable[[], None]) -> None:
        user.viewer.dims.ndisplay = 3
        user.settle()
        assert "2-D view" in user.status
        change()
        user.viewer.dims.ndisplay = 2
        user.settle()

    set_in_3d(lambda: points.add((0, row, column)))
    assert user.session.prompt.points == ((row, column),) and user.session.preview is not None
    points.selected_data = {0}
    set_in_3d(points.remove_selected)
    assert user.session.prompt.is_empty and user.session.preview is None
    set_in_3d(lambda: points.add((0, -8, column)))
    assert len(points.data) == 0, "beside the image"


def test_commit_without_a_mask_changes_nothing(user: User) -> None:
    user.press("C")
    assert "no preview" in user.status
    assert not np.asarray(user.session.labels).any()


def test_removing_the_image_ends_the_annotation_but_not_the_labels(user: User) -> None:
    user.click(0, *DISCS[0][:2])
    user.press("C")
    user.viewer.layers.remove(user.image)
    user.settle()
    assert user.widget.session is None
    assert np.asarray(user.layer("cells labels").data).max() == 1
    with pytest.raises(ValueError, match="No annotation runs"):
        napari_sam.session(user.viewer)


def test_another_image_does_not_get_the_labels_of_the_first(user: User, tmp_path: Path) -> None:
    user.click(0, *DISCS[0][:2])
    user.press("C")
    other = user.viewer.add_image(np.zeros((3, *SHAPE), np.uint8), name="other")
    user.panel.settings.image.value = other
    user.panel.start.click()
    user.settle()
    assert user.session.store.path != tmp_path / "cells.zarr"
    assert not np.asarray(user.session.labels).any()
    user.panel.settings.image.value = user.image
    assert user.panel.settings.labels.value == tmp_path / "cells.zarr"
    made = user.session.store.path
    user.viewer.layers.remove(user.image)
    assert user.panel.settings.image.value is other and user.panel.settings.labels.value == made
    user.viewer.layers.remove(other)
    assert user.panel.settings.labels.line_edit.value == ""
    user.panel.settings.labels.value = made
    user.viewer.add_image(np.zeros((3, *SHAPE), np.uint8), name="third")
    assert user.panel.settings.labels.line_edit.value == "", "typed while there was no image"


def test_starting_again_takes_up_the_same_layers(user: User) -> None:
    user.click(0, *DISCS[0][:2])
    user.press("C")
    before = sorted(layer.name for layer in user.viewer.layers)
    user.panel.start.click()
    user.settle()
    assert sorted(layer.name for layer in user.viewer.layers) == before
    user.go_to(0, 1)
    user.click(1, *DISCS[1][:2])
    user.press("C")
    assert np.unique(user.session.labels[:]).tolist() == [0, 1, 2]


def test_undo_in_another_view_goes_back_to_the_plane_of_the_object(user: User) -> None:
    user.viewer.dims.order = (1, 0, 2)
    user.viewer.reset_view()
    user.settle()
    made_on = user.session.plane
    user.session.set_box((0, 40, 2, 80))
    user.settle()
    user.press("C")
    user.viewer.dims.order = (0, 1, 2)
    user.settle()
    user.press("Ctrl+Z")
    assert user.session.plane == made_on
    assert tuple(user.viewer.dims.displayed) == made_on.displayed
    assert user.session.prompt.box == (0, 40, 2, 80)


def test_my_points_keep_their_own_columns_and_sizes(
    sit_down: Callable[..., User], stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    someone = sit_down(stack)
    mine = someone.viewer.add_points(
        [[0, 30, 40], [1, 60, 60], [2, 34, 70]],
        features={"cell_id": [11, 12, 13]},
        size=[3, 5, 9],
        name="mine",
    )
    someone.panel.settings.points.value = mine
    someone.start(tmp_path / "cells.zarr")
    someone.go_to(0, 0)
    someone.press("C")
    assert mine.features["cell_id"].tolist() == [12, 13]
    assert mine.size.tolist() == [5, 9]


def test_what_is_not_shown_is_not_committed(user: User) -> None:
    user.click(0, *DISCS[0][:2])
    user.viewer.dims.ndisplay = 3
    user.settle()
    user.press("C")
    assert not np.asarray(user.session.labels).any()
    assert "2-D view" in user.status


def test_a_plane_that_is_too_large_says_why_nothing_is_committed(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.click(0, *DISCS[0][:2])
    monkeypatch.setattr(planes, "LARGEST_SIDE", SHAPE[0])
    user.go_to(0, 1)
    user.panel.show_status("")
    user.press("C")
    assert "is larger than" in user.status
    assert not np.asarray(user.session.labels).any()


def test_our_layers_follow_when_the_image_is_rescaled(user: User) -> None:
    user.image.scale = (3, 1, 1)
    for name in ("SAM points", "SAM boxes", "cells labels"):
        np.testing.assert_allclose(user.layer(name).scale, (3, 1, 1))
    user.widget.stop()
    user.image.scale = (3, 2, 2)
    user.panel.start.click()
    user.settle()
    for name in ("SAM points", "SAM boxes", "cells labels"):
        np.testing.assert_allclose(user.layer(name).scale, (3, 2, 2))


@pytest.mark.window
def test_closing_lets_go_of_everything(user: User) -> None:
    dims, layers = user.viewer.dims.events.current_step, user.viewer.layers.events.inserted
    points = user.layer("SAM points")
    user.click(0, 5, 5)
    assert any("Following" in str(x) for x in dims.callbacks)
    assert any("LayerChoice" in str(x) for x in layers.callbacks)
    user.desk.undock(user.widget)
    for emitter in (dims, layers, points.events.data, points.events.name, points.events.mode):
        ours = ("AnnotateWidget", "LayerChoice", "Following", "PromptLayers", "ToolChoice")
        assert not any(name in str(x) for x in emitter.callbacks for name in ours)
    wait_until(lambda: not any(thread.name == "napari-sam" for thread in threading.enumerate()))
    user.viewer.layers.selection.active = points
    points.add([[0, 5, 5]])  # must not reach the closed widget


@pytest.mark.window
def test_nothing_is_cut_off_at_1280_by_800(user: User) -> None:
    no_button_is_cut_off(user.panel)
    assert user.viewer.window._qt_window.height() <= 800


@pytest.mark.window
def test_nothing_is_cut_off_in_larger_letters(user: User, font_size: Callable[[int], None]) -> None:
    area = user.widget.findChild(Scrolled)
    width, before = area.minimumWidth(), get_settings().appearance.font_size
    font_size(16)
    wait_until(lambda: area.minimumWidth() > 1.3 * width)
    no_button_is_cut_off(user.panel)
    font_size(before)
    wait_until(lambda: area.minimumWidth() == width)


def no_button_is_cut_off(panel: AnnotatePanel) -> None:
    of_rows = (
        panel.prompting.commit,
        panel.prompting.propagate,
        panel.prompting.next,
        panel.prompting.undo,
        panel.prompting.redo,
        panel.prompting.polarity,
        panel.prompting.predict,
    )
    for button in (*of_rows, panel.start):
        assert button.width() >= button.sizeHint().width()
        assert panel.rect().contains(button.geometry().center())


@pytest.fixture
def font_size() -> Iterator[Callable[[int], None]]:
    """Set the size of letters that napari's preferences offer, until the test is over."""
    appearance = get_settings().appearance
    before = appearance.font_size
    yield lambda size: setattr(appearance, "font_size", size)
    appearance.font_size = before


@pytest.mark.window
@pytest.mark.parametrize("size", [pytest.param((1280, 800), marks=pytest.mark.slow), (900, 600)], ids=str)
def test_the_scroll_bar_covers_nothing_and_the_status_is_always_seen(
    user: User, size: tuple[int, int]
) -> None:
    window, panel = user.viewer.window, user.panel
    window.resize(*size)
    # Planes that become ready while the test looks would show their own progress.
    wait_until(lambda: bool(panel.stack.strip.ready.all()))
    panel.stack.show_run(480, 5000, 7200.0)
    panel.show_status("The labels can only be read: " + "they are open elsewhere; " * 4, problem=True)
    user.settle()
    area = panel.parentWidget()
    assert area is not None
    assert panel.width() <= area.width()
    stack = panel.stack
    assert stack.caption.width() >= stack.caption.sizeHint().width()
    assert stack.button.width() >= stack.button.sizeHint().width()
    for each in (panel.status, panel.activity):
        assert not each.visibleRegion().isEmpty()
    assert panel.status.height() >= panel.status.heightForWidth(panel.status.width())


def test_planes_of_a_2d_image_need_no_slider(
    sit_down: Callable[..., User], stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    someone = sit_down(stack[0])
    someone.start(tmp_path / "flat.zarr")
    assert someone.session.plane == Plane((0, 1), (0, 0))
    someone.click(*DISCS[0][:2])
    someone.press("C")
    assert iou(np.asarray(someone.session.labels) == 1, disc(DISCS[0][:2], DISCS[0][2])) > 0.8


def test_the_choices_of_last_time_are_remembered(
    sit_down: Callable[..., User], stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    someone = sit_down(stack)
    someone.panel.prompting.live.setChecked(False)
    someone.panel.start.click()
    someone.settle()
    assert not sit_down(stack).panel.prompting.live.isChecked()


def test_the_precision_is_chosen_among_those_that_gain(
    sit_down: Callable[..., User], stack: NDArray[np.uint8]
) -> None:
    someone = sit_down(stack)
    choice = someone.panel.settings.precision
    assert choice.choices == precisions("nano")
    assert choice.native.isHidden() == (len(choice.choices) == 1)
    choice.value = choice.choices[-1]
    someone.panel.start.click()
    someone.settle()
    assert someone.session.predictor.identity.precision == choice.choices[-1]
    assert sit_down(stack).panel.settings.precision.value == choice.choices[-1]


@pytest.mark.window
def test_all_layers_are_removed_at_once(user: User) -> None:
    user.click(0, *DISCS[0][:2])
    user.press("C")
    user.viewer.layers.select_all()
    user.viewer.layers.remove_selected()
    user.settle()
    assert len(user.viewer.layers) == 0
    assert user.widget.session is None and "was removed and the annotation ended" in user.status


def test_closing_while_the_session_is_about_to_end_is_harmless(user: User) -> None:
    user.viewer.layers.remove(user.image)
    user.widget.let_go()
    user.settle()
    assert user.widget.session is None


def test_what_stops_without_a_download_speaks_of_none(
    sit_down: Callable[..., User], stack: NDArray[np.uint8]
) -> None:
    user = sit_down(stack)
    user.panel.start.click()
    user.panel.cancel_requested.emit()
    user.settle()
    assert user.widget.session is None and user.status == "Stopped."


def test_a_rescaled_image_shows_another_plane_which_is_the_one_that_is_committed(user: User) -> None:
    user.go_to(0, 2)
    user.image.scale = (4, *SCALE[1:])
    user.settle()
    (shown,) = {user.session.plane.position[0], round(user.image.world_to_data(user.viewer.dims.point)[0])}
    assert shown == 1
    user.click(1, *DISCS[1][:2])
    user.press("C")
    assert iou(user.session.labels[1] == 1, disc(DISCS[1][:2], DISCS[1][2])) > 0.8


def test_after_the_start_the_labels_are_named(user: User) -> None:
    user.panel.start.click()
    user.settle()
    assert user.status == f"Click on an object. New labels: {user.session.store.path} Plane z 0."
    user.session.labels[0, :5, :5] = 1
    user.panel.start.click()
    user.settle()
    assert user.status == f"Click on an object. Labels, 1 object: {user.session.store.path} Plane z 0."


def test_the_grid_that_lays_masks_apart_is_told(user: User) -> None:
    getattr(user.viewer, "canvas", user.viewer).grid.enabled = True
    assert user.status == "The grid lays masks and image apart: switch it off (Ctrl+G)."


def test_what_was_said_of_an_object_goes_with_its_prompt(user: User) -> None:
    user.click(0, *DISCS[0][:2])
    user.press("C")
    user.double_click(0, *DISCS[0][:2])
    assert "Object 1 is taken up" in user.status
    user.press("K")
    assert user.session.target is None and user.status == "Plane z 0."


def test_an_undo_names_how_many_objects_it_brings_back(user: User) -> None:
    for plane in (0, 1):
        user.go_to(0, plane)
        user.click(plane, *DISCS[plane][:2])
        user.press("C")
    user.session.objects.delete([1, 2])
    user.press("Ctrl+Z")
    assert user.status == "The delete of 2 objects was taken back."
