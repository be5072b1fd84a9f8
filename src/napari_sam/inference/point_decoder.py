"""Many points of one plane, each a prompt by itself, decoded together for the automatic masks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam.inference.close_ups import CloseUps
from napari_sam.inference.prepared import Points, Prepared
from napari_sam.inference.windows import Windows
from napari_sam.model.mask_decoder import PassingMasks
from napari_sam.model.proposal_head import SUBPIXELS


class PointDecoder:
    """Decode points of one embedding; `Predictor.point_decoder` makes it.

    Points are (N, 2) positions ``(row, column)`` in pixels of the plane. Windows are each point's part of the
    embedding, on which it is decoded; the whole if left out.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._sam = prepared.sam

    @property
    def embedding_side(self) -> int:
        """Tokens along a side of the embedding."""
        return self._sam.config.grid

    @property
    def learned_from_parts(self) -> bool:
        """Whether the model knows parts of planes as well as whole ones, and so may decode in windows."""
        return self._sam.proposal_head is not None

    @property
    def looks_closer(self) -> bool:
        """Whether the model redraws masks from close up."""
        return self._sam.close_up is not None

    @torch.inference_mode()
    def prepare(self) -> None:
        """Compute what all points of the whole embedding share, before several threads ask for it."""
        _ = self._prepared.for_many

    @torch.inference_mode()
    def passing(
        self, points: NDArray[np.floating], least_score: float, windows: Windows | None = None
    ) -> PassingMasks:
        """Decode points, but of the three candidates of each only those that score above ``least_score``."""
        sparse, dense = self._sam.prompt_encoder(self._clicks(points))
        known = self._prepared.for_many if windows is None else None
        return self._sam.mask_decoder.passing(*self._parts(windows), sparse, dense, least_score, known=known)

    @torch.inference_mode()
    def best_passing(
        self, points: NDArray[np.floating], least_score: float, windows: Windows | None = None
    ) -> PassingMasks:
        """Decode points as they are drawn, where the model draws, and of each the best candidate only."""
        sparse, dense = self._sam.prompt_encoder(self._clicks(points))
        if self._sam.config.draws_prompts:
            dense = self._drawn(points, windows)
        return self._sam.mask_decoder.best_passing(*self._parts(windows), sparse, dense, least_score)

    @torch.inference_mode()
    def closer(
        self, points: NDArray[np.floating], logits: Tensor, windows: Windows | None = None
    ) -> tuple[CloseUps, Tensor]:
        """Redraw the (N, h, w) ``logits`` that `best_passing` gave for these points, and score them."""
        origins = None if windows is None else self._origins(windows)
        return self._prepared.closer(logits, self._clicks(points), None, origins)

    def _parts(self, windows: Windows | None) -> tuple[Tensor, Tensor]:
        """Give each window of the features and of the positional encoding."""
        maps = self._prepared.features, self._prepared.image_pe
        return maps if windows is None else (windows.cut(maps[0]), windows.cut(maps[1]))

    def _drawn(self, points: NDArray[np.floating], windows: Windows | None) -> Tensor:
        """Draw points, each as a mask of its own window, and encode these: (N, C, side, side)."""
        xy, labels = self._clicks(points)
        maps = self._prepared.maps
        if windows is not None:
            maps = windows.times(SUBPIXELS).cut(maps)
            xy = xy - self._origins(windows)[:, None]
        drawn = self._sam.draw(maps, (xy, labels))
        assert drawn is not None
        masks: Tensor = self._sam.prompt_encoder.embed_masks(drawn)
        return masks

    def _origins(self, windows: Windows) -> Tensor:
        """Give the (N, 2) first pixels ``(x, y)`` of windows in the model's input."""
        corners = windows.times(self._sam.config.encoder.patch).corners
        return torch.from_numpy(corners[:, ::-1].copy()).to(self._prepared.features.device)

    def _clicks(self, points: NDArray[np.floating]) -> Points:
        """Give points as the model takes them."""
        xy = self._prepared.embedding.geometry.points_to_input(points)[:, None].to(
            self._prepared.features.device
        )
        return xy, torch.ones(len(xy), 1, dtype=torch.int64, device=xy.device)
