"""Objects as polygons of a napari Shapes layer, and as the table that napari reads such layers from."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam.exporting.outlines import closed_paths
from napari_sam.exporting.planes_of import annotated_planes
from napari_sam.progress import Progress, ignore_progress
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.snapshot import snapshot


@dataclass(frozen=True, eq=False)
class ObjectPolygon:
    """One connected part of an object on one plane.

    Attributes
    ----------
    label, category
        Of the object.
    vertices
        (N, D) positions along all axes of the image, pixel centres at integers.
    """

    label: int
    category: str
    vertices: NDArray[np.float64]


def object_polygons(
    store: LabelsStore, progress: Progress = ignore_progress, labels: Collection[int] | None = None
) -> Iterator[ObjectPolygon]:
    """Give the outlines of some objects, or all, plane by plane, as a Shapes layer takes them."""
    with snapshot(store.ledger) as seen:
        categories = {info.label: info.category for info in seen.objects()}
        for plane in annotated_planes(seen, seen.positions(), progress):
            for label, runs in plane.masks.items():
                if labels is not None and label not in labels:
                    continue
                for path in closed_paths(runs):
                    where = np.broadcast_to(np.array(plane.position, float), (len(path), len(plane.position)))
                    yield ObjectPolygon(label, categories[label], np.hstack([where, path]))


def shapes_lines(store: LabelsStore, progress: Progress = ignore_progress) -> Iterator[str]:
    """Give the table that napari writes of a Shapes layer, and opens as one."""
    axes = [f"axis-{axis}" for axis in range(store.array.ndim)]
    yield _row(["index", "shape-type", "vertex-index", *axes])
    for number, polygon in enumerate(object_polygons(store, progress)):
        for at, vertex in enumerate(polygon.vertices):
            yield _row([number, "polygon", at, *vertex.tolist()])


def _row(values: list[object]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue()
