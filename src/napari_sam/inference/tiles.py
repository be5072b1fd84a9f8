"""Large planes: overlapping tiles at several scales, one of which holds each prompt.

A plane whose longer side is more than 1.5 times the model's input is not scaled down as a whole, which would
take the detail from small objects. It is covered by square tiles: at level 0 one tile pixel is one plane
pixel, at each next level it is two by two of the level before, up to the first level whose single tile is the
whole plane. Tiles of one level lie half a tile apart, so any point is at least a quarter of a tile away from
the border of its most central tile.

A prompt goes to the finest level that has a tile with all of it inside. A mask that runs into a border of its
tile, where the plane goes on, is predicted anew one level coarser; one of which the model is not sure is
compared with that of the next level, for an object may be too large to be known on a fine one. So no prompt
is too large, and the cost of one depends on the size of its object, not on that of the plane.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from napari_sam.contrast import Contrast
from napari_sam.inference.predictor import Embedding, Prediction, Predictor
from napari_sam.inference.prompts import Box, Prompt
from napari_sam.inference.refinement import predict_refined
from napari_sam.model.layers import Progress, ignore_progress
from napari_sam.runs import pixel_box

# A plane that is larger than the model's input by no more than this is scaled down as a whole.
_WHOLE_UP_TO = 1.5
# The share of a tile's side that lies between a prompt and a border at which the plane goes on.
_MARGIN = 1 / 16
# A mask with a lower score is compared with that of the next coarser level, which must be clearly better: a
# fine level is right for small objects, even for those of which the model is not sure.
_SURE, _BETTER = 0.8, 0.05


@dataclass(frozen=True, order=True)
class Tile:
    """A part of a plane that is encoded at once.

    Attributes
    ----------
    level
        Its pixels in the model's input are those of the plane, halved in number ``level`` times along each
        axis; the whole plane is the only tile of the coarsest level.
    row, column
        Its first pixel in the plane.
    height, width
        Its extent in pixels of the plane.
    """

    level: int
    row: int
    column: int
    height: int
    width: int

    @property
    def index(self) -> tuple[slice, slice]:
        """The index of its pixels in an (H, W) or (H, W, C) plane."""
        return slice(self.row, self.row + self.height), slice(self.column, self.column + self.width)

    def covers(self, shape: tuple[int, int]) -> bool:
        """Whether it is the whole plane of ``shape``."""
        return (self.height, self.width) == tuple(shape)

    def holds(self, box: Box, shape: tuple[int, int]) -> bool:
        """Whether ``box`` lies inside, at a distance from borders at which a plane of ``shape`` goes on."""
        margin = _MARGIN * max(self.height, self.width)
        low = (self.row, self.column)
        high = (self.row + self.height, self.column + self.width)
        return all(
            (start == 0 or first >= start + margin) and (end == length or last <= end - 1 - margin)
            for start, end, length, first, last in zip(low, high, shape, box[:2], box[2:], strict=True)
        )

    def prompt(self, prompt: Prompt) -> Prompt:
        """Give a prompt of the plane in the tile's own pixels; float logits stay as they are."""
        points = [(row - self.row, column - self.column) for row, column in prompt.points]
        box, mask = prompt.box, prompt.mask
        if box is not None:
            box = (box[0] - self.row, box[1] - self.column, box[2] - self.row, box[3] - self.column)
        if mask is not None and mask.dtype == bool:
            mask = mask[self.index]
        return Prompt(points, prompt.labels, box, mask)


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
        tile, mask = self.tile, self.inside.masks[number]
        return bool(
            (tile.row > 0 and mask[0].any())
            or (tile.column > 0 and mask[:, 0].any())
            or (tile.row + tile.height < self.shape[0] and mask[-1].any())
            or (tile.column + tile.width < self.shape[1] and mask[:, -1].any())
        )

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """(M, H, W) masks of the whole plane, false beside the tile.

        What is beside the tile is memory that the system provides only when it is looked at.
        """
        if self.tile.covers(self.shape):
            return self.inside.masks
        masks = np.zeros((len(self.scores), *self.shape), np.bool_)
        masks[:, *self.tile.index] = self.inside.masks
        return masks


