"""SAM's two-way transformer: prompt tokens and image tokens attend to each other.

Kirillov et al., "Segment Anything" (2023), appendix A.

A prompt has seven to ten tokens, the image 4096. So nothing is computed for an image token that can be
computed for a prompt token instead: the projections of an attention between the two are folded into the
prompt's side (`CrossAttention.gather`, `CrossAttention.fold`). The numbers are the same but for rounding.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from napari_sam.model.layers import MLPBlock, project

# Image tokens that are worked on at once on a CPU.
_TOKENS_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class Projections:
    """What the first layer computes of the image tokens alone: the same for every prompt on an image.

    ``keys`` and ``values`` (1, heads, M, C') are what prompt tokens attend to; ``queries`` (1, heads, C', M)
    attend to them.
    """

    keys: Tensor
    values: Tensor
    queries: Tensor


@dataclass(frozen=True, eq=False)
class ImageTokens:
    """(1 or B, h * w, C) image tokens, their positional encoding ``pe``, and the sum of both, ``keys``.

    ``projected`` is kept where many prompts are decoded on one image.
    """

    values: Tensor
    keys: Tensor
    pe: Tensor
    projected: Projections | None = None

    def of(self, prompts: slice) -> ImageTokens:
        """Give the tokens of some prompts; what is one for all prompts stays."""
        values, keys, pe = (x if len(x) == 1 else x[prompts] for x in (self.values, self.keys, self.pe))
        return ImageTokens(values, keys, pe, self.projected)


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the two-way transformer and of the score head."""

    width: int = 256
    heads: int = 8
    mlp: int = 2048
    depth: int = 2
    score_hidden: int = 256


class TwoWayTransformer(nn.Module):
    """Let prompt tokens and image tokens attend to each other, in both directions."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayAttentionBlock(config, first=i == 0) for i in range(config.depth))
        self.final_attn_token_to_image = CrossAttention(config.width, config.heads, downsample=2)
        self.norm_final_attn = nn.LayerNorm(config.width)

    def forward(
        self, image: ImageTokens, prompts: Tensor, room: ImageTokens | None, asked: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Return the updated (B, A, C) tokens that are ``asked`` for and the (B, h * w, C) image tokens.

        ``image`` may be one for all prompts. The updated image tokens are written into ``room`` if given.
        """
        tokens = prompts
        for layer in self.layers:
            tokens, image = layer(tokens, image, prompts, room)
        tokens, prompts = tokens[:, asked], prompts[:, asked]
        attended = self.final_attn_token_to_image.gather(tokens + prompts, image.keys, image.values)
        return self.norm_final_attn(tokens + attended), image.values

    def look_at(self, values: Tensor, pe: Tensor) -> ImageTokens:
        """Project (1, h * w, C) image tokens for the first layer, once for all prompts on them."""
        first = self.layers[0]
        assert isinstance(first, TwoWayAttentionBlock)
        gathering, spreading = first.cross_attn_token_to_image, first.cross_attn_image_to_token
        keys = values + pe
        projected = Projections(
            gathering.by_head(gathering.k_proj, keys).contiguous(),
            gathering.by_head(gathering.v_proj, values).contiguous(),
            spreading.by_head(spreading.q_proj, keys).transpose(2, 3).contiguous(),
        )
        return ImageTokens(values, keys, pe, projected)


