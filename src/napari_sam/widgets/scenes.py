"""Which scene of a file a layer shows: files of several series or positions become several layers."""

from __future__ import annotations

import re
from pathlib import Path

from napari.components import ViewerModel
from napari.layers import Image

from napari_sam.widgets.shown_channels import is_like

# Under these keys of a layer's metadata readers give the scene's number. Its name alone does not tell whether
# the file has others, and labels of the only one keep the file's name.
_KEYS = ("scene", "scene_index", "series", "series_index")
# "2 :: well B3 :: DAPI": readers of the bioio family put the number before the name, in the layer's.
_IN_NAME = re.compile(r"(?:^| :: )(?P<number>\d+) :: (?P<name>.+?)(?: :: |$)")


def file_of(layer: Image) -> Path | None:
    """Give the file that a layer was read from, if it is still there."""
    path = Path(layer.source.path) if layer.source.path else None
    return path if path is not None and path.exists() else None


def scene_of(viewer: ViewerModel, layer: Image) -> str | None:
    """Name the scene of its file that a layer shows; None for the first one, or the only one.

    It is what the reader says: in the metadata, or in the layer's name. Where it says nothing, layers of the
    same file that do not lie on each other's pixels are of different scenes, each called as its lowest layer.
    """
    if (said := _said(layer)) is not None:
        number, name = said
        return f"{number} {name}".strip() if number else None
    if file_of(layer) is None:
        return None
    theirs = [x for x in viewer.layers if isinstance(x, Image) and x.source.path == layer.source.path]
    if layer not in theirs or is_like(layer, theirs[0]):
        return None
    return str(next(x for x in theirs if is_like(layer, x)).name)


def _said(layer: Image) -> tuple[int, str] | None:
    """Give the number of the scene, from 0, and its name, if the reader says them."""
    for key, value in layer.metadata.items():
        if str(key).lower() in _KEYS and str(value).isdecimal():
            return int(value), ""
    found = _IN_NAME.search(layer.name)
    return None if found is None else (int(found["number"]), found["name"])
