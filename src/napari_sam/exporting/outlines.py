"""Outlines of masks: polygons along the edges of pixels, so that they hold exactly the pixels of the mask."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_sam.runs import MaskRuns


def outline(runs: MaskRuns) -> shapely.Polygon | shapely.MultiPolygon:
    """Give the outline of a mask, with its holes, in ``(x, y)`` from the corner of the plane's first pixel.

    So the pixel in row r and column c is the square from (c, r) to (c + 1, r + 1). Parts that touch only at a
    corner are polygons of their own.
    """
    inside = np.pad(runs.mask().astype(np.int8), ((0, 0), (1, 1)))
    edges = np.diff(inside, axis=1)
    rows, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    row0, column0 = runs.box[:2]
    lines = shapely.box(starts + column0, rows + row0, ends + column0, rows + row0 + 1)
    # Whole numbers unite exactly; what simplifies at no distance are the corners between the lines.
    united: shapely.Polygon | shapely.MultiPolygon = shapely.simplify(shapely.union_all(lines), 0)
    return united


def closed_paths(runs: MaskRuns) -> Iterator[NDArray[np.float64]]:
    """Give the outline as closed paths without holes: (N, 2) of ``(row, column)``, pixel centres at integers.

    One path for each connected part. A hole is reached by a cut that is gone to and fro, which encloses
    nothing.
    """
    found = outline(runs)
    for polygon in getattr(found, "geoms", [found]):
        path = shapely.get_coordinates(polygon.exterior)
        for ring in polygon.interiors:
            path = np.concatenate([path, shapely.get_coordinates(ring), path[:1]])
        yield path[:, ::-1] - 0.5
