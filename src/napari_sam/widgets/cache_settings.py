"""Where embeddings are kept and how much they may take: the choice, its dialog, and its memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from magicgui.types import FileDialogMode
from magicgui.widgets import FileEdit
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_sam.storage.embeddings import Budget, default_folder, folder_beside
from napari_sam.widgets.settings import stored_settings

_GIB = 2**30
USER, BESIDE, CHOSEN = "user", "beside", "chosen"


@dataclass(frozen=True)
class CacheChoice:
    """The user's choice.

    Attributes
    ----------
    place
        ``"user"``: the user's cache folder; ``"beside"``: beside the image's file; ``"chosen"``: ``folder``.
    folder
        The chosen folder.
    memory_gib, disk_gib
        How much embeddings may take.
    """

    place: str = USER
    folder: str = ""
    memory_gib: float = 1.0
    disk_gib: float = 20.0

    @property
    def budget(self) -> Budget:
        """The same in bytes."""
        return Budget(round(self.memory_gib * _GIB), round(self.disk_gib * _GIB))

    def path(self, image: Path | None) -> Path:
        """Give the folder for an image from this file; the user's where it cannot lie beside that."""
        if self.place == BESIDE and image is not None and os.access(image.parent, os.W_OK):
            return folder_beside(image)
        if self.place == CHOSEN and self.folder:
            return Path(self.folder).expanduser()
        return default_folder()


def recall_cache() -> CacheChoice:
    """Read the choice of last time; what is not as it should be is the default."""
    stored, default = stored_settings(), CacheChoice()
    place = str(stored.value("cache/place", default.place))
    return CacheChoice(
        place if place in (USER, BESIDE, CHOSEN) else default.place,
        str(stored.value("cache/folder", default.folder)),
        _positive(stored.value("cache/memory_gib"), default.memory_gib),
        _positive(stored.value("cache/disk_gib"), default.disk_gib),
    )


def remember_cache(choice: CacheChoice) -> None:
    """Keep the choice for next time."""
    stored = stored_settings()
    for name in ("place", "folder", "memory_gib", "disk_gib"):
        stored.setValue(f"cache/{name}", getattr(choice, name))
    stored.sync()


class CacheDialog(QDialog):
    """Choose where embeddings are kept and how much they may take."""

    def __init__(self, choice: CacheChoice, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Embeddings")
        self.place = QComboBox()
        for key, text in (
            (USER, "in my cache folder"),
            (BESIDE, "beside the image's file"),
            (CHOSEN, "in the folder below"),
        ):
            self.place.addItem(text, key)
        self.place.setCurrentIndex(self.place.findData(choice.place))
        self.folder = FileEdit(mode=FileDialogMode.EXISTING_DIRECTORY)
        if choice.folder:
            self.folder.value = Path(choice.folder)
        self.memory = _amount(choice.memory_gib, 0.1, 1024)
        self.disk = _amount(choice.disk_gib, 0.1, 100_000)
        form = QFormLayout()
        form.addRow("Keep them", self.place)
        form.addRow("Folder", self.folder.native)
        form.addRow("In memory at most", self.memory)
        form.addRow("On disk at most", self.disk)
        note = QLabel(
            "What was not used for longest is deleted first; it is computed again when it is needed. "
            "The choice counts from the next start of an annotation."
        )
        note.setWordWrap(True)
        kinds = QDialogButtonBox.StandardButton
        buttons = QDialogButtonBox(kinds.Ok | kinds.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(note)
        layout.addWidget(buttons)
        self.place.currentIndexChanged.connect(lambda _index: self._on_place_changed())
        self._on_place_changed()

    @property
    def choice(self) -> CacheChoice:
        """What is chosen by now."""
        chosen = str(self.folder.value)
        return CacheChoice(
            self.place.currentData(), "" if chosen == "." else chosen, self.memory.value(), self.disk.value()
        )

    def _on_place_changed(self) -> None:
        self.folder.native.setEnabled(self.place.currentData() == CHOSEN)


def _amount(value: float, least: float, most: float) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(least, most)
    box.setDecimals(1)
    box.setSuffix(" GiB")
    box.setValue(value)
    return box


def _positive(value: object, default: float) -> float:
    try:
        number = float(str(value))
    except ValueError:
        return default
    return number if 0 < number < 1e6 else default
