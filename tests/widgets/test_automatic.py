"""Automatic masks in a real window: found, chosen, rejected by click, written, and run along the stack."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Tracks
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QApplication

from automatic.discs import proposals_of
from napari_sam.inference.proposals import Proposals, Selection
from napari_sam.runs import MaskRuns
from napari_sam.storage.labels import LabelsStore
from napari_sam.widgets.automatic import AutomaticWidget
from napari_sam.widgets.automatic_panel import AutomaticPanel
from napari_sam.widgets.automatic_shown import Judged, ShownPlane
from napari_sam.widgets.histogram import Histogram
from napari_sam.widgets.masks_layer import NAME
from widgets.conftest import DISCS, disc
from widgets.driving import User, wait_until


class Masks:
    """The docked widget, and the user's hands on it."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.widget = AutomaticWidget(user.viewer)
        self.panel: AutomaticPanel = self.widget.panel
        user.desk.dock(self.widget, "automatic masks")
        self.settle()

    def find(self) -> None:
        self.panel.propose.click()
        self.settle()

    def commit(self) -> None:
        self.panel.commit.click()
        self.settle()

    def run_stack(self) -> None:
        self.panel.stack.run.click()
        self.settle()

    def settle(self) -> None:
        for _ in range(2):  # what a thread has told may be yet to be handled, and begin the next thing
            wait_until(lambda: not self.widget.is_busy)
            self.user.settle()

    @property
    def layer(self) -> object:
        return self.user.layer(NAME)

    @property
    def is_shown(self) -> bool:
        return NAME in self.user.viewer.layers

    def painted(self) -> np.ndarray:
        return np.squeeze(np.asarray(self.user.layer(NAME).data))


@pytest.fixture
def masks(user: User) -> Iterator[Masks]:
    opened = Masks(user)
    yield opened
    opened.widget.let_go()


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def centre(plane: int) -> tuple[int, int]:
    return DISCS[plane][0], DISCS[plane][1]


@pytest.mark.window
def test_the_masks_of_a_plane_are_found_rejected_by_click_and_committed_as_one_step(masks: Masks) -> None:
    user, session = masks.user, masks.user.session
    assert masks.panel.count.text() == "no masks shown" and not masks.panel.commit.isEnabled()
    masks.find()
    assert masks.panel.count.text().startswith("1 of"), masks.panel.status.text()
    assert iou(masks.painted() > 0, disc(centre(0), DISCS[0][2])) > 0.85
    assert user.viewer.layers.selection.active is masks.layer
    user.click(0, *centre(0))
    masks.layer.mode = "paint"
    assert masks.layer.mode == "pan_zoom", "what is painted there would not be written"
    assert masks.panel.count.text().endswith("1 rejected")
    assert set(np.unique(masks.painted())) == {0, 1}
    user.click(0, *centre(0))
    assert "rejected" not in masks.panel.count.text()
    user.click(0, 150, 180)
    assert "rejected" not in masks.panel.count.text(), "there is no mask"
    assert not session.labels[...].any()
    masks.commit()
    assert session.labels[0, *centre(0)] == 1 and not masks.is_shown
    assert masks.panel.status.text().startswith("1 object was committed")
    session.undo()
    assert not session.labels[...].any() and session.prompt.is_empty


def test_masks_go_where_the_image_is_moved(masks: Masks) -> None:
    masks.find()
    user = masks.user
    user.image.translate = (10, 70, 20)
    masks.settle()
    row, column = centre(0)
    place = user.image.data_to_world((0, row, column))
    assert user.layer(NAME).get_value(place, world=True) == user.layer(NAME).data[0, row, column] > 0
    user.click(0, row, column)
    assert masks.panel.count.text().endswith("1 rejected")


def test_a_layer_of_masks_that_is_removed_by_hand_is_cleared(masks: Masks) -> None:
    masks.find()
    masks.user.viewer.layers.remove(masks.layer)
    masks.settle()
    assert masks.panel.count.text() == "no masks shown" and not masks.panel.commit.isEnabled()
    masks.find()
    assert masks.is_shown and masks.panel.commit.isEnabled()


