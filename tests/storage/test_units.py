"""Units mean the same by whatever name they are called."""

from __future__ import annotations

import pint
import pytest

from napari_sam.storage.units import LENGTHS, METRES, TIMES, unit_named


@pytest.mark.parametrize("unit", sorted(METRES))
def test_lengths_are_those_of_pint(unit: str) -> None:
    assert pint.Quantity(1, unit).to("meter").magnitude == pytest.approx(METRES[unit], rel=1e-12)


@pytest.mark.parametrize("unit", sorted(LENGTHS | TIMES))
def test_symbols_name_their_units(unit: str) -> None:
    assert unit_named((LENGTHS | TIMES)[unit]) == unit_named(unit) == unit


@pytest.mark.parametrize(
    ("called", "unit"),
    [
        ("um", "micrometer"),
        ("\N{MICRO SIGN}m", "micrometer"),
        ("\N{GREEK SMALL LETTER MU}m", "micrometer"),
        ("microns", "micrometer"),
        ("us", "microsecond"),
        ("smoot", "smoot"),
        ("pixels", None),
        ("", None),
        (None, None),
    ],
)
def test_other_names(called: str | None, unit: str | None) -> None:
    assert unit_named(called) == unit
