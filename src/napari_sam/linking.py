"""Masks of consecutive planes become objects along z, or tracks along t, by one optimal assignment."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

from napari_sam.runs import MaskRuns

Measure = Literal["iou", "smaller"]
# Each plane in which an object is missing halves what its link is worth, so that a way through masks in
# between is taken before one past them.
_GAP_WORTH = 0.5
# The solver takes no edges of weight zero; this is what it costs to begin or end an object.
_NO_LINK = 2.0


@dataclass(frozen=True)
class Linking:
    """How masks of consecutive planes are linked.

    Attributes
    ----------
    measure
        What the overlap of two masks is measured by: ``"iou"``, the intersection over the union, or
        ``"smaller"``, the intersection over the smaller of the areas, for objects whose size changes quickly.
    min_overlap
        Masks that overlap less, from 0 to 1, are never linked.
    max_gap
        In so many consecutive planes an object may be missing.
    min_length
        Objects with masks in fewer planes are left out.
    waist
        An object is parted at its thinnest mask where that has less than this share of the area of a mask on
        either side: there one object ends and the next begins below it. 0 parts nothing, as for tracks.

    Raises
    ------
    ValueError
        For a value out of its range.
    """

    measure: Measure = "iou"
    min_overlap: float = 0.1
    max_gap: int = 1
    min_length: int = 1
    waist: float = 0.0

    def __post_init__(self) -> None:
        if self.measure not in ("iou", "smaller"):
            raise ValueError(f"The overlap cannot be measured by {self.measure!r}; choose iou or smaller.")
        if not 0 < self.min_overlap <= 1:
            raise ValueError(f"The minimum overlap is {self.min_overlap}; give more than 0 and at most 1.")
        if self.max_gap < 0:
            raise ValueError(f"The longest gap is {self.max_gap} planes; give 0 or more.")
        if self.min_length < 1:
            raise ValueError(f"The minimum length is {self.min_length} planes; give 1 or more.")
        if not 0 <= self.waist < 1:
            raise ValueError(f"The waist is {self.waist}; give a share from 0 to less than 1.")


def suited_linking(axis: str) -> Linking:
    """Give the linking to begin with along an axis, by its letter.

    Along z the sections of an object grow and shrink quickly, and where it ends another one may begin below
    it. The numbers for z were chosen on volumes of drawn ellipsoids, flat and tall, tilted, crowded and
    apart, some of whose sections were left out or blurred.
    """
    return Linking("smaller", 0.4, waist=0.5) if axis == "z" else Linking()


def link(planes: Iterable[Sequence[MaskRuns]], linking: Linking | None = None) -> list[NDArray[np.int64]]:
    """Link the masks of consecutive planes into objects.

    Every mask gets at most one predecessor and one successor, at most ``max_gap`` planes away, so that the
    sum of all overlaps is the largest that there is; a gap of n planes counts an overlap 0.5 ** n times. So
    one assignment links and closes gaps at once. An object neither divides nor merges: of two daughters one
    goes on with the object, and the other begins a new one.

    That is the association of Zhang, Li and Nevatia (CVPR 2008) with gaps as in Jaqaman et al. (Nature
    Methods 5, 2008), solved by SciPy's matching of sparse bipartite graphs (Jonker and Volgenant, 1987).

    Parameters
    ----------
    planes
        The masks of each plane, in order; they may overlap within a plane. Only ``max_gap`` + 1 planes are
        held decoded at a time.
    linking
        `Linking` as it is by default, if left out.

    Returns
    -------
    list of (n,) int64 arrays
        For each plane the object of each mask: numbers from 1 on, in the order of the objects' first planes;
        0 for masks of objects that are shorter than ``min_length``. The order in which a plane's masks are
        given changes nothing but the order of its numbers.
    """
    linking = linking or Linking()
    sources: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    targets: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    worths: list[NDArray[np.float64]] = [np.zeros(0)]
    areas: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    orders: list[list[int]] = []
    starts = [0]
    window: deque[tuple[int, _Decoded]] = deque(maxlen=linking.max_gap + 1)
    for number, masks in enumerate(planes):
        # In an order of their own, lest ties be decided by the order in which they came.
        order = sorted(range(len(masks)), key=lambda i, m=masks: (m[i].box, m[i].area, m[i].runs))  # type: ignore[misc]
        here = _Decoded([masks[i] for i in order])
        for earlier, there in window:
            a, b, overlap = _overlaps(there, here, linking.measure)
            near = overlap >= linking.min_overlap
            sources.append(starts[earlier] + a[near])
            targets.append(starts[number] + b[near])
            worths.append(overlap[near] * _GAP_WORTH ** (number - earlier - 1))
        window.append((number, here))
        areas.append(here.areas)
        orders.append(order)
        starts.append(starts[-1] + len(order))
    chains = _chains(starts[-1], np.concatenate(sources), np.concatenate(targets), np.concatenate(worths))
    if linking.waist:
        chains = _parted(chains, np.concatenate(areas), linking.waist)
    numbers = _numbered(chains, linking.min_length)
    found = []
    for order, start, stop in zip(orders, starts[:-1], starts[1:], strict=True):
        on_plane = np.zeros(len(order), np.int64)
        on_plane[order] = numbers[start:stop]
        found.append(on_plane)
    return found


def centroid(runs: MaskRuns) -> tuple[float, float]:
    """Give the mean (row, column) of a mask's pixels."""
    rows, columns = np.nonzero(runs.mask())
    return float(rows.mean()) + runs.box[0], float(columns.mean()) + runs.box[1]


