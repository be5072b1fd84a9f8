"""Make the pictures of the documentation: ``python docs/pictures.py``; needs a display."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication

from napari_sam.demo import run_headless, sample_data
from napari_sam.inference.prompts import Prompt
from napari_sam.widgets.annotate import AnnotateWidget
from napari_sam.widgets.automatic import AutomaticWidget
from napari_sam.widgets.cache_settings import CacheChoice
from napari_sam.widgets.demo_window import TITLE, Demo, open_window
from napari_sam.widgets.objects_table import ObjectsWidget

IMAGES = Path(__file__).parent / "images"
COMMITTED = (
    Prompt([(310, 144)]),
    Prompt([(434, 411)]),
    Prompt(box=(232, 175, 294, 238)),
    Prompt([(54, 294)]),
)
SHOWN = Prompt([(307, 232), (285, 215)], [1, 0])


def main() -> None:
    """Write ``window.png``, ``automatic.png``, ``overlay.png``, ``objects.png`` and ``stack.png``."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        picture = run_headless(Path(folder)) / "overlay.png"
        shutil.copy(picture, IMAGES / "overlay.png")
        demo = open_window(Path(folder) / "window")
        _wait(lambda: demo.widget.session is not None and not demo.widget.is_busy)
        session = demo.widget.session
        assert session is not None
        session.go_to(p=0)
        for prompt in COMMITTED:
            session.set_prompt(prompt)
            session.predict()
            session.commit()
        session.set_prompt(SHOWN)
        _wait(lambda: session.preview is not None and not demo.widget.is_busy)
        _wait_ms(500)
        demo.viewer.window.screenshot(IMAGES / "window.png", canvas_only=False, flash=False)
        session.clear_prompt()
        session.objects.classify([1, 3], "interphase")
        session.objects.classify([2], "mitosis")
        session.objects.rename(2, "metaphase")
        table = ObjectsWidget(demo.viewer)
        demo.viewer.window.add_dock_widget(table, name="Segment Anything: objects", area="bottom")
        _wait(lambda: not table.is_busy)
        _wait_ms(500)
        table.table.selectRow(1)
        _wait_ms(200)
        demo.viewer.window.screenshot(IMAGES / "objects.png", canvas_only=False, flash=False)
        demo.viewer.window.remove_dock_widget(table)
        _show_automatic_masks(demo)
        demo.viewer.window.screenshot(IMAGES / "automatic.png", canvas_only=False, flash=False)
        demo.viewer.close()
    show_stack()


def show_stack() -> None:
    """Write ``stack.png``: a window while a whole stack is being encoded."""
    shown, count = 16, 64
    first = sample_data()[0][0][0]
    stack = np.stack([np.roll(first, 2 * (n - shown), axis=1) for n in range(count)])
    viewer = napari.Viewer()
    viewer.window.resize(1000, 720)
    viewer.add_image(stack, name="nuclei", axis_labels=("z", "y", "x"), contrast_limits=(0, 120))
    widget = AnnotateWidget(viewer)
    viewer.window.add_dock_widget(widget, name=TITLE, area="right")
    with tempfile.TemporaryDirectory() as folder:
        widget.panel.settings.labels.value = Path(folder) / "labels.zarr"
        widget._cache = CacheChoice("chosen", folder)  # noqa: SLF001 - yours is left alone
        widget.start()
        _wait(lambda: widget.session is not None and not widget.is_busy)
        session = widget.session
        assert session is not None
        session.go_to(z=shown)
        session.set_prompt(Prompt([(243, 396)]))
        _wait(lambda: session.preview is not None and not widget.is_busy)
        widget.panel.stack.button.click()
        _wait(lambda: np.count_nonzero(widget.panel.stack.strip.ready) > count / 2)
        area = widget.panel.parentWidget().parentWidget()
        area.verticalScrollBar().setValue(area.verticalScrollBar().maximum())
        _wait_ms(500)
        picture = viewer.window.screenshot(canvas_only=False, flash=False)
        # Few colours keep the file small.
        Image.fromarray(picture).convert("RGB").quantize(128).save(IMAGES / "stack.png", optimize=True)
        viewer.close()
        _wait(lambda: not any(x.name.startswith("napari-sam") for x in threading.enumerate()))


def _show_automatic_masks(demo: Demo) -> None:
    """Find the masks of a plane, and choose some."""
    session = demo.widget.session
    assert session is not None
    session.clear_prompt()
    masks = AutomaticWidget(demo.viewer)
    title = "Segment Anything: automatic masks"
    demo.viewer.window.add_dock_widget(masks, name=title, area="right", tabify=True)
    session.go_to(p=1)
    masks.panel.propose.click()
    _wait(lambda: not (masks.is_busy or demo.widget.is_busy))
    masks.panel.selecting.thresholds["pred_iou_thresh"].setValue(0.6)
    masks.panel.selecting.areas["min_area"].setValue(60)
    _wait(lambda: not masks.is_busy)
    _wait_ms(500)


def _wait(condition: Callable[[], bool]) -> None:
    while not condition():
        QApplication.processEvents()


def _wait_ms(milliseconds: int) -> None:
    end = time.monotonic() + milliseconds / 1000
    _wait(lambda: time.monotonic() > end)


if __name__ == "__main__":
    main()
