"""The widget ``Segment Anything: annotate``: it binds napari's layers and the panel to a session."""

from __future__ import annotations

import weakref
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Points, Shapes
from napari.utils.notifications import show_error, show_warning
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_sam.annotation import Response, Session, default_labels_path, open_session
from napari_sam.model.sam import CONFIGS
from napari_sam.storage.labels import Commit
from napari_sam.widgets.coordinates import PlaneNotShown
from napari_sam.widgets.jobs import LatestJob
from napari_sam.widgets.panel import NEW_LAYER, AnnotatePanel
from napari_sam.widgets.session_layers import SessionLayers

# While the slider moves, planes that are only passed are not encoded.
_SETTLE_MS = 60
_widgets: weakref.WeakKeyDictionary[ViewerModel, AnnotateWidget] = weakref.WeakKeyDictionary()


def session(viewer: ViewerModel) -> Session:
    """Give the live session of the viewer's annotation widget, for napari's console.

    What is set here appears in the widget, and the other way round.

    Raises
    ------
    ValueError
        If the viewer has no annotation widget, or nothing was started in it.
    """
    model = getattr(viewer, "__wrapped__", viewer)  # napari's console holds a proxy of the viewer
    widget = _widgets.get(model)
    if widget is None or widget.session is None:
        raise ValueError(
            "No annotation runs in this viewer: open it in the menu Plugins, and start it there."
        )
    return widget.session


