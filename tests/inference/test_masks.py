"""Masks of the plane are those of the official code's two interpolations."""

from __future__ import annotations

import pytest
import torch

from napari_sam.inference.coordinates import Geometry
from napari_sam.inference.masks import upscale_masks
from seeded import interpolate_twice

SHAPES = [(64, 64), (50, 64), (300, 420), (700, 130), (5, 90), (1, 1), (1, 200)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_they_are_those_of_two_interpolations(shape: tuple[int, int]) -> None:
    geometry = Geometry.fit(shape, 64)
    logits = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = interpolate_twice(logits, geometry)
    differ = upscale_masks(logits, geometry) != (expected > 0)
    assert torch.all(expected[differ].abs() < 1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("pixel", [(0, 0), (0, 15), (7, 3), (15, 15)], ids=str)
def test_a_small_mask_anywhere_is_found(shape: tuple[int, int], pixel: tuple[int, int]) -> None:
    """Also where it lies in the padding of the model's input, and so nowhere on the plane."""
    geometry = Geometry.fit(shape, 64)
    logits = torch.full((1, 16, 16), -1.0)
    logits[0, *pixel] = 9
    assert torch.equal(upscale_masks(logits, geometry), interpolate_twice(logits, geometry) > 0)


def test_no_mask_is_all_false() -> None:
    assert not upscale_masks(torch.full((2, 16, 16), -1.0), Geometry.fit((30, 40), 64)).any()
