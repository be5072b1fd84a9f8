"""The changes of many planes, kept small until they are written."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_sam.region import Region, shape_of
from napari_sam.runs import decode_labels, encode_labels
from napari_sam.storage.changes import Change, Labels, OneByOne


class PackedChanges(OneByOne[Change]):
    """Changes that are kept as run lengths."""

    def __init__(self) -> None:
        self._packed: list[tuple[Region, bytes, bytes, np.dtype[Any]]] = []

    def add(self, region: Region, before: Labels, after: Labels) -> None:
        """Add what changes in a block, cut to the box of that; nothing where nothing does."""
        inside = _box(before != after)
        if inside is None:
            return
        within = tuple(
            slice(outer.start + x.start, outer.start + x.stop)
            for outer, x in zip(region, inside, strict=True)
        )
        was, becomes = encode_labels(before[inside]), encode_labels(after[inside])
        self._packed.append((within, was, becomes, before.dtype))

    def __len__(self) -> int:
        return len(self._packed)

    def item(self, index: int) -> Change:
        """Give one of them, decoded."""
        region, before, after, dtype = self._packed[index]
        shape = shape_of(region)
        return Change(region, decode_labels(before, shape, dtype), decode_labels(after, shape, dtype))


def _box(mask: np.typing.NDArray[np.bool_]) -> Region | None:
    """Give the box around the pixels that are set, along every axis; None if there are none."""
    box = []
    for axis in range(mask.ndim):
        along = np.flatnonzero(mask.any(tuple(x for x in range(mask.ndim) if x != axis)))
        if not along.size:
            return None
        box.append(slice(int(along[0]), int(along[-1]) + 1))
    return tuple(box)
