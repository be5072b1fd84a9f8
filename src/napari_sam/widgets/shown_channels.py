"""The channels of an image as the user sees them: the layers that lie on the same pixels, and their looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from napari_sam.channels import Channel, ChannelArrays, Composite
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.coordinates import array_shape, data_to_world
from napari_sam.widgets.timers import single_shot

ALONE, SHOWN, ALONG = "alone", "shown", "along"
_LOOKS = ("colormap", "contrast_limits", "gamma", "opacity", "blending", "visible")
# While a slider of napari moves, looks change many times a second.
_SETTLE_MS = 150
# A colormap is told from colours evenly spread, by so few that none of its 256 is off by more than one step.
_SPREADS = (2, 3, 5, 9, 17, 33, 65)
_BLENDINGS = {"translucent_no_depth": "translucent"}


def layers_like(viewer: ViewerModel, image: Image) -> list[Image]:
    """List the gray images on the pixels of ``image``, itself included, from the lowest to the topmost."""
    if image.rgb:
        return [image]
    return [x for x in viewer.layers if isinstance(x, Image) and not x.rgb and is_like(x, image)]


def is_like(one: Image, other: Image) -> bool:
    """Whether two images lie on the same pixels."""
    return (
        array_shape(one) == array_shape(other)
        and tuple(one.units) == tuple(other.units)
        and np.allclose(data_to_world(one), data_to_world(other))
    )


def composite_of(layers: Sequence[Image]) -> Composite:
    """Describe what the layers show together.

    Raises
    ------
    ValueError
        If none of them is visible.
    """
    return Composite(tuple(look_of(layer) for layer in layers))


def arrays_of(layers: Sequence[Image]) -> ChannelArrays:
    """Give the layers' arrays as channels of one image."""
    return ChannelArrays([layer.data for layer in layers])


def look_of(layer: Image) -> Channel:
    """Describe how a layer shows its intensities."""
    low, high = layer.contrast_limits
    blending: Any = str(layer.blending)
    return Channel(
        _colours(layer),
        (float(low), float(high)),
        float(layer.gamma),
        float(layer.opacity),
        _BLENDINGS.get(blending, blending),
        bool(layer.visible),
    )


def choices_for(layers: Sequence[Image], axes: str, shape: Sequence[int]) -> list[tuple[str, str]]:
    """Offer what the model may see, as (what the user reads, value), of an image and the layers like it."""
    choices = [("this layer alone", ALONE)]
    if len(layers) > 1:
        visible = sum(bool(layer.visible) for layer in layers)
        choices.append((f"as shown ({visible} of {len(layers)})", SHOWN))
    axis = axes.find("c")
    if axis >= 0 and len(shape) > 2 and shape[axis] > 1:
        choices.append((f"all {shape[axis]} along c", ALONG))
    return choices


def along_axis(layer: Image, axes: str, limits: tuple[float, float] | None) -> Composite:
    """Show all channels of a layer with an axis c in napari's colours, within ``limits`` or their own."""
    count = array_shape(layer)[axes.index("c")]
    channels = Composite.along("c", count).channels
    return Composite(tuple(Channel(channel.colours, limits) for channel in channels), "c")


class LooksWatch(QObject):
    """Tell when layers look different, once they have settled."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._layers: list[Image] = []
        self._connections = Connections()
        self._settle = single_shot(_SETTLE_MS)
        self._settle.timeout.connect(self.changed)

    def follow(self, layers: Sequence[Image]) -> None:
        """Look at these layers from now on, and at no others."""
        if len(layers) == len(self._layers) and all(
            a is b for a, b in zip(layers, self._layers, strict=True)
        ):
            return
        self._connections.close()
        self._layers = list(layers)
        for layer in layers:
            for name in _LOOKS:
                self._connections.add(getattr(layer.events, name), self._on_look_changed)

    def close(self) -> None:
        """Let go of the layers; nothing is told any more."""
        self._settle.stop()
        self.follow([])

    def _on_look_changed(self, _event: Any = None) -> None:
        self._settle.start()


def _colours(layer: Image) -> tuple[str, ...]:
    """Give the colours of the layer's colormap, evenly spread."""
    table = 255 * np.asarray(layer.colormap.map(np.linspace(0, 1, 256)))[:, :3]
    for count in _SPREADS:
        places = np.linspace(0, 255, count)
        chosen = np.stack([np.interp(places, np.arange(256), column) for column in table.T], axis=1)
        again = np.stack([np.interp(np.arange(256), places, column) for column in chosen.T], axis=1)
        if np.abs(again - table).max() <= 1:
            return tuple(_hex(colour) for colour in chosen)
    return tuple(_hex(colour) for colour in table)


def _hex(colour: np.ndarray[Any, Any]) -> str:
    return "#" + "".join(f"{round(float(x)):02x}" for x in colour)
