"""What the mouse draws in the session's labels: each stroke is a step, and what the store refuses is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from napari.layers import Labels
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_sam.storage.errors import LabelsError
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.recorded import RecordedLabels
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.telling import Tell
from napari_sam.widgets.timers import single_shot

_NEW_LABEL_KEY = "M"


class DrawnLabels(RecordedLabels):
    """The labels as their layer holds them: what is refused while the mouse draws is told, and not raised.

    napari hands nothing on that its tools raise: the user would see an error of the program, and the stroke
    would stay open. A script gets the error, as of all labels of a store.

    Attributes
    ----------
    is_drawing
        Whether the mouse draws.
    refused
        Emitted with the error where nothing was written because of it.
    """

    refused = Signal(object)

    def __init__(self, store: LabelsStore) -> None:
        super().__init__(store)
        self.is_drawing = False

    def __setitem__(self, key: Any, value: Any, /) -> None:
        try:
            super().__setitem__(key, value)
        except (LabelsError, OSError) as error:
            if not self.is_drawing:
                raise
            self.refused.emit(error)


class Strokes:
    """Watch the mouse draw in a layer of `DrawnLabels`, until this is closed.

    napari calls its tools at an event of the mouse, in the same turn of Qt's loop, after what is called here:
    they are put behind it when they are chosen. A polygon that is closed by a key is not seen.

    Parameters
    ----------
    layer
        The layer of the labels.
    tell
        Says something in the panel, and whether it is a problem.
    """

    def __init__(self, layer: Labels, tell: Tell) -> None:
        assert isinstance(layer.data, DrawnLabels), "it was made for a session"
        self._layer, self._tell = layer, tell
        self._drawn: DrawnLabels = layer.data
        self._is_told = False  # once for each stroke
        self._is_outdated = False  # whether napari has drawn what is not stored
        self._turn = single_shot()
        layer.mouse_drag_callbacks.insert(0, self._on_drag)
        layer.mouse_move_callbacks.insert(0, self._on_event)
        layer.mouse_double_click_callbacks.insert(0, self._on_event)
        layer.bind_key(_NEW_LABEL_KEY, self._on_new_label_asked, overwrite=True)
        self._connections = Connections()
        self._connections.add_all(
            (layer.events.paint, self._on_painted),
            (self._drawn.refused, self._on_refused),
            (self._turn.timeout, self._on_turn_over),
        )

    @property
    def is_busy(self) -> bool:
        """Whether what was drawn is about to be shown as it is stored."""
        return self._turn.isActive()

    def close(self) -> None:
        """Stop to watch; what is refused is raised again."""
        self._turn.stop()
        self._connections.close()
        self._drawn.is_drawing = False
        self._layer.bind_key(_NEW_LABEL_KEY, None)
        self._layer.mouse_drag_callbacks.remove(self._on_drag)
        self._layer.mouse_move_callbacks.remove(self._on_event)
        self._layer.mouse_double_click_callbacks.remove(self._on_event)

    def _on_drag(self, layer: Labels, event: Any) -> Iterator[None]:
        """See the mouse pressed, moved while it is, and let go."""
        self._is_told = False
        self._on_event(layer, event)
        yield
        while event.type == "mouse_move":
            self._on_event(layer, event)
            yield

    def _on_event(self, _layer: Labels, _event: Any) -> None:
        self._drawn.is_drawing = True
        self._turn.start()

    def _on_new_label_asked(self, layer: Labels) -> None:
        """Do what napari's key does for labels in memory: paint with a label that no object has."""
        try:
            layer.selected_label = self._drawn.store.next_label
        except LabelsError as error:
            self._tell(str(error), problem=True)
        else:
            self._tell(f"What is painted next is a new object, label {layer.selected_label}.")

    def _on_refused(self, error: Exception) -> None:
        self._is_outdated = True
        if not self._is_told:
            self._is_told = True
            self._tell(str(error), problem=True)

    def _on_painted(self, _event: object) -> None:
        """End the stroke once napari has written all of it, which for some tools is after this event."""
        QTimer.singleShot(0, self._drawn.store.end_stroke)

    def _on_turn_over(self) -> None:
        self._drawn.is_drawing = False
        if self._is_outdated:
            self._is_outdated = False
            self._layer.refresh()
