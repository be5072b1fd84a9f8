"""What writes to the labels beside Qt's thread: one at a time, and told also where a stop came too late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from napari_sam.progress import Progress
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.jobs import LatestJob

T = TypeVar("T")


class WriteJob(Generic[T]):
    """Run one write at a time; it ends whole, or not at all.

    Parameters
    ----------
    progressed
        Called, in Qt's thread, with the share that is done.
    ended
        Called with what was written; with None where it was stopped before.
    failed
        Called with what went wrong; nothing was written then.
    """

    def __init__(
        self,
        progressed: Callable[[float], None],
        ended: Callable[[T | None], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._ended, self._failed = ended, failed
        self._write: _Write[T] | None = None
        self._job = LatestJob()
        self._connections = Connections()
        for signal, handler in (
            (self._job.progressed, progressed),
            (self._job.failed, self._on_failed),
            (self._job.idle, self._on_idle),
        ):
            self._connections.add(signal, handler)

    @property
    def is_busy(self) -> bool:
        """Whether something is being written, or not yet told."""
        return self._write is not None

    def start(self, work: Callable[[Progress], T]) -> None:
        """Begin to write; what the function returns is told when it is done."""
        assert self._write is None, "one after the other"
        self._write = write = _Write(work)
        self._job.submit(write.run, key=write)

    def cancel(self) -> None:
        """Stop: what was written so far is taken back, unless all of it is."""
        self._job.cancel()

    def close(self) -> None:
        """Stop, and let go; the thread ends by itself."""
        self._connections.close()
        self._job.close()

    def _on_failed(self, error: Exception) -> None:
        if self._write is not None:
            self._write.error = error  # told at the end: the next one may begin then

    def _on_idle(self) -> None:
        """See what came of it."""
        write, self._write = self._write, None
        if write is None:
            return
        if write.error is None:
            self._ended(write.written)
        else:
            self._failed(write.error)


class _Write(Generic[T]):
    """What is to be written, and what came of it."""

    def __init__(self, work: Callable[[Progress], T]) -> None:
        self._work = work
        self.written: T | None = None
        self.error: Exception | None = None

    def run(self, progress: Progress) -> None:
        """Write; in the job's thread."""
        self.written = self._work(progress)
