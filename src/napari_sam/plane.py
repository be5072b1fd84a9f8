"""One 2-D plane of an n-D array: which axes it shows, and where it lies along the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_sam.region import Region

# The index along all axes but the last two: which of the array's own planes.
Position: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Plane:
    """One 2-D plane of an n-D array.

    Attributes
    ----------
    displayed
        The array axes that are the plane's rows and its columns.
    position
        Index along every axis; 0 along the two displayed ones.
    """

    displayed: tuple[int, int]
    position: tuple[int, ...]

    @classmethod
    def at(cls, displayed: tuple[int, int], position: Sequence[int]) -> Plane:
        """Make the plane through ``position``, whatever that says along the displayed axes."""
        return cls(displayed, tuple(0 if axis in displayed else int(x) for axis, x in enumerate(position)))

    @classmethod
    def own(cls, position: Sequence[int]) -> Plane:
        """Make one of the array's own planes, along its last two axes, at ``position`` along the others."""
        return cls((len(position), len(position) + 1), (*position, 0, 0))

    @property
    def own_position(self) -> Position | None:
        """Which of the array's own planes this is, turned or not; None for one that lies across them."""
        last = len(self.position) - 2
        return self.position[:-2] if set(self.displayed) == {last, last + 1} else None

    def moved(self, axis: int, index: int) -> Plane:
        """Give the plane at another index along one of the axes that are not displayed."""
        return Plane(self.displayed, (*self.position[:axis], index, *self.position[axis + 1 :]))

    def index(self, rows: slice = slice(None), columns: slice = slice(None)) -> tuple[int | slice, ...]:
        """Give the index into the array of these rows and columns; `to_plane` orders what it returns."""
        by_axis = dict(zip(self.displayed, (rows, columns), strict=True))
        return tuple(by_axis.get(axis, x) for axis, x in enumerate(self.position))

    def region(self, rows: slice, columns: slice) -> Region:
        """Give the block of the array that holds these rows and columns, all axes kept."""
        return tuple(x if isinstance(x, slice) else slice(x, x + 1) for x in self.index(rows, columns))

    def to_plane(self, block: NDArray[Any]) -> NDArray[Any]:
        """Turn a block read at `index` so that rows come first; its own inverse for 2-D blocks."""
        return block if self.displayed[0] < self.displayed[1] else np.swapaxes(block, 0, 1)

    def to_block(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Turn what lies on the plane, rows first, into a block as `region` gives it."""
        ordered = self.to_plane(pixels)
        shape = [1] * len(self.position)
        for axis, length in zip(sorted(self.displayed), ordered.shape, strict=True):
            shape[axis] = length
        return ordered.reshape(shape)

    def from_block(self, block: NDArray[Any]) -> NDArray[Any]:
        """Turn a block that was read at `region` into what lies on the plane, rows first."""
        axes = tuple(axis for axis in range(block.ndim) if axis not in self.displayed)
        return self.to_plane(np.squeeze(block, axis=axes))

    def shape(self, array_shape: Sequence[int]) -> tuple[int, int]:
        """Height and width of the plane in an array of ``array_shape``."""
        return (array_shape[self.displayed[0]], array_shape[self.displayed[1]])
