"""A panel that scrolls where the window is too low for it, instead of making the window higher."""

from __future__ import annotations

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QScrollArea, QWidget

from napari_sam.widgets.timers import single_shot

# Pixels by which napari's style, which a panel has once it is docked, makes a scroll bar wider at most.
_WIDER = 4


class Scrolled(QScrollArea):
    """An area that scrolls along its panel's height, and is as wide, whatever the size of the letters."""

    def __init__(self, panel: QWidget) -> None:
        super().__init__()
        self._panel = panel
        # The panel itself has the style one turn later.
        self._styled = single_shot(parent=self)
        self._styled.timeout.connect(self._fit)
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(panel)
        self._fit()

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow another style, such as the font size that napari's preferences give."""
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self._styled.start(0)

    def _fit(self) -> None:
        bar = self.verticalScrollBar()
        assert bar is not None
        # The bar takes its room beside the panel, whose right edge it would hide.
        beside = bar.sizeHint().width() + _WIDER
        self.setMinimumWidth(max(self._panel.minimumWidth(), self._panel.minimumSizeHint().width()) + beside)
