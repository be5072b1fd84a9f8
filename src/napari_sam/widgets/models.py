"""The catalogue of models as the widget shows it, and the download that a start may need."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from napari_sam.progress import Progress
from napari_sam.weights.catalogue import CATALOGUE, readable_size
from napari_sam.weights.download import fetch
from napari_sam.weights.folder import is_here


def model_choices() -> list[tuple[str, str]]:
    """List (what the user reads, key) of every model, with what is there and what must be downloaded."""
    choices = []
    for key, row in CATALOGUE.items():
        where = "" if is_here(row) else f" (download {readable_size(row.about_bytes)})"
        choices.append((f"{row.title}{where}", key))
    return choices


def describe(key: str) -> str:
    """Say what a model is good for, and what starting with it will download."""
    row = CATALOGUE[key]
    text = f"{row.title}: {row.use}."
    if is_here(row):
        return text
    host = urlsplit(row.address or "").hostname
    size = readable_size(row.about_bytes)
    text += f" It is not on this computer: starting downloads {size} from {host} (licence: {row.licence})."
    return text if row.sha256 else f"{text} No SHA-256 is published; that of the download is recorded."


def needs_download(key: str, checkpoint: Path | None) -> bool:
    """Whether starting with these choices downloads something."""
    return checkpoint is None and not is_here(CATALOGUE[key])


def get_weights(key: str, checkpoint: Path | None, progress: Progress) -> tuple[str, ...]:
    """Download the model if it is needed, and give what the user should know of the file."""
    if not needs_download(key, checkpoint):
        return ()
    return fetch(CATALOGUE[key], lambda done, total: progress(min(1.0, done / max(1, total)))).notes
