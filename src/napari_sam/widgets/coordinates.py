"""Between what napari shows and the image's own array: which plane, and where on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_sam.plane import Plane
from napari_sam.planes import Planes

_TOLERANCE = 1e-6
# Positions are rounded to so many decimals of a pixel: round-off of transforms must change no plane, no mask.
_DECIMALS = 6

# The unit of every world axis; None where the layers' units have nothing in common, or napari knows none.
Units = Sequence[Any] | None


class ChannelsTogether:
    """An image layer as a session sees it that takes its channels together: their axis has one index.

    That one is as wide as all channels, so what is made on it is shown whichever channel the slider is at.

    Parameters
    ----------
    image
        The layer.
    axis
        That of its channels.
    width
        How many times as wide as the channels the index is. Of points and shapes, unlike of pixels, napari
        shows only those within half an index.
    """

    def __init__(self, image: Image, axis: int, width: float = 1.0) -> None:
        shape = tuple(int(n) for n in image.level_shapes[0][: image.ndim])
        self.image = image
        self.axis = axis
        self.ndim: int = image.ndim
        self.name: str = image.name
        self.level_shapes = [tuple(1 if x == axis else n for x, n in enumerate(shape))]
        self._middle, self._width = (shape[axis] - 1) / 2, shape[axis] * width

    @property
    def units(self) -> Any:
        """Those of the image."""
        return self.image.units

    @property
    def axis_labels(self) -> Any:
        """Those of the image."""
        return self.image.axis_labels

    def data_to_world(self, position: NDArray[np.float64]) -> Any:
        """Give the layer's own world coordinates of a position."""
        on_image = np.array(position, np.float64)
        on_image[self.axis] = self._middle + self._width * on_image[self.axis]
        return self.image.data_to_world(on_image)


# What has pixels in the world: a layer, or an image whose channels are one.
Frame: TypeAlias = Layer | ChannelsTogether


def frame_of(image: Image, planes: Planes) -> Image | ChannelsTogether:
    """Give the image as ``planes`` take it."""
    return image if planes.channel_axis is None else ChannelsTogether(image, planes.channel_axis)


def layer_of(image: Image | ChannelsTogether) -> Image:
    """Give the layer itself, whether its channels are taken together or not."""
    return image.image if isinstance(image, ChannelsTogether) else image


def frame_of_prompts(image: Image | ChannelsTogether) -> Image | ChannelsTogether:
    """Give where points and shapes are shown with every channel."""
    return ChannelsTogether(image.image, image.axis, 4.0) if isinstance(image, ChannelsTogether) else image


class PlaneNotShown(ValueError):
    """The viewer does not show one plane of the image; the message says why and what to do."""


def world_units(viewer: ViewerModel) -> Units:
    """Give the units of the viewer's world: napari shows layers with finer and coarser ones in the finest."""
    units: Units = getattr(viewer.dims, "units", None)
    return units


def data_to_world(layer: Frame, units: Units = None) -> NDArray[np.float64]:
    """Give the (n + 1, n + 1) matrix from the layer's array indices to the world in ``units``.

    Without units that is the layer's own world.
    """
    n = layer.ndim
    origin = np.array(layer.data_to_world(np.zeros(n)))
    matrix = np.eye(n + 1)
    matrix[:n, n] = origin
    for axis, unit in enumerate(np.eye(n)):
        matrix[:n, axis] = np.array(layer.data_to_world(unit)) - origin
    if units is not None and len(units) >= n and not _same_units(layer, units):
        of_world = [
            float((1 * own).to(world).magnitude) for own, world in zip(layer.units, units[-n:], strict=True)
        ]
        matrix = np.diag([*of_world, 1.0]) @ matrix
    return matrix


def shown_plane(viewer: ViewerModel, image: Image | Labels | ChannelsTogether) -> Plane:
    """Find the plane of ``image`` that the viewer shows.

    Raises
    ------
    PlaneNotShown
        In the 3-D view, outside the image, or where the shown plane cuts obliquely through the array.
    """
    if viewer.dims.ndisplay != 2:
        raise PlaneNotShown("Prompts need a plane: switch from the 3-D to the 2-D view (Ctrl+Y).")
    n = image.ndim
    missing = viewer.dims.ndim - n
    displayed = tuple(axis - missing for axis in viewer.dims.displayed)
    if min(displayed) < 0:
        raise PlaneNotShown(f"The shown axes are not axes of {image.name!r}: change the order of the axes.")
    if isinstance(image, ChannelsTogether) and image.axis in displayed:
        raise PlaneNotShown(
            f"The channels of {image.name!r} are seen together: change the order of the axes, or start anew "
            "with this layer alone."
        )
    to_data = np.linalg.inv(data_to_world(image, world_units(viewer)))
    others = [axis for axis in range(n) if axis not in displayed]
    if np.abs(to_data[np.ix_(others, displayed)]).max(initial=0) > _TOLERANCE:
        raise PlaneNotShown(
            f"{image.name!r} is rotated or sheared out of the shown plane, which cuts obliquely through its "
            "pixels: remove that rotation, or resample the image."
        )
    world = np.append(np.array(viewer.dims.point[missing:]), 1.0)
    position = _nearest((to_data @ world)[:n])
    shape = array_shape(image)
    for axis in others:
        if not 0 <= position[axis] < shape[axis]:
            raise PlaneNotShown(f"{image.name!r} has no plane here: move the slider to where it is shown.")
    return Plane.at((displayed[0], displayed[1]), position.tolist())


