"""Masks that overlap become a label image, in which each pixel belongs to one."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_sam.inference.proposals import Selected

Rule = Literal["smaller", "score"]


def label_image(
    selected: Selected, rule: Rule = "smaller", values: NDArray[np.integer[Any]] | None = None
) -> NDArray[np.int32]:
    """Paint the selected masks into one image.

    Parameters
    ----------
    selected
        What `Proposals.select` gave.
    rule
        Which mask is on top where several overlap: the ``"smaller"`` one, or the one with the higher
        ``"score"``. Of equal ones it is the one that comes first.
    values
        (M,) what each mask is painted with; ``n + 1`` for the mask ``selected.masks[n]`` if left out.

    Returns
    -------
    labels
        (H, W) int32, 0 is background. A mask that others cover wholly has no pixel.

    Raises
    ------
    ValueError
        For another rule.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"The rule {rule!r} is unknown; choose one of {', '.join(get_args(Rule))}.")
    labels = np.zeros(selected.shape, np.int32)
    values = np.arange(1, len(selected) + 1) if values is None else values
    preference = selected.scores if rule == "score" else -selected.areas
    # The last one that is painted is on top.
    for number in np.lexsort((-np.arange(len(selected)), preference)):
        mask = selected.masks[number]
        labels[mask.index][mask.mask()] = values[number]
    return labels
