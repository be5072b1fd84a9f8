"""SAM's prompt encoder: points and boxes become sparse tokens, a mask becomes a dense map.

Kirillov et al., "Segment Anything" (2023), appendix A; the positional encoding is the random Fourier
features of Tancik et al. (2020). Coordinates here are ``(x, y)`` in pixels of the model's input.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from napari_sam.model.layers import LayerNorm2d

# Labels of a point, the values of the official code.
PADDING, NEGATIVE, POSITIVE = -1, 0, 1


class PositionEmbeddingRandom(nn.Module):
    """Positional encoding by sines and cosines of random frequencies."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, features))

    def forward(self, coordinates: Tensor) -> Tensor:
        """Encode (..., 2) coordinates ``(x, y)`` in [0, 1] as (..., 2 * features)."""
        angles = 2 * math.pi * ((2 * coordinates - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1)


class PromptEncoder(nn.Module):
    """Encode points, boxes and masks for the mask decoder.

    Parameters
    ----------
    width
        Channels of every token and of the dense map.
    image_size
        Side of the model's square input in pixels, to which coordinates are normalised.
    grid
        Side of the embedding in tokens.
    mask_channels
        Channels of the second convolution on a mask prompt; the first has a quarter of them.
    """

    def __init__(self, width: int, image_size: int, grid: int, mask_channels: int = 16) -> None:
        super().__init__()
        self.image_size = image_size
        self.grid = grid
        self.pe_layer = PositionEmbeddingRandom(width // 2)
        # In this order: negative point, positive point, first corner, second corner of a box.
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, 2, stride=2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, 2, stride=2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, width, 1),
        )
        self.no_mask_embed = nn.Embedding(1, width)

    def dense_pe(self) -> Tensor:
        """Give the positional encoding of every token of the embedding: (1, C, grid, grid)."""
        matrix = self.pe_layer.positional_encoding_gaussian_matrix
        centre = (torch.arange(self.grid, device=matrix.device, dtype=matrix.dtype) + 0.5) / self.grid
        y, x = torch.meshgrid(centre, centre, indexing="ij")
        return self.pe_layer(torch.stack([x, y], dim=-1)).permute(2, 0, 1)[None]  # type: ignore[no-any-return]

    def embed_points(self, points: Tensor, labels: Tensor) -> Tensor:
        """Encode (B, N, 2) points with (B, N) labels 1, 0 or -1 (padding) as (B, N, C) tokens."""
        tokens = self.pe_layer((points + 0.5) / self.image_size)
        labels = labels[..., None]
        tokens = torch.where(labels == PADDING, self.not_a_point_embed.weight[0], tokens)
        for label in (NEGATIVE, POSITIVE):
            tokens = torch.where(labels == label, tokens + self._corner_or_point(label), tokens)
        return tokens

    def embed_boxes(self, boxes: Tensor) -> Tensor:
        """Encode (B, 4) boxes ``(x0, y0, x1, y1)`` as (B, 2, C): a token for each corner."""
        corners: Tensor = self.pe_layer((boxes.reshape(-1, 2, 2) + 0.5) / self.image_size)
        return corners + torch.stack([self._corner_or_point(2), self._corner_or_point(3)])

    def embed_masks(self, masks: Tensor) -> Tensor:
        """Encode (B, 1, 4 * grid, 4 * grid) mask logits as a (B, C, grid, grid) map."""
        return self.mask_downscaling(masks)  # type: ignore[no-any-return]

    def no_mask(self) -> Tensor:
        """Give the dense map that says that there is no mask prompt: (1, C, 1, 1), to be broadcast."""
        return self.no_mask_embed.weight.reshape(1, -1, 1, 1)

    def _corner_or_point(self, index: int) -> Tensor:
        weight: Tensor = self.point_embeddings[index].weight  # type: ignore[assignment]
        return weight[0]

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encode prompts of one image, ``B`` objects at once.

        Points without a box are followed by one padding point, as the official code does: the weights
        were trained so.

        Returns
        -------
        sparse, dense
            (B, N, C) tokens and a (B or 1, C, grid or 1, grid or 1) map.
        """
        tokens: list[Tensor] = []
        if points is not None:
            coordinates, labels = points
            if boxes is None:
                coordinates = torch.cat([coordinates, torch.zeros_like(coordinates[:, :1])], dim=1)
                labels = torch.cat([labels, torch.full_like(labels[:, :1], PADDING)], dim=1)
            tokens.append(self.embed_points(coordinates, labels))
        if boxes is not None:
            tokens.append(self.embed_boxes(boxes))
        if not tokens:
            batch = 1 if masks is None else len(masks)
            tokens.append(self.no_mask_embed.weight.new_empty(batch, 0, self.no_mask_embed.embedding_dim))
        dense = self.no_mask() if masks is None else self.embed_masks(masks)
        return torch.cat(tokens, dim=1), dense
