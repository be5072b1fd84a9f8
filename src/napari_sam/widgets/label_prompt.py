"""The current object of a Labels layer as a mask on the shown plane of the image."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_sam.planes import Plane
from napari_sam.runs import pixel_box
from napari_sam.widgets.coordinates import (
    ChannelsTogether,
    array_shape,
    on_plane,
    positions_on_image,
    shown_plane,
    to_stack,
    world_units,
)


def selected_object(
    viewer: ViewerModel, layer: Labels, image: Image | ChannelsTogether, plane: Plane
) -> NDArray[np.bool_]:
    """Give the (H, W) pixels of ``plane`` that lie on the layer's selected label, through the world.

    Raises
    ------
    ValueError
        If the layer shows no plane of its own here, or the label is not on it.
    """
    own = shown_plane(viewer, layer)
    on_layer = own.to_plane(np.asarray(layer.data[own.index()])) == layer.selected_label
    box = pixel_box(on_layer)
    shape = plane.shape(array_shape(image))
    mask = np.zeros(shape, np.bool_)
    if box is not None:
        units = world_units(viewer)
        row0, column0, row1, column1 = box
        edges = [
            (row, column) for row in (row0 - 0.5, row1 - 0.5) for column in (column0 - 0.5, column1 - 0.5)
        ]
        corners = positions_on_image(layer, to_stack(own, edges), image, units)[:, list(plane.displayed)]
        # Only pixels of the image in the box around the object are asked where they lie in the labels.
        low = np.clip(np.floor(corners.min(0)), 0, shape).astype(int)
        high = np.clip(np.ceil(corners.max(0)) + 1, 0, shape).astype(int)
        rows, columns = np.mgrid[low[0] : high[0], low[1] : high[1]]
        pixels = to_stack(plane, np.stack([rows.ravel(), columns.ravel()], axis=1))
        there = positions_on_image(image, pixels, layer, units)
        nearest = np.round(there[:, list(own.displayed)]).astype(int)
        valid = on_plane(own, there) & ((nearest >= 0) & (nearest < on_layer.shape)).all(axis=1)
        inside = np.zeros(len(pixels), np.bool_)
        inside[valid] = on_layer[tuple(nearest[valid].T)]
        mask[low[0] : high[0], low[1] : high[1]] = inside.reshape(rows.shape)
    if not mask.any():
        raise ValueError(
            f"Label {layer.selected_label} of {layer.name!r} is not on this plane; "
            "select an object that is, such as with napari's colour picker."
        )
    return mask
