"""What the model sees of the plane, and which tiles of a large one are ready: a view that decides nothing."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPaintEvent, QPen, QPixmap
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QSizePolicy, QWidget

from napari_sam.inference.tiling import Tile

_SIDE = 72
_READY, _MISSING, _SHOWN = QColor(46, 230, 107, 110), QColor("#4b4f58"), QColor("#ffffff")


class TileMap(QWidget):
    """The plane as a small rectangle: the greener a place, the finer the tiles there that are ready."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedSize(_SIDE, _SIDE)
        self.shape = (1, 1)
        self.tiles: list[Tile] = []
        self.shown: Tile | None = None

    def show_tiles(self, shape: tuple[int, int], tiles: Iterable[Tile], shown: Tile | None) -> None:
        """Show which tiles of a plane of ``shape`` are ready, and which the model looked at last."""
        self.shape, self.tiles, self.shown = shape, sorted(tiles), shown
        self.update()

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Paint the plane in its own proportions, and the tiles over each other."""
        painter = QPainter(self)
        scale = _SIDE / max(self.shape)
        painter.fillRect(QRectF(0, 0, self.shape[1] * scale, self.shape[0] * scale), _MISSING)
        for tile in self.tiles:
            painter.fillRect(_rectangle(tile, scale), _READY)
        if self.shown is not None:
            painter.setPen(QPen(_SHOWN, 1))
            painter.drawRect(_rectangle(self.shown, scale))
        painter.end()


class SeenView(QWidget):
    """The picture, the map of tiles beside it, and words."""

    cache_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.picture = QLabel()
        self.picture.setFixedSize(_SIDE, _SIDE)
        self.picture.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        self.picture.setToolTip(
            "The shown plane, or the part of it around your prompt, as the model sees it."
        )
        self.map = TileMap()
        self.map.setToolTip(
            "The whole plane. Green: tiles that are encoded already. White: the one in the picture."
        )
        self.caption = QLabel("")
        self.caption.setWordWrap(True)
        self.caption.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.cache = QPushButton("Cache ...")
        self.cache.setToolTip("Where embeddings are kept, and how much they may take.")
        self.cache.clicked.connect(lambda _checked: self.cache_requested.emit())
        grid = QGridLayout(self)
        grid.setContentsMargins(8, 0, 8, 0)
        grid.setSpacing(6)
        grid.addWidget(self.picture, 0, 0, 2, 1)
        grid.addWidget(self.map, 0, 1, 2, 1)
        grid.addWidget(self.caption, 0, 2)
        grid.addWidget(self.cache, 1, 2)
        grid.setColumnStretch(2, 1)
        self.show_picture(None, "")
        self.map.setVisible(False)

    def show_picture(self, image: NDArray[np.uint8] | None, caption: str) -> None:
        """Show an (H, W) or (H, W, 3) image; None where nothing was looked at yet."""
        self.caption.setText(caption)
        if image is None:
            self.picture.setPixmap(QPixmap())
            return
        grey = image.ndim == 2
        height, width = image.shape[:2]
        form = QImage.Format.Format_Grayscale8 if grey else QImage.Format.Format_RGB888
        drawn = QImage(image.tobytes(), width, height, width if grey else 3 * width, form)
        smooth = Qt.TransformationMode.SmoothTransformation
        ratio = Qt.AspectRatioMode.KeepAspectRatio
        self.picture.setPixmap(QPixmap.fromImage(drawn.scaled(_SIDE, _SIDE, ratio, smooth)))


def _rectangle(tile: Tile, scale: float) -> QRectF:
    return QRectF(tile.column * scale, tile.row * scale, tile.width * scale, tile.height * scale)
