"""Planes are encoded ahead of the user while a session runs, and the panel shows which are ready."""

from __future__ import annotations

import numpy as np
from napari.utils.notifications import show_warning
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_sam.annotation import Session
from napari_sam.planes import Plane
from napari_sam.prefetching import Prefetcher, Report, Travel
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.stack_status import StackStatus


class StackBinding(QObject):
    """Bind a session to a prefetcher and to the view of what is ready, until it is closed."""

    _reported = Signal(object)

    def __init__(self, session: Session, view: StackStatus) -> None:
        super().__init__()
        self._session = session
        self._view = view
        self._ready: NDArray[np.bool_] = session.ready()
        self._displayed = session.plane.displayed
        self._prefetcher = Prefetcher(session.embedder, session.planes.shape, self._reported.emit)
        self._connections = Connections()
        for signal, handler in (
            (self._reported, self._on_reported),
            (session.plane_changed, self._on_plane_changed),
            (view.encode_requested, self._on_encode_requested),
            (view.stop_requested, self._on_stop_requested),
        ):
            self._connections.add(signal, handler)
        self.show()

    @property
    def is_busy(self) -> bool:
        """Whether planes are encoded, or about to be."""
        return self._prefetcher.is_busy

    def start(self) -> None:
        """Begin with the neighbours of the shown plane."""
        self._prefetcher.follow(self._session.plane)

    def close(self) -> None:
        """Let go of everything; the thread ends by itself."""
        self._connections.close()
        self._prefetcher.close()
        self._view.show_run(0, 0, None)
        self._view.setVisible(False)

    def note(self, plane: Plane) -> None:
        """Learn that a plane, or a tile of it, has become ready."""
        if plane.displayed == self._displayed:
            self._ready[plane.position] = True
            self.show()

    def show(self) -> None:
        """Show which planes along the slider's axis are ready."""
        plane, axis = self._session.plane, self._axis
        self._view.setVisible(axis is not None)
        if axis is not None:
            index = tuple(slice(None) if x == axis else n for x, n in enumerate(plane.position))
            self._view.show_ready(
                self._session.planes.axes[axis], self._ready[index].ravel(), plane.position[axis]
            )

    @property
    def _axis(self) -> int | None:
        """The axis that the strip shows; None where nothing is encoded ahead.

        That is an image of one plane, or of planes so large that prompts choose their tiles.
        """
        plane = self._session.plane
        axis = Travel.default(plane).axis
        alone = axis in plane.displayed or self._session.planes.shape[axis] < 2
        return None if alone or self._session.embedder.whole(plane) is None else axis

    def _on_plane_changed(self) -> None:
        if self._session.plane.displayed != self._displayed:
            self._displayed = self._session.plane.displayed
            self._ready = self._session.ready()
        self._prefetcher.follow(self._session.plane)
        self.show()

    def _on_reported(self, report: Report) -> None:
        if report.plane is not None:
            self.note(report.plane)
        if report.problem is not None:
            show_warning(report.problem)
        running = report.total > report.done
        self._view.show_run(report.done, report.total if running else 0, report.remaining_s)
        if not running:
            self.show()

    def _on_encode_requested(self) -> None:
        self._prefetcher.encode_all()
        self._view.show_run(0, int(np.prod(self._ready.shape)), None)

    def _on_stop_requested(self) -> None:
        self._prefetcher.cancel()
        self._view.show_run(0, 0, None)
        self.show()