def positions_on_image(
    layer: Frame, positions: NDArray[np.floating], image: Frame, units: Units = None
) -> NDArray[np.float64]:
    """Convert (N, n) positions in ``layer``'s data to those in ``image``'s; ``units`` are the world's."""
    positions = np.asarray(positions, np.float64)
    to_image = np.linalg.inv(data_to_world(image, units)) @ data_to_world(layer, units)
    return round_off(positions @ to_image[:-1, :-1].T + to_image[:-1, -1])


def round_off(positions: NDArray[np.floating]) -> NDArray[np.float64]:
    """Leave out the digits of positions that are but round-off."""
    rounded: NDArray[np.float64] = np.round(positions, _DECIMALS)
    return rounded


def on_plane(plane: Plane, positions: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell which (N, n) positions in the image's data lie on ``plane``."""
    others = [axis for axis in range(len(plane.position)) if axis not in plane.displayed]
    index = _nearest(positions[:, others])
    same: NDArray[np.bool_] = (index == np.array(plane.position)[others]).all(axis=1)
    return same


def to_stack(
    plane: Plane, rows_columns: Sequence[tuple[float, float]] | NDArray[np.number]
) -> NDArray[np.float64]:
    """Give (N, n) positions in the image's data for (row, column) on ``plane``."""
    positions = np.tile(np.array(plane.position, float), (len(rows_columns), 1))
    if len(rows_columns):
        positions[:, list(plane.displayed)] = rows_columns
    return positions


def transform_of(image: Frame, units: Units = None) -> dict[str, Any]:
    """Give the arguments that place a new layer of the image's shape exactly on it.

    It is in the units of the world: of a click on a layer with other ones napari gets the position wrong.
    """
    common = {"axis_labels": image.axis_labels}
    if not isinstance(image, ChannelsTogether) and _same_units(image, units):
        return common | {
            "scale": image.scale,
            "translate": image.translate,
            "rotate": image.rotate,
            "shear": image.shear,
            "affine": image.affine.affine_matrix,
            "units": image.units,
        }
    n = image.ndim
    return common | {
        "scale": np.ones(n),
        "translate": np.zeros(n),
        "rotate": np.eye(n),
        "shear": np.zeros(n * (n - 1) // 2),
        "affine": data_to_world(image, units),
        "units": units[-n:] if units is not None else image.units,
    }


def plane_transform(
    image: Frame, plane: Plane, units: Units = None, corner: tuple[int, int] = (0, 0)
) -> dict[str, Any]:
    """Give the arguments that place a one-plane-thick layer on ``plane`` of the image, from ``corner`` on."""
    shift = np.eye(image.ndim + 1)
    shift[:-1, -1] = plane.position
    shift[list(plane.displayed), -1] = corner
    return {
        "affine": data_to_world(image, units) @ shift,
        "units": image.units if _same_units(image, units) or units is None else units[-image.ndim :],
        "axis_labels": image.axis_labels,
    }


def array_shape(image: Image | Labels | ChannelsTogether) -> tuple[int, ...]:
    """Shape of the finest level, colours left out."""
    return tuple(int(n) for n in image.level_shapes[0][: image.ndim])


def is_reshaped(image: Image, planes: Planes) -> bool:
    """Whether the image's array was replaced by one that has none of ``planes``."""
    return image.ndim != planes.ndim or array_shape(frame_of(image, planes)) != planes.shape


def _nearest(positions: NDArray[np.floating]) -> NDArray[np.intp]:
    """Round to the index that napari shows there: of two equally near ones the even."""
    nearest: NDArray[np.intp] = np.round(round_off(positions)).astype(np.intp)
    return nearest


def _same_units(image: Frame, units: Units) -> bool:
    return units is None or tuple(image.units) == tuple(units[-image.ndim :])
