"""Units of axes: by the names that NGFF takes from UDUNITS-2, and by what others call them."""

from __future__ import annotations

# Prefixes in OME's `UnitsLength` and `UnitsTime` (schema 2016-06): symbol, and power of ten.
_PREFIXES = {
    "yotta": ("Y", 24),
    "zetta": ("Z", 21),
    "exa": ("E", 18),
    "peta": ("P", 15),
    "tera": ("T", 12),
    "giga": ("G", 9),
    "mega": ("M", 6),
    "kilo": ("k", 3),
    "hecto": ("h", 2),
    "deca": ("da", 1),
    "": ("", 0),
    "deci": ("d", -1),
    "centi": ("c", -2),
    "milli": ("m", -3),
    "micro": ("µ", -6),
    "nano": ("n", -9),
    "pico": ("p", -12),
    "femto": ("f", -15),
    "atto": ("a", -18),
    "zepto": ("z", -21),
    "yocto": ("y", -24),
}
# OME's symbols of the units of length and time.
LENGTHS = {
    **{f"{prefix}meter": f"{symbol}m" for prefix, (symbol, _) in _PREFIXES.items()},
    "angstrom": "Å",
    "inch": "in",
    "foot": "ft",
    "yard": "yd",
    "mile": "mi",
    "parsec": "pc",
}
TIMES = {
    **{f"{prefix}second": f"{symbol}s" for prefix, (symbol, _) in _PREFIXES.items()},
    "minute": "min",
    "hour": "h",
    "day": "d",
}
# How many metres the units of length are.
METRES = {
    **{f"{prefix}meter": float(f"1e{power}") for prefix, (_, power) in _PREFIXES.items()},
    "angstrom": 1e-10,
    "inch": 0.0254,
    "foot": 0.3048,
    "yard": 0.9144,
    "mile": 1609.344,
}
_NAMES = {
    **{symbol: name for name, symbol in (LENGTHS | TIMES).items()},
    # The letter mu, where OME has the sign for micro; and what people write who have neither.
    **dict.fromkeys(("um", "μm", "micron", "microns"), "micrometer"),
    **dict.fromkeys(("us", "μs"), "microsecond"),
    "\N{ANGSTROM SIGN}": "angstrom",
    "sec": "second",
}
_NONE = {"", "pixel", "pixels", "dimensionless"}


def times(unit: str | None, other: str | None) -> float | None:
    """Tell how many of the other unit of length one is; None where one of them is none."""
    one, base = (None if x is None else METRES.get(x) for x in (unit, other))
    return None if one is None or base is None else one / base


def unit_named(name: object) -> str | None:
    """Give a unit by NGFF's name for it; as it is called where that is none; None for pixels."""
    called = "" if name is None else str(name)
    return None if called in _NONE else _NAMES.get(called, called)
