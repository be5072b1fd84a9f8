"""From an object's mask on one plane to its mask on the next, and whether the object is there at all.

The box of a mask gives the best mask on the next plane; with the mask or a point beside it the prompt holds
on to where the object was. A box gives a mask on every plane, though, also where the object has ended. So
the next plane is asked a second time, by the mask and its innermost point: where nothing is left the score is
low, like that of a click on the ground, or the mask is another object's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.prompts_of_masks import innermost_point
from napari_sam.inference.results import Embedding
from napari_sam.inference.tiles import predict_plane
from napari_sam.inference.tiling import Tile
from napari_sam.matching import iou
from napari_sam.runs import MaskRuns, outer_edges

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
    prompt
        The box of the mask on the plane before.
    presence
        How surely the object is there at all; see `presence`.
    """

    mask: MaskRuns
    score: float
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
    prompt = Prompt(box=outer_edges(before.box))
    found = predict_plane(predictor, shape, prompt, embed)
    runs = MaskRuns.of(found.mask(found.best))
    if runs is None:
        return None
    there = presence(predictor, shape, before, embed)
    return Section(runs, float(found.scores[found.best]), prompt, there)


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
    before = mask.on(shape)
    prompt = Prompt([innermost_point(before)], mask=before)
    found = predict_plane(predictor, shape, prompt, embed)
    is_other = iou(found.mask(found.best), before) < _LEAST_OVERLAP
    return 0.0 if is_other else float(found.scores[found.best])
