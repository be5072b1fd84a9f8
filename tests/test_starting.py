"""Image, model, labels and cache become a session, or nothing is left of the attempt."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from napari_sam.inference.predictor import Predictor
from napari_sam.starting import default_labels_path, labels_before, open_session
from napari_sam.storage.labels import LabelsStore


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "napari-sam" / "labels"


def made(name: str) -> Path:
    path = default_labels_path(name)
    LabelsStore.create(path, (20, 30), "yx").close()
    return path


def test_the_earlier_labels_of_a_name_are_known(data_folder: Path) -> None:
    first, second, third = (made("well-2") for _ in range(3))
    assert [path.name for path in (first, second, third)] == [
        "well-2.labels.zarr",
        "well-2-2.labels.zarr",
        "well-2-3.labels.zarr",
    ]
    assert labels_before(third) == second and labels_before(second) == first
    assert labels_before(first) is None, "the number is the image's own"


def test_labels_elsewhere_or_without_earlier_ones_have_none(data_folder: Path, tmp_path: Path) -> None:
    assert labels_before(data_folder / "well-2.labels.zarr") is None
    made("cells")
    assert labels_before(tmp_path / "cells-2.labels.zarr") is None


def test_labels_are_free_again_after_a_start_that_fails(tiny_predictor: Predictor, tmp_path: Path) -> None:
    """Even where the error is kept, as a console keeps its last one."""
    image, folder = np.zeros((1, 4, 20, 30), np.uint8), tmp_path / "cells.zarr"
    with closing(open_session(image, "tzyx", tiny_predictor, folder, cache=tmp_path / "cache")):
        pass
    # The axes of the labels, which are taken where none are given, have no channels.
    with pytest.raises(ValueError, match="no axis 'c' of channels in 'tzyx'") as kept:
        open_session(image, None, tiny_predictor, folder, cache=tmp_path / "cache", channels="c")
    assert kept.value.__traceback__ is not None
    with closing(open_session(image, "tzyx", tiny_predictor, folder, cache=tmp_path / "cache")) as session:
        assert not session.store.read_only
