"""Objects as GeoJSON, in the words of QuPath: one feature for each object on each plane."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import shapely

from napari_sam.exporting.json_lists import separated
from napari_sam.exporting.outlines import outline
from napari_sam.exporting.planes_of import annotated_planes, by_letter
from napari_sam.progress import Progress, ignore_progress
from napari_sam.runs import MaskRuns
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.records import Category, ObjectInfo
from napari_sam.storage.snapshot import snapshot


def geojson_lines(store: LabelsStore, progress: Progress = ignore_progress) -> Iterator[str]:
    """Give a FeatureCollection in pieces, a line for each feature.

    Positions are ``(x, y)`` in pixels from the corner of the first one, as QuPath counts them. What it reads
    is in its classes `PathObjectTypeAdapters` and `ROITypeAdapters`: the type, name and class of the object,
    and the plane, by z and t, inside the geometry. Other axes, and the label, are metadata.
    """
    with snapshot(store.ledger) as seen:
        categories = {category.name: category for category in seen.categories()}
        infos = {info.label: info for info in seen.objects()}
        yield '{"type": "FeatureCollection", "features": [\n'
        planes = annotated_planes(seen, seen.positions(), progress)
        yield from separated(
            _feature(
                infos[label],
                runs,
                by_letter(store, plane.position),
                categories.get(infos[label].category),
                store.path.name,
            )
            for plane in planes
            for label, runs in plane.masks.items()
        )
        yield "]}\n"


def _feature(
    info: ObjectInfo, runs: MaskRuns, position: dict[str, int], category: Category | None, source: str
) -> dict[str, Any]:
    geometry = json.loads(shapely.to_geojson(outline(runs)))
    geometry["plane"] = {"c": -1, "z": position.get("z", 0), "t": position.get("t", 0)}
    name = info.name or f"{info.label}"
    properties: dict[str, Any] = {"objectType": "annotation", "name": name}
    if category is not None:
        properties["classification"] = {"name": category.name, "color": _rgb(category.colour)}
    properties["metadata"] = {
        "label": str(info.label),
        **{axis: str(index) for axis, index in position.items()},
    }
    # QuPath knows objects by a UUID; the same object has the same one in each export.
    number = uuid.uuid5(uuid.NAMESPACE_URL, f"{source}/{info.label}/{sorted(position.items())}")
    return {"type": "Feature", "id": str(number), "geometry": geometry, "properties": properties}


def _rgb(colour: str) -> list[int]:
    """Turn ``#e69f00`` into its three numbers."""
    return list(bytes.fromhex(colour.removeprefix("#")))
