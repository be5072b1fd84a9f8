"""A compiled image encoder gives the same numbers, and is offered where it is faster."""

from __future__ import annotations

import shutil

import pytest
import torch

import napari_sam
from napari_sam.model.compiling import compile_lists
from napari_sam.model.sam import CONFIGS, SamConfig
from seeded import SMALL_VIT, predictor_of, seeded_image, seeded_model


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # those of torch's own compiler
@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler of torch needs one for C++")
@pytest.mark.parametrize("config", [SMALL_VIT, CONFIGS["nano"]], ids=["vision transformer", "nano"])
def test_the_numbers_stay(config: SamConfig) -> None:
    image = seeded_image(200, 150)
    compiled = seeded_model(config)
    compile_lists(compiled.image_encoder)
    expected = predictor_of(seeded_model(config)).encode(image).features
    torch.testing.assert_close(predictor_of(compiled).encode(image).features, expected, atol=1e-4, rtol=0)


def test_a_processor_gains_nothing() -> None:
    with pytest.raises(ValueError, match=r"torch.compile gains nothing on cpu; leave compile=True out"):
        napari_sam.load_predictor("nano", device="cpu", compile=True)
