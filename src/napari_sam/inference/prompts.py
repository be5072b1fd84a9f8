"""What a user points at: the prompt of one object on one plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Prompt:
    """Points, a box and a mask that together mean one object.

    Positions are ``(row, column)`` in pixels of the plane, pixel centres at integers. Prompts are equal where
    they agree in all that they hold, each pixel of the mask included.

    Parameters
    ----------
    points
        Positions on the object (label 1) or beside it (label 0).
    labels
        One label per point; all 1 if left out.
    box
        ``(row0, column0, row1, column1)`` around the object; what lies outside the plane is cut off.
    mask
        An earlier answer to be refined: (H, W) boolean in the plane's pixels, or the (h, w) floating
        logits of a `Prediction`.

    Raises
    ------
    ValueError
        For labels other than 0 and 1 or of another number than the points, positions that are not
        finite, a box without area, or a mask that is neither boolean nor finite logits.
    """

    points: Sequence[Point] = ()
    labels: Sequence[int] | None = None
    box: Box | None = None
    mask: NDArray[np.bool_ | np.floating] | None = None

    def __post_init__(self) -> None:
        points = _checked_points(self.points)
        labels = (1,) * len(points) if self.labels is None else tuple(self.labels)
        if len(labels) != len(points):
            raise ValueError(f"{len(points)} points have {len(labels)} labels; give one label per point.")
        if bad := [label for label in labels if label not in (0, 1)]:
            raise ValueError(f"Point label {bad[0]} is unknown; use 1 (on the object) or 0 (beside it).")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "labels", tuple(int(label) for label in labels))
        if self.box is not None:
            object.__setattr__(self, "box", _checked_box(self.box))
        if self.mask is not None:
            object.__setattr__(self, "mask", _checked_mask(self.mask))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prompt):
            return NotImplemented
        return self._places == other._places and self.has_same_mask(other)

    def __hash__(self) -> int:
        return hash(self._places)

    def has_same_mask(self, other: Prompt) -> bool:
        """Whether both have no mask, or the same one pixel by pixel."""
        if self.mask is None or other.mask is None:
            return self.mask is other.mask
        return self.mask is other.mask or np.array_equal(self.mask, other.mask)

    @property
    def _places(self) -> tuple[object, ...]:
        return (self.points, self.labels, self.box)

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is prompted."""
        return not self.points and self.box is None and self.mask is None

    @property
    def is_ambiguous(self) -> bool:
        """Whether it is a single point and nothing else, which may mean a part or the whole."""
        return len(self.points) == 1 and self.box is None and self.mask is None

    def onto(self, shape: tuple[int, int]) -> Prompt:
        """Return this prompt with each point that lies outside a plane of ``shape`` on the nearest pixel.

        Where the grid of the SAM paper has a point beside the last pixel of a thin plane, this is the prompt
        that a user can give instead.
        """
        height, width = shape
        points = tuple(
            point if lies_on(point, shape) else (_between(point[0], height), _between(point[1], width))
            for point in self.points
        )
        return self if points == self.points else replace(self, points=points)

    def inside(self, shape: tuple[int, int]) -> Prompt:
        """Return this prompt for a plane of ``shape``, its box cut at the border.

        Raises
        ------
        ValueError
            If a point, or the whole box, lies outside the plane, or a boolean mask has another shape or no
            pixel.
        """
        height, width = shape
        for row, column in self.points:
            if not lies_on((row, column), shape):
                raise ValueError(
                    f"The point (row {row:g}, column {column:g}) lies outside the plane of {height} x {width}"
                    f" pixels; rows go from 0 to {height - 1}, columns from 0 to {width - 1}."
                )
        box = self.box
        if box is not None:
            box = (
                max(box[0], -0.5),
                max(box[1], -0.5),
                min(box[2], height - 0.5),
                min(box[3], width - 0.5),
            )
            if box[0] >= box[2] or box[1] >= box[3]:
                raise ValueError(
                    f"The box {self.box} lies outside the plane of {height} x {width} pixels; "
                    "draw it over the object."
                )
        if self.mask is not None and self.mask.dtype == bool:
            if self.mask.shape != shape:
                raise ValueError(
                    f"The mask prompt has shape {self.mask.shape}, the plane {shape}; give a mask of the "
                    "plane."
                )
            if not self.mask.any():
                raise ValueError("The mask prompt has no pixel; give a mask of the object, or none.")
        return Prompt(self.points, self.labels, box, self.mask)


def lies_on(point: Point, shape: tuple[int, int]) -> bool:
    """Whether a point is on a pixel of the plane, the outer edges included."""
    return all(-0.5 <= along <= length - 0.5 for along, length in zip(point, shape, strict=True))


def _between(along: float, length: int) -> float:
    return min(max(along, 0.0), length - 1.0)


def _checked_points(points: Sequence[Point]) -> tuple[Point, ...]:
    try:
        pairs = tuple((float(row), float(column)) for row, column in points)
    except (TypeError, ValueError) as error:
        raise ValueError(f"The points {points!r} are not a list of pairs (row, column).") from error
    for pair in pairs:
        if not all(map(math.isfinite, pair)):
            raise ValueError(f"The point {pair} is not finite; give numbers (row, column).")
    return pairs


def _checked_box(box: Sequence[float]) -> Box:
    try:
        row0, column0, row1, column1 = (float(x) for x in box)
    except (TypeError, ValueError):
        row0 = row1 = column0 = column1 = math.nan
    if not all(map(math.isfinite, (row0, column0, row1, column1))):
        raise ValueError(f"The box {box!r} is not (row0, column0, row1, column1) in finite numbers.")
    row0, row1 = sorted((row0, row1))
    column0, column1 = sorted((column0, column1))
    if row0 == row1 or column0 == column1:
        raise ValueError(f"The box {box!r} has no area; drag from one corner to the opposite one.")
    return row0, column0, row1, column1


def _checked_mask(mask: NDArray[np.bool_ | np.floating]) -> NDArray[np.bool_ | np.floating]:
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype.kind not in "bf":
        raise ValueError(
            f"The mask prompt has dtype {mask.dtype} and shape {mask.shape}; give a boolean (H, W) mask of "
            "the plane (of labels: labels == label), or one of a Prediction's logits."
        )
    if mask.dtype.kind == "f" and not np.isfinite(mask).all():
        raise ValueError("The mask prompt's logits are not all finite; give those of a Prediction.")
    return mask
