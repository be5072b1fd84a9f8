"""What one write changes: blocks of the labels before and after it, and whose masks these are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, overload

import numpy as np
from numpy.typing import NDArray

from napari_sam.plane import Position
from napari_sam.region import Region, around, common, relative_to, shape_of
from napari_sam.runs import MaskRuns, label_boxes

Labels = NDArray[np.integer[Any]]
Overlap = Literal["keep", "replace", "inside"]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Change:
    """One block of the labels, as it was and as it is to be.

    Attributes
    ----------
    region
        A slice with start and stop for each axis.
    before, after
        The labels there; where both are equal, nothing changes.
    """

    region: Region
    before: Labels
    after: Labels

    def apply(self, now: Labels, forward: bool = True) -> Labels:
        """Give what becomes of a block that is ``now`` there.

        Only pixels that the change is about, and that are as it expects them, change: so it may be applied
        again, and what others wrote later stays.
        """
        source, target = (self.before, self.after) if forward else (self.after, self.before)
        result: Labels = np.where((now == source) & (source != target), target, now)
        return result

    def part(self, within: Region) -> Change:
        """Give the part of the change that lies in another region, with which it overlaps."""
        region = common(self.region, within)
        assert region is not None  # nobody asks elsewhere
        inside = relative_to(self.region, region)
        return Change(region, self.before[inside], self.after[inside])

    def planes(self) -> Iterator[tuple[Position, tuple[int, int], Labels, Labels]]:
        """Go through the array's own planes: position, first pixel, before and after."""
        leading = self.before.shape[:-2]
        first = (self.region[-2].start, self.region[-1].start)
        for offset in np.ndindex(leading):
            position = tuple(int(axis.start + i) for axis, i in zip(self.region[:-2], offset, strict=True))
            yield position, first, self.before[offset], self.after[offset]


class OneByOne(Sequence[T]):
    """A sequence of which only the item that is asked for is in memory: all may be those of a whole stack."""

    @abstractmethod
    def item(self, index: int) -> T:
        """Give one of them."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self.item(i) for i in range(len(self))[index]]
        return self.item(index)


@dataclass(frozen=True)
class Claim:
    """Which pixels of a mask an object gets where others are annotated already.

    Attributes
    ----------
    overlap
        ``"keep"`` leaves every other object as it is, ``"replace"`` takes its pixels, ``"inside"`` takes only
        those of the object ``inside``, and nothing of the background.

    Raises
    ------
    ValueError
        For another word, or ``"inside"`` without a label, or the other way round.
    """

    overlap: Overlap = "keep"
    inside: int | None = None

    def __post_init__(self) -> None:
        if self.overlap not in get_args(Overlap):
            raise ValueError(f"The overlap {self.overlap!r} is unknown; choose keep, replace or inside.")
        if (self.overlap == "inside") != (self.inside is not None):
            raise ValueError(
                f"The overlap {self.overlap!r} and inside={self.inside} do not belong together; give "
                "overlap='inside' and the label that the object lies in, or neither."
            )

    def of(self, before: Labels, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Give those pixels, of labels and a mask of one shape."""
        if self.overlap == "replace":
            return mask
        free: NDArray[np.bool_] = before == (self.inside or 0)
        return mask & free


def changed_masks(
    changes: Iterable[Change], current: Callable[[int, Position], MaskRuns | None]
) -> dict[tuple[int, Position], MaskRuns | None]:
    """Find the masks that changes leave behind.

    Parameters
    ----------
    changes
        In the order in which they are applied.
    current
        Gives the mask of a label on one of the array's own planes.

    Returns
    -------
    dict
        By label and position, each mask that is another one afterwards; None where nothing is left.
    """
    masks: dict[tuple[int, Position], MaskRuns | None] = {}
    for change in changes:
        for position, first, before, after in change.planes():
            differs = before != after
            if not differs.any():
                continue
            for values, adds in ((before, False), (after, True)):
                for label, corner, part in _parts(np.where(differs, values, 0)):
                    key = (label, position)
                    old = masks[key] if key in masks else current(label, position)
                    at = (first[0] + corner[0], first[1] + corner[1])
                    masks[key] = _edited(old, part, at, adds)
    return masks


def _parts(labels: Labels) -> Iterator[tuple[int, tuple[int, int], NDArray[np.bool_]]]:
    """Give each label of a block with the corner of its box and its mask within that."""
    for label, box in label_boxes(labels):
        yield label, (box[0].start, box[1].start), labels[box] == label


def _edited(
    old: MaskRuns | None, part: NDArray[np.bool_], corner: tuple[int, int], adds: bool
) -> MaskRuns | None:
    """Add a part, whose first pixel lies at ``corner``, to a mask, or take it away."""
    row, column = corner
    window = (slice(row, row + part.shape[0]), slice(column, column + part.shape[1]))
    both = window if old is None else around(window, old.index)
    whole = np.zeros(shape_of(both), bool) if old is None else old.within(both)
    whole[relative_to(both, window)][part] = adds
    return MaskRuns.of(whole, (both[0].start, both[1].start))
