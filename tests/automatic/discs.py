"""Bright discs, and proposals without a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_sam.inference.proposals import Proposals
from napari_sam.runs import MaskRuns

SHAPE = (192, 224)


def disc(row: float, column: float, radius: float = 10) -> NDArray[np.bool_]:
    y, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
    inside: NDArray[np.bool_] = np.hypot(y - row, x - column) <= radius
    return inside


def proposals_of(masks: Sequence[NDArray[np.bool_]], scores: Sequence[float] | None = None) -> Proposals:
    """Make proposals of masks, all of them stable."""
    runs = [MaskRuns.of(mask) for mask in masks]
    assert None not in runs
    whole = (0, 0, *SHAPE)
    return Proposals(
        SHAPE,
        tuple(runs),  # type: ignore[arg-type]
        np.array(scores or [0.95] * len(runs), np.float32),
        np.ones(len(runs), np.float32),
        np.array([x.area for x in runs if x], np.int64),
        np.array([x.box for x in runs if x], np.int64).reshape(-1, 4),
        np.array([np.argwhere(mask).mean(0) for mask in masks]).reshape(-1, 2),
        np.array([whole] * len(runs), np.int64).reshape(-1, 4),
    )
