"""Whatever was begun, a window that closes takes it along: no thread, no session, no error is left."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDialogButtonBox

from napari_sam import workers
from napari_sam.annotation import Session
from napari_sam.starting import open_session
from napari_sam.storage.labels import LabelsStore
from napari_sam.widgets import annotate, image_choice
from napari_sam.widgets.automatic import AutomaticWidget
from napari_sam.widgets.cache_settings import CacheDialog
from napari_sam.widgets.objects_table import ObjectsWidget
from widgets.conftest import DISCS
from widgets.driving import User, wait_until
from widgets.table_driving import Held


def own_threads() -> int:
    return sum(thread.name.startswith("napari-sam") for thread in threading.enumerate())


def no_thread() -> bool:
    return own_threads() == 0


def gone(user: User) -> None:
    """Wait until nothing of the annotation works any more, and let Qt delete what is deleted later."""
    wait_until(no_thread)
    workers.release()
    gc.collect()
    QApplication.processEvents()


@pytest.mark.window
def test_a_window_that_closes_while_the_model_loads_leaves_nothing(
    sit_down: Callable[..., User], stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    """Qt tells a docked widget nothing when its window goes; so it has to watch the window from the start."""
    user = sit_down(stack, axis_labels=("z", "y", "x"))
    user.panel.settings.labels.value = tmp_path / "cells.zarr"
    user.panel.start.click()
    user.desk.close()
    gone(user)
    assert user.widget.session is None
    again = LabelsStore.open_or_create(tmp_path / "cells.zarr", stack.shape, "zyx")
    assert not again.read_only
    again.close()


@pytest.mark.window
def test_a_window_that_closes_takes_all_its_widgets_along(user: User) -> None:
    others = [AutomaticWidget(user.viewer), ObjectsWidget(user.viewer)]
    for widget in others:
        user.desk.dock(widget, type(widget).__name__)
    wait_until(lambda: len(user.viewer.window._qt_window.tabifiedDockWidgets(user.widget.parent())) == 2)
    assert all(widget.watched is user.widget.window() for widget in (user.widget, *others))
    user.desk.close()
    wait_until(no_thread)
    assert all(widget.watched is None for widget in (user.widget, *others))
    assert not any(widget._connections._made for widget in (user.widget, *others))


@pytest.mark.parametrize(
    "end", ["start anew", "remove the image", pytest.param("close the window", marks=pytest.mark.window)]
)
def test_what_has_ended_is_forgotten(user: User, tmp_path: Path, end: str) -> None:
    """A session holds a model of up to gigabytes and its embeddings; they go with it."""
    user.click(0, *DISCS[0][:2])
    user.press("C")
    forgotten = [weakref.ref(x) for x in (user.session, user.session.predictor, user.layer("SAM preview"))]
    if end == "start anew":
        user.start(tmp_path / "other.zarr")
    elif end == "remove the image":
        user.viewer.layers.remove(user.image)
    else:
        user.desk.close()

    def is_forgotten() -> bool:
        gc.collect()
        return not any(ref() for ref in forgotten)

    wait_until(is_forgotten)


def test_what_ends_later_than_expected_is_forgotten_too(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of a large model on a slow computer takes seconds, in which its thread does not end."""
    monkeypatch.setattr(annotate, "_FORGET_MS", 20)
    held, forgotten = Held(), weakref.ref(user.session.predictor)
    user.session.embedder.touch = lambda _plane: held.wait()
    user.go_to(0, 1)  # the planes beside it are looked at in advance
    wait_until(held.began.is_set)
    user.viewer.layers.remove(user.image)
    QTest.qWait(200)
    held.may_go_on.set()

    def is_forgotten() -> bool:
        gc.collect()
        return forgotten() is None

    wait_until(is_forgotten)


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 8))])
def test_the_cache_dialog_then_another_start_then_the_end(
    sit_down: Callable[..., User], stack: NDArray[np.uint8], tmp_path: Path, seed: int
) -> None:
    """In any order and at any moment: accepted, cancelled or left open, with the encoding under way."""
    rng = np.random.default_rng(seed)
    user = sit_down(np.concatenate([stack] * 4), axis_labels=("z", "y", "x"))
    user.start(tmp_path / "cells.zarr")
    user.panel.stack.button.click()
    user.panel.seen.cache.click()
    for answer in rng.permutation(["Ok", "Cancel", "none"]).tolist():
        user.panel.seen.cache.click()
        dialog = user.widget.findChildren(CacheDialog)[-1]
        dialog.place.setCurrentIndex(int(rng.integers(3)))
        if answer != "none":
            kind = QDialogButtonBox.StandardButton[answer]
            dialog.findChild(QDialogButtonBox).button(kind).click()
        QApplication.processEvents()
    if rng.random() < 0.7:
        user.panel.start.click()
        if rng.random() < 0.5:
            user.settle()
    user.viewer.dims.set_point(0, int(rng.integers(12)))
    user.desk.close()
    gone(user)
    assert user.widget.session is None


