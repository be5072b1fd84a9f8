"""What a merged object keeps of its parts' prompts: those that still give all that lies on their plane."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from napari_sam.plane import Plane
from napari_sam.progress import Progress, ignore_progress, reporting
from napari_sam.runs import MaskRuns
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.origins import NO_PROMPT, Origin


def merged_origins(
    store: LabelsStore, labels: Sequence[int], progress: Progress = ignore_progress
) -> list[Origin]:
    """Give the new origins of what several objects become, under the label of the first.

    A plane keeps its prompt if the object that was prompted there is the only one of them on it. On any other
    plane one prompt would stand for the pixels of several, and a replay would lose some of them.
    """
    first = labels[0]
    origins: dict[Plane, dict[int, Origin]] = {}
    for label in reporting(labels, progress, 0.0, 0.5):
        for origin in store.ledger.origins(label):
            origins.setdefault(origin.plane, {})[label] = origin
    owners = _owners(store, labels, origins)
    none_is_kept = _is_crossed(store, labels, origins, owners)
    learned = []
    for plane, made in reporting(origins.items(), progress, 0.5, 1.0):
        owner, *others = owners[plane] or [first]
        if none_is_kept or others or owner not in made:
            learned.append(_without_prompt(store, labels, plane, next(iter(made.values()))))
        elif owner != first:
            learned.append(replace(made[owner], label=first))
    return learned


def _is_crossed(
    store: LabelsStore,
    labels: Sequence[int],
    origins: dict[Plane, dict[int, Origin]],
    owners: dict[Plane, list[int]],
) -> bool:
    """Tell whether some were prompted across the stack, and other pixels are to be kept beside theirs.

    A replay draws such an object from its prompts alone: nothing is copied beside them.
    """
    directions = {plane.displayed for plane in origins}
    if directions <= {_own(store)}:
        return False
    prompted = {label for made in origins.values() for label in made}
    return len(directions) > 1 or prompted != set(labels) or any(len(x) > 1 for x in owners.values())


def _owners(store: LabelsStore, labels: Sequence[int], planes: Iterable[Plane]) -> dict[Plane, list[int]]:
    """Tell which of the objects have pixels on each plane."""
    own = {label: store.ledger.masks(label).keys() for label in labels}
    owners = {}
    for plane in planes:
        if plane.displayed == _own(store):
            owners[plane] = [label for label in labels if plane.position[:-2] in own[label]]
        else:
            there = set(np.unique(store.read(plane)).tolist())
            owners[plane] = [label for label in labels if label in there]
    return owners


def _without_prompt(store: LabelsStore, labels: Sequence[int], plane: Plane, origin: Origin) -> Origin:
    """Give the origin of all that the objects have together on a plane, which no prompt gives."""
    runs = MaskRuns.of(np.isin(store.read(plane), labels))
    making = replace(origin.making, prompt=NO_PROMPT, candidate=None, score=None)
    return Origin(labels[0], plane, runs or origin.mask, making)


def _own(store: LabelsStore) -> tuple[int, int]:
    """Give the axes that the array's own planes show."""
    return store.array.ndim - 2, store.array.ndim - 1
