"""The masks of one plane that are to become objects: those that were accepted, each pixel in one of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from napari_sam.inference.overlaps import Rule, label_image
from napari_sam.inference.proposals import Proposals, Selected
from napari_sam.plane import Plane
from napari_sam.runs import MaskRuns


@dataclass(frozen=True, eq=False)
class PlaneMasks:
    """Masks of one plane, none of which overlaps another.

    Attributes
    ----------
    plane
        Where they lie.
    masks
        N masks as run lengths.
    scores
        (N,) the model's estimate of each mask's IoU.
    points
        (N, 2) the ``(row, column)`` that each was prompted by.
    proposals
        (N,) which of the plane's proposals each is.
    """

    plane: Plane
    masks: tuple[MaskRuns, ...]
    scores: NDArray[np.float32]
    points: NDArray[np.float64]
    proposals: NDArray[np.intp]

    @classmethod
    def of(
        cls,
        plane: Plane,
        proposals: Proposals,
        selected: Selected,
        rule: Rule = "smaller",
        rejected: Collection[int] = (),
    ) -> PlaneMasks:
        """Take what was selected of a plane's proposals.

        Parameters
        ----------
        plane, proposals, selected
            The plane, its proposals, and what `Proposals.select` gave.
        rule
            Which of two masks gets the pixels that both have; see `label_image`.
        rejected
            Proposals, by number, that are left out, and cover nothing.
        """
        accepted = without(selected, rejected)
        masks, numbers = [], []
        labels = label_image(accepted, rule)
        for number, box in enumerate(find_objects(labels)):
            if box is not None:  # else others cover it wholly
                runs = MaskRuns.of(labels[box] == number + 1, (box[0].start, box[1].start))
                assert runs is not None
                masks.append(runs)
                numbers.append(number)
        indices = accepted.indices[numbers]
        return cls(plane, tuple(masks), accepted.scores[numbers], proposals.points[indices], indices)

    def __len__(self) -> int:
        return len(self.masks)


def within(selected: Selected, region: NDArray[np.bool_]) -> Selected:
    """Leave out the masks of which half or more lies outside an (H, W) region."""
    pairs = zip(selected.indices.tolist(), selected.masks, strict=True)
    left = without(selected, [n for n, mask in pairs if lies_outside(mask.mask(), region[mask.index])])
    if len(left) or not len(selected):
        return left
    return replace(left, message=f"All {len(selected)} masks lie outside the region by half or more.")


def lies_outside(mask: NDArray[np.bool_], region: NDArray[np.bool_]) -> bool:
    """Whether half or more of a mask lies outside a region, both cut to the mask's box."""
    return bool(2 * np.count_nonzero(mask & region) <= np.count_nonzero(mask))


def without(selected: Selected, rejected: Collection[int]) -> Selected:
    """Leave proposals out of a selection, by their numbers."""
    kept = np.flatnonzero(~np.isin(selected.indices, list(rejected)))
    return replace(
        selected,
        indices=selected.indices[kept],
        masks=tuple(selected.masks[i] for i in kept),
        scores=selected.scores[kept],
    )
