"""Automatic masks become objects, and nothing that is annotated is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from automatic.discs import SHAPE, disc, proposals_of
from napari_sam.annotation import Session
from napari_sam.automatic.masks import PlaneMasks, lies_outside, within, without
from napari_sam.automatic.writing import commit_masks, reasons, write_masks
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.proposals import Selection
from napari_sam.plane import Plane

PLANE = Plane((1, 2), (1, 0, 0))


def masks_of(masks: Sequence[NDArray[np.bool_]], plane: Plane = PLANE, **options: object) -> PlaneMasks:
    proposals = proposals_of(masks)
    return PlaneMasks.of(plane, proposals, proposals.select(Selection(box_nms_thresh=1)), **options)  # type: ignore[arg-type]


def test_all_masks_are_one_step(session: Session) -> None:
    steps: list[object] = []
    session.committed.connect(steps.append)
    step = commit_masks(session, [masks_of([disc(20, 20), disc(60, 60)])])
    assert (step.kind, step.label, steps) == ("automatic", None, [step])
    assert np.unique(session.labels[1]).tolist() == [0, 1, 2]
    assert [row.label for row in session.objects.rows()] == [1, 2]
    assert not session.labels[0].any()
    session.undo()
    assert not session.labels[1].any() and session.prompt == Prompt()
    session.redo()
    assert np.unique(session.labels[1]).tolist() == [0, 1, 2]


def test_what_is_left_out_is_counted_by_the_reason(session: Session) -> None:
    commit_masks(session, [masks_of([disc(20, 20)])])
    found = masks_of([disc(20, 20), disc(60, 60), disc(20, 60), disc(60, 20)])
    region = np.ones(SHAPE, np.bool_)
    region[:, 40:] = False
    numbers = np.array([1, 2, 0, 3])
    written = write_masks(session, [found], [numbers], region=region)
    assert written.object_count == 1 and written.step.kind == "automatic"
    assert written.left_out == {"annotated already": 1, "outside the region": 1}, "what is rejected is not"
    assert reasons(written.left_out) == "1 annotated already, 1 outside the region"


def test_the_ledger_knows_how_they_were_made(session: Session) -> None:
    commit_masks(session, [masks_of([disc(20, 30)])])
    (origin,) = session.store.ledger.origins()
    assert (origin.making.source, origin.making.model) == ("automatic", "nano")
    assert origin.making.prompt.points == ((20, 30),)
    assert origin.making.score == pytest.approx(0.95)
    assert np.array_equal(origin.mask.on(SHAPE), disc(20, 30))


def test_a_point_of_a_grid_beside_the_plane_can_be_predicted_from(session: Session) -> None:
    """The last row of the paper's grid lies beside planes that are much wider than high."""
    height = SHAPE[0]
    masks = replace(masks_of([disc(height - 6, 30)]), points=np.array([[height - 0.4, 30.0]]))
    commit_masks(session, [masks])
    (origin,) = session.store.ledger.origins()
    assert origin.making.prompt.points == ((height - 1, 30),)
    session.show(PLANE)
    session.take_up(origin.label)
    assert session.predict() is not None


def test_undo_stays_on_a_plane_that_changed(session: Session) -> None:
    other = Plane((1, 2), (3, 0, 0))
    commit_masks(session, [masks_of([disc(20, 20)]), masks_of([disc(20, 20)], other)])
    session.go_to(z=3)
    session.undo()
    assert session.plane == other


def test_masks_of_one_object_share_its_label(session: Session) -> None:
    planes = [Plane((1, 2), (z, 0, 0)) for z in range(2)]
    found = [masks_of([disc(20, 20), disc(60, 60 + 3 * z)], plane) for z, plane in enumerate(planes)]
    numbers = [np.array([1, 2]), np.array([0, 2])]
    commit_masks(session, found, numbers)
    assert (session.labels[0, 20, 20], session.labels[1, 20, 20]) == (1, 0)
    assert session.labels[0, 60, 60] == session.labels[1, 60, 60] == 2


@pytest.fixture
def annotated(session: Session) -> Session:
    """A session with an object, number 1, on the plane."""
    session.store.commit(PLANE, disc(30, 30))
    return session


def test_what_is_annotated_is_kept(annotated: Session) -> None:
    commit_masks(annotated, [masks_of([disc(30, 45), disc(31, 31, 12)])])
    now = annotated.labels[1]
    assert np.array_equal(now == 1, disc(30, 30))
    assert np.array_equal(now == 2, disc(30, 45) & ~disc(30, 30))
    assert now.max() == 2, "the mask that is mostly annotated already is left out"


