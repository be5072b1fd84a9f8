"""The parameter names and shapes of the official checkpoints, and parts that parity cannot isolate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from napari_sam.model.image_encoder import Attention
from napari_sam.model.prompt_encoder import PADDING, POSITIVE
from napari_sam.model.sam import CONFIGS, Sam
from seeded import SMALL_VIT

DATA = Path(__file__).parents[1] / "data"
OFFICIAL_SHAPES = json.loads((DATA / "state_dict_shapes.json").read_text()) | {
    "vit_t": json.loads((DATA / "mobile_sam_shapes.json").read_text())
}


def meta_model(architecture: str) -> Sam:
    """Build a model without memory for its weights."""
    with torch.device("meta"):
        return Sam(CONFIGS[architecture])


@pytest.mark.parametrize("architecture", OFFICIAL_SHAPES)
def test_keys_and_shapes_are_the_official_ones(architecture: str) -> None:
    ours = {key: list(tensor.shape) for key, tensor in meta_model(architecture).state_dict().items()}
    assert ours == OFFICIAL_SHAPES[architecture]


def test_nano_fits_in_12_megabytes_at_half_precision() -> None:
    weights = sum(tensor.numel() for tensor in meta_model("nano").state_dict().values())
    assert 2 * weights < 12e6


def test_nano_shares_its_prompt_encoder_and_decoder_keys_with_the_official_models() -> None:
    def heads(keys: list[str]) -> list[str]:
        own = ("image_encoder.", "proposal_head.")
        return sorted(key for key in keys if not key.startswith(own))

    assert heads(list(meta_model("nano").state_dict())) == heads(list(OFFICIAL_SHAPES["vit_b"]))


@pytest.mark.parametrize("size", [(5, 5), (6, 9), (4, 11)], ids=str)
def test_a_window_sees_nothing_beyond_it(size: tuple[int, int]) -> None:
    """Windows of 5 x 5 tokens, the last ones padded: a change reaches the tokens of its own window alone."""
    attention = Attention(8, heads=2, grid=5)
    x = torch.randn(2, *size, 8)
    changed = x.clone()
    changed[:, 3, 4] += 1
    with torch.inference_mode():
        differs = (attention(x, window=5) - attention(changed, window=5)).abs().amax((0, 3)) > 1e-7
    expected = torch.zeros(size, dtype=torch.bool)
    expected[:5, :5] = True
    assert torch.equal(differs, expected)


def test_a_token_knows_where_it_lies() -> None:
    """A crop that begins at another token of the square has another embedding; no corner means the first."""
    encoder = Sam(CONFIGS["nano"]).eval().image_encoder
    crop = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        whole, first, later = (
            encoder(crop, corners=corner) for corner in (None, torch.zeros(1, 2), torch.tensor([[5.0, 9.0]]))
        )
    assert torch.equal(whole, first) and not torch.allclose(whole, later, atol=1e-3)


def test_a_padding_point_is_the_same_wherever_it_lies() -> None:
    encoder = Sam(SMALL_VIT).prompt_encoder
    labels = torch.tensor([[POSITIVE, PADDING]])
    here, there = (encoder.embed_points(torch.tensor([[[3.0, 4.0], xy]]), labels) for xy in ([0, 0], [99, 9]))
    assert torch.equal(here, there)


@pytest.mark.parametrize("prompts", [1, 3])
def test_one_call_decodes_many_prompts_of_one_image(prompts: int) -> None:
    sam = Sam(SMALL_VIT).eval()
    points = torch.rand(prompts, 2, 2) * 256
    labels = torch.ones(prompts, 2, dtype=torch.int64)
    embedding = torch.randn(1, 32, 16, 16)
    with torch.inference_mode():
        logits, scores = sam.decode(embedding, (points, labels))
        last_logits, last_scores = sam.decode(embedding, (points[-1:], labels[-1:]))
    assert logits.shape == (prompts, 4, 64, 64) and scores.shape == (prompts, 4)
    torch.testing.assert_close(logits[-1:], last_logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(scores[-1:], last_scores, rtol=0, atol=1e-5)
