"""Selected masks as the dictionaries that Meta's generator gives, for programs that were written for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from napari_sam.inference.proposals import Proposals, Selected
from napari_sam.runs import MaskRuns, column_runs, compressed_counts

OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]


def records(
    proposals: Proposals, selected: Selected, output_mode: OutputMode = "binary_mask"
) -> list[dict[str, Any]]:
    """Give each selected mask as the record that the official `SamAutomaticMaskGenerator` makes of it.

    Unlike elsewhere in this package, positions are ``[x, y]`` and boxes ``[x, y, width, height]``: of whole
    numbers, which the official code turns to floats where a crop has no mask.

    Parameters
    ----------
    proposals
        What `propose` gave; it knows the points and the stability.
    selected
        What `Proposals.select` gave of them.
    output_mode
        How the masks are given: ``"binary_mask"``, which takes H x W bytes for each, ``"uncompressed_rle"``
        or ``"coco_rle"``. The last two can be written as JSON.

    Returns
    -------
    records
        In the order of ``selected.masks``, the best score first; where crops are used, or small regions
        removed, the official code has another order. Each has the keys

        - ``segmentation``: an (H, W) boolean array; or COCO's run lengths, column by column,
          ``{"size": [H, W], "counts": ...}`` with a list of numbers, or the string that pycocotools reads;
        - ``area``: pixels of the mask;
        - ``bbox``: the box around it, from its first pixel to its last, so that ``width`` and ``height`` are
          one less than its columns and rows, unlike those of COCO's own boxes and of exported files;
        - ``predicted_iou``, ``stability_score``;
        - ``point_coords``: ``[[x, y]]``, the point that it was prompted by;
        - ``crop_box``: the part of the plane that was encoded for it.

    Raises
    ------
    ValueError
        For another ``output_mode``, or masks that were selected of other proposals.
    """
    if output_mode not in get_args(OutputMode):
        raise ValueError(
            f"The output_mode {output_mode!r} is unknown; choose one of {', '.join(get_args(OutputMode))}."
        )
    its = selected.indices
    if its.max(initial=-1) >= len(proposals) or not np.array_equal(proposals.scores[its], selected.scores):
        raise ValueError(
            f"The {len(selected)} masks were not selected of these {len(proposals)} proposals; give the "
            "proposals whose select() gave them."
        )
    return [
        {
            "segmentation": _segmentation(mask, selected.shape, output_mode),
            "area": mask.area,
            # A box of the official code ends at its last pixel, but a crop behind it.
            "bbox": _xywh(mask.box, end=1),
            "predicted_iou": float(score),
            "point_coords": [proposals.points[index, ::-1].tolist()],
            "stability_score": float(proposals.stability[index]),
            "crop_box": _xywh(proposals.crops[index].tolist()),
        }
        for index, mask, score in zip(its, selected.masks, selected.scores, strict=True)
    ]


def _segmentation(mask: MaskRuns, shape: tuple[int, int], output_mode: OutputMode) -> Any:
    """Give a mask on its whole plane, in one of the three ways."""
    if output_mode == "binary_mask":
        return mask.on(shape)
    counts = column_runs(mask, shape)
    return {
        "size": list(shape),
        "counts": counts if output_mode == "uncompressed_rle" else compressed_counts(counts),
    }


def _xywh(box: Sequence[int], end: int = 0) -> list[int]:
    """Turn ``(row0, column0, row1, column1)`` to ``[x, y, width, height]``, so many pixels shorter."""
    row0, column0, row1, column1 = box
    return [column0, row0, column1 - column0 - end, row1 - row0 - end]
