"""The widget ``Segment Anything: annotate``: choose an image, a model and labels, and start."""

from __future__ import annotations

import weakref
from functools import partial
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.notifications import show_warning
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QVBoxLayout

from napari_sam import workers
from napari_sam.annotation import Session
from napari_sam.inference.loading import precisions
from napari_sam.installation import conflict
from napari_sam.starting import default_labels_path, labels_before
from napari_sam.weights.catalogue import CATALOGUE
from napari_sam.widgets.cache_settings import CacheChoice, CacheDialog, recall_cache, remember_cache
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.controller import SessionController
from napari_sam.widgets.coordinates import array_shape
from napari_sam.widgets.docked import DockedWidget
from napari_sam.widgets.image_choice import ImageChoice
from napari_sam.widgets.layer_choice import LayerChoice
from napari_sam.widgets.made_layers import MadeLayers
from napari_sam.widgets.models import describe, model_choices
from napari_sam.widgets.panel import AnnotatePanel
from napari_sam.widgets.running import running
from napari_sam.widgets.scenes import file_of, scene_of
from napari_sam.widgets.scrolling import Scrolled
from napari_sam.widgets.settings import Remembered, recall, remember
from napari_sam.widgets.starter import Opened, Starter
from napari_sam.widgets.telling import tell
from napari_sam.widgets.timers import single_shot

# By then most threads of a session that was stopped have ended.
_FORGET_MS = 1000

_widgets: weakref.WeakKeyDictionary[ViewerModel, AnnotateWidget] = weakref.WeakKeyDictionary()


def session(viewer: ViewerModel) -> Session:
    """Give the live session of the viewer's annotation widget, for napari's console.

    What is set here appears in the widget, and the other way round.

    Raises
    ------
    ValueError
        If the viewer has no annotation widget, or nothing was started in it.
    """
    widget = _widgets.get(unwrapped(viewer))
    if widget is None or widget.session is None:
        raise ValueError(
            "No annotation runs in this viewer: open it in the menu Plugins, and start it there."
        )
    return widget.session


