"""What a commit does with pixels that other objects have: the choice, as a row of the panel."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QSpinBox, QWidget

from napari_sam.annotation import Session
from napari_sam.storage.changes import Claim, Overlap

_MODES: tuple[tuple[str, Overlap, str], ...] = (
    ("keep other objects", "keep", "Pixels of other objects stay theirs."),
    ("replace other objects", "replace", "The new object takes the pixels of others."),
    ("only inside the object", "inside", "Only pixels of one object, such as of a cell for its nucleus."),
)
_UNDER_THE_MASK = 0
_LARGEST = 2**31 - 1


class OverlapChoice(QWidget):
    """Choose an overlap mode, and for "inside" the object; by default the one under the mask."""

    def __init__(self) -> None:
        super().__init__()
        self.mode = QComboBox()
        for number, (title, _, tip) in enumerate(_MODES):
            self.mode.addItem(title)
            self.mode.setItemData(number, tip, Qt.ItemDataRole.ToolTipRole)
        self.mode.setToolTip("What a commit does with pixels that other objects have.")
        self.label = QSpinBox()
        self.label.setRange(_UNDER_THE_MASK, _LARGEST)
        self.label.setSpecialValueText("auto")
        self.label.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        self.label.setFixedWidth(self.label.fontMetrics().horizontalAdvance("0000000") + 12)
        self.label.setToolTip("The label of that object; auto: the one that most of the mask lies on.")
        self.label.setVisible(False)
        self.mode.currentIndexChanged.connect(lambda chosen: self.label.setVisible(chosen == len(_MODES) - 1))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.mode, 1)
        row.addWidget(self.label)

    def of(self, session: Session) -> Claim:
        """Give what the previewed mask may take; it never lies in the object that it refines.

        Raises
        ------
        ValueError
            If it is to lie in the object under it, and there is none.
        """
        overlap = _MODES[self.mode.currentIndex()][1]
        if session.preview is None:  # nothing is committed
            return Claim()
        if overlap != "inside":
            return Claim(overlap)
        if self.label.value() != _UNDER_THE_MASK:
            return Claim(overlap, self.label.value())
        labels, counts = np.unique(
            session.store.read(session.preview.plane)[session.preview.mask], return_counts=True
        )
        counts[np.isin(labels, (0, session.target or 0))] = 0
        if not counts.any():
            other = "" if session.target is None else "other "
            raise ValueError(
                f"There is no {other}object under the mask; choose another overlap, or another object."
            )
        return Claim(overlap, int(labels[counts.argmax()]))

    def of_several(self) -> Claim:
        """Give what each of several masks may take.

        Raises
        ------
        ValueError
            If each is to lie in the object under it, which may be another for each.
        """
        overlap = _MODES[self.mode.currentIndex()][1]
        if overlap != "inside":
            return Claim(overlap)
        if self.label.value() == _UNDER_THE_MASK:
            raise ValueError(
                "Several objects may lie in several others: instead of auto, give the label of the one that "
                "they are to lie in."
            )
        return Claim(overlap, self.label.value())
