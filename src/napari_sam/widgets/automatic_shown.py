"""What the window shows of automatic masks: those of one plane, or a stack's on the shown plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_sam.automatic.masks import PlaneMasks, within, without
from napari_sam.automatic.stack import StackRun
from napari_sam.inference.overlaps import Rule, label_image
from napari_sam.inference.proposals import Proposals, Selected, Selection
from napari_sam.plane import Plane

Picture = tuple[NDArray[np.integer[Any]], NDArray[np.bool_]]
Accepted = tuple[list[PlaneMasks], list[NDArray[np.int64]] | None]


class ShownMasks(Protocol):
    """Masks of which some are rejected."""

    @property
    def plane(self) -> Plane:
        """Which of them are seen."""

    @property
    def planes(self) -> Sequence[Plane]:
        """Where they lie."""

    @property
    def count(self) -> str | None:
        """How many there are, for the user; None if there are none."""

    @property
    def message(self) -> str | None:
        """Why there are none."""

    def picture(self) -> Picture:
        """Give (H, W): the numbers of accepted masks, and what is rejected."""

    def toggle(self, row: int, column: int) -> bool:
        """Reject the mask at a place, or accept it again; False if there is none."""

    def accept_all(self) -> None:
        """Take all rejections back."""

    def accepted(self) -> Accepted:
        """Give what is to be written: the masks of planes, and the object of each if they are linked.

        Raises
        ------
        ValueError
            If nothing can be given yet.
        """


@dataclass(frozen=True, eq=False)
class Judged:
    """The proposals of a plane, and the numbers of those that are rejected."""

    proposals: Proposals
    rejected: set[int] = field(default_factory=set)

    def of(self, proposals: Proposals) -> Judged:
        """Judge proposals that were made anew: as before, if they are the same."""
        return Judged(proposals, self.rejected if proposals.masks == self.proposals.masks else set())


class ShownPlane:
    """The masks that a selection leaves of one plane's proposals."""

    def __init__(self, plane: Plane, judged: Judged) -> None:
        self.plane = plane
        self.proposals = judged.proposals
        self.rejected = judged.rejected
        self._rule: Rule = "smaller"
        self._selected: Selected | None = None
        # Numbers of proposals, from 1 on: of all that are selected, and of those that are accepted.
        self._all: NDArray[np.int32] = np.zeros(self.proposals.shape, np.int32)
        self._accepted = self._all

    def choose(self, selection: Selection, rule: Rule, region: NDArray[np.bool_] | None = None) -> None:
        """Select among the proposals, those in a region if there is one; what is rejected stays rejected."""
        selected = self.proposals.select(selection)
        self._selected, self._rule = selected if region is None else within(selected, region), rule
        self._all = _numbered(self._selected, rule)
        self._paint()

    @property
    def planes(self) -> Sequence[Plane]:
        """Where they lie."""
        return (self.plane,)

    @property
    def count(self) -> str | None:
        """How many there are, for the user; None if there are none."""
        if self._selected is None or not len(self._selected):
            return None
        rejected = len(self._rejected_here(self._selected))
        turned_down = f", {rejected} rejected" if rejected else ""
        return f"{len(self._selected) - rejected} of {len(self.proposals)} masks{turned_down}"

    @property
    def message(self) -> str | None:
        """Why there are none."""
        return None if self._selected is None else self._selected.message

    def picture(self) -> Picture:
        """Give (H, W): the numbers of accepted masks, and what is rejected."""
        return self._accepted, (self._all > 0) & (self._accepted == 0)

    def toggle(self, row: int, column: int) -> bool:
        """Reject the mask at a place, or accept it again; False if there is none."""
        if not (0 <= row < self.proposals.shape[0] and 0 <= column < self.proposals.shape[1]):
            return False
        number = int(self._all[row, column])  # whether it is rejected or not: the next click means the same
        if number:
            self.rejected ^= {number - 1}
            self._paint()
        return number > 0

    def accept_all(self) -> None:
        """Take all rejections back."""
        self.rejected.clear()
        self._paint()

    def accepted(self) -> Accepted:
        """Give what is to be written: the masks of the plane."""
        assert self._selected is not None, "something was chosen"
        return [PlaneMasks.of(self.plane, self.proposals, self._selected, self._rule, self.rejected)], None

    def _rejected_here(self, selected: Selected) -> set[int]:
        return self.rejected & set(selected.indices.tolist())

    def _paint(self) -> None:
        if self._selected is None:
            return
        turned_down = self._rejected_here(self._selected)
        accepted = without(self._selected, turned_down)
        self._accepted = _numbered(accepted, self._rule) if turned_down else self._all


class ShownStack:
    """The linked masks of a complete run, on one of its planes."""

    def __init__(self, run: StackRun, plane: Plane) -> None:
        self.run = run
        self.plane = plane
        self._numbers = np.zeros(plane.shape(run.session.planes.shape), np.int64)
        found = run.masks_on(plane)
        assert found is not None, "the run has this plane, and is complete"
        for runs, number in zip(found.masks, run.numbers(plane), strict=True):
            self._numbers[runs.index][runs.mask()] = number

    def on(self, plane: Plane) -> ShownStack | None:
        """Show another plane; None for one that the run has not."""
        return None if self.run.masks_on(plane) is None else ShownStack(self.run, plane)

    @property
    def planes(self) -> Sequence[Plane]:
        """Where they lie."""
        return self.run.planes

    @property
    def count(self) -> str | None:
        """How many there are, for the user; None if there are none."""
        rejected = f", {len(self.run.rejected)} rejected" if self.run.rejected else ""
        there = self.run.object_count + len(self.run.rejected)
        return (
            f"{self.run.object_count} objects in {len(self.run.planes)} planes{rejected}" if there else None
        )

    @property
    def message(self) -> str | None:
        """Why there are none."""
        return self.run.messages.get(self.plane)

    def picture(self) -> Picture:
        """Give (H, W): the numbers of accepted objects, and what is rejected."""
        rejected = np.isin(self._numbers, list(self.run.rejected))
        return np.where(rejected, 0, self._numbers), rejected

    def toggle(self, row: int, column: int) -> bool:
        """Reject the object at a place, on all planes, or accept it again; False if there is none."""
        height, width = self._numbers.shape
        if not (0 <= row < height and 0 <= column < width) or not self._numbers[row, column]:
            return False
        self.run.rejected ^= {int(self._numbers[row, column])}
        return True

    def accept_all(self) -> None:
        """Take all rejections back."""
        self.run.rejected.clear()

    def accepted(self) -> Accepted:
        """Give what is to be written: the masks of all planes, and the object of each."""
        return self.run.accepted()


def _numbered(selected: Selected, rule: Rule) -> NDArray[np.int32]:
    """Paint masks with the number of their proposal, from 1 on, which no slider changes."""
    return label_image(selected, rule, selected.indices + 1)
