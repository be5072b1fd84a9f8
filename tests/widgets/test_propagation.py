"""A click, Shift+C, and the object is on all its planes, while the user goes on with the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from widgets.conftest import SHAPE, disc
from widgets.driving import User, wait_until

LENGTH = 6
# Centre (row, column) and radius of the discs on each plane: two cones that grow narrower and end.
FIRST, SECOND = (50, 60), (120, 150)
RADII = (20, 18, 15, 12)


@pytest.fixture
def stack() -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    clean = np.full((LENGTH, *SHAPE), 40.0)
    for plane, radius in zip(clean, RADII, strict=False):
        plane[disc(FIRST, radius) | disc(SECOND, radius)] = 180
    return np.clip(clean + rng.normal(0, 4, (LENGTH, *SHAPE)), 0, 255).astype(np.uint8)


def planes_of(user: User, label: int) -> list[int]:
    found: list[int] = np.flatnonzero((user.session.labels[:] == label).any((1, 2))).tolist()
    return found


def request(user: User) -> None:
    """Ask for a propagation, and do not wait for it."""
    user.panel.prompting.propagate.click()


@pytest.mark.window
def test_a_click_and_a_key_make_an_object_of_all_its_planes(user: User) -> None:
    assert user.panel.prompting.propagate.text() == "Along z  [Shift+C]"
    user.click(0, *FIRST)
    user.press("Shift+C")
    assert user.status == "Label 1 is on 3 more planes, z 1 to z 3."
    assert planes_of(user, 1) == [0, 1, 2, 3]
    assert user.session.prompt.is_empty and not user.layer("SAM preview").visible
    assert not user.panel.progress.isVisible()
    shown = np.asarray(user.layer("cells labels").data)
    np.testing.assert_array_equal(shown, user.session.labels[:])

    user.go_to(0, 2)
    user.press("Ctrl+Z")
    assert user.status == "The propagation of label 1 was taken back."
    assert planes_of(user, 1) == [0]
    user.press("Ctrl+Z")
    assert planes_of(user, 1) == [] and user.session.plane.position[0] == 0
    assert len(user.session.prompt.points) == 1
    user.press("Ctrl+Shift+Z")
    user.press("Ctrl+Shift+Z")
    assert planes_of(user, 1) == [0, 1, 2, 3]


def test_what_is_selected_is_propagated_where_nothing_is_prompted(user: User) -> None:
    user.press("Shift+C")
    assert "The object 1 has no pixel on the plane z 0" in user.status
    user.session.labels[1] = 7 * disc(FIRST, 18)
    user.session.store.end_stroke()
    user.go_to(0, 1)
    user.layer("cells labels").selected_label = 7
    user.press("Shift+C")
    assert planes_of(user, 7) == [0, 1, 2, 3]


def test_the_next_object_waits_for_the_one_before(user: User) -> None:
    user.click(0, *FIRST)
    request(user)
    assert user.session.prompt.is_empty, "the next one can be clicked at once"
    user.layer("SAM points").add([0, *SECOND])
    wait_until(lambda: user.session.preview is not None)
    request(user)
    user.settle()
    assert planes_of(user, 1) == planes_of(user, 2) == [0, 1, 2, 3]
    kinds = [step.kind for step in user.session.store.ledger.steps()]
    assert sorted(kinds) == ["commit", "commit", "propagate", "propagate"]


def test_stopped_the_object_stays_on_its_plane(user: User) -> None:
    user.click(0, *FIRST)
    request(user)
    user.panel.cancel_requested.emit()
    user.settle()
    assert user.status == "Stopped; label 1 stays as it was."
    assert planes_of(user, 1) == [0]
    user.press("Shift+C")
    assert planes_of(user, 1) == [0, 1, 2, 3]


def test_several_objects_are_committed_and_propagated_one_after_the_other(user: User) -> None:
    user.press("N")
    user.click(0, *FIRST)
    user.click(0, *SECOND)
    user.press("Shift+C")
    assert user.status == "Of 2 objects 2 are on other planes too."
    assert planes_of(user, 1) == planes_of(user, 2) == [0, 1, 2, 3]
    assert len(user.layer("SAM points").data) == 0


def test_a_stop_is_for_those_that_wait_too(user: User) -> None:
    user.press("N")
    user.click(0, *FIRST)
    user.click(0, *SECOND)
    user.panel.prompting.propagate.click()
    wait_until(lambda: "objects are looked for" in user.status)
    user.panel.cancel_requested.emit()
    user.settle()
    assert user.status == "Stopped; label 1 stays as it was, as do those that waited."
    assert planes_of(user, 1) == planes_of(user, 2) == [0]


@pytest.mark.parametrize("axes", ["yx", "pyx"])
def test_one_plane_or_separate_fields_have_no_such_button(
    sit_down: Callable[..., User], stack: NDArray[np.uint8], tmp_path: Path, axes: str
) -> None:
    user = sit_down(stack[0] if axes == "yx" else stack, axis_labels=tuple(axes))
    user.start(tmp_path / "cells.zarr")
    assert not user.panel.prompting.propagate.isVisible()
    user.click(*(() if axes == "yx" else (3,)), *FIRST)
    user.press("Shift+C")
    assert not user.session.labels[:].any()


def test_the_axis_is_the_one_that_was_moved_along_last(
    sit_down: Callable[..., User], stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    user = sit_down(np.stack([stack[:3], stack[:3]]), axis_labels=("t", "z", "y", "x"))
    user.start(tmp_path / "cells.zarr")
    assert user.panel.prompting.propagate.text() == "Along z  [Shift+C]"
    user.go_to(1, 0)
    user.go_to(0, 1)
    assert user.panel.prompting.propagate.text() == "Along t  [Shift+C]"
    user.click(1, 0, *FIRST)
    user.press("Shift+C")
    assert user.status == "Label 1 is on t 0, z 0."
    user.go_to(1, 1)
    assert user.panel.prompting.propagate.text() == "Along z  [Shift+C]"


def test_positions_and_channels_are_no_way_for_objects(
    sit_down: Callable[..., User], stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    user = sit_down(np.stack([stack[:2], stack[:2]]), axis_labels=("p", "z", "y", "x"))
    user.start(tmp_path / "cells.zarr")
    user.go_to(1, 0)
    user.go_to(0, 1)
    assert user.panel.prompting.propagate.text() == "Along z  [Shift+C]"
    user.click(1, 0, *FIRST)
    user.press("Shift+C")
    assert user.status == "Label 1 is on p 1, z 1."


def test_a_prompt_whose_mask_is_not_there_yet_is_no_other_object(user: User) -> None:
    user.click(0, *FIRST)
    user.press("C")
    user.panel.prompting.live.setChecked(False)
    user.click(0, *SECOND)
    user.press("Shift+C")
    assert user.status == "There is no mask of the prompt yet: press Predict first."
    assert planes_of(user, 1) == [0]
    user.press("J")
    user.press("Shift+C")
    assert planes_of(user, 2) == [0, 1, 2, 3] and planes_of(user, 1) == [0]


def test_what_is_no_longer_there_is_told(user: User) -> None:
    user.click(0, *FIRST)
    user.press("Shift+C")
    user.session.labels[2] = 0
    user.session.labels[2, 5:9, 5:9] = 1  # the object ends here, so says the user
    user.session.store.end_stroke()
    user.go_to(0, 2)
    user.press("Shift+C")
    assert user.status.startswith("Label 1 does not go on to the planes beside it.")
    assert user.status.endswith("It is no longer on z 3.")
    assert planes_of(user, 1) == [0, 1, 2]


def test_an_annotation_that_is_stopped_in_the_middle_leaves_the_click(user: User) -> None:
    user.click(0, *FIRST)
    session = user.session
    request(user)
    user.widget.stop()
    wait_until(lambda: not user.widget.is_busy)
    there = np.flatnonzero((np.asarray(session.store.array[:]) == 1).any((1, 2))).tolist()
    assert there in ([0], [0, 1, 2, 3]), "all or nothing"
