"""SAM's image encoder: a plain vision transformer with windowed and global attention.

Kirillov et al., "Segment Anything" (2023), section 3; the backbone is that of Li et al., "Exploring Plain
Vision Transformer Backbones for Object Detection" (2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_sam.model.layers import MLPBlock, Pause, TokenLinear, go_on, in_pieces, neck, pause_of
from napari_sam.progress import Progress, ignore_progress

# Queries of one head whose relative position bias is built at once: 8 MB of it for SAM's 4096 keys.
_QUERIES_PER_BLOCK = 512


@dataclass(frozen=True)
class ViTConfig:
    """Sizes of a SAM vision transformer.

    ``global_blocks`` names the blocks that attend over the whole grid; the others attend within windows
    of ``window`` x ``window`` patches.
    """

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    patch: int = 16
    window: int = 14
    mlp_ratio: int = 4


class ImageEncoderViT(nn.Module):
    """Turn a normalised, square image into one embedding vector per 16 x 16 patch."""

    def __init__(self, config: ViTConfig, image_size: int, out_channels: int) -> None:
        super().__init__()
        grid = image_size // config.patch
        self.patch_embed = PatchEmbed(config.patch, config.width)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, config.width))
        self.blocks = nn.ModuleList(
            Block(config, grid, window=0 if i in config.global_blocks else config.window)
            for i in range(config.depth)
        )
        self.neck = neck(config.width, out_channels)

    def forward(self, images: Tensor, progress: Progress = ignore_progress) -> Tensor:
        """Encode (B, 3, S, S) images to (B, C, S / 16, S / 16) embeddings."""
        x = self.patch_embed(images) + self.pos_embed  # (B, H, W, C)
        pause_of(progress, 0.0, x.device)()
        for done, block in enumerate(self.blocks):
            x = block(x, pause_of(progress, done / len(self.blocks), x.device))
            progress((done + 1) / len(self.blocks))
        return self.neck(x.permute(0, 3, 1, 2))  # type: ignore[no-any-return]


class PatchEmbed(nn.Module):
    """Cut the image into patches and project each to a token."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.proj(images).permute(0, 2, 3, 1)
        return tokens.contiguous()  # all layers after it work on one token's channels side by side


