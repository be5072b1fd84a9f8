"""Agreement of found and true objects."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from napari_sam.matching import Agreement, Matching


def squares(*corners: tuple[int, int], side: int = 10) -> np.ndarray:
    """Draw squares with these first pixels, numbered from 1 on."""
    labels = np.zeros((60, 60), np.int32)
    for number, (row, column) in enumerate(corners, 1):
        labels[row : row + side, column : column + side] = number
    return labels


def test_the_same_objects_agree_whatever_their_numbers() -> None:
    truth = squares((5, 5), (30, 30))
    matching = Matching.of(7 * truth, truth)
    assert matching.hits(0.95) == matching.found == matching.true == 2
    assert matching.accuracy == pytest.approx(1)


def test_a_shifted_object_counts_up_to_its_iou() -> None:
    """Two of ten rows off: IoU 80 / 120."""
    matching = Matching.of(squares((7, 5)), squares((5, 5)))
    assert matching.ious == pytest.approx([80 / 120])
    assert (matching.hits(0.65), matching.hits(0.7)) == (1, 0)
    assert matching.accuracy == pytest.approx(4 / 10)  # passes 0.5, 0.55, 0.6 and 0.65


def test_precision_recall_and_f1_are_of_all_objects_together() -> None:
    missed = Matching.of(squares(), squares((5, 5), (30, 30)))
    half = Matching.of(squares((5, 5), (40, 10), (10, 40)), squares((5, 5), (30, 30)))
    result = Agreement.of([missed, half])
    assert (result.precision, result.recall) == pytest.approx((1 / 3, 1 / 4))
    assert result.f1 == pytest.approx(2 / 7)
    assert result.accuracy == pytest.approx((0 + 1 / 4) / 2)


def test_nothing_found_in_nothing_is_right() -> None:
    nothing = Matching.of(squares(), squares())
    assert nothing.accuracy == 1 and Agreement.of([nothing]).f1 == 0


def test_of_no_images_all_is_0() -> None:
    assert Agreement.of([]) == Agreement(precision=0, recall=0, f1=0, accuracy=0)


def test_labels_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(60, 60\)"):
        Matching.of(squares(), np.zeros((3, 3), int))


def every_pair_compared(found: NDArray[np.int8], truth: NDArray[np.int8]) -> list[float]:
    """Give the IoUs above a half, of all found with all true objects."""
    ious = []
    for ours in np.unique(found[found != 0]):
        for theirs in np.unique(truth[truth != 0]):
            a, b = found == ours, truth == theirs
            ious.append(float((a & b).sum() / (a | b).sum()))
    return [iou for iou in ious if iou > 0.5]


label_images = arrays(np.int8, (4, 5), elements=st.integers(-1, 3))


@given(label_images, label_images, st.floats(0, 1))
def test_the_ious_are_those_of_a_table_of_all_pairs(
    found: NDArray[np.int8], other: NDArray[np.int8], share: float
) -> None:
    # Mostly alike, lest hardly an IoU be above a half.
    truth = np.where(np.arange(found.size).reshape(found.shape) < share * found.size, other, found)
    matching = Matching.of(found, truth)
    assert matching.ious.tolist() == every_pair_compared(found, truth)
    assert (matching.found, matching.true) == (
        len(np.unique(found[found != 0])),
        len(np.unique(truth[truth != 0])),
    )


def test_many_objects_take_no_table_of_all_pairs() -> None:
    """It took 33 bytes for each pair: 530 MB for these."""
    labels = np.arange(4000).reshape(40, 100)
    tracemalloc.start()
    try:
        matching = Matching.of(labels, labels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert matching.hits() == 3999
    assert peak < 2e6
