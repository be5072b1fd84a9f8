"""SAM's mask decoder: a two-way transformer between prompt tokens and the image embedding.

Kirillov et al., "Segment Anything" (2023), section 3 and appendix A.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_sam.model.factored import FactoredImage
from napari_sam.model.layers import MLP, LayerNorm2d, gelu, project
from napari_sam.model.two_way_transformer import (
    OWN_TOKENS,
    DecoderConfig,
    ImageTokens,
    TwoWayTransformer,
    buffers_like,
    keeps_in_cache,
    products_of,
    strips,
)

# One token for the mask of an unambiguous prompt, then three for whole, part and subpart.
MASK_TOKENS = OWN_TOKENS - 1
SINGLE = 0
CANDIDATES = range(1, MASK_TOKENS)
# Pixels of the logits, and of mask prompts, per token along one side.
UPSCALING = 4
# Prompts that are decoded at once on a GPU.
_PROMPTS_AT_ONCE = 64
# On a CPU prompts are decoded together whose image tokens are so few, up to so many tokens in all.
_FEW_TOKENS, _TOKENS_TOGETHER = 1024, 8192
# From so many prompts on one image it pays to project its tokens for the first layer beforehand.
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


class UpscaledTokens(Protocol):
    """Image tokens of some prompts that are asked for as they are behind the first upscaling."""

    def of(self, prompts: Tensor | slice) -> UpscaledTokens:
        """Give those of some of the prompts."""
        ...

    def upscaled(self) -> Iterator[tuple[slice, Tensor]]:
        """Make the tokens, some at a time: which of each prompt, and they with their subpixels, (B, m, C)."""
        ...


@dataclass(frozen=True, eq=False)
class _MadeTokens:
    """(B, h * w, C) image tokens and how they are upscaled."""

    values: Tensor
    weight: Tensor
    bias: Tensor

    def of(self, prompts: Tensor | slice) -> _MadeTokens:
        return _MadeTokens(self.values[prompts], self.weight, self.bias)

    def upscaled(self) -> Iterator[tuple[slice, Tensor]]:
        # A few at a time, whose many subpixels stay in the processor's cache.
        for some in strips(self.values):
            yield some, project(self.values[:, some], self.weight, self.bias)


class MaskDecoder(nn.Module):
    """Predict four masks, each with its estimated IoU, from an image embedding and prompt tokens."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        width = config.width
        self.transformer = TwoWayTransformer(config)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, 2, stride=2),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, 2, stride=2),
            nn.GELU(),
        )
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
        for tokens, image in self._transformed(embedding, embedding_pe, sparse, dense, known):
            its_fine = _of_prompts(fine, slice(done, done + len(tokens)))
            logits.append(self._upscaled_product(image, its_fine, self._filters(tokens, candidates), size))
            scores.append(self.iou_prediction_head(tokens[:, 0])[:, list(candidates)])
            done += len(tokens)
        return _joined(logits), _joined(scores)

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
        for tokens, image in self._transformed(embedding, embedding_pe, sparse, dense, many=known):
            said = self.iou_prediction_head(tokens[:, 0])[:, wanted]
            filters = self._filters(tokens, candidates)
            for row in (said > least_score).any(1).nonzero()[:, 0].tolist():
                good = (said[row] > least_score).nonzero()[:, 0]
                its_fine = _of_prompts(fine, slice(first + row, first + row + 1))
                its_image = image.of(slice(row, row + 1))
                logits.append(self._upscaled_product(its_image, its_fine, filters[row, good][None], size)[0])
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
        for tokens, image in self._transformed(embedding, embedding_pe, sparse, dense):
            best, which = self.iou_prediction_head(tokens[:, 0])[:, list(CANDIDATES)].max(1)
            rows = (best > least_score).nonzero()[:, 0]
            if len(rows):
                every = torch.arange(len(rows), device=rows.device)
                filters = self._filters(tokens[rows], CANDIDATES)[every, which[rows]]
                its_image = image if len(rows) == len(tokens) else image.of(rows)
                its_fine = _of_prompts(fine, first + rows)
                logits.append(self._upscaled_product(its_image, its_fine, filters[:, None], size)[:, 0])
                prompts.append(first + rows)
                chosen.append(which[rows] + CANDIDATES.start)
                scores.append(best[rows])
            first += len(tokens)
        return _passing(embedding, prompts, chosen, scores, logits)

    def lay_out(self) -> None:
        """Keep the weights of the upscaling in memory as it reads them; their values and shapes stay."""
        for layer in self.output_upscaling:
            if isinstance(layer, nn.ConvTranspose2d):
                layer.weight.data = layer.weight.data.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)

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
        return FactoredImage(self.transformer, values + change, pe, self._first_upscaling())

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
        known: ImageTokens | None = None,
        many: FactoredImage | None = None,
    ) -> Iterator[tuple[Tensor, UpscaledTokens]]:
        """Run the transformer on a few prompts at a time: (b, 5, C) tokens and the image tokens.

        The image tokens are overwritten when the next ones are asked for.
        """
        b = len(sparse)
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(b, -1, -1), sparse], dim=1)
        shared = max(len(embedding), len(embedding_pe), len(dense)) == 1
        if shared and b >= _MANY_PROMPTS:
            many = many or self.look_at_for_many(embedding, embedding_pe, dense)
            if many is not None and many.suits(tokens):
                yield from many(tokens)
                return
            known = known or self.look_at(embedding, embedding_pe, dense)
        values, pe = (x.flatten(2).transpose(1, 2) for x in (embedding, embedding_pe))  # (1 or B, h * w, C)
        change = dense.flatten(2).transpose(1, 2)
        few = values.shape[1] <= _FEW_TOKENS
        if few or not keeps_in_cache(tokens):
            together = _TOKENS_TOGETHER // values.shape[1] if keeps_in_cache(tokens) else _PROMPTS_AT_ONCE
            if known is None:
                values = values + change
                known = ImageTokens(values, values + pe, pe)
            for first in range(0, b, together):
                some = slice(first, first + together)
                yield self._made(*self.transformer(known.of(some), tokens[some], None))
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
            yield self._made(*self.transformer(image, tokens[i : i + 1], room))

    def _made(self, tokens: Tensor, values: Tensor) -> tuple[Tensor, _MadeTokens]:
        """Say how (b, h * w, C) image tokens are upscaled."""
        return tokens, _MadeTokens(values, *self._first_upscaling())

    def _first_upscaling(self) -> tuple[Tensor, Tensor]:
        """Give weight and bias of the first upscaling as of a linear layer to 4 subpixels."""
        return _matrix(self.output_upscaling[0])

    def _filters(self, tokens: Tensor, candidates: Sequence[int]) -> Tensor:
        """Make the (B, M, C / 8) filters that give the masks of ``candidates``."""
        return torch.stack([self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in candidates], dim=1)

    def _upscaled_product(
        self, image: UpscaledTokens, fine: Tensor | None, filters: Tensor, size: tuple[int, int]
    ) -> Tensor:
        """Upscale the image tokens four times and apply the (B, M, C / 8) mask filters.

        The same numbers as `output_upscaling` followed by the product, where there is nothing ``fine`` (1 or
        B, h * w, C) to add after the first of its steps. A transposed convolution whose
        kernel equals its stride is a matrix product per token; the channels stay last until the end, so
        the layer norm is one fused call and only the M logits per pixel are ever rearranged.
        """
        _, norm, _, second, _ = self.output_upscaling
        assert isinstance(norm, LayerNorm2d)
        second_matrix = _matrix(second)
        pieces = []
        for some, upscaled in image.upscaled():
            x = upscaled if fine is None else upscaled + fine[:, some]
            x = x.unflatten(-1, (4, -1))  # (B, n, 4, C / 4)
            x = gelu(F.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.eps))
            x = gelu(project(x, *second_matrix).unflatten(-1, (4, -1)))  # (B, n, 4, 4, C / 8)
            pieces.append(products_of(filters, x.flatten(1, 3)))  # (B, M, n * 16)
        return _in_rows(_joined(pieces, dim=2), size)


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


def _matrix(convolution: nn.Module) -> tuple[Tensor, Tensor]:
    """Write a 2 x 2 transposed convolution of stride 2 as a linear layer to 4 subpixels: weight and bias."""
    assert isinstance(convolution, nn.ConvTranspose2d) and convolution.bias is not None
    return convolution.weight.permute(2, 3, 1, 0).flatten(0, 2), convolution.bias.expand(4, -1).flatten()


def _in_rows(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring (B, M, h * w * 16) logits from the order of tokens to that of pixels: (B, M, 4 h, 4 w).

    Each token has its 2 x 2 pixels of 2 x 2 one after the other.
    """
    h, w = size
    tokens: Tensor = logits.unflatten(-1, (h, w, 2, 2, 2, 2))
    if logits.dtype == torch.float32:
        # Two neighbours stay together: as one complex number they are moved in half the time.
        pairs = torch.view_as_complex(tokens).permute(0, 1, 2, 4, 6, 3, 5).contiguous()
        return torch.view_as_real(pairs).reshape(*logits.shape[:2], 4 * h, 4 * w)
    return tokens.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(*logits.shape[:2], 4 * h, 4 * w)


def _joined(pieces: list[Tensor], dim: int = 0) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim)
