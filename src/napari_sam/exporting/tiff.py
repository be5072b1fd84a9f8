"""Volumes as TIFF, plane by plane, with axes and pixel size in OME metadata."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_sam.storage.ome import Geometry
from napari_sam.storage.units import LENGTHS, METRES, TIMES

# Larger files need 64-bit offsets, which some readers do not know.
_LARGEST_CLASSIC = 2**31
_CENTIMETRE = 0.01
# TIFF keeps a resolution as the ratio of two numbers of 32 bits.
_LARGEST_RATIONAL = 2.0**31


def write_tiff(
    path: Path,
    planes: Iterable[NDArray[np.integer[Any]]],
    shape: Sequence[int],
    dtype: np.dtype[Any],
    geometry: Geometry,
) -> None:
    """Write planes, the last two axes of a volume, one after the other.

    It is an OME-TIFF with lossless compression. Axes that OME has no word for are named in tifffile's own
    metadata instead.
    """
    axes = geometry.axes.upper()
    tags: dict[str, Any] = {}
    units = list(geometry.units or [None] * len(axes))
    metres = METRES.get(str(units[-1]))
    if metres is not None and units[-1] == units[-2]:
        row, column = (_CENTIMETRE / (metres * size) for size in geometry.pixel_size[-2:])
        if all(1 / _LARGEST_RATIONAL < x < _LARGEST_RATIONAL for x in (row, column)):
            tags = {"resolution": (column, row), "resolutionunit": "CENTIMETER"}
    described = _ome(axes, geometry.pixel_size, units)
    large = int(np.prod(shape)) * dtype.itemsize > _LARGEST_CLASSIC
    with tifffile.TiffWriter(path, bigtiff=large, ome=_is_ome(axes, shape, dtype)) as file:
        file.write(
            iter(planes),
            shape=tuple(shape),
            dtype=dtype,
            photometric="minisblack",
            compression="zlib",
            metadata=described,
            **tags,
        )


def _ome(axes: str, pixel_size: Sequence[float], units: Sequence[str | None]) -> dict[str, Any]:
    """Give the axes and sizes by OME's names for them."""
    described: dict[str, Any] = {"axes": axes}
    for axis, size, unit in zip(axes, pixel_size, units, strict=True):
        if unit is None or axis not in "XYZT":
            continue
        name, symbols = ("TimeIncrement", TIMES) if axis == "T" else (f"PhysicalSize{axis}", LENGTHS)
        symbol = symbols.get(unit, unit)
        # A size in a unit that OME has no symbol for would be read as one in micrometres or seconds.
        if symbol in symbols.values():
            described[name] = size
            described[f"{name}Unit"] = symbol
    return described


def _is_ome(axes: str, shape: Sequence[int], dtype: np.dtype[Any]) -> bool:
    """Whether OME has words for the axes."""
    stored = (int(np.prod(shape[:-2])), 1, 1, int(shape[-2]), int(shape[-1]), 1)
    try:
        tifffile.OmeXml().addimage(dtype, tuple(shape), stored, axes=axes)
    except (tifffile.OmeXmlError, ValueError):
        return False
    return True
