"""Objects of other label images, to be added to a store where nothing is annotated yet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np

from napari_sam.progress import Progress
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.origins import Making, Origin
from napari_sam.storage.packing import PackedChanges
from napari_sam.storage.volumes import objects_in


class _Widened:
    """An array that is read on demand, with further axes of length one before its own."""

    def __init__(self, array: Any, missing: int) -> None:
        self._array, self._missing = array, missing
        self.shape = (*[1] * missing, *array.shape)

    def __getitem__(self, index: tuple[int | slice, ...]) -> Any:
        return self._array[index[self._missing :]]


def widened(labels: Any, shape: Sequence[int]) -> Any:
    """Give a label image the axes of length one that it lacks of a store's shape.

    Raises
    ------
    ValueError
        If it has another shape all the same, or holds no whole numbers.
    """
    missing = len(shape) - len(labels.shape)
    wide = _Widened(labels, missing) if missing > 0 else labels
    if tuple(wide.shape) != tuple(shape) or np.dtype(labels.dtype).kind not in "iu":
        raise ValueError(
            f"The labels have shape {tuple(labels.shape)} and dtype {labels.dtype}; give whole numbers "
            f"of the image's shape {tuple(shape)}."
        )
    return wide


def to_import(store: LabelsStore, labels: Any, progress: Progress) -> tuple[PackedChanges, list[Origin]]:
    """Give what adds the objects of a label image under new labels, plane by plane; what is there stays.

    Nothing but that stays in memory.

    Parameters
    ----------
    store
        Where to; no other thread may write to it meanwhile.
    labels
        Integers of the store's shape, background 0.
    progress
        Told the share that is done.
    """
    new_labels, numbers = store.new_labels(), dict[int, int]()
    changes, origins = PackedChanges(), []
    for position, found in groupby(objects_in(labels, progress=progress), key=itemgetter(0)):
        region = (*(slice(x, x + 1) for x in position), *(slice(0, n) for n in labels.shape[-2:]))
        before = store.block(region)
        after = before.copy()
        for _, origin in found:
            there = after.reshape(labels.shape[-2:])[origin.mask.index]
            free = origin.mask.mask() & (there == 0)
            if free.any():
                if origin.label not in numbers:
                    numbers[origin.label] = next(new_labels)
                there[free] = new = numbers[origin.label]
                origins.append(Origin(new, origin.plane, origin.mask, Making("import")))
        changes.add(region, before, after)
    return changes, origins
