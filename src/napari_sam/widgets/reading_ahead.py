"""Labels are read beside the window, before a view across the stack asks for those of all its planes."""

from __future__ import annotations

from collections import deque

from napari_sam.progress import Progress
from napari_sam.region import Region
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.records import Step
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.jobs import LatestJob
from napari_sam.widgets.timers import single_shot

# The first planes of a session are encoded before, and strokes of a brush come one after the other.
_REST_MS = 1000


class ReadingAhead:
    """Read a store's labels ahead, then those of each step, until this is closed.

    What cannot be read is told where it is looked at.
    """

    def __init__(self, store: LabelsStore) -> None:
        self._store = store
        # Where to read, everywhere at first; the thread takes from it.
        self._waiting: deque[list[Region] | None] = deque([None])
        self._job = LatestJob()
        self._rest = single_shot(_REST_MS)
        self._connections = Connections()
        self._connections.add(store.changed, self._on_changed)
        self._connections.add(self._rest.timeout, self._on_rest)
        self._rest.start()

    def close(self) -> None:
        """Let go of everything; the thread ends by itself."""
        self._rest.stop()
        self._connections.close()
        self._job.close()

    def _on_changed(self, step: Step) -> None:
        self._waiting.append(self._store.ledger.regions(step.number))
        self._rest.start()

    def _on_rest(self) -> None:
        self._job.submit(self._read, key=self)

    def _read(self, progress: Progress) -> None:
        while self._waiting:
            # Nobody has counted the chunks, but a report is where a job may be ended.
            self._store.sections.read_ahead(self._waiting.popleft(), lambda: progress(0.0))
