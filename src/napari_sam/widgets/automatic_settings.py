"""The pages of the automatic masks' parameters: how masks are proposed, and which are selected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout, QSpinBox, QWidget
from superqt import QLabeledDoubleSlider

from napari_sam.inference.automatic import Generation
from napari_sam.inference.proposals import Proposals, Selection
from napari_sam.widgets.forms import add_row, combo, form_of
from napari_sam.widgets.histogram import Histogram

_MOST_PIXELS = 10**8
# Parameters, as the paper's code calls them: name, least, most, step or None for a whole number, help.
_FIND: tuple[tuple[str, float, float, float | None, str], ...] = (
    ("points_per_side", 1, 256, None, "Points along one side of the grid of prompts."),
    ("points_per_batch", 1, 1024, None, "Points that are decoded together; changes memory, not masks."),
    ("crop_n_layers", 0, 3, None, "Layers of crops that are encoded by themselves, for small objects."),
    ("crop_overlap_ratio", 0, 0.9, 0.05, "How much crops overlap, as a share of the plane's shorter side."),
    ("crop_n_points_downscale_factor", 1, 8, None, "By so much fewer points per side has each next layer."),
    ("stability_score_offset", 0, 5, 0.1, "How far the masks' threshold is moved to measure the stability."),
    ("score_floor", 0, 1, 0.05, "Masks with a lower predicted IoU are not even proposed."),
    ("stability_floor", 0, 1, 0.05, "Masks with a lower stability are not even proposed."),
)
_THRESHOLDS = (
    ("pred_iou_thresh", "The model's own estimate of a mask's IoU must be higher."),
    ("stability_score_thresh", "How little a mask may change when its threshold is moved."),
    ("box_nms_thresh", "Of two masks whose boxes overlap more, the better one stays."),
    ("crop_nms_thresh", "The same between masks of different crops, or tiles."),
    ("max_overlap", "A mask goes of which better ones cover a larger share."),
)
_AREAS = (
    ("min_area", "Smaller masks are left out, in pixels."),
    ("max_area", "Larger masks are left out, in pixels."),
    ("min_mask_region_area", "Smaller holes are filled and smaller pieces taken away, in pixels."),
)


class FindPage(QWidget):
    """How masks are proposed: what needs the model."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes: dict[str, QSpinBox | QDoubleSpinBox] = {}
        form = form_of(self)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)  # of one name in a narrow dock
        self.prompts = combo([])
        tip = "Where the model is asked: learned, where it sees objects itself; or on a grid of points."
        add_row(form, "prompts", self.prompts, tip)
        for name, least, most, step, help_text in _FIND:
            box: QSpinBox | QDoubleSpinBox
            if step is None:
                box = QSpinBox()
                box.setRange(int(least), int(most))
            else:
                box = QDoubleSpinBox()
                box.setDecimals(3)
                box.setRange(least, most)
                box.setSingleStep(step)
            self.boxes[name] = box
            add_row(form, name, box, help_text)
        self.show_ways_of_prompting(False)
        self.show_generation(Generation())

    def generation(self) -> Generation:
        """Give what is set.

        Raises
        ------
        ValueError
            If settings exclude each other.
        """
        values: dict[str, Any] = {name: box.value() for name, box in self.boxes.items()}
        if np.isclose(values["crop_overlap_ratio"], Generation.crop_overlap_ratio, atol=5e-4):
            values["crop_overlap_ratio"] = Generation.crop_overlap_ratio  # shown with three digits
        return Generation(prompts=self.prompts.currentData(), **values)

    def show_generation(self, generation: Generation) -> None:
        """Show settings in all controls."""
        for name, box in self.boxes.items():
            box.setValue(getattr(generation, name))
        self.prompts.setCurrentIndex(max(0, self.prompts.findData(generation.prompts)))

    def show_ways_of_prompting(self, finds_objects: bool) -> None:
        """Offer learned prompts only where the model has them."""
        chosen = self.prompts.currentData()
        self.prompts.clear()
        self.prompts.addItem("best for the model", None)
        if finds_objects:
            self.prompts.addItem("learned", "learned")
        self.prompts.addItem("grid", "grid")
        self.prompts.setCurrentIndex(max(0, self.prompts.findData(chosen)))


class SelectPage(QWidget):
    """Which proposals become masks: what needs no model, with what there is to choose from.

    Attributes
    ----------
    changed
        Emitted after the user moved a slider or changed a limit.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._quiet = False
        self.thresholds: dict[str, QLabeledDoubleSlider] = {}
        self.areas: dict[str, QSpinBox] = {}
        self.scores = Histogram("predicted IoU")
        self.stabilities = Histogram("stability")
        self.sizes = Histogram("area in pixels, logarithmic", logarithmic=True)
        above = {
            "pred_iou_thresh": self.scores,
            "stability_score_thresh": self.stabilities,
            "min_area": self.sizes,
        }
        form = form_of(self)
        for name, tip in _THRESHOLDS:
            slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
            slider.setRange(0.0, 1.0)
            slider.setDecimals(2)
            slider.setSingleStep(0.01)  # type: ignore[arg-type]  # superqt inherits the types of Qt's
            slider.valueChanged.connect(self._on_changed)
            self.thresholds[name] = slider
            add_row(form, name, slider, tip, above.get(name))
        for name, tip in _AREAS:
            box = QSpinBox()
            box.setRange(0, _MOST_PIXELS)
            box.setSingleStep(20)
            box.setKeyboardTracking(False)  # else a number would count while it is typed
            if name == "max_area":
                box.setSpecialValueText("no limit")
            box.valueChanged.connect(self._on_changed)
            self.areas[name] = box
            add_row(form, name, box, tip, above.get(name))
        self.show_selection(Selection())

    def selection(self) -> Selection:
        """Give what is set.

        Raises
        ------
        ValueError
            If the limits exclude each other.
        """
        values: dict[str, Any] = {name: round(x.value(), 4) for name, x in self.thresholds.items()}
        values |= {name: box.value() for name, box in self.areas.items()}
        values["max_area"] = values["max_area"] or None
        return Selection(**values)

    def show_selection(self, selection: Selection) -> None:
        """Show settings in all controls."""
        with self._silence():
            for name, slider in self.thresholds.items():
                slider.setValue(getattr(selection, name))
            for name, box in self.areas.items():
                box.setValue(getattr(selection, name) or 0)

    def show_proposals(self, proposals: Proposals | None, selection: Selection) -> None:
        """Show what there is to choose from, and where the limits stand; none can be below the floors."""
        known = Proposals((0, 0)) if proposals is None else proposals
        with self._silence():
            score, stability = self.thresholds["pred_iou_thresh"], self.thresholds["stability_score_thresh"]
            score.setMinimum(known.score_floor)  # type: ignore[arg-type]
            stability.setMinimum(known.stability_floor)  # type: ignore[arg-type]
        self.scores.show_values(known.scores, selection.pred_iou_thresh)
        self.stabilities.show_values(known.stability, selection.stability_score_thresh)
        self.sizes.show_values(known.areas, selection.min_area or None, selection.max_area)

    @contextmanager
    def _silence(self) -> Iterator[None]:
        """Change controls without telling that the user did."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def _on_changed(self, _value: Any) -> None:
        if not self._quiet:
            self.changed.emit()