class AnnotateWidget(QWidget):
    """Annotate an image layer with points and boxes, plane by plane.

    Parameters
    ----------
    napari_viewer
        The viewer that the widget is docked in.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.panel = AnnotatePanel(list(CONFIGS))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.panel)
        self.session: Session | None = None
        self._layers: SessionLayers | None = None
        self._job = LatestJob(self)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.timeout.connect(self._compute)
        self._keys_added = False
        self._connect_view()
        self._connect_viewer()
        self._refresh_choices()
        _widgets[self._viewer] = self

    # Starting

    def start(self) -> None:
        """Start a session with the chosen image, model and labels; loading runs beside the window."""
        layer = self.panel.image.value
        if layer is None:
            self._tell("There is no image to annotate: open one, or take File > Open Sample.", problem=True)
            return
        axes = "".join(layer.axis_labels)
        known = len(set(axes)) == len(axes) == layer.ndim
        open_it = partial(
            open_session,
            layer.data,
            axes=axes + "s" * layer.rgb if known else None,
            model=self.panel.model.value,
            labels=self._labels_path(layer),
            rgb=layer.rgb,
            scale=[float(x) for x in layer.scale],
            name=layer.name,
            checkpoint=self._checkpoint(),
        )
        self.stop()
        self.panel.show_status(f"Loading {self.panel.model.value} ...")
        self.panel.start.setEnabled(False)
        self._job.submit(lambda _: (layer, open_it()), key="open")

    def stop(self) -> None:
        """End the session; all layers and what was committed stay."""
        self._job.cancel()
        self._settle.stop()
        if self._layers is not None:
            self._layers.close()
            self._layers = None
        if self.session is not None:
            for signal, handler in self._session_signals(self.session):
                signal.disconnect(handler)
            self.session = None
        self.panel.show_session(False)
        self.panel.show_preview(None)

    def _on_session_opened(self, layer: Image, opened: Session) -> None:
        """Bind the layers to the session; runs in Qt's thread."""
        if layer not in self._viewer.layers:
            self._tell(f"The image {layer.name!r} is gone; choose another one.", problem=True)
            return
        points, boxes = self.panel.points.value, self.panel.boxes.value
        try:
            self._layers = SessionLayers(
                self._viewer,
                layer,
                opened,
                points if isinstance(points, Points) else None,
                boxes if isinstance(boxes, Shapes) else None,
            )
        except ValueError as error:
            self._tell(str(error), problem=True)
            return
        self.session = opened
        for signal, handler in self._session_signals(opened):
            signal.connect(handler)
        self._layers.prompts.changed.connect(self._on_prompts_changed)
        self._add_keys()
        self.panel.show_session(True)
        self.panel.labels.value = opened.store.path
        self.panel.show_polarity(self._layers.prompts.positive)
        self._choose_tool("points")
        self._tell(f"Click on an object. Labels: {opened.store.path}")
        self._on_dims_changed()

    def _labels_path(self, layer: Image) -> Path:
        chosen = str(self.panel.labels.value)
        if chosen not in ("", "."):
            return Path(chosen)
        source = Path(layer.source.path) if layer.source.path else None
        return default_labels_path(layer.name, source if source and source.exists() else None)

    def _checkpoint(self) -> Path | None:
        chosen = str(self.panel.checkpoint.value)
        return None if self.panel.model.value == "nano" or chosen in ("", ".") else Path(chosen)

    # The session tells

    def _session_signals(self, opened: Session) -> list[tuple[Any, Any]]:
        return [
            (opened.plane_changed, self._on_session_plane_changed),
            (opened.prompt_changed, self._on_session_prompt_changed),
            (opened.preview_changed, self._on_session_preview_changed),
            (opened.committed, self._on_session_committed),
            (opened.noticed, self._on_session_noticed),
        ]

    def _on_session_plane_changed(self) -> None:
        """Move the sliders when a script moved the session."""
        if self._layers is not None and self.session is not None:
            self._layers.show_plane(self.session.plane)
            self._settle.start()

    def _on_session_prompt_changed(self) -> None:
        if self._layers is not None and self.session is not None:
            self._layers.prompts.write(self.session.plane, self.session.prompt)
            if self.panel.live.isChecked():
                self._settle.start(0)

    def _on_session_preview_changed(self) -> None:
        if self._layers is None or self.session is None:
            return
        preview = self.session.preview
        self._layers.show_preview(preview)
        if preview is None:
            self.panel.show_preview(None)
        else:
            order = np.argsort(-preview.scores, kind="stable").tolist()
            self.panel.show_preview(preview.score, order.index(preview.chosen) + 1, len(order))

    def _on_session_committed(self, commit: Commit) -> None:
        if self._layers is not None:
            self._layers.show_commit(commit)

    def _on_session_noticed(self, message: str) -> None:
        show_warning(message)
        self.panel.show_status(message, problem=True)

    # The layers tell

    def _on_prompts_changed(self) -> None:
        if self._layers is None or self.session is None:
            return
        try:
            self.session.show(self._layers.shown_plane())
            self.session.set_prompt(self._layers.prompts.read(self.session.plane))
        except ValueError as error:
            self._tell(str(error), problem=True)
            return
        self.panel.show_polarity(self._layers.prompts.positive)
        if self._layers.prompts.outside:
            self._tell("Clicks beside the image are no prompts; click on the image.", problem=True)

    def _on_dims_changed(self) -> None:
        if self._layers is None or self.session is None:
            return
        try:
            plane = self._layers.shown_plane()
        except PlaneNotShown as error:
            self.panel.show_status(str(error), problem=True)
            return
        self.panel.show_status(self._where(plane.position))
        if plane != self.session.plane:
            self.session.show(plane)
        self._settle.start()

    def _on_layer_removed(self, event: Any) -> None:
        self._refresh_choices()
        if self._layers is not None and self._layers.needs(event.value):
            self.stop()
            self._tell(
                f"The layer {event.value.name!r} was removed, and the annotation ended; start it again."
            )

    def _on_layer_inserted(self, _event: Any) -> None:
        self._refresh_choices()

    # The panel asks

    def _choose_tool(self, tool: str) -> None:
        if self._layers is not None:
            self._layers.choose_tool(tool)
            self.panel.show_tool(tool)

    def _on_active_changed(self, _event: Any = None) -> None:
        if self._layers is not None:
            self.panel.show_tool(self._layers.tool())

    def _flip_polarity(self) -> None:
        if self._layers is not None:
            self._layers.prompts.positive = not self._layers.prompts.positive
            self.panel.show_polarity(self._layers.prompts.positive)

    def _commit(self) -> None:
        if self.session is None:
            return
        if self.session.preview is None and (self._job.is_busy or self._settle.isActive()):
            self._tell("The mask is still being computed; commit when it is shown.")
            return
        try:
            label = self.session.commit()
        except (ValueError, OSError) as error:
            self._tell(str(error), problem=True)
            return
        self._tell(f"Committed as label {label}.")

    def _undo(self) -> None:
        if self.session is None:
            return
        try:
            label = self.session.undo()
        except (ValueError, OSError) as error:
            self._tell(str(error), problem=True)
            return
        self._tell("There is nothing to undo." if label is None else f"Label {label} was taken back.")

    def _clear(self) -> None:
        if self.session is not None:
            self.session.clear_prompt()

    def _next_candidate(self) -> None:
        if self.session is not None:
            self.session.next_candidate()

    def _predict(self) -> None:
        if self.session is not None and self.session.prompt.is_empty:
            self._tell("There is no prompt on this plane; click on an object or drag a box.")
        self._compute(asked=True)

    # Computing

    def _compute(self, asked: bool = False) -> None:
        """Ask for the embedding of the shown plane, and for the preview if it is wanted."""
        current = self.session
        if current is None:
            return
        request = current.request(preview=asked or self.panel.live.isChecked())
        self._job.submit(lambda progress: (current, current.run(request, progress)), key=request.plane)

    def _on_job_finished(self, result: Any) -> None:
        first, second = result
        if isinstance(first, Image):
            self.panel.start.setEnabled(True)
            self._on_session_opened(first, second)
        elif self.session is not None and first is self.session and isinstance(second, Response):
            self.session.accept(second)

    def _on_job_failed(self, error: Exception) -> None:
        self.panel.start.setEnabled(True)
        self._tell(str(error) or type(error).__name__, problem=True)

    def _on_job_idle(self) -> None:
        self.panel.show_progress(None)
        self.panel.start.setEnabled(True)

    def _cancel(self) -> None:
        self._job.cancel()
        self.panel.start.setEnabled(True)
        self._tell("Stopped. Move to another plane, or press Predict, to go on.")

    # Wiring

    def _connect_view(self) -> None:
        panel, job = self.panel, self._job
        for signal, handler in (
            (panel.start_requested, self.start),
            (panel.tool_chosen, self._choose_tool),
            (panel.polarity_requested, self._flip_polarity),
            (panel.next_requested, self._next_candidate),
            (panel.commit_requested, self._commit),
            (panel.clear_requested, self._clear),
            (panel.undo_requested, self._undo),
            (panel.predict_requested, self._predict),
            (panel.cancel_requested, self._cancel),
            (panel.live_changed, lambda live: self._compute() if live else None),
            (job.progressed, panel.show_progress),
            (job.finished, self._on_job_finished),
            (job.failed, self._on_job_failed),
            (job.idle, self._on_job_idle),
        ):
            signal.connect(handler)

    def _viewer_signals(self) -> list[tuple[Any, Any]]:
        viewer = self._viewer
        return [
            (viewer.dims.events.current_step, self._on_dims_changed),
            (viewer.dims.events.order, self._on_dims_changed),
            (viewer.dims.events.ndisplay, self._on_dims_changed),
            (viewer.layers.events.inserted, self._on_layer_inserted),
            (viewer.layers.events.removed, self._on_layer_removed),
            (viewer.layers.selection.events.active, self._on_active_changed),
        ]

    def _connect_viewer(self) -> None:
        for signal, handler in self._viewer_signals():
            signal.connect(handler)

    def _add_keys(self) -> None:
        if not self._keys_added:
            window = self.window()
            assert window is not None
            self.panel.add_shortcuts(window)
            window.installEventFilter(self)
            self._keys_added = True

    def close_annotation(self) -> None:
        """Let go of the viewer: end the session, its thread, its keys and every connection."""
        if _widgets.get(self._viewer) is not self:
            return
        del _widgets[self._viewer]
        self.stop()
        self.panel.remove_shortcuts()
        for signal, handler in self._viewer_signals():
            signal.disconnect(handler)
        self._job.close()

    def event(self, event: QEvent | None) -> bool:
        """Let go of everything when napari takes the widget out of its dock, or closes."""
        if (
            event is not None
            and event.type() == QEvent.Type.ParentChange
            and self.parent() is None
            and self._keys_added
        ):
            self.close_annotation()
        return super().event(event)

    def closeEvent(self, event: Any) -> None:
        """Let go of everything when the window closes."""
        self.close_annotation()
        super().closeEvent(event)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """See the main window close, of which a docked widget is not told."""
        if event is not None and event.type() == QEvent.Type.Close:
            self.close_annotation()
        return super().eventFilter(watched, event)

    # Small things

    def _refresh_choices(self) -> None:
        """Offer the layers that are there, keeping what is chosen; the active image first."""
        layers = list(self._viewer.layers)
        active = self._viewer.layers.selection.active
        images = [x for x in reversed(layers) if isinstance(x, Image)]
        panel = self.panel
        chosen = panel.image.value
        panel.image.choices = images
        if chosen in images:
            panel.image.value = chosen
        elif images:
            panel.image.value = active if isinstance(active, Image) else images[0]
        own = self._layers.own if self._layers is not None else ()
        for box, kind in ((panel.points, Points), (panel.boxes, Shapes)):
            kept = box.value
            box.choices = [NEW_LAYER, *(x for x in layers if isinstance(x, kind) and x not in own)]
            box.value = kept if kept in box.choices else NEW_LAYER

    def _where(self, position: tuple[int, ...]) -> str:
        assert self.session is not None
        axes, displayed = self.session.planes.axes, self.session.plane.displayed
        named = [f"{axes[i]} {x}" for i, x in enumerate(position) if i not in displayed]
        return f"Plane {', '.join(named)}." if named else ""

    def _tell(self, text: str, problem: bool = False) -> None:
        """Say it in the panel; a problem in napari's notifications too."""
        self.panel.show_status(text, problem)
        if problem:
            show_error(text)
