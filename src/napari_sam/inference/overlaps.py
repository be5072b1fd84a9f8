"""Masks that overlap become a label image, in which each pixel belongs to one."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_sam.inference.proposals import Selected

Rule = Literal["smaller", "score"]


def label_image(selected: Selected, rule: Rule = "smaller") -> NDArray[np.int32]:
    """Paint the selected masks into one image.

    Parameters
    ----------
    selected
        What `Proposals.select` gave.
    rule
        Which mask is on top where several overlap: the ``"smaller"`` one, or the one with the higher
        ``"score"``.

    Returns
    -------
    labels
        (H, W) int32: 0 is background, ``n + 1`` the mask ``selected.masks[n]``. A mask that others cover
        wholly has no pixel.

    Raises
    ------
    ValueError
        For another rule.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"The rule {rule!r} is unknown; choose one of {', '.join(get_args(Rule))}.")
    labels = np.zeros(selected.shape, np.int32)
    preference = selected.scores if rule == "score" else -selected.areas
    for number in np.argsort(preference, kind="stable"):
        mask = selected.masks[number]
        labels[mask.index][mask.mask()] = number + 1
    return labels
