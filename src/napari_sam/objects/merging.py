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
    learned = []
    for plane, made in reporting(origins.items(), progress, 0.5, 1.0):
        owner, *others = owners[plane] or [first]
        if others or owner not in made:
            learned.append(_without_prompt(store, labels, plane, next(iter(made.values()))))
        elif owner != first:
            learned.append(replace(made[owner], label=first))
    return learned


def _owners(store: LabelsStore, labels: Sequence[int], planes: Iterable[Plane]) -> dict[Plane, list[int]]:
    """Tell which of the objects have pixels on each plane."""
    own = {label: store.ledger.masks(label).keys() for label in labels}
    owners = {}
    for plane in planes:
        if (position := plane.own_position) is not None:
            owners[plane] = [label for label in labels if position in own[label]]
        else:
            there = set(np.unique(store.read(plane)).tolist())
            owners[plane] = [label for label in labels if label in there]
    return owners


def _without_prompt(store: LabelsStore, labels: Sequence[int], plane: Plane, origin: Origin) -> Origin:
    """Give the origin of all that the objects have together on a plane, which no prompt gives."""
    runs = MaskRuns.of(np.isin(store.read(plane), labels))
    making = replace(origin.making, prompt=NO_PROMPT, candidate=None, score=None)
    return Origin(labels[0], plane, runs or origin.mask, making)
