"""The layers of one session (prompts, preview, labels): the one place that makes and changes them."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points, Shapes
from qtpy.QtCore import QTimer

from napari_sam.annotation import Session
from napari_sam.planes import Plane
from napari_sam.previews import Preview
from napari_sam.storage.recorded import RecordedLabels
from napari_sam.storage.records import Step
from napari_sam.widgets.coordinates import data_to_world, plane_transform, shown_plane, transform_of
from napari_sam.widgets.prompt_layers import PromptLayers

_PREVIEW_COLOUR = "#3fd0ff"
_TRANSFORM = ("scale", "translate", "rotate", "shear", "affine")


class SessionLayers:
    """Make a session's layers above its image, and show the session's state in them."""

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        session: Session,
        points: Points | None = None,
        boxes: Shapes | None = None,
    ) -> None:
        PromptLayers.check(image, points, boxes)
        self._viewer = viewer
        self._image = image
        self._session = session
        self.labels = self._labels_layer()
        self.labels.editable = not session.store.read_only
        self.labels.events.paint.connect(self._on_labels_paint)
        self._preview = viewer.add_labels(
            np.zeros((1,) * image.ndim, np.uint8),
            name="SAM preview",
            opacity=0.6,
            visible=False,
            **plane_transform(image, session.plane),
        )
        self._preview.colormap = {0: "transparent", None: "transparent", 1: _PREVIEW_COLOUR}
        self._preview.editable = False
        self.prompts = PromptLayers(viewer, image, points, boxes)
        for name in _TRANSFORM:
            getattr(image.events, name).connect(self._on_image_moved)

    def needs(self, layer: Layer) -> bool:
        """Whether the session cannot go on without ``layer``."""
        return layer in (self._image, self.labels, self._preview, self.prompts.points, self.prompts.boxes)

    def close(self) -> None:
        """Stop to listen, and take away what is of no use without the session; labels and prompts stay."""
        for name in _TRANSFORM:
            getattr(self._image.events, name).disconnect(self._on_image_moved)
        self.prompts.close()
        self.labels.events.paint.disconnect(self._on_labels_paint)
        self.labels.editable = False  # what is painted without a session would be in no ledger
        if self._preview in self._viewer.layers:
            self._viewer.layers.remove(self._preview)

    def shown_plane(self) -> Plane:
        """The plane of the image that the viewer shows; see `shown_plane`."""
        return shown_plane(self._viewer, self._image)

    def show_plane(self, plane: Plane) -> None:
        """Move the viewer to ``plane``, if it is not there."""
        dims = self._viewer.dims
        missing = dims.ndim - self._image.ndim
        displayed = tuple(axis + missing for axis in plane.displayed)
        if tuple(dims.displayed) != displayed:
            dims.order = (*(axis for axis in dims.order if axis not in displayed), *displayed)
        world = data_to_world(self._image) @ np.array([*plane.position, 1.0])
        for axis, value in enumerate(world[:-1]):
            if axis not in plane.displayed and not np.isclose(dims.point[axis + missing], value):
                dims.set_point(axis + missing, value)

    def show_preview(self, preview: Preview | None) -> None:
        """Lay the mask over its plane."""
        layer = self._preview
        if preview is None:
            layer.visible = False
            return
        plane, tile, mask = preview.plane, preview.found.tile, preview.found.inside.mask(preview.chosen)
        shape = [1] * self._image.ndim
        for axis, length in zip(plane.displayed, mask.shape, strict=True):
            shape[axis] = length
        layer.data = plane.to_plane(mask).astype(np.uint8).reshape(shape)
        layer.affine = plane_transform(self._image, plane, (tile.row, tile.column))["affine"]
        layer.visible = True

    def show_commit(self, step: Step) -> None:
        """Show what was written, and let the brush go on with that object."""
        if step.label is not None:
            self.labels.selected_label = step.label
        self.labels.refresh()

    def show_labels(self) -> None:
        """Show the labels as they are by now."""
        self.labels.refresh()

    def tool(self) -> str:
        """Which of the two tools the canvas has, or none."""
        active = self._viewer.layers.selection.active
        if active is self.prompts.points and self.prompts.points.mode == "add":
            return "points"
        if active is self.prompts.boxes and self.prompts.boxes.mode == "add_rectangle":
            return "boxes"
        return ""

    def choose_tool(self, tool: str) -> None:
        """Let the mouse add points, or draw rectangles."""
        layer, mode = (
            (self.prompts.points, "add") if tool == "points" else (self.prompts.boxes, "add_rectangle")
        )
        self._viewer.layers.selection.active = layer
        layer.mode = mode

    def _labels_layer(self) -> Labels:
        """Take up the layer that shows this store already, else add one."""
        opened = self._session.labels
        for layer in self._viewer.layers:
            shown = getattr(layer, "data", None)
            if isinstance(shown, RecordedLabels) and shown.store.path == opened.store.path:
                layer.data = opened
                layer.editable = True
                return layer
        name = self._session.store.path.name.split(".")[0]
        return self._viewer.add_labels(opened, name=name, opacity=0.5, **transform_of(self._image))

    def _on_image_moved(self, _event: object) -> None:
        """Move our layers with the image."""
        for layer in (self.labels, *self.prompts.own):
            for name in _TRANSFORM:
                setattr(layer, name, getattr(self._image, name))
        self.show_preview(self._session.preview)

    def _on_labels_paint(self, _event: object) -> None:
        """End the stroke once napari has written all of it, which for some tools is after this event."""
        QTimer.singleShot(0, self._session.store.end_stroke)
