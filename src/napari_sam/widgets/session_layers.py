"""The layers of one session (prompts, preview, labels): the one place that changes them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import label_colormap
from numpy.typing import NDArray

from napari_sam.annotation import Session
from napari_sam.plane import Plane
from napari_sam.previews import Preview
from napari_sam.storage.records import Step
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.coordinates import (
    PlaneNotShown,
    data_to_world,
    frame_of,
    is_reshaped,
    plane_transform,
    shown_plane,
    world_units,
)
from napari_sam.widgets.laying import Overlay
from napari_sam.widgets.made_layers import PREVIEW_COLOURS, MadeLayers, lay_labels
from napari_sam.widgets.own_layers import is_overlay
from napari_sam.widgets.prompt_layers import PromptLayers

_MANY_COLOURS = label_colormap(64)
# For so long the last mask stays where the next one is being predicted.
_NEXT_IS_NEAR_MS = 250
_PLACE = ("scale", "translate", "rotate", "shear", "affine", "units")


class SessionLayers:
    """Show a session's state in the layers that were made for it."""

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        session: Session,
        made: MadeLayers,
    ) -> None:
        self._viewer = viewer
        self._image = image
        self._session = session
        self.frame = frame_of(image, session.planes)
        self.labels = made.labels
        self.labels.editable = not session.store.read_only
        self._preview = Overlay(made.preview)
        self._colours: object = PREVIEW_COLOURS
        # What is laid over the image, to be laid again where that moves.
        self._laid: tuple[Plane, NDArray[np.uint8], tuple[int, int], object] | None = None
        self.prompts = PromptLayers(viewer, self.frame, made.points, made.boxes)
        if not self._lies_on_image():  # which may have moved while the layers were made
            self._place_all()
        self._connections = Connections()
        for signal in moving_signals(viewer, image):
            self._connections.add(signal, self._on_image_moved)

    @property
    def _is_reshaped(self) -> bool:
        """Whether the image's array was replaced by one that has none of the session's planes."""
        return is_reshaped(self._image, self._session.planes)

    @property
    def is_busy(self) -> bool:
        """Whether the preview is about to be taken away."""
        return self._preview.is_hiding

    def needs(self, layer: Layer) -> bool:
        """Whether the session cannot go on without ``layer``."""
        return layer in (
            self._image,
            self.labels,
            self._preview.layer,
            self.prompts.points,
            self.prompts.boxes,
        )

    def close(self) -> None:
        """Stop to listen, and take away what is of no use without the session; labels and prompts stay."""
        self._connections.close()
        self.prompts.close()
        self.labels.editable = False  # what is painted without a session would be in no ledger
        self._preview.close(self._viewer.layers)

    def shown_plane(self) -> Plane:
        """The plane of the image that the viewer shows; see `shown_plane`."""
        if self._is_reshaped:
            raise PlaneNotShown(f"{self._image.name!r} has another shape now: start anew.")
        return shown_plane(self._viewer, self.frame)

    def show_plane(self, plane: Plane) -> None:
        """Move the viewer to ``plane``, if it is not there."""
        with suppress(PlaneNotShown):
            if self.shown_plane() == plane:
                return
        dims = self._viewer.dims
        missing = dims.ndim - self._image.ndim
        displayed = tuple(axis + missing for axis in plane.displayed)
        if tuple(dims.displayed) != displayed:
            dims.order = (*(axis for axis in dims.order if axis not in displayed), *displayed)
        to_world = data_to_world(self.frame, world_units(self._viewer))
        world = to_world @ np.array([*plane.position, 1.0])
        here = np.linalg.inv(to_world) @ np.array([*dims.point[missing:], 1.0])
        for axis, value in enumerate(world[:-1]):
            if self._session.planes.channel_axis == axis and abs(here[axis]) < 0.5:
                continue  # whichever channel the user looks at
            if axis not in plane.displayed and not np.isclose(dims.point[axis + missing], value):
                dims.set_point(axis + missing, value)

    def hide_preview(self, is_next_near: bool = False) -> None:
        """Take the mask away; where the next one is near, the last stays until then, but not for long."""
        self._laid = None
        self._preview.hide(_NEXT_IS_NEAR_MS if is_next_near else 0)

    def show_preview(self, preview: Preview) -> None:
        """Lay the mask over its plane."""
        plane, tile, mask = preview.plane, preview.found.tile, preview.found.inside.mask(preview.chosen)
        self._show_mask(plane, mask.astype(np.uint8), (tile.row, tile.column), PREVIEW_COLOURS)

    def _show_mask(
        self, plane: Plane, mask: NDArray[np.uint8], corner: tuple[int, int], colours: object
    ) -> None:
        """Lay numbered masks over their plane, from ``corner`` on."""
        self._laid = plane, mask, corner, colours
        if self._colours is not colours:
            self._colours = self._preview.layer.colormap = colours
        place = plane_transform(self.frame, plane, world_units(self._viewer), corner)
        self._preview.lay(plane.to_block(mask), place)

    def show_commit(self, step: Step) -> None:
        """Show what was written, and let the brush go on with that object."""
        if step.label is not None:
            self.labels.selected_label = step.label
        self.labels.refresh()

    def show_labels(self) -> None:
        """Show the labels as they are by now."""
        self.labels.refresh()

    def labels_chosen(self) -> Labels:
        """The active Labels layer, else that of the session; what is only laid over the image is none."""
        active = self._viewer.layers.selection.active
        return active if isinstance(active, Labels) and not is_overlay(active) else self.labels

    def show_several(self, previews: Sequence[Preview]) -> None:
        """Lay the masks of several objects of one plane over it, each in a colour of its own."""
        plane = previews[0].plane
        shape = plane.shape(self._session.planes.shape)
        together = np.zeros(shape, np.uint8)
        for number, preview in enumerate(sorted(previews, key=lambda preview: preview.score)):
            rows, columns = preview.found.tile.index
            together[rows, columns][preview.found.inside.mask(preview.chosen)] = number % 255 + 1
        self._show_mask(plane, together, (0, 0), _MANY_COLOURS)

    def _on_image_moved(self, _event: object) -> None:
        """Move our layers with the image, of which another plane may be shown now."""
        if self._is_reshaped:  # the session is about to end
            return
        self._place_all()
        with suppress(ValueError):  # there is none, or one that is too large: a commit will say so
            self._session.show(self.shown_plane())
        if self._laid is None:
            self.hide_preview()
        else:
            self._show_mask(*self._laid)

    def _lies_on_image(self) -> bool:
        """Whether the labels are where the image is."""
        units = world_units(self._viewer)
        return np.array_equal(data_to_world(self.labels, units), data_to_world(self.frame, units))

    def _place_all(self) -> None:
        """Lay the labels and the prompts on the image."""
        lay_labels(self.labels, self._viewer, self.frame)
        self.prompts.follow_image()


def moving_signals(viewer: ViewerModel, layer: Layer) -> list[Any]:
    """Give what tells that a layer has another place in the viewer's world."""
    signals = [getattr(layer.events, name) for name in _PLACE]
    units = getattr(viewer.dims.events, "units", None)  # of the world; not in napari 0.6
    return signals if units is None else [*signals, units]
