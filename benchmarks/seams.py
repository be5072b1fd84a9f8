"""Measure whether seams between tiles show: objects that cross them, against the same object untiled.

``python benchmarks/seams.py DATA`` takes annotated images (see `napari_sam.training.data`), each in the
middle of a frame as large as the model's input, looked at as a whole, and anywhere in a plane of four
times that side, which is looked at in tiles. Scale and surroundings are the same, so the masks should be.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_sam.inference.loading import load_predictor
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.tiles import PlaneEmbeddings, predict_plane
from napari_sam.training.crops import innermost_point, tight_box
from napari_sam.training.data import AnnotatedImage, read_set
from napari_sam.training.validation import iou

_AGREE = 0.95
_OBJECTS = 4


def framed(
    item: AnnotatedImage, side: int, corner: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Lay an image on a square of ``side`` in its own median colour, with its labels."""
    height, width = item.labels.shape
    place = slice(corner[0], corner[0] + height), slice(corner[1], corner[1] + width)
    image = np.empty((side, side, *item.image.shape[2:]), np.uint8)
    image[:] = np.median(item.image, axis=(0, 1)).astype(np.uint8)
    image[place] = item.image
    labels = np.zeros((side, side), np.int32)
    labels[place] = item.labels
    return image, labels


def crossing(labels: NDArray[np.int32], stride: int) -> list[int]:
    """Name the objects that cross a border of tiles, which begin every ``stride`` pixels."""
    found: set[int] = set()
    for axis in (0, 1):
        for border in range(stride, labels.shape[axis], stride):
            before, after = (np.take(labels, n, axis) for n in (border - 1, border))
            found |= set(before[(before == after) & (before > 0)].tolist())
    return sorted(found)


def measure(predictor: Predictor, items: list[AnnotatedImage]) -> dict[str, NDArray[np.float64]]:
    """IoU of tiled and untiled mask, and of each with the truth: (objects, 3) for each kind of prompt."""
    side, rng = predictor.image_size, np.random.default_rng(0)
    rows: dict[str, list[tuple[float, float, float]]] = {"click": [], "box": []}
    for full in items:
        item = AnnotatedImage(full.name, full.image[:side, :side], full.labels[:side, :side])
        height, width = item.labels.shape
        alone = ((side - height) // 2, (side - width) // 2)
        corner = tuple(rng.integers(side, 3 * side - max(height, width), 2).tolist())
        frame, _ = framed(item, side, alone)
        plane, labels = framed(item, 4 * side, (corner[0], corner[1]))
        whole, tiled = PlaneEmbeddings(predictor, frame), PlaneEmbeddings(predictor, plane)
        for label in rng.permutation(crossing(labels, side // 2))[:_OBJECTS]:
            truth = item.labels == label
            row, column = innermost_point(truth)
            box = tight_box(truth)
            for kind, compared in rows.items():
                masks = []
                for (down, across), shape, embed in (
                    (corner, plane.shape[:2], tiled),
                    (alone, frame.shape[:2], whole),
                ):
                    prompt = (
                        Prompt([(row + down, column + across)])
                        if kind == "click"
                        else Prompt(box=(box[0] + down, box[1] + across, box[2] + down, box[3] + across))
                    )
                    found = predict_plane(predictor, (shape[0], shape[1]), prompt, embed)
                    mask = found.mask(found.best)
                    masks.append(mask[down : down + height, across : across + width])
                one, other = masks
                compared.append((iou(one, other), iou(one, truth), iou(other, truth)))
    return {kind: np.array(values) for kind, values in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--images", type=int, default=30, help="of each set")
    options = parser.parse_args()
    predictor = load_predictor(options.model)
    print("| set | prompt | objects | IoU tiled, untiled | 0.95 or more | tiled, truth | untiled, truth |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in ("dsb2018/val", "usiigaci/val", "axon_sem/val"):
        items = read_set(options.data / name)[: options.images]
        for kind, values in measure(predictor, items).items():
            same, tiled, whole = values.mean(0)
            share = np.mean(values[:, 0] >= _AGREE)
            print(
                f"| {name} | {kind} | {len(values)} | {same:.3f} | {100 * share:.0f} % "
                f"| {tiled:.3f} | {whole:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
