"""The image tokens of a few prompts as factors, and the memory that these lie in.

What the factors ``a``, ``Y``, ``A``, ``V`` and ``b`` are stands in `factored`.

In memory the image tokens come last, so ``A`` lies as (R, M): what is done to it then runs along the memory.
And they are cut into strips, each in one piece: what is computed of one stays in the processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Image tokens of a strip.
_STRIP = 1024


@dataclass(frozen=True, eq=False)
class FactoredTokens:
    """The last image tokens of ``B`` prompts as factors, each token as it will be upscaled to C' channels.

    Attributes
    ----------
    scales, weights, rows
        Strips of (B, m) and of (B, R, m), and (B, R, C') of the prompts.
    image
        (M, C') of all.
    """

    scales: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    rows: Tensor
    image: Tensor

    def of(self, prompts: Tensor | slice) -> FactoredTokens:
        """Give those of some prompts."""
        scales, weights = (tuple(strip[prompts] for strip in x) for x in (self.scales, self.weights))
        return FactoredTokens(scales, weights, self.rows[prompts], self.image)

    def upscaled(self) -> Iterator[tuple[slice, Tensor]]:
        """Make the tokens, some at a time: which, and (B, m, C')."""
        for some, scales, weights in zip(_strips(len(self.image)), self.scales, self.weights, strict=True):
            x = torch.bmm(weights.mT, self.rows)
            yield some, x.addcmul_(self.image[some], scales[..., None])


class Room:
    """Memory that is used again and again: new memory is slow, and this stays in the processor's cache.

    Parameters
    ----------
    prompts, tokens
        How many prompts there are at most, and the tokens of each.
    heads, layers
        Those of the transformer.
    like
        (M, ...) of the image tokens, on their device and of their type.

    Attributes
    ----------
    weights
        (B, R, m) for the ``A`` of each strip.
    """

    def __init__(self, prompts: int, tokens: int, heads: int, layers: int, like: Tensor) -> None:
        rows = layers * rows_of(heads, tokens) + 1  # the last is for the constant of the upscaling
        sizes = [some.stop - some.start for some in _strips(len(like))]
        self.weights = [like.new_empty(prompts, rows, size) for size in sizes]
        self._products = like.new_empty(prompts * max(rows, heads * tokens) * sizes[0])
        self._others = like.new_empty(prompts * heads * tokens * sizes[0])

    def products(self, *shape: int) -> Tensor:
        """Give a tensor of the shape, for all rows in a strip; the one before is lost."""
        return self._products[: math.prod(shape)].view(shape)

    def others(self, *shape: int) -> Tensor:
        """Give a tensor of the shape, for all tokens and heads in a strip; the one before is lost."""
        return self._others[: math.prod(shape)].view(shape)


class State:
    """The factors of a few prompts as they are now; at first their image tokens are those of the image.

    Parameters
    ----------
    room
        The memory, which has ``A``.
    prompts, channels
        How many prompts these are, and the channels of their tokens.

    Attributes
    ----------
    room
        As given.
    rows
        (B, R, C) ``V``.
    scales
        (B, m) ``a`` of each strip; none while the image tokens are those of the image still.
    values
        Of each layer so far: (B, N - 1, heads, c) of which its rows are projections, and (B, 1, heads, c) of
        its constant row.
    """

    def __init__(self, room: Room, prompts: int, channels: int) -> None:
        self.room = room
        self.rows = room.weights[0].new_empty(prompts, 0, channels)
        self.values: list[tuple[Tensor, Tensor]] = []
        self.scales: list[Tensor] = []

    @property
    def is_new(self) -> bool:
        """Whether the image tokens are those of the image still."""
        return not self.scales

    def weights(self, strip: int, count: int | None = None) -> Tensor:
        """Give ``A`` of a strip, (B, R, m), or so many of its rows as will be filled."""
        return self.room.weights[strip][: len(self.rows), : self.rows.shape[1] if count is None else count]

    def replace(self, rows: Tensor, scaled: list[Tensor]) -> None:
        """Take (B, R, C) rows, and by how much the image tokens of each strip were scaled."""
        self.rows = rows
        self.scales = [a * b for a, b in zip(self.scales, scaled, strict=True)] if self.scales else scaled

    def scaled(self, weights: Tensor, strip: int) -> Tensor:
        """Give (B, heads, N, m) weights of the image tokens times their scales, in the order of heads."""
        b, heads, n, m = weights.shape
        found = self.room.others(heads, b, n, m).transpose(0, 1)
        return torch.mul(weights, self.scales[strip][:, None, None], out=found)

    def with_image(self, vectors: Tensor, columns: Tensor) -> Tensor:
        """Give the products of (B, N, heads, c) vectors with (heads, c, m) columns: (B, heads, N, m)."""
        b, n, heads, c = vectors.shape
        found = self.room.others(heads, b * n, columns.shape[-1])
        torch.bmm(vectors.permute(2, 0, 1, 3).reshape(heads, b * n, c), columns, out=found)
        return found.view(heads, b, n, -1).transpose(0, 1)


def rows_of(heads: int, tokens: int) -> int:
    """So many rows come with each layer.

    Parameters
    ----------
    heads
        Of the layer's attention.
    tokens
        Of each prompt.
    """
    return heads * (tokens - 1) + 1


def in_strips(x: Tensor) -> list[Tensor]:
    """Cut (..., M) numbers of image tokens, each strip in one piece.

    Parameters
    ----------
    x
        The numbers.
    """
    return [x[..., some].contiguous() for some in _strips(x.shape[-1])]


def _strips(tokens: int) -> list[slice]:
    """Cut so many image tokens into strips."""
    return [slice(first, min(first + _STRIP, tokens)) for first in range(0, tokens, _STRIP)]
