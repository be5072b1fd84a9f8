"""Planes are encoded before they are shown: the next ones in the direction of travel, or the whole stack."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

from napari_sam import workers
from napari_sam.encoding import Embedder
from napari_sam.plane import Plane

# So many planes are encoded ahead in the direction of travel, and as many behind.
_REACH = 8
# After so many planes in a row that could not be read the rest is not tried: the source is gone.
_GIVE_UP = 16
# So many planes that could not be read are named.
_NAMED = 8
# A user's stack is of these axes first.
_STACKED = "zt"


class _Stopped(Exception):
    """Raised inside an encoding that is not wanted any more."""


@dataclass(frozen=True)
class Travel:
    """Where the user goes: along which axis of the image, and whether up (1) or down (-1)."""

    axis: int
    direction: int = 1

    @classmethod
    def between(cls, old: Plane, new: Plane, before: Travel, shape: Sequence[int], axes: str = "") -> Travel:
        """Read it from the last move; it stays what it was before where that says nothing."""
        if old.displayed != new.displayed:
            return cls.default(new, shape, axes)
        moved = [axis for axis, (a, b) in enumerate(zip(old.position, new.position, strict=True)) if a != b]
        if len(moved) != 1:
            return before
        return cls(moved[0], 1 if new.position[moved[0]] > old.position[moved[0]] else -1)

    @classmethod
    def default(cls, plane: Plane, shape: Sequence[int], axes: str = "") -> Travel:
        """Go up along z, else t, else the longest axis that is not displayed.

        Parameters
        ----------
        plane
            One that is displayed.
        shape, axes
            Length and letter of each of the image's axes.
        """
        others = [axis for axis, n in enumerate(shape) if axis not in plane.displayed and n > 1]
        if not others:
            return cls(plane.displayed[0])
        letters = dict(zip(axes.lower(), range(len(axes)), strict=True))
        stacked = [letters[x] for x in _STACKED if letters.get(x) in others]
        return cls(stacked[0] if stacked else max(others, key=lambda axis: shape[axis]))


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
        What the user should read: why it ends too early, or what it leaves out; or None.
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
    return [plane.moved(travel.axis, here + x) for x in steps if 0 <= here + x < shape[travel.axis]]


def whole_stack(plane: Plane, shape: Sequence[int], travel: Travel) -> Iterator[Plane]:
    """Order all planes: from the shown one on along the axis of travel, those before it, then the others."""
    others = [axis for axis in range(len(shape)) if axis not in plane.displayed and axis != travel.axis]
    ranges = [[plane.position[x], *(n for n in range(shape[x]) if n != plane.position[x])] for x in others]
    for indices in product(*ranges):
        base = plane
        for axis, index in zip(others, indices, strict=True):
            base = base.moved(axis, index)
        if travel.axis in plane.displayed:
            yield base
            continue
        here, last = plane.position[travel.axis], shape[travel.axis]
        ahead, behind = range(here, last), range(here - 1, -1, -1)
        if travel.direction < 0:
            ahead, behind = range(here, -1, -1), range(here + 1, last)
        for index in (*ahead, *behind):
            yield base.moved(travel.axis, index)


@dataclass
class _Run:
    """The encoding of the whole stack: what is left of it, and what went wrong so far."""

    todo: list[Plane]
    total: int
    # Why it is not the whole stack, or None.
    shortage: str | None = None
    failed: list[tuple[Plane, Exception]] = field(default_factory=list)
    failed_in_a_row: int = 0


class Prefetcher:
    """Encode planes in a thread of its own, with pauses while the user waits for anything else.

    Parameters
    ----------
    embedder
        Encodes, and keeps what was encoded.
    shape
        That of the image.
    tell
        Called with a `Report` after each plane, and when all is done, in the prefetcher's thread; in that of
        `encode_all` where there is no room for all. It must not wait for another thread.
    """

    def __init__(self, embedder: Embedder, shape: Sequence[int], tell: Callable[[Report], None]) -> None:
        self._embedder = embedder
        self._shape = tuple(shape)
        self._tell = tell
        self._state = threading.Condition()
        self._plane: Plane | None = None
        self._travel: Travel | None = None
        self._todo: list[Plane] = []
        self._run: _Run | None = None
        self._failed: set[Plane] = set()
        self._told: str | None = None
        self._running: Plane | None = None
        # Whose neighbour, or run, it was begun for.
        self._running_for: Plane | None = None
        self._closed = False
        self._thread = workers.start(self, self._loop, "napari-sam prefetch")

    def follow(self, plane: Plane) -> None:
        """Encode the neighbours of ``plane``, which is shown now; those of an earlier one are given up.

        A neighbour that could not be read before is left out: it was told, and stands in nobody's way.
        """
        axes = self._embedder.planes.axes
        with self._state:
            before = self._travel or Travel.default(plane, self._shape, axes)
            old = self._plane
            self._travel = before if old is None else Travel.between(old, plane, before, self._shape, axes)
            self._plane = plane
            around = neighbours(plane, self._shape, self._travel)
            self._todo = [x for x in around if x not in self._failed]
            self._state.notify_all()

    @property
    def travel(self) -> Travel | None:
        """Where the user goes; None before he is somewhere."""
        with self._state:
            return self._travel

    def encode_all(self) -> int:
        """Encode the whole stack after the neighbours, beginning at the shown plane.

        Where there is no room for all of it, that is told, and as much as there is room for is encoded.

        Returns
        -------
        int
            How many planes that are.
        """
        with self._state:
            if self._plane is None or self._travel is None:
                return 0
            planes = list(whole_stack(self._plane, self._shape, self._travel))
            room, shortage = self._embedder.cache.room_for(len(planes))
            self._run = _Run(planes[:room], room, shortage)
            self._failed.clear()
            self._state.notify_all()
        if shortage is not None:
            self._tell(Report(total=room, problem=shortage))
        return room

    def cancel(self) -> None:
        """Stop to encode the whole stack; what is done stays."""
        with self._state:
            self._run = None
            self._state.notify_all()

    @property
    def encodes_all(self) -> bool:
        """Whether the whole stack is being encoded."""
        with self._state:
            return self._run is not None

    @property
    def is_busy(self) -> bool:
        """Whether there is anything left to encode."""
        with self._state:
            return bool(self._running or self._todo or self._run)

    def close(self) -> None:
        """End the thread at the next step of the encoding; nothing is told any more."""
        with self._state:
            self._closed = True
            self._todo, self._run = [], None
            self._state.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether the thread has ended, or is about to."""
        with self._state:
            return self._closed

    def _loop(self) -> None:
        began, encoded = time.monotonic(), 0
        while (taken := self._take()) is not None:
            plane, run = taken
            if run is None or encoded == 0:
                began, encoded = time.monotonic(), 0
            made, error = self._encode(plane)
            encoded += run is not None and made
            with self._state:
                self._running = None
                problems = [self._note_failure(plane, run, error), self._disk_problem()]
                # The run may have been cancelled, or begun, meanwhile.
                run, total = self._run, self._run.total if self._run else 0
                left = len(run.todo) if run else 0
                ended = run is not None and left == 0
                if run is not None and ended:
                    self._run = None
                    problems += [self._left_out(run), run.shortage]
                problem = " ".join(x for x in problems if x) or None
                # Under the lock: who was told to close is told nothing any more.
                if not self._closed and (made or problem or ended):
                    remaining = (time.monotonic() - began) / encoded * left if encoded and total else None
                    self._tell(Report(plane if made else None, total - left, total, remaining, problem))

    def _take(self) -> tuple[Plane, _Run | None] | None:
        """Wait for the next plane, and give the run that it is of, if it is of one; None once closed."""
        with self._state:
            self._state.wait_for(lambda: self._todo or self._run or self._closed)
            if self._closed:
                return None
            run = None if self._todo else self._run
            self._running, self._running_for = (run.todo if run else self._todo).pop(0), self._plane
            return self._running, run

    def _encode(self, plane: Plane) -> tuple[bool, Exception | None]:
        """Encode a plane unless it is ready; say whether that was done, and what went wrong."""
        try:
            if self._embedder.whole(plane) is None:
                return False, None
            if self._embedder.is_made(plane):
                self._embedder.touch(plane)
                return False, None
            self._embedder.prepare(plane, lambda _: self._check(plane), background=True)
        except _Stopped:
            return False, None
        except Exception as error:  # noqa: BLE001 - the source of the image may raise anything; it is told
            return False, error
        return True, None

    def _note_failure(self, plane: Plane, run: _Run | None, error: Exception | None) -> str | None:
        """Note that a plane could not be encoded; say so unless a run says it at its end.

        A run goes on without it. Of neighbours no other one is tried: what they are read from may be gone.
        """
        if error is None:
            if run is not None:
                run.failed_in_a_row = 0
            return None
        known = plane in self._failed
        self._failed.add(plane)
        if run is None:
            if self._running_for == self._plane:  # else they are those of where the user is by now
                self._todo = []
            return None if known else f"{self._name(plane)} could not be encoded: {error}"
        run.failed.append((plane, error))
        run.failed_in_a_row += 1
        if run.failed_in_a_row == _GIVE_UP:
            run.todo.clear()
        return None

    def _left_out(self, run: _Run) -> str | None:
        """Say which planes a run over the whole stack could not encode."""
        if not run.failed:
            return None
        names = [self._name(plane) for plane, _ in run.failed[:_NAMED]]
        more = len(run.failed) - len(names)
        those = "; ".join(names) + (f" and {more} more" if more else "")
        gave_up = run.failed_in_a_row == _GIVE_UP
        ending = " After so many in a row the rest was not tried." if gave_up else ""
        told = f"{len(run.failed)} of {run.total} planes could not be encoded: {those}"
        return f"{told} ({run.failed[-1][1]}).{ending}"

    def _disk_problem(self) -> str | None:
        """Say once that the disk cannot be written; a run ends then, for memory holds few of its planes."""
        problem = self._embedder.cache.problem
        new = problem is not None and problem != self._told
        self._told = problem
        if problem is None or not new:
            return None
        if self._run is None or not self._run.todo:
            return problem
        self._run.todo.clear()
        return f"{problem} The rest of the stack is not encoded; do it again when the disk can be written."

    def _name(self, plane: Plane) -> str:
        return self._embedder.planes.name_of(plane) or "The plane"

    def _check(self, plane: Plane) -> None:
        """Raise if the plane that is being encoded is not wanted any more."""
        with self._state:
            wanted = self._run is not None
            if self._plane is not None and self._travel is not None:
                around = neighbours(self._plane, self._shape, self._travel)
                wanted = wanted or plane == self._plane or plane in around
            if self._closed or not wanted:
                raise _Stopped
