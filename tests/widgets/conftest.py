"""A small stack of bright discs in napari, and a user in front of it."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from numpy.typing import NDArray
from qtpy.QtCore import QSettings

from napari_sam.starting import open_session
from napari_sam.storage.embeddings import default_folder
from napari_sam.widgets.objects_table import ObjectsWidget
from widgets.desks import Desk, ViewerDesk, WindowDesk
from widgets.driving import User, wait_until

SHAPE = (192, 224)
SCALE, TRANSLATE = (2.0, 0.5, 0.5), (10.0, 20.0, -30.0)
# Centre (row, column) and radius of the disc on each plane.
DISCS = ((30, 40, 14), (60, 60, 16), (34, 70, 15))


def disc(centre: tuple[int, int], radius: float, shape: tuple[int, int] = SHAPE) -> NDArray[np.bool_]:
    y, x = np.ogrid[: shape[0], : shape[1]]
    inside: NDArray[np.bool_] = np.hypot(y - centre[0], x - centre[1]) <= radius
    return inside


@pytest.fixture(scope="module", autouse=True)
def others_out_of_the_collector() -> None:
    """Leave what is there before a module out of the garbage collections that napari makes for each layer."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def stack() -> NDArray[np.uint8]:
    """Three planes, each with one bright nucleus-like disc on a dim, slightly noisy background."""
    rng = np.random.default_rng(0)
    planes = [40 + 140 * disc((row, column), radius) for row, column, radius in DISCS]
    return np.clip(np.stack(planes) + rng.normal(0, 4, (3, *SHAPE)), 0, 255).astype(np.uint8)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache and data out of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "settings"))


class Encoded:
    """Stacks that are encoded once for all tests of a process, which then open them as ones seen before."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[bytes, Path] = {}

    def into_the_cache(self, stack: NDArray[np.uint8]) -> None:
        """Put the embeddings of a stack with the axes z, y and x into the user's cache."""
        name = stack.tobytes()
        if name not in self._folders:
            folder = self._root / str(len(self._folders))
            session = open_session(stack, "zyx", labels=f"{folder}.labels.zarr", cache=folder)
            assert session.encode_all() == len(stack)
            session.close()
            self._folders[name] = folder
        shutil.copytree(self._folders[name], default_folder())


@pytest.fixture(scope="session")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Encoded:
    return Encoded(tmp_path_factory.mktemp("encoded"))


@pytest.fixture
def make_desk(request: pytest.FixtureRequest) -> Callable[[], Desk]:
    """Make a desk: a window of 1280 x 800 where the test is marked so, or all are to have one."""
    if request.node.get_closest_marker("window") or request.config.getoption("windows"):
        make_viewer = request.getfixturevalue("make_napari_viewer")

        def make() -> Desk:
            viewer = make_viewer(show=True)
            viewer.window.resize(1280, 800)
            return WindowDesk(viewer)

        return make
    qtbot = request.getfixturevalue("qtbot")
    return lambda: ViewerDesk(ViewerModel(), qtbot)


@pytest.fixture
def sit_down(make_desk: Callable[[], Desk]) -> Iterator[Callable[..., User]]:
    """Put a user in front of an image layer."""
    users: list[User] = []

    def make(image: NDArray[Any], **arguments: Any) -> User:
        desk = make_desk()
        users.append(User(desk, desk.viewer.add_image(image, name="cells", **arguments)))
        return users[-1]

    yield make
    for user in users:
        user.widget.let_go()


@pytest.fixture
def user(sit_down: Callable[..., User], stack: NDArray[np.uint8], encoded: Encoded, tmp_path: Path) -> User:
    """A user who has started to annotate the stack, seen before, on plane 0."""
    encoded.into_the_cache(stack)
    someone = sit_down(stack, scale=SCALE, translate=TRANSLATE, axis_labels=("z", "y", "x"))
    someone.start(tmp_path / "cells.zarr")
    someone.go_to(0, 0)
    return someone


@pytest.fixture
def table(user: User) -> ObjectsWidget:
    """The table beside an annotation with one object on each plane."""
    widget = ObjectsWidget(user.viewer)
    user.desk.dock(widget, "objects", "bottom")
    for z, (row, column, radius) in enumerate(DISCS):
        user.session.go_to(z=z)
        user.session.store.commit(user.session.plane, disc((row, column), radius))
    wait_until(lambda: widget.model.rowCount() == 3)
    return widget
