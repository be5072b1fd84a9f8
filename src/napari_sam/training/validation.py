"""How well masks follow from one click or one box: the mean IoU over all objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_sam.inference.predictor import Embedding, Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.training.crops import innermost_point, tight_box
from napari_sam.training.data import AnnotatedImage


def validate(predictor: Predictor, images: Sequence[AnnotatedImage], most: int = 25) -> dict[str, float]:
    """Mean IoU over objects (at most ``most`` of an image, evenly picked) for a click and for a tight box."""
    click, box = [], []
    for item in images:
        embedding = predictor.encode(item.image)
        numbers = np.unique(item.labels)
        numbers = numbers[numbers > 0]
        for number in numbers[:: -(-len(numbers) // most)] if len(numbers) else ():
            truth = item.labels == number
            click.append(prompt_iou(predictor, embedding, Prompt([innermost_point(truth)]), truth))
            box.append(prompt_iou(predictor, embedding, Prompt(box=tight_box(truth)), truth))
    return {"click": float(np.mean(click)), "box": float(np.mean(box))}


def prompt_iou(
    predictor: Predictor, embedding: Embedding, prompt: Prompt, truth: NDArray[np.bool_]
) -> float:
    """IoU of the highest-scored mask with the truth."""
    prediction = predictor.predict(embedding, prompt)
    return iou(prediction.masks[prediction.best], truth)


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; 1 if both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0
