"""Measures come from run lengths, and are those of the pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from skimage.measure import regionprops

from napari_sam.objects import centres as centres_module
from napari_sam.objects.centres import centres
from napari_sam.objects.measuring import measure_all
from napari_sam.runs import MaskRuns
from napari_sam.storage.importing import import_labels
from napari_sam.storage.ome import Geometry

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)).filter(np.any)


@given(masks=st.lists(MASKS, max_size=5))
def test_centres_are_those_of_the_pixels(masks: list[NDArray[np.bool_]]) -> None:
    runs = [MaskRuns.of(mask, (7 * number, 3)) for number, mask in enumerate(masks)]
    wanted = [np.add(np.argwhere(mask).mean(axis=0), (7 * n, 3)) for n, mask in enumerate(masks)]
    found = centres([x for x in runs if x is not None])
    assert_allclose(found, np.reshape(wanted, (-1, 2)), rtol=0, atol=1e-12)


def test_centres_of_more_masks_than_are_computed_with_together(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [MaskRuns.of(np.ones((n, 3), bool)) for n in range(1, 6)]
    monkeypatch.setattr(centres_module, "_TOGETHER", 2)
    assert_allclose(centres([x for x in runs if x is not None])[:, 0], [0, 0.5, 1, 1.5, 2])


def test_damaged_run_lengths_are_refused() -> None:
    runs = MaskRuns.of(np.ones((3, 3), bool))
    assert runs is not None
    with pytest.raises(ValueError, match="The run lengths are of 9 pixels, the mask"):
        centres([MaskRuns((0, 0, 3, 4), 9, runs.runs)])


def test_rows_are_what_scikit_image_measures(tmp_path: Path) -> None:
    spacing = (2.0, 0.5, 0.25)
    labels = np.random.default_rng(0).integers(0, 40, (3, 20, 30)).astype(np.uint32)
    store = import_labels(labels, tmp_path / "x.zarr", Geometry("zyx", spacing, units=["micrometer"] * 3))
    rows = measure_all(store.ledger, store.geometry)
    regions = regionprops(labels.astype(int), spacing=spacing)
    assert [row.label for row in rows] == [region.label for region in regions]
    assert_allclose([row.volume for row in rows], [region.area for region in regions], rtol=1e-12)
    found = np.array([row.centre for row in rows]) * spacing
    assert_allclose(found, [region.centroid for region in regions], rtol=1e-12)
    assert measure_all(store.ledger, store.geometry) == rows
    store.close()
