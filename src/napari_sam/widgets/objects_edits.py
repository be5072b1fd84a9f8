"""The objects table's menus of edits, and of labels to be imported."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer
from qtpy.QtGui import QAction, QColor
from qtpy.QtWidgets import QColorDialog, QInputDialog, QMenu, QWidget

from napari_sam.annotation import Session
from napari_sam.objects.category_labels import CategoryLabels
from napari_sam.objects.editing import Objects
from napari_sam.storage.recorded import RecordedLabels
from napari_sam.storage.records import Step
from napari_sam.widgets.coordinates import data_to_world, world_units
from napari_sam.widgets.made_layers import labels_layer
from napari_sam.widgets.own_layers import is_overlay

_LARGEST = 2**31 - 1
_ELSEWHERE = (
    "{!r} has another scale or position than the image; its objects were taken pixel for pixel. Undo that if "
    "it is not what you want."
)


@dataclass(frozen=True)
class TableEdit:
    """What is to be written.

    Attributes
    ----------
    write
        Writes it, in a thread of its own; gives None where there is nothing to be written.
    nothing
        What is said then.
    note
        What is said once it is written; without it the number of objects.
    then
        Called in Qt's thread once it is written.
    """

    write: Callable[[Objects], Step | None]
    nothing: str = "Nothing changed: the objects are like that already."
    note: str = ""
    then: Callable[[], object] = lambda: None


# Plans an edit of the selected labels in Qt's thread, where the user can be asked; None if he declines.
Edit = Callable[[Session, list[int]], TableEdit | None]
# Does an edit with the session and the selected labels, and says what is wrong.
Do = Callable[[Edit], None]


class EditMenu(QMenu):
    """Edit the shape, the name or the number of the selected objects; each is one step to be undone.

    Parameters
    ----------
    parent
        The table's widget.
    do
        See `Do`.
    """

    def __init__(self, parent: QWidget, do: Do) -> None:
        super().__init__(parent)
        self.setToolTipsVisible(True)
        for text, tip, edit in (
            (
                "Split by the points",
                "Part the object between the green and the red points of the shown plane; put both on it.",
                split_by_points,
            ),
            ("Fill holes", "Let the object have the background that it encloses.", _each("fill_holes")),
            ("Remove islands", "Keep the largest part on each plane.", _each("remove_islands")),
            ("Smooth", "Round the outline by two pixels.", _each("smooth")),
            ("Rename ...", "Give the object a name.", self._rename),
            ("Renumber ...", "Give the object another label, which none has.", self._renumber),
            ("Colour of the category ...", "Choose the colour of the object's category.", self._recolour),
        ):
            action = QAction(text, self)
            action.setToolTip(tip)
            action.triggered.connect(lambda _checked=False, edit=edit: do(edit))
            self.addAction(action)

    def _rename(self, session: Session, labels: list[int]) -> TableEdit | None:
        label = one_of(labels)
        info = session.store.ledger.object(label)
        name, fine = QInputDialog.getText(
            self.parentWidget(), "Rename", f"Name of object {label}:", text="" if info is None else info.name
        )
        return TableEdit(lambda objects: objects.rename(label, name.strip())) if fine else None

    def _renumber(self, session: Session, labels: list[int]) -> TableEdit | None:
        label = one_of(labels)
        free = session.store.next_label
        new, fine = QInputDialog.getInt(
            self.parentWidget(), "Renumber", f"New label of object {label}:", free, 1, _LARGEST
        )
        return TableEdit(lambda objects: objects.renumber(label, new)) if fine else None

    def _recolour(self, session: Session, labels: list[int]) -> None:
        info = session.store.ledger.object(one_of(labels))
        name = "" if info is None else info.category
        found = [category for category in session.objects.categories() if category.name == name]
        if not found:
            raise ValueError("The object is in no category; name one and press Set category.")
        colour = QColorDialog.getColor(QColor(found[0].colour), self.parentWidget(), f"Colour of {name}")
        if colour.isValid():
            session.objects.add_category(name, colour.name())


class ImportMenu(QMenu):
    """Take the objects of other Labels layers in, under new labels; what is annotated stays."""

    def __init__(self, parent: QWidget, viewer: ViewerModel, do: Do) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._do = do
        self.aboutToShow.connect(self.offer_layers)

    def offer_layers(self) -> None:
        """List the layers that are there by now."""
        self.clear()
        for layer in self._viewer.layers:
            if _may_be_imported(layer):
                self._add(layer.name, partial(self._import, layer))
        if self.isEmpty():
            self._add("There is no other Labels layer", None)

    def _add(self, text: str, edit: Edit | None) -> None:
        action = QAction(text, self)
        action.setEnabled(edit is not None)
        if edit is not None:
            action.triggered.connect(lambda _checked=False: self._do(edit))
        self.addAction(action)

    def _import(self, layer: Labels, session: Session, _labels: list[int]) -> TableEdit:
        data, name = layer.data[0] if layer.multiscale else layer.data, layer.name
        return TableEdit(
            lambda objects: objects.import_labels(data),
            f"The layer {name!r} holds nothing that is not annotated already.",
            "" if self._lies_on_labels(layer, session) else _ELSEWHERE.format(name),
        )

    def _lies_on_labels(self, layer: Labels, session: Session) -> bool:
        """Whether a layer has its pixels where the session's labels have theirs."""
        ours = labels_layer(self._viewer, session.store)
        if ours is None or ours.ndim != layer.ndim:
            return True
        units = world_units(self._viewer)
        return np.allclose(data_to_world(layer, units), data_to_world(ours, units))