def meeting(
    boxes: NDArray[np.int64], others: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the pairs of boxes, one of each plane, that share pixels.

    Of the others only those are looked at that begin near enough to reach the same rows: a table of all pairs
    of two crowded planes would take gigabytes.

    Parameters
    ----------
    boxes, others
        (N, 4) and (M, 4) of ``(row0, column0, row1, column1)``, the ends left out; the others in the order of
        their first rows.

    Returns
    -------
    tuple of (K,) int64 arrays
        Numbers of the boxes and of the others, in this order.
    """
    tallest = (others[:, 2] - others[:, 0]).max(initial=0)
    starts = np.searchsorted(others[:, 0], boxes[:, 0] - tallest, "right").tolist()
    stops = np.searchsorted(others[:, 0], boxes[:, 2]).tolist()
    found = [np.zeros(0, np.int64)]
    for (row0, column0, _, column1), start, stop in zip(boxes.tolist(), starts, stops, strict=True):
        near = others[start:stop]
        meets = (near[:, 2] > row0) & (near[:, 1] < column1) & (near[:, 3] > column0)
        found.append(np.flatnonzero(meets) + start)
    return np.repeat(np.arange(len(boxes)), [len(x) for x in found[1:]]), np.concatenate(found)


class _Decoded:
    """The masks of one plane, in the order of their boxes, with these and the areas as arrays."""

    def __init__(self, masks: Sequence[MaskRuns]) -> None:
        self.masks = [runs.mask() for runs in masks]
        self.boxes = np.array([runs.box for runs in masks], np.int64).reshape(-1, 4)
        self.areas = np.array([runs.area for runs in masks], np.int64)


def _overlaps(
    one: _Decoded, other: _Decoded, measure: Measure
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Give the pairs of masks that share pixels, as two lists of numbers, and by how much they overlap."""
    a, b = meeting(one.boxes, other.boxes)
    shared = np.array(
        [_shared(one, i, other, j) for i, j in zip(a.tolist(), b.tolist(), strict=True)], np.int64
    )
    first, second = one.areas[a], other.areas[b]
    whole = first + second - shared if measure == "iou" else np.minimum(first, second)
    there = shared > 0
    return a[there], b[there], shared[there] / whole[there]


def _shared(one: _Decoded, i: int, other: _Decoded, j: int) -> int:
    """Count the pixels that two masks share."""
    (top, left, *end), (top_, left_, *end_) = one.boxes[i].tolist(), other.boxes[j].tolist()
    row0, column0 = max(top, top_), max(left, left_)
    row1, column1 = min(end[0], end_[0]), min(end[1], end_[1])
    mine = one.masks[i][row0 - top : row1 - top, column0 - left : column1 - left]
    theirs = other.masks[j][row0 - top_ : row1 - top_, column0 - left_ : column1 - left_]
    return int(np.count_nonzero(mine & theirs))


def _chains(
    count: int, sources: NDArray[np.int64], targets: NDArray[np.int64], worths: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Choose the successors whose worths have the largest sum, and number the chains that they make.

    A row of the matrix is a mask that looks for a successor. Its columns are the masks that can be one, and
    one more of its own for having none.
    """
    if count == 0:
        return np.zeros(0, np.int64)
    every = np.arange(count)
    costs = coo_array(
        (
            np.concatenate([_NO_LINK - worths, np.full(count, _NO_LINK)]),
            (np.concatenate([sources, every]), np.concatenate([targets, count + every])),
        ),
        shape=(count, 2 * count),
    )
    rows, columns = min_weight_full_bipartite_matching(costs.tocsr())
    linked = columns < count
    links = coo_array(
        (np.ones(np.count_nonzero(linked)), (rows[linked], columns[linked])), shape=(count, count)
    )
    chains: NDArray[np.int64] = connected_components(links, directed=False)[1].astype(np.int64)
    return chains


def _parted(chains: NDArray[np.int64], areas: NDArray[np.int64], waist: float) -> NDArray[np.int64]:
    """Part chains, whose masks follow each other in order, at their waists; each part gets its own number."""
    parts = np.zeros(len(chains), np.int64)
    count = 0
    members = np.argsort(chains, kind="stable")
    for chain in np.split(members, np.flatnonzero(np.diff(chains[members])) + 1):
        bounds = [0, *_waists(areas[chain], waist), len(chain)]
        for start, stop in pairwise(bounds):
            parts[chain[start:stop]] = count
            count += 1
    return parts


def _waists(areas: NDArray[np.int64], waist: float) -> list[int]:
    """Say before which masks a chain is parted: between the thinnest of a waist and its thinner neighbour."""
    cuts = []
    pieces = [(0, len(areas))]
    while pieces:
        start, stop = pieces.pop()
        piece = areas[start:stop]
        if len(piece) < 3:
            continue
        before = np.maximum.accumulate(piece)[:-2]
        after = np.maximum.accumulate(piece[::-1])[::-1][2:]
        thickness = piece[1:-1] / np.minimum(before, after)
        thinnest = int(np.argmin(thickness)) + 1
        if thickness[thinnest - 1] < waist:
            cut = start + thinnest + int(piece[thinnest - 1] > piece[thinnest + 1])
            cuts.append(cut)
            pieces += [(start, cut), (cut, stop)]
    return sorted(cuts)


def _numbered(chains: NDArray[np.int64], min_length: int) -> NDArray[np.int64]:
    """Number the chains that are long enough from 1 on, by their first mask; 0 for the others."""
    _, first, inverse, lengths = np.unique(chains, return_index=True, return_inverse=True, return_counts=True)
    numbers = np.zeros(len(first), np.int64)
    long = [chain for chain in np.argsort(first) if lengths[chain] >= min_length]
    numbers[long] = np.arange(1, len(long) + 1)
    return numbers[inverse]
