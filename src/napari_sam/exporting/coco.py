"""Objects as COCO JSON: one image for each plane, and each mask as run lengths."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from napari_sam.exporting.json_lists import separated
from napari_sam.exporting.planes_of import annotated_planes, by_letter, file_name_of
from napari_sam.plane import Position
from napari_sam.progress import Progress, ignore_progress
from napari_sam.runs import MaskRuns, column_runs
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.records import ObjectInfo
from napari_sam.storage.snapshot import snapshot

# Of objects without a category: COCO has none that are in no category. The second where a user has the first.
_NO_CATEGORY, _IN_NONE = "object", "object without a category"


def coco_lines(store: LabelsStore, progress: Progress = ignore_progress) -> Iterator[str]:
    """Give a COCO file in pieces; only planes that have objects are images in it.

    Masks are run lengths, column by column and not compressed, as in "COCO data format", object detection:
    https://cocodataset.org/#format-data. Beyond that, an annotation names its ``label`` and an image its
    ``position``.
    """
    with snapshot(store.ledger) as seen:
        numbers = {category.name: category.number for category in seen.categories()}
        infos = {info.label: info for info in seen.objects()}
        if any(info.category not in numbers for info in infos.values()):
            numbers[""] = 1 + max(numbers.values(), default=0)
        positions = seen.positions()
        description = {"description": store.path.name, "url": "", "version": "1.0"}
        yield f'{{"info": {json.dumps(description)},\n"licenses": [],\n"categories": '
        without = _IN_NONE if _NO_CATEGORY in numbers else _NO_CATEGORY
        yield json.dumps([{"id": x, "name": name or without} for name, x in numbers.items()])
        yield ',\n"images": [\n'
        yield from separated(_image(store, number, position) for number, position in enumerate(positions, 1))
        yield '],\n"annotations": [\n'
        planes = enumerate(annotated_planes(seen, positions, progress), 1)
        masks = ((number, label, runs) for number, plane in planes for label, runs in plane.masks.items())
        shape = _plane_shape(store)
        yield from separated(
            _annotation(count, number, infos[label], runs, numbers, shape)
            for count, (number, label, runs) in enumerate(masks, 1)
        )
        yield "]}\n"


def _image(store: LabelsStore, number: int, position: Position) -> dict[str, Any]:
    height, width = _plane_shape(store)
    return {
        "id": number,
        "file_name": file_name_of(store, position),
        "width": width,
        "height": height,
        "position": by_letter(store, position),
    }


def _annotation(
    number: int,
    image: int,
    info: ObjectInfo,
    runs: MaskRuns,
    categories: Mapping[str, int],
    shape: tuple[int, int],
) -> dict[str, Any]:
    row0, column0, row1, column1 = runs.box
    return {
        "id": number,
        "image_id": image,
        "category_id": categories.get(info.category, categories.get("")),
        "segmentation": {"size": list(shape), "counts": column_runs(runs, shape)},
        "area": runs.area,
        "bbox": [column0, row0, column1 - column0, row1 - row0],
        "iscrowd": 0,
        "label": info.label,
        "name": info.name,
    }


def _plane_shape(store: LabelsStore) -> tuple[int, int]:
    height, width = store.array.shape[-2:]
    return int(height), int(width)
