"""Clicks are answered in order: each corrects the mask that the ones before it gave."""

from __future__ import annotations

from dataclasses import replace

from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.results import Embedding, Prediction
from napari_sam.runs import outer_edges, pixel_box


def first_step(prompt: Prompt) -> Prompt:
    """Give the part of the prompt that stands for itself: the box with no point, else the first point.

    Where the first of several points is negative and there is no box, nothing stands for itself yet: the
    leading negative points and the first positive one then belong together.
    """
    if prompt.mask is not None:
        return prompt
    if prompt.box is not None:
        return Prompt(box=prompt.box)
    labels = prompt.labels or ()
    count = labels.index(1) + 1 if 1 in labels else len(labels)
    return Prompt(prompt.points[:count], labels[:count])


def next_step(prompt: Prompt, done: int, previous: Prediction, chosen: int) -> Prompt:
    """Add the point after the first ``done`` ones; the ``chosen`` logits of the last answer are the mask."""
    assert prompt.labels is not None
    return Prompt(
        prompt.points[: done + 1], prompt.labels[: done + 1], prompt.box, mask=previous.logits[chosen]
    )


def predict_refined(
    predictor: Predictor, embedding: Embedding, prompt: Prompt, candidate: int | None = None
) -> Prediction:
    """Predict as an interactive user experiences it: click by click, with the previous logits as mask prompt.

    This is the interactive segmentation of Kirillov et al., "Segment Anything" (2023), section 3 and
    appendix A, where it is called corrective clicks. The result depends on the prompt alone.

    Parameters
    ----------
    predictor, embedding, prompt
        As in `Predictor.predict`. A prompt that brings its own mask is predicted in one step, and one that is
        a mask and nothing else together with the box around it.
    candidate
        Which of the three masks of the first step is refined; the one with the highest score if left out.

    Raises
    ------
    ValueError
        As `Predictor.predict`.
    """
    prompt = _with_box(prompt)
    step = first_step(prompt)
    prediction = predictor.predict(embedding, step)
    done = len(step.points)
    while done < len(prompt.points):
        chosen = prediction.best if candidate is None else min(candidate, len(prediction.scores) - 1)
        prediction = predictor.predict(embedding, next_step(prompt, done, prediction, chosen))
        done += 1
        candidate = None
    return prediction


def _with_box(prompt: Prompt) -> Prompt:
    """Give a mask that stands alone its box: in training masks came with points or boxes, never alone."""
    if prompt.mask is None or prompt.mask.dtype != bool or prompt.points or prompt.box is not None:
        return prompt
    around = pixel_box(prompt.mask.astype(bool, copy=False))
    if around is None:
        return prompt
    return replace(prompt, box=outer_edges(around))
