"""The objects table's menu of exports: to files, written beside the window, and to layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtCore import Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QFileDialog, QMenu, QMessageBox, QWidget

from napari_sam.annotation import Session
from napari_sam.exporting.formats import export_labels
from napari_sam.exporting.names import FORMATS, ExportFormat
from napari_sam.exporting.shapes import ObjectPolygon, object_polygons
from napari_sam.objects.category_labels import CategoryLabels
from napari_sam.progress import Progress
from napari_sam.storage.errors import LabelsError
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ome import plain_name
from napari_sam.widgets.connections import Connections
from napari_sam.widgets.coordinates import transform_of, world_units
from napari_sam.widgets.jobs import LatestJob
from napari_sam.widgets.made_layers import labels_layer
from napari_sam.widgets.telling import words_of

CATEGORIES, OUTLINES = "SAM categories", "SAM outlines"
_NO_CATEGORY = "#3fd0ff"
_UNFINISHED = "The labels are being written; wait until that is done, or stop it, and export them then."
_BUSY = "Another export has not ended yet; wait until it has, or stop it, and try again."


@dataclass(frozen=True, eq=False)
class _Outlines:
    """Outlines that were asked for, with what they belong to: another session may run when they are there.

    Attributes
    ----------
    store
        Whose objects these are; not the session, which its thread would keep with its model.
    place, colours
        Where the labels lay then, as napari's layers take it, and the colours of the categories by name.
    polygons
        The outlines, once they are made.
    """

    store: LabelsStore
    place: dict[str, Any]
    colours: dict[str, str]
    polygons: Sequence[ObjectPolygon] = ()

    def made(self, labels: set[int], progress: Progress) -> _Outlines:
        """Give the outlines of some objects, or all, as the store on the disk has them."""
        opened = LabelsStore.open(self.store.path, read_only=True)
        try:
            return replace(self, polygons=list(object_polygons(opened, progress, labels or None)))
        finally:
            opened.close()


class ExportMenu(QMenu):
    """Write the objects of a session to files and layers.

    Attributes
    ----------
    session
        Whose objects; None while none runs.
    chosen
        Gives the labels that are selected; all objects are meant if there are none. Files hold all.
    told
        Emitted with what the user should read.
    progressed
        Emitted with the share of an export that is done; with None when none runs any more.
    """

    told = Signal(str)
    progressed = Signal(object)

    def __init__(self, parent: QWidget, viewer: ViewerModel, chosen: Callable[[], list[int]]) -> None:
        super().__init__(parent)
        self.session: Session | None = None
        self.chosen = chosen
        self._viewer = viewer
        self._job = LatestJob()
        for form in FORMATS.values():
            self._add(f"{form.title} ...", partial(self._save, form))
        self.addSeparator()
        self._add("Outlines as a Shapes layer", self._start_outlines)
        self._add("Categories as a Labels layer", self._add_categories)
        self._connections = Connections()
        self._connections.add_all(
            (self._job.finished, self._on_finished),
            (self._job.failed, self._on_failed),
            (self._job.progressed, self.progressed.emit),
            (self._job.idle, self._on_idle),
        )

    @property
    def is_busy(self) -> bool:
        """Whether something is being written."""
        return self._job.is_busy

    def show_categories(self) -> None:
        """Show the categories as they are by now, in the layers that were made of the session's labels.

        They may have been made in an earlier session.
        """
        if (session := self.session) is None:
            return
        for layer in self._viewer.layers:
            if isinstance(layer.data, CategoryLabels) and layer.data.store.path == session.store.path:
                layer.colormap = self._colours(session)
                layer.refresh()

    def stop(self) -> None:
        """End what is being exported, of which nothing is left."""
        if self._job.is_busy:
            self._job.cancel()
            self.told.emit("The export was stopped; nothing was written.")

    def close_menu(self) -> None:
        """End what is being written, of which nothing is left, and let go of the session."""
        self.session = None
        self._connections.close()
        self._job.close()

    def _add(self, text: str, chosen: Callable[[], object]) -> QAction:
        action = QAction(text, self)
        action.triggered.connect(lambda _checked=False: chosen())
        self.addAction(action)
        return action

    # Files, and outlines, which take long, are made in another thread from the store on the disk

    def _may_start(self) -> bool:
        """Whether nothing is being exported: a second export would end the first."""
        if self.is_busy:
            self.told.emit(_BUSY)
        return not self.is_busy

    def _save(self, form: ExportFormat) -> None:
        if self.session is None or not self._may_start():
            return
        store = self.session.store.path
        proposed = store.with_name(f"{plain_name(store)}-{form.key}{form.suffix}")
        name, _ = QFileDialog.getSaveFileName(
            self.parentWidget(), f"Export: {form.title}", str(proposed), f"*{form.suffix}"
        )
        if not name:
            return
        path, asked = form.named(Path(name)), Path(name)
        # The dialog has asked about the name that was typed, and about no other.
        overwrite = path == asked or (path.is_file() and self._may_replace(path))
        if overwrite or not path.is_file():
            self._start(partial(_export, store, path, form.key, overwrite))

    def _may_replace(self, path: Path) -> bool:
        """Ask whether a file that is there may be replaced."""
        answer = QMessageBox.question(
            self.parentWidget(), "Export", f"{path} exists already. Do you want to replace it?"
        )
        return answer == QMessageBox.StandardButton.Yes

    def _start_outlines(self) -> None:
        labels = self._labels_layer()
        if self.session is None or labels is None or not self._may_start():
            return
        place = transform_of(labels, world_units(self._viewer))
        colours = {category.name: category.colour for category in self.session.objects.categories()}
        self._start(partial(_Outlines(self.session.store, place, colours).made, set(self.chosen())))

    def _start(self, work: Callable[[Progress], object]) -> None:
        self.progressed.emit(0.0)
        self._job.submit(work, key=work)

    def _on_failed(self, error: Exception) -> None:
        self.told.emit(words_of(error))

    def _on_idle(self) -> None:
        self.progressed.emit(None)

    def _on_finished(self, made: Path | _Outlines) -> None:
        if isinstance(made, Path):
            self.told.emit(f"Written: {made}")
        else:
            self._add_outlines(made)

    # Layers

    def _add_outlines(self, outlines: _Outlines) -> None:
        polygons, colours = outlines.polygons, outlines.colours
        if self.session is None or outlines.store is not self.session.store:
            self.told.emit(
                "The annotation whose objects were to be outlined has ended; start it and ask again."
            )
            return
        if not polygons:
            self.told.emit("There are no objects to be outlined.")
            return
        self._viewer.add_shapes(
            [polygon.vertices for polygon in polygons],
            shape_type="polygon",
            name=OUTLINES,
            features={
                "label": [polygon.label for polygon in polygons],
                "category": [polygon.category for polygon in polygons],
            },
            face_color="transparent",
            edge_color=[colours.get(polygon.category, _NO_CATEGORY) for polygon in polygons],
            edge_width=0.5,
            **outlines.place,
        )
        self.told.emit(f"{len(polygons)} outlines are in the layer {OUTLINES!r}.")

    def _add_categories(self) -> None:
        labels = self._labels_layer()
        if labels is None or self.session is None:
            return
        if not self.session.objects.categories():
            self.told.emit(
                "There are no categories yet: select objects, name a category, press Set category."
            )
            return
        layer = self._viewer.add_labels(
            CategoryLabels(self.session.store),
            name=CATEGORIES,
            opacity=0.6,
            **transform_of(labels, world_units(self._viewer)),
        )
        layer.colormap = self._colours(self.session)
        layer.editable = False
        self.told.emit(f"The layer {CATEGORIES!r} holds the numbers of the categories.")

    @staticmethod
    def _colours(session: Session) -> dict[int | None, str]:
        colours: dict[int | None, str] = {None: "transparent", 0: "transparent"}
        return colours | {category.number: category.colour for category in session.objects.categories()}

    def _labels_layer(self) -> Labels | None:
        return None if self.session is None else labels_layer(self._viewer, self.session.store)


def _export(store: Path, path: Path, form: str, overwrite: bool, progress: Progress) -> Path:
    opened = LabelsStore.open(store, read_only=True)
    try:
        if opened.unfinished:
            raise LabelsError(_UNFINISHED)
        if losses := opened.find_losses():  # tables and outlines would have what images have not
            raise LabelsError(losses)
        return export_labels(opened, path, form, overwrite=overwrite, progress=progress)
    finally:
        opened.close()