class AnnotateWidget(DockedWidget):
    """Annotate an image layer with points and boxes, plane by plane.

    Parameters
    ----------
    napari_viewer
        The viewer that the widget is docked in.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = unwrapped(napari_viewer)
        self.panel = AnnotatePanel(model_choices())
        self._tell = partial(tell, self.panel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(Scrolled(self.panel), 1)
        layout.addWidget(self.panel.footer)  # what it says is read wherever the panel is scrolled to
        self._controller: SessionController | None = None
        self._starter = Starter(self._viewer, self.panel, self._tell, self._on_started)
        self._choice = ImageChoice(self._viewer, self.panel.settings)
        self._layers = LayerChoice(self._viewer, self.panel.settings)
        self._cache = recall_cache()
        self._has_keys = False
        self._closed = False
        # The layer that the session cannot go on without, and that was removed.
        self._missed = ""
        self._ending = single_shot(parent=self)
        # The image that was offered last.
        self._offered: weakref.ref[Image] | None = None
        # The labels that each image was annotated into, so that no image gets another's.
        self._stores: weakref.WeakKeyDictionary[Image, Path] = weakref.WeakKeyDictionary()
        if (earlier := _widgets.get(self._viewer)) is not None:
            earlier.let_go()  # two would fight for the keys
        self._connections = Connections()
        self._connections.add_all(
            (self.panel.start_requested, self.start),
            (self.panel.cancel_requested, self._starter.cancel),
            (self.panel.settings.model.changed, self._on_model_chosen),
            (self._choice.axes_changed, self._on_axes_changed),
            (self._choice.failed, self._on_choice_failed),
            (self._choice.outdated, self._on_outdated),
            (self._choice.replaced, self._on_image_replaced),
            (self.panel.seen.cache_requested, self._on_cache_requested),
            (self._layers.offered, self._on_layers_offered),
            (self._viewer.layers.events.removed, self._on_layer_removed),
            (self._ending.timeout, self._on_ending),
        )
        self._on_layers_offered()
        self._recall()
        self._connections.add(self.panel.settings.image.changed, self._on_image_chosen)
        _widgets[self._viewer] = self
        if (problem := conflict()) is not None:
            show_warning(problem)

    @property
    def session(self) -> Session | None:
        """The running session; None before all its layers were made, and after it ended."""
        return None if self._controller is None else self._controller.session

    @property
    def is_busy(self) -> bool:
        """Whether something is being loaded or computed, or about to be."""
        working = self._starter.is_busy or self._choice.is_busy or self._ending.isActive()
        return working or (self._controller is not None and self._controller.is_busy)

    def start(self) -> None:
        """Start a session with the chosen image, model and labels; loading runs beside the window."""
        if self._ending.isActive():
            self._on_ending()
        settings = self.panel.settings
        layer = settings.image.value
        if layer is None:
            self._tell("There is no image to annotate: open one, or take File > Open Sample.", problem=True)
            return
        model, checkpoint = settings.model.value, settings.chosen_checkpoint
        labels = self._labels_path(layer)
        try:
            open_it = self._choice.opener(
                layer,
                model=model,
                labels=labels,
                scale=[float(x) for x in layer.scale],
                translation=[float(x) for x in layer.translate],
                units=[str(x) for x in layer.units],
                checkpoint=checkpoint,
                precision=settings.precision.value,
                cache=self._cache.path(file_of(layer)),
                budget=self._cache.budget,
            )
        except ValueError as error:
            self._tell(str(error), problem=True)
            return
        self.stop()
        self.watch_window()
        self._remember()
        self._starter.start(layer, labels, model, checkpoint, open_it)

    def stop(self) -> None:
        """End the session, also while its layers are made; labels, prompts and what was committed stay."""
        self._ending.stop()
        self._starter.stop()
        controller, self._controller = self._controller, None  # while it closes, layers go, and tell it
        if controller is not None:
            running.put(self._viewer, None)
            self._choice.let_go()
            controller.close()
            QTimer.singleShot(_FORGET_MS, _forget)

    def let_go(self) -> None:
        """Let go of the viewer: end the session, its threads, its keys and every connection."""
        if self._closed:
            return
        self._closed = True
        if _widgets.get(self._viewer) is self:
            del _widgets[self._viewer]
        self.stop()
        self.panel.remove_shortcuts()
        self.stop_watching()
        self._connections.close()
        self._choice.close()
        self._layers.close()
        self._starter.close()

    # What becomes of a start

    def _on_started(self, opened: Opened, made: MadeLayers) -> None:
        layer, session = opened.image, opened.session
        self._add_keys()
        self._controller = SessionController(self._viewer, self.panel, layer, session, made)
        self._stores[layer] = session.store.path
        running.put(self._viewer, session)
        self._choice.follow(layer, session, opened.taken)
        self._on_image_chosen()
        for note in (*opened.notes, *session.predictor.identity.notes):
            session.noticed.emit(note)
        earlier = labels_before(session.store.path)
        if earlier is not None and session.store.ledger.last_done() is None:
            session.noticed.emit(
                f"These labels are new. If {layer.name!r} was annotated before, choose {earlier} "
                "under Labels, and start anew, to go on there."
            )

    def _on_model_chosen(self, key: str) -> None:
        """Say what the model is; a checkpoint that was chosen belongs to the one before."""
        self.panel.settings.checkpoint.line_edit.value = ""
        self.panel.settings.show_precisions(precisions(key))
        self.panel.show_status(describe(key))

    def _labels_path(self, layer: Image) -> Path:
        """Give the labels that are named, else those of a start that is under way, else the image's own.

        Those of a start are made by now, so that their name is taken.
        """
        given = self.panel.settings.named_labels or self._starter.labels_for(layer)
        return given or default_labels_path(layer.name, file_of(layer), scene_of(self._viewer, layer))

    def _on_axes_changed(self, layer: Image) -> None:
        """Open the session anew, also one on its way: positions, labels and embeddings go by the axes."""
        runs = self._controller is not None and self._controller.needs(layer)
        if runs or self._starter.labels_for(layer) is not None:
            self.start()

    def _on_choice_failed(self, message: str) -> None:
        self._tell(message, problem=True)

    def _on_outdated(self, message: str) -> None:
        self.panel.show_status(message)

    def _on_image_replaced(self, layer: Image, alike: bool) -> None:
        """Say that the model sees the array before; end the session if its positions are none in the new."""
        if alike:
            what = f"The pixels of {layer.name!r} were replaced, and the model still sees those before"
            self._tell(f"{what}; start anew to take the new ones over.", problem=True)
            return
        self.stop()
        self._stores.pop(layer, None)
        self._on_image_chosen()
        what = f"{layer.name!r} has another shape now, {array_shape(layer)}, and the annotation ended"
        self._tell(f"{what}; start anew, with labels for that shape.", problem=True)

    def _on_cache_requested(self) -> None:
        """Let the user choose where embeddings are kept, from the next start on."""
        dialog = CacheDialog(self._cache, self)
        dialog.accepted.connect(lambda: self._keep_cache(dialog.choice))
        dialog.finished.connect(lambda _result: dialog.deleteLater())
        dialog.open()

    def _keep_cache(self, choice: CacheChoice) -> None:
        self._cache = choice
        remember_cache(choice)
        if self._controller is not None:
            self.panel.show_status("Embeddings are kept as you chose once you press Start anew.")

    def _recall(self) -> None:
        """Choose what was chosen last time."""
        kept = recall()
        if kept.model in CATALOGUE:
            self.panel.settings.model.value = kept.model
        self.panel.settings.show_precisions(precisions(self.panel.settings.model.value))
        if kept.precision in self.panel.settings.precision.choices:
            self.panel.settings.precision.value = kept.precision
        if kept.checkpoint:
            self.panel.settings.checkpoint.value = Path(kept.checkpoint)
        self.panel.prompting.live.setChecked(kept.live)

    def _remember(self) -> None:
        """Keep the choices for next time."""
        checkpoint = self.panel.settings.chosen_checkpoint
        live = self.panel.prompting.live.isChecked()
        model, precision = self.panel.settings.model.value, self.panel.settings.precision.value
        remember(Remembered(model, precision, str(checkpoint or ""), live))

    # Layers and window

    def _on_layer_removed(self, event: Any) -> None:
        """End the session, but not here, where napari may be about to remove layers that this takes away."""
        if self._controller is not None and self._controller.needs(event.value):
            self._missed = self._missed if self._ending.isActive() else event.value.name
            self._ending.start()

    def _on_ending(self) -> None:
        self.stop()
        self._tell(f"The layer {self._missed!r} was removed and the annotation ended.")

    def _on_image_chosen(self, _image: Any = None) -> None:
        """Name the labels of the chosen image; none yet, if it was not annotated."""
        chosen = self.panel.settings.image.value
        self._offered = None if chosen is None else weakref.ref(chosen)
        self.panel.settings.show_labels(None if chosen is None else self._stores.get(chosen))
        self._choice.show(chosen)

    def _on_layers_offered(self) -> None:
        """Name other labels where the image went, and another one or none has taken its place in the box."""
        offered = self.panel.settings.image.value
        if offered is (None if self._offered is None else self._offered()):
            self._choice.show(offered)
        else:
            self._on_image_chosen()

    def _add_keys(self) -> None:
        """Add the keys to the window that the widget is in."""
        self.watch_window()
        if self.watched is not None and not self._has_keys:
            self._has_keys = True
            self.panel.add_shortcuts(self.watched)


def _forget() -> None:
    """Let go of threads that have ended, which held the model, of gigabytes; come back for the others."""
    if workers.release():
        QTimer.singleShot(_FORGET_MS, _forget)


def unwrapped(viewer: ViewerModel) -> ViewerModel:
    """Give the viewer itself where napari hands out a proxy, as in its console."""
    inner: ViewerModel = getattr(viewer, "__wrapped__", viewer)
    return inner
