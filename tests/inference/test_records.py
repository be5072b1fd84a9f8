"""Selected masks as Meta's generator gives them; `test_automatic` compares them with its own."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from pycocotools import mask as coco

from napari_sam.inference.proposals import Proposals, Selected, Selection
from napari_sam.inference.records import records
from napari_sam.runs import MaskRuns

SHAPE = (6, 8)
# Two of three pass, the second first.
BOXES = np.array([[0, 1, 2, 4], [2, 5, 6, 8], [4, 0, 6, 2]])


def proposed() -> tuple[Proposals, Selected]:
    """Propose boxes of a plane and its lower right part, and select the two that are good enough."""
    masks = [MaskRuns.of(np.ones((r1 - r0, c1 - c0), bool), (r0, c0)) for r0, c0, r1, c1 in BOXES.tolist()]
    proposals = Proposals(
        SHAPE,
        tuple(mask for mask in masks if mask is not None),
        np.array([0.75, 0.875, 0.25], np.float32),
        np.array([0.5, 1.0, 1.0], np.float32),
        np.array([6, 12, 4]),
        BOXES,
        np.array([[0.5, 2.0], [3.0, 6.5], [5.0, 1.0]]),
        np.array([[0, 0, 6, 8], [1, 4, 6, 8], [0, 0, 6, 8]]),
    )
    return proposals, proposals.select(Selection(pred_iou_thresh=0.5, stability_score_thresh=0.5))


def test_a_record_tells_what_the_official_one_does() -> None:
    better, other = records(*proposed(), "uncompressed_rle")
    assert better == {
        "segmentation": {"size": [6, 8], "counts": [32, 4, 2, 4, 2, 4]},
        "area": 12,
        "bbox": [5, 2, 2, 3],  # from the first pixel to the last: three columns, four rows
        "predicted_iou": 0.875,
        "point_coords": [[6.5, 3.0]],
        "stability_score": 1.0,
        "crop_box": [4, 1, 4, 5],
    }
    assert other["point_coords"] == [[2.0, 0.5]] and other["crop_box"] == [0, 0, 8, 6]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
def test_masks_are_the_same_in_all_modes() -> None:
    binary, runs, compressed = (
        [record["segmentation"] for record in records(*proposed(), mode)]
        for mode in ("binary_mask", "uncompressed_rle", "coco_rle")
    )
    assert [one["counts"] for one in compressed] == ["P142000", "624000h0"]
    for mask, counts, string in zip(binary, runs, compressed, strict=True):
        assert mask.dtype == bool and mask.shape == SHAPE
        assert_array_equal(coco.decode(string), mask)
        assert_array_equal(coco.decode(coco.frPyObjects(counts, *SHAPE)), mask)


@pytest.mark.parametrize("mode", ["uncompressed_rle", "coco_rle"])
def test_run_lengths_can_be_written_as_json(mode: Any) -> None:
    made = records(*proposed(), mode)
    assert json.loads(json.dumps(made)) == made


def test_small_regions_that_were_removed_are_in_no_record() -> None:
    proposals, _ = proposed()
    mask = np.zeros(SHAPE, bool)
    mask[0:3, 0:3] = mask[5, 7] = True
    runs = MaskRuns.of(mask)
    assert runs is not None
    changed = replace(proposals, masks=(proposals.masks[0], runs, proposals.masks[2]))
    best = records(changed, changed.select(Selection(0.8, 0.5, min_mask_region_area=2)))[0]
    assert best["area"] == 9 and best["bbox"] == [0, 0, 2, 2]


def test_nothing_selected_gives_no_record() -> None:
    proposals, _ = proposed()
    assert records(proposals, proposals.select(Selection(pred_iou_thresh=1))) == []


def test_an_unknown_mode_is_refused() -> None:
    mode: Any = "png"
    with pytest.raises(ValueError, match="output_mode 'png' is unknown; choose one of binary_mask, uncompr"):
        records(*proposed(), mode)


def test_masks_of_other_proposals_are_refused() -> None:
    proposals, selected = proposed()
    for other in (Proposals(SHAPE), replace(proposals, scores=proposals.scores[::-1])):
        with pytest.raises(ValueError, match="give the proposals whose select"):
            records(other, selected)
