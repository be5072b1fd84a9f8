"""Automatic masks in the window: the panel asks, the session's model answers, the layer shows it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.annotation import Session
from napari_sam.automatic.presets import presets
from napari_sam.automatic.proposing import propose_plane
from napari_sam.automatic.writing import WrittenMasks, reasons
from napari_sam.inference.automatic import Generation, suited_selection
from napari_sam.inference.proposals import Proposals
from napari_sam.plane import Plane
from napari_sam.widgets.automatic_panel import FINDING, AutomaticPanel
from napari_sam.widgets.automatic_shown import Judged, ShownMasks, ShownPlane, ShownStack
from napari_sam.widgets.automatic_stack import StackMasks
from napari_sam.widgets.automatic_write import MasksWriter
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.jobs import LatestJob
from napari_sam.widgets.masks_layer import MasksLayer
from napari_sam.widgets.telling import tell, words_of
from napari_sam.widgets.timers import single_shot

# Proposals of so many planes are kept, as run lengths, to be chosen from again.
_KEPT_PLANES = 32
_FIND = "Find the masks of this plane, then choose among them."

Asked = tuple[Plane, Generation]


class AutomaticController:
    """Bind a session to the panel and the layer of the automatic masks, until it is closed.

    Parameters
    ----------
    session, panel, layer
        What is bound.
    region_on
        Gives the region that the user drew on a plane, None for all of it; a `ValueError` if there is none.
    add_tracks
        Shows rows of `StackRun.tracks`.
    """

    def __init__(
        self,
        session: Session,
        panel: AutomaticPanel,
        layer: MasksLayer,
        region_on: Callable[[Plane], NDArray[np.bool_] | None],
        add_tracks: Callable[[NDArray[np.float64]], None],
    ) -> None:
        self._session, self._panel, self._layer = session, panel, layer
        self._tell = partial(tell, panel)
        self._region_on = region_on
        self._presets = presets(session.predictor)
        self._kept: OrderedDict[Asked, Judged] = OrderedDict()
        self._asked: Asked | None = None
        self._suited = suited_selection(session.predictor)
        self._shown: ShownMasks | None = None
        self._committed: frozenset[Plane] = frozenset()  # the planes whose masks are being written
        self._lengths: dict[str, int] | None = None
        self._plane_job = LatestJob()
        self._stack = StackMasks(session, panel, self._show_stack, self._tell, add_tracks)
        self._writer = MasksWriter(session, panel, self._on_written, self._on_failed)
        # Of the many values that a slider passes only the last one is shown.
        self._settle = single_shot()
        self._connections = Connections()
        self._connections.add_all(*self._signals())
        panel.finding.show_ways_of_prompting(session.predictor.finds_objects)
        panel.show_presets([(preset.name, preset.use) for preset in self._presets])
        self._offer_axes()
        self._on_preset_chosen(0)
        panel.show_session(True)
        panel.show_status(_FIND)

    @property
    def is_busy(self) -> bool:
        """Whether something is being computed, or about to be."""
        jobs = (self._plane_job, self._stack, self._writer)
        return self._settle.isActive() or any(job.is_busy for job in jobs)

    def close(self) -> None:
        """Let go of everything; what was committed is on disk, and the threads end by themselves."""
        self._settle.stop()
        self._connections.close()
        self._plane_job.close()
        self._stack.close()
        self._writer.close()
        self._layer.close()
        self._panel.show_session(False)
        self._panel.show_count(None)
        self._panel.show_share(FINDING, None)
        self._panel.stack.show_axes({})
        self._panel.stack.show_ready(False)

    def _signals(self) -> list[tuple[Any, Callable[..., Any]]]:
        panel = self._panel
        return [
            (self._session.plane_changed, self._on_plane_changed),
            (self._layer.clicked, self._on_mask_clicked),
            (self._layer.taken_away, self._on_clear_requested),
            (panel.preset_chosen, self._on_preset_chosen),
            (panel.propose_requested, self._on_propose_requested),
            (panel.selecting.changed, self._settle.start),
            (panel.writing.rule_changed, self._settle.start),
            (panel.commit_requested, self._on_commit_requested),
            (panel.accept_all_requested, self._on_accept_all_requested),
            (panel.clear_requested, self._on_clear_requested),
            (panel.cancel_requested, self._on_cancel_requested),
            (self._settle.timeout, self._choose),
            (self._plane_job.progressed, self._on_proposing_progressed),
            (self._plane_job.finished, self._on_proposed),
            (self._plane_job.failed, self._on_failed),
            (self._plane_job.idle, self._on_proposing_idle),
        ]

    # One plane

    def _on_preset_chosen(self, number: int) -> None:
        preset = self._presets[number]
        self._suited = suited_selection(self._session.predictor, preset.generation)
        self._panel.finding.show_generation(preset.generation)
        self._panel.selecting.show_selection(preset.selection)
        self._settle.start()

    def _on_propose_requested(self) -> None:
        session = self._session
        try:
            self._asked = asked = (session.plane, self._panel.finding.generation())
            self._suit_thresholds(asked[1])
        except ValueError as error:
            self._tell(str(error), problem=True)
            return
        # Also what was found before: the pixels may have changed since, and if not it is found at once.
        self._panel.show_status("Looking for masks ...")
        self._plane_job.submit(
            lambda progress: (asked, propose_plane(session, *asked, progress)),
            key=asked,
        )

    def _suit_thresholds(self, generation: Generation) -> None:
        """Move the thresholds that the user has left alone to what suits another way of prompting."""
        suited = suited_selection(self._session.predictor, generation)
        now = self._panel.selecting.selection()
        moved = {
            name: value
            for name, value in vars(suited).items()
            if getattr(now, name) == getattr(self._suited, name) != value
        }
        self._suited = suited
        if moved:
            self._panel.selecting.show_selection(replace(now, **moved))

    def _on_proposed(self, answer: tuple[Asked, Proposals]) -> None:
        asked, proposals = answer
        before = self._kept.pop(asked, None)
        self._kept[asked] = Judged(proposals) if before is None else before.of(proposals)
        if len(self._kept) > _KEPT_PLANES:
            self._kept.popitem(last=False)
        if asked == self._asked and asked[0] == self._session.plane:
            self._show_plane()
            self._layer.take_clicks()
        else:
            where = self._session.planes.name_of(asked[0])
            self._panel.show_status(f"The masks of the plane {where} are found.")

    def _show_plane(self) -> None:
        """Show the masks of the shown plane, if they were found in the way that was asked for last."""
        self._shown = None
        if self._asked is not None:
            self._asked = (self._session.plane, self._asked[1])
            if (judged := self._kept.get(self._asked)) is not None:
                self._kept.move_to_end(self._asked)
                self._shown = ShownPlane(self._session.plane, judged)
        self._choose()

    def _choose(self) -> None:
        """Select among the proposals with what the sliders say, and show it."""
        try:
            selection = self._panel.selecting.selection()
        except ValueError as error:
            self._tell(str(error), problem=True)
            return
        shown = self._shown
        proposals = shown.proposals if isinstance(shown, ShownPlane) else None
        self._panel.selecting.show_proposals(proposals, selection)
        selection = self._panel.selecting.selection()  # which the floors of the proposals may have raised
        if isinstance(shown, ShownPlane):
            shown.choose(selection, self._panel.writing.rule(), self._region_drawn())
        self._show()
        if isinstance(shown, ShownStack) and shown.run.selection != selection:
            self._panel.show_status("Run again, so that the stack's masks are chosen like this.")

    def _region_drawn(self) -> NDArray[np.bool_] | None:
        """Give the region on the shown plane, None also where none is drawn yet."""
        try:
            return self._region_on(self._session.plane)
        except ValueError:
            return None

    def region_changed(self) -> None:
        """Choose anew among the shown masks: another region counts."""
        if isinstance(self._shown, ShownPlane):
            self._settle.start()

    def _show(self) -> None:
        """Lay what is shown over the image, and say how much it is."""
        shown = self._shown
        if shown is None or shown.plane != self._session.plane:
            self._layer.clear()
            self._panel.show_count(None)
            if shown is None:
                self._panel.show_status(_FIND)
            return
        numbers, rejected = shown.picture()
        self._layer.show(shown.plane, numbers, rejected)
        self._panel.show_count(shown.count)
        if shown.message is not None:
            self._panel.show_status(shown.message, problem=True)
        else:
            self._panel.show_status("Click on a mask to reject it, again to accept it.")

    def _on_mask_clicked(self, row: int, column: int) -> None:
        if self._shown is not None and self._shown.toggle(row, column):
            self._show()

    def _on_accept_all_requested(self) -> None:
        if self._shown is not None:
            self._shown.accept_all()
            self._show()

    def _on_clear_requested(self) -> None:
        self._forget({self._session.plane})
        self._shown = None
        self._show()

    def _forget(self, planes: Collection[Plane]) -> None:
        """Let no masks of some planes be shown again, until they are asked for."""
        for asked in [x for x in self._kept if x[0] in planes]:
            del self._kept[asked]

    def _show_stack(self, shown: ShownStack) -> None:
        self._shown = shown
        self._show()
        self._layer.take_clicks()

    def _on_plane_changed(self) -> None:
        self._offer_axes()
        if isinstance(self._shown, ShownStack):
            self._shown = self._shown.on(self._session.plane) or self._shown
            self._show()
        elif self._asked is not None:
            self._show_plane()

    # Writing

    def _on_commit_requested(self) -> None:
        shown = self._shown
        if shown is None or self._writer.is_busy:
            return
        try:
            region, annotated = self._region_on(self._session.plane), self._panel.writing.annotated()
            self._writer.write(*shown.accepted(), annotated, region)
            self._committed = frozenset(shown.planes)
        except (ValueError, OSError) as error:
            self._tell(str(error), problem=True)

    def _on_written(self, written: WrittenMasks) -> None:
        """Let go of what was committed, and of nothing else: by now another plane may be shown."""
        self._forget(self._committed)
        if self._shown is not None and self._committed.issuperset(self._shown.planes):
            self._shown = None
        self._show()
        count = written.object_count
        objects = "1 object was" if count == 1 else f"{count} objects were"
        left_out = f" Left out: {reasons(written.left_out)}." if written.left_out else ""
        self._panel.show_status(f"{objects} committed, as one step; undo takes it back.{left_out}")

    # Working

    def _on_cancel_requested(self) -> None:
        self._plane_job.cancel()
        stopped = self._stack.cancel()
        self._writer.cancel()
        if self._writer.is_busy:
            stopped = "Stopping; what was written is taken back ..."
        self._panel.show_status(stopped)

    def _on_proposing_progressed(self, done: float) -> None:
        self._panel.show_share(FINDING, done)

    def _on_failed(self, error: Exception) -> None:
        self._tell(words_of(error), problem=True)

    def _on_proposing_idle(self) -> None:
        self._panel.show_share(FINDING, None)

    def _offer_axes(self) -> None:
        """Offer the axes of the image along which there are planes like the shown one."""
        session = self._session
        lengths = {
            letter: session.planes.shape[axis]
            for axis, letter in enumerate(session.planes.axes)
            if axis not in session.plane.displayed and session.planes.shape[axis] > 1
        }
        if lengths != self._lengths:  # else the user's choice would be lost
            self._lengths = lengths
            # First the one that the plane's slider moves along, which is the last.
            self._panel.stack.show_axes(dict(reversed(lengths.items())))
