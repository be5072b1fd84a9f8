"""Small holes and pieces go, as on the whole plane."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.ndimage import label

from napari_sam.inference.regions import without_small_regions
from napari_sam.runs import MaskRuns

planes = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(lambda shape: arrays(bool, shape))


def on_the_whole_plane(mask: NDArray[np.bool_], least: int) -> NDArray[np.bool_]:
    """Do the same without boxes: first holes, then pieces, of which the largest stays in any case."""
    result = mask.copy()
    holes, count = label(~mask, np.ones((3, 3)))
    for number in range(1, count + 1):
        if (holes == number).sum() < least:
            result[holes == number] = True
    pieces, count = label(result, np.ones((3, 3)))
    sizes = [(pieces == number).sum() for number in range(1, count + 1)]
    for number, size in enumerate(sizes, 1):
        if size < least and (max(sizes) >= least or number != 1 + int(np.argmax(sizes))):
            result[pieces == number] = False
    return result


@given(planes, st.integers(1, 30))
def test_the_box_changes_nothing(mask: NDArray[np.bool_], least: int) -> None:
    runs = MaskRuns.of(mask)
    if runs is not None:
        changed = without_small_regions(runs, mask.shape, least)
        assert np.array_equal(changed.on(mask.shape), on_the_whole_plane(mask, least))


def test_a_mask_without_small_regions_is_the_same_object() -> None:
    mask = np.zeros((20, 20), bool)
    mask[4:12, 5:15] = True
    runs = MaskRuns.of(mask)
    assert runs is not None and without_small_regions(runs, mask.shape, 30) is runs