@pytest.mark.filterwarnings("ignore:data shape .* exceeds GL_MAX_TEXTURE_SIZE")
def test_a_start_that_is_refused_leaves_nothing(sit_down: Callable[..., User], tmp_path: Path) -> None:
    user = sit_down(np.broadcast_to(np.zeros(1, np.uint8), (2, 3, 70_000)))
    threads = own_threads()
    callbacks = [list(x) for x in (user.viewer.mouse_move_callbacks, user.image.mouse_drag_callbacks)]
    user.start(tmp_path / "cells.zarr")
    assert user.widget.session is None
    assert "The plane of 3 x 70000 pixels is larger than 65536 on a side" in user.status
    assert list(user.viewer.layers) == [user.image]
    assert [user.viewer.mouse_move_callbacks, user.image.mouse_drag_callbacks] == callbacks
    assert own_threads() == threads
    again = LabelsStore.open_or_create(tmp_path / "cells.zarr", (2, 3, 70_000), "zyx")
    assert not again.read_only, "the store was let go"
    again.close()


@pytest.mark.filterwarnings("ignore:data shape .* exceeds GL_MAX_TEXTURE_SIZE")
def test_a_plane_that_is_too_large_is_told_when_it_is_shown(
    sit_down: Callable[..., User], tmp_path: Path
) -> None:
    user = sit_down(np.broadcast_to(np.zeros(1, np.uint8), (70_000, 40, 50)))
    user.start(tmp_path / "cells.zarr")
    user.viewer.dims.order = (1, 0, 2)
    user.settle()
    assert "The plane of 70000 x 50 pixels is larger than 65536 on a side" in user.status
    assert user.session.plane.displayed == (1, 2)


@pytest.mark.parametrize("end", ["cancelled", "closed"])
def test_a_session_that_comes_too_late_lets_its_labels_go(
    sit_down: Callable[..., User],
    stack: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    """Nothing else may: the collector of garbage comes when it likes."""
    began, may_end, late = threading.Event(), threading.Event(), list[Session]()

    def opened(*arguments: Any, **named: Any) -> Session:
        late.append(open_session(*arguments, **named))
        began.set()
        assert may_end.wait(60)
        return late[0]

    monkeypatch.setattr(image_choice, "open_session", opened)
    user = sit_down(stack, axis_labels=("z", "y", "x"))
    user.panel.settings.labels.value = tmp_path / "cells.zarr"
    user.panel.start.click()
    wait_until(began.is_set)
    user.panel.cancel_requested.emit() if end == "cancelled" else user.desk.close()
    may_end.set()
    wait_until(lambda: bool(late[0].store.read_only))
    again = LabelsStore.open(tmp_path / "cells.zarr")
    assert not again.read_only and user.widget.session is None
    again.close()
