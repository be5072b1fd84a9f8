"""Measure 3-D objects and tracks, linked from automatic masks, against ground truth.

``python benchmarks/linking.py DATA`` runs every plane of each volume and each time series without a prompt,
links the masks, and prints a Markdown table: precision, recall and F1 at an IoU above 0.5 of whole objects
(in 3-D, or in 2-D and time), and the mean segmentation accuracy over IoU thresholds from 0.5 to 0.95.

The rows "planes" measure the same masks unlinked, each plane by itself: what linking starts from. With
``--true-masks`` the true objects' sections are linked instead, shuffled on each plane: what linking alone
costs, whatever the model.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.io import imread

from napari_sam.automatic.stack import StackRun, planes_along
from napari_sam.linking import Linking, link
from napari_sam.matching import Agreement, Matching
from napari_sam.runs import MaskRuns
from napari_sam.starting import open_session


@dataclass(frozen=True)
class Stack:
    """One volume or time series, and its axes."""

    image: str
    labels: str
    axes: str = "zyx"


STACKS = (
    Stack("volumes/gonuclear/1135_mini_image.tif", "volumes/gonuclear/1135_mini_labels.tif"),
    Stack("volumes/gonuclear/1136_mini_image.tif", "volumes/gonuclear/1136_mini_labels.tif"),
    Stack("volumes/plantseg/rgb_3D_0_image.tif", "volumes/plantseg/rgb_3D_0_labels.tif"),
    Stack("volumes/plantseg/rgb_3D_1_image.tif", "volumes/plantseg/rgb_3D_1_labels.tif"),
    Stack("volumes/plantseg/sample_ovule_image.tif", "volumes/plantseg/sample_ovule_labels.tif"),
    Stack("volumes/stardist/3d_image.tif", "volumes/stardist/3d_labels.tif"),
    Stack("volumes/gala_em/train_image.tif", "volumes/gala_em/train_labels.tif"),
    Stack("volumes/gala_em/test_image.tif", "volumes/gala_em/test_labels.tif"),
    Stack(
        "timelapse/usiigaci_t98g/tyx_image.tif", "timelapse/usiigaci_t98g/tyx_labels_silver.tif", axes="tyx"
    ),
)


def labels_of(run: StackRun, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Paint the objects of a run as a label volume."""
    labels = np.zeros(shape, np.int32)
    for plane in run.planes:
        for mask, number in zip(run.found[plane].masks, run.numbers(plane), strict=True):
            labels[plane.index()][mask.index][mask.mask()] = number
    return labels


def rows(stack: Stack, data: Path, model: str, linkings: tuple[Linking, ...]) -> list[str]:
    """Measure one stack: its planes, and each way of linking them."""
    image, truth = np.asarray(imread(data / stack.image)), np.asarray(imread(data / stack.labels))
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(
            image, stack.axes, model, Path(folder) / "labels.zarr", cache=Path(folder) / "cache"
        )
        run = StackRun(session, planes_along(session, stack.axes[0]), rule="score")
        began = time.process_time()
        run.compute()
        seconds = (time.process_time() - began) / len(run.planes)
        unlinked = labels_of(run, truth.shape)
        found = [("planes", [Matching.of(a, b) for a, b in zip(unlinked, truth, strict=True)], seconds)]
        for linking in linkings:
            began = time.process_time()
            run.relink(linking)
            took = (time.process_time() - began) / len(run.planes)
            found.append((_named(linking), [Matching.of(labels_of(run, truth.shape), truth)], took))
        session.close()
    return [_row(stack, *each) for each in found]


def rows_of_true_masks(stack: Stack, data: Path, linkings: tuple[Linking, ...]) -> list[str]:
    """Measure how well the true sections of one stack are put together again."""
    truth, rng = np.asarray(imread(data / stack.labels)).astype(np.int64), np.random.default_rng(0)
    planes = []
    for section in truth:
        masks = [MaskRuns.of(section == label) for label in np.unique(section[section > 0])]
        planes.append([masks[i] for i in rng.permutation(len(masks))])
    found = []
    for linking in linkings:
        began = time.process_time()
        numbers = link(planes, linking)
        took = (time.process_time() - began) / len(planes)
        labels = np.zeros(truth.shape, np.int32)
        for plane, masks, of_plane in zip(labels, planes, numbers, strict=True):
            for mask, number in zip(masks, of_plane, strict=True):
                plane[mask.index][mask.mask()] = number
        found.append((f"true masks, {_named(linking)}", [Matching.of(labels, truth)], took))
    return [_row(stack, *each) for each in found]


def _named(linking: Linking) -> str:
    return f"{linking.measure} {linking.min_overlap:g}, gap {linking.max_gap}, {linking.min_length}+"


def _row(stack: Stack, name: str, matchings: list[Matching], seconds: float) -> str:
    result = Agreement.of(matchings)
    true, found = sum(x.true for x in matchings), sum(x.found for x in matchings)
    return (
        f"| {stack.image.removesuffix('_image.tif')} | {name} | {true} | {found} | {result.precision:.3f} "
        f"| {result.recall:.3f} | {result.f1:.3f} | {result.accuracy:.3f} | {seconds:.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the data sets")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--only", help="only stacks whose path has this in it")
    parser.add_argument("--true-masks", action="store_true", help="link the true sections; needs no model")
    options = parser.parse_args()
    linkings = (
        Linking(),
        Linking(max_gap=0),
        Linking(min_overlap=0.25),
        Linking("smaller", 0.5),
        Linking(min_length=3),
    )
    print("| stack | linked by | objects | found | precision | recall | F1 | accuracy | s per plane |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for stack in STACKS:
        if not options.only or options.only in stack.image:
            if options.true_masks:
                lines = rows_of_true_masks(stack, options.data, linkings)
            else:
                lines = rows(stack, options.data, options.model, linkings)
            print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
