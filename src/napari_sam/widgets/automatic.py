"""The widget ``Segment Anything: automatic masks``: find all objects, choose among them, write them."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Shapes
from numpy.typing import NDArray
from qtpy.QtWidgets import QVBoxLayout

from napari_sam.annotation import Session
from napari_sam.plane import Plane
from napari_sam.widgets.annotate import unwrapped
from napari_sam.widgets.automatic_controller import AutomaticController
from napari_sam.widgets.automatic_panel import AutomaticPanel
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.coordinates import transform_of, world_units
from napari_sam.widgets.docked import DockedWidget
from napari_sam.widgets.made_layers import labels_layer
from napari_sam.widgets.made_prompts import is_made_for_prompts
from napari_sam.widgets.masks_layer import MasksLayer
from napari_sam.widgets.regions import region_on
from napari_sam.widgets.running import running
from napari_sam.widgets.scrolling import Scrolled

_REGION = "SAM region"


class AutomaticWidget(DockedWidget):
    """Automatic masks for the image that is being annotated in the viewer.

    Parameters
    ----------
    napari_viewer
        The viewer that the widget is docked in.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = unwrapped(napari_viewer)
        self.panel = AutomaticPanel()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(Scrolled(self.panel), 1)
        layout.addWidget(self.panel.footer)  # what it says is read wherever the panel is scrolled to
        self._controller: AutomaticController | None = None
        self._labels: Labels | None = None
        self._connections, self._drawn = Connections(), Connections()
        self._connections.add_all(
            (running.changed, self._on_running_changed),
            (self.panel.writing.draw_requested, self._on_draw_requested),
            (self.panel.writing.region_changed, self._on_region_chosen),
            (self._viewer.layers.events.inserted, self._on_layers_changed),
            (self._viewer.layers.events.removed, self._on_layers_changed),
        )
        self._follow(running.get(self._viewer))
        self._on_layers_changed()

    @property
    def is_busy(self) -> bool:
        """Whether something is being computed, or about to be."""
        return self._controller is not None and self._controller.is_busy

    def let_go(self) -> None:
        """Let go of the session and the viewer; the threads end by themselves."""
        self.stop_watching()
        self._connections.close()
        self._drawn.close()
        self._follow(None)

    def _on_running_changed(self, viewer: ViewerModel) -> None:
        if viewer is self._viewer:
            self._follow(running.get(viewer))

    def _follow(self, session: Session | None) -> None:
        if self._controller is not None:
            self._controller.close()
            self._controller = None
        self._labels = None if session is None else labels_layer(self._viewer, session.store)
        if session is None or self._labels is None:
            self.panel.show_status("Start an annotation first: Segment Anything: annotate, in the same menu.")
            return
        self._controller = AutomaticController(
            session, self.panel, MasksLayer(self._viewer, self._labels), self._region_on, self._add_tracks
        )

    def _region_on(self, plane: Plane) -> NDArray[np.bool_] | None:
        layer = self.panel.writing.region()
        if layer is None:
            return None
        assert self._labels is not None, "a controller has a session"
        return region_on(layer, self._labels, plane, world_units(self._viewer))

    def _on_draw_requested(self) -> None:
        """Make a layer to draw in, or take the one up that is chosen."""
        if self._labels is None:
            return
        layer = self.panel.writing.region()
        if layer is None:
            layer = self._viewer.add_shapes(
                ndim=self._labels.ndim,
                name=_REGION,
                edge_color="#ffffff",
                face_color="#ffffff22",
                edge_width=max(1.0, 0.004 * max(self._labels.data.shape[-2:])),
                **transform_of(self._labels, world_units(self._viewer)),
            )
            self._offer_regions(layer)
        self._viewer.layers.selection.active = layer
        layer.mode = "add_polygon"

    def _on_region_chosen(self) -> None:
        """Follow what is drawn in the layer of the region."""
        self._drawn.close()
        self._drawn = Connections()
        if (layer := self.panel.writing.region()) is not None:
            self._drawn.add(layer.events.data, self._on_drawn)
            self._drawn.add(layer.events.name, self._on_layers_changed)
        self._on_drawn()

    def _on_drawn(self, _event: Any = None) -> None:
        if self._controller is not None:
            self._controller.region_changed()

    def _add_tracks(self, rows: NDArray[np.float64]) -> None:
        assert self._labels is not None, "a controller has a session"
        self._viewer.add_tracks(
            rows, name="SAM tracks", **transform_of(self._labels, world_units(self._viewer))
        )

    def _on_layers_changed(self, _event: Any = None) -> None:
        self._offer_regions()

    def _offer_regions(self, chosen: Shapes | None = None) -> None:
        shapes = [x for x in self._viewer.layers if isinstance(x, Shapes) and not is_made_for_prompts(x)]
        self.panel.writing.offer_regions(shapes, chosen)
