"""The current object of a Labels layer as a mask on the shown plane of the image."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_sam.plane import Plane
from napari_sam.runs import outer_edges, pixel_box
from napari_sam.widgets.coordinates import (
    ChannelsTogether,
    Units,
    array_shape,
    data_to_world,
    round_off,
    shown_plane,
    world_units,
)


def selected_object(
    viewer: ViewerModel, layer: Labels, image: Image | ChannelsTogether, plane: Plane
) -> NDArray[np.bool_]:
    """Give the (H, W) pixels of ``plane`` that lie on the layer's selected label, through the world.

    The layer may have more or fewer axes than the image: napari shows their last ones together.

    Raises
    ------
    ValueError
        If the layer shows no plane of its own here, the label is not on it, or it is that of the background.
    """
    if layer.selected_label == layer.colormap.background_value:
        raise ValueError(
            f"Label {layer.selected_label} of {layer.name!r} is the background; select an object, such as "
            "with napari's colour picker."
        )
    own = shown_plane(viewer, layer)
    finest = layer.data[0] if layer.multiscale else layer.data
    on_layer = own.to_plane(np.asarray(finest[own.index()])) == layer.selected_label
    box = pixel_box(on_layer)
    shape = plane.shape(array_shape(image))
    mask = np.zeros(shape, np.bool_)
    if box is not None:
        units = world_units(viewer)
        to_layer = np.linalg.inv(_to_shown(layer, own, units)) @ _to_shown(image, plane, units)
        row0, column0, row1, column1 = outer_edges(box)
        corners = [(row, column) for row in (row0, row1) for column in (column0, column1)]
        on_image = _map(np.linalg.inv(to_layer), np.array(corners))
        # Only pixels of the image in the box around the object are asked where they lie in the labels.
        low = np.clip(np.floor(on_image.min(0)), 0, shape).astype(int)
        high = np.clip(np.ceil(on_image.max(0)) + 1, 0, shape).astype(int)
        rows, columns = np.mgrid[low[0] : high[0], low[1] : high[1]]
        there = _map(to_layer, np.stack([rows.ravel(), columns.ravel()], axis=1).astype(np.float64))
        nearest = np.round(there).astype(int)
        valid = ((nearest >= 0) & (nearest < on_layer.shape)).all(axis=1)
        inside = np.zeros(len(there), np.bool_)
        inside[valid] = on_layer[tuple(nearest[valid].T)]
        mask[low[0] : high[0], low[1] : high[1]] = inside.reshape(rows.shape)
    if not mask.any():
        raise ValueError(
            f"Label {layer.selected_label} of {layer.name!r} is not on this plane; "
            "select an object that is, such as with napari's colour picker."
        )
    return mask


def _to_shown(layer: Labels | Image | ChannelsTogether, plane: Plane, units: Units) -> NDArray[np.float64]:
    """Give the (3, 3) matrix from (row, column) on a plane to the two shown axes of the world."""
    matrix = data_to_world(layer, units)
    displayed = list(plane.displayed)
    to_shown = np.eye(3)
    to_shown[:2, :2] = matrix[np.ix_(displayed, displayed)]
    to_shown[:2, 2] = (matrix @ np.array([*plane.position, 1.0]))[displayed]
    return to_shown


def _map(matrix: NDArray[np.floating], positions: NDArray[np.floating]) -> NDArray[np.float64]:
    return round_off(positions @ matrix[:2, :2].T + matrix[:2, 2])
