"""The objects of a store, measured beside Qt's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from napari_sam.objects.measuring import ObjectRow, read_objects
from napari_sam.progress import Progress
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.snapshot import snapshot
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.jobs import LatestJob

Measured = tuple[LabelsStore, list[ObjectRow]]


class ObjectsMeasurer:
    """Measure the objects of one store at a time, and tell what they are unless it was let go meanwhile.

    Parameters
    ----------
    measured, failed
        Called in Qt's thread with the rows, or with what went wrong.
    """

    def __init__(
        self, measured: Callable[[list[ObjectRow]], None], failed: Callable[[Exception], None]
    ) -> None:
        self._measured, self._failed = measured, failed
        self._store: LabelsStore | None = None
        self._reading = threading.Lock()
        self._job = LatestJob()
        self._connections = Connections()
        self._connections.add(self._job.finished, self._on_finished)
        self._connections.add(self._job.failed, self._on_failed)

    @property
    def is_busy(self) -> bool:
        """Whether objects are being measured, or about to be."""
        return self._job.is_busy

    def measure(self, store: LabelsStore) -> None:
        """Measure the objects as they are by now; what is being measured is told too, for it comes sooner."""
        self._store = store
        self._job.submit(partial(self._work, store), key=store)

    def let_go(self) -> None:
        """Tell nothing more of the store, and read its ledger no more.

        Where it is being read, this waits: a ledger that somebody reads cannot be folded into one file when
        it is closed.
        """
        self._store = None
        self._job.cancel()
        with self._reading:
            pass

    def close(self) -> None:
        """Let go of the store; the thread ends by itself."""
        self.let_go()
        self._connections.close()
        self._job.close()

    def _work(self, store: LabelsStore, progress: Progress) -> Measured:
        with self._reading:
            progress(0.0)  # ends here where the store was let go
            with snapshot(store.ledger) as seen:
                objects = read_objects(seen)
        progress(0.5)
        return store, objects.rows(store.geometry)

    def _on_finished(self, result: Measured) -> None:
        store, rows = result
        if store is self._store:
            self._measured(rows)

    def _on_failed(self, error: Exception) -> None:
        if self._store is not None:
            self._failed(error)
