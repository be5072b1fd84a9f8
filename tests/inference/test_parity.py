"""Ours against Meta's own code, on the same weights: the numbers that ``benchmarks/reference.py`` wrote.

The small vision transformer covers shapes and prompts; ViT-B, encoded once, covers the real size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.results import Embedding, Prediction
from napari_sam.model.sam import CONFIGS
from seeded import SMALL_VIT, interpolate_twice, seeded_image, seeded_predictor, seeded_prompts

TOLERANCE = 1e-4

IMAGES = [
    *[(SMALL_VIT.architecture, *shape) for shape in [(201, 163), (47, 311), (389, 64), (256, 256), (5, 90)]],
    ("vit_b", 601, 803),
]
PROMPTS = ["point", "points", "box", "box_points", "mask", "mask_point", "mask_points_box"]


@dataclass
class Case:
    """One encoded image beside the official results for it."""

    predictor: Predictor
    embedding: Embedding
    prompts: Mapping[str, Prompt]
    official: Mapping[str, NDArray[np.generic]]

    def sample(self, what: str, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Take the values that the reference file keeps."""
        return array[tuple(slice(None, None, step) for step in self.official[f"steps/{what}"])]


@pytest.fixture(scope="module", params=IMAGES, ids=lambda image: "{}-{}x{}".format(*image))
def case(request: pytest.FixtureRequest) -> Case:
    architecture, height, width = request.param
    predictor = seeded_predictor({"vit_b": CONFIGS["vit_b"]}.get(architecture, SMALL_VIT))
    embedding = predictor.encode(seeded_image(height, width))
    point = seeded_prompts(height, width, previous=np.zeros((1, 1), np.float32))["point"]
    previous = predictor.predict(embedding, point, multimask=False).logits[0]
    folder = Path(__file__).parents[1] / "data"
    with np.load(folder / f"reference_{architecture}.npz") as file:
        prefix = f"{height}x{width}/"
        official = {
            key.removeprefix(prefix): file[key] for key in file.files if key.startswith((prefix, "steps/"))
        }
    return Case(predictor, embedding, seeded_prompts(height, width, previous), official)


def test_embedding(case: Case) -> None:
    ours = case.sample("embedding", case.embedding.features[0].numpy())
    assert_allclose(ours, case.official["embedding"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("multimask", [False, True], ids=["one mask", "three candidates"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_prediction(case: Case, prompt: str, multimask: bool) -> None:
    ours = case.predictor.predict(case.embedding, case.prompts[prompt], multimask)
    assert len(ours.masks) == (3 if multimask else 1)
    chosen = slice(1, None) if multimask else slice(0, 1)
    scores, logits = (case.official[f"{prompt}/{what}"][chosen] for what in ("scores", "logits"))
    assert_allclose(ours.scores, scores, rtol=0, atol=TOLERANCE)
    assert_allclose(case.sample("logits", ours.logits), logits, rtol=0, atol=TOLERANCE)
    masks = case.sample("masks", ours.masks)
    all_four = (4, *masks.shape[1:])
    official = np.unpackbits(case.official[f"{prompt}/masks"], count=np.prod(all_four)).reshape(all_four)
    differ = masks != official[chosen].astype(bool)
    assert np.all(np.abs(case.sample("masks", full_size_logits(case, ours))[differ]) < TOLERANCE)


def full_size_logits(case: Case, prediction: Prediction) -> NDArray[np.float32]:
    """Give the logits whose sign the masks are, by the official code's two interpolations."""
    return interpolate_twice(torch.from_numpy(prediction.logits), case.embedding.geometry).numpy()
