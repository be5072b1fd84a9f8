"""Objects as COCO JSON: one image for each plane, and each mask as run lengths."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from napari_sam.exporting.planes_of import AnnotatedPlane, annotated_planes
from napari_sam.model.layers import Progress, ignore_progress
from napari_sam.runs import column_runs
from napari_sam.storage.labels import LabelsStore

# Of objects without a category: COCO has none that are in no category.
_NO_CATEGORY = "object"


def coco_lines(store: LabelsStore, progress: Progress = ignore_progress) -> Iterator[str]:
    """Give a COCO file in pieces; only planes that have objects are images in it.

    Masks are run lengths, column by column and not compressed, as in "COCO data format", object detection:
    https://cocodataset.org/#format-data. Beyond that, an annotation names its ``label`` and an image its
    ``position``.
    """
    numbers = {category.name: category.number for category in store.ledger.categories()}
    infos = {info.label: info for info in store.ledger.objects()}
    if any(info.category not in numbers for info in infos.values()):
        numbers[""] = 1 + max(numbers.values(), default=0)
    height, width = (int(n) for n in store.array.shape[-2:])
    description = {"description": store.path.name, "url": "", "version": "1.0"}
    yield f'{{"info": {json.dumps(description)},\n"licenses": [],\n"categories": '
    yield json.dumps([{"id": x, "name": name or _NO_CATEGORY} for name, x in numbers.items()])
    yield ',\n"images": [\n'
    positions = store.ledger.positions()
    for number, position in enumerate(positions, 1):
        image = {
            "id": number,
            "file_name": AnnotatedPlane.name_of(store, position),
            "width": width,
            "height": height,
            "position": AnnotatedPlane.named(store, position),
        }
        yield json.dumps(image) + (",\n" if number < len(positions) else "\n")
    yield '],\n"annotations": [\n'
    count = 0
    for number, plane in enumerate(annotated_planes(store, progress), 1):
        for label, runs in plane.masks.items():
            info = infos[label]
            row0, column0, row1, column1 = runs.box
            annotation: dict[str, Any] = {
                "id": (count := count + 1),
                "image_id": number,
                "category_id": numbers.get(info.category, numbers.get("")),
                "segmentation": {"size": [height, width], "counts": column_runs(runs, (height, width))},
                "area": runs.area,
                "bbox": [column0, row0, column1 - column0, row1 - row0],
                "iscrowd": 0,
                "label": label,
                "name": info.name,
            }
            yield (",\n" if count > 1 else "") + json.dumps(annotation)
    yield "\n]}\n"
