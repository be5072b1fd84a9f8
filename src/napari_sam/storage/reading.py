"""Arrays in files of other programs, opened without reading all of them, with where their pixels lie."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from PIL import Image

from napari_sam.axes import axes_of_layer
from napari_sam.planes import ArrayLike
from napari_sam.storage.errors import UNREADABLE, LabelsError, reason_of
from napari_sam.storage.ome import Geometry, finest_level, read_geometry
from napari_sam.storage.units import METRES, unit_named

# What axes are called in TIFF, as far as the names mean the same here; samples of a colour image come last.
_AXES = set("tczyx")
_SAMPLES = "s"
# Planes, gray or in colours; they say nothing of sizes.
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
# What Pillow raises of a broken one, and of one that would fill the memory.
_OF_PICTURES = (SyntaxError, Image.DecompressionBombError)
# What bioformats2raw writes above images, and the name of the first of them.
_SERIES, _FIRST = "bioformats2raw.layout", "0"


def read_array(path: Path) -> tuple[ArrayLike, Geometry | None]:
    """Open an image or labels, and say what the file tells of its axes, pixel size and position.

    Parameters
    ----------
    path
        ``.tif``, ``.npy``, a picture such as ``.png``, or a zarr folder (v2 or v3, or OME-Zarr: see
        `open_zarr`).

    Returns
    -------
    tuple
        An array that is read where it is indexed, and its geometry; None where the file says nothing. Colours
        (a last axis of 3 or 4 in a TIFF or a picture) are in the array but not in the geometry.

    Raises
    ------
    LabelsError
        If there is no such file, or it cannot be read; of a TIFF in pieces, also where the array is indexed.
    """
    readers: dict[str, Callable[[Path], tuple[ArrayLike, Geometry | None]]] = {
        ".npy": lambda file: (np.load(file, mmap_mode="r", allow_pickle=False), None),
        ".tif": _read_tiff,
        ".tiff": _read_tiff,
        **dict.fromkeys(_PICTURES, lambda file: (np.asarray(Image.open(file)), Geometry("yx"))),
    }
    if path.is_dir():
        return _read_zarr(path)
    if path.suffix.lower() not in readers:
        kinds = ", ".join(readers)
        raise LabelsError(f"{path} is neither a zarr folder nor one of {kinds}; convert it first.")
    try:
        return readers[path.suffix.lower()](path)
    except (*UNREADABLE, *_OF_PICTURES) as error:
        raise LabelsError(f"{path} cannot be read ({reason_of(error)}); choose another file.") from error


def axes_in_file(path: Path, shape: Sequence[int]) -> str | None:
    """Read the axes of an image of ``shape``, colours left out, from the file that it was read from.

    None where the file does not name them, is of a kind that is not known here, or holds something else.
    """
    try:
        array, geometry = read_array(path)
    except LabelsError:
        return None
    return None if geometry is None else axes_of_layer(geometry.axes, array.shape, shape)


def open_zarr(path: Path) -> tuple[zarr.Array[Any], dict[str, Any]]:
    """Open a zarr array, or the finest level of an OME-Zarr image, wherever its metadata say that this is.

    Of a file with several images, as bioformats2raw writes them, the first one is opened.

    Returns
    -------
    tuple
        The array, to be read, and the metadata of the image; of the array itself where it is in none.

    Raises
    ------
    LabelsError
        If ``path`` holds neither.
    """
    wrong = f"{path} is neither a zarr array nor an OME-Zarr image; choose the folder of one."
    try:
        node: Any = zarr.open(path, mode="r")
        if isinstance(node, zarr.Group) and _is_series(node):
            node = node[_FIRST]
        found = node[finest_level(node.attrs.asdict())] if isinstance(node, zarr.Group) else node
        attributes = node.attrs.asdict()
    except UNREADABLE as error:
        raise LabelsError(wrong) from error
    if not isinstance(found, zarr.Array):
        raise LabelsError(wrong)
    return found, attributes


def _read_zarr(path: Path) -> tuple[ArrayLike, Geometry | None]:
    array, attributes = open_zarr(path)
    names = getattr(array.metadata, "dimension_names", None) or ()
    return array, read_geometry(attributes, names, array.ndim)


def _is_series(group: zarr.Group) -> bool:
    """Whether there are images in a group; NGFF 0.5 tells it under a key of its own, older ones do not."""
    attributes: dict[str, Any] = group.attrs.asdict()
    return _SERIES in attributes.get("ome", attributes)


def _read_tiff(path: Path) -> tuple[ArrayLike, Geometry | None]:
    with tifffile.TiffFile(path) as file:
        geometry = _tiff_geometry(file, first_series(file).axes.lower())
    try:
        return tifffile.memmap(path, mode="r"), geometry
    except ValueError:  # it is compressed, or in pieces: pages are decoded when they are asked for
        return _Pages(path), geometry


def first_series(file: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    """Give the first image of a TIFF.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not file.series:
        raise ValueError("there is no image in it")
    return file.series[0]


