"""Several objects that are written at the turns of the window, and what the user is told of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from qtpy.QtWidgets import QApplication

from napari_sam.inference.predictor import Predictor
from napari_sam.storage.changes import Claim
from napari_sam.widgets.several_commit import Outcome, SeveralCommit
from test_annotation import make_session
from test_several import AROUND, INNER, SURE, UNSURE, response


@pytest.mark.parametrize(
    ("sure", "unsure", "there"),
    [pytest.param(INNER, AROUND, 2, id="in part"), pytest.param(AROUND, INNER, 1, id="wholly")],
)
def test_what_a_surer_object_has_taken_is_counted_as_left_out(
    qapp: QApplication, tiny_predictor: Predictor, tmp_path: Path, sure: Any, unsure: Any, there: int
) -> None:
    session = make_session(tiny_predictor, tmp_path)
    panel: Any = SimpleNamespace(show_share=lambda *_: None)
    outcomes: list[Outcome] = []
    committing = SeveralCommit(session, panel, outcomes.append)
    asked = response(session, (sure, SURE), (unsure, UNSURE))
    committing.write(asked, Claim("replace"))
    committing.close()  # all that is left is written at once
    (outcome,) = outcomes
    assert (outcome.written, outcome.left_out, outcome.unwritten.previews) == (there, 2 - there, ())
    scores = {x.making.score: x.label for x in session.store.ledger.origins()}
    labels = dict(outcome.finished)
    assert labels[asked.previews[0].prompt] == scores[SURE]
    assert len(session.store.ledger.objects()) == there
