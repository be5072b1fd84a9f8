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
    masks = torch.zeros(len(logits), *geometry.original, dtype=torch.bool, device=logits.device)
    part, (row, column) = upscale_window(logits, geometry, (0, 0), logits.shape[-1])
    masks[:, row : row + part.shape[1], column : column + part.shape[2]] = part
    return masks


def upscale_window(
    logits: Tensor, geometry: Geometry, corner: tuple[int, int], side: int
) -> tuple[Tensor, tuple[int, int]]:
    """Give only the part of the plane in which a mask can be: (M, a, b) boolean, and its first pixel.

    ``logits`` (M, h, w) lie at ``corner`` of the ``side`` x ``side`` of the model; beside them is no mask.
    """
    none = torch.zeros(len(logits), 0, 0, dtype=torch.bool, device=logits.device)
    positive = (logits > 0).any(0)
    seen_rows, seen_columns = (positive.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
    if not seen_rows:
        return none, (0, 0)
    rows, columns = (
        _Band.within(start, start + length, side, geometry.image_size, scaled, original)
        for start, length, scaled, original in zip(
            corner, logits.shape[-2:], geometry.scaled, geometry.original, strict=True
        )
    )
    row_span = rows.touched(seen_rows[0], seen_rows[-1])
    column_span = columns.touched(seen_columns[0], seen_columns[-1])
    if row_span == (0, 0) or column_span == (0, 0):
        return none, (0, 0)
    wide = torch.cat(
        [
            logits[:, :, seen] @ columns.weights[some, seen].to(logits.device).T
            for some, seen in columns.pieces(*column_span)
        ],
        dim=-1,
    )  # (M, h, columns of the span)
    pieces = [
        rows.weights[some, seen].to(logits.device) @ wide[:, seen] > 0
        for some, seen in rows.pieces(*row_span)
    ]
    return torch.cat(pieces, dim=1), (row_span[0], column_span[0])


class _Band:
    """The interpolation along one axis as a matrix whose rows have few neighbouring weights.

    ``weights`` is (plane, low); ``first`` and ``last`` name the first and last weight of each row.
    """

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights
        seen = (weights != 0).int()
        self.first = seen.argmax(1)
        self.last = weights.shape[1] - 1 - seen.flip(1).argmax(1)
        nothing = seen.sum(1) == 0  # what lies beside a window
        self.first[nothing], self.last[nothing] = weights.shape[1], -1

    @classmethod
    @lru_cache(maxsize=32)
    def of(cls, low: int, square: int, inside: int, plane: int) -> _Band:
        """Interpolate ``low`` values to ``square``, and the first ``inside`` of these to ``plane``."""
        unit = torch.eye(low)[None]  # each channel is one low-resolution value
        scaled = F.interpolate(unit, square, mode="linear", align_corners=False)[..., :inside]
        if inside != plane:
            scaled = F.interpolate(scaled, plane, mode="linear", align_corners=False)
        return cls(scaled[0].T.contiguous())

    @classmethod
    @lru_cache(maxsize=128)
    def within(cls, start: int, stop: int, low: int, square: int, inside: int, plane: int) -> _Band:
        """Give that of the low-resolution values from ``start`` to ``stop`` alone; see `of`."""
        return cls(cls.of(low, square, inside, plane).weights[:, start:stop])

    def touched(self, low: int, high: int) -> tuple[int, int]:
        """Give the span of the plane's rows to which the low-resolution ones ``low`` to ``high`` add."""
        inside = (self.last >= low) & (self.first <= high)
        where = inside.nonzero()[:, 0]
        # What lies beyond the plane, in the padding of the model's input, contributes nowhere.
        return (int(where[0]), int(where[-1]) + 1) if len(where) else (0, 0)

    def pieces(self, start: int, stop: int) -> list[tuple[slice, slice]]:
        """Cut a span of the plane's rows into pieces, each with the low-resolution rows that it needs."""
        ends = [(a, min(a + _AT_ONCE, stop)) for a in range(start, stop, _AT_ONCE)]
        return [(slice(a, b), slice(int(self.first[a]), int(self.last[b - 1]) + 1)) for a, b in ends]
