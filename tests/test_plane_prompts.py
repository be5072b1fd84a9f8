"""What a changed prompt keeps of the one before it, and what it does not."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam.inference.prompts import Prompt
from napari_sam.plane import Plane
from napari_sam.plane_prompts import PlanePrompt, PlanePrompts

A, B = (3.0, 4.0), (7.0, 2.0)
FULL, EMPTY = np.ones((9, 9), bool), np.zeros((9, 9), bool)


@pytest.mark.parametrize(
    ("before", "after", "candidate", "target"),
    [
        pytest.param(Prompt([A]), Prompt([A, B]), 2, 5, id="a further point"),
        pytest.param(Prompt([A, B]), Prompt([A]), 2, 5, id="a point less"),
        pytest.param(Prompt([A]), Prompt([B]), None, 5, id="another point"),
        pytest.param(Prompt(mask=FULL), Prompt(mask=FULL.copy()), 2, 5, id="a copy of the mask"),
        pytest.param(Prompt(mask=FULL), Prompt(mask=EMPTY), None, 5, id="another mask"),
        pytest.param(Prompt([A]), Prompt(), None, None, id="nothing any more"),
    ],
)
def test_what_stays(before: Prompt, after: Prompt, candidate: int | None, target: int | None) -> None:
    changed = PlanePrompt(before, candidate=2, target=5).changed_to(after)
    assert changed.prompt == after
    assert (changed.candidate, changed.target) == (candidate, target)


def test_a_plane_keeps_nothing_of_what_is_replaced() -> None:
    prompts = PlanePrompts()
    here, there = Plane((1, 2), (0, 0, 0)), Plane((1, 2), (1, 0, 0))
    prompts[here] = PlanePrompt(Prompt([A]), candidate=2, target=5)
    prompts[there] = PlanePrompt(Prompt([B]))
    prompts[here] = PlanePrompt(Prompt([B]))
    assert (prompts[here].candidate, prompts[here].target) == (None, None)
    prompts[here] = PlanePrompt()
    assert prompts[here].prompt.is_empty and prompts[there].prompt == Prompt([B])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(Prompt([A]), Prompt([A]), True, id="points"),
        pytest.param(Prompt([A]), Prompt([B]), False, id="other points"),
        pytest.param(Prompt([A], mask=FULL), Prompt([A], mask=FULL.copy()), True, id="masks"),
        pytest.param(Prompt([A], mask=FULL), Prompt([A], mask=EMPTY), False, id="other masks"),
        pytest.param(Prompt([A], mask=FULL), Prompt([A]), False, id="a mask and none"),
    ],
)
def test_prompts_are_the_same_with_their_masks(one: Prompt, other: Prompt, same: bool) -> None:
    assert (one == other) == (other == one) == same
    assert not same or hash(one) == hash(other)
