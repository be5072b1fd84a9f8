"""SAM's mask decoder: a two-way transformer between prompt tokens and the image embedding.

Kirillov et al., "Segment Anything" (2023), section 3 and appendix A.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_sam.model.layers import MLP, LayerNorm2d, MLPBlock

# One token for the mask of an unambiguous prompt, then three for whole, part and subpart.
MASK_TOKENS = 4


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the two-way transformer and of the score head."""

    width: int = 256
    heads: int = 8
    mlp: int = 2048
    depth: int = 2
    score_hidden: int = 256


class MaskDecoder(nn.Module):
    """Predict four masks, each with its estimated IoU, from an image embedding and prompt tokens."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        width = config.width
        self.transformer = TwoWayTransformer(config)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, 2, stride=2),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(width, width, width // 8, 3) for _ in range(MASK_TOKENS)
        )
        self.iou_prediction_head = MLP(width, config.score_hidden, MASK_TOKENS, 3)

    def forward(
        self, embedding: Tensor, embedding_pe: Tensor, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode ``B`` prompts.

        Parameters
        ----------
        embedding, embedding_pe
            (1 or B, C, h, w) image embedding and its positional encoding.
        sparse
            (B, N, C) prompt tokens.
        dense
            (1 or B, C, h or 1, w or 1) map of the mask prompt.

        Returns
        -------
        logits, scores
            (B, 4, 4 h, 4 w) mask logits and (B, 4) estimates of each mask's IoU with the object. The first
            is for unambiguous prompts, the other three are candidates for an ambiguous one.
        """
        b = len(sparse)
        h, w = embedding.shape[-2:]
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(b, -1, -1), sparse], dim=1)  # (B, 5 + N, C)
        image = (embedding + dense).flatten(2).transpose(1, 2).expand(b, -1, -1)  # (B, h * w, C)
        image_pe = embedding_pe.flatten(2).transpose(1, 2)
        tokens, image = self.transformer(image, image_pe, tokens)
        filters = torch.stack(
            [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        logits = self._upscaled_product(image, filters, (h, w))
        return logits, self.iou_prediction_head(tokens[:, 0])

    def _upscaled_product(self, image: Tensor, filters: Tensor, size: tuple[int, int]) -> Tensor:
        """Upscale (B, h * w, C) image tokens four times and apply the (B, M, C / 8) mask filters.

        The same numbers as `output_upscaling` followed by the product. A transposed convolution whose
        kernel equals its stride is a matrix product per token; the channels stay last until the end, so
        the layer norm is one fused call and only the M logits per pixel are ever rearranged.
        """
        first, norm, _, second, _ = self.output_upscaling
        assert isinstance(norm, LayerNorm2d)
        x = _subpixels(image, first)  # (B, h * w * 4, C / 4)
        x = F.gelu(F.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.eps))
        x = F.gelu(_subpixels(x, second))  # (B, h * w * 16, C / 8)
        logits = x @ filters.transpose(1, 2)  # (B, h * w * 16, M)
        h, w = size
        logits = logits.reshape(-1, h, w, 2, 2, 2, 2, MASK_TOKENS).permute(0, 7, 1, 3, 5, 2, 4, 6)
        return logits.reshape(-1, MASK_TOKENS, 4 * h, 4 * w)


def _subpixels(x: Tensor, convolution: nn.Module) -> Tensor:
    """Apply a 2 x 2 transposed convolution of stride 2 to (B, N, C): (B, N * 4, C'), subpixels row by row."""
    assert isinstance(convolution, nn.ConvTranspose2d) and convolution.bias is not None
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4 * C', C)
    return F.linear(x, weight, convolution.bias.repeat(4)).reshape(len(x), 4 * x.shape[1], -1)


class TwoWayTransformer(nn.Module):
    """Let prompt tokens and image tokens attend to each other, in both directions."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayAttentionBlock(config, first=i == 0) for i in range(config.depth))
        self.final_attn_token_to_image = CrossAttention(config.width, config.heads, downsample=2)
        self.norm_final_attn = nn.LayerNorm(config.width)

    def forward(self, image: Tensor, image_pe: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the updated (B, N, C) prompt tokens and (B, h * w, C) image tokens."""
        tokens = prompts
        for layer in self.layers:
            tokens, image = layer(tokens, image, prompts, image_pe)
        attended = self.final_attn_token_to_image(tokens + prompts, image + image_pe, image)
        return self.norm_final_attn(tokens + attended), image


class TwoWayAttentionBlock(nn.Module):
    """Self-attention of the tokens, tokens to image, MLP on the tokens, image to tokens."""

    def __init__(self, config: DecoderConfig, first: bool) -> None:
        super().__init__()
        width, heads = config.width, config.heads
        self.self_attn = CrossAttention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = CrossAttention(width, heads, downsample=2)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLPBlock(width, config.mlp, nn.ReLU)
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = CrossAttention(width, heads, downsample=2)
        self.first = first

    def forward(
        self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.first:
            # The tokens still are their own positional encoding here; the official code adds neither
            # that nor a residual.
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            query = tokens + token_pe
            tokens = tokens + self.self_attn(query, query, tokens)
        tokens = self.norm1(tokens)
        keys = image + image_pe
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_pe, keys, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(keys, tokens + token_pe, tokens))
        return tokens, image


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
        q, k, v = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection, x in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        attended = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]
