"""Thresholds, suppression and limits choose among proposals, and say what they took."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from napari_sam.inference.proposals import LEARNED, Proposals, Selection
from napari_sam.runs import MaskRuns

SHAPE = (100, 120)


def box_mask(box: tuple[int, int, int, int], hole: bool = False) -> MaskRuns:
    """Make the mask that fills a box, but for a pixel in its middle if asked for."""
    mask = np.zeros(SHAPE, bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    if hole:
        mask[(box[0] + box[2]) // 2, (box[1] + box[3]) // 2] = False
    runs = MaskRuns.of(mask)
    assert runs is not None
    return runs


def proposals(*found: tuple[MaskRuns, float, float], **more: object) -> Proposals:
    """Make proposals of (mask, score, stability) of the whole plane."""
    masks = tuple(mask for mask, _, _ in found)
    whole = Proposals(
        SHAPE,
        masks,
        np.array([score for _, score, _ in found], np.float32),
        np.array([stability for _, _, stability in found], np.float32),
        np.array([mask.area for mask in masks], np.int64),
        np.array([mask.box for mask in masks], np.int64).reshape(-1, 4),
        np.zeros((len(masks), 2)),
        np.tile(np.array([0, 0, *SHAPE]), (len(masks), 1)),
    )
    return replace(whole, **more)


A, B, C = (box_mask((10, at, 30, at + 20)) for at in (10, 50, 90))
NEAR_A = box_mask((11, 11, 31, 31))


def test_the_defaults_are_the_paper_s() -> None:
    assert Selection() == Selection(0.88, 0.95, 0.7, 0.7, 0, 0, None)


def test_thresholds_let_better_masks_pass() -> None:
    made = proposals((A, 0.9, 0.96), (B, 0.88, 0.96), (C, 0.95, 0.94))
    chosen = made.select()
    assert chosen.masks == (A,) and chosen.indices.tolist() == [0] and chosen.message is None
    assert {name: count for name, count in chosen.removed.items() if count} == {
        "pred_iou_thresh": 1,  # the official code wants a higher score, ...
        "stability_score_thresh": 1,
    }
    assert made.select(Selection(stability_score_thresh=0.94)).masks == (C, A)  # ... but no higher stability


def test_zero_lets_all_pass() -> None:
    made = proposals((A, -0.2, 0.0), (B, 0.3, 0.5))
    assert len(made.select(Selection(pred_iou_thresh=0, stability_score_thresh=0))) == 2


def test_of_duplicates_the_better_score_stays() -> None:
    chosen = proposals((A, 0.9, 1), (NEAR_A, 0.92, 1), (B, 0.91, 1)).select()
    assert chosen.masks == (NEAR_A, B) and chosen.removed["box_nms_thresh"] == 1


def test_limits_of_the_area_count_before_suppression() -> None:
    """A mask that is too large takes no smaller one with it."""
    large = box_mask((10, 10, 32, 32))
    made = proposals((A, 0.9, 1), (large, 0.95, 1))
    assert made.select().masks == (large,)
    assert made.select(Selection(max_area=450)).masks == (A,)
    assert made.select(Selection(min_area=450)).masks == (large,)


@pytest.mark.parametrize(("prompts", "stays"), [("grid", 1), (LEARNED, 0)])
def test_between_crops_the_smaller_stays_or_of_tiles_the_better(prompts: str, stays: int) -> None:
    crops = np.array([[0, 0, *SHAPE], [0, 0, 60, 60]])
    made = proposals((A, 0.95, 1), (NEAR_A, 0.9, 1), crops=crops, crop_count=5, prompts=prompts)
    assert made.select().masks == ((A, NEAR_A)[stays],)
    assert len(made.select(Selection(crop_nms_thresh=1))) == 2


def test_small_regions_go_and_unchanged_masks_are_preferred() -> None:
    with_hole = box_mask((10, 10, 30, 30), hole=True)
    made = proposals((with_hole, 0.95, 1), (A, 0.9, 1), (box_mask((50, 50, 70, 70), hole=True), 0.9, 1))
    chosen = made.select(Selection(box_nms_thresh=1, min_mask_region_area=5, crop_nms_thresh=0.7))
    assert len(chosen) == 3  # at a threshold of 1 nothing is a duplicate
    chosen = replace(made).select(Selection(box_nms_thresh=0.999, min_mask_region_area=5))
    assert [mask.area for mask in chosen.masks] == [400, 400]
    assert chosen.removed["box_nms_thresh"] + chosen.removed["min_mask_region_area"] == 1


@pytest.mark.parametrize(
    ("selection", "blamed"),
    [
        (Selection(pred_iou_thresh=0.99), "pred_iou_thresh = 0.99 took 2"),
        (Selection(stability_score_thresh=1), "stability_score_thresh = 1 took 2"),
        (Selection(min_area=5000), "min_area = 5000 took 2"),
        (Selection(max_area=3), "max_area = 3 took 2"),
    ],
    ids=["score", "stability", "smallest", "largest"],
)
def test_where_nothing_is_left_it_says_what_took_it(selection: Selection, blamed: str) -> None:
    chosen = proposals((A, 0.9, 0.97), (B, 0.9, 0.97)).select(selection)
    assert len(chosen) == 0 and chosen.message is not None and blamed in chosen.message


def test_where_nothing_was_proposed_it_says_why() -> None:
    assert proposals(message="All is black.").select().message == "All is black."
    assert "score_floor" in str(proposals().select().message)


def test_a_threshold_below_the_floor_is_refused() -> None:
    made = proposals((A, 0.9, 0.97), score_floor=0.5, stability_floor=0.6)
    made.select(Selection(pred_iou_thresh=0.5, stability_score_thresh=0.6))
    with pytest.raises(ValueError, match=r"pred_iou_thresh is 0\.4, but proposals are kept from 0\.5"):
        made.select(Selection(pred_iou_thresh=0.4))
    with pytest.raises(ValueError, match="lower stability_floor"):
        made.select(Selection(stability_score_thresh=0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pred_iou_thresh": 1.5}, "pred_iou_thresh is 1.5"),
        ({"box_nms_thresh": float("nan")}, "box_nms_thresh is nan"),
        ({"min_mask_region_area": -1}, "min_mask_region_area is -1"),
        ({"min_area": 9, "max_area": 5}, "max_area is 5"),
    ],
    ids=str,
)
def test_impossible_selections_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Selection(**settings)


def test_three_thousand_proposals_are_filtered_while_a_slider_moves() -> None:
    rng = np.random.default_rng(0)
    corners = rng.integers(0, (80, 100), (3072, 2))
    made = proposals(
        *((box_mask((r, c, r + 12, c + 12)), rng.uniform(0.5, 1), rng.uniform(0.5, 1)) for r, c in corners)
    )
    start = time.process_time()
    made.select(Selection(pred_iou_thresh=0.5, stability_score_thresh=0.5))
    assert time.process_time() - start < 0.1
