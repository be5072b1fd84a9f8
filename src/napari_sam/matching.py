"""How well found objects agree with the true ones: precision, recall, F1, segmentation accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# An IoU above a half leaves each object at most one partner, so there is nothing to assign.
LEAST_IOU = 0.5
# The thresholds over which the segmentation accuracy is averaged.
THRESHOLDS = np.arange(0.5, 0.96, 0.05)


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; 1 if both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


@dataclass(frozen=True, eq=False)
class Matching:
    """Which objects of one image have a partner.

    Attributes
    ----------
    ious
        (K,) IoU of each pair of a found and a true object, those above a half.
    found, true
        How many objects there are.
    """

    ious: NDArray[np.float64]
    found: int
    true: int

    @classmethod
    def of(cls, found: NDArray[np.integer], truth: NDArray[np.integer]) -> Matching:
        """Compare two label images of the same shape, background 0.

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        if found.shape != truth.shape:
            raise ValueError(f"The found labels have shape {found.shape}, the true ones {truth.shape}.")
        ours, inverse, areas = np.unique(found, return_inverse=True, return_counts=True)
        theirs, true_inverse, true_areas = np.unique(truth, return_inverse=True, return_counts=True)
        # Counted for the pairs alone that share pixels: a table of all pairs would not fit into memory.
        both = ((found != 0) & (truth != 0)).ravel()
        pairs, shared = np.unique(
            inverse.ravel()[both] * len(theirs) + true_inverse.ravel()[both], return_counts=True
        )
        union = areas[pairs // len(theirs)] + true_areas[pairs % len(theirs)] - shared
        ious = shared / union
        return cls(ious[ious > LEAST_IOU], int((ours != 0).sum()), int((theirs != 0).sum()))

    def hits(self, threshold: float = LEAST_IOU) -> int:
        """Count the pairs whose IoU is above ``threshold``, a half or more."""
        return int((self.ious > threshold).sum())

    @property
    def accuracy(self) -> float:
        """Mean over IoU thresholds from 0.5 to 0.95 of hits / (hits + misses + false finds).

        This is the measure of the 2018 Data Science Bowl (Caicedo et al., Nature Methods 2019); 1 for an
        image without objects in which none was found.
        """
        if not self.found + self.true:
            return 1.0
        hits = np.array([self.hits(threshold) for threshold in THRESHOLDS])
        return float((hits / (self.found + self.true - hits)).mean())


@dataclass(frozen=True)
class Agreement:
    """How well the objects of a set of images agree.

    Attributes
    ----------
    precision, recall, f1
        At an IoU above 0.5, of all objects of the set together.
    accuracy
        Mean of the images' `Matching.accuracy`.
    """

    precision: float
    recall: float
    f1: float
    accuracy: float

    @classmethod
    def of(cls, matchings: Sequence[Matching]) -> Agreement:
        """Sum up the images of a set; what is counted of none at all is 0."""
        hits = sum(one.hits() for one in matchings)
        found, true = sum(one.found for one in matchings), sum(one.true for one in matchings)
        return cls(
            hits / max(1, found),
            hits / max(1, true),
            2 * hits / max(1, found + true),
            sum(one.accuracy for one in matchings) / max(1, len(matchings)),
        )
