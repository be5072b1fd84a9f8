"""The light head that finds objects without a prompt, on the features of ``nano``'s image encoder.

Foreground and closeness to an object's middle follow the centre maps of Zhou et al., "Objects as Points"
(2019); the offsets follow Neven et al., "Instance Segmentation by Jointly Optimizing Spatial Embeddings"
(2019). The mask itself is left to SAM's mask decoder.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from napari_sam.model.conv_encoder import ConvNorm

# Logit of the foreground, logit of the closeness to the middle, and the offset (x, y) to the middle.
CHANNELS = 4
# The maps' pixels per token, along one side.
SUBPIXELS = 2
# Offsets are learned in this unit, in pixels of the model's input.
OFFSET_UNIT = 32.0


class ProposalHead(nn.Module):
    """Tell for every 4 x 4 pixels whether they lie on an object and where its innermost point is."""

    def __init__(self, width: int, hidden: int = 64) -> None:
        super().__init__()
        self.hidden = ConvNorm(width, hidden)
        self.out = nn.Conv2d(hidden, CHANNELS * SUBPIXELS**2, 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """Map (B, C or more, h, w) embeddings, of which it reads the first C, to (B, 4, 2 h, 2 w) maps."""
        coarse = embedding[:, : self.hidden.conv.in_channels]
        return F.pixel_shuffle(self.out(self.hidden(coarse)), SUBPIXELS)
