"""Planes are encoded before they are shown: the next ones in the direction of travel, or the whole stack."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from napari_sam import workers
from napari_sam.encoding import Embedder
from napari_sam.planes import Plane

# So many planes are encoded ahead in the direction of travel, and as many behind.
_REACH = 8


class _Stopped(Exception):
    """Raised inside an encoding that is not wanted any more."""


@dataclass(frozen=True)
class Travel:
    """Where the user goes: along which axis of the image, and whether up (1) or down (-1)."""

    axis: int
    direction: int = 1

    @classmethod
    def between(cls, old: Plane, new: Plane, before: Travel, shape: Sequence[int]) -> Travel:
        """Read it from the last move; it stays what it was before where that says nothing."""
        if old.displayed != new.displayed:
            return cls.default(new, shape)
        moved = [axis for axis, (a, b) in enumerate(zip(old.position, new.position, strict=True)) if a != b]
        if len(moved) != 1:
            return before
        return cls(moved[0], 1 if new.position[moved[0]] > old.position[moved[0]] else -1)

    @classmethod
    def default(cls, plane: Plane, shape: Sequence[int]) -> Travel:
        """Go up along the last axis of an image of ``shape`` that is not displayed and has several planes."""
        others = [axis for axis, n in enumerate(shape) if axis not in plane.displayed and n > 1]
        return cls(others[-1] if others else plane.displayed[0])


@dataclass(frozen=True)
class Report:
    """How far the encoding of the whole stack is.

    Attributes
    ----------
    plane
        The one that has just become ready, or None.
    done, total
        Planes of the whole stack; both 0 while only the neighbours are encoded.
    remaining_s
        Estimated time to its end; None while it is not known.
    problem
        Why it ended too early, or None.
    """

    plane: Plane | None = None
    done: int = 0
    total: int = 0
    remaining_s: float | None = None
    problem: str | None = None


def neighbours(plane: Plane, shape: Sequence[int], travel: Travel, reach: int = _REACH) -> list[Plane]:
    """Order the planes around the shown one: the next, the one before, the next but one ..."""
    if travel.axis in plane.displayed:
        return []
    here = plane.position[travel.axis]
    steps = [sign * n * travel.direction for n in range(1, reach + 1) for sign in (1, -1)]
    return [_at(plane, travel.axis, here + x) for x in steps if 0 <= here + x < shape[travel.axis]]


def whole_stack(plane: Plane, shape: Sequence[int], travel: Travel) -> Iterator[Plane]:
    """Order all planes: from the shown one on along the axis of travel, those before it, then the others."""
    others = [axis for axis in range(len(shape)) if axis not in plane.displayed and axis != travel.axis]
    ranges = [[plane.position[x], *(n for n in range(shape[x]) if n != plane.position[x])] for x in others]
    for indices in product(*ranges):
        base = plane
        for axis, index in zip(others, indices, strict=True):
            base = _at(base, axis, index)
        if travel.axis in plane.displayed:
            yield base
            continue
        here, last = plane.position[travel.axis], shape[travel.axis]
        ahead, behind = range(here, last), range(here - 1, -1, -1)
        if travel.direction < 0:
            ahead, behind = range(here, -1, -1), range(here + 1, last)
        for index in (*ahead, *behind):
            yield _at(base, travel.axis, index)


class Prefetcher:
    """Encode planes in a thread of its own, with pauses while the user waits for anything else.

    Parameters
    ----------
    embedder
        Encodes, and keeps what was encoded.
    shape
        That of the image.
    tell
        Called in the prefetcher's thread with a `Report` after each plane, and when all is done. It must not
        wait for another thread.
    """

    def __init__(self, embedder: Embedder, shape: Sequence[int], tell: Callable[[Report], None]) -> None:
        self._embedder = embedder
        self._shape = tuple(shape)
        self._tell = tell
        self._state = threading.Condition()
        self._plane: Plane | None = None
        self._travel: Travel | None = None
        self._todo: list[Plane] = []
        self._whole: list[Plane] = []
        self._total = 0
        self._running: Plane | None = None
        self._closed = False
        self._thread = workers.start(self, self._loop, "napari-sam prefetch")

    def follow(self, plane: Plane) -> None:
        """Encode the neighbours of ``plane``, which is shown now; those of an earlier one are given up."""
        with self._state:
            before = self._travel or Travel.default(plane, self._shape)
            self._travel = (
                before if self._plane is None else Travel.between(self._plane, plane, before, self._shape)
            )
            self._plane = plane
            self._todo = neighbours(plane, self._shape, self._travel)
            self._state.notify_all()

    def encode_all(self) -> None:
        """Encode the whole stack after the neighbours, beginning at the shown plane."""
        with self._state:
            if self._plane is not None and self._travel is not None:
                self._whole = list(whole_stack(self._plane, self._shape, self._travel))
                self._total = len(self._whole)
                self._state.notify_all()

    def cancel(self) -> None:
        """Stop to encode the whole stack; what is done stays."""
        with self._state:
            self._whole, self._total = [], 0
            self._state.notify_all()

    @property
    def is_busy(self) -> bool:
        """Whether there is anything left to encode."""
        with self._state:
            return bool(self._running or self._todo or self._whole)

    def close(self) -> None:
        """End the thread at the next step of the encoding; nothing is told any more."""
        with self._state:
            self._closed = True
            self._todo, self._whole = [], []
            self._state.notify_all()

    def _loop(self) -> None:
        began, encoded = time.monotonic(), 0
        while (taken := self._take()) is not None:
            plane, of_whole = taken
            if not of_whole or encoded == 0:
                began, encoded = time.monotonic(), 0
            made, problem = self._encode(plane)
            encoded += of_whole and made
            with self._state:
                self._running = None
                if problem is not None:
                    self._todo, self._whole = [], []
                left, total = len(self._whole), self._total
                if left == 0:
                    self._total = 0
                # Under the lock: who was told to close is told nothing any more.
                if not self._closed and (made or problem or (of_whole and left == 0)):
                    remaining = (time.monotonic() - began) / encoded * left if encoded and total else None
                    self._tell(Report(plane if made else None, total - left, total, remaining, problem))

    def _take(self) -> tuple[Plane, bool] | None:
        """Wait for the next plane, and say whether it is one of the whole stack; None once closed."""
        with self._state:
            self._state.wait_for(lambda: self._todo or self._whole or self._closed)
            if self._closed:
                return None
            of_whole = not self._todo
            self._running = (self._todo or self._whole).pop(0)
            return self._running, of_whole

    def _encode(self, plane: Plane) -> tuple[bool, str | None]:
        """Encode a plane unless it is ready; say whether that was done, and what went wrong."""
        if self._embedder.whole(plane) is None or self._embedder.is_made(plane):
            return False, None
        try:
            self._embedder.prepare(plane, lambda _: self._check(plane), background=True)
        except _Stopped:
            return False, None
        except Exception as error:  # noqa: BLE001 - the source of the image may raise anything; it is told
            return False, f"{plane.position} could not be encoded: {error}"
        return True, None

    def _check(self, plane: Plane) -> None:
        """Raise if the plane that is being encoded is not wanted any more."""
        with self._state:
            wanted = self._total > 0
            if self._plane is not None and self._travel is not None:
                around = neighbours(self._plane, self._shape, self._travel)
                wanted = wanted or plane == self._plane or plane in around
            if self._closed or not wanted:
                raise _Stopped


def _at(plane: Plane, axis: int, index: int) -> Plane:
    position = list(plane.position)
    position[axis] = index
    return Plane(plane.displayed, tuple(position))
