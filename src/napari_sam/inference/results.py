"""What the predictor gives: the embedding of a plane, and the masks of a prompt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam.inference.close_ups import CloseUps, mask_of
from napari_sam.inference.coordinates import Geometry
from napari_sam.inference.fixed_point import rounded
from napari_sam.inference.masks import upscale_masks
from napari_sam.weights.loading import ModelIdentity


@dataclass(frozen=True, eq=False)
class Embedding:
    """What the image encoder gave for one plane.

    Attributes
    ----------
    features
        (1, C, grid, grid) float tensor.
    geometry
        The plane's size and its size in the model's input.
    model
        The weights that made it; another model's predictor refuses it.
    """

    features: Tensor
    geometry: Geometry
    model: ModelIdentity

    def rounded(self) -> Embedding:
        """Give this embedding in the precision of the stores, so that results depend on no cache."""
        return replace(self, features=rounded(self.features[0])[None])

    @property
    def nbytes(self) -> int:
        """Bytes that the features occupy in memory."""
        return self.features.nbytes


@dataclass(frozen=True, eq=False)
class Prediction:
    """Masks for one prompt.

    Attributes
    ----------
    scores
        (M,) the model's own estimates of each mask's IoU with the object.
    logits
        (M, h, w) low-resolution logits: the mask prompt of a next round.
    geometry
        The plane's size and its size in the model's input.
    close_ups
        The masks as they were redrawn from close up, on the CPU, where the model does that; the logits are
        then these in low resolution.
    """

    scores: NDArray[np.float32]
    logits: NDArray[np.float32]
    geometry: Geometry
    close_ups: CloseUps | None = None
    _upscaled: dict[int, NDArray[np.bool_]] = field(default_factory=dict, init=False, repr=False)

    @property
    def best(self) -> int:
        """Index of the mask with the highest score."""
        return int(self.scores.argmax())

    def mask(self, number: int) -> NDArray[np.bool_]:
        """Give one (H, W) boolean mask in the plane's pixels, upscaled when it is first asked for."""
        if number not in self._upscaled:
            if self.close_ups is None:
                logits = torch.from_numpy(self.logits[number])
                mask = upscale_masks(logits[None], self.geometry)[0].numpy()
            else:
                mask = mask_of(self.close_ups.one(number), self.geometry)
            self._upscaled[number] = mask
        return self._upscaled[number]

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """All (M, H, W) boolean masks, in the plane's pixels."""
        return np.stack([self.mask(number) for number in range(len(self.scores))])
