"""SAM's mask decoder: a two-way transformer between prompt tokens and the image embedding.

Kirillov et al., "Segment Anything" (2023), section 3 and appendix A.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from napari_sam.model.factored import FactoredImage
from napari_sam.model.layers import MLP
from napari_sam.model.two_way_transformer import (
    DecoderConfig,
    ImageTokens,
    TwoWayTransformer,
    buffers_like,
    keeps_in_cache,
)
from napari_sam.model.upscaling import MadeTokens, UpscaledTokens, Upscaling, joined

# One token for the mask of an unambiguous prompt, then three for whole, part and subpart.
MASK_TOKENS = 4
SINGLE = 0
CANDIDATES = range(1, MASK_TOKENS)
# Prompts that are decoded at once on a GPU.
_PROMPTS_AT_ONCE = 64
# On a CPU prompts are decoded together whose image tokens are so few, up to so many tokens in all.
_FEW_TOKENS, _TOKENS_TOGETHER = 1024, 8192
# From so many prompts on one image it pays to compute beforehand what they share.
_MANY_PROMPTS = 4


@dataclass(frozen=True, eq=False)
class PassingMasks:
    """The masks of a batch of prompts whose score is high enough.

    Attributes
    ----------
    prompts, candidates
        (K,) which prompt of the batch and which of its four masks each is.
    scores
        (K,) estimates of the IoU with the object.
    logits
        (K, 4 h, 4 w) mask logits.
    """

    prompts: Tensor
    candidates: Tensor
    scores: Tensor
    logits: Tensor

    def of(self, chosen: Tensor) -> PassingMasks:
        """Give those that a (K,) boolean tensor chooses."""
        chosen = chosen.to(self.prompts.device)
        return PassingMasks(
            self.prompts[chosen], self.candidates[chosen], self.scores[chosen], self.logits[chosen]
        )


class MaskDecoder(nn.Module):
    """Predict four masks, each with its estimated IoU, from an image embedding and prompt tokens."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        width = config.width
        self.transformer = TwoWayTransformer(config)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, width)
        self.output_upscaling = Upscaling(width)
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(width, width, width // 8, 3) for _ in range(MASK_TOKENS)
        )
        self.iou_prediction_head = MLP(width, config.score_hidden, MASK_TOKENS, 3)

    def forward(
        self,
        embedding: Tensor,
        embedding_pe: Tensor,
        sparse: Tensor,
        dense: Tensor,
        candidates: Sequence[int] = range(MASK_TOKENS),
        known: ImageTokens | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode ``B`` prompts.

        Parameters
        ----------
        embedding, embedding_pe
            (1 or B, C, h, w) image embedding and its positional encoding. The embedding may have fine
            channels after these: (1 or B, 2 C, h, w).
        sparse
            (B, N, C) prompt tokens.
        dense
            (1 or B, C, h or 1, w or 1) map of the mask prompt.
        candidates
            Which ``M`` of the four masks are wanted. The first is for unambiguous prompts, the other three
            are candidates for an ambiguous one.
        known
            What `look_at` gave for the same embedding and dense map.

        Returns
        -------
        logits, scores
            (B, M, 4 h, 4 w) mask logits and (B, M) estimates of each mask's IoU with the object.
        """
        size = (embedding.shape[-2], embedding.shape[-1])
        embedding, fine = self._parted(embedding)
        logits, scores = [], []
        done = 0
        for tokens, image in self._transformed(embedding, embedding_pe, sparse, dense, candidates, known):
            its_fine = _of_prompts(fine, slice(done, done + len(tokens)))
            logits.append(
                self.output_upscaling.logits(image, its_fine, self._filters(tokens, candidates), size)
            )
            scores.append(self.iou_prediction_head(tokens[:, 0])[:, list(candidates)])
            done += len(tokens)
        return joined(logits), joined(scores)

    def passing(
        self,
        embedding: Tensor,
        embedding_pe: Tensor,
        sparse: Tensor,
        dense: Tensor,
        least_score: float,
        candidates: Sequence[int] = CANDIDATES,
        known: FactoredImage | None = None,
    ) -> PassingMasks:
        """Decode ``B`` prompts, but only those masks whose score is above ``least_score``.

        The scores are known before a mask is upscaled, which is a third of the work. For the parameters see
        `forward`; ``embedding`` and ``embedding_pe`` may be one map for each prompt. ``known`` is what
        `look_at_for_many` gave for the same embedding and dense map.
        """
        size = (embedding.shape[-2], embedding.shape[-1])
        embedding, fine = self._parted(embedding)
        wanted = torch.tensor(candidates, device=embedding.device)
        prompts, chosen, scores, logits = [], [], [], []
        first = 0
        for tokens, image in self._transformed(
            embedding, embedding_pe, sparse, dense, candidates, many=known
        ):
            said = self.iou_prediction_head(tokens[:, 0])[:, wanted]
            filters = self._filters(tokens, candidates)
            for row in (said > least_score).any(1).nonzero()[:, 0].tolist():
                good = (said[row] > least_score).nonzero()[:, 0]
                its_fine = _of_prompts(fine, slice(first + row, first + row + 1))
                its_image = image.of(slice(row, row + 1))
                logits.append(
                    self.output_upscaling.logits(its_image, its_fine, filters[row, good][None], size)[0]
                )
                prompts.append(torch.full_like(good, first + row))
                chosen.append(wanted[good])
                scores.append(said[row, good])
            first += len(tokens)
        return _passing(embedding, prompts, chosen, scores, logits)

    def best_passing(
        self, embedding: Tensor, embedding_pe: Tensor, sparse: Tensor, dense: Tensor, least_score: float
    ) -> PassingMasks:
        """Decode ``B`` prompts, but of each only the candidate with the highest score, if it passes.

        For the parameters see `passing`.
        """
        size = (embedding.shape[-2], embedding.shape[-1])
        embedding, fine = self._parted(embedding)
        prompts, chosen, scores, logits = [], [], [], []
        first = 0
        for tokens, image in self._transformed(embedding, embedding_pe, sparse, dense, CANDIDATES):
            best, which = self.iou_prediction_head(tokens[:, 0])[:, list(CANDIDATES)].max(1)
            rows = (best > least_score).nonzero()[:, 0]
            if len(rows):
                every = torch.arange(len(rows), device=rows.device)
                filters = self._filters(tokens[rows], CANDIDATES)[every, which[rows]]
                its_image = image if len(rows) == len(tokens) else image.of(rows)
                its_fine = _of_prompts(fine, first + rows)
                logits.append(self.output_upscaling.logits(its_image, its_fine, filters[:, None], size)[:, 0])
                prompts.append(first + rows)
                chosen.append(which[rows] + CANDIDATES.start)
                scores.append(best[rows])
            first += len(tokens)
        return _passing(embedding, prompts, chosen, scores, logits)

    def look_at(self, embedding: Tensor, embedding_pe: Tensor, dense: Tensor) -> ImageTokens:
        """Compute what all prompts with one (1, C, h or 1, w or 1) dense map on one embedding share."""
        embedding, _ = self._parted(embedding)
        values, pe, change = (x.flatten(2).transpose(1, 2) for x in (embedding, embedding_pe, dense))
        return self.transformer.look_at(values + change, pe)  # (1, h * w, C)

    def look_at_for_many(
        self, embedding: Tensor, embedding_pe: Tensor, dense: Tensor
    ) -> FactoredImage | None:
        """Compute what very many such prompts share; None where that does not pay, as on a graphics card."""
        if not keeps_in_cache(embedding):
            return None
        embedding, _ = self._parted(embedding)
        values, pe, change = (x.flatten(2)[0].T for x in (embedding, embedding_pe, dense))
        return FactoredImage(self.transformer, values + change, pe, self.output_upscaling.first)

    def _parted(self, embedding: Tensor) -> tuple[Tensor, Tensor | None]:
        """Part an embedding from its fine channels, which become (1 or B, h * w, C): C / 4 per subpixel."""
        width = self.mask_tokens.weight.shape[1]
        if embedding.shape[1] == width:
            return embedding, None
        return embedding[:, :width], embedding[:, width:].flatten(2).transpose(1, 2)

    def _transformed(
        self,
        embedding: Tensor,
        embedding_pe: Tensor,
        sparse: Tensor,
        dense: Tensor,
        candidates: Sequence[int],
        known: ImageTokens | None = None,
        many: FactoredImage | None = None,
    ) -> Iterator[tuple[Tensor, UpscaledTokens]]:
        """Run the transformer on a few prompts at a time: (b, 1 + M, C) tokens and the image tokens.

        The tokens are that of the scores and those of the ``M`` candidates; of the prompt's own nothing is
        asked at the end. The image tokens are overwritten when the next ones are asked for.
        """
        b = len(sparse)
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(b, -1, -1), sparse], dim=1)
        asked = [0, *(1 + candidate for candidate in candidates)]
        shared = max(len(embedding), len(embedding_pe), len(dense)) == 1
        if shared and b >= _MANY_PROMPTS:
            many = many or self.look_at_for_many(embedding, embedding_pe, dense)
            if many is not None and many.suits(tokens):
                yield from many(tokens, asked)
                return
            known = known or self.look_at(embedding, embedding_pe, dense)
        values, pe = (x.flatten(2).transpose(1, 2) for x in (embedding, embedding_pe))  # (1 or B, h * w, C)
        change = dense.flatten(2).transpose(1, 2)
        few = values.shape[1] <= _FEW_TOKENS
        if few or not keeps_in_cache(tokens):
            together = _TOKENS_TOGETHER // values.shape[1] if keeps_in_cache(tokens) else _PROMPTS_AT_ONCE
            if torch.is_grad_enabled():
                together = b  # what is learned from is kept anyway
            if known is None:
                values = values + change
                known = ImageTokens(values, values + pe, pe)
            for first in range(0, b, together):
                some = slice(first, first + together)
                yield self._made(*self.transformer(known.of(some), tokens[some], None, asked))
            return
        values_0, keys_0, values_1, keys_1 = buffers_like(values)
        for i in range(b):
            its_values, its_change, its_pe = (
                x if len(x) == 1 else x[i : i + 1] for x in (values, change, pe)
            )
            image = known or ImageTokens(values_0, keys_0, its_pe)
            if known is None and (i == 0 or not shared):
                torch.add(its_values, its_change, out=image.values)
                torch.add(image.values, its_pe, out=image.keys)
            room = ImageTokens(values_1, keys_1, its_pe)
            yield self._made(*self.transformer(image, tokens[i : i + 1], room, asked))

    def _made(self, tokens: Tensor, values: Tensor) -> tuple[Tensor, MadeTokens]:
        """Say how (b, h * w, C) image tokens are upscaled."""
        return tokens, MadeTokens(values, *self.output_upscaling.first)

    def _filters(self, tokens: Tensor, candidates: Sequence[int]) -> Tensor:
        """Make the (B, M, C / 8) filters that give the masks of ``candidates``, of (B, 1 + M, C) tokens."""
        its = (self.output_hypernetworks_mlps[i] for i in candidates)
        return torch.stack([mlp(tokens[:, n]) for n, mlp in enumerate(its, 1)], dim=1)


def _passing(
    embedding: Tensor,
    prompts: list[Tensor],
    candidates: list[Tensor],
    scores: list[Tensor],
    logits: list[Tensor],
) -> PassingMasks:
    """Join what passed of each part; of none, empty tensors."""
    if not logits:
        none = torch.empty(0, dtype=torch.int64, device=embedding.device)
        sides = [4 * side for side in embedding.shape[-2:]]
        return PassingMasks(none, none, embedding.new_empty(0), embedding.new_empty(0, *sides))
    return PassingMasks(torch.cat(prompts), torch.cat(candidates), torch.cat(scores), torch.cat(logits))


def _of_prompts(fine: Tensor | None, prompts: slice | Tensor) -> Tensor | None:
    """Give the fine features of some prompts, of which each may have its own."""
    return fine if fine is None or len(fine) == 1 else fine[prompts]
