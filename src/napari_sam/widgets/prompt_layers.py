"""The Points and Shapes layers whose contents are the prompts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Points, Shapes
from numpy.typing import NDArray
from psygnal import Signal

from napari_sam.inference.prompts import Box, Prompt
from napari_sam.planes import Plane
from napari_sam.widgets.coordinates import (
    Units,
    array_shape,
    on_plane,
    positions_on_image,
    to_stack,
    transform_of,
    world_units,
)

POSITIVE_COLOUR, NEGATIVE_COLOUR, BOX_COLOUR = "#2ee66b", "#ff4d6d", "#ffd23f"
# The feature of a point that holds its label.
FEATURE = "on_object"
# What napari says of a change that is complete; the others announce one, or come while the mouse moves.
_COMPLETE = ("added", "removed", "changed")


class PromptLayers:
    """Bind one Points and one Shapes layer to the prompt of the shown plane.

    New layers copy the image's transform; existing ones may have another, and are read through world
    coordinates. A point's label is its feature ``on_object``: True (or no such feature) is positive.

    Attributes
    ----------
    changed
        Emitted after the user changed a prompt, without arguments.
    """

    changed = Signal()

    def __init__(
        self, viewer: ViewerModel, image: Image, points: Points | None = None, boxes: Shapes | None = None
    ) -> None:
        self._viewer = viewer
        self._image = image
        self._silent = False
        size = max(2.0, 0.014 * max(array_shape(image)[-2:]))
        self.points = points or viewer.add_layer(_new_points(image, size, transform_of(image, self._units)))
        self.boxes = boxes or viewer.add_layer(_new_boxes(image, size, transform_of(image, self._units)))
        self.own = tuple(new for new, given in ((self.points, points), (self.boxes, boxes)) if given is None)
        self.points.events.data.connect(self._on_layer_data)
        self.points.events.features.connect(self._on_layer_data)
        self.boxes.events.data.connect(self._on_layer_data)

    @staticmethod
    def check(image: Image, points: Points | None, boxes: Shapes | None) -> None:
        """Raise a `ValueError` if a layer of the user's cannot hold prompts of ``image``."""
        for layer in (points, boxes):
            if layer is not None and layer.ndim != image.ndim:
                raise ValueError(
                    f"The layer {layer.name!r} has {layer.ndim} axes, the image {image.ndim}: its prompts "
                    "belong to no single plane. Choose another layer, or a new one."
                )

    def close(self) -> None:
        """Stop to listen to the layers, and take those away that were made here and are empty."""
        self.points.events.data.disconnect(self._on_layer_data)
        self.points.events.features.disconnect(self._on_layer_data)
        self.boxes.events.data.disconnect(self._on_layer_data)
        for layer in self.own:
            if len(layer.data) == 0 and layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    @property
    def _units(self) -> Units:
        return world_units(self._viewer)

    @property
    def positive(self) -> bool:
        """Whether the next click means the object, and not what is beside it."""
        default = self.points.feature_defaults.get(FEATURE)
        return default is None or bool(default.iloc[0])

    @positive.setter
    def positive(self, positive: bool) -> None:
        if FEATURE not in self.points.features:
            with self._silence():
                self.points.features = self.points.features.assign(**{FEATURE: True})
        self.points.selected_data = set()  # else the selected points would change with the default
        self.points.feature_defaults = self.points.feature_defaults.assign(**{FEATURE: positive})
        self.points.current_face_color = POSITIVE_COLOUR if positive else NEGATIVE_COLOUR

    def read(self, plane: Plane) -> Prompt:
        """Give the prompt that the layers hold for ``plane``: all its points and its newest rectangle."""
        shape = array_shape(self._image)
        chosen = self._point_numbers(plane)
        positions = self._points_on_image()[chosen][:, list(plane.displayed)]
        labels = self._labels()[chosen]
        inside = _inside(positions, plane, shape)
        box: Box | None = None
        for number in self._box_numbers(plane)[-1:]:
            corners = self._box_corners(number)[:, list(plane.displayed)]
            low, high = corners.min(0), corners.max(0)
            if _overlaps(low, high, plane, shape):
                box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        points = [(float(row), float(column)) for row, column in positions[inside]]
        return Prompt(points, labels[inside].tolist(), box)

    def write(self, plane: Plane, prompt: Prompt) -> None:
        """Make the layers hold ``prompt`` for ``plane``, if they do not already."""
        current = self.read(plane)
        with self._silence():
            if (current.points, current.labels) != (prompt.points, prompt.labels):
                self._write_points(plane, prompt)
            if current.box != prompt.box:
                self._write_box(plane, prompt.box)

    def take_strays(self) -> int:
        """Remove the clicks beside the image from a layer that was made here, and count them."""
        if self.points not in self.own:
            return 0
        positions = self._points_on_image()
        limits = np.array(array_shape(self._image)) - 0.5
        strays = np.nonzero(((positions < -0.5) | (positions > limits)).any(axis=1))[0]
        self._remove_points(strays)
        return len(strays)

    def _write_points(self, plane: Plane, prompt: Prompt) -> None:
        """Replace the points of the plane; all others keep their features, sizes and colours."""
        self._remove_points(self._point_numbers(plane))
        positive = self.positive
        new = positions_on_image(self._image, to_stack(plane, list(prompt.points)), self.points, self._units)
        for position, label in zip(new, prompt.labels or (), strict=True):
            self.positive = bool(label)
            self.points.add(position)
        self.positive = positive

    def _remove_points(self, numbers: NDArray[np.intp]) -> None:
        if len(numbers):
            with self._silence():
                self.points.selected_data = {int(number) for number in numbers}
                self.points.remove_selected()

    def _write_box(self, plane: Plane, box: Box | None) -> None:
        numbers = self._box_numbers(plane)
        if numbers:
            self.boxes.selected_data = {numbers[-1]}
            self.boxes.remove_selected()
        if box is not None:
            row0, column0, row1, column1 = box
            corners = [(row0, column0), (row0, column1), (row1, column1), (row1, column0)]
            rectangle = positions_on_image(self._image, to_stack(plane, corners), self.boxes, self._units)
            self.boxes.add_rectangles(rectangle, edge_color=BOX_COLOUR, face_color="transparent")

    def _points_on_image(self) -> NDArray[np.float64]:
        data = np.asarray(self.points.data, np.float64).reshape(-1, self.points.ndim)
        return positions_on_image(self.points, data, self._image, self._units)

    def _labels(self) -> NDArray[np.intp]:
        """Give 1 or 0 for every point of the layer."""
        if FEATURE not in self.points.features:
            return np.ones(len(self.points.data), np.intp)
        given = self.points.features[FEATURE]
        return np.where(given.isna(), True, given).astype(bool).astype(np.intp)

    def _point_numbers(self, plane: Plane) -> NDArray[np.intp]:
        return np.nonzero(on_plane(plane, self._points_on_image()))[0]

    def _box_corners(self, number: int) -> NDArray[np.float64]:
        return positions_on_image(self.boxes, np.asarray(self.boxes.data[number]), self._image, self._units)

    def _box_numbers(self, plane: Plane) -> list[int]:
        return [
            number
            for number, kind in enumerate(self.boxes.shape_type)
            if kind == "rectangle" and on_plane(plane, self._box_corners(number)).all()
        ]

    def _on_layer_data(self, event: Any) -> None:
        action = getattr(event, "action", "changed")
        if not self._silent and str(getattr(action, "value", action)) in _COMPLETE:
            self.changed.emit()

    @contextmanager
    def _silence(self) -> Iterator[None]:
        """Change the layers without telling that the user did."""
        before, self._silent = self._silent, True
        try:
            yield
        finally:
            self._silent = before


