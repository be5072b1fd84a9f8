"""Masks that were redrawn from close up, and their way back into the plane's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam.inference.coordinates import Geometry
from napari_sam.model.squares import placed


@dataclass(frozen=True, eq=False)
class CloseUps:
    """Logits of squares of the model's input; beside each is no mask.

    Attributes
    ----------
    squares
        (M, 3) ``(x, y, side)`` in pixels of the input.
    logits
        (M, 64, 64) of these squares.
    """

    squares: Tensor
    logits: Tensor

    def one(self, number: int) -> CloseUps:
        """Give one of them by itself."""
        return CloseUps(self.squares[number : number + 1], self.logits[number : number + 1])

    def low_resolution(self, side: int, image_size: int) -> Tensor:
        """Give them as logits of the whole input, as mask prompts are: (M, side, side)."""
        pixel = image_size / side
        return placed(self.logits, self.squares, (side, side), (pixel, pixel))


def window_of(close_up: CloseUps, geometry: Geometry) -> tuple[Tensor, tuple[int, int]]:
    """Give the logits of a single close-up in the plane's pixels: (a, b), and the first pixel.

    The window has all pixels of the plane whose middles lie in the square; it may have none.
    """
    x, y, side = close_up.squares[0].tolist()
    pixel = (geometry.scaled[0] / geometry.original[0], geometry.scaled[1] / geometry.original[1])
    first, size = [], []
    for start, step, length in zip((y, x), pixel, geometry.original, strict=True):
        low = max(0, int(np.ceil(start / step - 0.5)))
        high = min(length, int(np.ceil((start + side) / step - 0.5)))
        first.append(low)
        size.append(max(0, high - low))
    corner = (first[0], first[1])
    if 0 in size:
        return torch.zeros(0, 0), corner
    return placed(close_up.logits, close_up.squares, (size[0], size[1]), pixel, corner)[0], corner


def mask_of(close_up: CloseUps, geometry: Geometry) -> NDArray[np.bool_]:
    """Give the (H, W) boolean mask of a single close-up."""
    mask = np.zeros(geometry.original, np.bool_)
    window, (row, column) = window_of(close_up, geometry)
    mask[row : row + window.shape[0], column : column + window.shape[1]] = (window > 0).numpy()
    return mask