class _Pages:
    """A TIFF as an array whose pages are decoded where it is indexed; one that is damaged is told then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        pages: Any = tifffile.imread(path, aszarr=True, level=0)
        self._array: Any = zarr.open_array(pages, mode="r")
        weakref.finalize(self._array, pages.close)
        self.shape: tuple[int, ...] = self._array.shape
        self.dtype: np.dtype[Any] = self._array.dtype
        self.chunks: tuple[int, ...] = self._array.chunks

    def __getitem__(self, key: Any, /) -> Any:
        try:
            return self._array[key]
        except UNREADABLE as error:
            raise LabelsError(
                f"A part of {self._path} cannot be read ({reason_of(error)}); restore the file, or choose "
                "another."
            ) from error


def _tiff_geometry(file: tifffile.TiffFile, names: str) -> Geometry | None:
    """Read axes and pixel size from the metadata of OME or ImageJ."""
    axes = names.removesuffix(_SAMPLES)
    if not set(axes) <= _AXES or len(set(axes)) < len(axes):
        return None
    sizes: dict[str, tuple[float, str | None]] = {}
    if file.ome_metadata:
        sizes = _ome_sizes(file.ome_metadata)
    elif file.imagej_metadata:
        sizes = _imagej_sizes(file)
    known = [sizes.get(axis, (1.0, None)) for axis in axes]
    return Geometry(axes, [size for size, _ in known], None, [unit for _, unit in known])


def _ome_sizes(text: str) -> dict[str, tuple[float, str | None]]:
    described: Any = tifffile.xml2dict(text)
    try:
        image = described["OME"]["Image"]
        pixels = (image[0] if isinstance(image, list | tuple) else image)["Pixels"]
    except (KeyError, TypeError):
        return {}
    sizes: dict[str, tuple[float, str | None]] = {}
    for axis, key in (
        ("x", "PhysicalSizeX"),
        ("y", "PhysicalSizeY"),
        ("z", "PhysicalSizeZ"),
        ("t", "TimeIncrement"),
    ):
        if _is_size(pixels.get(key)):
            # OME's own defaults where no unit is given.
            unit = str(pixels.get(f"{key}Unit", "s" if axis == "t" else "µm"))
            sizes[axis] = (float(pixels[key]), unit_named(unit))
    return sizes


def _imagej_sizes(file: tifffile.TiffFile) -> dict[str, tuple[float, str | None]]:
    described: dict[str, Any] = file.imagej_metadata or {}
    unit = unit_named(str(described.get("unit", "")).replace("\\u00B5", "µ"))
    # ImageJ says inch of photographs, by their dots per inch; and a scale may be in anything, such as cells.
    if unit not in METRES or unit == "inch":
        return {}
    sizes: dict[str, tuple[float, str | None]] = {}
    tags = file.pages.first.tags
    for axis, name in (("x", "XResolution"), ("y", "YResolution")):
        if name in tags:
            count, length = tags[name].value
            if count and _is_size(length / count):
                sizes[axis] = (length / count, unit)
    if _is_size(described.get("spacing")):
        sizes["z"] = (float(described["spacing"]), unit)
    return sizes


def _is_size(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value > 0
