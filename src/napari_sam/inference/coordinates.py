"""The one place that converts between the plane's pixels, ``(row, column)``, and the model's ``(x, y)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """How a plane is scaled into the model's square input.

    Attributes
    ----------
    original
        (height, width) of the plane in pixels.
    scaled
        (height, width) after its longer side became ``image_size``; the rest of the square is padding.
    image_size
        Side of the model's input in pixels.
    centred
        Whether the middle of a pixel stays its middle, as it does when the image is scaled. The official code
        only multiplies: in a plane that is enlarged by s its prompts lie (s - 1) / 2 pixels of the input too
        far up and left, and its checkpoints were trained like that.
    """

    original: tuple[int, int]
    scaled: tuple[int, int]
    image_size: int
    centred: bool = False

    @classmethod
    def fit(cls, original: tuple[int, int], image_size: int, centred: bool = False) -> Geometry:
        """Scale the longer side to ``image_size``, the other alike (rounded, at least one pixel)."""
        scale = image_size / max(original)
        height, width = (max(1, int(side * scale + 0.5)) for side in original)
        return cls(original, (height, width), image_size, centred)

    def scale_image(self, plane: NDArray[np.uint8]) -> Tensor:
        """Resize a (H, W) or (H, W, 3) plane, bilinear with antialiasing: (1, 3, h, w) in 0-255.

        Pillow's resampling of 8-bit images is what the official checkpoints were trained and are run with.
        """
        height, width = self.scaled
        image = Image.fromarray(np.ascontiguousarray(plane))
        scaled = np.array(image.resize((width, height), Image.Resampling.BILINEAR))
        channels_last = scaled[..., None] if scaled.ndim == 2 else scaled
        return torch.from_numpy(channels_last).permute(2, 0, 1).expand(3, -1, -1)[None]

    def points_to_input(self, points: Sequence[tuple[float, float]] | NDArray[np.floating]) -> Tensor:
        """Convert (N, 2) positions ``(row, column)`` to (N, 2) float32 ``(x, y)`` of the input."""
        rows_columns = np.asarray(points, np.float64).reshape(-1, 2)
        scaled = (rows_columns + self._middle) * self._scale - self._middle
        return torch.from_numpy(np.ascontiguousarray(scaled[:, ::-1])).float()

    def points_from_input(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Convert (N, 2) positions ``(row, column)`` of the input to those of the plane."""
        rows_columns = np.asarray(points, np.float64).reshape(-1, 2)
        return (rows_columns + self._middle) / self._scale - self._middle

    def box_to_input(self, box: Sequence[float]) -> Tensor:
        """Convert ``(row0, column0, row1, column1)`` to (4,) float32 ``(x0, y0, x1, y1)``."""
        return self.points_to_input(np.asarray(box, np.float64).reshape(2, 2)).reshape(4)

    def mask_to_input(self, mask: NDArray[np.bool_], side: int) -> Tensor:
        """Turn a (H, W) mask of the plane into (side, side) logits for a mask prompt.

        Inside is +10, outside -10 and the padding too, with linear slopes at the border: the range of the
        logits that the mask decoder itself gives, and that it was trained to be refined from. Of a mask that
        is too thin to cover half of any logit's square those are inside that it covers most.
        """
        height, width = (max(1, round(s * side / self.image_size)) for s in self.scaled)
        image = Image.fromarray(mask.astype(np.float32))
        covered = np.array(image.resize((width, height), Image.Resampling.BILINEAR))
        if 0 < (most := covered.max()) <= 0.5:
            covered /= most
        logits = np.full((side, side), -10, np.float32)
        logits[:height, :width] = covered * 20 - 10
        return torch.from_numpy(logits)

    @property
    def _middle(self) -> float:
        """How far before the middle of the first pixel the scaling begins."""
        return 0.5 if self.centred else 0.0

    @property
    def _scale(self) -> NDArray[np.float64]:
        """Pixels of the input for each of the plane, along rows and columns."""
        scale: NDArray[np.float64] = np.array(self.scaled) / np.array(self.original)
        return scale
