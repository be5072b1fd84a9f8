"""Regions of an array: a slice, with its start and its stop, along each axis. Those of a plane have two."""

from __future__ import annotations

from typing import TypeAlias

Region: TypeAlias = tuple[slice, ...]


def common(one: Region, other: Region) -> Region | None:
    """Give the region that lies in both; None if they share nothing."""
    both = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return both if all(x.start < x.stop for x in both) else None


def around(one: Region, other: Region) -> Region:
    """Give the smallest region in which both lie."""
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))


def relative_to(whole: Region, part: Region) -> Region:
    """Give a part of a larger region as an index into what was cut out there."""
    return tuple(slice(b.start - a.start, b.stop - a.start) for a, b in zip(whole, part, strict=True))


def shape_of(region: Region) -> tuple[int, ...]:
    """Give its length along each axis."""
    return tuple(x.stop - x.start for x in region)
