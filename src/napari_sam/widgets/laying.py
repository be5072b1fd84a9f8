"""A small Labels layer shows other pixels at another place, with as little redrawing as that takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray


def lay(layer: Labels, pixels: NDArray[np.uint8], place: dict[str, Any]) -> None:
    """Show ``pixels``, with as many dimensions as ``layer``, at the place that `plane_transform` gave.

    napari compiles the shader anew for every array that it is given, and slices all layers when one of them
    has moved, either for tens of milliseconds. So an array of the same shape is filled again, and what is at
    its place stays there.
    """
    if layer.data.shape == pixels.shape:
        layer.data[...] = pixels
    else:
        layer.data = pixels.copy()  # ours alone, to be filled again
    if tuple(layer.units) != tuple(place["units"]):
        layer.units = place["units"]
    if not np.array_equal(layer.affine.affine_matrix, place["affine"]):
        layer.affine = place["affine"]
    if layer.visible:
        layer.refresh()
    else:
        layer.visible = True
