"""A session is opened beside the window, its layers are made, and both are handed over: one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Points, Shapes

from napari_sam.annotation import Session
from napari_sam.progress import Progress
from napari_sam.weights.catalogue import CATALOGUE
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.jobs import LatestJob
from napari_sam.widgets.layer_making import LayerMaking
from napari_sam.widgets.made_layers import MadeLayers
from napari_sam.widgets.models import get_weights, model_choices, needs_download
from napari_sam.widgets.panel import DOWNLOADING, AnnotatePanel
from napari_sam.widgets.telling import Tell, words_of


@dataclass(frozen=True, eq=False)
class Opened:
    """A session that was opened.

    Attributes
    ----------
    image, taken
        The layer that it is for, and the array that this had then.
    session
        The session.
    notes
        What the user should know of the files of the model and of the labels.
    """

    image: Image
    taken: Any
    session: Session
    notes: tuple[str, ...]


class Starter:
    """Download the model if it is needed, open a session and make its layers, until this is closed.

    A further start replaces the one that is under way.

    Parameters
    ----------
    viewer, panel
        Where the layers are made, and where it is shown how far it is.
    tell
        Says what went wrong.
    started
        Takes the session and its layers.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        panel: AnnotatePanel,
        tell: Tell,
        started: Callable[[Opened, MadeLayers], None],
    ) -> None:
        self._viewer, self._panel, self._tell, self._started = viewer, panel, tell, started
        self._loading = LatestJob(discard=_close)
        self._making: LayerMaking | None = None
        self._coming: tuple[Image, Path] | None = None  # the image of the session on its way, and its labels
        self._downloading = False
        self._connections = Connections()
        self._connections.add_all(
            (self._loading.finished, self._on_opened),
            (self._loading.failed, self._on_failed),
            (self._loading.progressed, self._on_downloaded),
            (self._loading.idle, self._on_idle),
        )

    @property
    def is_busy(self) -> bool:
        """Whether a session is being opened, or its layers are made."""
        return self._loading.is_busy or self._making is not None

    def labels_for(self, image: Image) -> Path | None:
        """Give the labels of the session that is on its way, if it is for this image."""
        return self._coming[1] if self._coming is not None and self._coming[0] is image else None

    def start(
        self,
        image: Image,
        labels: Path,
        model: str,
        checkpoint: Path | None,
        opener: Callable[[], Session],
    ) -> None:
        """Begin with a model, by its key or from a file, and with what then opens the session."""
        self.stop()
        self._downloading = needs_download(model, checkpoint)
        doing = "Downloading" if self._downloading else "Loading"
        self._panel.show_status(f"{doing} {CATALOGUE[model].title} ...")
        self._panel.start.setEnabled(False)
        self._coming, taken = (image, labels), image.data

        def work(progress: Progress) -> Opened:
            notes = get_weights(model, checkpoint, progress)
            session = opener()
            try:
                losses = session.store.find_losses()
            except BaseException:
                session.close()
                raise
            return Opened(image, taken, session, (*notes, losses) if losses else notes)

        # Another start has other choices: what this one gives does not serve it.
        self._loading.submit(work, key=object())

    def stop(self) -> None:
        """Make no further layers, and take away what is of no use; what is being opened goes on."""
        if (making := self._making) is not None:
            self._be_ready()
            making.stop()

    def cancel(self) -> None:
        """Do what the user's Stop means, if anything is under way."""
        if self.is_busy:
            self._loading.cancel()
            self._coming = None
            self.stop()
            later = " Starting again continues the download from where it was." if self._downloading else ""
            self._tell(f"Stopped.{later}")

    def close(self) -> None:
        """Stop, and let go; the thread ends by itself."""
        self.stop()
        self._connections.close()
        self._loading.close()

    def _on_opened(self, opened: Opened) -> None:
        self.stop()
        points, boxes = self._panel.settings.points.value, self._panel.settings.boxes.value
        self._making = LayerMaking(
            self._viewer,
            opened.image,
            opened.session,
            points if isinstance(points, Points) else None,
            boxes if isinstance(boxes, Shapes) else None,
            partial(self._on_layers_made, opened),
            self._on_failed,
        )

    def _on_layers_made(self, opened: Opened, made: MadeLayers) -> None:
        self._be_ready()
        self._started(opened, made)

    def _on_failed(self, error: Exception) -> None:
        self._be_ready()
        self._tell(words_of(error), problem=True)

    def _on_downloaded(self, done: float) -> None:
        self._panel.show_share(DOWNLOADING, done if done < 1 else None)
        if done == 1:
            self._downloading = False
            self._panel.show_status("Checking and loading ...")

    def _on_idle(self) -> None:
        """Be ready again also after a cancel, which neither finishes nor fails."""
        if not self._panel.start.isEnabled() and not self.is_busy:
            self._be_ready()

    def _be_ready(self) -> None:
        """Be ready for another start."""
        self._coming = self._making = None
        self._panel.show_share(DOWNLOADING, None)
        self._panel.settings.show_models(model_choices())
        self._panel.start.setEnabled(True)


def _close(opened: Opened) -> None:
    """Close a session that was opened in vain: until then nobody else may write to its labels."""
    opened.session.close()