class PlaneEmbeddings:
    """The embeddings of one plane's tiles, each encoded when it is first asked for.

    Parameters
    ----------
    predictor
        The model.
    plane
        (H, W) or (H, W, 3). Other dtypes than unsigned bytes are stretched to 0-255 between the robust
        percentiles of the whole plane (see `Contrast`), the same in all tiles.
    progress
        Told the share of each encoding that is done.
    """

    def __init__(
        self, predictor: Predictor, plane: NDArray[np.generic], progress: Progress = ignore_progress
    ) -> None:
        self._predictor = predictor
        self._plane = plane if plane.dtype == np.uint8 else Contrast.of(plane).apply(plane)
        self._progress = progress
        self._made: dict[Tile, Embedding] = {}

    def __call__(self, tile: Tile) -> Embedding:
        """Give the embedding of ``tile``."""
        if tile not in self._made:
            self._made[tile] = self._predictor.encode(self._plane[tile.index], self._progress)
        return self._made[tile]


def coarsest_level(shape: tuple[int, int], side: int) -> int:
    """Give the level whose only tile is the whole plane: 0 for all but large planes.

    ``shape`` is the plane's (H, W), ``side`` that of the model's input, both in pixels.
    """
    level = 0
    while max(shape) > _WHOLE_UP_TO * side * 2**level:
        level += 1
    return level


def central_tile(shape: tuple[int, int], side: int, level: int, centre: tuple[float, float]) -> Tile:
    """Give the tile of ``level`` in which ``centre``, a (row, column) of the plane, lies most central."""
    if level >= coarsest_level(shape, side):
        return Tile(level, 0, 0, *shape)
    extent = side * 2**level
    (row, height), (column, width) = (
        _span(length, extent, at) for length, at in zip(shape, centre, strict=True)
    )
    return Tile(level, row, column, height, width)


