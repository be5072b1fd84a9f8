"""Many points of one embedding become compact masks, without a batch of full-size logits in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam.inference.coordinates import Geometry
from napari_sam.inference.masks import upscale_masks
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.results import Embedding
from napari_sam.model.layers import Progress, ignore_progress
from napari_sam.runs import MaskRuns, PixelBox


@dataclass(frozen=True)
class Limits:
    """What a mask must reach to be kept.

    Attributes
    ----------
    score
        The predicted IoU must be higher; 0 keeps all.
    stability
        The stability must be at least this; 0 keeps all.
    offset
        By how much the threshold of the logits is moved to measure the stability.
    """

    score: float
    stability: float
    offset: float


@dataclass(frozen=True, eq=False)
class Decoded:
    """One mask of a plane.

    Attributes
    ----------
    mask
        Its run lengths.
    score, stability
        Predicted IoU, and the IoU of the masks at a higher and a lower threshold of the logits.
    point
        The ``(row, column)`` that it was prompted by, in pixels of the plane.
    crop
        The part of the plane that was encoded.
    """

    mask: MaskRuns
    score: float
    stability: float
    point: tuple[float, float]
    crop: PixelBox

    def is_cut_off(self, shape: tuple[int, int], tolerance: int) -> bool:
        """Whether it comes near to a border of its crop at which a plane of ``shape`` goes on.

        As in the official code, a box ends at its last pixel and a crop behind it.
        """
        row0, column0, row1, column1 = self.mask.box
        return any(
            abs(end - border) <= tolerance < abs(end - edge)
            for end, border, edge in zip(
                (row0, column0, row1 - 1, column1 - 1), self.crop, (0, 0, *shape), strict=True
            )
        )


def decode_points(
    predictor: Predictor,
    embedding: Embedding,
    points: NDArray[np.floating],
    limits: Limits,
    at_once: int,
    crop: PixelBox,
    progress: Progress = ignore_progress,
    best_only: bool = False,
) -> Iterator[Decoded]:
    """Decode each of (N, 2) points ``(row, column)`` by itself and give those of its masks that pass.

    The score is known before a mask is upscaled, so those that fail it cost least. The stability is measured
    in the plane's own pixels, as the official code does: on the low-resolution logits it would be another
    number. Empty masks are left out.

    Parameters
    ----------
    predictor, embedding
        The model, and what it made of the plane or of a crop.
    points
        In pixels of what was encoded.
    limits
        What to keep.
    at_once
        Points whose low-resolution logits are in memory together.
    crop
        Where on the plane that lies.
    progress
        Told the share of points that is done.
    best_only
        Give of each point only the mask with the highest score.
    """
    least = limits.score if limits.score > 0 else -inf
    for first in range(0, len(points), at_once):
        some = points[first : first + at_once]
        passing = predictor.passing(embedding, some, least)
        prompts, scores = passing.prompts.tolist(), passing.scores.tolist()
        best = dict(sorted(zip(prompts, scores, strict=True)))  # of a point's scores the highest comes last
        for prompt, score, logits in zip(prompts, scores, passing.logits, strict=True):
            if best_only and score < best[prompt]:
                continue
            found = _measured(logits, embedding.geometry, limits, crop[:2])
            if found is not None:
                row, column = points[first + prompt]
                point = (float(row) + crop[0], float(column) + crop[1])
                yield Decoded(found[0], score, found[1], point, crop)
        progress(min(1.0, (first + at_once) / len(points)))


def _measured(
    logits: Tensor, geometry: Geometry, limits: Limits, origin: tuple[int, int]
) -> tuple[MaskRuns, float] | None:
    """Give the mask of (h, w) logits and its stability; None if it is empty or not stable enough.

    The stability is the IoU of the masks at thresholds above and below the usual one. The interpolation is
    linear with weights that sum to one, so a threshold is moved by moving the logits.
    """
    levels = torch.stack([logits - limits.offset, logits, logits + limits.offset])
    inner, mask, outer = upscale_masks(levels, geometry).cpu().numpy()
    union = np.count_nonzero(outer)
    if not union:
        return None
    stability = np.count_nonzero(inner) / union
    if stability < limits.stability:
        return None
    runs = MaskRuns.of(mask, origin)
    return None if runs is None else (runs, stability)


def between(progress: Progress, start: float, stop: float) -> Progress:
    """Report the progress of a part of the work, that from ``start`` to ``stop``."""
    return lambda done: progress(start + (stop - start) * done)