def test_sliders_choose_without_the_model(masks: Masks) -> None:
    masks.find()
    thread_was_asked: list[object] = []
    masks.widget._controller._plane_job.progressed.connect(thread_was_asked.append)
    masks.panel.selecting.thresholds["pred_iou_thresh"].setValue(1.0)
    masks.settle()
    assert not masks.panel.commit.isEnabled()
    assert "pred_iou_thresh = 1 took" in masks.panel.status.text()
    masks.panel.selecting.thresholds["pred_iou_thresh"].setValue(0.7)
    masks.panel.selecting.areas["min_area"].setValue(10_000)
    masks.settle()
    assert "min_area = 10000 took" in masks.panel.status.text()
    masks.panel.selecting.areas["min_area"].setValue(0)
    masks.settle()
    assert masks.panel.commit.isEnabled() and thread_was_asked == []
    masks.panel.selecting.areas["min_area"].setValue(500)
    masks.panel.selecting.areas["max_area"].setValue(20)
    masks.settle()
    assert "max_area is 20" in masks.panel.status.text()


def test_each_plane_keeps_its_masks_and_what_was_rejected(masks: Masks) -> None:
    masks.find()
    masks.user.click(0, *centre(0))
    masks.user.go_to(0, 1)
    masks.settle()
    assert not masks.is_shown and masks.panel.count.text() == "no masks shown"
    masks.find()
    assert iou(masks.painted() > 0, disc(centre(1), DISCS[1][2])) > 0.85
    masks.user.go_to(0, 0)
    masks.settle()
    assert masks.panel.count.text().endswith("1 rejected")
    masks.panel.accept_all.click()
    assert "rejected" not in masks.panel.count.text()
    masks.panel.clear.click()
    assert not masks.is_shown


def test_after_a_look_at_another_plane_clicks_are_for_the_masks_again(masks: Masks) -> None:
    user, layers = masks.user, masks.user.viewer.layers

    def look_at_another_plane(there: Callable[[], None] = lambda: None) -> None:
        user.go_to(0, 1)
        masks.settle()
        there()
        user.go_to(0, 0)
        masks.settle()

    masks.find()
    for rejected in (True, False):
        look_at_another_plane()
        user.click(0, *centre(0))
        assert ("1 rejected" in masks.panel.count.text()) is rejected and user.session.prompt.is_empty
    look_at_another_plane(user.panel.prompting.box_tool.click)
    assert layers.selection.active is user.layer("SAM boxes"), "the user has chosen"
    look_at_another_plane()
    assert layers.selection.active is user.layer("SAM boxes")


def test_thresholds_follow_the_way_of_prompting_unless_they_were_moved(masks: Masks) -> None:
    finding, thresholds = masks.panel.finding, masks.panel.selecting.thresholds
    thresholds["box_nms_thresh"].setValue(0.6)
    finding.prompts.setCurrentIndex(finding.prompts.findData("grid"))
    finding.boxes["points_per_side"].setValue(6)
    masks.find()
    values = [round(thresholds[x].value(), 2) for x in ("pred_iou_thresh", "max_overlap", "box_nms_thresh")]
    assert values == [0.55, 0.5, 0.6]
    finding.boxes["points_per_side"].setValue(32)
    finding.prompts.setCurrentIndex(finding.prompts.findData("learned"))
    masks.find()
    assert round(thresholds["pred_iou_thresh"].value(), 2) == 0.62


def test_what_was_committed_or_cleared_is_not_shown_again(masks: Masks) -> None:
    for end in (masks.panel.clear, masks.panel.commit):
        masks.find()
        end.click()
        masks.settle()
        masks.user.go_to(0, 1)
        masks.user.go_to(0, 0)
        masks.settle()
        assert not masks.is_shown and not masks.panel.commit.isEnabled()
        assert masks.panel.status.text().startswith("Find the masks of this plane")
    masks.find()
    masks.run_stack()
    masks.user.go_to(0, 1)
    masks.commit()
    masks.user.go_to(0, 0)
    masks.settle()
    assert not masks.is_shown, "the stack has the masks of this plane too"


