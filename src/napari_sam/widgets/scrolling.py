"""A panel that scrolls where the window is too low for it, instead of making the window higher."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QScrollArea, QWidget

# Pixels by which napari's style, which a panel has once it is docked, makes a scroll bar wider at most.
_WIDER = 4


def scrolled(panel: QWidget) -> QScrollArea:
    """Put a panel into an area that is as wide and scrolls along its height."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QScrollArea.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(panel)
    bar = area.verticalScrollBar()
    assert bar is not None
    # The bar takes its room beside the panel, whose right edge it would hide.
    beside = bar.sizeHint().width() + _WIDER
    area.setMinimumWidth(max(panel.minimumWidth(), panel.minimumSizeHint().width()) + beside)
    return area
