"""Prompts of every kind, drawn in a real napari window; and what is shown before and while they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from numpy.typing import NDArray
from qtpy.QtTest import QTest

from napari_sam.inference.prompts import Prompt
from napari_sam.matching import iou
from napari_sam.plane import Plane
from napari_sam.previews import Preview
from napari_sam.storage.embeddings import Budget, default_folder
from napari_sam.widgets import prompt_layers, several_commit
from napari_sam.widgets.cache_settings import CacheChoice, CacheDialog, recall_cache
from widgets.conftest import SHAPE, Encoded, disc
from widgets.driving import User, prompt_layers_of, wait_until

CELLS = ((40, 50, 16), (60, 150, 14), (140, 60, 17), (140, 170, 15))


@pytest.fixture
def cells() -> NDArray[np.uint8]:
    """Two planes of four bright discs each."""
    inside = np.any([disc((row, column), radius) for row, column, radius in CELLS], axis=0)
    noise = np.random.default_rng(0).normal(0, 4, (2, *SHAPE))
    return np.clip(40 + 140 * inside + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def user(sit_down: Callable[..., User], cells: NDArray[np.uint8], encoded: Encoded, tmp_path: Path) -> User:
    encoded.into_the_cache(cells)
    someone = sit_down(cells, axis_labels=("z", "y", "x"))
    someone.start(tmp_path / "cells.zarr")
    someone.go_to(0, 0)
    return someone


def hover(user: User, *position: float) -> None:
    """Bring the mouse to a position in the image's array, from close beside it, and let it rest there.

    napari leaves out moves that follow another one within milliseconds.
    """
    *before, column = position
    for step in (2, 0):
        user.point_at(*before, column + step)
        QTest.qWait(20)
        user.settle()


def lies_at(seen: Preview | None, row: float, column: float) -> bool:
    """Whether the mask under this position is outlined, to the pixel, and not one that the cursor passed."""
    return seen is not None and seen.prompt.points[0] == pytest.approx((row, column), abs=1)


@pytest.mark.window
def test_strokes_and_areas_are_prompts_and_stay_with_their_plane(user: User) -> None:
    row, column, radius = CELLS[0]
    for _ in range(3):
        user.press("G")
    assert user.panel.prompting.stroke_tool.isChecked() and user.layer("SAM boxes").mode == "add_path"
    user.drag((0, row - 8, column), (0, row + 8, column))
    assert set(user.session.prompt.labels or ()) == {1} and len(user.session.prompt.points) >= 2
    np.testing.assert_allclose(np.array(user.session.prompt.points)[:, 1], column, atol=1)
    user.press("Q")
    user.drag((0, row + 40, column - 10), (0, row + 40, column + 10))
    labels = user.session.prompt.labels or ()
    assert 0 in labels and labels[0] == 1
    assert user.session.preview is not None
    assert iou(user.session.preview.mask, disc((row, column), radius)) > 0.8

    user.go_to(0, 1)
    assert user.session.prompt.is_empty
    user.go_to(0, 0)
    assert user.session.prompt.labels == labels
    user.press("C")
    assert len(user.layer("SAM boxes").data) == 0 and user.session.prompt.is_empty
    assert iou(user.session.labels[0] == 1, disc((row, column), radius)) > 0.8

    row, column, radius = CELLS[1]
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    around = np.stack([0 * turn, row + 17 * np.sin(turn), column + 17 * np.cos(turn)], axis=1)
    user.layer("SAM boxes").add_polygons([around])
    user.settle()
    prompt = user.session.prompt
    assert prompt.mask is not None and iou(prompt.mask.astype(bool), disc((row, column), 17)) > 0.9
    assert prompt.box == pytest.approx((row - 17, column - 17, row + 17, column + 17), abs=1)
    assert user.session.preview is not None
    assert iou(user.session.preview.mask, disc((row, column), radius)) > 0.8
    user.press("K")
    assert len(user.layer("SAM boxes").data) == 0 and user.session.prompt.is_empty


def test_one_object_per_prompt(user: User) -> None:
    user.press("N")
    assert user.panel.prompting.each.isChecked()
    shapes = user.layer("SAM boxes")
    boxes = [
        [(0, r - x, c - x), (0, r - x, c + x), (0, r + x, c + x), (0, r + x, c - x)] for r, c, x in CELLS[:2]
    ]
    shapes.add_rectangles(np.array(boxes, float))
    user.click(0, *CELLS[2][:2])
    user.click(0, *CELLS[3][:2])
    assert "4 objects, score" in user.panel.prompting.score.text()
    shown = np.asarray(user.layer("SAM preview").data)[0]
    assert len(np.unique(shown)) == 5
    user.press("C")
    assert "Committed 4 objects" in user.status
    written = np.asarray(user.session.labels[0])
    assert np.unique(written).tolist() == [0, 1, 2, 3, 4]
    for row, column, radius in CELLS:
        assert iou(written == written[row, column], disc((row, column), radius)) > 0.8
    assert user.session.prompt.is_empty and not user.layer("SAM preview").visible
    user.press("Ctrl+Z")
    assert len(np.unique(user.session.labels[0])) == 4


def with_four_objects(user: User) -> None:
    """Let a click in each cell be an object of its own."""
    user.press("N")
    for row, column, _ in CELLS:
        user.session.add_point((row, column))
    if not user.panel.prompting.live.isChecked():
        user.panel.prompting.predict.click()
    user.settle()
    assert "4 objects, score" in user.panel.prompting.score.text()


def begin_to_write_four(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit four objects, of which the first is written and others are not."""
    monkeypatch.setattr(several_commit, "_TURN_S", 0.0)  # a turn of the window after each
    with_four_objects(user)
    user.panel.prompting.commit_requested.emit()
    wait_until(lambda: len(user.session.store.ledger.steps()) > 0)


