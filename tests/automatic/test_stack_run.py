"""A run over a stack: resumed, linked, written in one step, and as tracks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from automatic.discs import SHAPE
from napari_sam.annotation import Session
from napari_sam.automatic.presets import presets
from napari_sam.automatic.proposing import propose_plane
from napari_sam.automatic.stack import StackRun, planes_along
from napari_sam.inference.automatic import Generation, propose
from napari_sam.inference.loading import load_predictor
from napari_sam.inference.proposals import Selection
from napari_sam.linking import Linking
from napari_sam.plane import Plane

QUICK = Generation()
LENIENT = Selection(pred_iou_thresh=0.7, stability_score_thresh=0.7)


class Stopped(Exception):
    """The user pressed Stop."""


def run_over(session: Session) -> StackRun:
    return StackRun(session, planes_along(session, "z"), QUICK, LENIENT, linking=Linking(min_overlap=0.4))


@pytest.fixture
def run(session: Session) -> StackRun:
    return run_over(session)


def test_the_discs_of_a_stack_become_objects_in_one_step(run: StackRun, session: Session) -> None:
    shares: list[float] = []
    run.compute(shares.append)
    assert shares == sorted(shares) and shares[-1] == 1
    run.commit()
    labels = np.array(session.labels[...])
    through = {int(labels[z, 60, 60 + 2 * z]) for z in range(4)}
    assert len(through) == 1 and 0 not in through, "one object through all planes"
    assert labels[0, 124, 120] == labels[1, 124, 120] == labels[3, 124, 120] != 0, "the gap is closed"
    session.undo()
    assert not session.labels[...].any()


def test_a_run_that_was_stopped_goes_on_where_it_was(
    open_session: Callable[..., Session], stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    run = run_over(open_session(stack, cache=tmp_path / "cache"))  # without what other tests found

    def stop_in_third(done: float) -> None:
        if done > 0.55:
            raise Stopped

    with pytest.raises(Stopped):
        run.compute(stop_in_third)
    assert (run.done, run.is_complete) == (2, False)
    with pytest.raises(ValueError, match="2 of 4 planes are done"):
        run.commit()
    kept = [run.found[plane] for plane in run.planes[:2]]
    shares: list[float] = []
    run.compute(shares.append)
    assert min(shares) >= 0.5
    assert [run.found[plane] for plane in run.planes[:2]] == kept, "what was done is not done again"
    assert run.is_complete


def test_objects_are_rejected_and_linked_anew(run: StackRun) -> None:
    run.compute()
    first = run.planes[0]
    everything = run.object_count
    through = int(run.numbers(first)[_at(run, first, 60, 60)])
    run.rejected.add(through)
    assert run.object_count == everything - 1
    tracks = run.tracks()
    assert through not in tracks[:, 0]
    run.relink(None)
    assert len(run.rejected) == 4, "the disc is rejected on each of its planes"
    assert run.object_count == sum(len(x) for x in run.found.values()) - 4
    run.rejected.remove(int(run.numbers(first)[_at(run, first, 60, 60)]))
    run.relink(Linking(min_overlap=0.4))
    assert run.object_count == everything, "an object of which a part is wanted is wanted"


def test_tracks_are_rows_of_object_and_position(run: StackRun) -> None:
    run.compute()
    tracks = run.tracks()
    assert tracks.shape[1] == 4
    through = run.numbers(run.planes[0])[_at(run, run.planes[0], 60, 60)]
    path = tracks[tracks[:, 0] == through]
    assert path[:, 1].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(path[:, 2:], [[60, 60 + 2 * z] for z in range(4)], atol=1.5)


def test_it_runs_in_a_thread_while_the_session_is_used(run: StackRun, session: Session) -> None:
    thread = threading.Thread(target=run.compute)
    thread.start()
    session.go_to(z=2)
    session.add_point((60, 64))
    assert session.predict() is not None
    thread.join()
    assert run.is_complete


def test_a_range_of_planes_keeps_the_place_on_the_other_axes(
    open_session: Callable[..., Session], stack: NDArray[np.uint8]
) -> None:
    session = open_session(np.stack([stack, stack]), "tzyx")
    session.go_to(t=1, z=2)
    assert [x.position for x in planes_along(session, "z", range(1, 3))] == [(1, 1, 0, 0), (1, 2, 0, 0)]
    assert [x.position for x in planes_along(session, "t")] == [(0, 2, 0, 0), (1, 2, 0, 0)]
    with pytest.raises(ValueError, match="'y'"):
        planes_along(session, "y")
    with pytest.raises(ValueError, match="z=4"):
        planes_along(session, "z", [4])


def test_a_constant_plane_has_no_masks_and_says_so(open_session: Callable[..., Session]) -> None:
    session = open_session(np.full((2, *SHAPE), 7, np.uint8))
    proposals = propose_plane(session)
    assert len(proposals) == 0 and "same value" in str(proposals.select(LENIENT).message)
    run = StackRun(session, planes_along(session, "z"), QUICK, LENIENT)
    run.compute()
    assert set(run.messages) == set(run.planes)
    with pytest.raises(ValueError, match="same value"):
        run.commit()


def test_a_plane_of_one_colour_is_constant_too() -> None:
    red = np.broadcast_to(np.array([200, 30, 0], np.uint8), (*SHAPE, 3))
    assert "same value" in str(propose(load_predictor("nano"), red).message)


@pytest.mark.parametrize(
    ("selection", "linking", "message"),
    [
        (replace(LENIENT, pred_iou_thresh=1.0), None, r"no mask is left: pred_iou_thresh = 1 took"),
        (LENIENT, Linking(min_length=5), "no object is left: min_length = 5 took all"),
    ],
    ids=["scores", "lengths"],
)
def test_what_left_nothing_of_a_stack_is_named(
    session: Session, selection: Selection, linking: Linking | None, message: str
) -> None:
    run = StackRun(session, planes_along(session, "z"), QUICK, selection, linking=linking)
    run.compute()
    assert run.object_count == 0
    with pytest.raises(ValueError, match=message):
        run.commit()


def test_a_threshold_that_is_too_low_is_refused_before_the_model_is_asked(session: Session) -> None:
    with pytest.raises(ValueError, match=r"pred_iou_thresh is 0\.2, but proposals are kept from 0\.4 on"):
        StackRun(session, planes_along(session, "z"), QUICK, replace(LENIENT, pred_iou_thresh=0.2))


def test_crops_are_encoded_from_the_plane_itself(session: Session) -> None:
    cropped = Generation(points_per_side=4, crop_n_layers=1, prompts="grid", score_floor=0.3)
    assert propose_plane(session, generation=cropped).crop_count == 5


def test_embeddings_come_from_the_cache(
    open_session: Callable[..., Session], stack: NDArray[np.uint8], tmp_path: Path
) -> None:
    session = open_session(stack, cache=tmp_path / "cache")
    session.go_to(z=1)
    session.run(session.request())
    ready = session.ready().ravel().tolist()
    propose_plane(session, generation=QUICK)
    assert session.ready().ravel().tolist() == ready == [False, True, False, False]
    propose_plane(session, Plane((1, 2), (3, 0, 0)), QUICK)
    assert session.ready().ravel().tolist() == [False, True, False, True]


def test_a_run_without_planes_is_refused(session: Session) -> None:
    with pytest.raises(ValueError, match="no planes"):
        StackRun(session, [])


def test_the_presets_can_be_used_as_they_are(session: Session) -> None:
    first, *_ = found = presets(session.predictor)
    assert [x.name for x in found] == ["everything", "small cells", "large cells"]
    assert propose_plane(session, generation=first.generation).select(first.selection).shape == SHAPE


def _at(run: StackRun, plane: Plane, row: int, column: int) -> int:
    """Find the mask at a place of a plane."""
    (there,) = [i for i, x in enumerate(run.found[plane].masks) if x.on(SHAPE)[row, column]]
    return there
