"""SAM's image encoder: a plain vision transformer with windowed and global attention.

Kirillov et al., "Segment Anything" (2023), section 3; the backbone is that of Li et al., "Exploring Plain
Vision Transformer Backbones for Object Detection" (2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_sam.model.layers import LayerNorm2d, MLPBlock, Progress, ignore_progress

# Queries whose relative position bias is built at once. Small enough that the bias of one block stays
# in the tens of megabytes, large enough that the matrix products stay efficient.
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
        self.neck = nn.Sequential(
            nn.Conv2d(config.width, out_channels, 1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )

    def forward(self, images: Tensor, progress: Progress = ignore_progress) -> Tensor:
        """Encode (B, 3, S, S) images to (B, C, S / 16, S / 16) embeddings."""
        x = self.patch_embed(images) + self.pos_embed  # (B, H, W, C)
        for done, block in enumerate(self.blocks, start=1):
            x = block(x)
            progress(done / len(self.blocks))
        return self.neck(x.permute(0, 3, 1, 2))  # type: ignore[no-any-return]


class PatchEmbed(nn.Module):
    """Cut the image into patches and project each to a token."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).permute(0, 2, 3, 1)  # type: ignore[no-any-return]


class Block(nn.Module):
    """A transformer block; ``window`` 0 means attention over the whole grid."""

    def __init__(self, config: ViTConfig, grid: int, window: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = Attention(config.width, config.heads, window or grid)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = MLPBlock(config.width, config.width * config.mlp_ratio)
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        attended = self.norm1(x)
        if self.window:
            windows, padded = window_partition(attended, self.window)
            attended = window_unpartition(self.attn(windows), padded, x.shape[1:3])
        else:
            attended = self.attn(attended)
        x = x + attended
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head attention over a square grid with decomposed relative position biases."""

    def __init__(self, width: int, heads: int, grid: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid - 1, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        qkv = self.qkv(x).reshape(b, h * w, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, H * W, C / heads)
        rel_h = relative_positions(self.rel_pos_h, h)  # (H, H, C / heads)
        rel_w = relative_positions(self.rel_pos_w, w)
        rows = max(1, _QUERIES_PER_BLOCK // w)
        out = torch.cat(
            [
                self._attend(q[:, :, row * w : (row + rows) * w], k, v, rel_h[row : row + rows], rel_w)
                for row in range(0, h, rows)
            ],
            dim=2,
        )
        return self.proj(out.transpose(1, 2).reshape(b, h, w, c))  # type: ignore[no-any-return]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
        """Attend from whole rows of queries; only their part of the bias is ever built."""
        b, heads, n, c = q.shape
        rows, h, w = rel_h.shape[0], rel_h.shape[1], rel_w.shape[1]
        grid = q.reshape(b, heads, rows, w, c)
        bias_h = torch.einsum("bnrwc,rkc->bnrwk", grid, rel_h)
        bias_w = torch.einsum("bnrwc,wkc->bnrwk", grid, rel_w)
        bias = (bias_h[..., :, None] + bias_w[..., None, :]).reshape(b, heads, n, h * w)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def relative_positions(table: Tensor, size: int) -> Tensor:
    """Look up the embedding of every (query - key) offset along one axis: (size, size, C).

    The table of an official checkpoint always has ``2 * size - 1`` rows, one per offset.
    """
    position = torch.arange(size, device=table.device)
    return table[position[:, None] - position[None, :] + size - 1]


def window_partition(x: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut (B, H, W, C) into (B * n, window, window, C), padding below and on the right with zeros."""
    b, h, w, c = x.shape
    x = F.pad(x, (0, 0, 0, -w % window, 0, -h % window))
    padded = (x.shape[1], x.shape[2])
    x = x.reshape(b, padded[0] // window, window, padded[1] // window, window, c)
    return x.transpose(2, 3).reshape(-1, window, window, c), padded


def window_unpartition(windows: Tensor, padded: tuple[int, int], size: torch.Size) -> Tensor:
    """Put the windows back and cut the padding off: the inverse of `window_partition`."""
    window, c = windows.shape[1], windows.shape[3]
    x = windows.reshape(-1, padded[0] // window, padded[1] // window, window, window, c)
    x = x.transpose(2, 3).reshape(-1, *padded, c)
    return x[:, : size[0], : size[1]]
