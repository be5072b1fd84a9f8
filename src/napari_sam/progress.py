"""Progress of slow work: who does it tells the share that is done, and what is raised there ends the work."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

# Told the share that is done, 0 to 1.
Progress = Callable[[float], None]
T = TypeVar("T")
# Thousands of reports would keep a window busier than the work itself.
_MOST_REPORTS = 100


def ignore_progress(done: float) -> None:
    """Take a report of progress and do nothing with it."""


def between(progress: Progress, start: float, stop: float) -> Progress:
    """Report the progress of a part of the work, that from ``start`` to ``stop``."""
    return lambda done: progress(start + (stop - start) * done)


def reporting(items: Collection[T], progress: Progress, start: float, stop: float) -> Iterator[T]:
    """Go through items, and on the way report shares that rise from ``start`` to ``stop``."""
    step = 1 + len(items) // _MOST_REPORTS
    for number, item in enumerate(items):
        if number % step == 0:
            progress(start + (stop - start) * number / len(items))
        yield item