@pytest.mark.parametrize("copied", ["click", "box"])
def test_what_is_prompted_twice_is_one_object(user: User, copied: str) -> None:
    row, column, radius = CELLS[0]
    user.press("N")
    user.panel.prompting.overlap.mode.setCurrentIndex(1)  # "replace"
    if copied == "click":
        user.session.add_point((row, column))
        user.session.add_point((row, column))
    else:
        r0, r1, c0, c1 = row - radius, row + radius, column - radius, column + radius
        user.layer("SAM boxes").add_rectangles(
            np.array([[(0, r0, c0), (0, r0, c1), (0, r1, c1), (0, r1, c0)]] * 2)
        )
    user.settle()
    assert "1 object, score" in user.panel.prompting.score.text()
    user.press("C")
    assert user.status == "Committed 1 object." and user.session.prompt.is_empty
    assert [x.label for x in user.session.store.ledger.objects()] == [1]


def test_several_objects_are_committed_on_their_own_plane_alone(user: User) -> None:
    with_four_objects(user)
    user.go_to(0, 1)
    assert not user.panel.prompting.commit.isEnabled() and not user.layer("SAM preview").visible
    user.press("C")
    assert "no preview" in user.status
    assert not np.asarray(user.session.labels).any()


def test_several_objects_stay_in_view_where_the_image_is_moved(user: User) -> None:
    user.panel.prompting.live.setChecked(False)
    with_four_objects(user)
    shown, before = user.layer("SAM preview"), np.array(user.layer("SAM preview").data)
    user.image.translate = (0, 7, -5)
    user.settle()
    assert shown.visible and user.panel.prompting.commit.isEnabled()
    np.testing.assert_array_equal(shown.data, before)
    np.testing.assert_allclose(shown.affine.translate, (0, 7, -5))
    user.go_to(0, 1)
    user.image.translate = (0, 0, 0)
    user.settle()
    assert not shown.visible and not user.panel.prompting.commit.isEnabled()


