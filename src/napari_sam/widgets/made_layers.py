"""The layers that show a session: how each looks, and in which order they are made, one at a time."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points, Shapes
from napari.utils.colormaps import DirectLabelColormap, direct_colormap

from napari_sam.annotation import Session
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ome import plain_name
from napari_sam.storage.recorded import RecordedLabels
from napari_sam.widgets.coordinates import (
    ChannelsTogether,
    PlaneNotShown,
    frame_of,
    plane_transform,
    shown_plane,
    transform_of,
    world_units,
)
from napari_sam.widgets.made_prompts import check_prompts, made_boxes, made_points
from napari_sam.widgets.own_layers import note_overlay
from napari_sam.widgets.strokes import DrawnLabels

# Like none of the first forty colours that napari gives to labels.
PREVIEW_COLOURS = direct_colormap({0: "transparent", None: "transparent", 1: "#ff4fd8"})
_OUTLINE_COLOURS = direct_colormap({0: "transparent", None: "transparent", 1: "#ffffff"})


@dataclass(frozen=True)
class MadeLayers:
    """All layers of one session but its image, from the lowest to the highest where all were made anew."""

    labels: Labels
    preview: Labels
    points: Points
    boxes: Shapes
    hover: Labels


def make_layers(
    viewer: ViewerModel,
    image: Image,
    session: Session,
    points: Points | None = None,
    boxes: Shapes | None = None,
) -> Generator[Layer, None, MadeLayers]:
    """Give the layers one after the other, each of them made or taken up no sooner than it is asked for.

    They come in the order in which they lie above each other: one that is put between others has napari order
    all of them anew. Until all are there nobody is to use them; labels that are made cannot be painted in.

    Parameters
    ----------
    viewer, image, session
        Where the layers are added, and what they show.
    points, boxes
        The user's own layers for prompts; without them those that an earlier session left, else new ones.

    Raises
    ------
    ValueError
        If a chosen layer cannot hold prompts of the image, or its shown plane is too large; nothing has been
        made then.
    """
    frame = frame_of(image, session.planes)
    check_prompts(image, points, boxes)
    with suppress(PlaneNotShown):  # it may be shown later
        session.planes.check(shown_plane(viewer, frame))
    yield (labels := _labels(viewer, frame, session))
    yield (preview := _on_one_plane(viewer, frame, session, "SAM preview", PREVIEW_COLOURS, opacity=0.6))
    yield (prompt_points := made_points(viewer, frame, points))
    yield (prompt_boxes := made_boxes(viewer, frame, boxes))
    yield (hover := _on_one_plane(viewer, frame, session, "SAM hover", _OUTLINE_COLOURS, contour=1))
    return MadeLayers(labels, preview, prompt_points, prompt_boxes, hover)


def labels_layer(viewer: ViewerModel, store: LabelsStore) -> Labels | None:
    """Find the layer that shows the labels of a store."""
    shown = (x for x in viewer.layers if isinstance(x.data, RecordedLabels) and x.data.store is store)
    return next(shown, None)


def lay_labels(labels: Labels, viewer: ViewerModel, frame: Image | ChannelsTogether) -> None:
    """Lay labels of all planes on their image, wherever that is now."""
    place = transform_of(frame, world_units(viewer))
    for name in ("scale", "translate", "rotate", "shear", "affine", "units"):
        setattr(labels, name, place[name])


def _labels(viewer: ViewerModel, frame: Image | ChannelsTogether, session: Session) -> Labels:
    """Take up the layer that shows the session's store already, else add one."""
    for layer in viewer.layers:
        shown = getattr(layer, "data", None)
        if isinstance(shown, RecordedLabels) and shown.store.path == session.store.path:
            layer.data = DrawnLabels(session.store)
            layer.editable = False  # napari lets other data be edited
            lay_labels(layer, viewer, frame)  # the image may have moved while no session ran
            return layer
    place = transform_of(frame, world_units(viewer))
    name = plain_name(session.store.path)
    if any(layer.name == name for layer in viewer.layers):  # as that of the image; napari would number it
        name = f"{name} labels"
    labels = Labels(DrawnLabels(session.store), name=name, opacity=0.5, **place)
    labels.editable = False
    return _added(viewer, labels)


def _on_one_plane(
    viewer: ViewerModel,
    frame: Image | ChannelsTogether,
    session: Session,
    name: str,
    colours: DirectLabelColormap,
    opacity: float = 0.7,
    contour: int = 0,
) -> Labels:
    """Add what is laid over a part of one plane later; until then it is a hidden pixel."""
    place = plane_transform(frame, session.plane, world_units(viewer))
    pixel = np.zeros((1,) * frame.ndim, np.uint8)
    layer = Labels(pixel, name=name, opacity=opacity, visible=False, colormap=colours, **place)
    # Before the layer is added: each change draws one that is shown anew.
    layer.contour = contour
    layer.editable = False
    note_overlay(layer)
    return _added(viewer, layer)


def _added(viewer: ViewerModel, layer: Labels) -> Labels:
    viewer.add_layer(layer)
    return layer
