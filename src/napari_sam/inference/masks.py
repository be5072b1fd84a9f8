"""From the mask decoder's low-resolution logits to boolean masks of the plane's own pixels."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_sam.inference.coordinates import Geometry

# Rows or columns of the plane that are interpolated at once: each needs few of the low-resolution ones.
_AT_ONCE = 128


def upscale_masks(logits: Tensor, geometry: Geometry) -> Tensor:
    """Threshold (M, h, w) logits after bilinear interpolation to the plane: (M, H, W) boolean.

    The official code interpolates twice, to the model's input and from there to the plane. Both steps are
    linear along each axis; here they are one banded matrix per axis, applied only where a mask can be.
    """
    height, width = geometry.original
    masks = torch.zeros(len(logits), height, width, dtype=torch.bool, device=logits.device)
    positive = (logits > 0).any(0)
    if not positive.any():
        return masks
    h, w = logits.shape[-2:]
    rows = _Band.of(h, geometry.image_size, geometry.scaled[0], height)
    columns = _Band.of(w, geometry.image_size, geometry.scaled[1], width)
    row_span, column_span = rows.touched(positive.any(1)), columns.touched(positive.any(0))
    if row_span == (0, 0) or column_span == (0, 0):
        return masks
    wide = torch.cat(
        [
            logits[:, :, seen] @ columns.weights[some, seen].to(logits.device).T
            for some, seen in columns.pieces(*column_span)
        ],
        dim=-1,
    )  # (M, h, columns of the span)
    for some, seen in rows.pieces(*row_span):
        piece = rows.weights[some, seen].to(logits.device) @ wide[:, seen]
        torch.gt(piece, 0, out=masks[:, some, slice(*column_span)])
    return masks


class _Band:
    """The interpolation along one axis as a matrix whose rows have few neighbouring weights.

    ``weights`` is (plane, low); ``first`` and ``last`` name the first and last weight of each row.
    """

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights
        seen = (weights != 0).int()
        self.first = seen.argmax(1)
        self.last = weights.shape[1] - 1 - seen.flip(1).argmax(1)

    @classmethod
    @lru_cache(maxsize=32)
    def of(cls, low: int, square: int, inside: int, plane: int) -> _Band:
        """Interpolate ``low`` values to ``square``, and the first ``inside`` of these to ``plane``."""
        unit = torch.eye(low)[None]  # each channel is one low-resolution value
        scaled = F.interpolate(unit, square, mode="linear", align_corners=False)[..., :inside]
        if inside != plane:
            scaled = F.interpolate(scaled, plane, mode="linear", align_corners=False)
        return cls(scaled[0].T.contiguous())

    def touched(self, positive: Tensor) -> tuple[int, int]:
        """Give the span of the plane's rows to which the ``positive`` low-resolution ones contribute."""
        found = positive.nonzero()[:, 0].cpu()
        inside = (self.last >= found[0]) & (self.first <= found[-1])
        where = inside.nonzero()[:, 0]
        # What lies beyond the plane, in the padding of the model's input, contributes nowhere.
        return (int(where[0]), int(where[-1]) + 1) if len(where) else (0, 0)

    def pieces(self, start: int, stop: int) -> list[tuple[slice, slice]]:
        """Cut a span of the plane's rows into pieces, each with the low-resolution rows that it needs."""
        ends = [(a, min(a + _AT_ONCE, stop)) for a in range(start, stop, _AT_ONCE)]
        return [(slice(a, b), slice(int(self.first[a]), int(self.last[b - 1]) + 1)) for a, b in ends]
