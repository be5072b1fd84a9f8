"""The demo in a window: napari with the stack that ships, and the annotation ready for the first click."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import napari

from napari_sam.demo import sample_data
from napari_sam.widgets.annotate import AnnotateWidget

WINDOW_SIZE = (1280, 800)
TITLE = "Segment Anything: annotate"


@dataclass(frozen=True, eq=False)
class Demo:
    """The viewer, and the widget docked in it."""

    viewer: napari.Viewer
    widget: AnnotateWidget


def open_window(out: Path) -> Demo:
    """Open napari with the stack and the docked widget, and start the annotation.

    The labels lie in ``out``; those of an earlier demo are opened again.
    """
    viewer = napari.Viewer()
    viewer.window.resize(*WINDOW_SIZE)
    for data, arguments, _ in sample_data():
        viewer.add_image(data, **arguments)
    widget = AnnotateWidget(viewer)
    viewer.window.add_dock_widget(widget, name=TITLE, area="right")
    out.mkdir(parents=True, exist_ok=True)
    widget.panel.settings.labels.value = out.absolute() / "labels.zarr"
    widget.start()
    return Demo(viewer, widget)


def run_window(out: Path) -> None:
    """Show the demo until its window is closed."""
    open_window(out)
    napari.run()