def test_what_was_written_while_the_user_moved_on_is_not_written_again(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.panel.prompting.overlap.mode.setCurrentIndex(1)  # "replace"
    begin_to_write_four(user, monkeypatch)
    user.go_to(0, 1)
    assert not user.panel.prompting.commit.isEnabled()
    user.press("C")
    assert np.unique(user.session.labels).tolist() == [0, 1, 2, 3, 4]


def test_an_object_that_is_taken_up_is_replaced_also_with_one_object_per_prompt(user: User) -> None:
    row, column, radius = CELLS[0]
    user.session.store.commit(user.session.plane, disc((row, column), radius - 6))
    user.press("N")
    user.session.take_up(1)
    user.session.add_point((row, column))
    user.settle()
    preview = user.session.preview
    assert preview is not None and user.session.target == 1
    user.press("C")
    assert user.status == "Committed as label 1."
    np.testing.assert_array_equal(user.session.labels[0], 1 * preview.mask)


def test_a_box_inside_those_that_are_drawn_is_one_more_object(user: User) -> None:
    """What all of them mean together stays the same."""
    user.press("N")
    shapes = user.layer("SAM boxes")
    for low, high, count in ((20, 80, 1), (90, 150, 2), (35, 60, 3)):
        corners = [(0, low, low), (0, low, high), (0, high, high), (0, high, low)]
        shapes.add_rectangles(np.array([corners], float))
        user.settle()
        assert f"{count} object" in user.panel.prompting.score.text()


def test_several_objects_are_written_beside_what_else_the_window_does(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(several_commit, "_TURN_S", 0.0)  # a turn of the window after each
    with_four_objects(user)
    written = user.session.store.ledger.steps
    user.panel.prompting.commit_requested.emit()
    assert len(written()) == 0 and user.widget.is_busy
    wait_until(lambda: len(written()) > 0)
    assert len(written()) < 4
    user.panel.prompting.commit_requested.emit()
    user.panel.prompting.undo_requested.emit()
    assert "still being written" in user.status
    user.go_to(0, 1)
    assert len(written()) == 4 and "Committed 4 objects" in user.status
    user.go_to(0, 0)
    assert user.session.prompt.is_empty and len(user.layer("SAM points").data) == 0
    assert np.unique(user.session.labels[0]).tolist() == [0, 1, 2, 3, 4]


def test_stopped_in_the_midst_of_several_objects_the_next_commit_writes_those_that_are_left(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.panel.prompting.overlap.mode.setCurrentIndex(1)  # "replace": finished objects would be written anew
    begin_to_write_four(user, monkeypatch)
    user.panel.cancel_requested.emit()
    user.settle()
    count = len(user.session.store.ledger.steps())
    assert 0 < count < 4 and f"Committed {count} of 4 objects" in user.status
    assert len(user.session.prompt.points) == 4
    finished = np.asarray(user.session.labels[0])
    user.press("C")
    assert f"Committed {4 - count} object" in user.status and user.session.prompt.is_empty
    now = np.asarray(user.session.labels[0])
    np.testing.assert_array_equal(now[finished > 0], finished[finished > 0])
    assert np.unique(user.session.labels[0]).tolist() == [0, 1, 2, 3, 4]


def test_stopped_in_the_midst_of_several_objects_only_the_unfinished_and_the_changed_are_predicted(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_to_write_four(user, monkeypatch)
    user.panel.cancel_requested.emit()
    user.settle()
    count = len(user.session.store.ledger.steps())
    user.session.add_point((100, 110))
    user.settle()
    assert f"{5 - count} objects, score" in user.panel.prompting.score.text()
    user.panel.prompting.each.setChecked(False)
    user.panel.prompting.each.setChecked(True)
    user.settle()
    assert f"{5 - count} objects, score" in user.panel.prompting.score.text()
    user.press("Ctrl+Z")  # the last of those that were written: its prompt is unfinished again
    assert f"{6 - count} objects, score" in user.panel.prompting.score.text()
    user.press("C")
    assert f"Committed {6 - count} objects" in user.status and user.session.prompt.is_empty
    written = np.asarray(user.session.labels[0])
    assert len(user.session.store.ledger.objects()) == 5
    assert len({written[row, column] for row, column, _ in CELLS}) == 4
    user.session.add_point(CELLS[0][:2])
    user.settle()
    assert "1 object, score" in user.panel.prompting.score.text(), "what was cleared may be prompted again"


def test_a_prompt_that_is_added_while_others_are_written_is_one_object_more(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_to_write_four(user, monkeypatch)
    user.session.add_point((100, 110))
    user.settle()
    assert "the prompts stay" in user.status and len(user.session.store.ledger.objects()) == 4
    assert "1 object, score" in user.panel.prompting.score.text()
    user.press("C")
    assert user.session.prompt.is_empty and len(user.session.store.ledger.objects()) == 5


def test_what_was_to_be_committed_is_written_when_the_annotation_ends(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(several_commit, "_TURN_S", 0.0)
    with_four_objects(user)
    user.panel.prompting.commit_requested.emit()
    user.widget.let_go()
    on_disk = zarr.open_group(tmp_path / "cells.zarr", mode="r")["0"][:]
    assert np.unique(on_disk).tolist() == [0, 1, 2, 3, 4]


def test_several_objects_may_lie_in_one_that_is_named(user: User) -> None:
    row, column, radius = CELLS[0]
    user.session.store.commit(user.session.plane, disc((row, column), radius + 9))
    with_four_objects(user)
    overlap = user.panel.prompting.overlap
    overlap.mode.setCurrentIndex(2)
    user.press("C")
    assert "give the label of the one" in user.status and len(user.session.prompt.points) == 4
    overlap.label.setValue(1)
    user.press("C")
    assert "Committed 1 object; of 3 others no pixel was left to write" in user.status
    assert np.unique(user.session.labels[0]).tolist() == [0, 1, 2]


def test_the_object_of_some_labels_is_a_prompt(user: User) -> None:
    """The other labels lie on a coarser grid, turned; they are found through the world."""
    row, column, radius = CELLS[0]
    coarse = np.zeros((1, *(n // 2 for n in SHAPE)), int)
    coarse[0] = 5 * disc((row, column), radius)[::2, ::2]
    theirs = user.viewer.add_labels(coarse, scale=(1, 2, 2), name="theirs")
    theirs.selected_label = 5
    user.press("U")
    mask = user.session.prompt.mask
    assert mask is not None and iou(mask.astype(bool), disc((row, column), radius)) > 0.85
    assert user.session.preview is not None
    user.press("C")
    theirs.selected_label = 6
    user.press("U")
    assert "Label 6 of 'theirs' is not on this plane" in user.status
    theirs.selected_label = 0
    user.press("U")
    assert "Label 0 of 'theirs' is the background" in user.status and user.session.prompt.is_empty

    user.panel.prompting.point_tool.click()
    user.press("U")  # now the session's own labels, whose first object was just made
    assert user.session.target == 1 and not user.session.prompt.is_empty


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda plane: [np.stack([plane, 0 * plane]), plane[None, ::2, ::2]], id="multiscale"),
        pytest.param(lambda plane: plane, id="2-D"),
        pytest.param(lambda plane: np.stack([plane, 0 * plane])[None], id="4-D"),
    ],
)
def test_labels_of_other_axes_or_several_scales_are_prompts(
    user: User, made: Callable[[NDArray[np.intp]], Any]
) -> None:
    """napari shows the last axes together, and so they are taken."""
    row, column, radius = CELLS[1]
    theirs = user.viewer.add_labels(made(5 * disc((row, column), radius)), name="theirs")
    user.settle()
    theirs.selected_label = 5
    user.press("U")
    mask = user.session.prompt.mask
    assert mask is not None, user.status
    np.testing.assert_array_equal(mask, disc((row, column), radius))


def test_labels_whose_axes_are_not_shown_are_refused(user: User) -> None:
    theirs = user.viewer.add_labels(np.ones(SHAPE, int), name="theirs")
    user.viewer.dims.order = (1, 0, 2)
    user.settle()
    user.viewer.layers.selection.active = theirs
    user.press("U")
    assert "The shown axes are not axes of 'theirs'" in user.status


@pytest.mark.window
def test_the_mask_under_the_resting_cursor_is_what_a_click_takes(user: User) -> None:
    layer = user.layer("SAM hover")
    assert not layer.visible
    # A place on a plane that is not encoded yet is not outlined.
    wait_until(lambda: bool(user.session.ready().all()))
    row, column, radius = CELLS[1]
    hover(user, 0, row, column)
    seen = user.widget._controller._hover
    # The cursor passes other places on its way there, each of which may be outlined for a moment.
    wait_until(lambda: layer.visible and lies_at(seen.shown, row, column))
    preview = seen.shown
    assert iou(preview.mask, disc((row, column), radius)) > 0.8
    drawn = np.argwhere(np.asarray(layer.data))
    on_image = np.array([user.image.world_to_data(layer.data_to_world(index)) for index in drawn])
    np.testing.assert_array_equal(
        np.sort(np.ravel_multi_index(on_image.round().astype(int).T, (2, *SHAPE))),
        np.flatnonzero(preview.mask),
    )
    user.click(0, row, column)
    assert not layer.visible
    assert user.session.prompt == preview.prompt
    np.testing.assert_array_equal(user.session.preview.mask, preview.mask)
    hover(user, 0, *CELLS[2][:2])
    assert not layer.visible, "while there is a prompt the click would refine it"
    user.press("K")
    user.press("H")
    hover(user, 0, *CELLS[2][:2])
    assert not layer.visible and not user.panel.prompting.hover.isChecked()
    user.widget.let_go()
    assert "SAM hover" not in user.viewer.layers
    assert not user.viewer.mouse_move_callbacks


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("translate", (0, 5, -3), id="moved"),
        pytest.param("scale", (1, 1.1, 1.1), id="stretched"),
        pytest.param("rotate", 3, id="turned"),
        pytest.param(
            "affine", np.array([[1, 0, 0, 0], [0, 1, 0.1, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), id="sheared"
        ),
    ],
)
def test_the_outline_goes_where_the_image_is_moved(user: User, name: str, value: Any) -> None:
    layer, seen = user.layer("SAM hover"), user.widget._controller._hover
    wait_until(lambda: bool(user.session.ready().all()))
    hover(user, 0, *CELLS[1][:2])
    wait_until(lambda: layer.visible and lies_at(seen.shown, *CELLS[1][:2]))
    before = seen.shown
    setattr(user.image, name, value)
    assert seen.shown is None
    user.settle()
    # Qt may tell of the cursor anew as the canvas is drawn; then it is outlined what lies there now.
    assert seen.shown is not before and layer.visible == (seen.shown is not None)
    row, column, radius = CELLS[2]
    hover(user, 0, row, column)
    wait_until(lambda: layer.visible and lies_at(seen.shown, row, column))
    assert iou(seen.shown.mask, disc((row, column), radius)) > 0.8


def test_what_the_model_sees_is_shown_and_the_layers_contrast_can_be_chosen(
    user: User, tmp_path: Path
) -> None:
    def grey() -> float:
        picture = user.panel.seen.picture.pixmap().toImage()
        assert (picture.width(), picture.height()) == (72, int(72 * SHAPE[0] / SHAPE[1]))
        return picture.pixelColor(2, 2).lightness()

    assert "192 x 224 pixels" in user.panel.seen.caption.text()
    dark = grey()
    user.image.contrast_limits = (0, 255)
    user.panel.settings.contrast.value = "layer"
    user.panel.start.click()
    user.settle()
    wait_until(lambda: "192 x 224 pixels" in user.panel.seen.caption.text())
    assert user.session.planes.contrast.high == 255
    assert grey() > dark + 10
    user.click(0, *CELLS[0][:2])
    assert user.session.preview is not None


def test_the_place_and_the_budget_of_the_cache_are_chosen_and_remembered(user: User, tmp_path: Path) -> None:
    user.panel.seen.cache.click()
    (dialog,) = user.widget.findChildren(CacheDialog)
    assert dialog.isVisible() and not dialog.folder.native.isEnabled()
    dialog.place.setCurrentIndex(2)
    assert dialog.folder.native.isEnabled()
    dialog.folder.value = tmp_path / "mine"
    dialog.memory.setValue(0.5)
    dialog.accept()
    assert recall_cache() == CacheChoice("chosen", str(tmp_path / "mine"), 0.5, 20.0)
    assert recall_cache().budget == Budget(2**29, 20 * 2**30)
    assert not (tmp_path / "mine").exists()
    user.panel.start.click()
    user.settle()
    wait_until(lambda: any((tmp_path / "mine").glob("*.zarr")))

    (image := tmp_path / "cells.tif").touch()
    assert CacheChoice("beside").path(image) == tmp_path / "cells.tif.embeddings"
    assert CacheChoice("beside").path(None) == CacheChoice().path(image) == default_folder()


def test_many_shapes_are_read_and_written_with_no_more_matrices_than_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each matrix takes napari a fraction of a millisecond, which shapes of all planes would add up."""
    viewer = ViewerModel()
    layers = prompt_layers_of(viewer, viewer.add_image(np.zeros((30, 40, 50)), scale=(3, 1, 2)))
    counted: list[object] = []
    convert = prompt_layers.positions_on_image

    def count(*arguments: Any) -> NDArray[np.float64]:
        counted.append(arguments)
        return convert(*arguments)

    monkeypatch.setattr(prompt_layers, "positions_on_image", count)
    square = np.array([(0, 10, 10), (0, 10, 20), (0, 20, 20), (0, 20, 10)], float)
    needed = []
    for planes in (range(1), range(1, 30)):
        layers.boxes.add_rectangles(np.stack([square + np.array((z, 0, 0)) for z in planes]))
        layers.boxes.add_paths(np.stack([square[:2] + np.array((z, 1, 0)) for z in planes]))
        counted.clear()
        plane = Plane((1, 2), (planes[-1], 0, 0))
        prompt = layers.read(plane)
        assert prompt.box == (10, 10, 20, 20) and prompt.points == ((11, 15),)
        layers.write(plane, prompt)
        layers.write(plane, Prompt(box=(1, 2, 30, 40)))
        needed.append(len(counted))
        assert layers.read(plane) == Prompt(box=(1, 2, 30, 40))
    assert needed[0] == needed[1]
    assert len(layers.boxes.data) == 30 + 28


def test_an_ellipse_that_is_drawn_with_the_mouse_is_a_box_and_a_mask(user: User) -> None:
    row, column, radius = CELLS[1]
    shapes = user.layer("SAM boxes")
    user.viewer.layers.selection.active = shapes
    shapes.mode = "add_ellipse"
    around = radius + 3
    user.drag((0, row - around, column - around), (0, row + around, column + around))
    assert shapes.shape_type == ["ellipse"]
    prompt = user.session.prompt
    assert prompt.box == pytest.approx(
        (row - around, column - around, row + around, column + around), abs=1.5
    )
    assert prompt.mask is not None and iou(prompt.mask.astype(bool), disc((row, column), around)) > 0.9
    assert user.session.preview is not None
    assert iou(user.session.preview.mask, disc((row, column), radius)) > 0.8
    user.press("C")
    assert len(shapes.data) == 0 and user.session.labels[0].max() == 1


def test_how_opaque_the_pixels_of_a_colour_image_are_changes_nothing(
    sit_down: Callable[..., User], cells: NDArray[np.uint8], tmp_path: Path
) -> None:
    """The model sees the colours of an RGBA image, whatever lies in its fourth channel."""
    colours = np.stack([cells[0], cells[0] // 2, cells[0] // 3], axis=-1)
    opacity = np.random.default_rng(1).integers(0, 256, (*SHAPE, 1)).astype(np.uint8)
    row, column, radius = CELLS[0]
    masks = []
    for name, image in (("rgb", colours), ("rgba", np.concatenate([colours, opacity], axis=-1))):
        user = sit_down(image, rgb=True)
        user.start(tmp_path / f"{name}.zarr")
        seen = user.session.embedder.seen(user.session.plane)
        assert seen is not None and seen[1].shape == (*SHAPE, 3)
        user.click(row, column)
        assert user.session.preview is not None
        user.press("C")
        masks.append(np.asarray(user.session.labels[:]))
        assert masks[-1].shape == SHAPE
        user.desk.close()
    assert iou(masks[0] == 1, disc((row, column), radius)) > 0.8
    np.testing.assert_array_equal(*masks)


@pytest.mark.window
def test_a_lasso_may_cross_the_edge_of_the_image(user: User) -> None:
    user.panel.prompting.area_tool.click()
    user.draw([(0, 30, 20), (0, 45, -5), (0, 60, 20), (0, 45, 24)])
    assert len(user.layer("SAM boxes").data) == 1
    box, mask = user.session.prompt.box, user.session.prompt.mask
    assert box is not None and box == pytest.approx((30, -0.5, 60, 20), abs=1) and mask is not None
    assert mask[45, 0] and not mask[45, 40]


def test_a_box_across_the_edge_stays_one_of_several(user: User) -> None:
    user.press("N")
    middles = [(4, 60), *(cell[:2] for cell in CELLS[:2])]
    boxes = [
        [(0, r - 16, c - 16), (0, r - 16, c + 16), (0, r + 16, c + 16), (0, r + 16, c - 16)]
        for r, c in middles
    ]
    user.layer("SAM boxes").add_rectangles(np.array(boxes, float))
    user.settle()
    np.testing.assert_allclose(user.layer("SAM boxes").data, boxes)
    assert "3 objects, score" in user.panel.prompting.score.text()
