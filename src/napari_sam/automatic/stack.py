"""Automatic masks of a whole stack: plane by plane, then linked into objects, then written in one step."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from napari_sam.annotation import Session
from napari_sam.automatic.masks import PlaneMasks
from napari_sam.automatic.proposing import propose_plane
from napari_sam.automatic.writing import Annotated, commit_masks
from napari_sam.inference.automatic import Generation, suited_selection
from napari_sam.inference.overlaps import Rule
from napari_sam.inference.proposals import Selection
from napari_sam.linking import Linking, centroid, link
from napari_sam.plane import Plane
from napari_sam.progress import Progress, ignore_progress
from napari_sam.storage.records import Step


def planes_along(session: Session, axis: str, indices: Sequence[int] | None = None) -> list[Plane]:
    """Give the planes along an axis that lie as the shown one does, at its place on the other axes.

    Parameters
    ----------
    session
        Its shown plane.
    axis
        Letter of an axis that is not displayed.
    indices
        Which of them; all if left out.

    Raises
    ------
    ValueError
        If the image has no such axis to go along, or no such plane.
    """
    shown, planes = session.plane, session.planes
    number = planes.axis_across(shown, axis)
    found = []
    for index in range(planes.shape[number]) if indices is None else indices:
        planes.check(plane := shown.moved(number, index))
        found.append(plane)
    return found


class StackRun:
    """Find the masks of many planes, link them, and write them.

    The proposals of one plane at a time are in memory; of the other planes only the masks that were selected,
    as run lengths. A run that was ended goes on where it was when `compute` is called again. So does a new
    run over the same planes, after a restart too: proposals are kept on disk, see `propose_plane`.

    Parameters
    ----------
    session
        The image, the model, and the labels.
    planes
        In order, such as `planes_along` gives them.
    generation, selection
        How masks are proposed and which are selected, on every plane alike; what suits the model if left out.
    rule
        Which of two masks gets the pixels that both have.
    linking
        How masks of consecutive planes become one object; None lets each mask be an object of its own.

    Attributes
    ----------
    linking
        How `compute` links; what was linked before in another way is linked anew by its next call.
    rejected
        Objects, by number, that are not written.

    Raises
    ------
    ValueError
        If there are no planes, or a threshold of the selection is lower than what is proposed.
    """

    def __init__(
        self,
        session: Session,
        planes: Sequence[Plane],
        generation: Generation | None = None,
        selection: Selection | None = None,
        rule: Rule = "smaller",
        linking: Linking | None = None,
    ) -> None:
        self.session = session
        self.planes = tuple(planes)
        self.generation = Generation() if generation is None else generation
        self.selection = (
            suited_selection(session.predictor, self.generation) if selection is None else selection
        )
        self.rule = rule
        self.linking = linking
        self.rejected: set[int] = set()
        self._lock = threading.Lock()
        self._found: dict[Plane, PlaneMasks] = {}
        self._messages: dict[Plane, str] = {}
        self._proposed = 0
        self._removed: Counter[str] = Counter()
        self._numbers: list[NDArray[np.int64]] | None = None
        self._linked_by: Linking | None = None
        if not self.planes:
            raise ValueError("There are no planes to run on; give one or more.")
        self.selection.check_floors(self.generation.score_floor, self.generation.stability_floor)

    @property
    def done(self) -> int:
        """Number of planes whose masks are found."""
        with self._lock:
            return len(self._found)

    @property
    def is_complete(self) -> bool:
        """Whether all planes are done and linked."""
        return self._numbers is not None

    @property
    def linked_by(self) -> Linking | None:
        """How the masks are linked now; None also before they are."""
        return self._linked_by

    @property
    def found(self) -> Mapping[Plane, PlaneMasks]:
        """The masks of the planes that are done."""
        with self._lock:
            return dict(self._found)

    def masks_on(self, plane: Plane) -> PlaneMasks | None:
        """Give the masks of one plane; None where it is not done, or not one of the run's."""
        with self._lock:
            return self._found.get(plane)

    @property
    def messages(self) -> Mapping[Plane, str]:
        """Why there is no mask on a plane, for those without."""
        with self._lock:
            return dict(self._messages)

    @property
    def message(self) -> str | None:
        """Why no object of a complete run would be written; None if one would."""
        if self.object_count:
            return None
        if self.rejected:
            return "All objects are rejected; accept some of them."
        count = sum(len(masks) for masks in self.found.values())
        if count and self._linked_by is not None:
            return f"Of {count} masks no object is left: min_length = {self._linked_by.min_length} took all."
        if not self._proposed:
            return next(iter(self.messages.values()), "There are no masks.")
        return self.selection.why_nothing(self._proposed, self._removed)

    def compute(self, progress: Progress = ignore_progress) -> None:
        """Find and link the masks of all planes that are not done yet: slow, safe in any thread.

        ``progress`` is told the share that is done; what it raises ends the call, and the planes that are
        done stay done.
        """
        total = len(self.planes)
        for number, plane in enumerate(self.planes):
            if self.masks_on(plane) is not None:
                continue
            progress(number / total)
            self._find(plane, lambda x, n=number: progress((n + x) / total))  # type: ignore[misc]
        progress(1.0)
        if self._numbers is None or self.linking != self._linked_by:
            self.relink(self.linking)

    def _find(self, plane: Plane, progress: Progress) -> None:
        """Find the masks of one plane, and keep no proposals."""
        proposals = propose_plane(self.session, plane, self.generation, progress)
        selected = proposals.select(self.selection)
        masks = PlaneMasks.of(plane, proposals, selected, self.rule)
        with self._lock:
            self._found[plane] = masks
            self._proposed += len(proposals)
            self._removed.update(selected.removed)
            if selected.message is not None:
                self._messages[plane] = selected.message

    def compute_and_give(self, progress: Progress = ignore_progress) -> StackRun:
        """Do `compute`, and give the run itself: what a thread hands back."""
        self.compute(progress)
        return self

    def does_the_same_as(self, other: StackRun) -> bool:
        """Whether another run finds the same masks, however it links them."""
        mine, theirs = ((x.session, x.planes, x.generation, x.selection, x.rule) for x in (self, other))
        return mine == theirs

    def relink(self, linking: Linking | None) -> None:
        """Link the masks in another way; an object stays rejected if all of its masks were."""
        found = self.found
        assert len(found) == len(set(self.planes)), "link once all planes are done"
        masks = [found[plane].masks for plane in self.planes]
        before = self._numbers
        if linking is None:
            ends = np.cumsum([0, *(len(x) for x in masks)])
            numbers = [np.arange(a, b) + 1 for a, b in pairwise(ends)]
        else:
            numbers = link(masks, linking)
        self.rejected = set() if before is None else _still_rejected(before, self.rejected, numbers)
        self.linking, self._linked_by, self._numbers = linking, linking, numbers

    def numbers(self, plane: Plane) -> NDArray[np.int64]:
        """Give the object of each mask of a plane, 0 for those that are too short.

        Raises
        ------
        ValueError
            If the run is not complete.
        """
        return self._linked()[self.planes.index(plane)]

    @property
    def object_count(self) -> int:
        """Number of objects that would be written."""
        highest = max((int(x.max(initial=0)) for x in self._linked()), default=0)
        return highest - len(self.rejected)

    def commit(self, annotated: Annotated = "keep", region: NDArray[np.bool_] | None = None) -> Step:
        """Write all objects that are not rejected, in one step, and tell the session; see `commit_masks`.

        Raises
        ------
        ValueError
            If the run is not complete, or nothing is left to write.
        LabelsError
            If the store cannot be written; nothing has changed then.
        """
        return commit_masks(self.session, *self.accepted(), annotated, region)

    def accepted(self) -> tuple[list[PlaneMasks], list[NDArray[np.int64]]]:
        """Give the masks of all planes, and the object of each, 0 for those that are rejected or too short.

        Raises
        ------
        ValueError
            If the run is not complete, or no object is left.
        """
        if (message := self.message) is not None:
            raise ValueError(message)
        numbers = [_without(x, self.rejected) for x in self._linked()]
        found = self.found
        return [found[plane] for plane in self.planes], numbers

    def tracks(self) -> NDArray[np.float64]:
        """Give the centroids of the accepted objects as rows of a napari Tracks layer.

        Returns
        -------
        (N, 1 + ndim) array
            The object's number, then the position along every axis of the image, in pixels. Objects do not
            divide, so no track is another's child.
        """
        rows, found, linked = [], self.found, self._linked()
        for plane, numbers in zip(self.planes, linked, strict=True):
            for runs, number in zip(found[plane].masks, _without(numbers, self.rejected), strict=True):
                if number:
                    position = np.array(plane.position, float)
                    position[list(plane.displayed)] = centroid(runs)
                    rows.append([float(number), *position])
        rows.sort()
        return np.array(rows, float).reshape(-1, 1 + self.session.planes.ndim)

    def _linked(self) -> list[NDArray[np.int64]]:
        if self._numbers is None:
            raise ValueError(
                f"{self.done} of {len(self.planes)} planes are done; call compute() to go on with the rest."
            )
        return self._numbers


def _still_rejected(
    before: Sequence[NDArray[np.int64]], rejected: Collection[int], after: Sequence[NDArray[np.int64]]
) -> set[int]:
    """Name the objects all of whose masks were rejected, as they are numbered ``after``."""
    was = np.isin(np.concatenate(before), list(rejected))
    now = np.concatenate(after)
    return set(now[was & (now > 0)].tolist()) - set(now[~was].tolist())


def _without(numbers: NDArray[np.int64], rejected: Collection[int]) -> NDArray[np.int64]:
    """Turn rejected objects into 0."""
    return np.where(np.isin(numbers, list(rejected)), 0, numbers)
