"""Planes become ready ahead of the user, the panel shows it, and the window never waits for it."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_sam.annotation import Session
from napari_sam.inference.loading import load_predictor
from napari_sam.inference.predictor import Predictor
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.progress import Progress
from napari_sam.storage.embedding_store import bytes_on_disk
from napari_sam.storage.embeddings import DEFAULT_BUDGET, Budget, EmbeddingCache
from napari_sam.storage.labels import LabelsStore
from napari_sam.widgets.activity import Activity
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.jobs import LatestJob
from napari_sam.widgets.seen import SeenView
from napari_sam.widgets.stack_binding import StackBinding
from napari_sam.widgets.stack_status import ReadyStrip, StackStatus
from seeded import seeded_image
from widgets.driving import User, wait_until

PLANES = 60


def open_session(
    predictor: Predictor, stack: np.ndarray, folder: Path, budget: Budget = DEFAULT_BUDGET, axes: str = "zyx"
) -> Session:
    planes = Planes(stack, axes)
    store = LabelsStore.open_or_create(folder / "cells.zarr", planes.shape, planes.axes)
    return Session(planes, predictor, store, EmbeddingCache(planes, predictor, folder / "cache", budget))


@pytest.fixture
def session(tiny_predictor: Predictor, tmp_path: Path) -> Session:
    stack = np.stack([seeded_image(40, 50, seed=z)[..., 0] for z in range(PLANES)])
    return open_session(tiny_predictor, stack, tmp_path)


@pytest.fixture
def view(qapp: QApplication) -> StackStatus:
    return StackStatus()


@pytest.fixture
def binding(session: Session, view: StackStatus) -> Iterator[StackBinding]:
    made = StackBinding(session, view, SeenView())
    yield made
    made.close()
    wait_until(no_thread)
    view.close()


def no_thread() -> bool:
    return not any(thread.name == "napari-sam prefetch" for thread in threading.enumerate())


def test_the_planes_around_the_shown_one_become_ready(
    session: Session, binding: StackBinding, view: StackStatus
) -> None:
    session.go_to(z=20)
    wait_until(lambda: not binding.is_busy)
    assert np.flatnonzero(view.strip.ready).tolist() == [n for n in range(12, 29) if n != 20]
    assert (view.strip.shown, view.caption.text()) == (20, "16 of 60 planes ready")
    session.predict()
    session.run(session.request())
    binding.note(session.plane)
    assert view.caption.text() == "17 of 60 planes ready"


def test_the_whole_stack_is_encoded_with_a_button_and_stopped_with_it(
    session: Session, binding: StackBinding, view: StackStatus
) -> None:
    binding.start()
    view.button.click()
    assert (view.button.text(), view.caption.text()) == ("Stop", "0 of 60 planes")
    wait_until(lambda: view.caption.text().endswith("left"))
    view.button.click()
    wait_until(lambda: not binding.is_busy)
    assert view.button.text() == "Encode whole stack"
    part = int(session.ready().sum())
    assert 0 < part < PLANES
    view.button.click()
    wait_until(lambda: not binding.is_busy)
    assert session.ready().all()
    assert view.caption.text() == "60 of 60 planes ready"


def test_what_was_encoded_earlier_is_shown_at_once(
    session: Session, binding: StackBinding, tiny_predictor: Predictor, tmp_path: Path
) -> None:
    session.encode_all()
    later = StackStatus()
    again = StackBinding(
        Session(
            session.planes,
            tiny_predictor,
            session.store,
            EmbeddingCache(session.planes, tiny_predictor, tmp_path / "cache"),
        ),
        later,
        SeenView(),
    )
    wait_until(lambda: later.caption.text() == "60 of 60 planes ready")
    again.close()


def test_the_picture_is_not_drawn_again_for_every_plane_ahead(
    session: Session, binding: StackBinding, view: StackStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(binding._seen, "show_picture", lambda _picture, caption: drawn.append(caption))
    session.go_to(z=20)
    wait_until(lambda: not binding.is_busy and view.caption.text() == "16 of 60 planes ready")
    assert len(drawn) == 1
    session.run(session.request(preview=False))
    binding.note(session.plane)
    assert drawn[1:] == ["What the model sees: 40 x 50 pixels."]


def test_progress_is_told_once_however_often_an_encoder_pauses(qapp: QApplication) -> None:
    job, told = LatestJob(), list[float]()
    job.progressed.connect(told.append)

    def work(progress: Progress) -> None:
        for done in (0.0, 0.0, 0.5, 0.5, 0.5, 1.0):
            progress(done)

    job.submit(work, key=0)
    wait_until(lambda: not job.is_busy)
    assert told == [0.0, 0.5, 1.0]
    job.close()


def test_a_bar_is_shown_for_what_takes_longer_than_a_moment(qapp: QApplication) -> None:
    activity = Activity("encoding")
    activity.show_share("encoding", 0.2)
    activity.show_share("encoding", None)
    assert activity.bar.isHidden()
    activity.show_share("encoding", 0.2)
    activity.show_share("encoding", 0.4)
    wait_until(lambda: not activity.bar.isHidden())
    assert activity.bar.text() == "encoding 40 %" and not activity.cancel.isHidden()
    activity.show_share("encoding", None)
    assert activity.bar.isHidden() and activity.cancel.isHidden()
    activity.close()


def test_work_that_ends_leaves_the_bar_to_what_still_runs(qapp: QApplication) -> None:
    activity = Activity("writing", "encoding")
    activity.show_share("encoding", 0.5)
    activity.show_share("writing", 0.1, "writing, 2 more")
    wait_until(lambda: not activity.bar.isHidden())
    assert activity.bar.text() == "writing, 2 more 10 %" and activity.shown == "writing"
    activity.show_share("writing", None)
    assert activity.bar.text() == "encoding 50 %" and not activity.cancel.isHidden()
    activity.show_share("encoding", None)
    assert activity.bar.isHidden() and activity.shown is None
    activity.close()


def test_another_view_of_the_stack_has_its_own_strip(
    session: Session, binding: StackBinding, view: StackStatus
) -> None:
    session.show(Plane.at((0, 2), (0, 7, 0)))
    wait_until(lambda: not binding.is_busy)
    assert len(view.strip.ready) == 40 and view.strip.shown == 7
    assert "along y" in view.strip.toolTip()


def test_planes_that_go_to_make_room_are_not_green_any_more(
    tiny_predictor: Predictor, tmp_path: Path, view: StackStatus
) -> None:
    stack = np.stack([seeded_image(40, 50, seed=z)[..., 0] for z in range(40)])
    each = bytes_on_disk(tiny_predictor.embedding_shape)
    session = open_session(tiny_predictor, stack, tmp_path, Budget(1, 20 * each))
    binding = StackBinding(session, view, SeenView())
    for z in (8, 30):
        session.go_to(z=z)
        wait_until(lambda: not binding.is_busy)
    assert len(list(tmp_path.glob("cache/*/digests/c/*"))) <= 21
    wait_until(lambda: np.array_equal(view.strip.ready, session.ready().ravel()))
    assert not view.strip.ready[:9].all() and view.strip.ready[31:39].all()
    binding.close()


def test_the_strip_lies_along_the_axis_that_was_moved_along(
    tiny_predictor: Predictor, tmp_path: Path, view: StackStatus
) -> None:
    session = open_session(tiny_predictor, np.zeros((5, 3, 2, 40, 50), np.uint8), tmp_path, axes="tzcyx")
    binding = StackBinding(session, view, SeenView())
    assert "along z" in view.strip.toolTip()
    binding.start()
    session.go_to(t=4)
    assert "along t" in view.strip.toolTip()
    assert (len(view.strip.ready), view.strip.shown) == (5, 4)
    session.go_to(z=1)
    assert "along z" in view.strip.toolTip()
    binding.close()


def test_planes_too_large_to_be_encoded_ahead_have_no_strip(
    tiny_predictor: Predictor, tmp_path: Path, view: StackStatus
) -> None:
    large = open_session(tiny_predictor, np.zeros((3, 300, 200), np.uint8), tmp_path)
    binding = StackBinding(large, view, SeenView())
    assert view.isHidden()
    binding.close()


def test_the_strip_is_green_where_planes_are_ready(qapp: QApplication) -> None:
    strip = ReadyStrip()
    strip.resize(100, 10)
    strip.show_ready(np.repeat([True, False], [4_000, 6_000]), shown=9_000)
    image = strip.grab().toImage().scaled(100, 10)
    colours = [image.pixelColor(x, 2).name() for x in (10, 35, 45, 70)]
    assert colours == ["#2ee66b", "#2ee66b", "#4b4f58", "#4b4f58"]
    assert image.pixelColor(90, 8).name() == "#ffffff"
    strip.close()


@pytest.mark.window
def test_in_napari_the_strip_follows_the_slider(user: User) -> None:
    wait_until(lambda: user.panel.stack.caption.text() == "3 of 3 planes ready")
    user.go_to(0, 2)
    assert user.panel.stack.strip.shown == 2
    user.widget.let_go()
    wait_until(no_thread)
    assert user.panel.stack.isHidden()


def test_a_preview_that_is_not_shown_is_not_hidden_again(user: User) -> None:
    changes: list[object] = []
    user.layer("SAM preview").events.visible.connect(changes.append)
    user.go_to(0, 1)
    user.go_to(0, 2)
    assert not changes
    user.click(2, 34, 70)
    user.go_to(0, 0)
    assert len(changes) == 2


@pytest.mark.slow
def test_the_window_never_stalls(view: StackStatus, tmp_path: Path) -> None:
    """A timer of 5 ms ticks on, with at most 50 ms of delay, while planes are encoded, shown and clicked."""
    stack = np.stack([seeded_image(500, 400, seed=z)[..., 0] for z in range(12)])
    session = open_session(load_predictor("nano", device="cpu"), stack, tmp_path)
    ticks: list[float] = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    timer.start(5)
    binding, job = StackBinding(session, view, SeenView()), LatestJob()
    job.finished.connect(session.accept)
    binding.start()
    view.button.click()
    for z in (0, 1, 5, 2, 11):
        session.go_to(z=z)
        session.add_point((200.0, 150.0))
        request = session.request()
        job.submit(lambda progress, request=request: session.run(request, progress), key=request.plane)
        wait_until(lambda: session.preview is not None)
    wait_until(lambda: not binding.is_busy)
    timer.stop()
    job.close()
    binding.close()
    wait_until(no_thread)
    assert session.ready().all()
    assert max(np.diff(ticks)) < 0.05


@pytest.mark.window
@pytest.mark.slow
def test_a_real_window_never_stalls(
    sit_down: Callable[..., User], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with napari's canvas: encoded as a whole, moved through, clicked, and closed mid-work."""
    handlers = timed_handlers(monkeypatch)
    stack = np.stack([seeded_image(500, 400, seed=z)[..., 0] for z in range(30)])
    user = sit_down(stack, axis_labels=("z", "y", "x"))
    user.start(tmp_path / "cells.zarr")
    user.click(0, 200, 150)  # what napari compiles at its first click is napari's own
    user.press("C")
    ticks: list[float] = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    timer.start(5)
    own = _stalls_of_napari_alone(user, ticks)
    ticks.clear()
    handlers.clear()
    user.panel.stack.button.click()
    for z in (3, 4, 9, 5):
        user.go_to(0, z)
        user.click(z, 210, 160)
    timer.stop()
    longest, longest_of_ours = max(np.diff(ticks)), max(handlers)
    began = time.monotonic()
    user.desk.close()
    wait_until(no_thread)
    assert time.monotonic() - began < 5
    assert user.widget.session is None
    assert longest_of_ours < (0.05, ""), f"{longest_of_ours[1]} took {1000 * longest_of_ours[0]:.0f} ms"
    assert longest < 0.05 + own, f"{1000 * longest:.0f} ms, of which napari alone {1000 * own:.0f} ms"


def timed_handlers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str]]:
    """Give the list that receives the processor's seconds of each handler of ours, with its name."""
    took, connect = list[tuple[float, str]](), Connections.add

    def add(connections: Connections, signal: Any, handler: Callable[..., Any]) -> None:
        @functools.wraps(handler)
        def timed(*arguments: Any) -> Any:
            began = time.thread_time()
            try:
                return handler(*arguments)
            finally:
                took.append((time.thread_time() - began, handler.__qualname__))

        connect(connections, signal, timed)

    monkeypatch.setattr(Connections, "add", add)
    return took


def _stalls_of_napari_alone(user: User, ticks: list[float]) -> float:
    """Move the slider and click where we do nothing, and give the longest stall: slicing, drawing, vispy."""
    user.panel.prompting.live.setChecked(False)
    for z in (12, 13, 14):
        user.go_to(0, z)
        user.click(z, 210, 160)
    user.session.clear_prompt()
    user.panel.prompting.live.setChecked(True)
    return float(max(np.diff(ticks)))
