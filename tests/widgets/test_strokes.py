"""What the mouse draws in the labels while the store refuses it: it is told, and napari's tool goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from napari.utils.key_bindings import coerce_keybinding

from napari_sam.storage.errors import LabelsError
from napari_sam.storage.labels import LabelsStore
from widgets.conftest import disc
from widgets.driving import User
from widgets.table_driving import Held


class Writing(Held):
    """Another thread that writes into a store until it may go on."""

    def begin(self, store: LabelsStore) -> None:
        threading.Thread(target=self._write, args=[store]).start()
        assert self.began.wait(60)

    def end(self) -> None:
        self.may_go_on.set()
        for thread in self.threads:
            thread.join()

    def _write(self, store: LabelsStore) -> None:
        with store.writing():
            self.wait()


@pytest.fixture
def writing() -> Iterator[Writing]:
    made = Writing()
    yield made
    made.end()


@pytest.fixture
def user(user: User) -> User:
    """A user whose labels hold one object, and are what the mouse draws in."""
    user.session.store.commit(user.session.plane, disc((80, 60), 12))
    labels = user.layer("cells labels")
    labels.selected_label = 7
    user.viewer.layers.selection.active = labels
    return user


def polygon(user: User) -> None:
    for place in ((70, 50), (70, 90), (90, 90)):
        user.click(0, *place)
    user.double_click(0, 90, 50)


TOOLS = [
    pytest.param("paint", lambda user: user.drag((0, 80, 50), (0, 80, 90)), id="brush"),
    pytest.param("erase", lambda user: user.drag((0, 80, 50), (0, 80, 90)), id="eraser"),
    pytest.param("fill", lambda user: user.click(0, 80, 60), id="fill"),
    pytest.param("polygon", polygon, id="polygon", marks=pytest.mark.window),
]


@pytest.mark.parametrize(("tool", "draw"), TOOLS)
def test_a_stroke_while_another_thread_writes_is_told_and_the_next_one_is_written(
    user: User, writing: Writing, tool: str, draw: Callable[[User], None]
) -> None:
    labels, store = user.layer("cells labels"), user.session.store
    labels.mode = tool
    before = store.array[0]
    writing.begin(store)
    draw(user)
    assert "are being written; wait until that is done" in user.status
    np.testing.assert_array_equal(store.array[0], before)
    np.testing.assert_array_equal(labels._slice.image.raw, before)
    assert labels.mode == tool and not labels._block_history and labels.editable
    writing.end()
    draw(user)
    after = store.array[0]
    assert (after != before).any()
    np.testing.assert_array_equal(labels._slice.image.raw, after)
    assert [step.kind for step in store.ledger.steps()] == ["commit", "brush"]
    store.undo()
    np.testing.assert_array_equal(store.array[0], before)


def test_a_stroke_is_refused_once(user: User, writing: Writing, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("napari_sam.widgets.telling.show_error", told.append)
    user.layer("cells labels").mode = "paint"
    writing.begin(user.session.store)
    user.drag((0, 80, 50), (0, 80, 90))
    assert len(told) == 1
    user.drag((0, 70, 50), (0, 70, 90))
    assert len(told) == 2


def test_a_script_that_writes_while_another_thread_does_gets_the_error(user: User, writing: Writing) -> None:
    labels = user.layer("cells labels")
    labels.mode = "paint"
    writing.begin(user.session.store)
    user.drag((0, 80, 50), (0, 80, 90))
    for array in (user.session.labels, labels.data):
        with pytest.raises(LabelsError, match="are being written"):
            array[0, :9, :9] = 3
    with pytest.raises(LabelsError, match="are being written"):
        labels.paint((0, 80, 60), 3)


def test_a_session_that_ends_leaves_naparis_callbacks_as_they_were(user: User) -> None:
    labels = user.layer("cells labels")
    labels.mode = "pan_zoom"
    user.widget.let_go()
    callbacks = (
        labels.mouse_drag_callbacks,
        labels.mouse_move_callbacks,
        labels.mouse_double_click_callbacks,
    )
    assert not any("napari_sam" in getattr(x, "__module__", "") for some in callbacks for x in some)


def test_a_key_of_napari_gives_the_brush_a_new_label(user: User) -> None:
    labels = user.layer("cells labels")
    key = coerce_keybinding("M")
    labels.keymap[key](labels)
    assert labels.selected_label == 2 and "a new object, label 2" in user.status
    labels.mode = "paint"
    user.drag((0, 150, 50), (0, 150, 90))
    labels.keymap[key](labels)
    assert labels.selected_label == 3
    user.widget.stop()
    assert key not in labels.keymap
