"""Planes are encoded ahead of the user while a session runs, and the panel shows which are ready."""

from __future__ import annotations

import numpy as np
from napari.utils.notifications import show_warning
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_sam.annotation import Session
from napari_sam.plane import Plane
from napari_sam.prefetching import Prefetcher, Report, Travel
from napari_sam.propagating.finding import goes_on_along, propagation_axis
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.jobs import LatestJob
from napari_sam.widgets.seen import SeenView
from napari_sam.widgets.stack_status import StackStatus


class StackBinding(QObject):
    """Bind a session to a prefetcher and to the view of what is ready, until it is closed."""

    _reported = Signal(object)

    def __init__(self, session: Session, view: StackStatus, seen: SeenView) -> None:
        super().__init__()
        self._session = session
        self._view = view
        self._seen = seen
        self._displayed = session.plane.displayed
        self._along: int | None = None
        self._ready = self._none_ready()
        self._dropped = session.embedder.cache.dropped
        # Those that became ready since the listing that runs has begun.
        self._new: set[Plane] = set()
        self._listing = LatestJob()
        self._prefetcher = Prefetcher(session.embedder, session.planes.shape, self._reported.emit)
        self._connections = Connections()
        self._connections.add_all(
            (self._reported, self._on_reported),
            (session.plane_changed, self._on_plane_changed),
            (view.encode_requested, self._on_encode_requested),
            (view.stop_requested, self._on_stop_requested),
            (self._listing.finished, self._on_listed),
            (self._listing.failed, self._on_listing_failed),
        )
        self._list()
        self.show()

    @property
    def is_busy(self) -> bool:
        """Whether planes are encoded, or about to be."""
        return self._prefetcher.is_busy or self._listing.is_busy

    def start(self) -> None:
        """Begin with the neighbours of the shown plane."""
        self._prefetcher.follow(self._session.plane)

    def close(self) -> None:
        """Let go of everything; the thread ends by itself."""
        self._connections.close()
        self._prefetcher.close()
        self._listing.close()
        self._view.show_run(0, 0, None)
        self._view.setVisible(False)
        self._seen.show_picture(None, "")
        self._seen.map.setVisible(False)

    def note(self, *planes: Plane) -> None:
        """Learn that planes, or tiles of them, have become ready."""
        alike = [plane for plane in planes if plane.displayed == self._displayed]
        for plane in alike:
            self._ready[plane.position] = True
            self._new.add(plane)
        if alike:
            self._list_again()
            if self._session.plane in alike:
                self.show_seen()
            self._show_strip()

    def show_seen(self) -> None:
        """Show what the model looked at last on the shown plane, and which tiles of a large one are ready."""
        session, plane = self._session, self._session.plane
        shape = plane.shape(session.planes.shape)
        seen = session.embedder.seen(plane)
        caption = "What the model sees is shown here once this plane is encoded."
        if seen is not None:
            tile, picture = seen
            part = "" if tile.covers(shape) else f" from row {tile.row}, column {tile.column}"
            caption = f"What the model sees: {tile.height} x {tile.width} pixels{part}."
        self._seen.show_picture(None if seen is None else picture, caption)
        is_large = session.embedder.whole(plane) is None
        self._seen.map.setVisible(is_large)
        if is_large:
            tiles = session.embedder.ready_tiles(plane)
            self._seen.map.show_tiles(shape, tiles, None if seen is None else tile)
            self._seen.caption.setText(f"{caption} {len(tiles)} tiles are ready.")

    def show(self) -> None:
        """Show which planes along the slider's axis are ready, and what the model saw of the shown one."""
        self.show_seen()
        self._show_strip()

    def _show_strip(self) -> None:
        plane, axis = self._session.plane, self._axis
        self._view.setVisible(axis is not None)
        if axis is not None:
            index = tuple(slice(None) if x == axis else n for x, n in enumerate(plane.position))
            self._view.show_ready(
                self._session.planes.axes[axis], self._ready[index].ravel(), plane.position[axis]
            )

    @property
    def objects_go_on_along(self) -> str | None:
        """The axis, of those along which objects go on, that the user moved along last; None without any."""
        plane, planes = self._session.plane, self._session.planes
        if self._along is not None and self._along not in plane.displayed:
            return planes.axes[self._along]
        return propagation_axis(plane, planes.shape, planes.axes)

    @property
    def _axis(self) -> int | None:
        """The axis that the strip shows; None also for planes so large that prompts choose their tiles."""
        plane, planes = self._session.plane, self._session.planes
        axis = (self._prefetcher.travel or Travel.default(plane, planes.shape, planes.axes)).axis
        alone = axis in plane.displayed
        return None if alone or self._session.embedder.whole(plane) is None else axis

    def _on_plane_changed(self) -> None:
        if self._session.plane.displayed != self._displayed:
            self._displayed = self._session.plane.displayed
            self._ready = self._none_ready()
            self._list()
        self._prefetcher.follow(self._session.plane)
        travel = self._prefetcher.travel
        if travel is not None and goes_on_along(self._session.planes.axes[travel.axis]):
            self._along = travel.axis
        self.show()

    def _none_ready(self) -> NDArray[np.bool_]:
        lengths = self._session.planes.shape
        return np.zeros([1 if axis in self._displayed else n for axis, n in enumerate(lengths)], np.bool_)

    def _list(self) -> None:
        """Look beside the window through what the disk holds: thousands of planes take a moment."""
        displayed, embedder = self._displayed, self._session.embedder
        self._new.clear()
        self._listing.submit(lambda _: (displayed, embedder.ready(displayed)), key=displayed)

    def _list_again(self) -> None:
        """Look through it again once something has gone to make room."""
        dropped = self._session.embedder.cache.dropped
        if dropped != self._dropped:
            self._dropped = dropped
            self._list()

    def _on_listed(self, found: tuple[tuple[int, int], NDArray[np.bool_]]) -> None:
        displayed, ready = found
        if displayed == self._displayed:
            self._ready = ready
            for plane in self._new:
                self._ready[plane.position] = True
            self._show_strip()
            self._list_again()

    def _on_listing_failed(self, error: Exception) -> None:
        show_warning(f"Which planes are encoded already could not be found out: {error}")

    def _on_reported(self, report: Report) -> None:
        if report.plane is not None:
            self.note(report.plane)
        if report.problem is not None:
            show_warning(report.problem)
        # One that was stopped meanwhile tells no more.
        running = report.total > report.done and self._prefetcher.encodes_all
        self._view.show_run(report.done, report.total if running else 0, report.remaining_s)

    def _on_encode_requested(self) -> None:
        self._view.show_run(0, self._prefetcher.encode_all(), None)

    def _on_stop_requested(self) -> None:
        self._prefetcher.cancel()
        self._view.show_run(0, 0, None)
