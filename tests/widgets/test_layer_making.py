"""A session's layers come one in each turn of the event loop; what ends between two turns leaves nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qtpy.QtTest import QTest

import napari_sam
from napari_sam.annotation import Session
from napari_sam.storage.labels import LabelsStore
from napari_sam.widgets import made_layers
from napari_sam.widgets.layer_making import LayerMaking
from widgets.conftest import DISCS, SCALE, SHAPE, TRANSLATE
from widgets.driving import User, wait_until

# The same between other turns, of which one stands for all where time is short.
slow = partial(pytest.param, marks=pytest.mark.slow)

NAMES = ["cells", "SAM preview", "SAM points", "SAM boxes", "SAM hover"]


def names(user: User) -> list[str]:
    return [layer.name for layer in user.viewer.layers]


class Turns:
    """Someone who presses the button, and what was there at the end of each turn."""

    def __init__(self, user: User, labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.user, self.labels = user, labels
        self.seen: list[list[str]] = []
        self.sessions: list[Session] = []
        self._between: dict[int, Callable[[], None]] = {}
        turn, begin = LayerMaking._on_turn, LayerMaking.__init__
        self._connections = len(user.image.events.scale.callbacks)

        def noted_begin(making: LayerMaking, *arguments: Any) -> None:
            begin(making, *arguments)
            self.sessions.append(arguments[2])

        def noted_turn(making: LayerMaking) -> None:
            turn(making)
            self.seen.append(names(user))
            self._between.pop(len(self.seen), lambda: None)()

        monkeypatch.setattr(LayerMaking, "__init__", noted_begin)
        monkeypatch.setattr(LayerMaking, "_on_turn", noted_turn)

    def press_start(self, after: int = 0, do: Callable[[], None] = lambda: None) -> None:
        """Press the button, so as to ``do`` something after so many turns."""
        self._between[after] = do
        self.user.panel.settings.labels.value = self.labels
        self.user.panel.start.click()

    def start(self, after: int = 0, do: Callable[[], None] = lambda: None) -> None:
        """Press it, and wait for what comes of it."""
        self.press_start(after, do)
        self.user.settle()

    def assert_nothing_is_left(self, layers: list[str]) -> None:
        """Nothing of the session that was being started is there, and its labels are free."""
        user = self.user
        assert names(user) == layers and user.widget.session is None and not user.widget.is_busy
        assert user.panel.start.isEnabled() and not user.panel.prompting.isEnabled()
        assert all(session.store.read_only for session in self.sessions), "let go"
        again = LabelsStore.open(self.labels)
        assert not again.read_only
        again.close()
        # Of a layer that is removed napari lets go itself.
        assert len(user.image.events.scale.callbacks) <= self._connections


@pytest.fixture
def turns(
    sit_down: Callable[..., User],
    stack: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Turns:
    user = sit_down(stack, scale=SCALE, translate=TRANSLATE, axis_labels=("z", "y", "x"))
    return Turns(user, tmp_path / "one.zarr", monkeypatch)


def test_each_turn_adds_one_layer_and_the_session_begins_after_all(turns: Turns) -> None:
    widget, begun = turns.user.widget, []

    def look() -> None:
        begun.append(widget.session is not None)
        assert widget.is_busy and not turns.user.panel.start.isEnabled()
        assert not turns.user.layer("one").editable, "no stroke is lost before they are recorded"
        with pytest.raises(ValueError, match="No annotation runs"):
            napari_sam.session(turns.user.viewer)

    for turn in range(1, 6):
        turns._between[turn] = look
    turns.start()
    every = ["cells", "one", *NAMES[1:]]
    assert turns.seen == [every[: n + 2] for n in range(5)] + [every]
    assert begun == [False] * 5
    assert turns.user.session.store.path == turns.labels and turns.user.layer("one").editable
    turns.user.click(0, *DISCS[0][:2])
    assert turns.user.session.preview is not None


@pytest.mark.parametrize(
    ("after", "end"),
    [(0, "stop"), slow(0, "cancel"), (1, "cancel"), slow(3, "cancel"), slow(4, "stop"), (5, "stop")],
)
def test_a_stop_between_two_turns_leaves_nothing(turns: Turns, after: int, end: str) -> None:
    user = turns.user

    def stop() -> None:
        user.widget.stop() if end == "stop" else user.panel.cancel_requested.emit()

    turns.press_start(after, stop)
    if after == 0:
        wait_until(lambda: len(turns.sessions) > 0)
        stop()
    user.settle()
    assert len(turns.seen) == after
    turns.assert_nothing_is_left(["cells", "one"][: 1 + after])
    assert end == "stop" or user.status == "Stopped."
    turns.start()
    assert user.session.store.path == turns.labels and len(names(user)) == 6


@pytest.mark.window
@pytest.mark.parametrize("after", [slow(1), 3, slow(5)])
def test_a_window_that_closes_between_two_turns_takes_all_along(turns: Turns, after: int) -> None:
    turns.press_start(after, turns.user.desk.close)
    wait_until(lambda: len(turns.seen) == after)
    QTest.qWait(100)
    assert len(turns.seen) == after and turns.user.widget.session is None
    assert turns.sessions[0].store.read_only, "let go"
    again = LabelsStore.open(turns.labels)
    assert not again.read_only
    again.close()


@pytest.mark.parametrize("after", [slow(1), slow(2), 5])
def test_an_image_that_goes_between_two_turns_is_told(turns: Turns, after: int) -> None:
    turns.start(after, lambda: turns.user.viewer.layers.remove(turns.user.image))
    assert len(turns.seen) == after + 1
    turns.assert_nothing_is_left(["one"])
    assert turns.user.status == "The image 'cells' is gone; choose another one."


def test_all_layers_that_go_at_once_between_two_turns(turns: Turns) -> None:
    turns.start(4, turns.user.viewer.layers.clear)
    turns.assert_nothing_is_left([])


@pytest.mark.parametrize(("after", "name"), [(2, "one"), (5, "SAM preview"), slow(5, "SAM points")])
def test_a_layer_that_goes_before_the_session_begins_is_told(turns: Turns, after: int, name: str) -> None:
    turns.start(after, lambda: turns.user.viewer.layers.remove(name))
    turns.assert_nothing_is_left(["cells"] if name == "one" else ["cells", "one"])
    assert turns.user.status == f"The layer {name!r} was removed and the annotation did not start."


@pytest.mark.parametrize("shape", [(2, *SHAPE), SHAPE, slow((2, 3, *SHAPE))], ids=str)
def test_an_array_of_another_shape_between_two_turns_is_told(turns: Turns, shape: tuple[int, ...]) -> None:
    def replace() -> None:
        turns.user.image.data = np.zeros(shape, np.uint8)

    turns.start(2, replace)
    turns.assert_nothing_is_left(["cells", "one"])
    assert f"'cells' has another shape now, {shape}" in turns.user.status


def test_another_start_between_two_turns_begins_with_other_choices(turns: Turns, tmp_path: Path) -> None:
    def start() -> None:
        turns.user.panel.settings.labels.value = tmp_path / "two.zarr"
        turns.user.widget.start()

    turns.start(3, start)
    assert names(turns.user) == ["cells", "one", "two", *NAMES[1:]]
    first, second = turns.sessions
    assert first.store.read_only and turns.user.session is second and not second.store.read_only


def test_axes_typed_between_two_turns_take_effect(turns: Turns) -> None:
    turns.start(2, lambda: turns.user.panel.settings.axes_typed.emit("tyx"))
    assert turns.user.session.planes.axes == "tyx" and len(turns.sessions) == 2
    assert len(names(turns.user)) == 6


def test_somebody_who_listens_to_the_viewer_stops_in_the_midst_of_a_turn(turns: Turns) -> None:
    def stop(event: Any) -> None:
        if event.value.name == "SAM points":
            turns.user.widget.stop()

    turns.user.viewer.layers.events.inserted.connect(stop)
    turns.start()
    turns.user.viewer.layers.events.inserted.disconnect(stop)
    turns.assert_nothing_is_left(["cells", "one"])


def test_a_layer_that_cannot_be_made_is_told(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError("no room for points")

    monkeypatch.setattr(made_layers, "made_points", fail)
    turns.start()
    turns.assert_nothing_is_left(["cells", "one"])
    assert turns.user.status == "no room for points"


def test_what_is_drawn_or_moved_between_two_turns_counts(turns: Turns) -> None:
    user = turns.user

    def change() -> None:
        user.image.translate = (10.0, 50.0, 5.0)
        user.layer("SAM points").add(user.image.data_to_world((0, *DISCS[0][:2])) - np.array(TRANSLATE))

    turns.start(4, change)
    user.go_to(0, 0)
    for name in ("one", "SAM points", "SAM boxes"):
        np.testing.assert_array_equal(user.layer(name).translate, (10, 50, 5))


def test_prompts_that_were_drawn_before_a_stop_stay_for_the_next_start(turns: Turns) -> None:
    user = turns.user

    def draw() -> None:
        user.layer("SAM points").add((0, *DISCS[0][:2]))
        user.widget.stop()

    turns.start(4, draw)
    turns.assert_nothing_is_left(["cells", "one", "SAM points"])
    turns.start()
    user.go_to(0, 0)
    assert len(user.session.prompt.points) == 1 and user.session.preview is not None


def test_labels_that_an_earlier_session_left_stay_when_the_next_one_is_stopped(turns: Turns) -> None:
    turns.start()
    user, labels = turns.user, turns.user.layer("one")
    user.widget.stop()
    seen = len(turns.seen)
    turns.start(seen + 3, user.widget.stop)
    assert names(user) == ["cells", "one"] and user.layer("one") is labels and not labels.editable
    turns.start()
    assert user.layer("one") is labels and labels.editable
