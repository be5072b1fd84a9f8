"""The rounds of one training step: a first prompt, then corrective clicks with the previous logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_sam.model.prompt_encoder import NEGATIVE, PADDING, POSITIVE
from napari_sam.model.sam import Sam, brightness
from napari_sam.model.squares import placed
from napari_sam.training.close_ups import CloseUpRound, draw_close_ups
from napari_sam.training.crops import Batch

# The share of corrective rounds in which the previous mask is not shown.
_WITHOUT_MASK = 0.25
# The share of first prompts that are not drawn, as those of a grid of points.
_UNDRAWN = 0.2
# The share of first masks that are not the best to be redrawn: a user may look at the others.
_OTHERS = 0.25


@dataclass(frozen=True, eq=False)
class Round:
    """What one round of ``B`` prompts gave.

    Attributes
    ----------
    logits, scores
        (B, 4, h, w) and (B, 4) of the mask decoder.
    target
        (B, h, w) covered share of each pixel of the logits.
    close_ups
        The masks that a user would see, redrawn, and once more turned.
    """

    logits: Tensor
    scores: Tensor
    target: Tensor
    close_ups: CloseUpRound


class Rounds:
    """Decode the prompts on the first ``decoded`` images of a batch in one call per round.

    All images are encoded, once, and all prompts are drawn: ``maps`` are those of the proposal head, and
    ``drawn`` (B, 1, h, w) and ``target`` (B, h, w) the drawn prompts and the covered share of each pixel.

    Points and boxes share a call: a point and its padding, like a box, are two tokens. The batch lies on
    the device of ``sam``; the ``generator``, of the corrective clicks, on the processor. With ``closely`` the
    close-ups alone learn, the rest of the model is as at inference.
    """

    def __init__(
        self, sam: Sam, batch: Batch, generator: torch.Generator, decoded: int, closely: bool = False
    ) -> None:
        with torch.no_grad() if closely else nullcontext():
            self._encode(sam, batch, generator, decoded)
        self._closely = closely

    def _encode(self, sam: Sam, batch: Batch, generator: torch.Generator, decoded: int) -> None:
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
        self._pixels = brightness(batch.images[:decoded])
        self._which = torch.arange(decoded, device=device).repeat_interleave(objects)
        self._masks = batch.masks[:prompts]

    @property
    def _low_side(self) -> int:
        return 4 * int(self._embedding.shape[-1])

    def run(self, rounds: int) -> Iterator[Round]:
        """Yield what each round gave."""
        encoder, decoder = self._sam.prompt_encoder, self._sam.mask_decoder
        with torch.no_grad() if self._closely else nullcontext():
            # What is drawn has a loss of its own.
            drawn = encoder.embed_masks(self.drawn[: len(self._clicks)].detach())
            undrawn = torch.rand(len(drawn), generator=self._generator) < _UNDRAWN * (not self._closely)
            undrawn = undrawn.to(drawn.device)[:, None, None, None]
            unmasked = torch.where(undrawn, encoder.no_mask(), drawn)
        dense = unmasked
        for number in range(rounds):
            with torch.no_grad() if self._closely else nullcontext():
                # Positions are encoded in full precision: half of it moves them by pixels.
                with torch.autocast(self._embedding.device.type, enabled=False):
                    sparse = self._sparse()
                logits, scores = decoder(self._embedding, self._pe, sparse, dense)
                logits, scores = logits.float(), scores.float()
            shown = self._shown(logits.detach(), scores.detach(), first=number == 0)
            close_ups = self._redraw(shown)
            yield Round(logits, scores, self._target, close_ups)
            if number + 1 < rounds:
                pixel = (self._low_pixel, self._low_pixel)
                size = (shown.shape[-2], shown.shape[-1])
                drawn, squares = (x[: len(shown)] for x in (close_ups.logits.detach(), close_ups.squares))
                seen = placed(drawn, squares, size, pixel)
                # Now and then the clicks come without the mask, as in a batch of points from a file.
                bare = float(torch.rand((), generator=self._generator)) < _WITHOUT_MASK
                with torch.no_grad() if self._closely else nullcontext():
                    dense = unmasked if bare else encoder.embed_masks(seen[:, None])
                self._add_click(seen)

    def _redraw(self, shown: Tensor) -> CloseUpRound:
        """Redraw the masks that a user would see, and some others, with all that the prompts say."""
        points = self._clicks - self._offsets[:, None]
        labels = self._labels.clone()
        labels[:, 0] = torch.where(self._by_box, PADDING, labels[:, 0])
        boxes = self._boxes - self._offsets.repeat(1, 2)
        features = self._embedding[:, : self._sam.config.decoder.width].detach()
        assert self._sam.close_up is not None
        return draw_close_ups(
            self._sam.close_up,
            (self._pixels, self._which, features),
            shown,
            self._low_pixel,
            (points, labels, boxes, self._by_box),
            self._masks,
            self._generator,
        )

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
        """Give the mask that a user would see: the best candidate of a single point, else the single mask.

        Of some first prompts it is another one.
        """
        if not first:
            return logits[:, 0]
        chosen = torch.where(self._by_box, 0, 1 + scores[:, 1:].argmax(1))
        others = torch.randint(logits.shape[1], (len(logits),), generator=self._generator)
        other = torch.rand(len(logits), generator=self._generator) < _OTHERS
        chosen = torch.where(other.to(chosen.device), others.to(chosen.device), chosen)
        return logits[torch.arange(len(logits)), chosen]

    def _add_click(self, shown: Tensor) -> None:
        """Click at random where the mask is wrong: positive on a missed, negative on a surplus pixel."""
        truth = self._target > 0.5
        wrong = (shown > 0) != truth
        # Without an error, a further click on the object itself; anywhere, if it has no such pixel either.
        erring = wrong.any(-1).any(-1)[:, None, None]
        weights = torch.where(erring, wrong, truth).flatten(1).float() + 1e-6
        # Where the sum of the weights passes a random share of the whole; so nothing waits for the device.
        sums = weights.cumsum(1)
        share = torch.rand(len(sums), 1, generator=self._generator).to(sums.device)
        index = torch.searchsorted(sums, share * sums[:, -1:])[:, 0].clamp(max=weights.shape[1] - 1)
        label = torch.where(truth.flatten(1).gather(1, index[:, None]), POSITIVE, NEGATIVE)
        row, column = index // self._low_side, index % self._low_side
        inside = torch.stack([column, row], 1) * self._low_pixel + (self._low_pixel - 1) / 2
        click = inside + self._offsets
        self._clicks = torch.cat([self._clicks, click[:, None]], 1)
        self._labels = torch.cat([self._labels, label], 1)


def _crop_pe(sam: Sam, corners: Tensor, side: int) -> Tensor:
    """Cut each crop's part out of the positional encoding of the whole square: (I, C, side, side)."""
    whole = sam.prompt_encoder.dense_pe()[0]
    along = torch.arange(side, device=corners.device)
    columns, rows = corners[:, :1] + along, corners[:, 1:] + along
    return whole[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)