class Block(nn.Module):
    """A transformer block; ``window`` 0 means attention over the whole grid."""

    def __init__(self, config: ViTConfig, grid: int, window: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = Attention(config.width, config.heads, window or grid)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = MLPBlock(config.width, config.width * config.mlp_ratio)
        self.window = window

    def forward(self, x: Tensor, pause: Pause = go_on) -> Tensor:
        x = x + self.attn(self.norm1(x), self.window, pause)
        return x + self.mlp(self.norm2(x), pause)  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head attention over a square grid, or windows of it, with decomposed relative position biases."""

    def __init__(self, width: int, heads: int, grid: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = TokenLinear(width, 3 * width)
        self.proj = TokenLinear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid - 1, width // heads))

    def forward(self, x: Tensor, window: int = 0, pause: Pause = go_on) -> Tensor:
        """Attend from (B, H, W, C) tokens to the whole grid or, if not 0, within each ``window``."""
        attended = self._attend_in_windows(x, window, pause) if window else self._attend_globally(x, pause)
        projected: Tensor = self.proj(attended)
        pause()
        return projected

    def _attend_globally(self, x: Tensor, pause: Pause) -> Tensor:
        b, h, w, c = x.shape
        q, k, v = self._heads_of(x, pause)
        rel_h, rel_w = self._offsets(q, h, w)
        heads, rows = (1, max(1, _QUERIES_PER_BLOCK // w)) if x.device.type == "cpu" else (self.heads, h)
        out = torch.empty_like(q)
        # One head and a few rows at a time, in one buffer: the bias stays in the processor's cache.
        buffer = q.new_empty(b, heads, rows, w, h, w)
        for head in range(0, self.heads, heads):
            some = slice(head, head + heads)
            for row in range(0, h, rows):
                block = slice(row * w, (row + rows) * w)
                bias = _relative_bias(q[:, some, block], rel_h[row : row + rows], rel_w, buffer)
                out[:, some, block] = _attend(q[:, some, block], k[:, some], v[:, some], bias)
                pause()
        return out.transpose(1, 2).reshape(b, h, w, c)

    def _attend_in_windows(self, x: Tensor, window: int, pause: Pause) -> Tensor:
        """Attend one row of windows after the other, which keeps each in the processor's cache."""
        b, h, w, c = x.shape
        columns = -(-w // window)
        attended = []
        buffer: Tensor | None = None
        for row in range(0, h, window):
            strip = x[:, row : row + window]
            height = strip.shape[1]
            padded = F.pad(strip, (0, 0, 0, columns * window - w, 0, window - height))
            windows = padded.reshape(b, window, columns, window, c).transpose(1, 2).flatten(0, 1)
            q, k, v = self._heads_of(windows)
            rel_h, rel_w = self._offsets(q, window, window)
            if buffer is None:
                buffer = q.new_empty(len(windows), self.heads, window, window, window, window)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=_relative_bias(q, rel_h, rel_w, buffer))
            out = out.reshape(b, columns, self.heads, window, window, -1).permute(0, 3, 1, 4, 2, 5)
            attended.append(out.reshape(b, window, columns * window, c)[:, :height, :w])
            pause()
        return torch.cat(attended, dim=1)

    def _heads_of(self, x: Tensor, pause: Pause = go_on) -> tuple[Tensor, Tensor, Tensor]:
        """Project (B, H, W, C) tokens to queries, keys and values: each (B, heads, H * W, C / heads)."""
        b, h, w, c = x.shape
        tokens = x.reshape(-1, c)
        pieces = []
        for some in in_pieces(tokens, 3 * c * c):
            pieces.append(self.qkv(some))
            pause()
        qkv = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
        q, k, v = qkv.reshape(b, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4).contiguous()
        return q, k, v

    def _offsets(self, q: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
        """Look up the embeddings of all offsets along both axes, in the precision of the queries."""
        rel_h, rel_w = relative_positions(self.rel_pos_h, h), relative_positions(self.rel_pos_w, w)
        return rel_h.to(q.dtype), rel_w.to(q.dtype)


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Attend with an additive bias.

    In bfloat16 on a CPU plain products take half the time of the fused call, which computes in float32.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        scores = torch.add(q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2), bias)
        return scores.float().softmax(-1).to(q.dtype) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def _relative_bias(q: Tensor, rel_h: Tensor, rel_w: Tensor, buffer: Tensor) -> Tensor:
    """Build the bias of whole rows of queries to all keys in ``buffer``: (B, heads, rows * W, H * W).

    ``rel_h`` (rows, H, C) and ``rel_w`` (W, W, C) are the embeddings of their offsets; the buffer has at
    least the rows of the queries: (B, heads, rows, W, H, W). Where gradients are wanted, or a compiler plans
    the memory, it is not used.
    """
    b, heads, n, c = q.shape
    rows, h, w = rel_h.shape[0], rel_h.shape[1], rel_w.shape[1]
    grid = q.reshape(b, heads, rows, w, c)
    bias_h = torch.einsum("bnrwc,rkc->bnrwk", grid, rel_h)
    bias_w = torch.einsum("bnrwc,wkc->bnrwk", grid, rel_w)
    planned = torch.is_grad_enabled() or torch.compiler.is_compiling()
    out = None if planned else buffer[:, :, :rows]
    return torch.add(bias_h[..., :, None], bias_w[..., None, :], out=out).reshape(b, heads, n, h * w)


def relative_positions(table: Tensor, size: int) -> Tensor:
    """Look up the embedding of every (query - key) offset along one axis: (size, size, C).

    The table of an official checkpoint always has ``2 * size - 1`` rows, one per offset.
    """
    position = torch.arange(size, device=table.device)
    return table[position[:, None] - position[None, :] + size - 1]
