"""Masks redrawn from close up land on the plane's pixels, however the plane is scaled into the input."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data

from napari_sam import Prompt, load_predictor
from napari_sam.demo import demo_stack
from napari_sam.inference.close_ups import CloseUps, mask_of, window_of
from napari_sam.inference.coordinates import Geometry

SIZE = 128


def close_up(x: int, y: int, side: int) -> CloseUps:
    """The whole square is mask."""
    return CloseUps(torch.tensor([[x, y, side]]), torch.full((1, 64, 64), 6.0))


@pytest.mark.parametrize("shape", [(128, 128), (60, 128), (400, 256), (31, 20), (129, 77)], ids=str)
def test_the_mask_covers_the_pixels_whose_middles_lie_in_the_square(shape: tuple[int, int]) -> None:
    geometry = Geometry.fit(shape, SIZE)
    square = (10, 16, 37)
    mask = mask_of(close_up(*square), geometry)
    rows, columns = (
        (np.arange(length) + 0.5) * (scaled / length)
        for length, scaled in zip(shape, geometry.scaled, strict=True)
    )
    expected = ((rows >= 16) & (rows < 53))[:, None] & ((columns >= 10) & (columns < 47))
    assert mask.shape == shape
    np.testing.assert_array_equal(mask, expected)


def test_a_square_beyond_the_plane_is_cut_off() -> None:
    geometry = Geometry.fit((64, 128), SIZE)
    assert mask_of(close_up(-20, -30, 50), geometry).sum() == 30 * 20
    assert mask_of(close_up(100, 40, 50), geometry).sum() == 28 * 24
    window, _ = window_of(close_up(10, 70, 30), geometry)  # in the padding
    assert window.numel() == 0
    assert not mask_of(close_up(10, 70, 30), geometry).any()


def test_the_window_holds_no_more_than_the_square() -> None:
    window, corner = window_of(close_up(30, 20, 16), Geometry.fit((256, 256), SIZE))
    assert window.shape == (32, 32) and corner == (40, 60)


def test_low_resolution_logits_are_those_of_the_square() -> None:
    ones = CloseUps(torch.tensor([[16, 32, 64], [0, 0, 32]]), torch.full((2, 64, 64), 6.0))
    low = ones.low_resolution(32, SIZE)  # four pixels of the input each
    assert low.shape == (2, 32, 32)
    expected = torch.zeros(32, 32, dtype=torch.bool)
    expected[8:24, 4:20] = True
    assert torch.equal(low[0] > 0, expected)
    assert torch.equal(ones.one(1).low_resolution(32, SIZE), low[1:])


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(data.coins(), id="coins", marks=pytest.mark.slow),
        pytest.param(data.cell(), id="cell", marks=pytest.mark.slow),
        pytest.param(demo_stack()[2], id="nuclei"),
    ],
)
def test_an_embedding_in_16_bits_gives_the_same_masks(image: NDArray[np.generic]) -> None:
    """As it is kept on disk: each mask at an IoU of 0.995 or more, objects and what lies beside them."""
    predictor = load_predictor("nano")
    full = predictor.encode(image)
    kept = full.rounded()
    down, across = (np.linspace(0, length - 1, 7)[1:-1] for length in image.shape)
    for point in product(down, across):
        one, other = (
            found.mask(found.best) for found in (predictor.predict(x, Prompt([point])) for x in (full, kept))
        )
        assert np.count_nonzero(one & other) >= 0.995 * np.count_nonzero(one | other), point
