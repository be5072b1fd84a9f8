"""The Points and Shapes layers whose contents are the prompts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Points, Shapes
from numpy.typing import NDArray
from psygnal import Signal

from napari_sam.inference.prompts import Box, Point, Prompt
from napari_sam.inference.shapes import Area, Drawing, Mask, Stroke, ellipse
from napari_sam.plane import Plane
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.coordinates import (
    ChannelsTogether,
    Units,
    array_shape,
    frame_of_prompts,
    on_plane,
    positions_on_image,
    to_stack,
    transform_of,
    world_units,
)
from napari_sam.widgets.made_prompts import (
    BOX_COLOUR,
    FEATURE,
    NEGATIVE_COLOUR,
    POSITIVE_COLOUR,
    is_made_for,
)

# napari's shapes that are strokes, and its tools that draw them; all others are areas.
_STROKES = ("path", "line")
STROKE_MODES = ("add_path", "add_polyline", "add_line")
# What napari says of a change that is complete; the others announce one, or come while the mouse moves.
_COMPLETE = ("added", "removed", "changed")


class PromptLayers:
    """Bind one Points and one Shapes layer to the prompts of the shown plane.

    Layers that were made for the image copy its transform; the user's own may have another, and are read
    through world coordinates. A point's label is its
    feature ``on_object``: True (or no such feature) is positive; that of a path or line in the Shapes layer,
    a stroke, is the same. All other shapes are areas.

    Shapes that were made for the image are hidden while there are none and no tool draws some: for an empty
    layer that is shown, vispy builds two programs anew with each frame, which takes a third of its time.

    Attributes
    ----------
    changed
        Emitted after the user changed a prompt, without arguments.
    """

    changed = Signal()

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image | ChannelsTogether,
        points: Points,
        boxes: Shapes,
    ) -> None:
        self._viewer = viewer
        self._image = image
        self._silent = False
        # Masks that no layer shows: objects of some labels, and what a script or the ledger gave.
        self._masks: dict[Plane, Mask] = {}
        self.points = points
        self.boxes = boxes
        self.own = tuple(layer for layer in (points, boxes) if is_made_for(layer, image))
        self._are_boxes_shown: bool | None = None
        self._connections = Connections()
        self._connections.add_all(
            (points.events.data, self._on_layer_data),
            (points.events.features, self._on_layer_data),
            (boxes.events.data, self._on_layer_data),
            (boxes.events.data, self._on_boxes_needed),
            (viewer.layers.selection.events.active, self._on_boxes_needed),
        )
        self._on_boxes_needed()

    def close(self) -> None:
        """Stop to listen to the layers, and take those away that were made for the image and are empty."""
        self._connections.close()
        for layer in self.own:
            if len(layer.data) == 0 and layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    def follow_image(self) -> None:
        """Move the layers that were made for the image to where it is now."""
        for layer in self.own:
            for name, value in self._place().items():
                setattr(layer, name, value)

    def _place(self) -> dict[str, Any]:
        return transform_of(frame_of_prompts(self._image), self._units)

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
        for layer in (self.points, self.boxes):
            if FEATURE not in layer.features:
                with self._silence():
                    layer.features = layer.features.assign(**{FEATURE: True})
            layer.selected_data = set()  # else what is selected would change with the default
            layer.feature_defaults = layer.feature_defaults.assign(**{FEATURE: positive})
        self.points.current_face_color = POSITIVE_COLOUR if positive else NEGATIVE_COLOUR
        self.show_colour()

    def show_colour(self) -> None:
        """Let what is drawn next have the colour of its meaning: strokes of their label, areas of boxes."""
        stroke = POSITIVE_COLOUR if self.positive else NEGATIVE_COLOUR
        self.boxes.selected_data = set()
        self.boxes.current_edge_color = stroke if str(self.boxes.mode) in STROKE_MODES else BOX_COLOUR

    def read(self, plane: Plane) -> Prompt:
        """Give the prompt of the one object that everything on ``plane`` means together."""
        shape = plane.shape(array_shape(self._image))
        # Cut at the edge as the session does it: what it takes over must not look changed, and be drawn anew.
        return self.drawing(plane).as_one(shape).inside(shape)

    def read_each(self, plane: Plane) -> list[Prompt]:
        """Give a prompt for each object that is meant on ``plane``; see `Drawing.as_many`.

        What was drawn twice, as by a double click or a copied shape, means one object all the same.
        """
        meant = self.drawing(plane).as_many(plane.shape(array_shape(self._image)))
        return list(dict.fromkeys(meant))

    def drawing(self, plane: Plane) -> Drawing:
        """Give all that the layers hold for ``plane``, in its pixels."""
        positions = self._points_on_image()
        chosen = on_plane(plane, positions)
        points = _pairs(positions[chosen], plane)
        labels = tuple(self._labels(self.points)[chosen].tolist())
        strokes, areas = [], []
        positive = self._labels(self.boxes)
        for shape in self._shapes(plane):
            if shape.is_stroke:
                strokes.append(Stroke(shape.corners, bool(positive[shape.number])))
            elif shape.kind == "ellipse":
                areas.append(ellipse(shape.corners))
            elif len(shape.corners) > 2:
                areas.append(Area(shape.corners))
        return Drawing(points, labels, tuple(strokes), tuple(areas), self._masks.get(plane))

    def write(self, plane: Plane, prompt: Prompt) -> None:
        """Make the layers hold ``prompt`` for ``plane``, if they do not already."""
        current = self.read(plane)
        shapes, box = self._shapes(plane), current.box
        gone: set[int] = set()
        with self._silence():
            if (current.points, current.labels) != (prompt.points, prompt.labels):
                self._write_points(plane, prompt)
                gone |= {shape.number for shape in shapes if shape.is_stroke}
            if current.box != prompt.box or not current.has_same_mask(prompt):
                gone |= {shape.number for shape in shapes if not shape.is_stroke}
                box = None
                self._masks.pop(plane, None)
                if prompt.mask is not None:
                    self._masks[plane] = prompt.mask
            self._remove_shapes(gone)
            if prompt.box is not None and box != prompt.box:
                self._write_box(plane, prompt.box)

    def take_strays(self) -> int:
        """Remove the clicks beside the image from a layer that was made for it, and count them."""
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

    def _remove_shapes(self, numbers: set[int]) -> None:
        if numbers and hasattr(self.boxes, "remove"):
            self.boxes.selected_data = set()
            self.boxes.remove(sorted(numbers))
            return
        for number in sorted(numbers, reverse=True):  # napari 0.6 selects several only where they are shown
            self.boxes.selected_data = {number}
            self.boxes.remove_selected()

    def _write_box(self, plane: Plane, box: Box) -> None:
        row0, column0, row1, column1 = box
        corners = [(row0, column0), (row0, column1), (row1, column1), (row1, column0)]
        rectangle = positions_on_image(self._image, to_stack(plane, corners), self.boxes, self._units)
        self.boxes.add_rectangles(rectangle, edge_color=BOX_COLOUR, face_color="transparent")

    def _points_on_image(self) -> NDArray[np.float64]:
        data = np.asarray(self.points.data, np.float64).reshape(-1, self.points.ndim)
        return positions_on_image(self.points, data, self._image, self._units)

    def _labels(self, layer: Points | Shapes) -> NDArray[np.intp]:
        """Give 1 or 0 for every point, or shape, of the layer."""
        if FEATURE not in layer.features:
            return np.ones(len(layer.data), np.intp)
        given = layer.features[FEATURE]
        return np.where(given.isna(), True, given).astype(bool).astype(np.intp)

    def _point_numbers(self, plane: Plane) -> NDArray[np.intp]:
        return np.nonzero(on_plane(plane, self._points_on_image()))[0]

    def _shapes(self, plane: Plane) -> list[_Shape]:
        """Give the shapes that lie on the plane; all are converted together, which takes as long as one."""
        data = [np.asarray(corners, np.float64) for corners in self.boxes.data]
        if not data:
            return []
        together = positions_on_image(self.boxes, np.concatenate(data), self._image, self._units)
        ends = np.cumsum([len(corners) for corners in data])
        on_it = np.logical_and.reduceat(on_plane(plane, together), np.append(0, ends[:-1]))
        kinds = self.boxes.shape_type
        return [
            _Shape(
                number,
                str(kinds[number]),
                _pairs(together[ends[number] - len(data[number]) : ends[number]], plane),
            )
            for number in np.nonzero(on_it)[0].tolist()
        ]

    def _on_layer_data(self, event: Any) -> None:
        action = getattr(event, "action", "changed")
        if not self._silent and str(getattr(action, "value", action)) in _COMPLETE:
            self.changed.emit()

    def _on_boxes_needed(self, _event: Any = None) -> None:
        """Show or hide the shapes where that has changed; in between the user may do either."""
        needed = len(self.boxes.data) > 0 or self._viewer.layers.selection.active is self.boxes
        if self.boxes in self.own and needed != self._are_boxes_shown:
            self._are_boxes_shown = self.boxes.visible = needed

    @contextmanager
    def _silence(self) -> Iterator[None]:
        """Change the layers without telling that the user did."""
        before, self._silent = self._silent, True
        try:
            yield
        finally:
            self._silent = before


@dataclass(frozen=True)
class _Shape:
    """A shape of the layer: its number in there, napari's word for its kind, and (row, column) on a plane."""

    number: int
    kind: str
    corners: tuple[Point, ...]

    @property
    def is_stroke(self) -> bool:
        return self.kind in _STROKES


def _pairs(positions: NDArray[np.float64], plane: Plane) -> tuple[Point, ...]:
    """Give (row, column) on the plane of (N, n) positions in the image."""
    return tuple((float(row), float(column)) for row, column in positions[:, list(plane.displayed)])
