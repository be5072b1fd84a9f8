"""How far slow work is, and the button that ends it: a view that decides nothing."""

from __future__ import annotations

import time

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QProgressBar, QPushButton, QWidget

from napari_sam.widgets.timers import single_shot

# What takes less shows nothing, and so often the bar moves: each change draws the window, with napari's
# canvas, once more.
_PATIENCE_MS, _PACE_S = 200, 0.1


class Activity(QWidget):
    """A row with a bar and a button, as high while nothing runs, so that no control jumps.

    Several kinds of work may run at once, each of which tells its own share; the bar and the button are about
    the first of them.

    Parameters
    ----------
    kinds
        All kinds of work, the ones that matter most first.
    """

    cancel_requested = Signal()

    def __init__(self, *kinds: str) -> None:
        super().__init__()
        self._kinds = kinds
        self._shares: dict[str, tuple[float, str]] = {}
        self._shown: str | None = None  # when it was drawn last
        self.bar = QProgressBar()
        self.bar.setRange(0, 100)
        self.cancel = QPushButton("Stop")
        self.cancel.setToolTip("End what the bar shows.")
        self.cancel.clicked.connect(self._on_cancel_clicked)
        self._patience = single_shot(_PATIENCE_MS, parent=self)
        self._patience.timeout.connect(self._on_patience_over)
        self._moved = 0.0
        self.setFixedHeight(30)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self.bar, 0, 0)
        grid.addWidget(self.cancel, 0, 1)
        self._show(False)

    @property
    def shown(self) -> str | None:
        """The kind of work that the bar shows, and the button ends; None if there is none."""
        return next((kind for kind in self._kinds if kind in self._shares), None)

    def show_share(self, kind: str, done: float | None, what: str = "") -> None:
        """Show how far one kind of work is, once it has taken a moment; None when it does not run any more.

        The bar names it ``what``, or by its kind.
        """
        assert kind in self._kinds, "all of them are known"
        if done is None:
            self._shares.pop(kind, None)
        else:
            self._shares[kind] = done, what or kind
        if (shown := self.shown) is None:
            self._patience.stop()
            self._show(False)
            return
        if self.bar.isHidden() and not self._patience.isActive():
            self._patience.start()
        if self.bar.isHidden() or shown != self._shown or time.monotonic() > self._moved + _PACE_S:
            self._moved, self._shown = time.monotonic(), shown
            share, name = self._shares[shown]
            self.bar.setFormat(f"{name} %p %")
            self.bar.setValue(round(100 * share))

    # Methods, of which PyQt lets go with the widget: a lambda would be called when that is deleted.

    def _on_cancel_clicked(self, _checked: bool) -> None:
        self.cancel_requested.emit()

    def _on_patience_over(self) -> None:
        self._show(True)

    def _show(self, visible: bool) -> None:
        self.bar.setVisible(visible)
        self.cancel.setVisible(visible)
