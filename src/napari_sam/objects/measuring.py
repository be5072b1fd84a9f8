"""What objects measure, in the image's own units, as the rows of a table."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from napari_sam.objects.centres import centres
from napari_sam.plane import Position
from napari_sam.runs import MaskRuns
from napari_sam.storage.ome import Geometry
from napari_sam.storage.records import ObjectInfo
from napari_sam.storage.view import LedgerView

_PIXEL = "pixel"


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
    """Measure all objects, by label."""
    return read_objects(ledger).rows(geometry)


@dataclass(frozen=True, eq=False)
class RecordedObjects:
    """What a ledger says of all objects, as far as they are measured; it is read no more then.

    Attributes
    ----------
    infos
        What is said of each, by label.
    masks
        The pixels of each, and perhaps of others, by label and by the array's own planes.
    made
        By label, the source and the score of each plane that was made.
    colours
        Those of the categories: one may have got another since an object was put into it.
    """

    infos: Sequence[ObjectInfo]
    masks: Mapping[int, Mapping[Position, MaskRuns]]
    made: Mapping[int, Sequence[tuple[str, float | None]]]
    colours: Mapping[str, str]

    def rows(self, geometry: Geometry) -> list[ObjectRow]:
        """Measure the objects, by label."""
        infos = [info for info in self.infos if info.label in self.masks]
        if not infos:
            return []
        size, measured = _size(geometry), _measured([self.masks[info.label] for info in infos])
        return [self._row(info, *one, size) for info, one in zip(infos, measured, strict=True)]

    def _row(self, info: ObjectInfo, pixels: int, centre: tuple[float, ...], size: _Size) -> ObjectRow:
        area = pixels * size.sides[0] * size.sides[1]
        made = self.made.get(info.label, ())
        scores = [score for _, score in made if score is not None]
        return ObjectRow(
            info.label,
            info.name,
            info.category,
            self.colours.get(info.category, info.colour),
            len(self.masks[info.label]),
            area,
            None if size.depth is None else area * size.depth,
            size.unit,
            sum(scores) / len(scores) if scores else None,
            "+".join(dict.fromkeys(source for source, _ in made)),
            centre,
        )


def read_objects(ledger: LedgerView) -> RecordedObjects:
    """Read what `measure_all` measures; another thread may make objects meanwhile, which are left out."""
    made: dict[int, list[tuple[str, float | None]]] = {}
    for label, source, score in ledger.sources():
        made.setdefault(label, []).append((source, score))
    masks = ledger.all_masks()
    colours = {category.name: category.colour for category in ledger.categories()}
    return RecordedObjects(ledger.objects(), masks, made, colours)


def write_rows(rows: Sequence[ObjectRow], axes: str, path: Path) -> None:
    """Write rows as comma-separated values, with a column for the centre along each axis."""
    names = [field.name for field in fields(ObjectRow) if field.name != "centre"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*names, *(f"centre_{axis}" for axis in axes)])
        for row in rows:
            *values, centre = astuple(row)
            writer.writerow([*("" if x is None else x for x in values), *(f"{x:.2f}" for x in centre)])


def _measured(objects: Sequence[Mapping[Position, MaskRuns]]) -> Iterator[tuple[int, tuple[float, ...]]]:
    """Give the number of pixels of each object, and its centre along all axes, in pixels."""
    masks = [runs for planes in objects for runs in planes.values()]
    pixels = np.array([runs.area for runs in masks])
    positions = np.array([position for planes in objects for position in planes])
    first = np.cumsum([0, *(len(planes) for planes in objects[:-1])])
    areas = np.add.reduceat(pixels, first)
    weighted = np.hstack([positions.reshape(len(masks), -1), centres(masks)]) * pixels[:, None]
    found = np.add.reduceat(weighted, first) / areas[:, None]
    yield from zip(areas.tolist(), map(tuple, found.tolist()), strict=True)


class _Size(NamedTuple):
    """How large a pixel is: its sides on the plane, and the distance of the planes, in one unit."""

    sides: tuple[float, float]
    depth: float | None
    unit: str


def _size(geometry: Geometry) -> _Size:
    """Convert the sizes of a pixel to the unit of the last axis."""
    *leading, row, column = geometry.sizes
    if row is None or column is None:
        return _Size((1.0, 1.0), None, _PIXEL)
    z = geometry.find("z")
    # A file that calibrates the plane alone gives z a size of one, and no unit.
    depth = leading[z] if 0 <= z < len(leading) else None
    scaled = any(size != 1 for size in (row, column, depth or 1))
    return _Size((row, column), depth, geometry.unit or ("" if scaled else _PIXEL))
