"""An object on more planes than one: its mask is carried on, plane by plane, until it ends."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from napari_sam.annotation import Session
from napari_sam.inference.propagation import Section, next_section, presence
from napari_sam.inference.results import Embedding
from napari_sam.inference.tiling import Tile
from napari_sam.plane import Plane
from napari_sam.prefetching import Travel
from napari_sam.progress import Progress, between, ignore_progress
from napari_sam.propagating.fixed import FixedPlanes
from napari_sam.storage.changes import Claim
from napari_sam.storage.records import as_label

# An object has ended where its presence is less than this share of the highest on its planes before, or less
# than this at all. Chosen on four of the eight volumes that the page of the stacks reports.
_SHARE, _LEAST = 0.7, 0.3
# Along positions and channels no object goes on.
_APART = ("p", "c")


@dataclass(frozen=True)
class PropagationRequest:
    """What is to be propagated, and where to.

    Attributes
    ----------
    label, plane
        The object, and the plane that it is propagated from.
    sides
        The planes before and behind that one, the nearest first.
    claim
        What becomes of pixels of other objects.
    """

    label: int
    plane: Plane
    sides: tuple[tuple[Plane, ...], tuple[Plane, ...]]
    claim: Claim


@dataclass(frozen=True, eq=False)
class Propagation:
    """The sections of an object: on each side of its plane, the nearest first, until it ends."""

    request: PropagationRequest
    sides: tuple[tuple[Section, ...], ...]


def goes_on_along(axis: str) -> bool:
    """Whether objects go on along an axis with this letter."""
    return axis.lower() not in _APART


def propagation_axis(plane: Plane, shape: Sequence[int], axes: str) -> str | None:
    """Give the axis along which objects go on: z, else t, else the longest; None if there is none."""
    apart = [n if goes_on_along(axis) else 1 for n, axis in zip(shape, axes, strict=True)]
    axis = Travel.default(plane, apart, axes).axis
    return None if axis in plane.displayed else axes[axis]


def request_propagation(
    session: Session,
    label: int,
    axis: str | None = None,
    reach: int | None = None,
    claim: Claim | None = None,
    plane: Plane | None = None,
) -> PropagationRequest:
    """Say what is to be propagated, once it is known to be possible.

    Parameters
    ----------
    session, label
        The object is one of its labels.
    axis
        Letter of the axis along which the planes lie; see `propagation_axis` for what it is if left out.
    reach
        To so many planes on each side at most; to all if left out.
    claim
        What becomes of pixels of other objects; they stay theirs if left out.
    plane
        Where to begin; on the shown one if left out.

    Raises
    ------
    ValueError
        If the object has no pixel on that plane, or there is no such axis to move along, or the reach is not
        positive, or the object is to lie inside itself.
    TypeError
        If the reach is no whole number.
    LabelsError
        If the labels can only be read.
    """
    label, store, plane = as_label(label), session.store, plane or session.plane
    store.check_writable()
    along = _axis(session, plane, axis)
    claim = claim or Claim()
    if claim.inside == label:
        raise ValueError(f"The object {label} cannot be propagated inside itself; choose another overlap.")
    if store.ledger.object(label) is None or store.mask_of(plane, label) is None:
        where = session.planes.name_of(plane)
        raise ValueError(f"The object {label} has no pixel on the plane {where}; go to one where it has.")
    here, length = plane.position[along], session.planes.shape[along]
    reach = length if reach is None else _checked_reach(reach)
    before = range(here - 1, max(-1, here - 1 - reach), -1)
    behind = range(here + 1, min(length, here + 1 + reach))
    sides = (
        tuple(plane.moved(along, index) for index in before),
        tuple(plane.moved(along, index) for index in behind),
    )
    return PropagationRequest(label, plane, sides, claim)


def run_propagation(
    session: Session, request: PropagationRequest, progress: Progress = ignore_progress
) -> Propagation:
    """Find the sections of the object: slow, free of side effects but for the cache, safe in any thread.

    Planes that are not encoded yet are encoded on the way, and pause while the user waits for anything else.
    ``progress`` is told the share of the planes that is done; what it raises ends the run.

    Raises
    ------
    ValueError
        If the object has no pixel on its plane any more.
    """
    search = _Search(session, request, partial(_tell, progress, 0.0))
    total = max(1, sum(map(len, request.sides)))
    sides, done = [], 0
    for planes in request.sides:
        told = between(progress, done / total, (done + len(planes)) / total)
        sides.append(tuple(search.along(planes, told)))
        done += len(planes)
    return Propagation(request, tuple(sides))


class _Search:
    """Carry the mask of one object on."""

    def __init__(self, session: Session, request: PropagationRequest, progress: Progress) -> None:
        self._predictor, self._embedder = session.predictor, session.embedder
        self._shape = request.plane.shape(session.planes.shape)
        self._fixed = FixedPlanes(session.store, request.label)
        mask = session.store.mask_of(request.plane, request.label)
        if mask is None:
            raise ValueError(f"The object {request.label} is gone from its plane; it was not propagated.")
        self._mask = mask
        self._surest = presence(self._predictor, self._shape, mask, self._embed(request.plane, progress))

    def along(self, planes: Sequence[Plane], progress: Progress) -> Iterator[Section]:
        """Give the sections on these planes, until the object ends."""
        mask, surest = self._mask, self._surest
        for number, plane in enumerate(planes):
            told = number / len(planes)
            progress(told)
            if self._fixed.has(plane):
                return
            embed = self._embed(plane, partial(_tell, progress, told))
            section = next_section(self._predictor, self._shape, mask, embed)
            if section is None or section.presence < max(_LEAST, _SHARE * surest):
                return
            yield section
            mask, surest = section.mask, max(surest, section.presence)

    def _embed(self, plane: Plane, progress: Progress) -> Callable[[Tile], Embedding]:
        """Embed tiles of a plane, each once: its pixels are read to see whether they have changed."""
        made: dict[Tile, Embedding] = {}

        def embed(tile: Tile) -> Embedding:
            if tile not in made:
                made[tile] = self._embedder.embed(plane, tile, progress, background=True)
            return made[tile]

        return embed


def _axis(session: Session, plane: Plane, letter: str | None) -> int:
    """Find the axis to move along, by its letter if one is given."""
    planes = session.planes
    if letter is None and (letter := propagation_axis(plane, planes.shape, planes.axes)) is None:
        free = [x for i, x in enumerate(planes.axes) if i not in plane.displayed and planes.shape[i] > 1]
        named = f"; name one of {free} to do it all the same" if free else ""
        raise ValueError(f"This image has no axis along which objects go on{named}.")
    return planes.axis_across(plane, letter)


def _checked_reach(reach: int) -> int:
    try:
        number = operator.index(reach)
    except TypeError:
        raise TypeError(f"The reach is {reach!r}; give a whole number of planes.") from None
    if number < 1:
        raise ValueError(f"The reach is {number} planes; give 1 or more.")
    return number


def _tell(progress: Progress, done: float, _encoded: float) -> None:
    """Tell how far all is, whatever share of a plane is encoded: what is raised there ends the work."""
    progress(done)
