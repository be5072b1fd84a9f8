"""MobileSAM's image encoder: a small hierarchical vision transformer.

Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision Transformers" (2022), as Zhang et al.,
"Faster Segment Anything" (2023) changed it: the last stage keeps the stride of 16, and SAM's neck follows.
Parameters have the names of MobileSAM's checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_sam.model.layers import Pause, TokenLinear, gelu, go_on, neck, pause_of
from napari_sam.progress import Progress, ignore_progress

# The classifier that TinyViT was trained with. Nothing uses it, but checkpoints hold it.
_CLASSES = 1000


@dataclass(frozen=True)
class TinyViTConfig:
    """Sizes of a TinyViT.

    The first stage is made of convolutions, at stride 4; the others attend within ``windows`` of tokens, at
    strides 8, 16 and 16. ``heads`` and ``windows`` are those of the second stage on.
    """

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int]
    windows: tuple[int, int, int]
    expansion: int = 4
    patch: int = 16


class TinyViT(nn.Module):
    """Turn a normalised, square image into one embedding vector per 16 x 16 pixels."""

    def __init__(self, config: TinyViTConfig, out_channels: int) -> None:
        super().__init__()
        widths, expansion = config.widths, config.expansion
        self.patch_embed = PatchEmbed(widths[0])
        self.layers = nn.ModuleList([ConvStage(widths[0], widths[1], config.depths[0], expansion)])
        for i, (heads, window) in enumerate(zip(config.heads, config.windows, strict=True), start=1):
            blocks = [Block(widths[i], heads, window, expansion) for _ in range(config.depths[i])]
            # From stride 8 to 16 the map shrinks, after that it only widens.
            merging = PatchMerging(widths[i], widths[i + 1], stride=2 if i == 1 else 1) if i < 3 else None
            self.layers.append(AttentionStage(blocks, merging))
        self.norm_head = nn.LayerNorm(widths[-1])
        self.head = nn.Linear(widths[-1], _CLASSES)
        self.neck = neck(widths[-1], out_channels)

    def forward(self, images: Tensor, progress: Progress = ignore_progress) -> Tensor:
        """Encode (B, 3, S, S) images to (B, C, S / 16, S / 16) embeddings."""
        x = self.patch_embed(images)  # (B, C, S / 4, S / 4)
        pause_of(progress, 0.0, x.device)()
        for done, layer in enumerate(self.layers):
            x = layer(x, pause_of(progress, done / len(self.layers), x.device))
            progress((done + 1) / len(self.layers))
        return self.neck(x)  # type: ignore[no-any-return]


class ConvNorm(nn.Sequential):
    """A convolution without bias, and batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.add_module(
            "c", nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        )
        self.add_module("bn", nn.BatchNorm2d(outputs))


class PatchEmbed(nn.Module):
    """Two convolutions of stride 2 in place of ViT's single large one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvNorm(3, width // 2, kernel=3, stride=2),
            nn.GELU(),
            ConvNorm(width // 2, width, kernel=3, stride=2),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.seq(images)  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """Widen, convolve each channel by itself, narrow: the layers that the next two classes share."""

    def __init__(self, inputs: int, hidden: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, hidden)
        self.conv2 = ConvNorm(hidden, hidden, kernel=3, stride=stride, groups=hidden)
        self.conv3 = ConvNorm(hidden, outputs)

    def forward(self, x: Tensor, pause: Pause = go_on) -> Tensor:
        x = F.gelu(self.conv1(x))
        pause()
        x = F.gelu(self.conv2(x))
        pause()
        return self.conv3(x)  # type: ignore[no-any-return]


class MBConv(Bottleneck):
    """The inverted residual block of Sandler et al., "MobileNetV2" (2018)."""

    def __init__(self, width: int, expansion: int) -> None:
        super().__init__(width, expansion * width, width)

    def forward(self, x: Tensor, pause: Pause = go_on) -> Tensor:
        return F.gelu(x + super().forward(x, pause))


class PatchMerging(Bottleneck):
    """Change the width, and halve the map if ``stride`` is 2, between two stages."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, outputs, stride)


class ConvStage(nn.Module):
    """The first stage: inverted residual blocks, then a patch merging."""

    def __init__(self, width: int, next_width: int, depth: int, expansion: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(MBConv(width, expansion) for _ in range(depth)))
        self.downsample = PatchMerging(width, next_width, stride=2)

    def forward(self, x: Tensor, pause: Pause = go_on) -> Tensor:
        for block in self.blocks:
            x = block(x, pause)
            pause()
        return self.downsample(x, pause)  # type: ignore[no-any-return]


class AttentionStage(nn.Module):
    """Transformer blocks, then a patch merging unless the stage is the last."""

    def __init__(self, blocks: list[Block], merging: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.downsample = merging

    def forward(self, x: Tensor, pause: Pause = go_on) -> Tensor:
        for block in self.blocks:
            x = block(x)
            pause()
        return x if self.downsample is None else self.downsample(x, pause)


class Block(nn.Module):
    """Attention within windows, a convolution that lets neighbouring windows meet, and an MLP."""

    def __init__(self, width: int, heads: int, window: int, expansion: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads, window)
        self.local_conv = ConvNorm(width, width, kernel=3, groups=width)
        self.mlp = Mlp(width, expansion * width)
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        """Update a (B, C, H, W) map."""
        x = x + self._attend(x)
        tokens = self.local_conv(x).permute(0, 2, 3, 1)  # (B, H, W, C)
        return (tokens + self.mlp(tokens)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]

    def _attend(self, x: Tensor) -> Tensor:
        """Attend within each window. Padding takes part: the weights were trained so."""
        height, width = x.shape[2:]
        window = self.window
        x = F.pad(x, (0, -width % window, 0, -height % window))
        b, c, h, w = x.shape
        x = x.reshape(b, c, h // window, window, w // window, window)
        x = x.permute(0, 2, 4, 3, 5, 1).reshape(-1, window * window, c)  # (B * windows, tokens, C)
        x = self.attn(x).reshape(b, h // window, w // window, window, window, c)
        return x.permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, w)[:, :, :height, :width]


class Attention(nn.Module):
    """Multi-head attention in a window, biased by how far apart two tokens are along each axis."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.norm = nn.LayerNorm(width)
        self.qkv = TokenLinear(width, 3 * width)
        self.proj = TokenLinear(width, width)
        # One bias for each pair of absolute distances (rows, columns).
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))

    def forward(self, x: Tensor) -> Tensor:
        """Attend among the tokens of each of (N, window * window, C)."""
        # Each head's query, key and value lie beside one another.
        qkv = self.qkv(self.norm(x)).unflatten(-1, (self.heads, 3, -1))  # (N, tokens, heads, 3, C / heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4)
        bias = self.attention_biases[:, distances(self.window, x.device)]
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def distances(window: int, device: torch.device) -> Tensor:
    """Number each pair of tokens of a window by its distances, rows * window + columns: (tokens, tokens)."""
    row, column = (
        x.flatten() for x in torch.meshgrid(*2 * [torch.arange(window, device=device)], indexing="ij")
    )
    rows, columns = ((x[:, None] - x[None, :]).abs() for x in (row, column))
    return rows * window + columns


class Mlp(nn.Module):
    """Norm, and two linear layers with GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = TokenLinear(width, hidden)
        self.fc2 = TokenLinear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(gelu(self.fc1(self.norm(x))))  # type: ignore[no-any-return]
