"""Many objects of one plane at once: a prompt for each, those that are alike decoded together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from napari_sam.inference.predictor import Predictor, check_none_empty
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.results import Embedding
from napari_sam.inference.tiles import PlanePrediction, predict_plane
from napari_sam.inference.tiling import Tile
from napari_sam.progress import Progress, ignore_progress

# So many prompts are decoded at once: further ones cost as much each, and memory.
_AT_ONCE = 16


def predict_several(
    predictor: Predictor,
    shape: tuple[int, int],
    prompts: Sequence[Prompt],
    embed: Callable[[Tile], Embedding],
    progress: Progress = ignore_progress,
) -> list[PlanePrediction]:
    """Predict the object of each prompt on a plane of any size.

    Boxes, and single points, are decoded together on each tile; what comes of each prompt is the same as of
    `predict_plane` alone, but for rounding, and that of the three readings of a point the best alone is kept.

    Parameters
    ----------
    predictor, shape, embed
        As in `predict_plane`.
    prompts
        One for each object.
    progress
        Told the share of the prompts that is done; what it raises ends the call.

    Raises
    ------
    ValueError
        As `Predictor.predict`, of any of the prompts.
    """
    check_none_empty(prompts)
    prompts = [prompt.inside(shape) for prompt in prompts]
    tiling = predictor.tiling(shape)
    # A negative point is not drawn as a mask, so positive ones beside it would not be either.
    alike: dict[tuple[Tile, tuple[int, ...]], list[int]] = {}
    for number, prompt in enumerate(prompts):
        if prompt.mask is None and (prompt.is_ambiguous or not prompt.points):
            alike.setdefault((tiling.plan(prompt), tuple(prompt.labels or ())), []).append(number)
    first: dict[int, PlanePrediction] = {}
    for (tile, _), numbers in alike.items():
        for start in range(0, len(numbers), _AT_ONCE):
            some = numbers[start : start + _AT_ONCE]
            inside = predictor.predict_batch(embed(tile), [tile.prompt(prompts[n]) for n in some])
            first |= {n: PlanePrediction(tile, found, shape) for n, found in zip(some, inside, strict=True)}
            progress(len(first) / len(prompts))
    found = []
    for number, prompt in enumerate(prompts):
        found.append(predict_plane(predictor, shape, prompt, embed, seen=first.get(number)))
        progress(max(len(first), number + 1) / len(prompts))
    return found
