"""What the panel remembers from one napari to the next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import QSettings

from napari_sam.model.precision import FULL


@dataclass(frozen=True)
class Remembered:
    """The choices that a user would otherwise make again each time."""

    model: str = "nano"
    precision: str = FULL
    checkpoint: str = ""
    live: bool = True


def recall() -> Remembered:
    """Read the choices of last time; a checkpoint that is gone is forgotten."""
    stored = stored_settings()
    default = Remembered()
    checkpoint = str(stored.value("checkpoint", default.checkpoint))
    return Remembered(
        str(stored.value("model", default.model)),
        str(stored.value("precision", default.precision)),
        checkpoint if checkpoint and Path(checkpoint).is_file() else "",
        str(stored.value("live", default.live)).lower() == "true",
    )


def remember(chosen: Remembered) -> None:
    """Keep the choices for next time."""
    stored = stored_settings()
    stored.setValue("model", chosen.model)
    stored.setValue("precision", chosen.precision)
    stored.setValue("checkpoint", chosen.checkpoint)
    stored.setValue("live", chosen.live)
    stored.sync()


def stored_settings() -> QSettings:
    """Keep them in a file in the user's configuration folder, on every system alike."""
    return QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, "napari-sam", "annotate")
