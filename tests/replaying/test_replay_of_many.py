"""A replay of many objects holds few of their masks at a time; labels may be any that there are."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.planes import Planes
from napari_sam.replaying import replay
from napari_sam.replaying.replay import replay_labels
from napari_sam.storage.importing import import_labels
from napari_sam.storage.labels import LabelsStore

IMAGE = np.random.default_rng(0).integers(0, 255, (2, 30, 40)).astype(np.uint8)


def grid() -> NDArray[np.uint32]:
    """48 objects on each of two planes."""
    labels = np.zeros(IMAGE.shape, np.uint32)
    for row in range(3):
        for column in range(3):
            labels[:, row::5, column::5] = np.arange(1, 97).reshape(2, 6, 8)
    return labels


@dataclass(frozen=True)
class Answer:
    masks: NDArray[np.bool_]
    scores: tuple[float, ...] = (0.9,)
    best: int = 0


class Echo:
    """A model that answers a mask prompt with the same mask, and counts the prompts that are still held."""

    def __init__(self) -> None:
        self._given: list[weakref.ref[NDArray[Any]]] = []
        self.most_held = 0

    def __call__(self, predictor: Predictor, shape: tuple[int, int], prompt: Prompt, *_: object) -> Answer:
        assert prompt.mask is not None
        self._given.append(weakref.ref(prompt.mask))
        self.most_held = max(self.most_held, sum(x() is not None for x in self._given))
        return Answer(prompt.mask.astype(bool)[None])


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Echo:
    echo = Echo()
    monkeypatch.setattr(replay, "predict_plane", echo)
    return echo


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelsStore]:
    made = import_labels(grid(), tmp_path / "cells.zarr", "zyx")
    yield made
    made.close()


def test_a_mask_is_a_prompt_only_while_the_model_looks_at_it(
    store: LabelsStore, tiny_predictor: Predictor, echo: Echo, tmp_path: Path
) -> None:
    refined = tmp_path / "refined.zarr"
    replay_labels(store, Planes(IMAGE, "zyx"), tiny_predictor, refined, masks_as_prompts=True)
    assert echo.most_held == 1

    new = LabelsStore.open(refined)
    assert_array_equal(new.array[:], grid())
    # Now each has a mask prompt of its own, which another replay begins with.
    replay_labels(new, Planes(IMAGE, "zyx"), tiny_predictor, tmp_path / "again.zarr")
    assert echo.most_held == 1
    new.close()


def test_mask_prompts_are_recorded_a_few_at_a_time(
    store: LabelsStore,
    tiny_predictor: Predictor,
    echo: Echo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay, "_MOST_MASK_BYTES", 20 * IMAGE[0].size)
    replay_labels(store, Planes(IMAGE, "zyx"), tiny_predictor, tmp_path / "new.zarr", masks_as_prompts=True)
    new = LabelsStore.open(tmp_path / "new.zarr")
    origins = new.ledger.origins()
    assert [x.label for x in origins] == list(range(1, 97))
    for origin in origins:
        assert_array_equal(origin.making.prompt.mask, grid()[origin.plane.position[0]] == origin.label)
    assert {step.kind for step in new.ledger.steps()} == {"replay"} and len(new.ledger.steps()) == 6
    new.undo()  # the objects of the last plane
    assert not new.array[1].any() and new.array[0].any()
    new.close()


def test_labels_beyond_32_bits_keep_their_numbers(tiny_predictor: Predictor, tmp_path: Path) -> None:
    labels = np.where(grid() > 0, grid() + np.uint64(2**40), 0)
    zarr.create_array(tmp_path / "theirs.zarr", data=labels)
    theirs = LabelsStore.open(tmp_path / "theirs.zarr", read_only=True)
    replay_labels(theirs, Planes(IMAGE, "zyx"), tiny_predictor, tmp_path / "new.zarr")
    new = LabelsStore.open(tmp_path / "new.zarr")
    assert new.array.dtype == np.uint64
    assert_array_equal(new.array[:], labels)
    new.close()
