"""The second table of ``benchmarks/quality.py``: objects found without a prompt, against ground truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from skimage.color import rgb2gray
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.measure import label
from skimage.segmentation import watershed

from napari_sam.inference.automatic import Generation, propose, suited_selection
from napari_sam.inference.overlaps import label_image
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.proposals import GRID, LEARNED
from napari_sam.matching import Agreement, Matching
from napari_sam.training.data import AnnotatedImage

Finder = Callable[[NDArray[np.uint8]], NDArray[np.int32]]
HEADER = (
    "| data set | images | objects | method | precision | recall | F1 | accuracy | s per image |\n"
    "|---|---:|---:|---|---:|---:|---:|---:|---:|"
)


def finders(predictor: Predictor) -> dict[str, Finder]:
    """Give the methods that are compared, each from an image to labels."""

    def by(prompts: str) -> Finder:
        generation = Generation(prompts=prompts)
        selection = suited_selection(predictor, generation)
        return lambda image: label_image(propose(predictor, image, generation).select(selection), "score")

    learned = {LEARNED: by(LEARNED)} if predictor.finds_objects else {}
    return {**learned, GRID: by(GRID), "Otsu + watershed": otsu_watershed}


def otsu_watershed(image: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Threshold by Otsu, split by the watershed of the distance to the background; no knob is turned.

    What covers less of the image is taken to be the objects, be they bright or dark.
    """
    gray = gaussian(rgb2gray(image) if image.ndim == 3 else image / 255, 1)
    if gray.min() == gray.max():
        return np.zeros(gray.shape, np.int32)
    objects = gray > threshold_otsu(gray)
    if objects.mean() > 0.5:
        objects = ~objects
    depth = gaussian(distance_transform_edt(objects), 1)
    peaks = peak_local_max(depth, min_distance=5, labels=label(objects), exclude_border=False)
    seeds = np.zeros(gray.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-depth, seeds, mask=objects).astype(np.int32)


def rows(
    name: str,
    images: Iterable[AnnotatedImage],
    methods: dict[str, Finder],
    most: int | None,
    most_of_grid: int | None = None,
) -> Iterable[str]:
    """Measure the methods on a set, or on ``most`` of its images, evenly picked; the grid on fewer."""
    everything = list(images)
    for method, find in methods.items():
        chosen = everything
        limit = most if method != GRID or most_of_grid is None else most_of_grid
        if limit is not None and len(chosen) > limit:
            chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, limit).round().astype(int)]
        began = time.perf_counter()
        matchings = [Matching.of(find(item.image), item.labels) for item in chosen]
        seconds = (time.perf_counter() - began) / len(chosen)
        result = Agreement.of(matchings)
        objects = sum(one.true for one in matchings)
        yield (
            f"| {name} | {len(chosen)} | {objects} | {method} | {result.precision:.3f} | {result.recall:.3f} "
            f"| {result.f1:.3f} | {result.accuracy:.3f} | {seconds:.2f} |"
        )
