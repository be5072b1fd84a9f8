"""The Points and Shapes layers that are made here for prompts: how they look, and which image each is for."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer, Points, Shapes

from napari_sam.widgets.coordinates import (
    ChannelsTogether,
    array_shape,
    frame_of_prompts,
    layer_of,
    positions_on_image,
    transform_of,
    world_units,
)

POSITIVE_COLOUR, NEGATIVE_COLOUR, BOX_COLOUR = "#2ee66b", "#ff4d6d", "#ffd23f"
# The feature of a point that holds its label.
FEATURE = "on_object"

_Kind = TypeVar("_Kind", Points, Shapes)


@dataclass(frozen=True)
class _Purpose:
    """The image that a layer holds prompts of, its shape, and the axis of channels that are seen together."""

    image: weakref.ref[Image]
    shape: tuple[int, ...]
    channel_axis: int | None

    @classmethod
    def of(cls, image: Image | ChannelsTogether) -> _Purpose:
        layer = layer_of(image)
        axis = image.axis if isinstance(image, ChannelsTogether) else None
        return cls(weakref.ref(layer), array_shape(layer), axis)

    def frame(self) -> Image | ChannelsTogether | None:
        """Give where the layer's positions lie, wherever the image is by now."""
        image = self.image()
        if image is None or self.channel_axis is None:
            return image
        return frame_of_prompts(ChannelsTogether(image, self.channel_axis))


# What was made here, and is still in some viewer: prompts that were not committed outlive their session.
_made: weakref.WeakKeyDictionary[Layer, _Purpose] = weakref.WeakKeyDictionary()


def is_made_for(layer: Layer | None, image: Image | ChannelsTogether) -> bool:
    """Whether ``layer`` was made here to hold prompts of ``image``, and not by the user."""
    purpose = None if layer is None else _made.get(layer)
    return purpose is not None and purpose.image() is layer_of(image)


def is_made_for_prompts(layer: Layer) -> bool:
    """Whether ``layer`` was made here to hold prompts of any image."""
    return layer in _made


def check_prompts(image: Image, points: Points | None, boxes: Shapes | None) -> None:
    """Raise a `ValueError` if a layer of the user's cannot hold prompts of ``image``."""
    for layer in (points, boxes):
        if layer is not None and layer.ndim != image.ndim:
            raise ValueError(
                f"The layer {layer.name!r} has {layer.ndim} axes, the image {image.ndim}: its prompts "
                "belong to no single plane. Choose another layer, or a new one."
            )


def made_points(viewer: ViewerModel, image: Image | ChannelsTogether, chosen: Points | None = None) -> Points:
    """Give the chosen points of the user's, else those that an earlier session has left, or new ones."""
    if chosen is not None and not is_made_for(chosen, image):
        return chosen
    points = _left_behind(viewer, image, Points) or viewer.add_layer(
        _new_points(image, _place(viewer, image))
    )
    _made[points] = _Purpose.of(image)
    return points


def made_boxes(viewer: ViewerModel, image: Image | ChannelsTogether, chosen: Shapes | None = None) -> Shapes:
    """Give the chosen shapes of the user's, else those that an earlier session has left, or new ones."""
    if chosen is not None and not is_made_for(chosen, image):
        return chosen
    boxes = _left_behind(viewer, image, Shapes) or viewer.add_layer(_new_boxes(image, _place(viewer, image)))
    _made[boxes] = _Purpose.of(image)
    return boxes


def _left_behind(viewer: ViewerModel, image: Image | ChannelsTogether, kind: type[_Kind]) -> _Kind | None:
    """Lay what is left on the image as it is taken now, above all others; its next prompt is positive.

    Prompts of an array that the image no longer has belong to no plane: they go.
    """
    layers = [x for x in viewer.layers if isinstance(x, kind) and is_made_for(x, image)]
    if not layers:
        return None
    layer = layers[-1]
    before = _made[layer]
    if before.shape != array_shape(layer_of(image)):
        viewer.layers.remove(layer)
        return None
    if (frame := before.frame()) is not None and before.channel_axis != _Purpose.of(image).channel_axis:
        data = [np.asarray(x, np.float64).reshape(-1, layer.ndim) for x in layer.data]
        moved = [positions_on_image(frame, x, frame_of_prompts(image)) for x in data]
        layer.data = np.concatenate(moved) if isinstance(layer, Points) and moved else moved
    for name, value in _place(viewer, image).items():
        setattr(layer, name, value)
    layer.visible = True
    layer.selected_data = set()  # else what is selected would change with the default
    layer.feature_defaults = layer.feature_defaults.assign(**{FEATURE: True})
    if isinstance(layer, Points):
        layer.current_face_color = POSITIVE_COLOUR
    viewer.layers.move(viewer.layers.index(layer), len(viewer.layers))
    return layer


def _place(viewer: ViewerModel, image: Image | ChannelsTogether) -> dict[str, Any]:
    return transform_of(frame_of_prompts(image), world_units(viewer))


def _size(image: Image | ChannelsTogether) -> float:
    """Give the diameter of a point, in pixels."""
    return max(2.0, 0.014 * max(array_shape(image)[-2:]))


def _new_points(image: Image | ChannelsTogether, place: dict[str, Any]) -> Points:
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
        size=_size(image),
        **place,
    )


def _new_boxes(image: Image | ChannelsTogether, place: dict[str, Any]) -> Shapes:
    return Shapes(
        ndim=image.ndim,
        name="SAM boxes",
        features={FEATURE: np.empty(0, bool)},
        feature_defaults={FEATURE: True},
        edge_color=BOX_COLOUR,
        face_color="transparent",
        edge_width=max(0.5, _size(image) / 4),
        visible=False,  # see `PromptLayers`
        **place,
    )