class TwoWayAttentionBlock(nn.Module):
    """Self-attention of the tokens, tokens to image, MLP on the tokens, image to tokens."""

    def __init__(self, config: DecoderConfig, first: bool) -> None:
        super().__init__()
        width, heads = config.width, config.heads
        self.self_attn = CrossAttention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = CrossAttention(width, heads, downsample=2)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLPBlock(width, config.mlp, torch.relu)
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = CrossAttention(width, heads, downsample=2)
        self.first = first

    def forward(
        self, tokens: Tensor, image: ImageTokens, token_pe: Tensor, room: ImageTokens | None
    ) -> tuple[Tensor, ImageTokens]:
        tokens = self.attend_to_themselves(tokens, token_pe)
        gathering, query = self.cross_attn_token_to_image, tokens + token_pe
        if image.projected is None:
            gathered = gathering.gather(query, image.keys, image.values)
        else:
            gathered = gathering.attend(query, image.projected.keys, image.projected.values)
        tokens = self.take_in(tokens, gathered)
        folded = self.cross_attn_image_to_token.fold(tokens + token_pe, tokens)
        return tokens, self._updated(image, folded, room)

    def attend_to_themselves(self, tokens: Tensor, token_pe: Tensor) -> Tensor:
        """Let the (B, N, C) tokens attend to each other."""
        if self.first:
            # The tokens still are their own positional encoding here; the official code adds neither
            # that nor a residual.
            return self.norm1(self.self_attn(tokens, tokens, tokens))  # type: ignore[no-any-return]
        query = tokens + token_pe
        return self.norm1(tokens + self.self_attn(query, query, tokens))  # type: ignore[no-any-return]

    def take_in(self, tokens: Tensor, gathered: Tensor) -> Tensor:
        """Add what the (B, N, C) tokens gathered from the image, and pass them through the MLP."""
        tokens = self.norm2(tokens + gathered)
        return self.norm3(tokens + self.mlp(tokens))  # type: ignore[no-any-return]

    def _updated(self, image: ImageTokens, folded: FoldedTokens, room: ImageTokens | None) -> ImageTokens:
        """Let the image tokens attend to the prompt tokens."""
        if room is None:
            values = self.norm4(folded.spread(image, slice(None)))
            return ImageTokens(values, values + image.pe, image.pe)
        for some in strips(image.values):
            room.values[:, some] = self.norm4(folded.spread(image, some))
            torch.add(room.values[:, some], image.pe[:, some], out=room.keys[:, some])
        return room


@dataclass(frozen=True, eq=False)
class FoldedTokens:
    """Prompt tokens as image tokens see them: see `CrossAttention.fold`.

    ``keys`` (B, N, heads, C') are scaled. For queries that are not projected, ``query_weight``
    (heads, C', C) and ``query_bias`` (heads, C') are what would project them. ``values``
    (B, C, N * heads) and ``bias`` (C,) give the output.
    """

    keys: Tensor
    query_weight: Tensor
    query_bias: Tensor
    values: Tensor
    bias: Tensor

    def spread(self, image: ImageTokens, some: slice) -> Tensor:
        """Let ``some`` M of the image tokens attend to the prompt tokens; with what they were: (B, M, C)."""
        if image.projected is None:
            scores = products_of(self._folded_keys, image.keys[:, some]) + self._constants[..., None]
            scores = scores.unflatten(1, (-1, len(self.query_bias)))  # (B, N, heads, M)
        else:
            scores = (self.keys.transpose(1, 2) @ image.projected.queries[..., some]).transpose(1, 2)
        # Image tokens last: a softmax over numbers that lie far apart takes whole vectors of the others.
        weights = scores.softmax(1).permute(0, 3, 1, 2).flatten(2)
        return products_of(weights, self.values, self.bias, image.values[:, some])

    @cached_property
    def _folded_keys(self) -> Tensor:
        """(B, N * heads, C): the products with these are those of projected queries with the keys."""
        return torch.einsum("bnhd,hdc->bnhc", self.keys, self.query_weight).flatten(1, 2)

    @cached_property
    def _constants(self) -> Tensor:
        """(B, N * heads): what the bias of the queries adds to each product."""
        return torch.einsum("bnhd,hd->bnh", self.keys, self.query_bias).flatten(1)


