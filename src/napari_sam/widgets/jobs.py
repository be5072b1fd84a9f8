"""Slow work beside Qt's thread: one job at a time, and of those that wait only the latest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_sam import workers
from napari_sam.model.layers import Progress


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
    """

    progressed = Signal(float)
    finished = Signal(object)
    failed = Signal(object)
    idle = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._wake = threading.Condition()
        self._waiting: _Job | None = None
        self._running: _Job | None = None
        self._closed = False
        workers.start(self, self._loop, "napari-sam")

    @property
    def is_busy(self) -> bool:
        """Whether a job runs or waits."""
        with self._wake:
            return self._running is not None or self._waiting is not None

    def submit(self, work: Callable[[Progress], object], key: Hashable) -> None:
        """Run ``work`` as soon as the thread is free; it is given a function to report its progress to."""
        with self._wake:
            if self._running is not None and self._running.key != key:
                self._running.cancelled.set()
            self._waiting = _Job(work, key, threading.Event())
            self._wake.notify()

    def cancel(self) -> None:
        """Drop the waiting job, and end the running one at its next report of progress."""
        with self._wake:
            self._waiting = None
            if self._running is not None:
                self._running.cancelled.set()

    def close(self) -> None:
        """Cancel everything; the thread ends by itself, and nothing is emitted any more."""
        self.cancel()
        with self._wake:
            self._closed = True
            self._wake.notify()
        workers.release()

    def _loop(self) -> None:
        while (job := self._take()) is not None:
            self._run(job)
            with self._wake:
                self._running = None
                idle = self._waiting is None
            if idle:
                self._emit(self.idle)

    def _take(self) -> _Job | None:
        """Wait for a job and mark it as running; None once closed."""
        with self._wake:
            self._wake.wait_for(lambda: self._waiting is not None or self._closed)
            if self._closed:
                return None
            self._running, self._waiting = self._waiting, None
            return self._running

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
        if not job.cancelled.is_set():
            self._emit(self.finished, result)

    def _emit(self, signal: Any, *values: object) -> None:
        """Emit unless closed: the objects behind the signals may be gone by then."""
        with self._wake:
            if not self._closed:
                signal.emit(*values)
