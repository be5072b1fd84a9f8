"""Suppression keeps the preferred of boxes that overlap."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_sam.inference.suppression import suppress_boxes

starts, sizes = st.integers(0, 20), st.integers(1, 20)
boxes = st.tuples(starts, starts, sizes, sizes).map(lambda x: (x[0], x[1], x[0] + x[2], x[1] + x[3]))


def iou(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """Compute the IoU of two boxes between the middles of their first and last pixels, one by one."""
    height = max(0, min(a[2], b[2]) - max(a[0], b[0]) - 1)
    width = max(0, min(a[3], b[3]) - max(a[1], b[1]) - 1)
    areas = [(x[2] - x[0] - 1) * (x[3] - x[1] - 1) for x in (a, b)]
    union = sum(areas) - height * width
    return height * width / union if union else 0.0


@given(st.lists(st.tuples(boxes, st.integers(0, 5)), max_size=12), st.sampled_from([0.0, 0.3, 0.7]))
def test_it_is_greedy(found: list[tuple[tuple[int, int, int, int], int]], threshold: float) -> None:
    kept: list[int] = []
    for i in sorted(range(len(found)), key=lambda i: -found[i][1]):  # equal ones in their order
        if all(iou(found[i][0], found[k][0]) <= threshold for k in kept):
            kept.append(i)
    where = np.array([box for box, _ in found], np.int64).reshape(-1, 4)
    preference = np.array([score for _, score in found], float)
    assert suppress_boxes(where, preference, threshold).tolist() == kept
