"""Features in 16 bits a value: little is lost, and only once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from napari_sam.inference.fixed_point import FixedPoint, rounded


def channel(spread: float, middle: float) -> Tensor:
    """A (1, 16, 16) channel around a value."""
    return torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(0)) * spread + middle


@given(spread=st.floats(0, 1e4), middle=st.floats(-1e6, 1e6))
def test_what_was_rounded_stays_as_it_is(spread: float, middle: float) -> None:
    once = rounded(channel(spread, middle))
    assert torch.equal(rounded(once), once)
    assert torch.equal(FixedPoint.of(once).features(), once)


@given(spread=st.floats(1e-3, 1e4), middles=st.floats(-10, 10))
def test_an_error_is_at_most_a_65532nd_of_the_channels_range(spread: float, middles: float) -> None:
    features = channel(spread, middles * spread)
    span = float(features.max() - features.min())
    assert float((rounded(features) - features).abs().max()) <= span / 65532


def test_channels_are_rounded_each_for_itself() -> None:
    """One that is a thousand times as large leaves the small one its own steps."""
    small, large = channel(1, 0), channel(1000, 500)
    together = rounded(torch.cat([small, large]))
    assert torch.equal(together, torch.cat([rounded(small), rounded(large)]))
    error = (together - torch.cat([small, large])).abs().amax((1, 2))
    assert error[0] < 1e-4 < error[1]


@pytest.mark.parametrize("value", [0.0, -7.3, 255.0])
def test_a_channel_of_one_value_keeps_it(value: float) -> None:
    torch.testing.assert_close(rounded(torch.full((1, 4, 4), value)), torch.full((1, 4, 4), value))


def test_what_is_kept_is_16_bits_a_value() -> None:
    fixed = FixedPoint.of(torch.cat([channel(2, 1), channel(3, -5)]))
    assert fixed.steps.dtype == torch.int16 and fixed.steps.shape == (2, 16, 16)
    assert fixed.sizes.shape == fixed.middles.shape == (2,)
    assert (fixed.sizes.log2() % 1 == 0).all()
