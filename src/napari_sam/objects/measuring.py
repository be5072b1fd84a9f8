"""What objects measure, in the image's own units, as the rows of a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from skimage.measure import regionprops

from napari_sam.runs import MaskRuns
from napari_sam.storage.changes import Position
from napari_sam.storage.ome import Geometry
from napari_sam.storage.records import ObjectInfo
from napari_sam.storage.view import LedgerView

_PIXEL = "pixel"
# NGFF's units of length that images have.
_METRES = {
    "angstrom": 1e-10,
    "picometer": 1e-12,
    "nanometer": 1e-9,
    "micrometer": 1e-6,
    "millimeter": 1e-3,
    "centimeter": 1e-2,
    "decimeter": 1e-1,
    "meter": 1.0,
    "kilometer": 1e3,
    "inch": 0.0254,
    "foot": 0.3048,
    "yard": 0.9144,
    "mile": 1609.344,
}


@dataclass(frozen=True)
class ObjectRow:
    """One object as a row of a table.

    Attributes
    ----------
    label, name, category
        What it is called.
    colour
        That of its category, as ``"#rrggbb"``; empty without one.
    planes
        On how many of the array's own planes it lies.
    area
        Of all of these together, in ``unit`` squared.
    volume
        The areas times the distance of the planes, in ``unit`` cubed; None without a z axis, and where that
        distance is not known in a unit of length as the sides of a pixel are.
    unit
        That of the last axis, to which the others are converted; empty where pixels have a size and no unit;
        ``"pixel"`` where they have none, or the other side of a pixel cannot be converted: then all is in
        pixels.
    score
        The model's estimate, the mean over the planes that have one.
    source
        How it was made; several are joined by a plus.
    centre
        Mean position along each axis of the array, in pixels.
    """

    label: int
    name: str
    category: str
    colour: str
    planes: int
    area: float
    volume: float | None
    unit: str
    score: float | None
    source: str
    centre: tuple[float, ...]


def measure_all(ledger: LedgerView, geometry: Geometry) -> list[ObjectRow]:
    """Measure all objects, by label; scikit-image's regionprops looks at each mask once."""
    made: dict[int, list[tuple[str, float | None]]] = {}
    for origin in ledger.each_origin():
        made.setdefault(origin.label, []).append((origin.making.source, origin.making.score))
    masks = ledger.all_masks()
    # A category may have got another colour since the object was put into it.
    colours = {category.name: category.colour for category in ledger.categories()}
    return [
        _row(
            replace(info, colour=colours.get(info.category, info.colour)),
            masks[info.label],
            made.get(info.label, []),
            geometry,
        )
        for info in ledger.objects()
        if info.label in masks  # else another thread has made it since the masks were read
    ]


def write_rows(rows: Sequence[ObjectRow], axes: str, path: Path) -> None:
    """Write rows as comma-separated values, with a column for the centre along each axis."""
    names = [field.name for field in fields(ObjectRow) if field.name != "centre"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*names, *(f"centre_{axis}" for axis in axes)])
        for row in rows:
            *values, centre = astuple(row)
            writer.writerow([*("" if x is None else x for x in values), *(f"{x:.2f}" for x in centre)])


def _row(
    info: ObjectInfo,
    masks: dict[Position, MaskRuns],
    made: list[tuple[str, float | None]],
    geometry: Geometry,
) -> ObjectRow:
    """Measure one object, of which each plane was made by some source with some score."""
    size = _size(geometry)
    measured = {position: _measure(runs, size.sides) for position, runs in masks.items()}
    areas = np.array([area for area, _ in measured.values()])
    centres = np.array([(*position, *centre) for position, (_, centre) in measured.items()])
    scores = [score for _, score in made if score is not None]
    return ObjectRow(
        info.label,
        info.name,
        info.category,
        info.colour,
        len(masks),
        float(areas.sum()),
        None if size.depth is None else float(areas.sum() * size.depth),
        size.unit,
        float(np.mean(scores)) if scores else None,
        "+".join(dict.fromkeys(source for source, _ in made)),
        tuple(float(x) for x in np.average(centres, axis=0, weights=areas)),
    )


class _Size(NamedTuple):
    """How large a pixel is: its sides on the plane, and the distance of the planes, in one unit."""

    sides: tuple[float, float]
    depth: float | None
    unit: str


def _size(geometry: Geometry) -> _Size:
    """Convert the sizes of a pixel to the unit of the last axis."""
    units = list(geometry.units or [None] * len(geometry.axes))
    unit = units[-1]
    sizes = [
        None if (factor := _factor(one, unit)) is None else size * factor
        for size, one in zip(geometry.pixel_size, units, strict=True)
    ]
    *leading, row, column = sizes
    if row is None or column is None:
        return _Size((1.0, 1.0), None, _PIXEL)
    z = geometry.find("z")
    # A file that calibrates the plane alone gives z a size of one, and no unit.
    depth = leading[z] if 0 <= z < len(leading) else None
    scaled = any(size != 1 for size in (row, column, depth or 1))
    return _Size((row, column), depth, unit or ("" if scaled else _PIXEL))


def _factor(unit: str | None, other: str | None) -> float | None:
    """Tell how many of the other unit one is; None where nobody knows."""
    if unit == other:
        return 1.0
    one, base = (None if x is None else _METRES.get(x) for x in (unit, other))
    return None if one is None or base is None else one / base


@lru_cache(maxsize=100_000)
def _measure(runs: MaskRuns, spacing: tuple[float, float]) -> tuple[float, tuple[float, float]]:
    """Measure one mask: its area in units, and its centre in pixels of the plane."""
    (region,) = regionprops(runs.mask().astype(np.uint8), spacing=spacing)
    row, column = (float(x) / side for x, side in zip(region.centroid, spacing, strict=True))
    return float(region.area), (runs.box[0] + row, runs.box[1] + column)
