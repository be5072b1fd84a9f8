"""Of several objects that are committed together, the surest gets the pixels that others have as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from napari_sam import several
from napari_sam.annotation import Session
from napari_sam.inference.batches import predict_several
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.plane import Plane
from napari_sam.previews import Preview
from napari_sam.several import SeveralResponse, commit_several, request_several, run_several
from napari_sam.storage.changes import Overlap
from test_annotation import STACK, make_session

SURE, UNSURE = 0.95, 0.5
# The unsure one lies around the sure one.
INNER, AROUND = (slice(10, 20), slice(10, 20)), (slice(5, 30), slice(5, 30))


@dataclass(frozen=True, eq=False)
class Found:
    """A preview of a known mask and score."""

    plane: Plane
    prompt: Prompt
    mask: NDArray[np.bool_]
    score: float


def response(session: Session, *found: tuple[Any, float]) -> SeveralResponse:
    """What a model may have found: masks by their boxes, and scores."""
    previews: list[Any] = []
    for box, score in found:
        mask = np.zeros(STACK.shape[1:], bool)
        mask[box] = True
        middle = (float(box[0].start + 1), float(box[1].start + 1))
        previews.append(Found(session.plane, Prompt([middle]), mask, score))
    request = request_several(session, [preview.prompt for preview in previews])
    typed: tuple[Preview, ...] = tuple(previews)
    return SeveralResponse(request, typed)


@pytest.fixture
def session(tiny_predictor: Predictor, tmp_path: Path) -> Session:
    return make_session(tiny_predictor, tmp_path)


@pytest.mark.parametrize("overlap", ["keep", "replace"])
def test_the_surest_wins(session: Session, overlap: Overlap) -> None:
    labels = commit_several(session, response(session, (INNER, SURE), (AROUND, UNSURE)), overlap)
    assert labels == [1, 2]
    plane = np.asarray(session.labels[0])
    (sure,) = np.unique(plane[INNER])
    (unsure,) = set(labels) - {sure}
    assert set(np.unique(plane[AROUND])) == {sure, unsure}
    made = {x.label: x.making.score for x in session.store.ledger.origins()}
    assert made == {sure: SURE, unsure: UNSURE}


def test_what_a_surer_one_has_taken_wholly_is_not_among_the_labels(session: Session) -> None:
    labels = commit_several(session, response(session, (INNER, UNSURE), (AROUND, SURE)), "replace")
    assert labels == [info.label for info in session.store.ledger.objects()]
    assert_array_equal(np.unique(session.labels[0]), [0, *labels])
    assert len(labels) == 1


def test_what_was_answered_before_is_not_predicted_again(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted: list[Sequence[Prompt]] = []

    def spy(predictor: Predictor, shape: tuple[int, int], prompts: Sequence[Prompt], *rest: Any) -> Any:
        predicted.append(prompts)
        return predict_several(predictor, shape, prompts, *rest)

    monkeypatch.setattr(several, "predict_several", spy)
    first, second, third = (Prompt(box=(y, y, y + 12, y + 12)) for y in (2, 14, 26))
    before = run_several(session, request_several(session, [first, second]))
    after = run_several(session, request_several(session, [second, third, second], before))
    assert predicted == [[first, second], [third]]
    assert [preview.prompt for preview in after.previews] == [second, third, second]
    assert after.previews[0] is before.previews[1]
    session.go_to(z=1)
    elsewhere = run_several(session, request_several(session, [second], after))
    assert predicted[2:] == [[second]] and elsewhere.previews[0].plane == session.plane