def _may_be_imported(layer: Layer) -> bool:
    """Whether a layer holds labels that were not made from the store, nor laid over the image here."""
    is_ours = isinstance(layer.data, RecordedLabels | CategoryLabels) or is_overlay(layer)
    return isinstance(layer, Labels) and not is_ours


def split_by_points(session: Session, labels: list[int]) -> TableEdit:
    """Part an object between the positive and the negative points of the shown plane.

    Raises
    ------
    ValueError
        If one kind is missing or lies beside the object, or not one object is chosen.
    """
    label = one_of(labels)
    plane, prompt = session.plane, session.prompt
    marked = list(zip(prompt.points, prompt.labels or (), strict=True))
    groups = [[point for point, x in marked if x == kind] for kind in (1, 0)]
    if not all(groups):
        raise ValueError(
            f"To part object {label}, put green points on one part and red ones on the other "
            "(Q changes the colour), and try again."
        )
    for colour, group in zip(("green", "red"), groups, strict=True):
        if not all(_is_on(session, label, point) for point in group):
            raise ValueError(f"A {colour} point lies beside object {label}; put it on it, or take it away.")

    def clear() -> None:
        if session.plane == plane and session.prompt == prompt:
            session.clear_prompt()

    return TableEdit(lambda objects: objects.split(label, plane, groups), then=clear)


def _is_on(session: Session, label: int, point: tuple[float, float]) -> bool:
    """Whether a point of the shown plane lies on an object."""
    pixel = (slice(index, index + 1) for index in (math.floor(x + 0.5) for x in point))
    return bool((session.store.block(session.plane.region(*pixel)) == label).all())


def one_of(labels: list[int]) -> int:
    """Give the one label that is chosen.

    Raises
    ------
    ValueError
        If there are none or several.
    """
    if len(labels) != 1:
        raise ValueError(f"{len(labels) or 'No'} objects are selected; select one.")
    return labels[0]


def _each(name: str) -> Edit:
    """Edit all of the objects by the method of this name."""

    def edit(_session: Session, labels: list[int]) -> TableEdit:
        if not labels:
            raise ValueError("No object is selected; click on a row of the table.")
        return TableEdit(lambda objects: getattr(objects, name)(labels))

    return edit