def level_tiles(shape: tuple[int, int], side: int, level: int) -> list[Tile]:
    """Give all tiles of ``level``, row by row; each lies half over the one before."""
    if level >= coarsest_level(shape, side):
        return [Tile(level, 0, 0, *shape)]
    extent = side << level
    rows, columns = (
        [
            min(number * (extent // 2), max(0, length - extent))
            for number in range(_tiles_across(length, side, level))
        ]
        for length in shape
    )
    height, width = (min(extent, length) for length in shape)
    return [Tile(level, row, column, height, width) for row in rows for column in columns]


def plan(shape: tuple[int, int], side: int, prompt: Prompt, finest: int = 0) -> Tile:
    """Choose the tile for a prompt: of the finest level that has one with all of it inside.

    Parameters
    ----------
    shape
        (H, W) of the plane.
    side
        Side of the model's input in pixels.
    prompt
        In pixels of the plane. Float logits as mask mean the whole plane; use `predict_plane` with the
        ``tile`` of the prediction that they come from to refine that.
    finest
        Finer levels are not looked at.
    """
    bounds = _bounds(prompt)
    coarsest = coarsest_level(shape, side)
    if bounds is None:
        return Tile(coarsest, 0, 0, *shape)
    centre = ((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2)
    for level in range(min(finest, coarsest), coarsest):
        tile = central_tile(shape, side, level, centre)
        if tile.holds(bounds, shape):
            return tile
    return Tile(coarsest, 0, 0, *shape)


def predict_plane(
    predictor: Predictor,
    shape: tuple[int, int],
    prompt: Prompt,
    embed: Callable[[Tile], Embedding],
    candidate: int | None = None,
    tile: Tile | None = None,
) -> PlanePrediction:
    """Predict the masks that ``prompt`` means on a plane of any size.

    Planes up to 1.5 times the model's input are one tile: the result is then that of `predict_refined`. The
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

    Raises
    ------
    ValueError
        As `Predictor.predict`.

    Examples
    --------
    >>> embed = PlaneEmbeddings(predictor, image)  # doctest: +SKIP
    >>> prediction = predict_plane(predictor, image.shape[:2], Prompt([(40, 51)]), embed)  # doctest: +SKIP
    >>> prediction.masks[prediction.best]  # doctest: +SKIP
    """
    prompt = prompt.inside(shape)
    side = predictor.image_size

    def on(tile: Tile) -> PlanePrediction:
        inside = predict_refined(predictor, embed(tile), tile.prompt(prompt), candidate)
        return PlanePrediction(tile, inside, shape)

    if tile is not None:
        return on(tile)
    found = on(plan(shape, side, prompt))
    while found.runs_out(found.best):
        found = on(_coarser(found, found.best, side, prompt))
    while found.scores.max() < _SURE and not found.tile.covers(shape):
        coarser = on(_coarser(found, found.best, side, prompt))
        if coarser.scores.max() < found.scores.max() + _BETTER or coarser.runs_out(coarser.best):
            break
        found = coarser
    if candidate is not None and prompt.is_ambiguous:
        while found.runs_out(candidate):
            found = on(_coarser(found, candidate, side, prompt))
    return found


def _coarser(found: PlanePrediction, chosen: int, side: int, prompt: Prompt) -> Tile:
    """Choose a tile of the next level: around what is seen of the object, if the prompt is inside."""
    tile, mask = found.tile, found.inside.masks[chosen]
    bounds = _bounds(prompt)
    seen = pixel_box(mask)
    if bounds is not None and seen is not None:
        row0, column0, row1, column1 = seen
        centre = (tile.row + (row0 + row1 - 1) / 2, tile.column + (column0 + column1 - 1) / 2)
        around = central_tile(found.shape, side, tile.level + 1, centre)
        if around.holds(bounds, found.shape):
            return around
    return plan(found.shape, side, prompt, finest=tile.level + 1)


def _bounds(prompt: Prompt) -> Box | None:
    """Give the box around all that a prompt says; None where it has no place of its own on the plane."""
    rows, columns = ([position[axis] for position in prompt.points] for axis in (0, 1))
    if prompt.box is not None:
        rows += prompt.box[0::2]
        columns += prompt.box[1::2]
    if prompt.mask is not None:
        if prompt.mask.dtype != bool:
            return None
        seen = pixel_box(prompt.mask.astype(bool, copy=False))
        if seen is not None:
            row0, column0, row1, column1 = seen
            rows += (row0, row1 - 1)
            columns += (column0, column1 - 1)
    if not rows:
        return None
    return min(rows), min(columns), max(rows), max(columns)


def _span(length: int, extent: int, at: float) -> tuple[int, int]:
    """Give start and length of the span of ``extent``, half of that apart, whose middle is nearest ``at``."""
    if extent >= length:
        return 0, length
    stride = extent // 2
    last = length - extent  # the last span ends with the plane
    nearest = round((at - (extent - 1) / 2) / stride)
    starts = {min(max(0, number * stride), last) for number in (nearest - 1, nearest, nearest + 1)}
    return min(sorted(starts), key=lambda start: abs(start + (extent - 1) / 2 - at)), extent


def tile_count(shape: tuple[int, int], side: int) -> int:
    """Count the tiles of all levels of a plane."""
    coarsest = coarsest_level(shape, side)
    return (
        sum(_tiles_across(shape[0], side, n) * _tiles_across(shape[1], side, n) for n in range(coarsest)) + 1
    )


def tile_number(shape: tuple[int, int], side: int, tile: Tile) -> int:
    """Number a tile among all of its plane: those of the finest level first, the whole plane last."""
    coarsest = coarsest_level(shape, side)
    number = sum(
        _tiles_across(shape[0], side, n) * _tiles_across(shape[1], side, n)
        for n in range(min(tile.level, coarsest))
    )
    if tile.level >= coarsest:
        return number
    stride = (side << tile.level) // 2
    down, across = (-(-start // stride) for start in (tile.row, tile.column))
    return number + down * _tiles_across(shape[1], side, tile.level) + across


def _tiles_across(length: int, side: int, level: int) -> int:
    """Count the tiles of ``level`` along an axis of ``length``."""
    extent = side << level
    return 1 if extent >= length else -(-(length - extent) // (extent // 2)) + 1
