"""What becomes of automatic masks: the pages of how they are written, and how stacks are run and linked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari.layers import Shapes
from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QSpinBox, QWidget

from napari_sam.automatic.writing import Annotated
from napari_sam.inference.overlaps import Rule
from napari_sam.linking import Linking, suited_linking
from napari_sam.widgets.forms import add_row, button, combo, form_of


class WritePage(QWidget):
    """How masks become objects.

    Attributes
    ----------
    rule_changed, region_changed, draw_requested
        Emitted when another rule or region was chosen, and when the user wants to draw a region.
    """

    rule_changed = Signal()
    region_changed = Signal()
    draw_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        form = form_of(self)
        self.overlap = combo([("the smaller mask", "smaller"), ("the higher score", "score")])
        self.overlap.currentIndexChanged.connect(lambda _index: self.rule_changed.emit())
        add_row(form, "on top", self.overlap, "Which mask gets the pixels that several have.")
        self.existing = combo([("is kept", "keep"), ("is replaced", "replace")])
        tip = (
            "Kept: masks that are annotated by half already are left out. Replaced: the masks take the "
            "pixels, and an object that loses most of a plane goes from it."
        )
        add_row(form, "what is annotated", self.existing, tip)
        self.where = combo([("the whole plane", None)])
        self.where.currentIndexChanged.connect(lambda _index: self.region_changed.emit())
        add_row(form, "region", self.where, "Outside, nothing is changed; masks mostly outside are left out.")
        tip = "Add a layer of shapes and draw a polygon in it."
        self.draw = button("Draw a region", tip, self.draw_requested.emit)
        form.addRow("", self.draw)

    def rule(self) -> Rule:
        """Give which mask gets the pixels that several have."""
        rule: Rule = self.overlap.currentData()
        return rule

    def annotated(self) -> Annotated:
        """Give what becomes of what is annotated already."""
        annotated: Annotated = self.existing.currentData()
        return annotated

    def region(self) -> Shapes | None:
        """Give the layer that the region is drawn in; None for the whole plane."""
        layer: Shapes | None = self.where.currentData()
        return layer

    def offer_regions(self, layers: Sequence[Shapes], chosen: Shapes | None = None) -> None:
        """Offer layers to draw regions in, keeping the choice unless another is given."""
        before = self.region()
        chosen = before if chosen is None else chosen
        with QSignalBlocker(self.where):  # which would tell of each layer while they are laid out
            self.where.clear()
            self.where.addItem("the whole plane", None)
            for layer in layers:
                self.where.addItem(f"in the shapes of {layer.name!r}", layer)
            self.where.setCurrentIndex(1 + layers.index(chosen) if chosen in layers else 0)
        if self.region() is not before:
            self.region_changed.emit()


class StackPage(QWidget):
    """Which planes are run, and how their masks are linked.

    Attributes
    ----------
    run_requested, tracks_requested
        Emitted when the user presses the buttons.
    linking_changed
        Emitted when masks are to be linked otherwise.
    """

    run_requested = Signal()
    tracks_requested = Signal()
    linking_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._lengths: dict[str, int] = {}
        self._quiet = False
        form = form_of(self)
        self.axis = combo([])
        self.axis.currentIndexChanged.connect(self._on_axis_changed)
        tip = "The axis to run along; the shown place on all others."
        add_row(form, "planes along", self.axis, tip)
        self.first, self.last = QSpinBox(), QSpinBox()
        add_row(form, "from", self.first, "The first plane.")
        add_row(form, "to", self.last, "The last plane.")
        self.linked = QCheckBox("into 3-D objects, or tracks")
        self.linked.setChecked(True)
        add_row(form, "link", self.linked, "Otherwise every mask is an object of its own.")
        self.measure = combo([("IoU", "iou"), ("share of the smaller", "smaller")])
        add_row(form, "overlap as", self.measure, "How the overlap of masks on two planes is measured.")
        self.min_overlap = QDoubleSpinBox()
        self.min_overlap.setRange(0.01, 1.0)
        self.min_overlap.setSingleStep(0.05)
        add_row(form, "min_overlap", self.min_overlap, "Masks that overlap less are not linked.")
        self.max_gap, self.min_length = QSpinBox(), QSpinBox()
        self.max_gap.setRange(0, 20)
        self.min_length.setRange(1, 10_000)
        add_row(form, "max_gap", self.max_gap, "In so many planes in a row an object may be missing.")
        add_row(form, "min_length", self.min_length, "Objects on fewer planes are left out.")
        self.waist = QDoubleSpinBox()
        self.waist.setRange(0.0, 0.99)
        self.waist.setSingleStep(0.05)
        tip = "An object is parted where its area falls below this share of that on either side; 0: never."
        add_row(form, "waist", self.waist, tip)
        for signal in (
            self.linked.toggled,
            self.measure.currentIndexChanged,
            self.min_overlap.valueChanged,
            self.max_gap.valueChanged,
            self.min_length.valueChanged,
            self.waist.valueChanged,
        ):
            signal.connect(self._on_linking_changed)
        tip = "Runs beside your work; a run that was stopped goes on where it was."
        self.run = button("Run on these planes", tip, self.run_requested.emit)
        tip = "The centres of the objects as a napari Tracks layer."
        self.tracks = button("Add tracks layer", tip, self.tracks_requested.emit)
        form.addRow(self.run)
        form.addRow(self.tracks)
        self.show_axes({})
        self.show_ready(False)

    def planes(self) -> tuple[str, range]:
        """Give the axis to run along, and which planes.

        Raises
        ------
        ValueError
            If the last one lies before the first.
        """
        first, last = self.first.value(), self.last.value()
        if last < first:
            raise ValueError(f"The planes go from {first} to {last}; give a last one that is not before.")
        return str(self.axis.currentData()), range(first, last + 1)

    def linking(self) -> Linking | None:
        """Give how masks are linked; None if they are not."""
        if not self.linked.isChecked():
            return None
        return Linking(
            self.measure.currentData(),
            round(self.min_overlap.value(), 4),
            self.max_gap.value(),
            self.min_length.value(),
            round(self.waist.value(), 4),
        )

    def show_linking(self, linking: Linking) -> None:
        """Show settings in all controls, without telling that the user chose them."""
        self._quiet = True
        self.measure.setCurrentIndex(self.measure.findData(linking.measure))
        self.min_overlap.setValue(linking.min_overlap)
        self.max_gap.setValue(linking.max_gap)
        self.min_length.setValue(linking.min_length)
        self.waist.setValue(linking.waist)
        self._quiet = False

    def show_axes(self, lengths: dict[str, int]) -> None:
        """Offer the axes of an image that it can be run along, with how many planes each has."""
        self._lengths = lengths
        self.axis.clear()
        for letter, length in lengths.items():
            self.axis.addItem(f"{letter}, {length} planes", letter)
        self.run.setEnabled(bool(lengths))
        self.linked.setChecked(not lengths or self.axis.currentData() in ("z", "t"))

    def show_ready(self, ready: bool) -> None:
        """Offer what needs the masks of all planes."""
        self.tracks.setEnabled(ready)

    def _on_axis_changed(self, _index: int) -> None:
        """Begin with all planes of the axis, and with the linking that suits it."""
        most = max(0, self._lengths.get(self.axis.currentData(), 1) - 1)
        for box, value in ((self.first, 0), (self.last, most)):
            box.setRange(0, most)
            box.setValue(value)
        self.show_linking(suited_linking(str(self.axis.currentData())))

    def _on_linking_changed(self, _value: Any) -> None:
        if not self._quiet:
            self.linking_changed.emit()
