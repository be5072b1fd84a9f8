"""What is chosen while a session is being opened counts, and no session is left open beside the last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_sam.annotation import Session
from napari_sam.starting import open_session
from napari_sam.widgets import image_choice
from widgets.driving import User, wait_until


class SlowOpening:
    """Sessions that are opened, the first of them not before it is told to."""

    def __init__(self) -> None:
        self.opened = list[Session]()
        self.began, self.may_end = threading.Event(), threading.Event()

    def __call__(self, *arguments: Any, **named: Any) -> Session:
        self.opened.append(open_session(*arguments, **named))
        self.began.set()
        assert self.may_end.wait(60)
        return self.opened[-1]


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> SlowOpening:
    slow = SlowOpening()
    monkeypatch.setattr(image_choice, "open_session", slow)
    return slow


@pytest.fixture
def user(sit_down: Callable[..., User], stack: NDArray[np.uint8], opening: SlowOpening) -> User:
    """A user whose session is just being opened, with axes that were guessed."""
    someone = sit_down(stack)
    someone.panel.start.click()
    wait_until(opening.began.is_set)
    return someone


def type_axes(user: User, axes: str) -> None:
    """Replace what the field of the axes says, and press Enter."""
    field = user.panel.settings.axes.native
    field.selectAll()
    QTest.keyClick(field, Qt.Key.Key_Delete)
    QTest.keyClicks(field, axes)
    QTest.keyClick(field, Qt.Key.Key_Return)


def test_axes_typed_while_a_session_is_opened_take_effect(
    user: User, opening: SlowOpening, tmp_path: Path
) -> None:
    type_axes(user, "nyx")
    type_axes(user, "tyx")
    assert not user.panel.start.isEnabled()
    opening.may_end.set()
    user.settle()
    session, form = user.session, user.panel.settings
    assert session.planes.axes == session.store.geometry.axes == form.axes.value == "tyx"
    first, *_, last = opening.opened
    assert first.planes.axes == "zyx" and last is user.session and len(opening.opened) == 2
    assert first.store.read_only and not last.store.read_only, "the first has let its labels go"
    assert user.panel.start.isEnabled()
    assert list((tmp_path / "data").rglob("*.labels.zarr")) == [user.session.store.path]


def test_axes_that_are_emptied_are_those_that_the_layer_names(user: User, opening: SlowOpening) -> None:
    opening.may_end.set()
    type_axes(user, "tyx")
    user.settle()
    session = user.session
    type_axes(user, "")
    user.settle()
    assert user.session is session and user.panel.settings.axes.value == "tyx", (
        "what would be guessed is no better"
    )
    user.image.axis_labels = ("z", "y", "x")
    type_axes(user, "tyx")
    type_axes(user, "")
    user.settle()
    assert user.session.planes.axes == user.panel.settings.axes.value == "zyx"


def test_axes_typed_after_stop_wait_for_the_next_start(user: User, opening: SlowOpening) -> None:
    user.panel.cancel_requested.emit()
    type_axes(user, "tyx")
    opening.may_end.set()
    user.settle()
    assert user.widget.session is None and len(opening.opened) == 1
    user.panel.start.click()
    user.settle()
    assert user.session.planes.axes == "tyx" and not user.session.store.read_only


def test_axes_of_another_image_leave_what_is_opened_alone(
    user: User, stack: NDArray[np.uint8], opening: SlowOpening
) -> None:
    user.panel.settings.image.value = user.viewer.add_image(stack, name="other")
    type_axes(user, "tyx")
    opening.may_end.set()
    user.settle()
    assert user.session.planes.axes == "zyx" and len(opening.opened) == 1
