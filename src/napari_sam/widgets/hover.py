"""The mask under the resting cursor is outlined before any click; a click takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from qtpy.QtCore import QObject

from napari_sam.annotation import Session
from napari_sam.hovering import mask_under
from napari_sam.inference.prompts import lies_on
from napari_sam.previews import Preview
from napari_sam.runs import pixel_box
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.coordinates import (
    ChannelsTogether,
    data_to_world,
    layer_of,
    on_plane,
    plane_transform,
    round_off,
    world_units,
)
from napari_sam.widgets.jobs import LatestJob
from napari_sam.widgets.laying import Overlay
from napari_sam.widgets.session_layers import moving_signals
from napari_sam.widgets.timers import single_shot

# The cursor rests once it has not moved for so long; of the places where it rests only the latest counts.
_REST_MS = 25
# The outline's array grows in steps of so many pixels.
_STEP = 64


class Hover(QObject):
    """Outline the mask under the resting cursor, until it is closed.

    Parameters
    ----------
    viewer, image, session
        Where the cursor is, over which image, and what knows its masks.
    layer
        What the outline is shown in; this takes it away in the end.
    is_wanted
        Whether a click would start an object now.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image | ChannelsTogether,
        session: Session,
        layer: Labels,
        is_wanted: Callable[[], bool],
    ) -> None:
        super().__init__()
        self._viewer = viewer
        self._image = image
        self._session = session
        self._is_wanted = is_wanted
        self.is_on = True
        self.shown: Preview | None = None
        self._place: np.ndarray[Any, np.dtype[np.float64]] | None = None
        self._job = LatestJob()
        self._rest = single_shot(_REST_MS)
        self._outline = Overlay(layer)
        viewer.mouse_move_callbacks.append(self._on_mouse_moved)
        self._connections = Connections()
        self._connections.add_all(
            (self._rest.timeout, self._on_rest),
            (self._job.finished, self._on_finished),
            (self._job.failed, self._on_failed),
            (session.plane_changed, self.hide),
            (session.prompt_changed, self.hide),
            (viewer.dims.events.ndisplay, self._on_view_changed),
        )
        for signal in moving_signals(viewer, layer_of(image)):
            self._connections.add(signal, self._on_view_changed)

    @property
    def is_busy(self) -> bool:
        """Whether a mask is being predicted, or about to be."""
        return self._rest.isActive() or self._job.is_busy or self._outline.is_hiding

    def switch(self, is_on: bool) -> None:
        """Begin, or stop, to look."""
        self.is_on = is_on
        if not is_on:
            self.hide()

    def hide(self) -> None:
        """Take the outline away, also one that is on its way."""
        self._rest.stop()
        self._job.cancel()
        self.shown = None
        self._outline.hide()

    def close(self) -> None:
        """Let go of everything, and take the layer away; the thread ends by itself."""
        self._rest.stop()
        self._viewer.mouse_move_callbacks.remove(self._on_mouse_moved)
        self._connections.close()
        self._job.close()
        self._outline.close(self._viewer.layers)

    def _may_show(self) -> bool:
        """Whether a plane is shown, and a click would start an object there."""
        return self._viewer.dims.ndisplay == 2 and self._is_wanted()

    def _on_view_changed(self, _event: object) -> None:
        """Hide what was outlined elsewhere: in the plane before the 3-D view, or where the image was."""
        self.hide()

    def _on_mouse_moved(self, _viewer: object, event: Any) -> None:
        """Wait until the cursor rests; called at every move, so that nothing is done here."""
        if self.is_on:
            self._place = np.array(event.position, np.float64)
            self._rest.start()

    def _on_rest(self) -> None:
        """Ask for the mask under the cursor, if it is over the plane and a click would begin an object."""
        session, plane, n = self._session, self._session.plane, self._image.ndim
        if self._place is None or not self._may_show() or not session.embedder.is_made(plane):
            self.hide()
            return
        to_image = np.linalg.inv(data_to_world(self._image, world_units(self._viewer)))
        position = round_off((to_image @ [*self._place[-n:], 1.0])[:-1])
        row, column = (float(position[axis]) for axis in plane.displayed)
        shape = plane.shape(session.planes.shape)
        if not (lies_on((row, column), shape) and on_plane(plane, position[None])[0]):
            self.hide()
            return
        self._job.submit(lambda _: mask_under(session, plane, (row, column)), key=(plane, row, column))

    def _on_finished(self, preview: Preview | None) -> None:
        """Show the outline, cut to the mask's box: the smaller, the sooner it is drawn."""
        if preview is None or preview.plane != self._session.plane or not self._may_show():
            return
        mask = preview.found.inside.mask(preview.chosen)
        box = pixel_box(mask)
        if box is None or self._outline.layer not in self._viewer.layers:
            self.hide()
            return
        plane, tile = preview.plane, preview.found.tile
        height, width = box[2] - box[0], box[3] - box[1]
        # napari draws no line at the array's border; and few different sizes are drawn sooner, see `lay`.
        cut = np.pad(
            mask[box[0] : box[2], box[1] : box[3]], [(1, 1 + -height % _STEP), (1, 1 + -width % _STEP)]
        )
        corner = (tile.row + box[0] - 1, tile.column + box[1] - 1)
        place = plane_transform(self._image, plane, world_units(self._viewer), corner)
        self._outline.lay(plane.to_block(cut.astype(np.uint8)), place)
        self.shown = preview

    def _on_failed(self, _error: Exception) -> None:
        """Show nothing: what fails here fails at the click too, which says why."""
        self.hide()
