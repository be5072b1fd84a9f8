"""What is drawn on a plane, points, strokes and areas, becomes one prompt, or one for each object."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from napari_sam.inference.prompts import Box, Point, Prompt, lies_on

# Corners of a box may be off by this share of its side, and it counts as upright all the same.
_UPRIGHT = 1e-3
# A stroke is as many points as it is times this long, in pixels, but no more than so many: each is a step
# of the refinement, and further ones tell the model little.
_SPACING, _MOST_POINTS = 12.0, 6
_CORNERS_OF_ELLIPSE = 64
# Pixels that lie so near a line are on it.
_ON_EDGE = 1e-9

Mask = NDArray[np.bool_ | np.floating]


@dataclass(frozen=True)
class Stroke:
    """A line that was drawn over an object (positive), or beside it."""

    path: tuple[Point, ...]
    positive: bool = True

    @property
    def points(self) -> tuple[Point, ...]:
        """Points spread evenly along the line, none of them at its ends."""
        return spread(self.path)


@dataclass(frozen=True)
class Area:
    """What was drawn around an object: a rectangle, or any closed line through ``corners``."""

    corners: tuple[Point, ...]

    @property
    def box(self) -> Box:
        """The upright box around it."""
        rows, columns = zip(*self.corners, strict=True)
        return min(rows), min(columns), max(rows), max(columns)

    @property
    def is_box(self) -> bool:
        """Whether it is an upright rectangle: its box says all of it."""
        row0, column0, row1, column1 = self.box
        within = _UPRIGHT * max(row1 - row0, column1 - column0)
        return len(self.corners) == 4 and all(
            min(abs(row - row0), abs(row - row1)) <= within
            and min(abs(column - column0), abs(column - column1)) <= within
            for row, column in self.corners
        )

    def overlaps(self, shape: tuple[int, int]) -> bool:
        """Whether it has an area on a plane of (H, W)."""
        row0, column0, row1, column1 = self.box
        return min(row1, shape[0] - 0.5) > max(row0, -0.5) and min(column1, shape[1] - 0.5) > max(
            column0, -0.5
        )

    def fill(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Give the (H, W) mask of the pixels whose centres lie inside; of a sliver, the one in its middle."""
        mask = np.zeros(shape, np.bool_)
        self.draw(mask)
        return mask

    def draw(self, mask: NDArray[np.bool_]) -> None:
        """Add these pixels to a mask; only the rows of its box are looked at."""
        height, width = mask.shape
        found = False
        for row, left, right in _spans(np.array(self.corners, np.float64), height):
            start, stop = max(0, math.ceil(left - _ON_EDGE)), min(width, math.floor(right + _ON_EDGE) + 1)
            if start < stop:
                mask[row, start:stop] = found = True
        if not found:
            row0, column0, row1, column1 = self.box
            row = min(max(0, round((row0 + row1) / 2)), height - 1)
            mask[row, min(max(0, round((column0 + column1) / 2)), width - 1)] = True


@dataclass(frozen=True, eq=False)
class Drawing:
    """All that is drawn on one plane, in its pixels.

    Attributes
    ----------
    points, labels
        Clicks on an object (1) or beside it (0).
    strokes, areas
        Lines, and closed lines.
    mask
        What has no line: an object of some labels, or the logits of an earlier prediction.
    """

    points: tuple[Point, ...] = ()
    labels: tuple[int, ...] = ()
    strokes: tuple[Stroke, ...] = ()
    areas: tuple[Area, ...] = ()
    mask: Mask | None = None

    def as_one(self, shape: tuple[int, int]) -> Prompt:
        """Give the prompt of the one object that all of it means, on a plane of (H, W).

        Strokes are points. Areas are the box around them all, and, unless that box is the only one, their
        union as a mask. What lies beside the plane is left out.
        """
        points, labels = self._points(shape)
        areas = [area for area in self.areas if area.overlaps(shape)]
        mask = self.mask
        if len(areas) > 1 or (areas and not areas[0].is_box):
            union = _union(tuple(areas), shape)
            mask = union | mask.astype(bool) if mask is not None and mask.dtype == bool else union
        box = around([area.box for area in areas]) if areas else None
        return Prompt(points, labels, box, mask)

    def as_many(self, shape: tuple[int, int]) -> list[Prompt]:
        """Give a prompt for each object: one for each area, and for each positive click or stroke in none.

        Clicks and strokes in an area's box belong to its object, and so does the mask in a rectangle.
        Negative ones elsewhere belong to the object that is nearest.
        """
        seeds = [_Seed(area.box, area, []) for area in self.areas if area.overlaps(shape)]
        seeds.sort(key=lambda seed: _size(seed.box))  # a click in several boxes belongs to the smallest
        if self.mask is not None:
            rows, columns = (
                np.nonzero(self.mask) if self.mask.dtype == bool else (np.array([0]), np.array([0]))
            )
            if len(rows):
                box = (float(rows.min()), float(columns.min()), float(rows.max()), float(columns.max()))
                # An undone lasso comes back as its box and its mask.
                home = next((seed for seed in seeds if seed.is_box_around(box)), None)
                if home is None:
                    seeds.append(_Seed(box, None, [], self.mask))
                else:
                    home.mask = self.mask
        drawn = [*zip(self.points, self.labels, strict=True)]
        groups: list[tuple[tuple[Point, ...], int]] = [
            ((point,), label) for point, label in drawn if lies_on(point, shape)
        ]
        groups += [
            (inside, int(stroke.positive))
            for stroke in self.strokes
            if (inside := tuple(point for point in stroke.points if lies_on(point, shape)))
        ]
        areas = len(seeds)
        for group, label in groups:
            if label:
                home = next((seed for seed in seeds[:areas] if _distance(seed.box, group[0]) == 0), None)
                if home is None:
                    home = _Seed(around([(*point, *point) for point in group]), None, [])
                    seeds.append(home)
                home.points += [(point, 1) for point in group]
        for group, label in groups:
            if not label and seeds:
                home = min(seeds, key=lambda seed: _distance(seed.box, group[0]))
                home.points += [(point, 0) for point in group]
        return [seed.prompt(shape) for seed in seeds]

    def _points(self, shape: tuple[int, int]) -> tuple[list[Point], list[int]]:
        """Give clicks and then the points of strokes, those on the object first."""
        pairs = list(zip(self.points, self.labels, strict=True))
        for stroke in sorted(self.strokes, key=lambda stroke: not stroke.positive):
            pairs += [(point, int(stroke.positive)) for point in stroke.points]
        pairs = [(point, label) for point, label in pairs if lies_on(point, shape)]
        return [point for point, _ in pairs], [label for _, label in pairs]