def _new_points(image: Image, size: float, transform: dict[str, Any]) -> Points:
    return Points(
        np.empty((0, image.ndim)),
        ndim=image.ndim,
        name="SAM points",
        features={FEATURE: np.empty(0, bool)},
        feature_defaults={FEATURE: True},
        face_color=FEATURE,
        face_color_cycle={True: POSITIVE_COLOUR, False: NEGATIVE_COLOUR},
        border_color="black",
        border_width=0.15,
        size=size,
        **transform,
    )


def _new_boxes(image: Image, size: float, transform: dict[str, Any]) -> Shapes:
    return Shapes(
        ndim=image.ndim,
        name="SAM boxes",
        edge_color=BOX_COLOUR,
        face_color="transparent",
        edge_width=max(0.5, size / 4),
        **transform,
    )


def _inside(positions: NDArray[np.float64], plane: Plane, shape: Any) -> NDArray[np.bool_]:
    """Tell which (N, 2) positions lie on pixels of the plane."""
    limits = np.array(plane.shape(shape)) - 0.5
    return np.asarray(((positions >= -0.5) & (positions <= limits)).all(axis=1), np.bool_)


def _overlaps(low: NDArray[np.float64], high: NDArray[np.float64], plane: Plane, shape: Any) -> bool:
    """Whether a box has an area within the plane."""
    limits = np.array(plane.shape(shape)) - 0.5
    return bool((np.minimum(high, limits) > np.maximum(low, -0.5)).all())
