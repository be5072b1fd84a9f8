"""The viewer's layers as the panel offers them: to be annotated, or as those whose contents are prompts."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Points, Shapes
from psygnal import Signal

from napari_sam.widgets.connections import Connections
from napari_sam.widgets.settings_form import NEW_LAYER, SettingsForm


class LayerChoice:
    """Offer the layers that are there, by the names that they have now.

    Attributes
    ----------
    offered
        Emitted after the layers were offered anew, without arguments.
    """

    offered = Signal()

    def __init__(self, viewer: ViewerModel, form: SettingsForm) -> None:
        self._viewer, self._form = viewer, form
        self._connections, self._names = Connections(), Connections()
        self._connections.add(viewer.layers.events.inserted, self._on_layers_changed)
        self._connections.add(viewer.layers.events.removed, self._on_layers_changed)
        self._on_layers_changed()

    def close(self) -> None:
        """Let go of the layers."""
        self._connections.close()
        self._names.close()

    def _on_layers_changed(self, _event: Any = None) -> None:
        self._names.close()
        for layer in self._viewer.layers:
            self._names.add(layer.events.name, self._on_layer_renamed)
        self._offer()

    def _on_layer_renamed(self, _event: Any) -> None:
        names = [layer.name for layer in self._viewer.layers]
        if len(set(names)) == len(names):  # else napari is about to rename one, and tells that too
            self._offer()

    def _offer(self) -> None:
        """Fill the boxes, keeping what is chosen; of images, else the active one."""
        form, layers = self._form, list(self._viewer.layers)
        active = self._viewer.layers.selection.active
        images = [x for x in reversed(layers) if isinstance(x, Image)]
        chosen = form.image.value
        if chosen not in images and images:
            chosen = active if isinstance(active, Image) else images[0]
        with form.image.changed.blocked():
            form.image.choices = []  # else a layer with another name moves to the end
            form.image.choices = images
            if images:
                form.image.value = chosen
        for box, kind in ((form.points, Points), (form.boxes, Shapes)):
            kept = box.value
            box.choices = []
            box.choices = [NEW_LAYER, *(x for x in layers if isinstance(x, kind))]
            box.value = kept if kept in box.choices else NEW_LAYER
        self.offered.emit()
