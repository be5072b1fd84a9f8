"""The parameter names and shapes of the official checkpoints, and parts that parity cannot isolate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from napari_sam.model.image_encoder import Attention
from napari_sam.model.prompt_encoder import PADDING, POSITIVE
from napari_sam.model.sam import CONFIGS, Sam
from napari_sam.weights.compact import compacted
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


def test_nano_fits_in_12_megabytes_as_it_is_stored() -> None:
    stored = compacted(Sam(CONFIGS["nano"]).state_dict())
    assert sum(tensor.nbytes for tensor in stored.values()) < 12e6


def test_nano_shares_its_prompt_encoder_and_decoder_keys_with_the_official_models() -> None:
    def heads(keys: list[str]) -> list[str]:
        own = ("image_encoder.", "proposal_head.", "close_up.")
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


class TestFineFeatures:
    """What the embedding of nano carries beside the decoder's width."""

    SIZE = (5, 3)

    @pytest.fixture
    def sam(self) -> Sam:
        torch.manual_seed(0)
        return Sam(replace(SMALL_VIT, fine=True)).eval()

    @pytest.fixture
    def sparse(self) -> torch.Tensor:
        return torch.randn(6, 3, 32)

    def test_are_added_between_the_steps_of_the_upscaling(self, sam: Sam, sparse: torch.Tensor) -> None:
        """As the modules themselves compute it, on a map of 5 x 3 tokens."""
        decoder, (h, w) = sam.mask_decoder, self.SIZE
        embedding, pe, dense = torch.randn(1, 64, h, w), torch.randn(1, 32, h, w), torch.randn(1, 32, 1, 1)
        fine = embedding[0, 32:].unflatten(0, (2, 2, 8)).permute(2, 3, 0, 4, 1).reshape(8, 2 * h, 2 * w)
        first, norm, gelu, second, last = decoder.output_upscaling
        with torch.inference_mode():
            logits, _ = decoder(embedding, pe, sparse[:1], dense)
            ((tokens, image),) = decoder._transformed(embedding[:, :32], pe, sparse[:1], dense, range(4))
            x = gelu(norm(first(image.values.transpose(1, 2).unflatten(2, self.SIZE)) + fine))
            x = last(second(x))
            filters = decoder._filters(tokens, range(4))
            expected = torch.einsum("bmc,bchw->bmhw", filters, x)
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("images", [1, 6])
    def test_are_those_of_each_prompt_s_image(self, sam: Sam, sparse: torch.Tensor, images: int) -> None:
        embedding, pe = torch.randn(images, 64, *self.SIZE), torch.randn(1, 32, *self.SIZE)
        dense = torch.randn(1, 32, 1, 1)
        with torch.inference_mode():
            together, _ = sam.mask_decoder(embedding, pe, sparse, dense)
            last, _ = sam.mask_decoder(embedding[-1:], pe, sparse[-1:], dense)
        torch.testing.assert_close(together[-1:], last, rtol=0, atol=1e-5)

    def test_of_a_token_are_its_four_subpixels_in_rows(self) -> None:
        encoder = Sam(CONFIGS["nano"]).eval().image_encoder
        maps: list[torch.Tensor] = []
        encoder.fine.register_forward_hook(lambda module, inputs, output: maps.append(output))
        with torch.inference_mode():
            fine = encoder(torch.rand(1, 3, 64, 96))[0, 96:].unflatten(0, (2, 2, 24))
        (whole,) = maps  # (1, 24, 16, 24)
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            assert torch.equal(fine[i, j], whole[0, :, i::2, j::2])
