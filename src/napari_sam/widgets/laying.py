"""A small Labels layer shows other pixels at another place, with as little redrawing as that takes."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any

import numpy as np
from napari.layers import Labels, Layer
from numpy.typing import NDArray

from napari_sam.widgets.timers import single_shot


class Overlay:
    """Lay pixels over the image by a Labels layer, and hide it in a turn of Qt's loop of its own.

    To hide a layer takes napari several milliseconds, which would add to those in which it moves to another
    plane or takes a click. What is laid anew before the time has come is not hidden in between.

    Parameters
    ----------
    layer
        The layer, which this takes away in the end.
    """

    def __init__(self, layer: Labels) -> None:
        self.layer = layer
        self._hiding = single_shot()
        self._hiding.timeout.connect(self._on_time_come)

    @property
    def is_hiding(self) -> bool:
        """Whether the layer is about to be hidden."""
        return self._hiding.isActive()

    def lay(self, pixels: NDArray[np.uint8], place: dict[str, Any]) -> None:
        """Show ``pixels``, with as many dimensions as the layer, at the place that `plane_transform` gave.

        napari compiles the shader anew for every array that it is given, and slices all layers when one of
        them has moved, either for tens of milliseconds. So an array of the same shape is filled again, and
        what is at its place stays there.
        """
        self._hiding.stop()
        layer = self.layer
        is_drawn = False  # what is visible napari draws anew by itself where it has other data or has moved
        if layer.data.shape == pixels.shape:
            layer.data[...] = pixels
        else:
            layer.data = pixels.copy()  # ours alone, to be filled again
            layer.editable = False  # napari lets other data be painted in, which would be lost
            is_drawn = True
        if tuple(layer.units) != tuple(place["units"]):
            layer.units = place["units"]
        if not np.array_equal(layer.affine.affine_matrix, place["affine"]):
            layer.affine = place["affine"]
            is_drawn = True
        if not layer.visible:
            layer.visible = True
        elif not is_drawn:
            layer.refresh()

    def hide(self, after_ms: int = 0) -> None:
        """Hide the layer in so many milliseconds, unless something is laid before."""
        if self.layer.visible:  # napari draws anew also where nothing changes
            self._hiding.start(after_ms)

    def close(self, layers: MutableSequence[Layer]) -> None:
        """Take the layer away from ``layers``, where it still is, and let go of it."""
        self._hiding.stop()
        self._hiding.timeout.disconnect(self._on_time_come)
        if self.layer in layers:
            layers.remove(self.layer)

    def _on_time_come(self) -> None:
        self.layer.visible = False
