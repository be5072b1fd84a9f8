"""Progress of a write: told while its parts are gone through, and what it raises ends the write."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

Progress = Callable[[float], None]
T = TypeVar("T")
# Thousands of reports would keep a window busier than the write itself.
_MOST_REPORTS = 100


def silent(_done: float) -> None:
    """Tell nobody."""


def told(items: Collection[T], progress: Progress, start: float, stop: float) -> Iterator[T]:
    """Go through items, and on the way tell shares that rise from ``start`` to ``stop``."""
    step = 1 + len(items) // _MOST_REPORTS
    for number, item in enumerate(items):
        if number % step == 0:
            progress(start + (stop - start) * number / len(items))
        yield item
