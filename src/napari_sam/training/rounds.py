"""The rounds of one training step: a first prompt, then corrective clicks with the previous logits."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_sam.model.prompt_encoder import NEGATIVE, PADDING, POSITIVE, drawn_boxes
from napari_sam.model.sam import Sam
from napari_sam.training.crops import Batch

# The share of corrective rounds in which the previous mask is not shown.
_WITHOUT_MASK = 0.25


class Rounds:
    """Decode all prompts of a batch in one call per round; the images are encoded once.

    Points and boxes share a call: a point and its padding, like a box, are two tokens. The batch lies on
    the device of ``sam``; the ``generator``, of the corrective clicks, on the processor.
    """

    def __init__(self, sam: Sam, batch: Batch, generator: torch.Generator) -> None:
        self._sam = sam
        self._generator = generator
        patch = sam.config.encoder.patch
        objects = len(batch.masks) // len(batch.images)
        side = batch.images.shape[-1]
        device = batch.images.device
        corners = batch.offsets // patch
        self.embedded = sam.image_encoder(sam.normalise(batch.images), corners=corners)
        self._embedding = self.embedded.repeat_interleave(objects, 0)
        with torch.autocast(device.type, enabled=False):
            pe = _crop_pe(sam, corners, side // patch)
        self._pe = pe.repeat_interleave(objects, 0)
        self._offsets = batch.offsets.float().repeat_interleave(objects, 0)
        self._target = F.avg_pool2d(batch.masks.float()[:, None], side // self._low_side)[:, 0]
        self._clicks = batch.points[:, None]  # (B, n, 2)
        self._labels = torch.full(self._clicks.shape[:2], POSITIVE, device=device)
        self._boxes = batch.boxes
        self._by_box = batch.by_box
        self._low_pixel = patch / 4

    @property
    def _low_side(self) -> int:
        return 4 * int(self._embedding.shape[-1])

    def run(self, rounds: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (logits, scores, target) of each round; see `prompt_losses` for the shapes."""
        encoder, decoder = self._sam.prompt_encoder, self._sam.mask_decoder
        unmasked = self._without_mask()
        dense = unmasked
        for number in range(rounds):
            # Positions are encoded in full precision: half of it moves them by pixels.
            with torch.autocast(self._embedding.device.type, enabled=False):
                sparse = self._sparse()
            logits, scores = decoder(self._embedding, self._pe, sparse, dense)
            logits, scores = logits.float(), scores.float()
            yield logits, scores, self._target
            if number + 1 < rounds:
                shown = self._shown(logits.detach(), scores.detach(), first=number == 0)
                # Now and then the clicks come without the mask, as in a batch of points from a file.
                bare = float(torch.rand((), generator=self._generator)) < _WITHOUT_MASK
                dense = unmasked if bare else encoder.embed_masks(shown[:, None])
                self._add_click(shown)

    def _sparse(self) -> Tensor:
        """Encode the prompts: (B, n + 1, C); a box stands in for the first point and the padding."""
        encoder = self._sam.prompt_encoder
        padding = torch.zeros_like(self._clicks[:, :1])
        labels = torch.cat([self._labels, torch.full_like(self._labels[:, :1], PADDING)], 1)
        by_point = encoder.embed_points(torch.cat([self._clicks, padding], 1), labels)
        corrections = encoder.embed_points(self._clicks[:, 1:], self._labels[:, 1:])
        by_box = torch.cat([corrections, encoder.embed_boxes(self._boxes)], 1)
        return torch.where(self._by_box[:, None, None], by_box, by_point)

    def _without_mask(self) -> Tensor:
        """Give the dense map of the prompts that bring no mask: boxes are drawn, as at inference."""
        encoder = self._sam.prompt_encoder
        boxes = self._boxes - self._offsets.repeat(1, 2)
        drawn = encoder.embed_masks(drawn_boxes(boxes, self._low_side, self._low_pixel))
        return torch.where(self._by_box[:, None, None, None], drawn, encoder.no_mask())

    def _shown(self, logits: Tensor, scores: Tensor, first: bool) -> Tensor:
        """Give the mask that a user would see: the best candidate of a single point, else the single mask."""
        best = logits[torch.arange(len(logits)), 1 + scores[:, 1:].argmax(1)]
        if not first:
            return logits[:, 0]
        return torch.where(self._by_box[:, None, None], logits[:, 0], best)

    def _add_click(self, shown: Tensor) -> None:
        """Click at random where the mask is wrong: positive on a missed, negative on a surplus pixel."""
        truth = self._target > 0.5
        wrong = (shown > 0) != truth
        # Without an error, a further click on the object itself; anywhere, if it has no such pixel either.
        erring = wrong.any(-1).any(-1)[:, None, None]
        weights = torch.where(erring, wrong, truth).flatten(1).float().cpu() + 1e-9
        index = torch.multinomial(weights, 1, generator=self._generator)[:, 0].to(shown.device)
        label = torch.where(truth.flatten(1).gather(1, index[:, None]), POSITIVE, NEGATIVE)
        row, column = index // self._low_side, index % self._low_side
        inside = torch.stack([column, row], 1) * self._low_pixel + (self._low_pixel - 1) / 2
        click = inside + self._offsets
        self._clicks = torch.cat([self._clicks, click[:, None]], 1)
        self._labels = torch.cat([self._labels, label], 1)


def _crop_pe(sam: Sam, corners: Tensor, side: int) -> Tensor:
    """Cut each crop's part out of the positional encoding of the whole square: (I, C, side, side)."""
    whole = sam.prompt_encoder.dense_pe()[0]
    return torch.stack([whole[:, y : y + side, x : x + side] for x, y in corners.tolist()])
