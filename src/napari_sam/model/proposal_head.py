"""The light head that finds objects without a prompt, on the features of ``nano``'s image encoder.

Foreground and closeness to an object's middle follow the centre maps of Zhou et al., "Objects as Points"
(2019); the offsets and their reach follow Neven et al., "Instance Segmentation by Jointly Optimizing Spatial
Embeddings" (2019). A prompt is shown to SAM's mask decoder as the pixels that vote for the same middle as it
does, see `napari_sam.model.votes`; the mask itself is left to the decoder.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Logit of the foreground, logit of the closeness to the middle, the offset (x, y) to the middle, and the
# logarithm of how far apart the votes of one object may lie. The labels teach all but the last.
CHANNELS, TAUGHT = 5, 4
# The maps' pixels per token, along one side.
SUBPIXELS = 2
# Offsets are learned in this unit, in pixels of the model's input.
OFFSET_UNIT = 32.0


class ProposalHead(nn.Module):
    """Tell for every 4 x 4 pixels whether they lie on an object and where its innermost point is.

    Parameters
    ----------
    width
        Channels of the embedding without its fine ones.
    fine_channels
        The fine channels of each subpixel that come after these.
    hidden
        Channels of the maps' own features.
    """

    def __init__(self, width: int, fine_channels: int = 0, hidden: int = 32) -> None:
        super().__init__()
        self.width = width
        self.coarse = nn.Conv2d(width, hidden * SUBPIXELS**2, 1)
        self.mix = nn.Sequential(
            _normed_convolution(hidden + fine_channels, hidden), _normed_convolution(hidden, hidden)
        )
        self.out = nn.Conv2d(hidden, CHANNELS, 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """Map (B, C + 4 F, h, w) embeddings to (B, 5, 2 h, 2 w) maps."""
        x = F.pixel_shuffle(self.coarse(embedding[:, : self.width]), SUBPIXELS)
        if embedding.shape[1] > self.width:
            # (B, 2, 2, F, h, w) to (B, F, 2 h, 2 w)
            fine = embedding[:, self.width :].unflatten(1, (SUBPIXELS, SUBPIXELS, -1))
            x = torch.cat([x, fine.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)], 1)
        return self.out(self.mix(x.contiguous(memory_format=torch.channels_last)))  # type: ignore[no-any-return]


def _normed_convolution(inputs: int, outputs: int) -> nn.Sequential:
    """3 x 3 convolution, group norm and ReLU; the statistics are always those of the map at hand."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.GroupNorm(8, outputs),
        nn.ReLU(inplace=True),
    )
