"""From an object's mask on one plane to its mask on the next, and whether the object is there at all.

A mask, its box and its innermost point say together what is meant, and give the best mask on the next plane.
They give one on every plane, though, also where the object has ended. So the next plane is asked a second
time, without the box: where nothing is left the score is low, like that of a click on the ground, or the mask
is another object's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Point, Prompt
from napari_sam.inference.prompts_of_masks import innermost_point, tight_box
from napari_sam.inference.results import Embedding
from napari_sam.inference.tiles import predict_plane
from napari_sam.inference.tiling import Tile
from napari_sam.matching import iou
from napari_sam.runs import MaskRuns

# Masks that have less in common are those of two objects.
_LEAST_OVERLAP = 0.3


@dataclass(frozen=True, eq=False)
class Section:
    """An object on a plane beside one where it was known.

    Attributes
    ----------
    mask
        Its pixels.
    score
        The model's own estimate of the mask's IoU.
    before, prompt
        The mask on the plane before, and the point and the box that were the prompt together with it.
    presence
        How surely the object is there at all; see `presence`.
    """

    mask: MaskRuns
    score: float
    before: MaskRuns
    prompt: Prompt
    presence: float


def next_section(
    predictor: Predictor,
    shape: tuple[int, int],
    before: MaskRuns,
    embed: Callable[[Tile], Embedding],
) -> Section | None:
    """Find an object on the plane next to one where its mask is known.

    Parameters
    ----------
    predictor
        The model.
    shape
        (H, W) of the planes.
    before
        The mask on the plane before.
    embed
        Gives the embedding of a tile of the plane; see `predict_plane`.

    Returns
    -------
    Section or None
        None where the mask has no pixel.
    """
    mask = before.on(shape)
    prompt = Prompt([innermost_point(mask)], box=tight_box(mask))
    found = predict_plane(predictor, shape, replace(prompt, mask=mask), embed)
    runs = MaskRuns.of(found.mask(found.best))
    if runs is None:
        return None
    there = _presence(predictor, mask, prompt.points, embed)
    return Section(runs, float(found.scores[found.best]), before, prompt, there)


def presence(
    predictor: Predictor,
    shape: tuple[int, int],
    mask: MaskRuns,
    embed: Callable[[Tile], Embedding],
) -> float:
    """Tell how surely an object with about this mask is on a plane: a score.

    It is that of the mask which the prompt gives without its box, and 0 where that is another object's.
    For the parameters see `next_section`.
    """
    whole = mask.on(shape)
    return _presence(predictor, whole, [innermost_point(whole)], embed)


def _presence(
    predictor: Predictor,
    mask: NDArray[np.bool_],
    points: Sequence[Point],
    embed: Callable[[Tile], Embedding],
) -> float:
    height, width = mask.shape
    found = predict_plane(predictor, (height, width), Prompt(points, mask=mask), embed)
    is_other = iou(found.mask(found.best), mask) < _LEAST_OVERLAP
    return 0.0 if is_other else float(found.scores[found.best])
