"""The whole Segment Anything model and the table of its architectures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_sam.model.close_up import CloseUp, bounded, features_of, views_of
from napari_sam.model.conv_encoder import ConvConfig, ConvEncoder
from napari_sam.model.factored import FactoredImage
from napari_sam.model.image_encoder import ImageEncoderViT, ViTConfig
from napari_sam.model.mask_decoder import MASK_TOKENS, MaskDecoder
from napari_sam.model.prompt_encoder import POSITIVE, PromptEncoder
from napari_sam.model.proposal_head import SUBPIXELS, ProposalHead
from napari_sam.model.squares import squares_around
from napari_sam.model.tiny_vit import TinyViT, TinyViTConfig
from napari_sam.model.two_way_transformer import DecoderConfig, ImageTokens
from napari_sam.model.upscaling import UPSCALING
from napari_sam.model.votes import drawn_boxes, drawn_points, voted_boxes
from napari_sam.progress import Progress, ignore_progress

# Mean and standard deviation of ImageNet's red, green and blue, on the scale 0-255.
_PIXEL_MEAN = (123.675, 116.28, 103.53)
_PIXEL_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class SamConfig:
    """Everything that tells one SAM architecture from another.

    ``image_size`` is the side in pixels of the square input, to which an image's longer side is scaled;
    ``proposals`` says whether a `ProposalHead` stands on the image encoder. Of objects with less area than a
    square of side ``small`` in the input, the model gives better masks enlarged; 0 where none is so small.

    Three things that the official models do not have: with ``fine`` the embedding carries finer features
    beside its own, which sharpen the masks as they are upscaled (as Ravi et al., "SAM 2", 2024, do); with
    ``draws_prompts``, for which it needs the `ProposalHead`, points and boxes are also shown as mask prompts,
    see `Sam.draw`; with ``close_up`` the embedding also carries the brightness of its pixels, on which masks
    are redrawn, see `Sam.look_closer`. Where ``takes_grain`` is false, small images that are noisy are to be
    smoothed before they are enlarged. With ``centred`` it learned prompts that lie where the pixels do when
    an image is scaled, which those of the official models do not.
    """

    architecture: str
    encoder: ViTConfig | TinyViTConfig | ConvConfig
    image_size: int = 1024
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    proposals: bool = False
    small: int = 0
    fine: bool = False
    draws_prompts: bool = False
    close_up: bool = False
    takes_grain: bool = True
    centred: bool = False

    @property
    def fine_channels(self) -> int:
        """Fine channels of each of a token's 2 x 2 subpixels: those of the upscaling's first step."""
        return self.decoder.width // 4 if self.fine else 0

    @property
    def features_width(self) -> int:
        """Channels of an embedding that mask decoder and proposal head read, the fine ones included."""
        return self.decoder.width + 4 * self.fine_channels

    @property
    def embedding_width(self) -> int:
        """All channels of an embedding: behind the features the pixels, if masks are redrawn."""
        return self.features_width + self.close_up * self.encoder.patch**2

    @property
    def grid(self) -> int:
        """Side of the embedding in tokens."""
        return self.image_size // self.encoder.patch


CONFIGS = {
    config.architecture: config
    for config in (
        SamConfig(
            "nano",
            ConvConfig(stem=32, widths=(64, 128, 160, 192), depths=(4, 6, 3, 2), refinements=4),
            image_size=512,
            decoder=DecoderConfig(width=96, heads=4, mlp=384, score_hidden=96),
            proposals=True,
            small=12,
            fine=True,
            draws_prompts=True,
            close_up=True,
            takes_grain=False,
            centred=True,
        ),
        SamConfig(
            "vit_t",
            TinyViTConfig((64, 128, 160, 320), depths=(2, 2, 6, 2), heads=(4, 5, 10), windows=(7, 14, 7)),
        ),
        SamConfig("vit_b", ViTConfig(768, 12, 12, global_blocks=(2, 5, 8, 11))),
        SamConfig("vit_l", ViTConfig(1024, 24, 16, global_blocks=(5, 11, 17, 23))),
        SamConfig("vit_h", ViTConfig(1280, 32, 16, global_blocks=(7, 15, 23, 31))),
    )
}


class Sam(nn.Module):
    """Image encoder, prompt encoder and mask decoder, with the official checkpoints' parameter names."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.config = config
        width = config.decoder.width
        self.image_encoder: nn.Module
        if isinstance(config.encoder, ViTConfig):
            self.image_encoder = ImageEncoderViT(config.encoder, config.image_size, width)
        elif isinstance(config.encoder, TinyViTConfig):
            self.image_encoder = TinyViT(config.encoder, width)
        else:
            self.image_encoder = ConvEncoder(config.encoder, width, config.fine_channels)
        self.prompt_encoder = PromptEncoder(width, config.image_size, config.grid)
        self.mask_decoder = MaskDecoder(config.decoder)
        self.proposal_head = ProposalHead(width, config.fine_channels) if config.proposals else None
        self.close_up = CloseUp(width) if config.close_up else None

    def normalise(self, images: Tensor) -> Tensor:
        """Bring (B, 3, h, w) images of 0-255 to mean zero and deviation one of natural images."""
        mean, std = (torch.tensor(x, device=images.device)[:, None, None] for x in (_PIXEL_MEAN, _PIXEL_STD))
        return (images - mean) / std

    def preprocess(self, images: Tensor) -> Tensor:
        """Normalise (B, 3, h, w) images of 0-255 and pad them below and on the right to the square."""
        images = self.normalise(images)
        size = self.config.image_size
        return F.pad(images, (0, size - images.shape[-1], 0, size - images.shape[-2]))

    def encode(self, images: Tensor, progress: Progress = ignore_progress) -> Tensor:
        """Embed (B, 3, h, w) images of 0-255, h and w at most ``image_size``: (B, C, grid, grid)."""
        features: Tensor = self.image_encoder(self.preprocess(images), progress)
        if self.close_up is None:
            return features
        size = self.config.image_size
        grey = F.pad(brightness(images), (0, size - images.shape[-1], 0, size - images.shape[-2]))
        pixels = F.pixel_unshuffle(grey, self.config.encoder.patch)
        return torch.cat([features, pixels.to(features.dtype)], 1)

    def features(self, embedding: Tensor) -> Tensor:
        """Give the part of (B, C, grid, grid) embeddings that the mask decoder and the proposal head read."""
        return embedding[:, : self.config.features_width]

    def pixels(self, embedding: Tensor) -> Tensor:
        """Give the brightness of the images that (B, C, grid, grid) embeddings carry: (B, 1, size, size)."""
        return F.pixel_shuffle(embedding[:, self.config.features_width :], self.config.encoder.patch)

    def image_pe(self) -> Tensor:
        """Give the positional encoding of the embedding, as `decode` reads it: (1, C, grid, grid)."""
        return self.prompt_encoder.dense_pe().contiguous(memory_format=torch.channels_last)

    def look_at(self, embedding: Tensor, image_pe: Tensor) -> ImageTokens:
        """Compute what all prompts without a mask share on one (1, C, grid, grid) embedding."""
        return self.mask_decoder.look_at(embedding, image_pe, self.prompt_encoder.no_mask())

    def look_at_for_many(self, embedding: Tensor, image_pe: Tensor) -> FactoredImage | None:
        """Compute what many prompts without a mask, decoded together, share; None where it does not pay."""
        return self.mask_decoder.look_at_for_many(embedding, image_pe, self.prompt_encoder.no_mask())

    def decode(
        self,
        embedding: Tensor,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        candidates: Sequence[int] = range(MASK_TOKENS),
        image_pe: Tensor | None = None,
        known: ImageTokens | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict (B, M, 4 grid, 4 grid) logits and (B, M) scores of ``B`` prompts on one embedding.

        Coordinates are ``(x, y)`` in pixels of the scaled image; see `PromptEncoder` and `MaskDecoder`. Of a
        model that draws prompts, ``masks`` are what `draw` gave where the user gave none. What `image_pe`
        gave can be handed in, since it never changes; so can what `look_at` gave, if there are no ``masks``.
        The embedding is read fastest with its channels last in memory.
        """
        sparse, dense = self.prompt_encoder(points, boxes, masks)
        image_pe = self.image_pe() if image_pe is None else image_pe
        return self.mask_decoder(embedding, image_pe, sparse, dense, candidates, known)  # type: ignore[no-any-return]

    def draw(
        self, maps: Tensor, points: tuple[Tensor, Tensor] | None = None, boxes: Tensor | None = None
    ) -> Tensor | None:
        """Draw prompts that have no mask as the masks that the proposal head would guess: (B, 1, 4 h, 4 w).

        The sines and cosines of a position tell the mask decoder only roughly what is meant. A box is drawn
        as the mean of the ellipse in it and of what its pixels vote for. None where there is nothing to draw.

        Parameters
        ----------
        maps
            (1 or B, 5, 2 h, 2 w) that the proposal head gave for an embedding, or for a part of it.
        points, boxes
            As for `decode`, but relative to the first pixel of the maps.
        """
        patch, upscale = self.config.encoder.patch, UPSCALING // SUBPIXELS
        if boxes is not None:
            size = (upscale * maps.shape[-2], upscale * maps.shape[-1])
            voted = F.interpolate(voted_boxes(maps, boxes, patch / SUBPIXELS), size, mode="bilinear")
            return (drawn_boxes(boxes, size, patch / UPSCALING) + voted) / 2
        if points is not None and bool((points[1] == POSITIVE).any(1).all()):
            drawn = drawn_points(maps, *points, patch / SUBPIXELS)
            return F.interpolate(drawn, scale_factor=upscale, mode="bilinear")
        return None

    def look_closer(
        self,
        pixels: Tensor,
        embedding: Tensor,
        logits: Tensor,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        origins: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Redraw masks on squares around them: the (B, 3) squares, (B, 64, 64) logits and (B,) scores.

        See `napari_sam.model.close_up`.

        Parameters
        ----------
        pixels
            (1, 1, h, w) brightness of the image, without its padding.
        embedding
            (1, C, grid, grid) of the same image.
        logits
            (B, h, w) that `decode` gave, or (B, h, w) parts of such.
        points, boxes
            The prompts as for `decode`.
        origins
            (B, 2) pixel ``(x, y)`` of the input at which each part of the logits begins; zero if left out.
        """
        assert self.close_up is not None
        stride = self.config.encoder.patch / UPSCALING
        squares = squares_around(logits, stride, points, boxes, origins)
        views = views_of(pixels, None, squares, logits, stride, points, boxes, origins)
        features = features_of(embedding[:, : self.close_up.width], squares, self.config.encoder.patch)
        drawn, scores = self.close_up(views.to(embedding.dtype), features)
        return squares, drawn.float(), bounded(scores.float())


def brightness(images: Tensor) -> Tensor:
    """Give the rounded mean of the colours of (B, 3, h, w) images: (B, 1, h, w)."""
    return images.float().mean(1, keepdim=True).round()
