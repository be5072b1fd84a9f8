"""The image encoder of ``nano``: plain 3 x 3 convolutions and a feature pyramid.

Plain convolutions run and train several times faster on a CPU than depthwise ones or windowed attention.
The residual pairs follow He et al., "Deep Residual Learning" (2016); the top-down path follows Lin et al.,
"Feature Pyramid Networks" (2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_sam.progress import Progress, ignore_progress


@dataclass(frozen=True)
class ConvConfig:
    """Widths and numbers of residual pairs at strides 4, 8, 16 and 32, after a stem at stride 2.

    ``refinements`` counts the residual pairs on the fused map at stride 8.
    """

    stem: int
    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    refinements: int = 2
    patch: int = 8


# Of the sines and cosines that tell the encoder where a token lies, in tokens.
_WAVELENGTHS = (96.0, 48.0, 24.0, 12.0, 6.0)


class ConvEncoder(nn.Module):
    """Turn a normalised image into one embedding vector per 8 x 8 pixels.

    It is fully convolutional: any size that is a multiple of 32 works, which the training on crops uses.
    The last convolutions also see where each token lies, as a vision transformer's position embedding tells
    it: so a token can say where the middle of its object is, which the mask decoder compares with a prompt.

    ``fine_channels`` more are taken from the map at stride 4, for the mask decoder to sharpen its masks with.
    """

    def __init__(self, config: ConvConfig, out_channels: int, fine_channels: int = 0) -> None:
        super().__init__()
        self.stem = ConvNorm(3, config.stem, stride=2)
        widths = (config.stem, *config.widths)
        self.stages = nn.ModuleList(
            nn.Sequential(ConvNorm(a, b, stride=2), *(ResidualPair(b) for _ in range(depth)))
            for a, b, depth in zip(widths[:-1], widths[1:], config.depths, strict=True)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, out_channels, 1) for width in config.widths[1:])
        self.detail = nn.Conv2d(config.widths[0], out_channels, 2, stride=2)
        self.position = nn.Conv2d(4 * len(_WAVELENGTHS), out_channels, 1, bias=False)
        self.refine = nn.ModuleList(
            nn.Sequential(
                ConvNorm(out_channels, out_channels), ConvNorm(out_channels, out_channels, activate=False)
            )
            for _ in range(config.refinements)
        )
        self.smooth = nn.Sequential(
            ConvNorm(out_channels, out_channels), nn.Conv2d(out_channels, out_channels, 3, padding=1)
        )
        self.norm = nn.GroupNorm(8, out_channels)
        self.fine = nn.Conv2d(config.widths[0], fine_channels, 3, padding=1) if fine_channels else None

    def forward(
        self, images: Tensor, progress: Progress = ignore_progress, corners: Tensor | None = None
    ) -> Tensor:
        """Encode (B, 3, H, W) images to (B, C + 4 F, H / 8, W / 8) embeddings.

        The last 4 F channels are the F fine ones of each token's 2 x 2 subpixels, a row after the other.
        ``corners`` gives the (B, 2) token ``(x, y)`` at which each image begins in the model's whole square;
        zero if left out.
        """
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
            progress(len(maps) / len(self.stages))
        fused = self._top_down(maps[1:]) + self.detail(maps[0])
        fused = fused + self.position(encode_positions(fused, corners))
        for pair in self.refine:
            fused = fused + pair(fused)
        embedding: Tensor = self.norm(self.smooth(fused))
        if self.fine is not None:
            subpixels = self.fine(maps[0]).unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # (B, F, h, 2, w, 2)
            embedding = torch.cat([embedding, subpixels.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)], 1)
        return embedding.contiguous()

    def _top_down(self, maps: Sequence[Tensor]) -> Tensor:
        """Add the coarse maps to the finer ones, from stride 32 up to stride 8."""
        fused: Tensor = self.lateral[-1](maps[-1])
        for lateral, finer in zip(self.lateral[-2::-1], maps[-2::-1], strict=True):
            fused = lateral(finer) + F.interpolate(fused, scale_factor=2.0, mode="nearest")
        return fused


def encode_positions(tokens: Tensor, corners: Tensor | None = None) -> Tensor:
    """Give sines and cosines of the positions of (B, C, h, w) ``tokens``: (B or 1, 20, h, w)."""
    h, w = tokens.shape[-2:]
    if corners is None:
        corners = torch.zeros(1, 2, device=tokens.device)
    waves = 2 * math.pi / torch.tensor(_WAVELENGTHS, device=tokens.device)
    x, y = (
        (corners[:, axis, None] + torch.arange(n, device=tokens.device))[:, None] * waves[:, None]
        for axis, n in ((0, w), (1, h))
    )  # (B, 5, w), (B, 5, h)
    x, y = x[:, :, None, :].expand(-1, -1, h, -1), y[:, :, :, None].expand(-1, -1, -1, w)
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=1).to(tokens.dtype)


class ConvNorm(nn.Module):
    """3 x 3 convolution, batch norm and (unless ``activate`` is false) ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, activate: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return F.relu(x, inplace=True) if self.activate else x


class ResidualPair(nn.Module):
    """Two convolutions around which the input is carried unchanged."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = ConvNorm(width, width)
        self.second = ConvNorm(width, width, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))
