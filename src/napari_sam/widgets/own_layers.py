"""The layers that are laid over the image here for a while: they show what is no annotation of anybody's."""

from __future__ import annotations

import weakref

from napari.layers import Layer

# By identity and not by name, which the user may change and give to layers of his own.
_overlays: weakref.WeakSet[Layer] = weakref.WeakSet()


def note_overlay(layer: Layer) -> None:
    """Remember that ``layer`` was made here, to be laid over the image."""
    _overlays.add(layer)


def is_overlay(layer: Layer) -> bool:
    """Whether ``layer`` was made here, to be laid over the image."""
    return layer in _overlays