class CrossAttention(nn.Module):
    """Multi-head attention whose inner width may be smaller than that of its inputs."""

    def __init__(self, width: int, heads: int, downsample: int = 1) -> None:
        super().__init__()
        inner = width // downsample
        self.heads = heads
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend from (B, N, C) queries to (B, M, C) keys and values: (B, N, C)."""
        return self.attend(query, self.by_head(self.k_proj, key), self.by_head(self.v_proj, value))

    def attend(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend from (B, N, C) queries to projected (1 or B, heads, M, C') keys and values: (B, N, C)."""
        q = self.by_head(self.q_proj, query) * self.scale
        # As plain products: for few queries they are faster than the fused call on a CPU.
        attended = (q @ keys.transpose(2, 3)).softmax(-1) @ values
        return self.out_proj(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def by_head(self, projection: nn.Linear, x: Tensor) -> Tensor:
        """Project (B, N, C) tokens and split them into heads: (B, heads, N, C')."""
        return self.per_head(project(x, projection.weight, projection.bias)).transpose(1, 2)

    def gather(self, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend from few (B, N, C) tokens to many (1 or B, M, C) keys and values: (B, N, C).

        Per head, ``(W_q t) . (W_k x + b_k)`` is ``(W_k^T W_q t) . x`` and a constant over ``x``, which the
        softmax takes away; and since the weights of an attention sum to one, the mean of ``W_v x + b_v`` is
        ``W_v`` of the mean of ``x``, plus ``b_v``.
        """
        n = tokens.shape[1]
        q = self.per_head(self.q_proj(tokens)) * self.scale  # (B, N, heads, C')
        folded = torch.einsum("bnhd,hdc->bhnc", q, self.weight_by_head(self.k_proj)).flatten(1, 2)
        weights = products_of(folded, keys).softmax(-1)  # (B, heads * N, M)
        means = products_of(weights, values.transpose(1, 2)).unflatten(1, (self.heads, n))  # (B, heads, N, C)
        attended = torch.einsum("bhnc,hdc->bnhd", means, self.weight_by_head(self.v_proj)).flatten(2)
        return self.out_proj(attended + self.v_proj.bias)  # type: ignore[no-any-return]

    def fold(self, keys: Tensor, values: Tensor) -> FoldedTokens:
        """Prepare few (B, N, C) tokens, to which many others attend by `FoldedTokens.spread`.

        The projection of the queries is folded into the keys as in `gather`, that of the output into the
        values.
        """
        k = self.per_head(self.k_proj(keys)) * self.scale  # (B, N, heads, C')
        v = self.per_head(self.v_proj(values))
        output = self.out_proj.weight.unflatten(1, (self.heads, -1))  # (C, heads, C')
        return FoldedTokens(
            k,
            self.weight_by_head(self.q_proj),
            self.q_proj.bias.unflatten(0, (self.heads, -1)),
            torch.einsum("bnhd,chd->bcnh", v, output).flatten(2),
            self.out_proj.bias,
        )

    @property
    def scale(self) -> float:
        """What queries are multiplied by."""
        return float((self.q_proj.out_features // self.heads) ** -0.5)

    def per_head(self, x: Tensor) -> Tensor:
        """Split (B, N, C') into heads: (B, N, heads, C' / heads)."""
        return x.reshape(*x.shape[:-1], self.heads, -1)

    def weight_by_head(self, projection: nn.Linear) -> Tensor:
        """Split the (C', C) weight of a projection into heads: (heads, C' / heads, C)."""
        return projection.weight.reshape(self.heads, -1, projection.in_features)


def products_of(
    x: Tensor, rows: Tensor, bias: Tensor | None = None, residual: Tensor | None = None
) -> Tensor:
    """Give all dot products of (1 or B, M, C) vectors with (1 or B, R, C) others: (B, M, R).

    ``bias`` (R,) and ``residual`` (1 or B, M, R) are added to them.
    """
    if len(rows) == 1:
        return project(x, rows[0], bias, residual)
    products = x @ rows.transpose(1, 2)
    products = products if bias is None else products + bias
    return products if residual is None else products + residual


# The buffers of each thread, of the shape that it needed last: new memory costs a click milliseconds.
_kept = threading.local()


def buffers_like(values: Tensor) -> list[Tensor]:
    """Give four (1, M, C) buffers for one prompt's image tokens."""
    key = (values.shape[1:], values.dtype)
    if getattr(_kept, "key", None) != key:
        with torch.inference_mode(False):  # what is made in that mode can be written in no other
            _kept.buffers = [torch.empty(1, *values.shape[1:], dtype=values.dtype) for _ in range(4)]
        _kept.key = key
    buffers: list[Tensor] = _kept.buffers
    return buffers


def keeps_in_cache(x: Tensor) -> bool:
    """Say whether to work on one prompt and a few tokens at a time, overwriting what is no longer needed.

    On a CPU it is several times faster: the processor's cache holds that, and new memory is slow.
    """
    return x.device.type == "cpu" and not torch.is_grad_enabled()


def strips(image: Tensor) -> list[slice]:
    """Cut (B, M, C) image tokens into pieces to work on at a time."""
    step = _TOKENS_AT_ONCE if keeps_in_cache(image) else image.shape[1]
    return [slice(first, first + step) for first in range(0, image.shape[1], step)]
