"""Measure what reduced precision costs in quality and gains in time, where the device gains from it.

    python benchmarks/precision.py DATA [--set dsb2018/val] [--most 8] [--runs 5] [--device cpu]

Of `nano`, the mean IoU between the masks that full and reduced precision give: one click and one box on
objects of real images. Of ViT-B with seeded weights, whose masks mean nothing, the error of the embedding,
relative to its length. Both: the time of an encoding, full and reduced precision taking turns.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from prompt_quality import objects_of

from napari_sam import Predictor, Prompt, load_predictor
from napari_sam.inference.prompts_of_masks import innermost_point, tight_box
from napari_sam.inference.tiles import PlaneEmbeddings, predict_plane
from napari_sam.matching import iou
from napari_sam.model.precision import FULL, offered, reduce_precision
from napari_sam.model.sam import CONFIGS
from napari_sam.training.data import AnnotatedImage, read_set
from seeded import predictor_of, seeded_image, seeded_model


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the data sets")
    parser.add_argument("--set", default="dsb2018/val", help="images of nano (default: %(default)s)")
    parser.add_argument("--most", type=int, default=8, help="objects per image (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="encodings of each (default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads\n")
    print("| model | precision | encode | faster | error of the embedding | IoU with float32 | worst mask |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    images = read_set(options.data / options.set)
    full = load_predictor("nano", device=options.device)
    for precision in offered(CONFIGS["nano"], device)[1:]:
        reduced = load_predictor("nano", device=options.device, precision=precision)
        agreement = list(_agreements(full, reduced, images, options.most))
        cells = f"{np.mean(agreement):.4f} of {len(agreement)} masks | {min(agreement):.2f}"
        print(_row("nano", precision, full, reduced, options.runs, cells), flush=True)
    full = _seeded_vit_b(FULL, device)
    for precision in offered(CONFIGS["vit_b"], device)[1:]:
        reduced = _seeded_vit_b(precision, device)
        print(_row("vit_b", precision, full, reduced, options.runs, "- | -"), flush=True)


def _row(name: str, precision: str, full: Predictor, reduced: Predictor, runs: int, cells: str) -> str:
    """Time both in turns, compare their embeddings of one image, and format a row."""
    image = seeded_image(full.image_size, full.image_size)
    one, other = (x.encode(image).features.float() for x in (full, reduced))  # also warms up
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for predictor, kept in zip((full, reduced), seconds, strict=True):
            began = perf_counter()
            predictor.encode(image).features.cpu()
            kept.append(perf_counter() - began)
    plain, quick = (median(x) for x in seconds)
    error = float((one - other).norm() / one.norm())
    return f"| {name} | {precision} | {quick:.3f} s | {plain / quick:.2f} x | {100 * error:.2f} % | {cells} |"


def _agreements(
    full: Predictor, reduced: Predictor, images: list[AnnotatedImage], most: int
) -> Iterator[float]:
    """Give the IoU of the masks of both, of a click and a box on some objects of each image."""
    for item in images:
        shape = item.labels.shape
        embeddings = [PlaneEmbeddings(x, item.image) for x in (full, reduced)]
        for truth in objects_of(item, most):
            for prompt in (Prompt([innermost_point(truth)]), Prompt(box=tight_box(truth))):
                one, other = (
                    predict_plane(x, (shape[0], shape[1]), prompt, its)
                    for x, its in zip((full, reduced), embeddings, strict=True)
                )
                # The same candidate of both: which of two equal ones scores higher is another question.
                masks = one.mask(one.best), other.mask(one.best)
                if any(mask.any() for mask in masks):
                    yield iou(*masks)


def _seeded_vit_b(precision: str, device: torch.device) -> Predictor:
    sam = seeded_model(CONFIGS["vit_b"])
    reduce_precision(sam, precision, device)
    made = predictor_of(sam)
    return Predictor(sam, replace(made.identity, precision=precision), device)


if __name__ == "__main__":
    main()
