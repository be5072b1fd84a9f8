"""What the automatic masks choose from, and the choice: quick, and without the model.

A plane's proposals are made once and kept as run lengths; thresholds, suppression and limits of the area then
choose among them as often as the user likes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from napari_sam.inference.regions import without_small_regions
from napari_sam.inference.suppression import suppress_boxes
from napari_sam.runs import MaskRuns

# Ways of prompting: by the points that the model's own head finds, or by a regular grid.
LEARNED, GRID = "learned", "grid"


@dataclass(frozen=True)
class Selection:
    """Which proposals become masks; names and defaults of the official `SamAutomaticMaskGenerator`.

    Attributes
    ----------
    pred_iou_thresh
        The mask's predicted IoU must be higher; 0 lets all pass.
    stability_score_thresh
        The stability must be at least this: the IoU of the masks that a higher and a lower threshold of the
        logits give.
    box_nms_thresh
        Of two masks of one crop whose boxes have a higher IoU, the one with the better score stays.
    crop_nms_thresh
        The same between crops, where that of the smaller crop stays (of equal tiles the better score).
    min_mask_region_area
        Holes and separate pieces of fewer pixels are filled or taken away; then suppression is run once more,
        and unchanged masks are preferred. 0 leaves the masks as they are.
    max_overlap
        A mask of which better ones cover a larger share goes; 1 lets all stay, as the official code does.
    min_area, max_area
        Smaller and larger masks go before they suppress others, in pixels; None is no limit.

    Raises
    ------
    ValueError
        For a value outside its range.
    """

    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    box_nms_thresh: float = 0.7
    crop_nms_thresh: float = 0.7
    min_mask_region_area: int = 0
    min_area: int = 0
    max_area: int | None = None
    max_overlap: float = 1.0

    def __post_init__(self) -> None:
        for name in (
            "pred_iou_thresh",
            "stability_score_thresh",
            "box_nms_thresh",
            "crop_nms_thresh",
            "max_overlap",
        ):
            value = getattr(self, name)
            if not (isfinite(value) and 0 <= value <= 1):
                raise ValueError(f"{name} is {value}; give a number from 0 to 1.")
        for name in ("min_mask_region_area", "min_area"):
            value = getattr(self, name)
            if value < 0:
                raise ValueError(f"{name} is {value}; give a number of pixels, 0 for no limit.")
        if self.max_area is not None and self.max_area < max(1, self.min_area):
            raise ValueError(
                f"max_area is {self.max_area}, less than min_area ({self.min_area}) or one pixel; "
                "give a larger one, or None for no limit."
            )

    def check_floors(self, score_floor: float, stability_floor: float) -> None:
        """Check the thresholds against what proposals are kept from on.

        Raises
        ------
        ValueError
            If a threshold is lower.
        """
        for name, floor, least in (
            ("pred_iou_thresh", "score_floor", score_floor),
            ("stability_score_thresh", "stability_floor", stability_floor),
        ):
            threshold = getattr(self, name)
            if threshold < least:
                raise ValueError(
                    f"{name} is {threshold:g}, but proposals are kept from {least:g} on; raise it, or "
                    f"propose with a lower {floor}."
                )

    def why_nothing(self, count: int, removed: Mapping[str, int]) -> str:
        """Say which criteria left none of ``count`` proposals; ``removed`` is as that of `Selected`."""
        reasons = [
            f"{name} = {getattr(self, name):g} took {taken}" for name, taken in removed.items() if taken
        ]
        return f"Of {count} proposals no mask is left: {', '.join(reasons)}."


@dataclass(frozen=True, eq=False)
class Selected:
    """The masks that a `Selection` left, best score first.

    Attributes
    ----------
    shape
        (H, W) of the plane.
    indices
        (M,) which proposals they are.
    masks
        Their run lengths, small regions removed if that was asked for.
    scores
        (M,) predicted IoU.
    removed
        How many proposals each criterion took, by the name of its parameter, in the order of their use.
    message
        What to tell the user if nothing is left; None if something is.
    """

    shape: tuple[int, int]
    indices: NDArray[np.intp]
    masks: tuple[MaskRuns, ...]
    scores: NDArray[np.float32]
    removed: Mapping[str, int]
    message: str | None

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def areas(self) -> NDArray[np.int64]:
        """(M,) pixels of each mask."""
        return np.array([mask.area for mask in self.masks], np.int64)


@dataclass(frozen=True, eq=False)
class Proposals:
    """All masks of a plane that may be wanted, compact; made by `propose`.

    Attributes
    ----------
    shape
        (H, W) of the plane.
    masks
        N masks as run lengths.
    scores, stability
        (N,) predicted IoU and stability.
    areas
        (N,) pixels.
    boxes
        (N, 4) ``(row0, column0, row1, column1)`` in whole pixels, the ends left out.
    points
        (N, 2) the ``(row, column)`` that each was prompted by, in pixels of the plane.
    crops
        (N, 4) the part of the plane that was encoded for it, as ``boxes``.
    prompts
        ``"learned"`` or ``"grid"``.
    score_floor, stability_floor
        What lies below was not kept, so no threshold can be lower.
    crop_count
        How many parts of the plane were encoded; of more than one, duplicates are looked for between them.
    message
        Why there can be no masks, such as that the plane is constant.
    """

    shape: tuple[int, int]
    masks: tuple[MaskRuns, ...] = ()
    scores: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    stability: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    areas: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    boxes: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 4), np.int64))
    points: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    crops: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 4), np.int64))
    prompts: str = GRID
    score_floor: float = 0.0
    stability_floor: float = 0.0
    crop_count: int = 1
    message: str | None = None

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def nbytes(self) -> int:
        """Bytes that the masks and their measures occupy in memory, without Python's own."""
        arrays = (getattr(self, f.name) for f in fields(self))
        return sum(x.nbytes for x in arrays if isinstance(x, np.ndarray)) + sum(
            len(mask.runs) for mask in self.masks
        )

    def select(self, selection: Selection | None = None) -> Selected:
        """Choose masks; needs no model and takes milliseconds.

        Parameters
        ----------
        selection
            The thresholds and limits; the official defaults if left out.

        Raises
        ------
        ValueError
            If a threshold is below the floor that the proposals were kept from.
        """
        selection = Selection() if selection is None else selection
        selection.check_floors(self.score_floor, self.stability_floor)
        removed: dict[str, int] = {}
        left = np.arange(len(self))
        for name, good in self._criteria(selection):
            passed = left[good[left]]
            removed[name], left = len(left) - len(passed), passed
        within = self._suppress_within(left, selection.box_nms_thresh)
        removed["box_nms_thresh"] = len(left) - len(within)
        across = self._suppress_across(within, selection.crop_nms_thresh)
        removed["crop_nms_thresh"] = len(within) - len(across)
        apart = self._suppress_covered(across, selection.max_overlap)
        removed["max_overlap"] = len(across) - len(apart)
        final, masks = self._without_small_regions(apart, selection)
        removed["min_mask_region_area"] = len(apart) - len(final)
        order = np.argsort(-self.scores[final], kind="stable")
        chosen = Selected(
            self.shape,
            final[order],
            tuple(masks[i] for i in order),
            self.scores[final[order]],
            removed,
            None,
        )
        return chosen if len(chosen) else replace(chosen, message=self._why_nothing(selection, removed))

    def _criteria(self, selection: Selection) -> list[tuple[str, NDArray[np.bool_]]]:
        """Give what is asked of each proposal alone."""
        everything = np.ones(len(self), bool)
        score, stability = selection.pred_iou_thresh, selection.stability_score_thresh
        most = np.inf if selection.max_area is None else selection.max_area
        return [
            ("pred_iou_thresh", self.scores > score if score > 0 else everything),
            ("stability_score_thresh", self.stability >= stability if stability > 0 else everything),
            ("min_area", self.areas >= selection.min_area),
            ("max_area", self.areas <= most),
        ]

    def _suppress_within(self, left: NDArray[np.intp], threshold: float) -> NDArray[np.intp]:
        """Take duplicates away within each crop; the crops keep their order."""
        if not left.size:
            return left
        _, first, crop = np.unique(self.crops[left], axis=0, return_index=True, return_inverse=True)
        groups = [left[crop.ravel() == number] for number in np.argsort(first)]
        return np.concatenate(
            [group[suppress_boxes(self.boxes[group], self.scores[group], threshold)] for group in groups]
        )

    def _suppress_across(self, left: NDArray[np.intp], threshold: float) -> NDArray[np.intp]:
        """Take duplicates away between crops."""
        if self.crop_count < 2 or not left.size:
            return left
        crops = self.crops[left]
        if self.prompts == LEARNED:
            preference = self.scores[left].astype(np.float64)
        else:
            preference = 1 / ((crops[:, 2] - crops[:, 0]) * (crops[:, 3] - crops[:, 1]))
        return left[suppress_boxes(self.boxes[left], preference, threshold)]

    def _suppress_covered(self, left: NDArray[np.intp], most: float) -> NDArray[np.intp]:
        """Take away what better masks cover."""
        if most >= 1:
            return left
        taken = np.zeros(self.shape, bool)
        kept = []
        for number in left[np.argsort(-self.scores[left], kind="stable")]:
            mask, where = self.masks[number].mask(), self.masks[number].index
            if np.count_nonzero(taken[where] & mask) <= most * self.areas[number]:
                taken[where] |= mask
                kept.append(number)
        return np.array(kept, np.intp)

    def _without_small_regions(
        self, left: NDArray[np.intp], selection: Selection
    ) -> tuple[NDArray[np.intp], Sequence[MaskRuns]]:
        """Remove small regions, then the duplicates that this makes: unchanged masks are preferred."""
        before = [self.masks[i] for i in left]
        least = selection.min_mask_region_area
        if not least or not before:
            return left, before
        after = [without_small_regions(mask, self.shape, least) for mask in before]
        unchanged = np.array([a is b for a, b in zip(after, before, strict=True)], float)
        boxes = np.array([mask.box for mask in after], np.int64)
        threshold = max(selection.box_nms_thresh, selection.crop_nms_thresh)
        kept = suppress_boxes(boxes, unchanged, threshold)
        return left[kept], [after[i] for i in kept]

    def _why_nothing(self, selection: Selection, removed: Mapping[str, int]) -> str:
        """Say why no mask is left."""
        if self.message is not None:
            return self.message
        if not len(self):
            return "The model found nothing in this plane; a lower score_floor lets it propose more."
        return selection.why_nothing(len(self), removed)