def test_what_is_annotated_is_replaced_where_that_is_asked_for(annotated: Session) -> None:
    annotated.store.commit(PLANE, disc(70, 70))
    commit_masks(annotated, [masks_of([disc(34, 30), disc(70, 88)])], annotated="replace")
    now = annotated.labels[1]
    assert not (now == 1).any(), "an object that lost most of its pixels goes as a whole"
    assert np.array_equal(now == 2, disc(70, 70) & ~disc(70, 88))
    assert np.array_equal(now == 3, disc(70, 88)) or np.array_equal(now == 4, disc(70, 88))
    annotated.undo()
    assert np.array_equal(annotated.labels[1] == 1, disc(30, 30))


@pytest.mark.parametrize("annotated_rule", ["keep", "replace"])
def test_outside_the_region_nothing_changes(annotated: Session, annotated_rule: str) -> None:
    region = np.zeros(SHAPE, bool)
    region[:, :40] = True
    before = np.array(annotated.labels[1])
    found = masks_of([disc(30, 34), disc(70, 36), disc(70, 90), disc(10, 45)])
    commit_masks(annotated, [found], annotated=annotated_rule, region=region)  # type: ignore[arg-type]
    now = annotated.labels[1]
    assert np.array_equal(now[~region], before[~region])
    new = now[70, 36]
    assert new > 1 and np.array_equal(now == new, disc(70, 36) & region)
    assert now[70, 90] == 0 and not now[disc(10, 45) & region].any()


@pytest.mark.parametrize(("columns", "stays"), [(20, False), (21, True)])
def test_of_what_half_lies_outside_the_selection_and_the_writing_say_the_same(
    session: Session, columns: int, stays: bool
) -> None:
    region, mask = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    region[:, :columns] = True
    mask[50:60, :40] = True
    assert lies_outside(mask, region) is not stays
    selected = proposals_of([mask]).select(Selection())
    assert len(selected) == 1 and len(within(selected, region)) == stays
    if stays:
        commit_masks(session, [masks_of([mask])], region=region)
    else:
        with pytest.raises(ValueError, match="1 outside the region"):
            commit_masks(session, [masks_of([mask])], region=region)
    assert np.array_equal(session.labels[1] > 0, mask & region & stays)


def test_masks_in_planes_that_lie_otherwise_are_written_where_they_are(
    open_session: Callable[..., Session], stack: NDArray[np.uint8]
) -> None:
    session = open_session(np.moveaxis(stack, 0, 1), "yzx")
    plane = Plane((0, 2), (0, 2, 0))
    commit_masks(session, [masks_of([disc(20, 30)], plane)])
    assert np.array_equal(session.labels[:, 2] == 1, disc(20, 30))
    session.undo()
    assert not session.labels[...].any()


@pytest.mark.parametrize(
    ("masks", "options", "reason"),
    [
        ([], {}, "no masks to commit"),
        ([disc(30, 30)], {}, "1 annotated already"),
        ([disc(70, 70)], {"region": np.zeros(SHAPE, bool)}, "1 outside the region"),
        ([disc(70, 70)], {"numbers": [np.array([0])]}, "1 of no accepted object"),
        ([disc(70, 70)], {"region": np.ones((3, 4), bool)}, r"shape \(3, 4\)"),
        ([disc(70, 70)], {"annotated": "merge"}, "merge"),
    ],
    ids=["no masks", "annotated", "outside", "rejected", "region's shape", "unknown word"],
)
def test_where_nothing_is_left_it_is_said_why(
    annotated: Session, masks: list[NDArray[np.bool_]], options: dict[str, object], reason: str
) -> None:
    before = np.array(annotated.labels[1])
    with pytest.raises(ValueError, match=reason):
        commit_masks(annotated, [masks_of(masks)], **options)  # type: ignore[arg-type]
    assert np.array_equal(annotated.labels[1], before)


def test_a_rejected_mask_covers_nothing() -> None:
    large, small = disc(40, 40, 20), disc(40, 40, 6)
    both, one = masks_of([large, small]), masks_of([large, small], rejected={1})
    assert sorted(x.area for x in both.masks) == sorted([small.sum(), (large & ~small).sum()])
    assert [x.area for x in one.masks] == [large.sum()] and one.proposals.tolist() == [0]


def test_a_mask_that_is_wholly_covered_is_no_object() -> None:
    assert len(masks_of([disc(40, 40), disc(40, 40)])) == 1


def test_leaving_all_out_leaves_none() -> None:
    selected = proposals_of([disc(20, 20), disc(60, 60)]).select(Selection())
    assert len(without(selected, {0, 1})) == 0 and len(without(selected, ())) == 2