@dataclass(eq=False)
class _Seed:
    """What one object grows from: its area, or mask, or a rectangle with its mask, or nothing but points."""

    box: Box
    area: Area | None
    points: list[tuple[Point, int]]
    mask: Mask | None = None

    def is_box_around(self, box: Box) -> bool:
        """Whether it is a rectangle that ``box`` lies in, but for what a sliver's only pixel sticks out."""
        row0, column0, row1, column1 = self.box
        return (
            self.area is not None
            and self.area.is_box
            and (row0 <= box[0] + 0.5 and column0 <= box[1] + 0.5)
            and (box[2] - 0.5 <= row1 and box[3] - 0.5 <= column1)
        )

    def prompt(self, shape: tuple[int, int]) -> Prompt:
        points, labels = [point for point, _ in self.points], [label for _, label in self.points]
        if self.area is None:
            return Prompt(points, labels, mask=self.mask)
        return Prompt(points, labels, self.area.box, self.mask if self.area.is_box else self.area.fill(shape))


def spread(path: Sequence[Point]) -> tuple[Point, ...]:
    """Spread points evenly along a line: more on a longer one, and at most six."""
    line = np.array(path, np.float64).reshape(-1, 2)
    steps = np.hypot(*np.diff(line, axis=0).T)
    length = float(steps.sum())
    count = int(min(_MOST_POINTS, 1 + length // _SPACING))
    if length == 0:
        return tuple((float(row), float(column)) for row, column in line[:1])
    at = (np.arange(count) + 0.5) * length / count
    travelled = np.concatenate([[0.0], np.cumsum(steps)])
    rows, columns = (np.interp(at, travelled, line[:, axis]) for axis in (0, 1))
    return tuple((float(row), float(column)) for row, column in zip(rows, columns, strict=True))


def ellipse(corners: Sequence[Point]) -> Area:
    """Give the ellipse that touches all four sides of a parallelogram, as an area of many corners."""
    first, second, third = (np.array(corner) for corner in corners[:3])
    middle, one, other = (first + third) / 2, (second - first) / 2, (third - second) / 2
    turn = np.linspace(0, 2 * np.pi, _CORNERS_OF_ELLIPSE, endpoint=False)[:, None]
    outline = middle + np.cos(turn) * one + np.sin(turn) * other
    return Area(tuple((float(row), float(column)) for row, column in outline))


@lru_cache(maxsize=1)
def _union(areas: tuple[Area, ...], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Give the mask of some areas; the same object for the same ones, whose pixels nobody has to compare."""
    mask = np.zeros(shape, np.bool_)
    for area in areas:
        area.draw(mask)
    return mask


def _spans(corners: NDArray[np.float64], height: int) -> Iterator[tuple[int, float, float]]:
    """Give the parts of rows, as (row, first column, last column), that lie inside a closed line.

    What it goes around an even number of times is outside. Its own pixels are inside.
    """
    following = np.roll(corners, -1, axis=0)
    low, high = np.minimum(corners[:, 0], following[:, 0]), np.maximum(corners[:, 0], following[:, 0])
    first, behind = np.ceil(low).clip(0), np.ceil(high).clip(0, height)  # the last row is the next edge's
    counts = (behind - first).clip(0).astype(int)
    edges = np.repeat(np.arange(len(corners)), counts)
    rows = (first[edges] + np.arange(len(edges)) - np.repeat(np.cumsum(counts) - counts, counts)).astype(int)
    (row0, column0), (row1, column1) = corners[edges].T, following[edges].T
    columns = column0 + (rows - row0) * (column1 - column0) / (row1 - row0)
    order = np.lexsort((columns, rows))
    rows, columns = rows[order], columns[order]
    yield from zip(rows[::2].tolist(), columns[::2].tolist(), columns[1::2].tolist(), strict=True)
    # Edges along a row, and corners in it, are crossed by none.
    for (row, column), (next_row, next_column) in zip(corners.tolist(), following.tolist(), strict=True):
        if row == round(row) and 0 <= row < height:
            end = next_column if next_row == row else column
            yield int(row), min(column, end), max(column, end)


def around(boxes: Sequence[Box]) -> Box:
    """Give the box around some boxes."""
    row0, column0, row1, column1 = zip(*boxes, strict=True)
    return min(row0), min(column0), max(row1), max(column1)


def _size(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _distance(box: Box, point: Point) -> float:
    """Give the distance of a point from a box, 0 inside."""
    down, across = (max(box[axis] - point[axis], 0.0, point[axis] - box[axis + 2]) for axis in (0, 1))
    return math.hypot(down, across)
