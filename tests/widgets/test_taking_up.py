"""An object that is taken up, to be refined: where that cannot be, and inside which object it may lie."""

from __future__ import annotations

import numpy as np

from widgets.conftest import DISCS, disc
from widgets.driving import User


def test_a_label_that_no_ledger_knows_is_refused_and_the_click_stays(user: User) -> None:
    """Another program has written it into the array."""
    user.session.store.array[0, 70:90, 10:30] = 9
    user.layer("cells labels").refresh()
    user.double_click(0, 80, 20)
    assert "There is no object 9" in user.status
    assert user.session.target is None and len(user.session.prompt.points) == 1
    assert len(user.layer("SAM points").data) == 1


def test_an_object_that_would_replace_an_unfinished_prompt_is_refused_and_both_prompts_stay(
    user: User,
) -> None:
    """The object's pixels here are in no ledger, so that it would be taken up where its prompt is."""
    user.go_to(0, 1)
    user.click(1, *DISCS[1][:2])
    user.press("C")
    user.session.add_point((85, 20))
    user.go_to(0, 0)
    user.session.store.array[0, 70:90, 10:30] = 1
    user.layer("cells labels").refresh()
    user.double_click(0, 80, 20)
    assert "Commit or clear the prompt of the plane z 1 first" in user.status
    assert user.session.plane.position[0] == 0 and user.session.target is None
    assert len(user.session.prompt.points) == 1
    user.go_to(0, 1)
    assert user.session.prompt.points == ((85, 20),)


def test_an_object_is_refined_inside_the_other_one_under_its_mask(user: User) -> None:
    """Most of the mask lies on the object itself, which it cannot lie inside of."""
    row, column, radius = DISCS[0]
    store = user.session.store
    store.commit(user.session.plane, disc((row, column), radius + 9))
    user.panel.prompting.overlap.mode.setCurrentIndex(2)
    user.click(0, row, column)
    user.press("C")
    nucleus = np.asarray(user.session.labels[0]) == 2
    assert user.status == "Committed as label 2." and nucleus.any()
    user.session.take_up(2)
    user.session.add_point((row + radius + 4, column))
    user.settle()
    preview = user.session.preview
    assert preview is not None and np.count_nonzero(preview.mask & nucleus) * 2 > preview.mask.sum()
    user.press("C")
    assert user.status == "Committed as label 2."
    refined = np.asarray(user.session.labels[0]) == 2
    np.testing.assert_array_equal(refined, preview.mask & disc((row, column), radius + 9))


def test_an_object_that_lies_in_no_other_cannot_be_refined_inside_one(user: User) -> None:
    user.click(0, *DISCS[0][:2])
    user.press("C")
    user.session.take_up(1)
    user.settle()
    user.panel.prompting.overlap.mode.setCurrentIndex(2)
    user.press("C")
    assert "There is no other object under the mask" in user.status
