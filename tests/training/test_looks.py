"""Looks change what pixels show, never where objects lie."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from napari_sam.training.chance import Chance
from napari_sam.training.looks import change_looks


def changed(crops: Tensor, seed: int) -> Tensor:
    sides = torch.linspace(4, 60, len(crops))
    return change_looks(crops, sides, Chance(torch.Generator().manual_seed(seed)))


def half_bright(count: int, side: int = 32) -> Tensor:
    """Reddish crops (count, 3, side, side), the right half of each bright."""
    crops = torch.full((count, 3, side, side), 40.0)
    crops[..., side // 2 :] = 200.0
    crops[:, 1:] *= 0.6
    return crops


@given(
    st.integers(0, 2**31),
    st.tuples(st.integers(1, 3), st.integers(8, 40), st.integers(8, 40)),
    st.sampled_from([0.0, 100.0, 255.0]),
)
def test_any_crops_stay_bytes_of_their_shape(seed: int, size: tuple[int, int, int], level: float) -> None:
    count, height, width = size
    crops = torch.full((count, 3, height, width), level)
    crops[..., : width // 2] = 30.0
    before = crops.clone()
    found = changed(crops, seed)
    assert (found.shape, found.dtype) == (crops.shape, torch.uint8)
    assert torch.equal(crops, before), "what is given stays as it is"


def test_the_same_chance_gives_the_same_looks() -> None:
    crops = half_bright(12)
    assert torch.equal(changed(crops, 0), changed(crops, 0))
    assert not torch.equal(changed(crops, 0), changed(crops, 1))


def test_an_edge_stays_where_it_is() -> None:
    """In almost every look its sides are told apart; in a tenth of them they are inverted."""
    columns = changed(half_bright(200), 0).float().mean((1, 2))  # (200, side)
    rises = columns[:, 18:24].mean(1) - columns[:, 8:14].mean(1)
    assert (rises.abs() > 20).float().mean() > 0.95
    assert (rises < 0).float().mean() == pytest.approx(0.1, abs=0.05)


def test_some_crops_lose_their_colours() -> None:
    means = changed(half_bright(200), 1).float().mean((2, 3))  # (200, 3)
    colourless = means.amax(1) - means.amin(1) < 1
    assert colourless.float().mean() == pytest.approx(0.1, abs=0.05)
    reddest = means[~colourless].argmax(1)
    assert (reddest == 0).float().mean() < 0.95, "the colours of some are in another order"


def test_some_crops_stay_as_they_are() -> None:
    crops = half_bright(200)
    same = (changed(crops, 2) == crops.to(torch.uint8)).flatten(1).all(1)
    assert 0.03 < same.float().mean() < 0.3
