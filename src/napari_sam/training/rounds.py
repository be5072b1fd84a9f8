"""The rounds of one training step: a first prompt, then corrective clicks with the previous logits."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_sam.model.prompt_encoder import NEGATIVE, PADDING, POSITIVE
from napari_sam.model.sam import Sam
from napari_sam.training.crops import Batch

# The share of corrective rounds in which the previous mask is not shown.
_WITHOUT_MASK = 0.25
# The share of first prompts that are not drawn, as those of a grid of points.
_UNDRAWN = 0.2


class Rounds:
    """Decode the prompts on the first ``decoded`` images of a batch in one call per round.

    All images are encoded, once, and all prompts are drawn: ``maps`` are those of the proposal head, and
    ``drawn`` (B, 1, h, w) and ``target`` (B, h, w) the drawn prompts and the covered share of each pixel.

    Points and boxes share a call: a point and its padding, like a box, are two tokens. The batch lies on
    the device of ``sam``; the ``generator``, of the corrective clicks, on the processor.
    """

    def __init__(self, sam: Sam, batch: Batch, generator: torch.Generator, decoded: int) -> None:
        self._sam = sam
        self._generator = generator
        patch = sam.config.encoder.patch
        objects = len(batch.masks) // len(batch.images)
        side = batch.images.shape[-1]
        device = batch.images.device
        corners = batch.offsets // patch
        embedded = sam.image_encoder(sam.normalise(batch.images), corners=corners)
        assert sam.proposal_head is not None
        self.maps = sam.proposal_head(embedded).float()
        self.target = F.avg_pool2d(batch.masks.float()[:, None], side // (4 * embedded.shape[-1]))[:, 0]
        offsets = batch.offsets.float().repeat_interleave(objects, 0)
        self.drawn = self._draw(batch, offsets, self.maps.repeat_interleave(objects, 0))
        with torch.autocast(device.type, enabled=False):
            pe = _crop_pe(sam, corners[:decoded], side // patch)
        self._embedding, self._pe = (x[:decoded].repeat_interleave(objects, 0) for x in (embedded, pe))
        prompts = decoded * objects
        self._offsets = offsets[:prompts]
        self._target = self.target[:prompts]
        self._clicks = batch.points[:prompts, None]  # (B, n, 2)
        self._labels = torch.full(self._clicks.shape[:2], POSITIVE, device=device)
        self._boxes = batch.boxes[:prompts]
        self._by_box = batch.by_box[:prompts]
        self._low_pixel = patch / 4

    @property
    def _low_side(self) -> int:
        return 4 * int(self._embedding.shape[-1])

    def run(self, rounds: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (logits, scores, target) of each round; see `prompt_losses` for the shapes."""
        encoder, decoder = self._sam.prompt_encoder, self._sam.mask_decoder
        # What is drawn has a loss of its own.
        drawn = encoder.embed_masks(self.drawn[: len(self._clicks)].detach())
        undrawn = torch.rand(len(drawn), generator=self._generator) < _UNDRAWN
        undrawn = undrawn.to(drawn.device)[:, None, None, None]
        unmasked = torch.where(undrawn, encoder.no_mask(), drawn)
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

    def _draw(self, batch: Batch, offsets: Tensor, maps: Tensor) -> Tensor:
        """Draw all first prompts as at inference, one map (B, 5, h, w) for each: (B, 1, h, w)."""
        points = (batch.points - offsets)[:, None]
        labels = torch.full(points.shape[:2], POSITIVE, device=maps.device)
        with torch.autocast(maps.device.type, enabled=False):
            by_point = self._sam.draw(maps, (points, labels))
            by_box = self._sam.draw(maps, None, batch.boxes - offsets.repeat(1, 2))
        assert by_point is not None and by_box is not None
        return torch.where(batch.by_box[:, None, None, None], by_box, by_point)

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
