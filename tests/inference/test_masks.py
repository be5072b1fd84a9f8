"""Masks of the plane are those of the official code's two interpolations."""

from __future__ import annotations

import pytest
import torch

from napari_sam.inference.coordinates import Geometry
from napari_sam.inference.masks import upscale_masks, upscale_window
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


@pytest.mark.parametrize("plane", [(90, 120), (64, 40), (256, 256)])
def test_the_masks_of_a_window_are_those_of_the_whole(plane: tuple[int, int]) -> None:
    """Where nothing reaches the window's border."""
    geometry = Geometry.fit(plane, 64)
    whole = torch.full((2, 16, 16), -5.0)
    whole[:, 4:9, 3:7] = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)) + 1
    (part,), (row, column) = upscale_window(whole[:, 2:11, 1:9], geometry, (2, 1), 16)
    expected = upscale_masks(whole, geometry)
    assert expected.any()
    _, height, width = part.shape
    assert torch.equal(part, expected[:, row : row + height, column : column + width])
    assert part.sum() == expected.sum()
