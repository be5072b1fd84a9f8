"""Objects of other label images, to be added to a store where nothing is annotated yet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.progress import Progress
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.origins import Making, Origin
from napari_sam.storage.packing import PackedChanges
from napari_sam.storage.volumes import objects_in


class OtherLabels:
    """A label image, read on demand, as one of a store's shape: it may lack leading axes of length one.

    Reading raises a `ValueError` where the image holds a negative number.

    Raises
    ------
    ValueError
        If it has another shape, or holds no whole numbers.
    """

    def __init__(self, labels: Any, shape: Sequence[int]) -> None:
        if not hasattr(labels, "shape") or not hasattr(labels, "dtype"):
            raise ValueError(
                f"A {type(labels).__name__} is no label image; give an array, such as tifffile.imread(path)."
            )
        self._labels = labels
        self._missing = max(0, len(shape) - len(labels.shape))
        self.shape = (*[1] * self._missing, *labels.shape)
        if self.shape != tuple(shape) or np.dtype(labels.dtype).kind not in "iu":
            raise ValueError(
                f"The labels have shape {tuple(labels.shape)} and dtype {labels.dtype}; give whole numbers "
                f"of the image's shape {tuple(shape)}."
            )

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        read = np.asarray(self._labels[index[self._missing :]])
        if (lowest := read.min(initial=0)) < 0:
            raise ValueError(
                f"{lowest} is no label; give numbers from 1 on for objects, and 0 for background, such as "
                "labels.clip(min=0)."
            )
        return read


def to_import(
    store: LabelsStore, labels: OtherLabels, progress: Progress
) -> tuple[PackedChanges, list[Origin]]:
    """Give what adds the objects of a label image under new labels, plane by plane; what is there stays.

    Nothing but that stays in memory.

    Parameters
    ----------
    store
        Where to; no other thread may write to it meanwhile.
    labels
        What is added.
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
