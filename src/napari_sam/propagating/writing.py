"""A propagated object is written: its masks on all planes, in one step of the history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_sam.annotation import Session
from napari_sam.inference.propagation import Section, section_prompt
from napari_sam.planes import Plane
from napari_sam.progress import Progress, between, ignore_progress
from napari_sam.propagating.finding import Propagation, request_propagation, run_propagation
from napari_sam.runs import MaskRuns
from napari_sam.storage.changes import Change, Overlap, from_block, paintable, region_of
from napari_sam.storage.origins import Origin
from napari_sam.storage.packing import PackedChanges
from napari_sam.storage.painting import erased, repainted
from napari_sam.storage.records import Step

KIND = "propagate"
# So much of the work is the search for the sections; the rest is writing them.
_SEARCH = 0.95


@dataclass(frozen=True, eq=False)
class WrittenPropagation:
    """What came of a propagation.

    Attributes
    ----------
    step
        Of the kind ``"propagate"``; None where nothing was to be changed.
    planes
        Those on which the object was written, in their order.
    """

    step: Step | None
    planes: tuple[Plane, ...]


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
    ends there, or comes to a plane on which it has a mask already that was not propagated, or was changed
    since: what is corrected by hand stays, and can be propagated from.

    Parameters
    ----------
    session, label, axis, reach
        See `request_propagation`.
    overlap, inside
        What becomes of pixels of other objects; see `Session.commit`. Where others keep half or more of a
        mask, the object ends.
    progress
        Told the share that is done; what it raises ends the call, and nothing has changed then.

    Returns
    -------
    tuple of Plane
        Those on which the object was written.

    Raises
    ------
    ValueError, LabelsError
        See `request_propagation` and `write_propagation`.

    Examples
    --------
    >>> session.go_to(z=12)  # doctest: +SKIP
    >>> session.set_box((30, 40, 62, 75))  # doctest: +SKIP
    >>> session.predict()  # doctest: +SKIP
    >>> propagate(session, session.commit())  # doctest: +SKIP
    """
    request = request_propagation(session, label, axis, reach)
    found = run_propagation(session, request, between(progress, 0, _SEARCH))
    written = write_propagation(session, found, overlap, inside, between(progress, _SEARCH, 1))
    if written.step is not None:
        session.announce(written.step)
    return written.planes


def write_propagation(
    session: Session,
    propagation: Propagation,
    overlap: Overlap = "keep",
    inside: int | None = None,
    progress: Progress = ignore_progress,
) -> WrittenPropagation:
    """Write the sections of an object, in any thread; undo takes all back at once.

    Masks of an earlier propagation are replaced, and those go that lie behind where the object ends now.
    Whoever listens to the session belongs to another thread, which has to call `Session.announce`.

    Parameters
    ----------
    session, propagation
        Where to, and what.
    overlap, inside
        What becomes of pixels of other objects; see `Session.commit`. Where others keep half or more of a
        section, the object ends.
    progress
        Told the share that is done; what it raises ends the call, and nothing has changed then.

    Raises
    ------
    ValueError
        If the object is gone meanwhile.
    LabelsError
        If the store cannot be written, or another thread writes; nothing has changed then.
    """
    store, request = session.store, propagation.request
    store.check_writable()
    with store.writing():
        if store.ledger.object(request.label) is None:
            raise ValueError(f"The object {request.label} is gone; it was not propagated.")
        sections = _Sections(session, propagation, overlap, inside)
        for planes, found in zip(request.sides, propagation.sides, strict=True):
            sections.add(planes, found)
        if not sections.changes:
            return WrittenPropagation(None, ())
        step = store.write_aside(
            KIND, sections.changes, label=request.label, origins=sections.origins, progress=progress
        )
    written = sorted((x.plane for x in sections.origins), key=lambda plane: plane.position)
    return WrittenPropagation(step, tuple(written))


class _Sections:
    """What is to be written of a propagation: the masks of one object on many planes."""

    def __init__(
        self, session: Session, propagation: Propagation, overlap: Overlap, inside: int | None
    ) -> None:
        self._session, self._store = session, session.store
        self._request = propagation.request
        self._shape = self._request.plane.shape(session.planes.shape)
        self._overlap: Overlap = overlap
        self._inside = inside
        self.changes, self.origins = PackedChanges(), list[Origin]()

    def add(self, planes: tuple[Plane, ...], found: tuple[Section, ...]) -> None:
        """Add the sections on one side; what the object has behind them of an earlier propagation goes."""
        for number, plane in enumerate(planes):
            own = self._store.mask_of(plane, self._request.label)
            if self._request.is_fixed(plane, own):
                return
            section = found[number] if number < len(found) else None
            if section is not None and self._has_room(plane, section.mask):
                self._paint(plane, section, own)
                continue
            found = ()  # the object ends here
            if own is None:
                return
            self._change(erased(self._store.block, plane, self._request.label, own))

    def _has_room(self, plane: Plane, mask: MaskRuns) -> bool:
        """Whether the object may have more than half of a mask."""
        there = from_block(plane, self._store.block(region_of(plane, *mask.index)))
        others = np.where(there == self._request.label, 0, there).astype(there.dtype)
        free = paintable(others, mask.mask(), self._overlap, self._inside)
        return 2 * int(np.count_nonzero(free)) > mask.area

    def _paint(self, plane: Plane, section: Section, own: MaskRuns | None) -> None:
        label = self._request.label
        change = repainted(self._store.block, plane, section.mask, label, own, self._overlap, self._inside)
        self._change(change)
        corner = tuple(change.region[axis].start for axis in plane.displayed)
        # What it is given, by which it is known later whether somebody has changed it.
        given = MaskRuns.of(from_block(plane, change.after) == label, (corner[0], corner[1]))
        assert given is not None, "there is room"
        prompt = section_prompt(section.before.on(self._shape))
        making = self._session.making("propagated", prompt, section.score)
        self.origins.append(Origin(label, plane, given, making))

    def _change(self, change: Change) -> None:
        self.changes.add(change.region, change.before, change.after)
