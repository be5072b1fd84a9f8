"""What was folded gives the same numbers with fewer layers."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from napari_sam.model.folding import fold_norms
from napari_sam.model.sam import CONFIGS
from napari_sam.weights.loading import load_model
from seeded import seeded_model


def assert_same_when_folded(module: nn.Module, *inputs: Tensor) -> None:
    folded = copy.deepcopy(module)
    fold_norms(folded)
    assert any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    with torch.inference_mode():
        before, after = (torch.cat([x.flatten() for x in run(*inputs)]) for run in (module, folded))
    torch.testing.assert_close(after, before, atol=1e-5 * before.abs().max().item(), rtol=0)


def test_the_encoder_of_the_shipped_model_gives_the_same_embedding() -> None:
    image = torch.randn(1, 3, 128, 160, generator=torch.Generator().manual_seed(0))
    assert_same_when_folded(load_model("nano")[0].image_encoder, image)


def test_close_ups_of_the_shipped_model_are_drawn_the_same() -> None:
    close_up = load_model("nano")[0].close_up
    assert close_up is not None
    generator = torch.Generator().manual_seed(0)
    views = torch.randn(4, 5, 64, 64, generator=generator)
    assert_same_when_folded(close_up, views, torch.randn(4, close_up.width, 16, 16, generator=generator))


def test_convolutions_of_mobile_sam_give_the_same() -> None:
    """Those of its first block are depthwise, too."""
    encoder = seeded_model(CONFIGS["vit_t"]).image_encoder
    first = nn.Sequential(encoder.patch_embed, encoder.layers[0].blocks[0])
    assert_same_when_folded(first, torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
