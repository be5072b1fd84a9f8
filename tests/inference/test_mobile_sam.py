"""Ours against MobileSAM's own code, on the same weights; ``tests/data/README.md`` says what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.results import Embedding
from napari_sam.model.sam import CONFIGS
from seeded import seeded_image, seeded_predictor

TOLERANCE = 1e-4
# Half precision keeps 11 bits.
ROUNDING = 2**-11

POINTS, LABELS = [(80, 100), (200, 300)], [1, 0]
BOX = (40, 60, 180, 220)
PROMPTS = {
    "point": (Prompt(POINTS[:1]), True),
    "points": (Prompt(POINTS, LABELS), False),
    "box": (Prompt(box=BOX), False),
    "both": (Prompt(POINTS, LABELS, BOX), True),
}


@pytest.fixture(scope="module")
def theirs() -> Mapping[str, NDArray[np.floating]]:
    with np.load(Path(__file__).parents[1] / "data" / "reference_mobile_sam.npz") as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return seeded_predictor(CONFIGS["vit_t"])


@pytest.fixture(scope="module")
def embedding(predictor: Predictor) -> Embedding:
    return predictor.encode(seeded_image(300, 420))


def test_embedding(embedding: Embedding, theirs: Mapping[str, NDArray[np.floating]]) -> None:
    features = embedding.features[0].numpy()
    assert_allclose(features[::16, ::4, ::4], theirs["features_slice"], rtol=0, atol=TOLERANCE)
    assert_allclose(features.mean((1, 2)), theirs["features_mean"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", PROMPTS)
def test_prediction(
    predictor: Predictor, embedding: Embedding, theirs: Mapping[str, NDArray[np.floating]], name: str
) -> None:
    prompt, multimask = PROMPTS[name]
    ours = predictor.predict(embedding, prompt, multimask)
    assert_allclose(ours.scores, theirs[f"{name}_iou"], rtol=0, atol=TOLERANCE)
    logits = theirs[f"{name}_low_res"].astype(np.float32)
    assert_allclose(ours.logits[:, ::4, ::4], logits, rtol=ROUNDING, atol=TOLERANCE)


def test_the_encoding_reports_each_stage_and_can_be_stopped(predictor: Predictor) -> None:
    class Stopped(Exception):
        pass

    reports: list[float] = []

    def report(done: float) -> None:
        reports.append(done)
        if done >= 0.5:
            raise Stopped

    with pytest.raises(Stopped):
        predictor.encode(seeded_image(30, 42), report)
    assert reports == sorted(reports) and set(reports) == {0.0, 0.25, 0.5}
    assert len(reports) > 10  # within a stage it can be stopped too
