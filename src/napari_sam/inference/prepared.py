"""An embedding prepared for prompts: its features, and what is computed from them once for all."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from napari_sam.inference.close_ups import CloseUps
from napari_sam.inference.results import Embedding
from napari_sam.model.factored import FactoredImage
from napari_sam.model.sam import Sam
from napari_sam.model.two_way_transformer import ImageTokens

Points = tuple[Tensor, Tensor]


class Prepared:
    """An embedding on the model's device.

    Threads may share it: one of them computes anew what another has just made.

    Attributes
    ----------
    sam, embedding
        The model, and what it made of a plane.
    image_pe
        What `Sam.image_pe` gave.
    features
        What the mask decoder and the proposal head read.
    """

    def __init__(self, sam: Sam, image_pe: Tensor, embedding: Embedding) -> None:
        self.sam = sam
        self.image_pe = image_pe
        self.embedding = embedding
        self._whole = embedding.features.to(image_pe.device)
        self.features = sam.features(self._whole)

    @cached_property
    def tokens(self) -> ImageTokens:
        """What all prompts without a mask share."""
        return self.sam.look_at(self.features, self.image_pe)

    @cached_property
    def for_many(self) -> FactoredImage | None:
        """What very many prompts without a mask share, where it pays."""
        return self.sam.look_at_for_many(self.features, self.image_pe)

    @cached_property
    def maps(self) -> Tensor:
        """Where the proposal head sees objects."""
        assert self.sam.proposal_head is not None
        maps: Tensor = self.sam.proposal_head(self.features)
        return maps

    @cached_property
    def pixels(self) -> Tensor:
        """(1, 1, h, w) brightness of the plane as it was scaled into the input, without the padding."""
        height, width = self.embedding.geometry.scaled
        return self.sam.pixels(self._whole)[..., :height, :width]

    def draw(self, points: Points | None, boxes: Tensor | None) -> Tensor | None:
        """Draw prompts as masks, where the model does that and there is something to draw."""
        return self.sam.draw(self.maps, points, boxes) if self.sam.config.draws_prompts else None

    def closer(
        self,
        logits: Tensor,
        points: Points | None,
        boxes: Tensor | None = None,
        origins: Tensor | None = None,
    ) -> tuple[CloseUps, Tensor]:
        """Redraw masks from close up and score them, see `Sam.look_closer`; what comes lies on the CPU."""
        squares, drawn, scores = self.sam.look_closer(
            self.pixels, self.features, logits, points, boxes, origins
        )
        return CloseUps(squares.cpu(), drawn.cpu()), scores.cpu()


class LastPrepared:
    """Prepare any embedding, and keep the one that was asked for last.

    It only saves time: each answer is as if it were not there.
    """

    def __init__(self, sam: Sam) -> None:
        self._sam = sam
        with torch.inference_mode():
            self.image_pe = sam.image_pe()
        self._last: Prepared | None = None

    def __call__(self, embedding: Embedding) -> Prepared:
        """Give ``embedding`` prepared."""
        last = self._last  # another thread may put its own there
        if last is None or last.embedding is not embedding:
            last = self._last = Prepared(self._sam, self.image_pe, embedding)
        return last
