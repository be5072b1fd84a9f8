"""Slow work beside Qt's thread: one job at a time, and of those that wait only the latest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_sam import workers
from napari_sam.progress import Progress


class JobCancelled(Exception):
    """Raised inside a job to end it."""


@dataclass(frozen=True, eq=False)
class _Job:
    work: Callable[[Progress], object]
    key: Hashable
    cancelled: threading.Event


class LatestJob(QObject):
    """Run jobs in one thread of its own.

    A job that is submitted replaces the one that waits. The one that runs goes on if it has the same key (its
    result may serve the next) and is cancelled otherwise. All signals arrive in the receiver's thread.

    It has no parent: Qt would destroy it with that, while the thread emits its signals.

    Parameters
    ----------
    discard
        Called in the thread, before the next job begins, with each result that is not wanted any more: its
        job was cancelled or replaced, or this was closed, before it arrived. For what must not be forgotten.
    """

    progressed = Signal(float)
    finished = Signal(object)
    failed = Signal(object)
    idle = Signal()
    _ended = Signal(object)

    def __init__(self, discard: Callable[[Any], None] | None = None) -> None:
        super().__init__()
        self._discard = discard
        # What must not be forgotten: results on their way to the receiver, and those that are not wanted.
        self._coming: dict[_Job, Any] = {}
        self._unwanted: list[Any] = []
        self._ended.connect(self._on_ended)
        self._wake = threading.Condition()
        self._waiting: _Job | None = None
        self._running: _Job | None = None
        self._closed = False
        workers.start(self, self._loop, "napari-sam")

    @property
    def is_busy(self) -> bool:
        """Whether a job runs or waits, or its result is on its way."""
        with self._wake:
            return self._running is not None or self._waiting is not None or bool(self._coming)

    def submit(self, work: Callable[[Progress], object], key: Hashable) -> None:
        """Run ``work`` as soon as the thread is free; it is given a function to report its progress to."""
        with self._wake:
            if self._running is not None and self._running.key != key:
                self._running.cancelled.set()
            self._turn_back([job for job in self._coming if job.key != key])
            self._waiting = _Job(work, key, threading.Event())
            self._wake.notify()

    def cancel(self) -> None:
        """Drop the waiting job, and end the running one at its next report of progress."""
        with self._wake:
            was_to_begin = self._waiting is not None and self._running is None
            self._waiting = None
            if self._running is not None:
                self._running.cancelled.set()
            self._turn_back(list(self._coming))
            self._wake.notify()
        if was_to_begin:  # no thread will tell it
            self._emit(self.idle)

    def close(self) -> None:
        """Cancel everything; the thread ends by itself, and nothing is emitted any more."""
        self.cancel()
        with self._wake:
            self._closed = True
            self._wake.notify()
        workers.release()

    @property
    def is_closed(self) -> bool:
        """Whether the thread has ended, or is about to."""
        with self._wake:
            return self._closed

    def _loop(self) -> None:
        while (job := self._take()) is not None:
            self._run(job)
            with self._wake:
                self._running = None
                idle = self._waiting is None
            if idle:
                self._emit(self.idle)

    def _take(self) -> _Job | None:
        """Wait for a job and mark it as running, after what is not wanted is discarded; None once closed."""
        while True:
            with self._wake:
                self._wake.wait_for(
                    lambda: self._waiting is not None or self._closed or len(self._unwanted) > 0
                )
                unwanted, self._unwanted = self._unwanted, []
                if not unwanted:
                    self._running, self._waiting = (None if self._closed else self._waiting), None
                    return self._running
            for result in unwanted:
                self._throw_away(result)

    def _run(self, job: _Job) -> None:
        told: float | None = None

        def report(done: float) -> None:
            nonlocal told
            if job.cancelled.is_set():
                raise JobCancelled
            if done != told:  # encoders report the same at each pause
                told = done
                self._emit(self.progressed, done)

        try:
            result: Any = job.work(report)
        except JobCancelled:
            return
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the user is told in Qt's thread
            if not job.cancelled.is_set():
                self._emit(self.failed, error)
            return
        if self._discard is not None:
            self._send(job, result)
        elif not job.cancelled.is_set():
            self._emit(self.finished, result)

    def _send(self, job: _Job, result: Any) -> None:
        """Let a result that must not be lost arrive, or come back."""
        with self._wake:
            if job.cancelled.is_set() or self._closed:
                self._unwanted.append(result)
            else:
                self._coming[job] = result
                self._ended.emit(job)

    def _on_ended(self, job: _Job) -> None:
        """Hand a result over, unless it has become unwanted on its way."""
        with self._wake:
            if job not in self._coming:
                return
            result = self._coming.pop(job)
        self.finished.emit(result)

    def _turn_back(self, jobs: list[_Job]) -> None:
        """Take results back that are on their way; the lock is held."""
        self._unwanted.extend(self._coming.pop(job) for job in jobs)

    def _throw_away(self, result: Any) -> None:
        assert self._discard is not None  # else nothing is sent
        try:
            self._discard(result)
        except Exception as error:  # noqa: BLE001 - the thread has to go on, and the user is told
            self._emit(self.failed, error)

    def _emit(self, signal: Any, *values: object) -> None:
        """Emit unless closed: the objects behind the signals may be gone by then."""
        with self._wake:
            if not self._closed:
                signal.emit(*values)
