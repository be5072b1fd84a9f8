"""SAM's two-way transformer for many prompts on one image, without the image tokens of any of them.

The image tokens are the same for all prompts until the first prompt tokens are added to them, and what is
added is of low rank: in each layer it has a row for each prompt token and head. The weights of a head sum to
one, so the rows of its last token are a part of all others and of one constant row. A layer norm then scales
each image token by a number of its own. So at any time the image tokens of a prompt are

    X = a Y + A V + b

where ``Y`` (M, C) is of the image alone and ``b`` (C,) of the weights alone, with a scale ``a`` (M,),
attention weights ``A`` (M, R) and rows ``V`` (R, C). All that the transformer asks of ``X`` is its products
with projections ``W``: ``Y W`` is computed once for all prompts, and ``A (V W)`` costs R / C of ``X W`` or
less. The variance that a layer norm divides by is a quadratic form of ``a`` and ``A``. The numbers are those
of `TwoWayTransformer` but for rounding. How the factors lie in memory stands in `factored_tokens`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from napari_sam.model.factored_tokens import FactoredTokens, Room, State, in_strips, rows_of
from napari_sam.model.two_way_transformer import (
    CrossAttention,
    TwoWayAttentionBlock,
    TwoWayTransformer,
)

# Prompts that are worked on together; and prompts whose tokens are handed out together, since upscaled ones
# take more room.
_PROMPTS, _HANDED_OUT = 16, 8
# With more rows than this share of the channels nothing is gained.
_FEW_ROWS = 0.6
# Scores of attentions are to base 2, whose powers PyTorch computes in a third of the time.
_LOG2_E = math.log2(math.e)


class FactoredImage:
    """What all prompts on one image share, and the transformer on it for many prompts.

    Parameters
    ----------
    transformer
        With its weights.
    values, pe
        (M, C) image tokens with the dense prompt added, and their positional encoding.
    upscaling
        (C', C) weights and (C',) bias of the first upscaling.
    """

    def __init__(
        self, transformer: TwoWayTransformer, values: Tensor, pe: Tensor, upscaling: tuple[Tensor, Tensor]
    ) -> None:
        self._transformer = transformer
        self._layers: list[_Layer] = []
        image = _Image(values, torch.zeros_like(values[0]), pe, is_scaled=False)
        for block in transformer.layers:
            assert isinstance(block, TwoWayAttentionBlock)
            self._layers.append(_Layer(block, image, self._layers))
            image = self._layers[-1].after
        self._last = _Gathering(transformer.final_attn_token_to_image, image)
        self._weight, bias = upscaling
        self._image, self._constant = image.y @ self._weight.T, self._weight @ image.constant + bias

    def suits(self, prompts: Tensor) -> bool:
        """Say whether (B, N, C) prompt tokens are so few that this is faster."""
        rows = rows_of(self._last.attention.heads, prompts.shape[1])
        return len(self._layers) * rows <= _FEW_ROWS * prompts.shape[2]

    def __call__(self, prompts: Tensor, asked: Sequence[int]) -> Iterator[tuple[Tensor, FactoredTokens]]:
        """Run the transformer for (B, N, C) prompt tokens, a few prompts at a time.

        What comes of these are the updated (b, A, C) tokens that are ``asked`` for, and the image tokens; the
        next ones overwrite them.
        """
        size = min(_PROMPTS, len(prompts)), prompts.shape[1], self._last.attention.heads, len(self._layers)
        room = Room(*size, self._image)
        for some in prompts.split(_PROMPTS):
            state = State(room, len(some), some.shape[-1])
            tokens = some
            for layer in self._layers:
                tokens = layer(tokens, some, state)
            tokens, own = tokens[:, asked], some[:, asked]
            attended = self._last(tokens + own, state)
            tokens = self._transformer.norm_final_attn(tokens + attended)
            image = self._upscaled(state)
            for first in range(0, len(some), _HANDED_OUT):
                few = slice(first, first + _HANDED_OUT)
                yield tokens[few], image.of(few)

    def _upscaled(self, state: State) -> FactoredTokens:
        # The constant becomes a row with a weight of one.
        rows = torch.cat([state.rows @ self._weight.T, self._constant.expand(len(state.rows), 1, -1)], 1)
        weights = tuple(state.weights(number, rows.shape[1]) for number in range(len(state.room.weights)))
        for strip in weights:
            strip[:, -1] = 1
        return FactoredTokens(tuple(state.scales), weights, rows, self._image)


@dataclass(frozen=True, eq=False)
class _Image:
    """What the image tokens begin a layer with: ``Y``, ``b``, positional encoding, and if ``Y`` is scaled."""

    y: Tensor
    constant: Tensor
    pe: Tensor
    is_scaled: bool


class _Scores:
    """Products of queries or keys of prompts with projected image tokens, which are made strip by strip."""

    def __init__(self, attention: CrossAttention, projection: nn.Linear, image: _Image) -> None:
        self._weight = attention.weight_by_head(projection)
        of_image, fixed = image.y @ projection.weight.T, projection(image.constant + image.pe)
        if not image.is_scaled:
            fixed += of_image
        self._fixed = _columns(attention, fixed)
        self._scaled = _columns(attention, of_image) if image.is_scaled else None

    def of(self, vectors: Tensor, state: State) -> Iterator[Tensor]:
        """Give those with (B, N, heads, c) vectors: (B, heads, N, m) of each strip, to be overwritten."""
        b, n, heads, _ = vectors.shape
        if self._scaled is None:
            for fixed in self._fixed:
                yield state.with_image(vectors, fixed)
            return
        with_rows = torch.einsum("bnhd,hdc->bhnc", vectors, self._weight).flatten(1, 2) @ state.rows.mT
        for strip, (fixed, scaled) in enumerate(zip(self._fixed, self._scaled, strict=True)):
            m = fixed.shape[-1]
            scores = state.room.products(b, heads, n, m)
            torch.bmm(with_rows, state.weights(strip), out=scores.view(b, heads * n, m))
            _add(scores, state.with_image(vectors, scaled), state.scales[strip])
            yield scores.add_(state.with_image(vectors, fixed))


class _Gathering:
    """Let prompt tokens attend to the image."""

    def __init__(self, attention: CrossAttention, image: _Image) -> None:
        self.attention = attention
        self._scores = _Scores(attention, attention.k_proj, image)
        values = _columns(attention, image.y @ attention.v_proj.weight.T)
        self._values = [strip.mT.contiguous() for strip in values]
        self._constant = attention.v_proj(image.constant)

    def __call__(self, tokens: Tensor, state: State) -> Tensor:
        """Attend from (B, N, C) tokens: (B, N, C)."""
        attention = self.attention
        q = attention.per_head(attention.q_proj(tokens)) * (attention.scale * _LOG2_E)
        b, n, heads, c = q.shape
        peaks = q.new_full((b, heads, n, 1), -torch.inf)
        sums, of_image, of_rows = (q.new_zeros(()) for _ in range(3))
        # The softmax strip by strip, after Milakov and Gimelshein, "Online normalizer calculation for
        # softmax" (2018).
        for strip, scores in enumerate(self._scores.of(q, state)):
            before, peaks = peaks, torch.maximum(peaks, scores.amax(-1, keepdim=True))
            shrunk = (before - peaks).exp2_()
            weights = scores.sub_(peaks).exp2_()
            sums = sums * shrunk + weights.sum(-1, keepdim=True)
            if not state.is_new:
                found = weights.flatten(1, 2) @ state.weights(strip).mT
                of_rows = of_rows * shrunk + found.view(b, heads, n, -1)
                weights = state.scaled(weights, strip)
            found = torch.bmm(weights.transpose(0, 1).reshape(heads, b * n, -1), self._values[strip])
            of_image = of_image * shrunk + found.view(heads, b, n, c).transpose(0, 1)
        means = (of_image / sums).transpose(1, 2)
        if not state.is_new:
            rows = ((of_rows / sums).flatten(1, 2) @ state.rows).view(b, heads, n, -1)
            means = means + torch.einsum("bhnc,hdc->bnhd", rows, attention.weight_by_head(attention.v_proj))
        return attention.out_proj(means.flatten(2) + self._constant)  # type: ignore[no-any-return]


class _Layer:
    """One layer of the transformer, with what it computes of the image alone."""

    def __init__(self, block: TwoWayAttentionBlock, image: _Image, earlier: Sequence[_Layer]) -> None:
        self.block = block
        self._gathering = _Gathering(block.cross_attn_token_to_image, image)
        self._spreading = spreading = block.cross_attn_image_to_token
        self._scores = _Scores(spreading, spreading.q_proj, image)
        self.added = image.constant + spreading.out_proj.bias
        y = _centred(image.y)
        self.after = _Image(y * block.norm4.weight, block.norm4.bias, image.pe, is_scaled=True)
        self._square = in_strips(y.square().mean(1))
        # Twice the mean products of Y with the rows of each layer so far, by the values that they are
        # projections of, and with what is added to its constant row.
        self._with_values: list[list[Tensor]] = []
        self._with_added: list[list[Tensor]] = []
        share = 2 * y / y.shape[1]
        for layer in (self, *reversed(earlier)):
            if layer is not self:
                share = _centred(share * layer.block.norm4.weight)
            attention = layer.block.cross_attn_image_to_token
            self._with_values.insert(0, _columns(attention, share @ attention.out_proj.weight))
            self._with_added.insert(0, in_strips(share @ layer.added))

    def __call__(self, tokens: Tensor, own_pe: Tensor, state: State) -> Tensor:
        """Give the (B, N, C) tokens behind the layer; the image tokens are changed in ``state``."""
        tokens = self.block.attend_to_themselves(tokens, own_pe)
        tokens = self.block.take_in(tokens, self._gathering(tokens + own_pe, state))
        self._spread(tokens + own_pe, tokens, state)
        return tokens

    def _spread(self, keys: Tensor, values: Tensor, state: State) -> None:
        """Let the image tokens attend to (B, N, C) tokens, and normalise them."""
        attention, norm = self._spreading, self.block.norm4
        k = attention.per_head(attention.k_proj(keys)) * (attention.scale * _LOG2_E)
        v = attention.per_head(attention.v_proj(values))
        last = v[:, -1:]
        v = v[:, :-1] - last
        state.values.append((v, last))
        output = attention.out_proj.weight
        by_head = output.unflatten(1, (attention.heads, -1))  # (C, heads, c)
        new = torch.einsum("bnhd,chd->bhnc", v, by_head)
        constant = last.flatten(2) @ output.T + self.added
        rows = torch.cat([_centred(x) for x in (state.rows, new.flatten(1, 2), constant)], 1)
        products = _halved(rows @ rows.mT / rows.shape[-1], rows.shape[1] - state.rows.shape[1])
        scaled = []
        for strip, scores in enumerate(self._scores.of(k, state)):
            weights = state.weights(strip, rows.shape[1])
            its = weights[:, state.rows.shape[1] : -1].unflatten(1, new.shape[1:3])
            _softmax(scores, its)
            weights[:, -1] = 1
            by = self._variance(strip, weights, products, state).add_(norm.eps).rsqrt_()
            weights *= by[:, None]
            scaled.append(by)
        state.replace(rows * norm.weight, scaled)

    def _variance(self, strip: int, weights: Tensor, products: Sequence[Tensor], state: State) -> Tensor:
        """Give the (B, m) variance of the image tokens of a strip over their channels.

        It is ``w (P w + 2 a Y V) + a a Y Y`` for each token, with its (B, R, m) weights ``w``, the mean
        (B, R, R) products ``P`` of the rows, and the means of the other products.
        """
        scales = None if state.is_new else state.scales[strip]
        square = self._square[strip]
        variance = square.expand(len(weights), -1) if scales is None else scales.square() * square
        start = 0
        for part, (values, last), columns, added in zip(
            products, state.values, self._with_values, self._with_added, strict=True
        ):
            r = part.shape[1]
            found = torch.bmm(
                part, weights[:, start:], out=state.room.products(len(part), r, square.shape[-1])
            )
            new = state.with_image(values, columns[strip])
            _add(found[:, :-1].unflatten(1, new.shape[1:3]), new, scales)
            _add(found[:, -1], last.flatten(1) @ columns[strip].flatten(0, 1) + added[strip], scales)
            variance = variance + found.mul_(weights[:, start : start + r]).sum(1)
            start += r
        return variance.clamp_(min=0)


def _add(part: Tensor, new: Tensor, scales: Tensor | None) -> None:
    """Add to (B, ..., m) numbers in place, scaled by (B, m) if there are scales."""
    if scales is None:
        part.add_(new)
    else:
        part.addcmul_(new, scales.view(len(scales), *[1] * (part.ndim - 2), -1))


def _softmax(scores: Tensor, out: Tensor) -> None:
    """Give the softmax over the N of (B, heads, N, m) scores to base 2, without its last ones.

    The scores are overwritten. Each step works along the memory, which PyTorch's own softmax over such a side
    does not.
    """
    scores.sub_(scores.amax(2, keepdim=True)).exp2_()
    torch.mul(scores[:, :, :-1], scores.sum(2, keepdim=True).reciprocal_(), out=out)


def _halved(products: Tensor, count: int) -> list[Tensor]:
    """Take of symmetric (B, R, R) products those of ``count`` rows at a time with themselves and later ones.

    Since each of the others stands for its mirror image too, it is doubled.
    """
    parts = []
    for start in range(0, products.shape[1], count):
        part = products[:, start : start + count, start:].clone()
        part[:, :, count:] *= 2
        parts.append(part)
    return parts


def _centred(x: Tensor) -> Tensor:
    """Take away the mean over the channels."""
    return x - x.mean(-1, keepdim=True)


def _columns(attention: CrossAttention, x: Tensor) -> list[Tensor]:
    """Split (M, heads * c) into heads, the image tokens last and cut: strips of (heads, c, m)."""
    return in_strips(x.unflatten(1, (attention.heads, -1)).permute(1, 2, 0))
