"""Regions that the user draws: the shapes of a layer as a mask of a plane."""

from __future__ import annotations

import numpy as np
from napari.layers import Image, Labels, Shapes
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from napari_sam.plane import Plane
from napari_sam.widgets.coordinates import Units, on_plane, positions_on_image

# An ellipse is drawn as a polygon of so many corners.
_CORNERS = 90


def region_on(layer: Shapes, like: Image | Labels, plane: Plane, units: Units) -> NDArray[np.bool_]:
    """Give the pixels of a plane that lie in the layer's polygons, rectangles or ellipses on it.

    Parameters
    ----------
    layer
        Has shapes.
    like
        A layer of the image's shape and transform.
    plane
        The plane.
    units
        Those of the viewer's world.

    Raises
    ------
    ValueError
        If the layer has no such shape on this plane.
    """
    shape = plane.shape(like.data.shape)
    region = np.zeros(shape, bool)
    drawn = False
    for corners, kind in zip(layer.data, layer.shape_type, strict=True):
        if kind not in ("polygon", "rectangle", "ellipse") or layer.ndim != len(plane.position):
            continue
        outline = _ellipse(np.asarray(corners)) if kind == "ellipse" else np.asarray(corners)
        positions = positions_on_image(layer, outline, like, units)
        if on_plane(plane, positions).all():
            region |= polygon2mask(shape, positions[:, list(plane.displayed)])
            drawn = True
    if not drawn:
        raise ValueError(
            f"The layer {layer.name!r} has no closed shape on this plane; draw a polygon, a rectangle or an "
            "ellipse there, or choose the whole plane."
        )
    return region


def _ellipse(corners: NDArray[np.floating]) -> NDArray[np.float64]:
    """Give the outline of the ellipse in a rectangle of four corners."""
    centre = corners.mean(axis=0)
    across, along = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)[:, None]
    return np.asarray(centre + np.cos(angles) * across + np.sin(angles) * along, np.float64)
