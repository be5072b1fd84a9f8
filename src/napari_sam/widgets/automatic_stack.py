"""Automatic masks of a stack in the window: run, linked otherwise, shown as tracks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from napari_sam.annotation import Session
from napari_sam.automatic.stack import StackRun, planes_along
from napari_sam.widgets.automatic_panel import RUNNING, AutomaticPanel
from napari_sam.widgets.automatic_shown import ShownStack
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.jobs import LatestJob
from napari_sam.widgets.telling import Tell, words_of

# napari's Tracks layer has no more axes, and takes the first for the time.
_MOST_TRACK_AXES = 4


class StackMasks:
    """Run along a stack as the panel says, until it is closed.

    Parameters
    ----------
    session, panel
        What is bound.
    show
        Called, in Qt's thread, with the masks of a run that is complete.
    tell
        Says something to the user, and whether it is a problem.
    add_tracks
        Shows rows of `StackRun.tracks`.
    """

    def __init__(
        self,
        session: Session,
        panel: AutomaticPanel,
        show: Callable[[ShownStack], None],
        tell: Tell,
        add_tracks: Callable[[NDArray[np.float64]], None],
    ) -> None:
        self._session, self._panel = session, panel
        self._show, self._tell, self._add_tracks = show, tell, add_tracks
        self.run: StackRun | None = None
        self.job = LatestJob()
        self._connections = Connections()
        self._connections.add_all(
            (panel.stack.run_requested, self._on_run_requested),
            (panel.stack.linking_changed, self._on_linking_changed),
            (panel.stack.tracks_requested, self._on_tracks_requested),
            (self.job.progressed, self._on_progressed),
            (self.job.finished, self._on_finished),
            (self.job.failed, self._on_failed),
            (self.job.idle, self._on_idle),
        )

    @property
    def is_busy(self) -> bool:
        """Whether planes are looked at, or masks linked."""
        return self.job.is_busy

    def close(self) -> None:
        """Stop, and let go; the thread ends by itself."""
        self._connections.close()
        self.job.close()
        self._on_idle()

    def cancel(self) -> str:
        """Stop, and say how far it came; the planes that are done stay done."""
        self.job.cancel()
        run = self.run
        if run is None or run.is_complete:
            return "Stopped."
        return f"Stopped; {run.done} of {len(run.planes)} planes are done. Run again to go on."

    def _on_run_requested(self) -> None:
        stack = self._panel.stack
        try:
            axis, indices = stack.planes()
            run = StackRun(
                self._session,
                planes_along(self._session, axis, indices),
                self._panel.finding.generation(),
                self._panel.selecting.selection(),
                self._panel.writing.rule(),
                stack.linking(),
            )
        except ValueError as error:
            self._tell(str(error), problem=True)
            return
        if self.run is not None and self.run.does_the_same_as(run):
            self.run.linking = run.linking
        else:
            self.run = run
        earlier = f" {self.run.done} planes are done already." if self.run.done else ""
        self._tell(f"Looking for masks on {len(self.run.planes)} planes.{earlier}")
        self.job.submit(self.run.compute_and_give, key=self.run)

    def _on_linking_changed(self) -> None:
        """Link a complete run anew; one that is under way looks at its end whether it has to."""
        run = self.run
        if run is None or not run.is_complete:
            return
        try:
            run.linking = self._panel.stack.linking()
        except ValueError as error:
            self._tell(str(error), problem=True)
            return
        self.job.submit(run.compute_and_give, key=run)

    def _on_finished(self, run: StackRun) -> None:
        if run is not self.run:
            return
        try:
            linking = self._panel.stack.linking()
        except ValueError:  # which was told when it was chosen
            linking = run.linked_by
        if linking != run.linked_by:
            self._on_linking_changed()
            return
        self._panel.stack.show_ready(True)
        here = ShownStack(run, run.planes[0]).on(self._session.plane)
        self._show(here or ShownStack(run, run.planes[0]))
        if run.message is not None:
            self._panel.show_status(run.message, problem=True)
            return
        without = len(run.messages)
        empty = f" {without} planes have no mask." if without else ""
        there = "" if here else " Go to one of these planes to look at them and to commit."
        self._tell(f"{run.object_count} objects on {len(run.planes)} planes.{empty}{there}")

    def _on_tracks_requested(self) -> None:
        if self.run is None or not self.run.is_complete:
            return
        rows = self.run.tracks()
        if not len(rows):
            self._tell("There are no objects to make tracks of.", problem=True)
        elif (problem := _no_tracks(self.run)) is not None:
            self._tell(problem, problem=True)
        else:
            self._add_tracks(rows)

    def _on_progressed(self, done: float) -> None:
        if self.run is not None:
            planes = len(self.run.planes)
            what = f"plane {min(planes, int(done * planes) + 1)} of {planes},"
            self._panel.show_share(RUNNING, done, what)

    def _on_idle(self) -> None:
        self._panel.show_share(RUNNING, None)

    def _on_failed(self, error: Exception) -> None:
        self._tell(words_of(error), problem=True)


def _no_tracks(run: StackRun) -> str | None:
    """Say why napari's Tracks layer cannot show a run; None if it can."""
    axes = run.session.planes.axes
    positions = np.array([plane.position for plane in run.planes])
    moved = np.flatnonzero((positions != positions[0]).any(0))
    along = int(moved[0]) if len(moved) else 0
    if len(axes) <= _MOST_TRACK_AXES and along == 0:
        return None
    return (
        f"napari's tracks have at most {_MOST_TRACK_AXES} axes, and the first is their time; this image has "
        f"{axes}, and the run goes along {axes[along]}. In the console, StackRun.tracks() gives the rows."
    )
