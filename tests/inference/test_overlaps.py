"""Overlapping masks become labels by the chosen rule."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam.inference.overlaps import Rule, label_image
from napari_sam.inference.proposals import Selected
from napari_sam.runs import MaskRuns


def selected(*boxes: tuple[int, int, int, int]) -> Selected:
    """Make masks that fill boxes, the first with the highest score."""
    masks = tuple(MaskRuns.of(np.ones((b[2] - b[0], b[3] - b[1]), bool), (b[0], b[1])) for b in boxes)
    scores = np.linspace(0.9, 0.5, len(boxes)).astype(np.float32)
    return Selected((20, 30), np.arange(len(boxes)), tuple(m for m in masks if m), scores, {}, None)


LARGE_AND_SMALL = selected((0, 0, 10, 10), (5, 5, 8, 8))


def test_the_smaller_mask_is_on_top() -> None:
    labels = label_image(LARGE_AND_SMALL)
    assert labels.dtype == np.int32 and labels.shape == (20, 30)
    assert np.bincount(labels.ravel()).tolist() == [600 - 100, 100 - 9, 9]


def test_the_higher_score_is_on_top() -> None:
    assert np.bincount(label_image(LARGE_AND_SMALL, "score").ravel()).tolist() == [500, 100]


@pytest.mark.parametrize("rule", ["smaller", "score"])
def test_of_equal_masks_the_better_one_is_on_top(rule: Rule) -> None:
    alike = selected((0, 0, 6, 6), (0, 3, 6, 9))
    alike.scores[:] = 0.8 if rule == "score" else alike.scores
    labels = label_image(alike, rule)
    assert labels[2, 4] == 1 and labels[2, 7] == 2


def test_masks_are_painted_with_what_is_given() -> None:
    assert np.unique(label_image(LARGE_AND_SMALL, values=np.array([7, 40]))).tolist() == [0, 7, 40]


def test_the_first_mask_is_not_the_background() -> None:
    labels = label_image(selected((0, 0, 4, 4), (10, 10, 12, 12)))
    assert labels[0, 0] == 1 and labels[11, 11] == 2 and labels[8, 8] == 0


def test_nothing_selected_is_all_background() -> None:
    assert not label_image(selected()).any()


def test_another_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="'larger' is unknown; choose one of smaller, score"):
        label_image(LARGE_AND_SMALL, "larger")  # type: ignore[arg-type]
