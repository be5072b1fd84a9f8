"""The annotated planes of a store, one after the other, and how they are called in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from napari_sam.plane import Position
from napari_sam.progress import Progress, ignore_progress
from napari_sam.runs import MaskRuns
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ome import plain_name
from napari_sam.storage.view import LedgerView


@dataclass(frozen=True, eq=False)
class AnnotatedPlane:
    """One of the array's own planes, with the masks of the objects on it by label."""

    position: Position
    masks: Mapping[int, MaskRuns]


def annotated_planes(
    ledger: LedgerView, positions: Sequence[Position], progress: Progress = ignore_progress
) -> Iterator[AnnotatedPlane]:
    """Go through the planes at some positions, with one in memory."""
    for number, position in enumerate(positions, 1):
        yield AnnotatedPlane(position, ledger.masks_at(position))
        progress(number / len(positions))


def by_letter(store: LabelsStore, position: Position) -> dict[str, int]:
    """Give the index along each axis of a position by the axis' letter."""
    return dict(zip(store.geometry.axes, position, strict=False))


def file_name_of(store: LabelsStore, position: Position) -> str:
    """Give the name of the file that would hold a plane alone: ``cells_t003_z012.tif``."""
    indices = (f"{axis}{index:03d}" for axis, index in by_letter(store, position).items())
    return "_".join([plain_name(store.path), *indices]) + ".tif"
