"""The layers of a session are made over several turns of the event loop: the window goes on between them."""

from __future__ import annotations

from collections.abc import Callable

from napari.components import ViewerModel
from napari.layers import Image, Layer, Points, Shapes

from napari_sam.annotation import Session
from napari_sam.storage.recorded import RecordedLabels
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.coordinates import array_shape, is_reshaped
from napari_sam.widgets.made_layers import MadeLayers, make_layers
from napari_sam.widgets.taking_away import together
from napari_sam.widgets.timers import single_shot

# What the window has to do between two turns is due by then.
_PAUSE_MS = 10


class LayerMaking:
    """Make the layers of a session, one in each turn, and hand them over in a turn of its own.

    Until then it owns the session. A layer takes napari a tenth of a second, of which nothing can be saved.
    That something has gone meanwhile is seen at the next turn, and not where it goes: there napari may be
    about to remove layers that would be taken away too.

    Parameters
    ----------
    viewer, image, session, points, boxes
        See `make_layers`.
    made
        Takes the layers, and the session with them.
    failed
        Is told why there are none, after this has stopped.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        session: Session,
        points: Points | None,
        boxes: Shapes | None,
        made: Callable[[MadeLayers], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._viewer = viewer
        self._image = image
        self._session = session
        self._steps = make_layers(viewer, image, session, points, boxes)
        self._needed: list[Layer] = []
        self._added: list[Layer] = []
        self._made, self._failed = made, failed
        self._ended = False
        self._timer = single_shot(_PAUSE_MS)
        self._connections = Connections()
        self._connections.add(self._timer.timeout, self._on_turn)
        self._timer.start()

    def stop(self) -> None:
        """Close the session, and take away what is of no use without it; labels and drawn prompts stay."""
        if not self._ended:
            self._end()
            self._take_away()
            self._session.close()

    def _on_turn(self) -> None:
        before = list(self._viewer.layers)
        try:
            self._check()
            step = self._step()
        except Exception as error:  # noqa: BLE001 - whatever went wrong, no session is left half-made
            if not self._ended:
                self.stop()
                self._failed(error)
            return
        if isinstance(step, MadeLayers):
            self._end()
            self._made(step)
            return
        self._needed.append(step)
        if step not in before:
            self._added.append(step)
        if self._ended:  # by somebody who listens to the viewer
            self._take_away()
        else:
            self._timer.start()

    def _step(self) -> Layer | MadeLayers:
        """Make one layer; give all of them once there are no more to be made."""
        try:
            return next(self._steps)
        except StopIteration as end:
            made: MadeLayers = end.value
            return made

    def _check(self) -> None:
        """Raise a `ValueError` if what is needed is gone, or the image has become another one."""
        image, planes = self._image, self._session.planes
        if image not in self._viewer.layers:
            raise ValueError(f"The image {image.name!r} is gone; choose another one.")
        if is_reshaped(image, planes):
            changed = f"{image.name!r} has another shape now, {array_shape(image)}"
            raise ValueError(f"{changed}; start anew, with labels for that shape.")
        for layer in self._needed:
            if layer not in self._viewer.layers:
                raise ValueError(f"The layer {layer.name!r} was removed and the annotation did not start.")

    def _end(self) -> None:
        self._ended = True
        self._timer.stop()
        self._connections.close()

    def _take_away(self) -> None:
        """Leave what the end of a session leaves."""
        with together(self._viewer):
            for layer in self._added:
                stays = isinstance(layer.data, RecordedLabels)
                stays |= isinstance(layer, Points | Shapes) and len(layer.data) > 0
                if layer in self._viewer.layers and not stays:
                    self._viewer.layers.remove(layer)
