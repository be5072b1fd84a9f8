"""Labels of other programs become a store of their own; what they were read from stays as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from napari_sam.axes import check_axes
from napari_sam.plane import Position
from napari_sam.planes import ArrayLike
from napari_sam.storage.aside import folder_aside, stored_at
from napari_sam.storage.errors import UNREADABLE, LabelsError, reason_of
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ledger import Ledger
from napari_sam.storage.ome import LEVEL, Geometry, is_intensities, make_group, read_geometry
from napari_sam.storage.opening import LEDGER
from napari_sam.storage.reading import open_zarr, read_array
from napari_sam.storage.volumes import objects_in


def import_labels(
    source: ArrayLike | str | Path, path: str | Path, geometry: Geometry | str | None = None
) -> LabelsStore:
    """Make a labels store from labels that another program made; each object is one of source "import".

    Parameters
    ----------
    source
        An integer array, or the path of one: ``.tif``, ``.png``, ``.npy``, or a zarr folder (v2 or v3, or
        OME-Zarr labels). It is read plane by plane.
    path
        Folder of the new store.
    geometry
        Letters of the axes, or all that is known of where the pixels lie. Read from the file (OME-Zarr,
        OME-TIFF, ImageJ) if left out; where it says nothing, axes are made up and pixels have a size of one.
        Letters alone leave the sizes of the file as they are.

    Raises
    ------
    LabelsError
        If the source cannot be read, is no image of labels, or the axes do not fit it; or ``path`` is taken
        or cannot be written.
    """
    path = Path(path).expanduser()
    array, known = (
        (source, None) if not isinstance(source, str | Path) else _labels_in(Path(source).expanduser())
    )
    if np.dtype(array.dtype).kind not in "iu" or len(array.shape) < 2:
        raise LabelsError(
            f"The labels have dtype {array.dtype} and shape {tuple(array.shape)}; "
            "give whole numbers in two axes or more."
        )
    geometry = _geometry_of(tuple(array.shape), geometry, known)
    with folder_aside(path) as folder, stored_at(path):
        _fill(folder, array, geometry)
    return LabelsStore.open(path)


def _labels_in(path: Path) -> tuple[ArrayLike, Geometry | None]:
    """Open a file of labels; an array of zarr must not be an image's intensities."""
    if path.is_dir() and is_intensities(open_zarr(path)[1]):
        raise LabelsError(f"{path} is an OME-Zarr image, not labels; choose the folder of its labels.")
    return read_array(path)


def _geometry_of(shape: tuple[int, ...], given: Geometry | str | None, known: Geometry | None) -> Geometry:
    """Join what the user says of the axes with what the file says of them."""
    if known is not None and len(known.axes) == len(shape) - 1 and shape[-1] in (3, 4):
        raise LabelsError(
            f"The labels have shape {shape}, the last axis of which are colours; give an image with one "
            "whole number for each pixel."
        )
    if isinstance(given, str):
        try:
            axes = check_axes(given, shape)
        except ValueError as error:
            raise LabelsError(str(error)) from error
        if known is None or len(known.axes) != len(axes):
            return Geometry(axes)
        return replace(known, axes=axes)
    geometry = given or known or read_geometry({}, (), len(shape))
    if len(geometry.axes) != len(shape):
        raise LabelsError(
            f"The axes {geometry.axes!r} do not fit labels of shape {shape}; give one letter for each axis."
        )
    return geometry


def _read(source: ArrayLike, position: Position) -> NDArray[Any]:
    try:
        return np.asarray(source[position])
    except LabelsError:  # it says already which file, and what to do
        raise
    except UNREADABLE as error:
        raise LabelsError(
            f"The plane {position} of the labels cannot be read ({reason_of(error)}); restore their file, or "
            "choose another."
        ) from error


def _fill(folder: Path, source: ArrayLike, geometry: Geometry) -> None:
    """Write an array and its ledger into an empty folder, plane by plane."""
    shape = tuple(int(n) for n in source.shape)
    make_group(folder, shape, geometry)
    target: Any = zarr.open_group(folder, mode="r+")[LEVEL]
    limit = np.iinfo(target.dtype).max
    for position in np.ndindex(shape[:-2]):
        plane = _read(source, position)
        low, high = plane.min(initial=0), plane.max(initial=0)
        if low < 0 or high > limit:
            raise LabelsError(f"The label {low if low < 0 else high} is none; labels go from 0 to {limit}.")
        if high > 0:
            target[position] = plane.astype(target.dtype)
    ledger = Ledger.create(folder / LEDGER)
    try:
        ledger.take_up(objects_in(target))
    finally:
        ledger.close()
