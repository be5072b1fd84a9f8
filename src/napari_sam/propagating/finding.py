"""An object on more planes than one: its mask is carried on, plane by plane, until it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from napari_sam.annotation import Session
from napari_sam.inference.propagation import Section, next_section, presence
from napari_sam.planes import Plane
from napari_sam.prefetching import Travel
from napari_sam.progress import Progress, between, ignore_progress
from napari_sam.runs import MaskRuns

# An object has ended where its presence is less than this share of the highest on its planes before, or less
# than this at all. Chosen on four of the eight volumes that the page of the stacks reports.
_SHARE, _LEAST = 0.7, 0.3


@dataclass(frozen=True, eq=False)
class PropagationRequest:
    """What is to be propagated, and where to.

    Attributes
    ----------
    label, plane, mask
        The object, and its mask on the plane that it is propagated from.
    sides
        The planes before and behind that one, the nearest first.
    earlier
        The masks that it was given by a propagation before, by plane: where it still has just these they are
        replaced. On others that it has pixels on the propagation ends.
    """

    label: int
    plane: Plane
    mask: MaskRuns
    sides: tuple[tuple[Plane, ...], tuple[Plane, ...]]
    earlier: Mapping[Plane, MaskRuns]

    def is_fixed(self, plane: Plane, own: MaskRuns | None) -> bool:
        """Whether what the object has on a plane was made otherwise, or changed since, and stays."""
        return own is not None and self.earlier.get(plane) != own


@dataclass(frozen=True, eq=False)
class Propagation:
    """The sections of an object: on each side of its plane, the nearest first, until it ends."""

    request: PropagationRequest
    sides: tuple[tuple[Section, ...], ...]


def propagation_axis(session: Session) -> int | None:
    """Give the axis along which objects of the shown plane are propagated if none is named: z, else t.

    None where the image is but one plane.
    """
    travel = Travel.default(session.plane, session.planes.shape, session.planes.axes)
    return None if travel.axis in session.plane.displayed else travel.axis


def request_propagation(
    session: Session, label: int, axis: str | None = None, reach: int | None = None
) -> PropagationRequest:
    """Freeze what is to be propagated: what an object has on the shown plane.

    Parameters
    ----------
    session, label
        The object is one of its labels.
    axis
        Letter of the axis along which the planes lie; see `propagation_axis`.
    reach
        To so many planes on each side at most; to all if left out.

    Raises
    ------
    ValueError
        If the object has no pixel on the shown plane, or there is no such axis to move along, or the reach is
        not positive.
    LabelsError
        If the labels can only be read.
    """
    store, plane = session.store, session.plane
    store.check_writable()
    if reach is not None and reach < 1:
        raise ValueError(f"The reach is {reach} planes; give 1 or more.")
    along = _axis(session, axis)
    mask = store.mask_of(plane, label)
    if mask is None:
        where = session.planes.name_of(plane)
        raise ValueError(f"The object {label} has no pixel on the plane {where}; go to one where it has.")
    here, length = plane.position[along], session.planes.shape[along]
    reach = length if reach is None else reach
    before = range(here - 1, max(-1, here - 1 - reach), -1)
    behind = range(here + 1, min(length, here + 1 + reach))
    return PropagationRequest(
        label,
        plane,
        mask,
        (
            tuple(plane.moved(along, index) for index in before),
            tuple(plane.moved(along, index) for index in behind),
        ),
        store.ledger.made_by("propagated", label),
    )


def run_propagation(
    session: Session, request: PropagationRequest, progress: Progress = ignore_progress
) -> Propagation:
    """Find the sections of the object: slow, free of side effects but for the cache, safe in any thread.

    Planes that are not encoded yet are encoded on the way, and pause while the user waits for anything else.
    ``progress`` is told the share of the planes that is done; what it raises ends the run.
    """
    shape, embedder = request.plane.shape(session.planes.shape), session.embedder
    embed = partial(embedder.embed, request.plane, progress=partial(_tell, progress, 0.0), background=True)
    surest = presence(session.predictor, shape, request.mask, embed)
    total = max(1, sum(map(len, request.sides)))
    sides, done = [], 0
    for planes in request.sides:
        told = between(progress, done / total, (done + len(planes)) / total)
        sides.append(tuple(_sections(session, request, planes, surest, told)))
        done += len(planes)
    return Propagation(request, tuple(sides))


def _axis(session: Session, letter: str | None) -> int:
    """Find an axis to move along, by its letter."""
    axes, displayed = session.planes.axes, session.plane.displayed
    number = propagation_axis(session) if letter is None else axes.find(letter.lower())
    free = [x for i, x in enumerate(axes) if i not in displayed and session.planes.shape[i] > 1]
    if number is None or (letter is not None and letter.lower() not in free):
        which = "This image is one plane" if letter is None else f"{letter!r} is no axis to propagate along"
        raise ValueError(f"{which}; this plane moves along {free or 'none'}.")
    return number


def _sections(
    session: Session,
    request: PropagationRequest,
    planes: Sequence[Plane],
    surest: float,
    progress: Progress,
) -> Iterator[Section]:
    """Carry the mask on, plane by plane, until the object ends."""
    shape, embedder = request.plane.shape(session.planes.shape), session.embedder
    mask = request.mask
    for number, plane in enumerate(planes):
        told = number / len(planes)
        progress(told)
        if request.is_fixed(plane, session.store.mask_of(plane, request.label)):
            return
        section = next_section(
            session.predictor,
            shape,
            mask,
            partial(embedder.embed, plane, progress=partial(_tell, progress, told), background=True),
        )
        if section is None or section.presence < max(_LEAST, _SHARE * surest):
            return
        surest = max(surest, section.presence)
        yield section
        mask = section.mask


def _tell(progress: Progress, done: float, _encoded: float) -> None:
    """Tell how far all is, whatever share of a plane is encoded: what is raised there ends the work."""
    progress(done)
