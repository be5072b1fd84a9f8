"""The demo's window, as it opens for a newcomer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
import pytest

from napari_sam.widgets import demo_window
from widgets.driving import wait_until


@pytest.fixture
def demo(
    make_napari_viewer: Callable[..., napari.Viewer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> demo_window.Demo:
    """The demo in a viewer that the test suite closes again."""
    monkeypatch.setattr(demo_window.napari, "Viewer", lambda: make_napari_viewer(show=True))
    return demo_window.open_window(tmp_path / "out")


def test_the_window_is_ready_for_the_first_click(demo: demo_window.Demo, tmp_path: Path) -> None:
    wait_until(lambda: demo.widget.session is not None and not demo.widget.is_busy)
    assert demo.viewer.layers.selection.active.name == "SAM points"
    assert demo.viewer.layers.selection.active.mode == "add"
    session = demo.widget.session
    assert session is not None
    session.go_to(p=0)
    session.add_point((434, 411))
    wait_until(lambda: session.preview is not None)
    session.commit()
    assert np.asarray(session.labels[0]).max() == 1
    assert (tmp_path / "out" / "labels.zarr").is_dir()
    demo.widget.let_go()
