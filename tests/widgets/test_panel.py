"""What the panel says by itself, without a session."""

from __future__ import annotations

import pytest
from qtpy.QtWidgets import QApplication

from napari_sam.widgets.models import model_choices
from napari_sam.widgets.panel import AnnotatePanel


@pytest.mark.parametrize(
    ("score", "count", "said"),
    [
        (0.914, 3, "score 0.91, candidate 1 of 3"),
        (0.914, 1, "score 0.91"),
        (-0.13, 3, "score 0.00, candidate 1 of 3; drag a box"),
        (None, 0, "no mask yet"),
    ],
)
def test_a_score_of_next_to_nothing_says_what_helps(
    qapp: QApplication, score: float | None, count: int, said: str
) -> None:
    panel = AnnotatePanel(model_choices())
    panel.prompting.show_preview(score, 1, count)
    assert panel.prompting.score.text() == said
    panel.deleteLater()
