"""Where a step or an object is to be seen: the plane to show for it."""

from __future__ import annotations

import numpy as np

from napari_sam.plane import Plane
from napari_sam.region import Region
from napari_sam.storage.origins import Origin
from napari_sam.storage.records import Step
from napari_sam.storage.view import LedgerView

# What a session does with a prompt. Edits name the prompts of their objects, too.
_COMMITS = ("commit", "refine")


def prompted(ledger: LedgerView, step: Step) -> Origin | None:
    """Give what a step made of the user's prompt; None if it is no commit of one."""
    if step.kind not in _COMMITS:
        return None
    origin = next(iter(ledger.origins_of(step)), None)
    if origin is None or origin.making.source != "click" or origin.making.prompt.is_empty:
        return None
    return origin


def plane_of_step(ledger: LedgerView, step: Step, shown: Plane) -> Plane:
    """Give the plane that a step was prompted on; else one on which it changed something, best the shown one.

    What was painted is recorded on the array's own planes, so the plane lies as the shown one does.
    """
    if (origin := prompted(ledger, step)) is not None:
        return origin.plane
    regions = ledger.regions(step.number)
    if not regions or _is_propagated_from(ledger, step, shown):
        return shown
    others = [axis for axis in range(len(shown.position)) if axis not in shown.displayed]

    def distance(region: Region) -> int:
        here = shown.position
        return sum(max(region[i].start - here[i], 0, here[i] - region[i].stop + 1) for i in others)

    nearest = min(regions, key=distance)
    return shown if distance(nearest) == 0 else Plane.at(shown.displayed, [x.start for x in nearest])


def _is_propagated_from(ledger: LedgerView, step: Step, shown: Plane) -> bool:
    """Whether an object was propagated from the shown plane, on which that has changed nothing."""
    position = shown.own_position
    if step.kind != "propagate" or step.label is None or position is None:
        return False
    return ledger.mask(step.label, position) is not None


def plane_through(ledger: LedgerView, label: int, shown: Plane) -> Plane:
    """Give a plane through an object that lies as the shown one does.

    Raises
    ------
    ValueError
        If there is no such object.
    """
    masks = ledger.masks(label)
    if not masks:
        raise ValueError(f"There is no object {label}; choose one that is there.")
    position, runs = next(iter(masks.items()))
    pixels = np.argwhere(runs.mask()) + runs.box[:2]
    return Plane.at(shown.displayed, [*position, *pixels[len(pixels) // 2].tolist()])
