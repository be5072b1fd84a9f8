"""Reduced precision changes the numbers of an embedding a little, and is refused where nothing is gained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import napari_sam
from napari_sam.demo import demo_stack
from napari_sam.model import precision
from napari_sam.model.conv_encoder import ResidualPair
from napari_sam.model.image_encoder import Block
from napari_sam.model.precision import Int8Linear, offered, reduce_precision
from napari_sam.model.sam import CONFIGS, SamConfig
from seeded import SMALL_VIT, predictor_of, seeded_image, seeded_model, tiny_config

CPU = torch.device("cpu")
# The largest relative error of an embedding: of 8 bits of mantissa, and of 8-bit integers.
LARGEST_ERROR = {"bfloat16": 0.02, "int8": 0.05}


@pytest.mark.parametrize("name", LARGEST_ERROR)
def test_the_embedding_stays_close(name: str) -> None:
    if name not in offered(SMALL_VIT, CPU):
        pytest.skip(f"this processor gains nothing from {name}")
    image = seeded_image(200, 150)
    reduced = seeded_model(SMALL_VIT)
    reduce_precision(reduced, name, CPU)
    full = predictor_of(seeded_model(SMALL_VIT)).encode(image).features
    close = predictor_of(reduced).encode(image).features
    assert close.dtype == torch.float32 and not torch.equal(close, full)
    assert (close - full).norm() < LARGEST_ERROR[name] * full.norm()


def test_nano_draws_the_same_masks_in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processors are too slow at it to be offered it, but compute as graphics cards do."""
    monkeypatch.setattr(precision, "offered", lambda *_: ("float32", "float16"))
    nuclei = demo_stack()[0, 350:510, 320:520]
    full, half = (
        napari_sam.load_predictor("nano", device="cpu", precision=x) for x in ("float32", "float16")
    )
    exact, close = full.encode(nuclei), half.encode(nuclei)
    assert (close.features - exact.features).norm() < 0.001 * exact.features.norm()
    for point in [(84, 91), (20, 25), (140, 150)]:
        prompt = napari_sam.Prompt([point])
        one, other = (x.predict(y, prompt) for x, y in ((full, exact), (half, close)))
        a, b = one.masks[one.best], other.masks[other.best]
        assert np.count_nonzero(a & b) >= 0.98 * np.count_nonzero(a | b) > 0


@pytest.mark.parametrize(
    ("config", "block", "added_up"),
    [
        pytest.param(SMALL_VIT, Block, torch.float32, id="vision transformer"),
        pytest.param(tiny_config(), ResidualPair, torch.bfloat16, id="convolutions"),
    ],
)
def test_what_blocks_add_up_is_reduced_with_the_whole_encoder_alone(
    config: SamConfig, block: type[nn.Module], added_up: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "offered", lambda *_: ("float32", "bfloat16"))
    sam, seen = seeded_model(config), set()
    reduce_precision(sam, "bfloat16", CPU)
    for module in sam.image_encoder.modules():
        if isinstance(module, block):
            module.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
    assert predictor_of(sam).encode(seeded_image(40, 50)).features.dtype == torch.float32
    assert seen == {added_up}


def test_eight_bit_products_are_those_of_the_layer() -> None:
    """Also of tokens that are a thousand times larger than others: each has its own scale."""
    linear = nn.Linear(64, 48)
    x = torch.randn(3, 50, 64) * torch.logspace(-2, 1, 50)[:, None]
    with torch.inference_mode():
        expected, rounded = linear(x), Int8Linear(linear, torch.float32)(x)
    assert torch.all((rounded - expected).norm(dim=-1) < 0.02 * expected.norm(dim=-1))


def test_nano_has_no_8_bit_precision() -> None:
    assert "int8" not in napari_sam.precisions("nano", "cpu")
    with pytest.raises(ValueError, match="nano gains nothing from the precision 'int8' on cpu"):
        napari_sam.load_predictor("nano", device="cpu", precision="int8")


def test_an_embedding_of_another_precision_is_refused() -> None:
    half = napari_sam.precisions("nano", "cpu")[-1]
    if half == "float32":
        pytest.skip("this processor gains nothing from reduced precision")
    full, reduced = (napari_sam.load_predictor("nano", device="cpu", precision=x) for x in ("float32", half))
    with pytest.raises(ValueError, match="encode the plane with the same predictor"):
        full.predict(reduced.encode(np.zeros((32, 32), np.uint8)), napari_sam.Prompt([(3, 4)]))


def test_half_precisions_are_for_graphics_cards_too() -> None:
    assert "float16" in offered(CONFIGS["vit_h"], torch.device("mps"))
