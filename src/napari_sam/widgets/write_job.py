"""What writes to the labels beside Qt's thread: one at a time, and told also where a stop came too late."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Generic, TypeVar

from qtpy.QtCore import QObject, Signal

from napari_sam.progress import Progress
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.jobs import LatestJob

T = TypeVar("T")


class _Teller(QObject):
    """Call functions in Qt's thread that another thread names; it is never closed, nor forgets one."""

    told = Signal(object, object)

    def __init__(self) -> None:
        super().__init__()
        self.told.connect(self._on_told)

    def _on_told(self, function: Callable[[Any], None], what: Any) -> None:
        function(what)


@cache
def _teller() -> _Teller:
    return _Teller()


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
    written
        Called with what was written before ``ended`` is, and also where this is closed by then.
    """

    def __init__(
        self,
        progressed: Callable[[float], None],
        ended: Callable[[T | None], None],
        failed: Callable[[Exception], None],
        written: Callable[[T], None] | None = None,
    ) -> None:
        self._ended, self._failed = ended, failed
        self._written, self._teller = written, _teller()
        self._write: _Write[T] | None = None
        self._job = LatestJob()
        self._connections = Connections()
        self._connections.add_all(
            (self._job.progressed, progressed),
            (self._job.failed, self._on_failed),
            (self._job.idle, self._on_idle),
        )

    @property
    def is_busy(self) -> bool:
        """Whether something is being written, or not yet told."""
        return self._write is not None

    def start(self, work: Callable[[Progress], T]) -> None:
        """Begin to write; what the function returns is told when it is done."""
        assert self._write is None, "one after the other"
        handler, told = self._written, self._teller.told

        def work_and_tell(progress: Progress) -> T:
            written = work(progress)
            if handler is not None:
                told.emit(handler, written)
            return written

        self._write = write = _Write(work_and_tell)
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