def test_what_is_committed_is_let_go_of_and_no_other_plane(
    masks: Masks, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, session = masks.user, masks.user.session
    masks.find()
    user.go_to(0, 1)
    masks.find()
    user.click(1, *centre(1))
    user.go_to(0, 0)
    masks.settle()
    disk = SlowDisk(session.store.read)
    monkeypatch.setattr(session.store, "read", disk)
    masks.panel.commit.click()
    wait_until(disk.is_asked.is_set)
    user.go_to(0, 1)
    disk.go_on()
    masks.settle()
    assert masks.panel.status.text().startswith("1 object was committed")
    assert masks.is_shown and masks.panel.count.text().endswith("1 rejected")
    user.go_to(0, 0)
    masks.settle()
    assert session.labels[0, *centre(0)] == 1 and not masks.is_shown
    assert not masks.panel.commit.isEnabled()


def test_a_commit_says_what_it_left_out(masks: Masks) -> None:
    masks.user.go_to(0, 0)
    masks.find()
    masks.commit()
    masks.run_stack()
    masks.commit()
    told = "2 objects were committed, as one step; undo takes it back. Left out: 1 annotated already."
    assert masks.panel.status.text() == told


def test_masks_are_found_anew_where_pixels_have_changed(masks: Masks) -> None:
    masks.find()
    masks.user.click(0, *centre(0))
    masks.find()
    assert masks.panel.count.text().endswith("1 rejected"), "the same masks are judged as before"
    image = masks.user.image.data
    image[0] = np.roll(image[0], 60, axis=1)
    masks.find()
    assert iou(masks.painted() > 1, np.roll(disc(centre(0), DISCS[0][2]), 60, axis=1)) > 0.85


def test_a_second_click_on_a_mask_within_another_one_takes_it_back() -> None:
    proposals = proposals_of([disc((60, 60), 30), disc((60, 60), 8)])
    shown = ShownPlane(None, Judged(proposals))
    shown.choose(Selection(0, 0, box_nms_thresh=1), "smaller")
    for rejected in ({1}, set()):
        assert shown.toggle(60, 60)
        assert shown.rejected == rejected
    shown.toggle(60, 60)
    numbers, turned_down = shown.picture()
    assert numbers[60, 60] == 1 and not turned_down.any(), "the mask below is seen there"


def test_a_stack_is_run_linked_and_committed_as_one_step(masks: Masks) -> None:
    user, session = masks.user, masks.user.session
    assert masks.panel.stack.planes() == ("z", range(3)) and not masks.panel.stack.tracks.isEnabled()
    masks.run_stack()
    assert masks.panel.status.text().startswith("3 objects on 3 planes"), "the discs lie apart"
    masks.panel.stack.linked.setChecked(False)
    masks.settle()
    user.go_to(0, 2)
    masks.settle()
    assert iou(masks.painted() > 0, disc(centre(2), DISCS[2][2])) > 0.85
    user.click(2, *centre(2))
    assert masks.panel.count.text() == "2 objects in 3 planes, 1 rejected"
    masks.panel.stack.tracks.click()
    (tracks,) = (x for x in user.viewer.layers if isinstance(x, Tracks))
    assert tracks.data[:, 1].tolist() == [0, 1]
    np.testing.assert_allclose(tracks.data[:, 2:], [centre(0), centre(1)], atol=2)
    np.testing.assert_allclose(tracks.scale, user.image.scale)
    masks.commit()
    assert [int(session.labels[z, *centre(z)]) for z in range(3)] == [1, 2, 0]
    session.undo()
    assert not session.labels[...].any()


def test_a_run_is_linked_as_the_panel_says_at_its_end(masks: Masks) -> None:
    progress = masks.widget._controller._stack.job.progressed
    progress.connect(lambda _done: masks.panel.stack.linked.setChecked(False))
    masks.run_stack()
    run = masks.widget._controller._stack.run
    wait_until(lambda: run.is_complete and run.linked_by is None)
    masks.settle()
    assert masks.panel.status.text().startswith("3 objects on 3 planes")


def test_thresholds_that_leave_nothing_of_a_stack_are_named(masks: Masks) -> None:
    masks.panel.selecting.thresholds["pred_iou_thresh"].setValue(1.0)
    masks.run_stack()
    assert "pred_iou_thresh = 1 took" in masks.panel.status.text()
    masks.panel.selecting.thresholds["pred_iou_thresh"].setValue(0.7)
    masks.panel.stack.min_length.setValue(3)
    masks.run_stack()
    assert "min_length = 3 took all" in masks.panel.status.text()


def test_a_run_beside_the_shown_plane_says_where_to_go(masks: Masks) -> None:
    masks.panel.stack.first.setValue(1)
    masks.run_stack()
    assert "Go to one of these planes" in masks.panel.status.text() and not masks.is_shown
    masks.user.go_to(0, 1)
    masks.settle()
    assert masks.is_shown and masks.panel.commit.isEnabled()


@pytest.mark.parametrize(("axes", "along"), [("tczyx", "z"), ("ztyx", "t")])
def test_tracks_that_napari_cannot_show_are_explained(
    sit_down: Callable[..., User], stack: np.ndarray, tmp_path: Path, axes: str, along: str
) -> None:
    shape = {"tczyx": (1, 1, 3), "ztyx": (1, 3)}[axes]
    someone = sit_down(stack.reshape(*shape, *stack.shape[1:]), axis_labels=tuple(axes))
    someone.start(tmp_path / "cells.zarr")
    masks = Masks(someone)
    assert masks.panel.stack.planes()[0] == along
    masks.run_stack()
    masks.panel.stack.tracks.click()
    assert f"{axes}, and the run goes along {along}" in masks.panel.status.text()
    assert not any(isinstance(x, Tracks) for x in someone.viewer.layers)
    masks.widget.let_go()


def test_a_run_is_stopped_and_goes_on(masks: Masks) -> None:
    progress = masks.widget._controller._stack.job.progressed
    progress.connect(lambda done: masks.panel.cancel.click() if done > 0 else None)
    masks.run_stack()
    run = masks.widget._controller._stack.run
    # The plane that was under way when the button was pressed may have been finished after it.
    assert run.done < 3 and "of 3 planes are done. Run again" in masks.panel.status.text()
    assert masks.panel.progress.isHidden()
    progress.disconnect()
    masks.widget._controller._stack.job.progressed.connect(masks.widget._controller._stack._on_progressed)
    masks.run_stack()
    assert masks.widget._controller._stack.run is run and run.is_complete


def test_only_the_drawn_region_changes(masks: Masks) -> None:
    user, session = masks.user, masks.user.session
    masks.panel.writing.draw.click()
    shapes = user.viewer.layers.selection.active
    assert shapes.mode == "add_polygon" and masks.panel.writing.region() is shapes
    masks.find()
    masks.commit()
    assert "no closed shape" in masks.panel.status.text() and not session.labels[...].any()
    far = np.array([[0, 150, 10], [0, 150, 60], [0, 180, 60], [0, 180, 10]])
    shapes.add(far, shape_type="polygon")
    masks.settle()
    assert not masks.panel.commit.isEnabled() and "outside the region" in masks.panel.status.text()
    shapes.selected_data = {0}
    shapes.remove_selected()
    row, column = centre(0)
    left_half = [[0, row - 30, column - 30], [0, row - 30, column + 4], [0, row + 30, column + 4]]
    shapes.add([*left_half, [0, row + 30, column - 30]], shape_type="polygon")
    masks.settle()
    assert masks.panel.count.text().startswith("1 of")
    masks.commit()
    written = np.array(session.labels[0]) > 0
    assert written[row, column - 5] and not written[:, column + 5 :].any()


class SlowDisk:
    """Work that, in other threads than Qt's, lasts until it is told to go on."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self._work = work
        self._go_on = threading.Event()
        self.is_asked = threading.Event()

    def __call__(self, *arguments: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            self.is_asked.set()
            assert self._go_on.wait(60)
        return self._work(*arguments)

    def go_on(self) -> None:
        self._go_on.set()


def own_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("napari-sam")}


def test_closing_the_session_in_the_middle_of_a_run_leaves_no_thread(
    masks: Masks, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = SlowDisk(masks.user.session.planes.read)
    monkeypatch.setattr(masks.user.session.planes, "read", reading)
    before = own_threads()
    masks.panel.stack.run.click()
    wait_until(reading.is_asked.is_set)
    masks.user.widget.let_go()
    reading.go_on()
    wait_until(lambda: not any(thread.is_alive() for thread in before))
    assert not own_threads()
    assert not masks.panel.propose.isEnabled() and "Start an annotation" in masks.panel.status.text()
    assert not masks.is_shown


@pytest.fixture
def writing(masks: Masks, monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    """A stack of which the user has just pressed Commit, and the disk is slow."""
    masks.run_stack()
    store = masks.user.session.store
    disk = SlowDisk(store.read)
    monkeypatch.setattr(store, "read", disk)
    masks.panel.commit.click()
    wait_until(disk.is_asked.is_set)
    return disk


def test_while_objects_are_written_the_window_goes_on(masks: Masks, writing: SlowDisk) -> None:
    user, panel = masks.user, masks.panel
    wait_until(panel.progress.isVisible)  # what takes but a moment shows nothing
    assert panel.progress.format().startswith("writing")
    assert not panel.commit.isEnabled()
    user.press("Ctrl+Z")
    assert "are being written" in user.status
    masks.user.viewer.dims.set_point(0, user.image.data_to_world([2, 0, 0])[0])
    writing.go_on()
    masks.settle()
    assert panel.status.text().startswith("3 objects were committed") and panel.progress.isHidden()
    assert [int(user.session.labels[z, *centre(z)]) for z in range(3)] == [1, 2, 3]
    shown = user.widget._controller._layers.labels._slice.image.raw
    assert shown[centre(2)] == 3, "the layer shows it"
    user.press("Ctrl+Z")
    assert not user.session.labels[...].any(), "one step"
    user.press("Ctrl+Shift+Z")
    assert user.session.labels[0, *centre(0)] == 1


def test_a_write_that_is_stopped_leaves_nothing(masks: Masks, writing: SlowDisk) -> None:
    masks.panel.cancel.click()
    writing.go_on()
    masks.settle()
    assert masks.panel.status.text() == "Stopped; nothing was written."
    assert not masks.user.session.labels[...].any() and not masks.user.session.store.ledger.steps()
    masks.commit()
    assert masks.panel.status.text().startswith("3 objects were committed"), "the masks are still there"


def test_closing_in_the_middle_of_a_write_leaves_a_whole_store(masks: Masks, writing: SlowDisk) -> None:
    path, before = masks.user.session.store.path, own_threads()
    masks.user.widget.let_go()
    writing.go_on()
    wait_until(lambda: not any(thread.is_alive() for thread in before))
    store = LabelsStore.open(path)
    assert not store.read_only and not store.labels[...].any() and not store.ledger.steps()
    store.close()


def test_the_widget_follows_the_session(user: User) -> None:
    user.widget.stop()
    masks = Masks(user)
    assert not masks.panel.propose.isEnabled()
    user.panel.start.click()
    user.settle()
    assert masks.panel.propose.isEnabled()
    assert [masks.panel.preset.itemText(i) for i in range(3)] == ["everything", "small cells", "large cells"]
    masks.panel.preset.setCurrentIndex(1)
    masks.panel.preset.activated.emit(1)
    assert masks.panel.selecting.selection().max_area == 1600
    masks.widget.let_go()


def test_what_is_set_is_what_is_given(qapp: QApplication) -> None:
    panel = AutomaticPanel()
    chosen = Selection(0.7, 0.65, 0.4, 0.3, 12, 34, 5678)
    panel.selecting.show_selection(chosen)
    assert panel.selecting.selection() == chosen
    panel.close()


def test_the_histogram_shows_which_values_the_limits_leave(qapp: QApplication) -> None:
    scores = Histogram("score")
    scores.resize(200, 46)
    theme = scores.palette()
    theme.setColor(QPalette.ColorRole.WindowText, QColor("#204060"))
    scores.setPalette(theme)
    scores.show_values(np.array([0.1, 0.5, 0.51, 0.9, 1.0]), low=0.5)
    assert (scores.counts.sum(), scores.kept.sum(), scores.counts[-1]) == (5, 4, 1)
    image = scores.grab().toImage().scaled(200, 46)
    assert image.pixelColor(22, 30).name() == "#808591", "left out"
    assert image.pixelColor(197, 30).name() == "#25b955", "kept"
    assert image.pixelColor(100, 1).name() == "#204060", "the limit, in the colour of the theme"
    areas = Histogram("area", logarithmic=True)
    areas.show_values(np.array([1, 10, 100, 1000]), high=100)
    assert np.flatnonzero(areas.counts).tolist() == [0, 13, 26, 39] and areas.kept.sum() == 3
    for each in (scores, areas):
        each.close()


@pytest.mark.slow
def test_choosing_anew_takes_at_most_a_tenth_of_a_second() -> None:
    """600 proposals on a plane of 1024 x 1024, as a grid gives them."""
    rng = np.random.default_rng(0)
    runs = []
    for row, column, radius in zip(*rng.integers(20, 1004, (2, 600)), rng.integers(8, 20, 600), strict=True):
        y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
        runs.append(MaskRuns.of(np.hypot(y, x) <= radius, (int(row - radius), int(column - radius))))
    proposals = Proposals(
        (1024, 1024),
        tuple(runs),
        rng.uniform(0.5, 1, 600).astype(np.float32),
        rng.uniform(0.5, 1, 600).astype(np.float32),
        np.array([x.area for x in runs]),
        np.array([x.box for x in runs]),
        np.zeros((600, 2)),
        np.tile([0, 0, 1024, 1024], (600, 1)),
    )
    shown = ShownPlane(None, Judged(proposals))
    times = []
    for threshold in (0.5, 0.6, 0.7):
        start = time.perf_counter()
        shown.choose(Selection(threshold, 0.5, min_mask_region_area=100), "smaller")
        shown.picture()
        times.append(time.perf_counter() - start)
    assert min(times) <= 0.1
