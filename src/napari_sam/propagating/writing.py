"""A propagated object is written: its masks on all planes, in one step of the history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from napari_sam.annotation import Session
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.propagation import Section
from napari_sam.plane import Plane
from napari_sam.progress import Progress, between, ignore_progress
from napari_sam.propagating.finding import (
    Propagation,
    PropagationRequest,
    request_propagation,
    run_propagation,
)
from napari_sam.propagating.fixed import FixedPlanes
from napari_sam.runs import MaskRuns
from napari_sam.storage.changes import Change, Claim, Overlap
from napari_sam.storage.origins import Origin
from napari_sam.storage.packing import PackedChanges
from napari_sam.storage.painting import erased, repainted, room_for
from napari_sam.storage.records import Draft, Step

KIND = "propagate"
# Which shares of the progress are the search, and the planning of what is written.
_SEARCH, _PLANNING = 0.9, 0.5


@dataclass(frozen=True, eq=False)
class WrittenPropagation:
    """What came of a propagation.

    Attributes
    ----------
    step
        Of the kind ``"propagate"``; None where nothing was to be changed.
    planes
        Those on which the object was found, in their order.
    erased
        Those from which it is gone: an earlier propagation had gone farther.
    """

    step: Step | None
    planes: tuple[Plane, ...]
    erased: tuple[Plane, ...]


def propagate(
    session: Session,
    label: int,
    axis: str | None = None,
    reach: int | None = None,
    overlap: Overlap = "keep",
    inside: int | None = None,
    progress: Progress = ignore_progress,
) -> tuple[Plane, ...]:
    """Give an object of the shown plane its masks on the planes before and behind, and wait for it.

    From the shown plane on, each mask is the prompt of the next plane (see `next_section`), until the object
    ends there, or comes to a plane on which it is fixed: it has a mask there that was not propagated, or one
    that was changed since. So what is corrected by hand stays, and can be propagated from.

    Parameters
    ----------
    session, label, axis, reach
        See `request_propagation`.
    overlap, inside
        What becomes of pixels of other objects; see `Session.commit`. Where they keep half or more of a
        mask, the object ends.
    progress
        Told the share that is done; what it raises ends the call, and nothing has changed then.

    Returns
    -------
    tuple of Plane
        Those on which the object was found, beside the shown one.

    Raises
    ------
    ValueError, TypeError, LabelsError
        See `request_propagation` and `write_propagation`.

    Examples
    --------
    >>> session.go_to(z=12)  # doctest: +SKIP
    >>> session.set_box((30, 40, 62, 75))  # doctest: +SKIP
    >>> session.predict()  # doctest: +SKIP
    >>> propagate(session, session.commit())  # doctest: +SKIP
    """
    request = request_propagation(session, label, axis, reach, Claim(overlap, inside))
    written = run_and_write(session, request, progress)
    if written.step is not None:
        session.announce(written.step)
    return written.planes


def run_and_write(
    session: Session, request: PropagationRequest, progress: Progress = ignore_progress
) -> WrittenPropagation:
    """Find the sections of an object and write them, in any thread; see both of these."""
    found = run_propagation(session, request, between(progress, 0, _SEARCH))
    return write_propagation(session, found, between(progress, _SEARCH, 1))


def write_propagation(
    session: Session, propagation: Propagation, progress: Progress = ignore_progress
) -> WrittenPropagation:
    """Write the sections of an object, in any thread; undo takes all back at once.

    Masks of an earlier propagation are replaced. Where that had gone farther, what lies behind goes, unless
    the object is fixed on a plane farther on. A write of another thread is waited for. Whoever listens to the
    session belongs to another thread, which has to call `Session.announce`.

    Parameters
    ----------
    session, propagation
        Where to, and what. Where other objects keep half or more of a section, the object ends.
    progress
        Told the share that is done; what it raises ends the call, and nothing has changed then.

    Raises
    ------
    ValueError
        If the object is gone meanwhile.
    LabelsError
        If the store cannot be written; nothing has changed then.
    """
    store, request = session.store, propagation.request
    store.check_writable()
    with store.writing(waiting=lambda: progress(0.0)):
        if store.ledger.object(request.label) is None:
            raise ValueError(f"The object {request.label} is gone; it was not propagated.")
        plan = _Plan(session, request)
        for planes, found in zip(request.sides, propagation.sides, strict=True):
            plan.add(planes, found, lambda: progress(0.0))
        step = None
        if plan.changes:
            unmade = [(request.label, plane) for plane in plan.erased]
            draft = Draft(KIND, request.label, plan.changes, origins=plan.origins, unmade=unmade)
            step = store.write_aside(draft, between(progress, _PLANNING, 1))
    return WrittenPropagation(
        step, _in_order([origin.plane for origin in plan.origins]), _in_order(plan.erased)
    )


def _in_order(planes: Sequence[Plane]) -> tuple[Plane, ...]:
    return tuple(sorted(planes, key=lambda plane: plane.position))


class _Plan:
    """What is to be written: the masks of one object on many planes."""

    def __init__(self, session: Session, request: PropagationRequest) -> None:
        self._store, self._request = session.store, request
        self._fixed = FixedPlanes(session.store, request.label)
        self.changes = PackedChanges()
        self.origins: list[Origin] = []
        self._making = session.making("propagated", Prompt(), None)
        self.erased: list[Plane] = []

    def add(self, planes: Sequence[Plane], found: Sequence[Section], check: Callable[[], None]) -> None:
        """Add the sections on one side; ``check`` is called on the way, to stop it."""
        count = 0
        for plane, section in zip(planes, found, strict=False):
            check()
            if self._fixed.has(plane) or not self._has_room(plane, section.mask):
                break
            self._paint(plane, section)
            count += 1
        behind = []
        for plane in planes[count:]:
            if not self._fixed.has(plane):
                if not self._fixed.was_given(plane):
                    break
                behind.append(plane)
            elif self._store.mask_of(plane, self._request.label) is not None:
                return  # the object goes on there: what lies between is not behind its end
        for plane in behind:
            check()
            own = self._store.mask_of(plane, self._request.label)
            if own is not None:
                self._change(erased(self._store.block, plane, self._request.label, own))
                self.erased.append(plane)

    def _has_room(self, plane: Plane, mask: MaskRuns) -> bool:
        """Whether the object may have more than half of a mask."""
        request, block = self._request, self._store.block
        room = room_for(block, plane, mask.index, mask.mask(), request.claim, request.label)
        return 2 * room > mask.area

    def _paint(self, plane: Plane, section: Section) -> None:
        request, label = self._request, self._request.label
        own = self._store.mask_of(plane, label)
        change = repainted(self._store.block, plane, section.mask, label, own, request.claim)
        self._change(change)
        row, column = (change.region[axis].start for axis in plane.displayed)
        # What it is given, by which it is known later whether somebody has changed it.
        given = MaskRuns.of(plane.from_block(change.after) == label, (row, column))
        assert given is not None, "there is room"
        making = replace(self._making, prompt=section.prompt, score=section.score)
        self.origins.append(Origin(label, plane, given, making))

    def _change(self, change: Change) -> None:
        self.changes.add(change.region, change.before, change.after)
