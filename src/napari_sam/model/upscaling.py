"""From the image tokens of prompts to the logits of their masks, at four times the resolution.

Kirillov et al., "Segment Anything" (2023), appendix A.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_sam.model.layers import LayerNorm2d, gelu, project
from napari_sam.model.two_way_transformer import products_of, strips

# Pixels of the logits, and of mask prompts, per token along one side.
UPSCALING = 4


class UpscaledTokens(Protocol):
    """Image tokens of some prompts that are asked for as they are behind the first upscaling."""

    def of(self, prompts: Tensor | slice) -> UpscaledTokens:
        """Give those of some of the prompts."""
        ...

    def upscaled(self) -> Iterator[tuple[slice, Tensor]]:
        """Make the tokens, some at a time: which of each prompt, and they with their subpixels, (B, m, C)."""
        ...


@dataclass(frozen=True, eq=False)
class MadeTokens:
    """(B, h * w, C) image tokens, and the linear layer that upscales them first."""

    values: Tensor
    weight: Tensor
    bias: Tensor

    def of(self, prompts: Tensor | slice) -> MadeTokens:
        """Give those of some of the prompts."""
        return MadeTokens(self.values[prompts], self.weight, self.bias)

    def upscaled(self) -> Iterator[tuple[slice, Tensor]]:
        """Make the tokens a few at a time, whose many subpixels stay in the processor's cache."""
        for some in strips(self.values):
            yield some, project(self.values[:, some], self.weight, self.bias)


class Upscaling(nn.Sequential):
    """Two transposed convolutions that give four by four pixels for each token.

    A transposed convolution whose kernel equals its stride is a matrix product per token. So `logits` gives
    the same numbers as these layers followed by the product with the filters, but the channels stay last
    until the end: the layer norm is one fused call, and only the logits are ever rearranged.
    """

    def __init__(self, width: int) -> None:
        first, second = width // 4, width // 8
        super().__init__(
            nn.ConvTranspose2d(width, first, 2, stride=2),
            LayerNorm2d(first),
            nn.GELU(),
            nn.ConvTranspose2d(first, second, 2, stride=2),
            nn.GELU(),
        )

    def lay_out(self) -> None:
        """Keep the weights in memory as they are read; their values and shapes stay."""
        for layer in self:
            if isinstance(layer, nn.ConvTranspose2d):
                layer.weight.data = layer.weight.data.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)

    @property
    def first(self) -> tuple[Tensor, Tensor]:
        """The first convolution as a linear layer to 4 subpixels: weight and bias."""
        return _matrix(self[0])

    def logits(
        self, image: UpscaledTokens, fine: Tensor | None, filters: Tensor, size: tuple[int, int]
    ) -> Tensor:
        """Upscale image tokens and apply mask filters: (B, M, 4 h, 4 w).

        Parameters
        ----------
        image
            The tokens of ``B`` prompts, ``size`` (h, w) of each.
        fine
            (1 or B, h * w, C), added after the first step; None where there is nothing to add.
        filters
            (B, M, C / 8).
        """
        norm, second = self[1], _matrix(self[3])
        assert isinstance(norm, LayerNorm2d)
        pieces = []
        for some, upscaled in image.upscaled():
            x = upscaled if fine is None else upscaled + fine[:, some]
            x = x.unflatten(-1, (4, -1))  # (B, n, 4, C / 4)
            x = gelu(F.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.eps))
            x = gelu(project(x, *second).unflatten(-1, (4, -1)))  # (B, n, 4, 4, C / 8)
            pieces.append(products_of(filters, x.flatten(1, 3)))  # (B, M, n * 16)
        return _in_rows(joined(pieces, dim=2), size)


def joined(pieces: list[Tensor], dim: int = 0) -> Tensor:
    """Join tensors; one alone is not copied."""
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim)


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
