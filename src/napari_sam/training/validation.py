"""How well masks follow from one click or one box: the IoU of every object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.prompts_of_masks import innermost_point, tight_box
from napari_sam.inference.tiles import PlaneEmbeddings, predict_plane
from napari_sam.matching import iou
from napari_sam.training.data import AnnotatedImage


@dataclass(frozen=True)
class ObjectScore:
    """The IoU that one object's innermost point and its tight box gave, and what the model said of itself."""

    click: float
    box: float
    click_score: float
    box_score: float


def score_objects(
    predictor: Predictor, images: Iterable[AnnotatedImage], most: int | None = None
) -> list[ObjectScore]:
    """Prompt every object of every image, or at most ``most`` of each image, evenly picked."""
    scores = []
    for item in images:
        embeddings = PlaneEmbeddings(predictor, item.image)
        for number in _picked(item.labels, most):
            truth = item.labels == number
            click, click_score = _prompted(predictor, embeddings, Prompt([innermost_point(truth)]), truth)
            box, box_score = _prompted(predictor, embeddings, Prompt(box=tight_box(truth)), truth)
            scores.append(ObjectScore(click, box, click_score, box_score))
    return scores


def _prompted(
    predictor: Predictor, embeddings: PlaneEmbeddings, prompt: Prompt, truth: NDArray[np.bool_]
) -> tuple[float, float]:
    """IoU of the highest-scored mask with the truth, and that score."""
    shape = (truth.shape[0], truth.shape[1])
    prediction = predict_plane(predictor, shape, prompt, embeddings)
    best = prediction.best
    return iou(prediction.mask(best), truth), float(prediction.scores[best])


def _picked(labels: NDArray[np.int32], most: int | None) -> NDArray[np.int32]:
    numbers: NDArray[np.int32] = np.unique(labels[labels > 0])
    if most is None or len(numbers) <= most:
        return numbers
    evenly = np.linspace(0, len(numbers) - 1, most).round().astype(int)
    return np.take(numbers, evenly)
