"""The table of stacks of ``benchmarks/quality.py``: 3-D objects and tracks, against ground truth."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile

from napari_sam.automatic.stack import StackRun, planes_along
from napari_sam.inference.predictor import Predictor
from napari_sam.linking import Linking, link, suited_linking
from napari_sam.matching import Agreement, Matching
from napari_sam.runs import MaskRuns
from napari_sam.starting import open_session

HEADER = (
    "| stack | planes | linked by | objects | found | precision | recall | F1 | accuracy | s per plane |\n"
    "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|"
)
# Other ways of linking, to be compared with what suits the axis.
_OTHERS = (Linking(), Linking(max_gap=0), Linking("smaller", 0.5), Linking(min_length=3))


@dataclass(frozen=True)
class Stack:
    """One volume or time series."""

    name: str
    image: Path
    labels: Path
    axes: str

    def read(self, path: Path, most_planes: int | None) -> NDArray[np.generic]:
        """Read the planes in the middle, at most so many."""
        with TiffFile(path) as file:
            whole = file.asarray()
        if most_planes is None or len(whole) <= most_planes:
            return whole
        first = (len(whole) - most_planes) // 2
        return whole[first : first + most_planes]


def stacks_in(data: Path) -> Iterator[Stack]:
    """Find every volume and time series that has labels."""
    for folder, axes in (("volumes", "zyx"), ("timelapse", "tyx")):
        for image in sorted((data / folder).rglob("*image.tif")):
            stem = image.name.removesuffix("image.tif")
            labels = sorted(image.parent.glob(f"{stem}labels*.tif"))
            if labels:
                name = "/".join([*image.parent.relative_to(data).parts, stem.strip("_")])
                yield Stack(name, image, labels[0], axes)


def rows(stack: Stack, predictor: Predictor, most_planes: int | None, compare: bool) -> Iterator[str]:
    """Measure one stack from pixels to objects: its planes unlinked, and ways of linking them."""
    image, truth = (stack.read(path, most_planes) for path in (stack.image, stack.labels))
    truth = truth.astype(np.int64)
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(
            image, stack.axes, predictor, Path(folder) / "labels.zarr", cache=Path(folder) / "cache"
        )
        run = StackRun(session, planes_along(session, stack.axes[0]), rule="score")
        began = time.perf_counter()
        run.compute()
        seconds = (time.perf_counter() - began) / len(run.planes)
        unlinked = _labels_of(run, truth.shape)
        yield _row(
            stack,
            "planes",
            [Matching.of(a, b) for a, b in zip(unlinked, truth, strict=True)],
            len(truth),
            seconds,
        )
        for linking in _ways(stack, compare):
            began = time.perf_counter()
            run.relink(linking)
            took = (time.perf_counter() - began) / len(run.planes)
            matching = Matching.of(_labels_of(run, truth.shape), truth)
            yield _row(stack, _named(linking), [matching], len(truth), took)
        session.close()


def rows_of_true_masks(stack: Stack, most_planes: int | None, compare: bool) -> Iterator[str]:
    """Measure how well the true sections of one stack, shuffled on each plane, are put together again."""
    truth, rng = stack.read(stack.labels, most_planes).astype(np.int64), np.random.default_rng(0)
    planes = []
    for section in truth:
        masks = [MaskRuns.of(section == label) for label in np.unique(section[section > 0])]
        planes.append([masks[i] for i in rng.permutation(len(masks))])
    for linking in _ways(stack, compare):
        began = time.perf_counter()
        numbers = link(planes, linking)
        took = (time.perf_counter() - began) / len(planes)
        labels = np.zeros(truth.shape, np.int32)
        for plane, masks, of_plane in zip(labels, planes, numbers, strict=True):
            for mask, number in zip(masks, of_plane, strict=True):
                plane[mask.index][mask.mask()] = number
        yield _row(stack, f"true masks, {_named(linking)}", [Matching.of(labels, truth)], len(truth), took)


def _ways(stack: Stack, compare: bool) -> list[Linking]:
    suited = suited_linking(stack.axes[0])
    return [suited, *(x for x in _OTHERS if compare and x != suited)]


def _labels_of(run: StackRun, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Paint the objects of a run as a label volume."""
    labels = np.zeros(shape, np.int32)
    for plane in run.planes:
        for mask, number in zip(run.found[plane].masks, run.numbers(plane), strict=True):
            labels[plane.index()][mask.index][mask.mask()] = number
    return labels


def _named(linking: Linking) -> str:
    waist = f", waist {linking.waist:g}" if linking.waist else ""
    return f"{linking.measure} {linking.min_overlap:g}, gap {linking.max_gap}, {linking.min_length}+{waist}"


def _row(stack: Stack, name: str, matchings: list[Matching], planes: int, seconds: float) -> str:
    result = Agreement.of(matchings)
    true, found = sum(x.true for x in matchings), sum(x.found for x in matchings)
    return (
        f"| {stack.name} | {planes} | {name} | {true} | {found} | {result.precision:.3f} "
        f"| {result.recall:.3f} | {result.f1:.3f} | {result.accuracy:.3f} | {seconds:.3f} |"
    )
