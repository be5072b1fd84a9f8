"""How the chosen image is taken: which axes it has, and which channels the model sees, as in the panel."""

from __future__ import annotations

import weakref
from functools import partial
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from napari_sam.annotation import Session
from napari_sam.axes import SAMPLES, axes_in_metadata, check_axes, default_axes, known_axes
from napari_sam.starting import open_session
from napari_sam.storage.reading import axes_in_file
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.coordinates import array_shape
from napari_sam.widgets.jobs import LatestJob
from napari_sam.widgets.scenes import file_of
from napari_sam.widgets.settings_form import STACK_CONTRAST, SettingsForm
from napari_sam.widgets.shown_channels import (
    ALONE,
    ALONG,
    SHOWN,
    LooksWatch,
    along_axis,
    arrays_of,
    choices_for,
    composite_of,
    layers_like,
)

# Axes that a file is known to name, or None, for each layer that was read from it.
_Named = weakref.WeakKeyDictionary[Image, str | None]


class ImageChoice(QObject):
    """Show the axes and the channels of the chosen image, and open sessions that take it so.

    Attributes
    ----------
    axes_changed
        Emitted with the layer after the user typed other axes for it.
    failed
        Emitted with a sentence where what was typed cannot be.
    outdated
        Emitted with a sentence when the channels or the contrast of the running session look different from
        what its model sees.
    replaced
        Emitted with a layer of the running session that has another array, and whether the shape is the same.
    """

    axes_changed = Signal(object)
    failed = Signal(str)
    outdated = Signal(str)
    replaced = Signal(object, bool)

    def __init__(self, viewer: ViewerModel, form: SettingsForm) -> None:
        super().__init__()
        self._viewer, self._form = viewer, form
        self._layer: Image | None = None
        self._typed: _Named = weakref.WeakKeyDictionary()
        self._in_file: _Named = weakref.WeakKeyDictionary()
        # The running session, its image, and the layers that it sees together.
        self._seen: tuple[Session, Image, list[Image]] | None = None
        self._reading = LatestJob()
        self._offered, self._watched = LooksWatch(), LooksWatch()
        # The array that the session was opened with, its shape, and who tells that there is another one.
        self._taken: tuple[Any, tuple[int, ...]] = (None, ())
        self._sources = Connections()
        self._connections = Connections()
        self._connections.add_all(
            (form.axes_typed, self._on_axes_typed),
            (form.channels.changed, self._on_channels_chosen),
            (self._reading.finished, self._on_file_read),
            (self._offered.changed, self._offer_channels),
            (self._watched.changed, self._on_looks_changed),
        )

    @property
    def is_busy(self) -> bool:
        """Whether a file is asked for its axes."""
        return self._reading.is_busy

    def close(self) -> None:
        """Let go of everything; the thread ends by itself."""
        self._connections.close()
        self._sources.close()
        self._reading.close()
        self._offered.close()
        self._watched.close()

    def show(self, layer: Image | None) -> None:
        """Show what is known of the chosen image, which may be the same as before among other layers."""
        if layer is not self._layer and layer is not None:
            self._form.show_channels([("this layer alone", ALONE)])
        self._layer = layer
        if layer is None:
            self._form.show_axes("")
            return
        self._show_axes(layer)
        path = file_of(layer)
        if path is not None and layer not in self._in_file and self._known(layer) is None:
            shape = array_shape(layer)
            self._reading.submit(lambda _: (layer, axes_in_file(path, shape)), key=path)

    def opener(self, layer: Image, **arguments: Any) -> partial[Session]:
        """Give what opens a session of ``layer`` with the axes and channels of the panel; slow, for a worker.

        Raises
        ------
        ValueError
            If the typed axes cannot be, or no channel is visible.
        """
        shown = check_axes(self._form.axes.value, array_shape(layer))
        seen, together = self._form.channels.value, layers_like(self._viewer, layer)
        image: Any = layer.data
        channels = None
        if seen == SHOWN:
            image, channels = arrays_of(together), composite_of(together)
        elif seen == ALONG:
            channels = along_axis(layer, shown, self._limits(layer))
        return partial(
            _open,
            image,
            shown if seen == ALONG else self._known(layer),
            file_of(layer),
            array_shape(layer),
            layer in self._typed,
            rgb=layer.rgb,
            name=layer.name,
            contrast=None if channels is not None else self._limits(layer),
            channels=channels,
            **arguments,
        )

    def follow(self, layer: Image, session: Session, taken: Any) -> None:
        """Show what a session that has begun takes as axes, and see when its image becomes another one.

        ``taken`` is the layer's data that it was opened with; by now there may be others.
        """
        if layer is self._layer:
            self._form.show_axes(session.planes.axes)
        composite = session.planes.channels
        layers = layers_like(self._viewer, layer)
        if composite is None or composite.axis is not None or len(layers) != len(composite.channels):
            layers = []
        self._seen = (session, layer, layers)
        self._taken = (taken, array_shape(layer))
        self._watched.follow(layers or ([] if _limits_of(session) is None else [layer]))
        self._sources.close()
        for source in layers or [layer]:
            self._sources.add(source.events.data, self._on_data_replaced)
        if layer.data is not taken:
            self._on_data_replaced()

    def let_go(self) -> None:
        """Forget the session, which has ended."""
        self._seen = None
        self._taken = (None, ())
        self._sources.close()
        self._watched.follow([])

    # Axes

    def _known(self, layer: Image) -> str | None:
        """Give the axes as far as anything but a guess says them."""
        if (typed := self._typed.get(layer)) is not None:
            return typed
        shape = array_shape(layer)
        named = known_axes(layer.axis_labels) or axes_in_metadata(layer.metadata, shape)
        return named or self._in_file.get(layer)

    def _show_axes(self, layer: Image) -> None:
        axes = self._known(layer)
        if axes is None and self._seen is not None and self._seen[1] is layer:
            axes = self._seen[0].planes.axes
        shape = array_shape(layer)
        self._form.show_axes(axes or (default_axes(len(shape)) if 2 <= len(shape) <= 7 else ""))
        self._offer_channels()

    def _on_axes_typed(self, text: str) -> None:
        layer = self._layer
        if layer is None:
            return
        before = self._known(layer)
        if not text.strip():
            self._typed.pop(layer, None)
            self._show_axes(layer)
            if self._known(layer) not in (None, before):  # with a guess, the session keeps what it has
                self.axes_changed.emit(layer)
            return
        try:
            axes = check_axes(text, array_shape(layer))
        except ValueError as error:
            self._form.show_axes_fit(False)
            self.failed.emit(str(error))
            return
        if axes != before:
            self._typed[layer] = axes
        self._show_axes(layer)
        if axes != before:
            self.axes_changed.emit(layer)

    def _on_file_read(self, found: tuple[Image, str | None]) -> None:
        layer, axes = found
        self._in_file[layer] = axes
        if layer is self._layer and axes is not None:
            self._show_axes(layer)

    # Channels

    def _offer_channels(self) -> None:
        layer = self._layer
        if layer is None or layer not in self._viewer.layers:
            return
        together = layers_like(self._viewer, layer)
        self._offered.follow(together)
        self._form.show_channels(choices_for(together, self._form.axes.value, array_shape(layer)))
        self._on_channels_chosen()

    def _on_channels_chosen(self, _value: Any = None) -> None:
        """Leave the contrast to the layers where these are seen as they are shown."""
        self._form.contrast.enabled = self._form.channels.value != SHOWN

    def _on_looks_changed(self) -> None:
        if self._seen is None:
            return
        session, layer, layers = self._seen
        composite = session.planes.channels
        if composite is None or composite.axis is not None:
            if _limits_of(session) != self._shown_limits(layer):
                self.outdated.emit(
                    "The model sees the contrast as it was shown when you started; "
                    "start anew to take this over."
                )
            return
        try:
            same = composite_of(layers) == composite
        except ValueError:  # all are hidden for the moment
            same = True
        if not same:
            self.outdated.emit(
                "The model sees the channels as they were shown when you started; "
                "start anew to take these over."
            )

    def _on_data_replaced(self, event: Any = None) -> None:
        """Tell that the model sees an array that is no longer there; the same one, set again, is."""
        if self._seen is None:
            return
        data, shape = self._taken
        layer = self._seen[1] if event is None else event.source
        if layer is not self._seen[1] or layer.data is not data:
            self.replaced.emit(layer, array_shape(layer) == shape)

    def _limits(self, layer: Image) -> tuple[float, float] | None:
        """The limits that the model is to see the layer in; None for those of the stack."""
        if layer.rgb or self._form.contrast.value == STACK_CONTRAST:
            return None
        return self._shown_limits(layer)

    @staticmethod
    def _shown_limits(layer: Image) -> tuple[float, float]:
        low, high = layer.contrast_limits
        return float(low), float(high)


def _limits_of(session: Session) -> tuple[float, float] | None:
    """Give the limits of the layer that the session was begun with; None if it has those of the stack."""
    planes = session.planes
    if planes.channels is not None:
        return planes.channels.channels[0].limits
    return None if planes.limits is None else (planes.limits.low, planes.limits.high)


def _open(
    image: Any,
    axes: str | None,
    path: Path | None,
    shape: tuple[int, ...],
    typed: bool,
    *,
    rgb: bool,
    **arguments: Any,
) -> Session:
    """Open a session with the axes that are known, else with those in the file; what was typed is kept."""
    if axes is None and path is not None:
        axes = axes_in_file(path, shape)
    session = open_session(image, None if axes is None else axes + SAMPLES * rgb, rgb=rgb, **arguments)
    if typed and not session.store.read_only:
        session.store.rename_axes(session.planes.axes)
    return session
