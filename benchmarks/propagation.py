"""Measure how well objects follow from one box on one of their planes, against ground truth.

    python benchmarks/propagation.py DATA [--most 15] [--model nano]

``DATA`` holds ``volumes/`` and ``timelapse/`` as ``benchmarks/quality.py`` takes them. Of each stack a random
part of the objects with three sections or more is taken. Each gets its tight box on its largest section, and
is propagated from there along the first axis; objects do not see each other. Beside its IoU with the truth
over all planes stand that of the prompted section, and what a tight box on every one of its planes gives.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from stack_quality import Stack, stacks_in

from napari_sam.annotation import Session
from napari_sam.inference.loading import load_predictor
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts_of_masks import tight_box
from napari_sam.matching import iou
from napari_sam.plane import Plane
from napari_sam.propagating.writing import propagate
from napari_sam.starting import open_session

# Smaller ones have no section to be prompted on.
_FEWEST_PLANES, _LEAST_AREA = 3, 30
HEADER = (
    "| stack | objects | first section | object | above 0.5 | found / true planes | a box per plane | s |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|"
)


@dataclass(frozen=True)
class Result:
    """How well one object was found."""

    section: float
    whole: float
    planes: float
    boxes: float
    seconds: float


def results(stack: Stack, predictor: Predictor, most: int) -> Iterator[Result]:
    """Propagate some objects of a stack, each as if it were alone."""
    image, truth = stack.read(stack.image, None), stack.read(stack.labels, None)
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(
            image, stack.axes, predictor, Path(folder) / "labels.zarr", cache=Path(folder) / "cache"
        )
        labels = np.unique(truth[truth > 0])
        chosen = 0
        for label in np.random.default_rng(0).permutation(labels):
            whole = truth == label
            areas = whole.sum((1, 2))
            if (areas > 0).sum() >= _FEWEST_PLANES and areas.max() >= _LEAST_AREA:
                yield _result(session, whole, int(areas.argmax()))
                chosen += 1
            if chosen == most:
                break
        session.close()


def _result(session: Session, truth: NDArray[np.bool_], largest: int) -> Result:
    boxes = np.zeros(truth.shape, bool)
    for z in np.flatnonzero(truth.any((1, 2))).tolist():
        boxes[z] = _boxed(session, z, truth[z])
    _boxed(session, largest, truth[largest])
    began = time.perf_counter()
    planes = propagate(session, session.commit())
    seconds = time.perf_counter() - began
    found = session.labels[:] > 0
    while session.undo() is not None:
        session.clear_prompt()
    return Result(
        iou(found[largest], truth[largest]),
        iou(found, truth),
        (len(planes) + 1) / int(truth.any((1, 2)).sum()),
        iou(boxes, truth),
        seconds,
    )


def _boxed(session: Session, z: int, section: NDArray[np.bool_]) -> NDArray[np.bool_]:
    session.show(Plane.at((1, 2), (z, 0, 0)))
    session.set_box(tight_box(section))
    preview = session.predict()
    assert preview is not None
    return preview.mask


def main() -> None:
    """Print the table, a row for each stack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--most", type=int, default=15, help="objects of each stack (default 15)")
    parser.add_argument("--model", default="nano")
    options = parser.parse_args()
    predictor = load_predictor(options.model)
    print(HEADER)
    for stack in stacks_in(options.data):
        found = list(results(stack, predictor, options.most))
        section, whole, planes, boxes, seconds = (
            np.mean([getattr(x, name) for x in found])
            for name in ("section", "whole", "planes", "boxes", "seconds")
        )
        above = np.mean([x.whole > 0.5 for x in found])
        print(
            f"| {stack.name} | {len(found)} | {section:.3f} | {whole:.3f} | {100 * above:.0f} % "
            f"| {planes:.2f} | {boxes:.3f} | {seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
