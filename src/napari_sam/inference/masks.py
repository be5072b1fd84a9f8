"""From the mask decoder's low-resolution logits to boolean masks of the plane's own pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_sam.inference.coordinates import Geometry

# So many neighbouring rows of the plane are interpolated by one small matrix: they need few values.
_LEAST_PIECE, _MOST_PIECE = 8, 24
# So many pixels are interpolated before they are compared.
_AT_ONCE = 2**20
# A row of the plane that takes less than this of the low-resolution ones takes nothing of them.
_LEAST_SHARE = 1e-6


def upscale_masks(logits: Tensor, geometry: Geometry) -> Tensor:
    """Threshold (M, h, w) logits after bilinear interpolation to the plane: (M, H, W) boolean.

    The official code interpolates twice, to the model's input and from there to the plane. Both steps are
    linear along each axis; here they are one banded matrix per axis, applied only where a mask can be.
    """
    masks = torch.zeros(len(logits), *geometry.original, dtype=torch.bool, device=logits.device)
    part, (row, column) = upscale_window(logits, geometry, (0, 0), logits.shape[-1])
    masks[:, row : row + part.shape[2], column : column + part.shape[3]] = part[0]
    return masks


def upscale_window(
    logits: Tensor,
    geometry: Geometry,
    corner: tuple[int, int],
    side: int,
    levels: Sequence[float] = (0.0,),
) -> tuple[Tensor, tuple[int, int]]:
    """Give only the part of the plane in which a mask can be: (L, M, a, b) boolean, and its first pixel.

    ``logits`` (M, h, w) lie at ``corner`` of the ``side`` x ``side`` of the model; beside them is no mask. A
    mask is where the logits are above each of the ``L`` levels.
    """
    none = torch.zeros(len(levels), len(logits), 0, 0, dtype=torch.bool, device=logits.device)
    if not logits.numel():
        return none, (0, 0)
    seen_rows, seen_columns = (
        (logits.amax(others) > min(levels)).nonzero()[:, 0].tolist() for others in ((0, 2), (0, 1))
    )
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
    count, height, _ = logits.shape
    by_column = logits.permute(2, 0, 1).flatten(1)  # (w, M * h)
    wide = torch.cat([piece for _, piece in columns.interpolated(by_column, *column_span)])
    across = len(wide)
    by_row = wide.view(across, count, height).permute(2, 1, 0).flatten(1)  # (h, M * across)
    masks = none.new_empty(len(levels), count, row_span[1] - row_span[0], across)
    for first, piece in rows.interpolated(by_row, *row_span):
        inside = piece.unflatten(1, (count, across)).transpose(0, 1)
        part = masks[:, :, first - row_span[0] :][:, :, : len(piece)]
        for level, its in zip(levels, part, strict=True):
            _compare(inside, level, its)
    return masks, (row_span[0], column_span[0])


def _compare(logits: Tensor, level: float, out: Tensor) -> None:
    """Say which logits are above a level. On a CPU NumPy does it four times as fast as PyTorch."""
    if logits.device.type == "cpu":
        np.greater(logits.numpy(), np.float32(level), out=out.numpy())
    else:
        torch.gt(logits, level, out=out)


class _Band:
    """The interpolation along one axis, a (plane, low) matrix with a narrow band, in pieces of some rows.

    Each piece needs few low-resolution values, and those of the next piece lie a fixed step further. So the
    values of all pieces are one view of them, and nothing is gathered. ``step`` is that of one row of the
    plane, in low-resolution values.
    """

    def __init__(self, weights: Tensor, step: float) -> None:
        low = weights.shape[1]
        seen = (weights != 0).int()
        self._first = seen.argmax(1)
        self._last = low - 1 - seen.flip(1).argmax(1)
        nothing = seen.sum(1) == 0  # what lies beside a window
        self._first[nothing], self._last[nothing] = low, -1
        rows = (~nothing).nonzero()[:, 0].tolist() or [0]
        self._start, stop = rows[0], rows[-1] + 1
        self._size, self._step = _piece_of(step)
        count = -(-(stop - self._start) // self._size)
        beyond = count * self._size - (stop - self._start)
        first, last = self._first[self._start : stop], self._last[self._start : stop]
        first = F.pad(first, (0, beyond), value=low).view(count, -1).amin(1)
        last = F.pad(last, (0, beyond), value=-1).view(count, -1).amax(1)
        steps = self._step * torch.arange(count)
        offset = int((first - steps).min())
        self._breadth = max(1, int((last - steps).max()) - offset + 1)
        end = int(steps[-1]) + offset + self._breadth
        # Beyond either end the values are continued by zeros.
        self._padding = (0, 0, max(0, -offset), max(0, end - low))
        self._offset = max(0, offset)
        self._pieces = torch.zeros(count, self._size, self._breadth)
        for number, its in enumerate(F.pad(weights[self._start : stop], (0, 0, 0, beyond)).split(self._size)):
            begin = self._step * number + offset
            inside = slice(max(0, begin), min(low, begin + self._breadth))
            self._pieces[number, :, inside.start - begin : inside.stop - begin] = its[:, inside]

    @classmethod
    @lru_cache(maxsize=128)
    def within(cls, start: int, stop: int, low: int, square: int, inside: int, plane: int) -> _Band:
        """Give that of the low-resolution values from ``start`` to ``stop`` alone; see `_interpolation`.

        Where these end, the plane's values are the mean of those that there are.
        """
        weights = _interpolation(low, square, inside, plane)[:, start:stop]
        shares = weights.sum(1, keepdim=True).clamp(min=_LEAST_SHARE)
        return cls(weights / shares, low * inside / (square * plane))

    def touched(self, low: int, high: int) -> tuple[int, int]:
        """Give the span of the plane's rows to which the low-resolution ones ``low`` to ``high`` add."""
        inside = (self._last >= low) & (self._first <= high)
        where = inside.nonzero()[:, 0]
        # What lies beyond the plane, in the padding of the model's input, contributes nowhere.
        return (int(where[0]), int(where[-1]) + 1) if len(where) else (0, 0)

    def interpolated(self, values: Tensor, start: int, stop: int) -> Iterator[tuple[int, Tensor]]:
        """Interpolate (low, n) values to the plane's rows of a span: some rows, and the first of them."""
        begin, end = (start - self._start) // self._size, -(-(stop - self._start) // self._size)
        padded = F.pad(values, self._padding)[self._offset :]
        windows = padded.unfold(0, self._breadth, self._step)  # (P, n, breadth)
        at_once = max(1, _AT_ONCE // (self._size * values.shape[1]))
        for number in range(begin, end, at_once):
            some = slice(number, min(number + at_once, end))
            rows = torch.bmm(self._pieces[some].to(values.device), windows[some].mT).flatten(0, 1)
            first = self._start + number * self._size
            yield max(start, first), rows[max(start - first, 0) : stop - first]


@lru_cache(maxsize=32)
def _piece_of(step: float) -> tuple[int, int]:
    """Choose so many rows of the plane that they are a whole number of low-resolution ones, or nearly so.

    ``step`` is that of one row in low-resolution ones.
    """
    sizes = range(_LEAST_PIECE, max(_MOST_PIECE, ceil(2 / step)) + 1)

    def drift(size: int) -> float:
        return abs(size * step - max(1, round(size * step))) / size

    size = min(sizes, key=lambda size: (round(drift(size), 9), size))
    return size, max(1, round(size * step))


@lru_cache(maxsize=32)
def _interpolation(low: int, square: int, inside: int, plane: int) -> Tensor:
    """Give (plane, low) weights: ``low`` values go to ``square``, ``inside`` of these to ``plane``."""
    unit = torch.eye(low)[None]  # each channel is one low-resolution value
    scaled = F.interpolate(unit, square, mode="linear", align_corners=False)[..., :inside]
    if inside != plane:
        scaled = F.interpolate(scaled, plane, mode="linear", align_corners=False)
    return scaled[0].T.contiguous()
