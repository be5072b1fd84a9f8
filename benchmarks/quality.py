"""Measure the masks of one click and of one box against ground truth, per data set.

``python benchmarks/quality.py DATA`` prints a Markdown table: the mean IoU over all objects, of the mask with
the highest predicted score, for a click at the object's innermost point and for its tight box. With
``--automatic`` the table is that of the objects found without a prompt: by learned prompts, by the grid, and
by a classic method of scikit-image. ``--stacks`` runs every volume and time series and links the masks: whole
objects in 3-D, or in 2-D and time; with ``--true-masks`` the true sections are linked, which is what linking
alone can do. ``--clicks`` counts the clicks that a good mask takes; ``--variations``
measures other looks of the images and less careful prompts; ``--calibration`` compares scores and truth.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import stack_quality
import torch
from automatic_quality import HEADER, finders, rows
from prompt_quality import (
    MOST_CLICKS,
    TARGET,
    background_scores,
    clicks_needed,
    ious,
    objects_of,
    variations,
)
from skimage.io import imread

from napari_sam.contrast import Contrast
from napari_sam.inference.loading import load_predictor
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.tiles import PlaneEmbeddings
from napari_sam.training.data import AnnotatedImage, read_set
from napari_sam.training.validation import ObjectScore, score_objects

# Slices of a volume that lie this far apart, along each of its axes, are measured.
_SLICE_STEP = 8
# Smaller sections of an object are not counted in a volume: they hold no shape.
_MIN_SECTION = 20
# Objects per image of the tables that take long, if nothing else is said.
_MOST = 5
# Scores above one, which the head may give, are in the last bin.
_BINS = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 2.0)


@dataclass(frozen=True)
class Benchmark:
    """One row of the table: a folder of pairs, or of volumes of which 2-D slices are taken."""

    folder: str
    volumes: bool = False


BENCHMARKS = (
    Benchmark("dsb2018/val"),
    Benchmark("dsb2018/test"),
    Benchmark("usiigaci/val"),
    Benchmark("axon_sem/val"),
    Benchmark("volumes/gonuclear", volumes=True),
    Benchmark("volumes/plantseg", volumes=True),
    Benchmark("volumes/stardist", volumes=True),
    Benchmark("volumes/gala_em", volumes=True),
    Benchmark("omnipose_silver/train"),  # which nano was trained on
)


def images_of(benchmark: Benchmark, data: Path) -> Iterator[AnnotatedImage]:
    """Read a benchmark's images; a volume keeps one contrast for all its slices."""
    folder = data / benchmark.folder
    if not benchmark.volumes:
        yield from read_set(folder)
        return
    for path in sorted(folder.glob("*_image.tif")):
        volume = np.asarray(imread(path))
        labels = np.asarray(imread(path.with_name(path.name.replace("_image", "_labels")))).astype(np.int32)
        volume = Contrast.of(volume).apply(volume)
        for axis in range(3):
            for index in range(_SLICE_STEP // 2, volume.shape[axis], _SLICE_STEP):
                truth = np.take(labels, index, axis)
                areas = np.bincount(truth.ravel())
                truth = np.where(areas[truth] >= _MIN_SECTION, truth, 0).astype(np.int32)
                yield AnnotatedImage(f"{path.stem} {axis} {index}", np.take(volume, index, axis), truth)


def row(benchmark: Benchmark, scores: list[ObjectScore], seconds: float) -> str:
    """Format one row."""
    click, box, said = (
        np.array([getattr(x, name) for x in scores]) for name in ("click", "box", "click_score")
    )
    return (
        f"| {benchmark.folder} | {len(scores)} | {click.mean():.3f} | {box.mean():.3f} "
        f"| {np.abs(click - said).mean():.3f} | {seconds:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the data sets")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--device")
    parser.add_argument("--only", nargs="*", help="rows to measure, such as dsb2018/val; all if left out")
    parser.add_argument("--most", type=int, help="objects per image at most, evenly picked; all if left out")
    parser.add_argument("--automatic", action="store_true", help="find objects without prompts instead")
    parser.add_argument("--methods", nargs="*", help="which methods of --automatic; all if left out")
    parser.add_argument(
        "--most-images", type=int, help="images per set at most, evenly picked, of --automatic"
    )
    parser.add_argument("--most-images-grid", type=int, help="the same for the grid, which takes longest")
    parser.add_argument("--stacks", action="store_true", help="measure 3-D objects and tracks instead")
    parser.add_argument(
        "--most-planes", type=int, help="of --stacks: planes of each at most, the middle ones"
    )
    parser.add_argument(
        "--true-masks", action="store_true", help="of --stacks: link the true sections; asks no model"
    )
    parser.add_argument("--compare", action="store_true", help="of --stacks: other ways of linking too")
    parser.add_argument("--clicks", action="store_true", help="count the clicks to a good mask instead")
    parser.add_argument("--variations", action="store_true", help="vary images and prompts instead")
    parser.add_argument("--calibration", action="store_true", help="measure the score instead")
    options = parser.parse_args()
    predictor = load_predictor(options.model, options.checkpoint, options.device)
    print(f"{options.model}, weights {predictor.identity.weights_hash[:12]}, torch {torch.__version__}\n")
    chosen = [x for x in BENCHMARKS if not options.only or x.folder in options.only]
    if options.automatic:
        methods = finders(predictor)
        methods = {name: methods[name] for name in options.methods or methods}
        print(HEADER)
        for benchmark in chosen:
            images = images_of(benchmark, options.data)
            most, grid = options.most_images, options.most_images_grid
            for line in rows(benchmark.folder, images, methods, most, grid):
                print(line, flush=True)
        return
    if options.stacks:
        _stacks_table(predictor, options)
        return
    most = options.most or _MOST
    for wanted, table in (
        (options.clicks, _clicks_table),
        (options.variations, _variations_table),
        (options.calibration, _calibration_table),
    ):
        if wanted:
            table(predictor, chosen, options.data, most)
            return
    print("| data set | objects | IoU, one click | IoU, tight box | mean error of the score | seconds |")
    print("|---|---|---|---|---|---|")
    for benchmark in chosen:
        began = time.perf_counter()
        scores = score_objects(predictor, images_of(benchmark, options.data), options.most)
        print(row(benchmark, scores, time.perf_counter() - began), flush=True)


def _stacks_table(predictor: Predictor, options: argparse.Namespace) -> None:
    """Print how well whole objects are found, or, of true masks, linked."""
    print(stack_quality.HEADER)
    for stack in stack_quality.stacks_in(options.data):
        if options.only and not any(x in stack.name for x in options.only):
            continue
        limits = options.most_planes, options.compare
        if options.true_masks:
            lines = stack_quality.rows_of_true_masks(stack, *limits)
        else:
            lines = stack_quality.rows(stack, predictor, *limits)
        for line in lines:
            print(line, flush=True)


def _clicks_table(predictor: Predictor, chosen: list[Benchmark], data: Path, most: int) -> None:
    """Print how many clicks a mask of IoU 0.85 takes."""
    print(f"| data set | objects | clicks to IoU {TARGET} | {MOST_CLICKS} or more |\n|---|---|---|---|")
    for benchmark in chosen:
        needed = []
        for item in images_of(benchmark, data):
            embeddings = PlaneEmbeddings(predictor, item.image)
            needed += [clicks_needed(predictor, embeddings, truth) for truth in objects_of(item, most)]
        clicks = np.array(needed)
        never = (clicks == MOST_CLICKS).mean()
        print(f"| {benchmark.folder} | {len(clicks)} | {clicks.mean():.2f} | {never:.0%} |", flush=True)


def _variations_table(predictor: Predictor, chosen: list[Benchmark], data: Path, most: int) -> None:
    """Print the IoU for each variation."""
    print(
        "| data set | images and prompts | objects | IoU, one click | IoU, tight box |\n|---|---|---|---|---|"
    )
    for benchmark in chosen:
        images = list(images_of(benchmark, data))
        for variation in variations():
            found = ious(predictor, images, most, variation)
            click, box = found.mean(0)
            cells = (benchmark.folder, variation.name, str(len(found)), f"{click:.3f}", f"{box:.3f}")
            print(f"| {' | '.join(cells)} |", flush=True)


def _calibration_table(predictor: Predictor, chosen: list[Benchmark], data: Path, most: int) -> None:
    """Print the mean IoU of the clicks by their score, and the scores of clicks on the background."""
    print("| data set | score | clicks | their mean IoU |\n|---|---|---|---|")
    for benchmark in chosen:
        images = list(images_of(benchmark, data))
        scores = score_objects(predictor, images, most)
        said, true = (np.array([getattr(x, name) for x in scores]) for name in ("click_score", "click"))
        for low, high in pairwise(_BINS):
            here = (said >= low) & (said < high)
            if here.any():
                which, iou = f"{low:.1f} to {high:.1f}", true[here].mean()
                print(f"| {benchmark.folder} | {which} | {here.sum()} | {iou:.2f} |")
        beside = background_scores(predictor, images)
        print(
            f"| {benchmark.folder} | {beside.mean():.2f} on average | {len(beside)} on the background | - |"
        )


if __name__ == "__main__":
    main()
