"""Sessions on small stacks of bright discs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from automatic.discs import SHAPE, disc
from napari_sam.annotation import Session
from napari_sam.inference.loading import load_predictor
from napari_sam.planes import Planes
from napari_sam.storage.embeddings import EmbeddingCache
from napari_sam.storage.labels import LabelsStore


@pytest.fixture
def stack() -> NDArray[np.uint8]:
    """Four planes: one disc in all of them, one that is missing on the third, and one on the last two."""
    rng = np.random.default_rng(0)
    planes = [
        disc(60, 60 + 2 * z, 15)
        | (disc(124, 120, 16) if z != 2 else False)
        | (disc(56, 170, 14) if z > 1 else False)
        for z in range(4)
    ]
    return np.clip(40 + 140 * np.stack(planes) + rng.normal(0, 4, (4, *SHAPE)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that all tests share, so that each plane is encoded once."""
    return tmp_path_factory.mktemp("embeddings")


@pytest.fixture
def open_session(tmp_path: Path, embeddings: Path) -> Iterator[Callable[..., Session]]:
    """Open a session with nano on a stack, with labels and cache in the test's own folder."""
    opened: list[Session] = []

    def make(stack: NDArray[np.uint8], axes: str = "zyx", cache: Path | None = None) -> Session:
        planes, predictor = Planes(stack, axes), load_predictor("nano", device="cpu")
        store = LabelsStore.open_or_create(tmp_path / "cells.zarr", planes.shape, planes.axes)
        opened.append(
            Session(planes, predictor, store, EmbeddingCache(planes, predictor, cache or embeddings))
        )
        return opened[-1]

    yield make
    for session in opened:
        session.close()


@pytest.fixture
def session(open_session: Callable[..., Session], stack: NDArray[np.uint8]) -> Session:
    return open_session(stack)
