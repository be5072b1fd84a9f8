"""Masks on planes of any size: each prompt goes to the tile that shows its object best.

A prompt goes to the finest level that has a tile with all of it inside (see `Tiling`). A mask that runs into
a border of its tile, where the plane goes on, is predicted anew one level coarser; one of which the model is
not sure is compared with that of the next level, for an object may be too large to be known on a fine one.
What looks tiny is looked at again enlarged. So no prompt is too large, and the cost of one depends on the
size of its object, not on that of the plane.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam.contrast import stretched
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.refinement import predict_refined
from napari_sam.inference.results import Embedding, Prediction
from napari_sam.inference.tiling import Tile, Tiling, bounds_of
from napari_sam.runs import pixel_box

# A mask with a lower score is compared with that of the next coarser level, which must be clearly better: a
# fine level is right for small objects, even for those of which the model is not sure.
_SURE, _BETTER = 0.78, 0.05
# An enlarged look at a tiny object may lower the score by this: the scale is the better one all the same.
_HARDLY_WORSE = 0.1


@dataclass(frozen=True, eq=False)
class PlanePrediction:
    """What a prompt gave on a plane: a `Prediction` of one of its tiles.

    Attributes
    ----------
    tile
        Where on the plane it was made.
    inside
        The prediction in the tile's own pixels; its ``logits`` can be refined on this tile only.
    shape
        (H, W) of the plane.
    """

    tile: Tile
    inside: Prediction
    shape: tuple[int, int]

    @property
    def scores(self) -> NDArray[np.float32]:
        """(M,) the model's own estimates of each mask's IoU with the object."""
        return self.inside.scores

    @property
    def best(self) -> int:
        """Index of the mask with the highest score."""
        return self.inside.best

    def runs_out(self, number: int) -> bool:
        """Whether this one of the masks touches a border of the tile at which the plane goes on."""
        tile, mask = self.tile, self.inside.mask(number)
        return bool(
            (tile.row > 0 and mask[0].any())
            or (tile.column > 0 and mask[:, 0].any())
            or (tile.row + tile.height < self.shape[0] and mask[-1].any())
            or (tile.column + tile.width < self.shape[1] and mask[:, -1].any())
        )

    def mask(self, number: int) -> NDArray[np.bool_]:
        """Give one (H, W) mask of the whole plane, false beside the tile.

        What is beside the tile is memory that the system provides only when it is looked at.
        """
        if self.tile.covers(self.shape):
            return self.inside.mask(number)
        mask = np.zeros(self.shape, np.bool_)
        mask[self.tile.index] = self.inside.mask(number)
        return mask

    @property
    def masks(self) -> NDArray[np.bool_]:
        """All (M, H, W) masks of the whole plane."""
        return np.stack([self.mask(number) for number in range(len(self.scores))])


class PlaneEmbeddings:
    """The embeddings of one plane's tiles, each encoded when it is first asked for.

    Parameters
    ----------
    predictor
        The model.
    plane
        (H, W) or (H, W, 3). Other dtypes than unsigned bytes are stretched to 0-255 between the robust
        percentiles of the whole plane (see `stretched`), the same in all tiles.
    """

    def __init__(self, predictor: Predictor, plane: NDArray[np.generic]) -> None:
        self._predictor = predictor
        self._plane = stretched(plane)
        self._made: dict[Tile, Embedding] = {}

    def __call__(self, tile: Tile) -> Embedding:
        """Give the embedding of ``tile``."""
        if tile not in self._made:
            self._made[tile] = self._predictor.encode(self._plane[tile.index])
        return self._made[tile]


def predict_plane(
    predictor: Predictor,
    shape: tuple[int, int],
    prompt: Prompt,
    embed: Callable[[Tile], Embedding],
    candidate: int | None = None,
    tile: Tile | None = None,
    seen: PlanePrediction | None = None,
) -> PlanePrediction:
    """Predict the masks that ``prompt`` means on a plane of any size.

    On planes up to 1.5 times the model's input it is that of `predict_refined`, but for tiny objects. The
    result depends on the prompt alone, not on which tiles were encoded before.

    Parameters
    ----------
    predictor
        The model.
    shape
        (H, W) of the plane.
    prompt
        In pixels of the plane.
    embed
        Gives the embedding of a tile: `PlaneEmbeddings`, or what looks into a cache first.
    candidate
        See `predict_refined`; of a single point, the mask that, beside the one with the highest score, must
        not run out of its tile.
    tile
        Predict on this tile and no other.
    seen
        The prediction on the first tile, if it was made already.

    Raises
    ------
    ValueError
        As `Predictor.predict`.

    Examples
    --------
    >>> embed = PlaneEmbeddings(predictor, image)  # doctest: +SKIP
    >>> prediction = predict_plane(predictor, image.shape[:2], Prompt([(40, 51)]), embed)  # doctest: +SKIP
    >>> prediction.mask(prediction.best)  # doctest: +SKIP
    """
    prompt = prompt.inside(shape)
    tiling = predictor.tiling(shape)

    def on(tile: Tile) -> PlanePrediction:
        inside = predict_refined(predictor, embed(tile), tile.prompt(prompt), candidate)
        return PlanePrediction(tile, inside, shape)

    if tile is not None:
        return on(tile)
    found = on(tiling.plan(prompt)) if seen is None else seen
    while found.runs_out(found.best):
        found = on(_coarser(found, found.best, tiling, prompt))
    while found.scores.max() < _SURE and not found.tile.covers(shape):
        coarser = on(_coarser(found, found.best, tiling, prompt))
        if coarser.scores.max() < found.scores.max() + _BETTER or coarser.runs_out(coarser.best):
            break
        found = coarser
    if (enlarged := _enlarged(found, tiling, prompt)) is not None:
        closer = on(enlarged)
        needed = -_HARDLY_WORSE if _is_small(found, tiling) else _BETTER
        if closer.scores.max() >= found.scores.max() + needed and not closer.runs_out(closer.best):
            found = closer
    if candidate is not None and prompt.is_ambiguous:
        while found.runs_out(candidate):
            found = on(_coarser(found, candidate, tiling, prompt))
    return found


def _coarser(found: PlanePrediction, chosen: int, tiling: Tiling, prompt: Prompt) -> Tile:
    """Choose a tile of the next level: around what is seen of the object, if the prompt is inside."""
    around = _around(found, chosen, tiling, prompt, found.tile.level + 1)
    return tiling.plan(prompt, finest=found.tile.level + 1) if around is None else around


def _enlarged(found: PlanePrediction, tiling: Tiling, prompt: Prompt) -> Tile | None:
    """Choose a tile of the finest level for what is tiny; on large planes, for what is not sure too.

    A box says how large its object is: a mask is as good without.
    """
    if found.tile.level > 0 or tiling.finest == 0 or prompt.box is not None:
        return None
    unsure = tiling.coarsest > 0 and found.scores.max() < _SURE
    if not (unsure or _is_small(found, tiling)):
        return None
    bounds = bounds_of(prompt)
    if bounds is None:
        return None
    tile = tiling.central(tiling.finest, ((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2))
    return tile if tile.holds(bounds, tiling.shape) else None


def _is_small(found: PlanePrediction, tiling: Tiling) -> bool:
    """Whether the mask has less area, in the model's input, than what the model knows well."""
    scale = tiling.side / max(found.tile.height, found.tile.width)
    return bool(np.count_nonzero(found.inside.mask(found.best)) * scale**2 < tiling.small**2)


def _around(found: PlanePrediction, chosen: int, tiling: Tiling, prompt: Prompt, level: int) -> Tile | None:
    """Give the tile of ``level`` around what is seen of the object, if it holds the prompt."""
    bounds, seen = bounds_of(prompt), pixel_box(found.inside.mask(chosen))
    if bounds is None or seen is None:
        return None
    row0, column0, row1, column1 = seen
    tile = found.tile
    centre = (tile.row + (row0 + row1 - 1) / 2, tile.column + (column0 + column1 - 1) / 2)
    around = tiling.central(level, centre)
    return around if around.holds(bounds, tiling.shape) else None
