"""Many prompts on one image are decoded without their image tokens as the transformer itself decodes them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from napari_sam.model.factored import FactoredImage
from napari_sam.model.two_way_transformer import DecoderConfig, ImageTokens, TwoWayTransformer

WIDTH, UPSCALED = 32, 24
# Those of the score and of the three candidates.
ASKED = [0, 2, 3, 4]


@pytest.fixture
def transformer() -> TwoWayTransformer:
    """One whose layer norms have gains and constants of their own."""
    torch.manual_seed(0)
    transformer = TwoWayTransformer(DecoderConfig(WIDTH, heads=2, mlp=48)).eval().requires_grad_(False)
    for name, parameter in transformer.named_parameters():
        if "norm" in name:
            parameter.add_(0.3 * torch.randn_like(parameter))
    return transformer


def image_tokens(count: int) -> tuple[Tensor, Tensor]:
    """Give image tokens and their positional encoding."""
    return 2 * torch.randn(count, WIDTH), torch.randn(count, WIDTH)


@pytest.mark.parametrize("prompts", [1, 8, 11])
@pytest.mark.parametrize("count", [15, 1024, 1500], ids=["few tokens", "a strip", "a strip and a half"])
def test_gives_the_numbers_of_the_transformer(
    transformer: TwoWayTransformer, prompts: int, count: int
) -> None:
    values, pe = image_tokens(count)
    tokens = torch.randn(prompts, 7, WIDTH)
    weight, bias = torch.randn(UPSCALED, WIDTH), torch.randn(UPSCALED)
    with torch.inference_mode():
        image = ImageTokens(values[None], (values + pe)[None], pe[None])
        expected_tokens, expected_image = transformer(image, tokens, None, ASKED)
        found_tokens, found_image = [], []
        for some, its in FactoredImage(transformer, values, pe, (weight, bias))(tokens, ASKED):
            found_tokens.append(some)
            found_image.append(torch.cat([x for _, x in its.upscaled()], 1))
    torch.testing.assert_close(torch.cat(found_tokens), expected_tokens, rtol=0, atol=2e-5)
    expected = expected_image @ weight.T + bias
    torch.testing.assert_close(torch.cat(found_image), expected, rtol=0, atol=1e-4)


def test_tokens_of_some_prompts_are_those_of_all(transformer: TwoWayTransformer) -> None:
    values, pe = image_tokens(40)
    image = FactoredImage(transformer, values, pe, (torch.eye(WIDTH), torch.zeros(WIDTH)))
    with torch.inference_mode():
        ((_, every),) = image(torch.randn(5, 7, WIDTH), ASKED)
        ((some, all_of_them),) = every.upscaled()
        ((_, two),) = every.of(torch.tensor([1, 4])).upscaled()
    assert some == slice(0, 40)
    torch.testing.assert_close(two, all_of_them[[1, 4]], rtol=0, atol=1e-6)


def test_large_scores_do_not_overflow(transformer: TwoWayTransformer) -> None:
    """The softmax over all strips is as safe as that over one."""
    values, pe = image_tokens(1500)
    with torch.inference_mode():
        for tokens, image in FactoredImage(
            transformer, 1e4 * values, pe, (torch.eye(WIDTH), torch.zeros(WIDTH))
        )(1e3 * torch.randn(2, 7, WIDTH), ASKED):
            assert tokens.isfinite().all()
            assert all(x.isfinite().all() for _, x in image.upscaled())


@pytest.mark.parametrize(
    ("tokens", "expected"), [(7, True), (9, True), (11, False)], ids=["a point", "a box", "a stroke"]
)
def test_suits_prompts_of_few_tokens(tokens: int, expected: bool) -> None:
    transformer = TwoWayTransformer(DecoderConfig()).requires_grad_(False)
    image = FactoredImage(
        transformer, torch.zeros(4, 256), torch.zeros(4, 256), (torch.eye(256), torch.zeros(256))
    )
    assert image.suits(torch.zeros(1, tokens, 256)) is expected
