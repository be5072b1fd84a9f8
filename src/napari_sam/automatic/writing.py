"""Automatic masks become objects in the labels: all that are accepted, in one step of the history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_sam.annotation import Session
from napari_sam.automatic.masks import PlaneMasks, lies_outside
from napari_sam.inference.prompts import Prompt
from napari_sam.progress import Progress, between, ignore_progress
from napari_sam.storage.changes import Labels
from napari_sam.storage.origins import Origin
from napari_sam.storage.packing import PackedChanges
from napari_sam.storage.records import Draft, Step

Annotated = Literal["keep", "replace"]
KIND = "automatic"
# The share of the progress of a write that the painting of all planes is.
_PAINTING = 0.3
_REJECTED = "of no accepted object"


@dataclass(frozen=True)
class WrittenMasks:
    """What came of masks that were written.

    Attributes
    ----------
    step
        Of the kind ``"automatic"``.
    object_count
        How many objects are new.
    left_out
        How many masks of accepted objects were not written, by the reason.
    """

    step: Step
    object_count: int
    left_out: Mapping[str, int]


def commit_masks(
    session: Session,
    found: Sequence[PlaneMasks],
    numbers: Sequence[NDArray[np.int64]] | None = None,
    annotated: Annotated = "keep",
    region: NDArray[np.bool_] | None = None,
) -> Step:
    """Write masks as new objects into a session's labels, and tell the session; see `write_masks`.

    Returns
    -------
    Step
        Of the kind ``"automatic"``.

    Raises
    ------
    ValueError
        If nothing is left to write; the message says why.
    LabelsError
        If the store cannot be written; nothing has changed then.
    """
    step = write_masks(session, found, numbers, annotated, region).step
    session.announce(step)
    return step


def write_masks(
    session: Session,
    found: Sequence[PlaneMasks],
    numbers: Sequence[NDArray[np.int64]] | None = None,
    annotated: Annotated = "keep",
    region: NDArray[np.bool_] | None = None,
    progress: Progress = ignore_progress,
) -> WrittenMasks:
    """Write masks as new objects into a session's labels, in any thread; undo takes all back at once.

    Whoever listens to the session belongs to another thread, which has to call `Session.announce`.

    Parameters
    ----------
    session
        Where to.
    found
        The masks of each plane.
    numbers
        For each plane the object that each mask belongs to, as `link` gives them; 0 for none. Every mask is
        an object of its own if left out.
    annotated
        What becomes of objects that are there. ``"keep"``: they keep every pixel, and a mask of which they
        have half or more is left out. ``"replace"``: the masks take their pixels, and one of which they take
        more than half goes from that plane as a whole.
    region
        (H, W): no pixel outside changes, and masks that lie outside by half or more are left out. The whole
        plane, if left out.
    progress
        Told the share that is done; what it raises ends the call, and nothing has changed then.

    Raises
    ------
    ValueError
        If nothing is left to write; the message says why.
    LabelsError
        If the store cannot be written, or another thread writes; nothing has changed then.
    """
    if annotated not in get_args(Annotated):
        raise ValueError(f"What is annotated cannot be {annotated!r}; choose keep or replace.")
    store = session.store
    store.check_writable()
    with store.writing():
        labels = _NewLabels(store.new_labels())
        changes, origins = PackedChanges(), []
        left_out: Counter[str] = Counter()
        for number, masks in enumerate(found):
            progress(_PAINTING * number / len(found))
            objects = None if numbers is None else numbers[number]
            before = store.read(masks.plane)
            if region is not None and region.shape != before.shape:
                raise ValueError(
                    f"The region has shape {region.shape}, the plane {before.shape}; draw it on the plane."
                )
            after, written = _painted(before, masks, objects, labels, annotated, region, left_out)
            rows, columns = (slice(0, n) for n in before.shape)
            blocks = (masks.plane.to_block(x) for x in (before, after))
            changes.add(masks.plane.region(rows, columns), *blocks)
            for index, label in written:
                point = (float(masks.points[index][0]), float(masks.points[index][1]))
                prompt = Prompt([point]).onto(masks.plane.shape(session.planes.shape))
                making = session.making("automatic", prompt, float(masks.scores[index]))
                origins.append(Origin(label, masks.plane, masks.masks[index], making))
        if not origins:
            raise ValueError(_why_nothing(sum(len(masks) for masks in found), left_out))
        draft = Draft(KIND, changes=changes, origins=origins)
        step = store.write_aside(draft, between(progress, _PAINTING, 1))
        del left_out[_REJECTED]
        return WrittenMasks(step, labels.count, left_out)


class _NewLabels:
    """Labels for objects, given when the first pixel of each is written."""

    def __init__(self, new: Iterator[int]) -> None:
        self._new = new
        self._of: dict[int, int] = {}
        self.count = 0

    def take(self, number: int | None) -> int:
        """Give the label of an object; None is one of which there is no other mask."""
        if number is not None and number in self._of:
            return self._of[number]
        label = next(self._new)
        self.count += 1
        if number is not None:
            self._of[number] = label
        return label


def _painted(
    before: Labels,
    masks: PlaneMasks,
    objects: NDArray[np.int64] | None,
    labels: _NewLabels,
    annotated: Annotated,
    region: NDArray[np.bool_] | None,
    left_out: Counter[str],
) -> tuple[Labels, list[tuple[int, int]]]:
    """Paint the masks of one plane: the labels afterwards, and (mask, label) of those that were painted."""
    after, written = before.copy(), []
    for index, runs in enumerate(masks.masks):
        number = None if objects is None else int(objects[index])
        if number == 0:
            left_out[_REJECTED] += 1
            continue
        mask = runs.mask()
        if region is not None:
            if lies_outside(mask, region[runs.index]):
                left_out["outside the region"] += 1
                continue
            mask &= region[runs.index]
        if annotated == "keep":
            free = before[runs.index] == 0
            if lies_outside(mask, free):
                left_out["annotated already"] += 1
                continue
            mask &= free
        label = labels.take(number)
        after[runs.index][mask] = label
        written.append((index, label))
    if annotated == "replace":
        for label in _replaced(before, after):
            rest = after == label
            after[rest if region is None else rest & region] = 0
    return after, written


def _replaced(before: Labels, after: Labels) -> Iterator[int]:
    """Give the objects that lost more than half of what they had on the plane."""
    there, had = np.unique(before[before > 0], return_counts=True)
    lost, count = np.unique(before[(before > 0) & (before != after)], return_counts=True)
    for label, pixels in zip(lost.tolist(), count.tolist(), strict=True):
        if 2 * pixels > had[np.searchsorted(there, label)]:
            yield label


def _why_nothing(count: int, left_out: Counter[str]) -> str:
    """Say why no mask was written."""
    if count == 0:
        return "There are no masks to commit; lower a threshold, or accept some of the masks."
    return f"Of {count} masks none is left to commit: {reasons(left_out)}."


def reasons(left_out: Mapping[str, int]) -> str:
    """Say how many masks were left out and why, such as ``2 outside the region, 1 annotated already``."""
    return ", ".join(f"{number} {reason}" for reason, number in left_out.items())
