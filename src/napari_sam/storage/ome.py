"""The layout of a labels store on disk: an OME-Zarr label image (NGFF 0.5) with one level."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from ome_zarr_models.v05.axes import Axis
from ome_zarr_models.v05.multiscales import Dataset, Multiscale
from zarr.codecs import ZstdCodec

from napari_sam.storage.aside import write_whole
from napari_sam.storage.forcing import force
from napari_sam.storage.units import times, unit_named

LEVEL = "0"
# Where a group says what NGFF has no words for.
_OWN = "napari_sam"
# No side of a chunk is longer than this; smaller planes are one chunk each.
_CHUNK_SIDE = 512
_SPACE, _TIME, _CHANNEL = "zyx", "t", "c"
# How `folder_aside` calls the folder of a store that is being made.
_ASIDE = re.compile(r"^\.(.+)\.[0-9a-f]{8}\.partial$")


@dataclass(frozen=True)
class Geometry:
    """Where the pixels of an image lie in the world.

    Attributes
    ----------
    axes
        One letter per axis.
    scale, translation
        Size of a pixel, and position of the first one's centre, along each axis; ones and zeros if left out.
    units
        Of each axis, such as ``"micrometer"``; none if left out.
    """

    axes: str
    scale: Sequence[float] | None = None
    translation: Sequence[float] | None = None
    units: Sequence[str | None] | None = None

    def __post_init__(self) -> None:
        for name in ("scale", "translation", "units"):
            values = getattr(self, name)
            if values is not None and np.shape(values) != (len(self.axes),):
                what = list(values) if np.ndim(values) else values
                raise ValueError(f"The {name} {what} has not one number for each axis of {self.axes!r}.")
        if self.scale is not None and not all(isfinite(x) and x != 0 for x in self.scale):
            raise ValueError(f"The scale {list(self.scale)} has a pixel without a size; give finite numbers.")

    def find(self, letter: str) -> int:
        """Give the number of an axis, by its letter in whichever case; -1 if there is none."""
        return self.axes.lower().find(letter)

    @property
    def pixel_size(self) -> tuple[float, ...]:
        """Size of a pixel along each axis, in its unit."""
        return tuple(abs(float(x)) for x in self.scale) if self.scale is not None else (1.0,) * len(self.axes)

    @property
    def unit(self) -> str | None:
        """That of the last axis, in which areas and volumes are told."""
        return None if self.units is None else self.units[-1]

    @property
    def sizes(self) -> tuple[float | None, ...]:
        """Size of a pixel along each axis in the one `unit`; None along those that nobody can convert."""
        units = self.units or [None] * len(self.axes)
        factors = [1.0 if own == self.unit else times(own, self.unit) for own in units]
        sizes = zip(self.pixel_size, factors, strict=True)
        return tuple(None if factor is None else size * factor for size, factor in sizes)


def plain_name(store: Path) -> str:
    """Give the name of a store without its ending: ``cells`` of ``cells.labels.zarr``.

    Other dots belong to the name, as in ``exp1.5um``. A folder that is filled aside has that of its store.
    """
    name = _ASIDE.sub(r"\1", store.name)
    return name.removesuffix(".zarr").removesuffix(".labels") or name


def make_group(
    folder: Path, shape: Sequence[int], geometry: Geometry, dtype: np.dtype[Any] | None = None
) -> None:
    """Write an empty label image of ``uint32``, or another dtype, into a folder."""
    chunks = [min(n, _CHUNK_SIDE) if axis >= len(shape) - 2 else 1 for axis, n in enumerate(shape)]
    attributes = ome_attributes(plain_name(folder), geometry)
    group = zarr.create_group(folder, zarr_format=3, attributes=attributes)
    group.create_array(
        LEVEL,
        shape=tuple(shape),
        chunks=tuple(chunks),
        dtype=dtype or np.dtype(np.uint32),
        dimension_names=list(geometry.axes),
        compressors=ZstdCodec(level=1, checksum=True),  # a damaged chunk is told from a good one
    )


def ome_attributes(name: str, geometry: Geometry, level: str = LEVEL) -> dict[str, Any]:
    """Describe the image, of which ``level`` is the array, after NGFF 0.5.

    That knows two to five axes: time, then channel or one axis without a type, then two or three in space.
    For any others, such as ImageJ's with the channels after z, it has no words, and we take our own.
    """
    axes = geometry.axes
    types = {_TIME: "time", _CHANNEL: "channel", **dict.fromkeys(_SPACE, "space")}
    units = [unit_named(x) for x in geometry.units or [None] * len(axes)]
    scale = [float(x) for x in geometry.scale] if geometry.scale is not None else [1.0] * len(axes)
    translation = None if geometry.translation is None else [float(x) for x in geometry.translation]
    try:
        multiscale = Multiscale(
            axes=[
                Axis(name=axis, type=types.get(axis.lower()), unit=unit)
                for axis, unit in zip(axes, units, strict=True)
            ],
            datasets=(Dataset.build(path=level, scale=scale, translation=translation),),
            name=name,
        )
    except ValueError:
        own = {"axes": axes, "scale": scale, "translation": translation, "units": units}
        return {_OWN: {name: value for name, value in own.items() if value is not None}}
    return {
        "ome": {
            "version": "0.5",
            "multiscales": [multiscale.model_dump(exclude_none=True)],
            "image-label": {"version": "0.5", "source": {"image": None}},
        }
    }


def write_axes(folder: Path, geometry: Geometry, level: str) -> None:
    """Name the axes of a label image, whose array is ``level``, anew; that is empty for an array alone.

    Raises
    ------
    ValueError
        If NGFF has no words for the axes, and nothing but its metadata says which array it is.
    """
    attributes = ome_attributes(plain_name(folder), geometry, level)
    if level not in ("", LEVEL) and "ome" not in attributes:
        raise ValueError(
            f"OME-Zarr has no words for the axes {geometry.axes!r} of {folder}; take others, such as 'zyx', "
            "or import these labels with `napari-sam import`."
        )
    for file in dict.fromkeys((folder / "zarr.json", folder / level / "zarr.json")):
        described = json.loads(file.read_text())
        if described["node_type"] == "array":
            described["dimension_names"] = list(geometry.axes)
        else:
            kept = {key: x for key, x in described["attributes"].items() if key not in ("ome", _OWN)}
            described["attributes"] = kept | attributes
        write_whole(file, json.dumps(described, indent=2).encode())
        force([file, file.parent])


def read_geometry(attributes: dict[str, Any], dimension_names: Sequence[str | None], ndim: int) -> Geometry:
    """Read where the pixels lie, as far as the metadata say so; sizes of one where they do not."""
    axes = "".join((name or "?")[:1] for name in dimension_names)
    if len(axes) != ndim or len(set(axes)) != ndim:
        axes = "nmtczyx"[-ndim:]
    if _OWN in attributes:
        return _own_geometry(attributes[_OWN], axes)
    try:
        described = attributes.get("ome", attributes)["multiscales"][0]
        multiscale = Multiscale.model_validate(described)
        letters = "".join(str(axis.name) for axis in multiscale.axes)
        if len(letters) != ndim:
            return Geometry(axes)  # they are of another array
        scale, translation = _placed(
            ndim,
            # First those of the level, then those that all levels have in common.
            (
                *multiscale.datasets[0].coordinateTransformations,
                *(multiscale.coordinateTransformations or ()),
            ),
        )
        units = [axis.unit for axis in multiscale.axes]
        return Geometry(letters, scale, translation, [None if x is None else str(x) for x in units])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return Geometry(axes)


def _own_geometry(described: Any, axes: str) -> Geometry:
    """Read what `ome_attributes` wrote where NGFF has no words."""
    try:
        scale, translation = (
            None if (found := described.get(name)) is None else [float(x) for x in found]
            for name in ("scale", "translation")
        )
        units = [None if x is None else str(x) for x in described.get("units", [None] * len(axes))]
        if described["axes"] == axes:
            return Geometry(axes, scale, translation, units)
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    return Geometry(axes)


def _placed(ndim: int, transformations: Iterable[Any]) -> tuple[list[float], list[float] | None]:
    """Give the scale and the translation that transformations, one after the other, come to."""
    scale, translation = np.ones(ndim), None
    for transformation in transformations:
        described = transformation.model_dump()
        if "scale" in described:
            scale = scale * described["scale"]
            translation = None if translation is None else translation * described["scale"]
        else:
            translation = described["translation"] + (np.zeros(ndim) if translation is None else translation)
    return scale.tolist(), None if translation is None else translation.tolist()


def finest_level(attributes: dict[str, Any]) -> str:
    """Give the path of the first level; of our own where the metadata, of NGFF 0.5 or older, name no image.

    Raises
    ------
    LookupError, TypeError
        If they describe one that has no level.
    """
    described = attributes.get("ome", attributes)
    levels = described.get("multiscales", [{"datasets": [{"path": LEVEL}]}])
    return str(levels[0]["datasets"][0]["path"])


def is_intensities(attributes: dict[str, Any]) -> bool:
    """Whether OME-Zarr metadata, of NGFF 0.5 or older, describe an image that is not one of labels."""
    ome = attributes.get("ome", attributes)
    return "multiscales" in ome and "image-label" not in ome
