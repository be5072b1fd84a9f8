"""The small layers that the image encoders, the prompt encoder and the mask decoder share."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_sam.progress import Progress

# Called between the parts of a block, each a fraction of a second on a CPU; raising in it stops the encoding.
Pause = Callable[[], None]


def go_on() -> None:
    """Make no pause."""


def pause_of(progress: Progress, done: float, device: torch.device) -> Pause:
    """Report the same progress at each pause inside a block.

    A graphics card is asked for whole blocks: it is fast, and they may be compiled.
    """
    return partial(progress, done) if device.type == "cpu" else go_on


# oneDNN's linear layer, which PyTorch has for its own compiler.
_onednn_linear = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
)
# Fewer products than this (rows times columns) are faster without it.
_MANY_PRODUCTS = 4096
# Tokens that go through the products of a block at once, at most: few enough that the widened ones are not
# fetched as new pages of memory for every block. With fewer than the least, products become slow.
_MOST_TOKENS, _LEAST_TOKENS = 2048, 512
# So many multiplications take two cores of a CPU a tenth of a second: there should be a pause after them.
_PIECE = 5 * 10**9


def project(x: Tensor, weight: Tensor, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
    """Apply a linear layer to (..., N, C) tokens: the numbers of `F.linear` but for rounding.

    ``residual`` is added to what comes out, without a second look at it.

    On a CPU large products go to oneDNN. PyTorch itself gives those in single precision to a BLAS, which on
    AMD processors uses half the width of the vector units and takes twice the time.
    """
    products = x.numel() // x.shape[-1] * weight.shape[0]
    plain = torch.is_grad_enabled() or x.device.type != "cpu" or x.dtype != torch.float32
    plain = plain or torch.compiler.is_compiling()  # the compiler chooses by itself
    if plain or products < _MANY_PRODUCTS or _onednn_linear is None:
        # As one matrix: of tokens that are not side by side, PyTorch makes many small products.
        projected = F.linear(x.reshape(-1, x.shape[-1]), weight, bias).reshape(*x.shape[:-1], -1)
        return projected if residual is None else projected + residual
    if residual is None:
        return _onednn_linear(x, weight, bias, "none", [], "")  # type: ignore[no-any-return]
    return _onednn_linear.binary(x, residual, weight, bias, "add")  # type: ignore[no-any-return]


def gelu(x: Tensor) -> Tensor:
    """Apply the exact GELU; in place where no gradient is wanted, since new memory costs more than it."""
    if torch.is_grad_enabled():
        return F.gelu(x)
    return torch.ops.aten.gelu_(x)  # type: ignore[no-any-return]


class TokenLinear(nn.Linear):
    """A linear layer for many tokens, in the precision of its own weights; see `project`."""

    def forward(self, x: Tensor) -> Tensor:
        return project(x.to(self.weight.dtype), self.weight, self.bias)


def in_pieces(x: Tensor, products: int) -> tuple[Tensor, ...]:
    """Cut (N, C) tokens so that a pause after each piece comes soon; ``products`` are those of one token.

    A graphics card takes all at once.
    """
    if x.device.type != "cpu":
        return (x,)
    tokens = min(_MOST_TOKENS, max(_LEAST_TOKENS, 2 ** int(math.log2(_PIECE / products))))
    return x.split(tokens)  # type: ignore[no-any-return]


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of a (B, C, H, W) map, each pixel by itself."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


def neck(width: int, out_channels: int) -> nn.Sequential:
    """SAM's last layers of an image encoder: from its own width to that of the mask decoder."""
    return nn.Sequential(
        nn.Conv2d(width, out_channels, 1, bias=False),
        LayerNorm2d(out_channels),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        LayerNorm2d(out_channels),
    )


class MLPBlock(nn.Module):
    """The feed-forward half of a transformer block: widen, activate, narrow."""

    def __init__(self, width: int, hidden: int, activation: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.lin1 = TokenLinear(width, hidden)
        self.lin2 = TokenLinear(hidden, width)
        self.act = activation or gelu
        self._products = 2 * width * hidden

    def forward(self, x: Tensor, pause: Pause = go_on) -> Tensor:
        pieces = []
        for some in in_pieces(x.reshape(-1, x.shape[-1]), self._products):
            pieces.append(self.lin2(self.act(self.lin1(some))))
            pause()
        return torch.cat(pieces).reshape(x.shape) if len(pieces) > 1 else pieces[0].reshape(x.shape)


class MLP(nn.Module):
    """Linear layers with ReLU between them, as the mask decoder's output heads use them."""

    def __init__(self, width: int, hidden: int, out: int, depth: int) -> None:
        super().__init__()
        widths = [width, *[hidden] * (depth - 1), out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)  # type: ignore[no-any-return]
