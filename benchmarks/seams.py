"""Measure whether seams between tiles show: objects that cross them, against the same object untiled.

``python benchmarks/seams.py DATA`` takes annotated images (see `napari_sam.training.data`), each in the
middle of a frame as large as the model's input, looked at as a whole, and anywhere in a plane of four
times that side, which is looked at in tiles. Scale and surroundings are the same, so the masks should be.
The pixels lie in both alike to the encoder's coarsest grid, as tiles do that begin at multiples of it.

What a model makes of an object depends on that grid too, tiled or not. So the untiled look is repeated with
the image moved within its frame, by less than the grid and by a quarter of the frame: as much as these
differ, a model is unsure of an outline without any seam.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_sam.inference.loading import load_predictor
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.prompts_of_masks import innermost_point, tight_box
from napari_sam.inference.tiles import PlaneEmbeddings, predict_plane
from napari_sam.matching import iou
from napari_sam.training.data import AnnotatedImage, read_set

_AGREE = 0.95
# Pixels of the input per pixel of the encoder's coarsest map, and moves of an untiled image.
_GRID = 32
_MOVES = (4, 128)
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
    """IoU of the untiled mask with the tiled and the moved ones, and of tiled and untiled with the truth.

    (objects, 5) for each kind of prompt.
    """
    side, rng = predictor.image_size, np.random.default_rng(0)
    rows: dict[str, list[tuple[float, ...]]] = {"click": [], "box": []}
    for full in items:
        item = AnnotatedImage(full.name, full.image[:side, :side], full.labels[:side, :side])
        height, width = item.labels.shape
        alone = ((side - height) // 2, (side - width) // 2)
        drawn = rng.integers(side, 3 * side - max(height, width), 2)
        row, column = (drawn - (drawn - alone) % _GRID).tolist()
        plane, labels = framed(item, 4 * side, (row, column))
        looks = [((row, column), plane)]
        for move in (0, *_MOVES):
            corner = (min(alone[0] + move, side - height), min(alone[1] + move, side - width))
            looks.append((corner, framed(item, side, corner)[0]))
        embeddings = [PlaneEmbeddings(predictor, image) for _, image in looks]
        for label in rng.permutation(crossing(labels, side // 2))[:_OBJECTS]:
            truth = item.labels == label
            at = innermost_point(truth)
            box = tight_box(truth)
            for kind, compared in rows.items():
                masks = []
                for ((down, across), image), embed in zip(looks, embeddings, strict=True):
                    shape = image.shape
                    prompt = (
                        Prompt([(at[0] + down, at[1] + across)])
                        if kind == "click"
                        else Prompt(box=(box[0] + down, box[1] + across, box[2] + down, box[3] + across))
                    )
                    found = predict_plane(predictor, (shape[0], shape[1]), prompt, embed)
                    mask = found.mask(found.best)
                    masks.append(mask[down : down + height, across : across + width])
                tiled, whole, *moved = masks
                same = [iou(mask, whole) for mask in (tiled, *moved)]
                compared.append((*same, iou(tiled, truth), iou(whole, truth)))
    return {kind: np.array(values) for kind, values in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--images", type=int, default=30, help="of each set")
    parser.add_argument("--sets", nargs="+", default=["dsb2018/val", "usiigaci/val", "axon_sem/val"])
    options = parser.parse_args()
    predictor = load_predictor(options.model)
    moves = " | ".join(f"untiled, moved by {move}" for move in _MOVES)
    print(f"| set | prompt | objects | untiled, tiled | 0.95 or more | {moves} ", end="")
    print("| tiled, truth | untiled, truth |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in options.sets:
        items = read_set(options.data / name)[: options.images]
        for kind, values in measure(predictor, items).items():
            same, *others = values.mean(0)
            share = np.mean(values[:, 0] >= _AGREE)
            print(
                f"| {name} | {kind} | {len(values)} | {same:.3f} | {100 * share:.0f} % | "
                + " | ".join(f"{value:.3f}" for value in others)
                + " |",
                flush=True,
            )


if __name__ == "__main__":
    main()
