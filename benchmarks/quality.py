"""Measure the masks of one click and of one box against ground truth, per data set.

``python benchmarks/quality.py DATA`` prints a Markdown table: the mean IoU over all objects, of the mask with
the highest predicted score, for a click at the object's innermost point and for its tight box. With
``--automatic`` the table is that of the objects found without a prompt: by learned prompts, by the grid, and
by a classic method of scikit-image.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from automatic_quality import HEADER, finders, rows
from skimage.io import imread

from napari_sam.contrast import Contrast
from napari_sam.inference.predictor import load_predictor
from napari_sam.training.data import AnnotatedImage, read_set
from napari_sam.training.validation import ObjectScore, score_objects

# Slices of a volume that lie this far apart, along each of its axes, are measured.
_SLICE_STEP = 8
# Smaller sections of an object are not counted in a volume: they hold no shape.
_MIN_SECTION = 20


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
            for line in rows(benchmark.folder, images, methods, options.most_images):
                print(line, flush=True)
        return
    print("| data set | objects | IoU, one click | IoU, tight box | mean error of the score | seconds |")
    print("|---|---|---|---|---|---|")
    for benchmark in chosen:
        began = time.perf_counter()
        scores = score_objects(predictor, images_of(benchmark, options.data), options.most)
        print(row(benchmark, scores, time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main()
