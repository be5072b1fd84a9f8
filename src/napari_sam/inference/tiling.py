"""How planes are covered by tiles: overlapping squares at several scales, one of which holds each prompt.

A plane whose longer side is more than 1.5 times the model's input is not scaled down as a whole, which would
take the detail from small objects. It is covered by square tiles: at level 0 one tile pixel is one plane
pixel, at each next level it is two by two of the level before, up to the first level whose single tile is the
whole plane. For models that know no tiny objects there is also a level -1, on which each tile is half as wide
and so twice enlarged. Tiles of one level lie half a tile apart, so any point is at least a quarter of a tile
away from the border of its most central tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from napari_sam.inference.prompts import Box, Prompt
from napari_sam.runs import pixel_box

# A plane that is larger than the model's input by no more than this is scaled down as a whole.
_WHOLE_UP_TO = 1.5
# The share of a tile's side that lies between a prompt and a border at which the plane goes on.
_MARGIN = 1 / 16
# Planes that fill less than this share of the model's input are enlarged enough as they are.
_ENLARGED_FROM = 0.5


@dataclass(frozen=True, order=True)
class Tile:
    """A part of a plane that is encoded at once.

    Attributes
    ----------
    level
        Its pixels in the model's input are those of the plane, halved in number ``level`` times along each
        axis; the whole plane is the only tile of the coarsest level. On level -1 it is enlarged twofold.
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


@dataclass(frozen=True)
class Tiling:
    """All tiles of a plane.

    Attributes
    ----------
    shape
        (H, W) of the plane.
    side
        Side of the model's square input, in pixels.
    small
        An object whose mask has less area than a square of this side, in pixels of the input, is looked at
        enlarged; 0 where the model needs no such help.
    """

    shape: tuple[int, int]
    side: int
    small: int = 0

    @property
    def coarsest(self) -> int:
        """The level whose only tile is the whole plane: 0 for all but large planes."""
        level = 0
        while max(self.shape) > _WHOLE_UP_TO * self.side * 2**level:
            level += 1
        return level

    @property
    def finest(self) -> int:
        """The level of the smallest tiles."""
        return -1 if self.small and max(self.shape) >= _ENLARGED_FROM * self.side else 0

    @property
    def whole(self) -> Tile:
        """The tile that is the whole plane."""
        return Tile(self.coarsest, 0, 0, *self.shape)

    def central(self, level: int, centre: tuple[float, float]) -> Tile:
        """Give the tile of ``level`` in which ``centre``, a (row, column) of the plane, lies most central."""
        if level >= self.coarsest:
            return self.whole
        extent = self._extent(level)
        (row, height), (column, width) = (
            _span(length, extent, at) for length, at in zip(self.shape, centre, strict=True)
        )
        return Tile(level, row, column, height, width)

    def plan(self, prompt: Prompt, finest: int = 0) -> Tile:
        """Choose the tile for a prompt: of the finest level that has one with all of it inside.

        Parameters
        ----------
        prompt
            In pixels of the plane. Float logits as mask mean the whole plane; to refine those of a tile, use
            `predict_plane` with the ``tile`` of the prediction that they come from.
        finest
            Finer levels are not looked at.
        """
        bounds = bounds_of(prompt)
        if bounds is not None:
            centre = ((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2)
            for level in range(finest, self.coarsest):
                tile = self.central(level, centre)
                if tile.holds(bounds, self.shape):
                    return tile
        return self.whole

    def of_level(self, level: int) -> list[Tile]:
        """Give all tiles of ``level``, row by row; each lies half over the one before."""
        if level >= self.coarsest:
            return [self.whole]
        extent = self._extent(level)
        rows, columns = (
            [min(i * (extent // 2), max(0, length - extent)) for i in range(self._across(length, level))]
            for length in self.shape
        )
        height, width = (min(extent, length) for length in self.shape)
        return [Tile(level, row, column, height, width) for row in rows for column in columns]

    def __len__(self) -> int:
        """Count the tiles of all levels."""
        return sum(self._count(level) for level in range(self.finest, self.coarsest + 1))

    def number(self, tile: Tile) -> int:
        """Number a tile among all of the plane: from level 0 to the whole plane, then those of level -1."""
        if tile.level >= self.coarsest:
            return sum(self._count(level) for level in range(self.coarsest))
        before = range(tile.level) if tile.level >= 0 else range(self.coarsest + 1)
        stride = self._extent(tile.level) // 2
        down, across = (-(-start // stride) for start in (tile.row, tile.column))
        return sum(map(self._count, before)) + down * self._across(self.shape[1], tile.level) + across

    def tiles(self) -> Iterator[Tile]:
        """Give all tiles in the order of their numbers."""
        coarser = [level for level in range(self.finest, self.coarsest + 1) if level >= 0]
        for level in (*coarser, *range(self.finest, 0)):
            yield from self.of_level(level)

    def _extent(self, level: int) -> int:
        """Give the side of a tile of ``level`` in pixels of the plane."""
        if level < 0:
            return -(-(self.side if self.coarsest else max(self.shape)) // 2)
        return self.side << level

    def _count(self, level: int) -> int:
        """Count the tiles of ``level``."""
        if level >= self.coarsest:
            return 1
        return self._across(self.shape[0], level) * self._across(self.shape[1], level)

    def _across(self, length: int, level: int) -> int:
        """Count the tiles of ``level`` along an axis of ``length``."""
        extent = self._extent(level)
        return 1 if extent >= length else -(-(length - extent) // (extent // 2)) + 1


def bounds_of(prompt: Prompt) -> Box | None:
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
