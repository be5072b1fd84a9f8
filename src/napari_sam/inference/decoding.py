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
from napari_sam.inference.masks import upscale_window
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.results import Embedding
from napari_sam.inference.windows import touches_border, window_corners, window_sides
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
    """
    least = _least(limits)
    for first in range(0, len(points), at_once):
        some = points[first : first + at_once]
        passing = predictor.passing(embedding, some, least)
        prompts, scores = passing.prompts.tolist(), passing.scores.tolist()
        for prompt, score, logits in zip(prompts, scores, passing.logits, strict=True):
            found = _measured(logits, embedding.geometry, limits, crop[:2], (0, 0), logits.shape[-1])
            if found is not None:
                yield Decoded(found[0], score, found[1], _moved(points[first + prompt], crop), crop)
        progress(min(1.0, (first + at_once) / len(points)))


def decode_objects(
    predictor: Predictor,
    embedding: Embedding,
    points: NDArray[np.floating],
    radii: NDArray[np.floating],
    limits: Limits,
    at_once: int,
    crop: PixelBox,
    progress: Progress = ignore_progress,
) -> Iterator[Decoded]:
    """Decode the object at each of (N, 2) points and give of its masks the one with the highest score.

    Each is decoded in a window of the embedding that suits its size; a mask that reaches the window's border
    is decoded anew on the whole embedding.

    Parameters
    ----------
    radii
        (N,) of the objects as they are expected, in pixels of the model's input.
    predictor, embedding, points, limits, at_once, crop, progress
        As in `decode_points`.
    """
    geometry, grid = embedding.geometry, embedding.features.shape[-1]
    token = geometry.image_size / grid
    places = geometry.points_to_input(points).numpy()[:, ::-1] / token
    sides = window_sides(radii / token, grid)
    done = 0
    for side in sorted(set(sides.tolist()) | {grid}):
        members = np.flatnonzero(sides == side)
        corners = window_corners(places, side, grid)
        for first in range(0, len(members), at_once):
            some = members[first : first + at_once]
            passing = predictor.best_passing(embedding, points[some], _least(limits), corners[some], side)
            done += len(some)
            for prompt, score, inside in zip(
                passing.prompts.tolist(), passing.scores.tolist(), passing.logits, strict=True
            ):
                number = some[prompt]
                corner = (int(corners[number][0]), int(corners[number][1]))
                if touches_border((inside > 0).cpu().numpy(), corner, grid):
                    sides[number] = grid
                    done -= 1
                    continue
                place = (4 * corner[0], 4 * corner[1])
                found = _measured(inside, geometry, limits, crop[:2], place, 4 * grid)
                if found is not None:
                    yield Decoded(found[0], score, found[1], _moved(points[number], crop), crop)
            progress(done / len(points))


def _least(limits: Limits) -> float:
    """Give what a score must exceed."""
    return limits.score if limits.score > 0 else -inf


def _moved(point: NDArray[np.floating], crop: PixelBox) -> tuple[float, float]:
    """Give a point of a crop in pixels of the plane."""
    return float(point[0]) + crop[0], float(point[1]) + crop[1]


def _measured(
    logits: Tensor,
    geometry: Geometry,
    limits: Limits,
    origin: tuple[int, int],
    corner: tuple[int, int],
    side: int,
) -> tuple[MaskRuns, float] | None:
    """Give the mask of (h, w) logits and its stability; None if it is empty or not stable enough.

    The logits lie at ``corner`` of the model's ``side`` x ``side``, their plane's first pixel at ``origin``.

    The stability is the IoU of the masks at thresholds above and below the usual one. The interpolation is
    linear with weights that sum to one, so a threshold is moved by moving the logits.
    """
    levels = torch.stack([logits - limits.offset, logits, logits + limits.offset])
    part, (row, column) = upscale_window(levels, geometry, corner, side)
    inner, mask, outer = part.cpu().numpy()
    union = np.count_nonzero(outer)
    if not union:
        return None
    stability = np.count_nonzero(inner) / union
    if stability < limits.stability:
        return None
    runs = MaskRuns.of(mask, (origin[0] + row, origin[1] + column))
    return None if runs is None else (runs, stability)


def between(progress: Progress, start: float, stop: float) -> Progress:
    """Report the progress of a part of the work, that from ``start`` to ``stop``."""
    return lambda done: progress(start + (stop - start) * done)
