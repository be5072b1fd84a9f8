"""A tile is encoded once, whoever asks for it, and those for whom the user waits go first."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from numpy.typing import NDArray

from napari_sam.annotation import Session
from napari_sam.encoding import Embedder
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.tiling import Tile
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.starting import open_session
from napari_sam.storage import embedding_store
from napari_sam.storage.embedding_store import bytes_on_disk
from napari_sam.storage.embeddings import Budget, EmbeddingCache
from napari_sam.storage.eviction import make_room
from seeded import seeded_image

STACK = np.stack([seeded_image(40, 50, seed=z)[..., 0] for z in range(4)])
WHOLE = Tile(0, 0, 0, 40, 50)
PATIENCE_S = 60


def plane(z: int) -> Plane:
    return Plane((1, 2), (z, 0, 0))


class Counting:
    """An array that counts how often its planes are read."""

    def __init__(self, data: NDArray[np.generic]) -> None:
        self.data = data
        self.shape, self.dtype = data.shape, data.dtype
        self.reads = 0

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[np.generic]:
        self.reads += 1
        return self.data[key]


@pytest.fixture
def encoded(tiny_predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sums of the images that are encoded, as they come."""
    sums: list[int] = []
    encode = tiny_predictor.encode

    def counted(image: NDArray[np.uint8], *arguments: object) -> object:
        sums.append(int(image.astype(int).sum()))
        return encode(image, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(tiny_predictor, "encode", counted)
    return sums


def open_embedder(predictor: Predictor, image: object, folder: Path | None = None) -> Embedder:
    planes = Planes(image, "zyx")  # type: ignore[arg-type]
    return Embedder(planes, predictor, EmbeddingCache(planes, predictor, folder))


def open_budgeted(predictor: Predictor, folder: Path, budget: Budget) -> Session:
    """Open a session of the stack on its first plane."""
    return open_session(STACK, "zyx", predictor, folder / "cells.zarr", cache=folder / "cache", budget=budget)


def test_a_plane_is_encoded_once(tiny_predictor: Predictor, encoded: list[int], tmp_path: Path) -> None:
    embedder = open_embedder(tiny_predictor, STACK, tmp_path)
    first = embedder.embed(plane(1), WHOLE)
    assert embedder.embed(plane(1), WHOLE) is first
    again = open_embedder(tiny_predictor, STACK, tmp_path).embed(plane(1), WHOLE)
    assert torch.equal(again.features, first.features)
    assert len(encoded) == 1


@pytest.mark.parametrize("on_disk", [True, False], ids=["on disk", "in memory"])
def test_a_stack_larger_than_the_budget_is_encoded_as_far_as_there_is_room(
    tiny_predictor: Predictor, encoded: list[int], tmp_path: Path, on_disk: bool
) -> None:
    shape = tiny_predictor.embedding_shape
    budget = Budget(1, 3 * bytes_on_disk(shape)) if on_disk else Budget(3 * 4 * int(np.prod(shape)))
    session = open_budgeted(tiny_predictor, tmp_path, budget)
    if not on_disk:
        session.embedder.cache = EmbeddingCache(session.planes, tiny_predictor, None, budget)
    told: list[str] = []
    done: list[float] = []
    session.noticed.connect(told.append)
    for _ in range(2):
        assert session.encode_all(done.append) == 3
        assert session.ready().ravel().tolist() == [True, True, True, False]
    assert len(encoded) == 3, "none pushes another one out"
    assert done == pytest.approx([1 / 3, 2 / 3, 1] * 2)
    assert len(told) == 2 and "room for 3 of 4 planes" in told[0] and "budget=" in told[0]


def test_planes_that_another_image_pushed_out_are_told(tiny_predictor: Predictor, tmp_path: Path) -> None:
    """They go last, but another process may write as much as the budget meanwhile."""
    session = open_budgeted(
        tiny_predictor, tmp_path, Budget(1, 4 * bytes_on_disk(tiny_predictor.embedding_shape))
    )
    told: list[str] = []
    session.noticed.connect(told.append)

    def crowd_out(done: float) -> None:
        if done == 1:
            chunks = (tmp_path / "cache").glob("*/features/c/*/0/0/0")
            make_room(tmp_path / "cache", sum(chunk.stat().st_size for chunk in chunks) // 2)

    assert session.encode_all(crowd_out) == 1  # the last one, which is in memory too
    assert told == ["Of 4 planes that were encoded 3 were deleted again to make room."]


def test_the_stack_ends_where_the_disk_cannot_be_written_any_more(
    tiny_predictor: Predictor, encoded: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, left = embedding_store._write, iter(range(2))

    def fill(*arguments: Any) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        store(*arguments)

    monkeypatch.setattr(embedding_store, "_write", fill)
    session = open_budgeted(tiny_predictor, tmp_path, Budget(1, 2**30))
    told: list[str] = []
    session.noticed.connect(told.append)
    assert session.encode_all() == 3
    assert len(encoded) == 3
    assert len(told) == 1 and "No space left" in told[0] and "in memory: room for 1 of 4 planes" in told[0]


def test_an_edited_plane_alone_is_encoded_again(
    tiny_predictor: Predictor, encoded: list[int], tmp_path: Path
) -> None:
    image = STACK.copy()
    embedder = open_embedder(tiny_predictor, image, tmp_path)
    for z in range(3):
        embedder.prepare(plane(z))
    image[1, 20, 25] += 1
    for z in range(3):
        embedder.prepare(plane(z))
    assert len(encoded) == 4


def test_images_of_one_name_keep_their_own_planes(
    tiny_predictor: Predictor, encoded: list[int], tmp_path: Path
) -> None:
    for image in (STACK, 255 - STACK, STACK):
        planes = Planes(image, "zyx", name="DAPI")
        embedder = Embedder(planes, tiny_predictor, EmbeddingCache(planes, tiny_predictor, tmp_path))
        for z in range(4):
            embedder.prepare(plane(z))
    assert len(encoded) == 8


def test_a_reopened_stack_has_the_contrast_that_it_was_encoded_with(
    tiny_predictor: Predictor, encoded: list[int], tmp_path: Path
) -> None:
    image = 10 * STACK.astype(np.uint16)
    opened = []
    for z in range(4):
        opened.append(open_embedder(tiny_predictor, image, tmp_path))
        opened[z].planes.name = f"opened {z} times"
        for x in range(4):
            opened[z].prepare(plane(x))
        image[z, 5:30, 5:30] += np.uint16(300)  # an eighth of the range, a quarter of the plane
    assert len(encoded) == 4 + 3, "the edited plane, each time"
    assert Planes(image).contrast.high > opened[0].planes.contrast.high + 50
    contrast = opened[0].planes.contrast
    assert all(embedder.planes.contrast == contrast for embedder in opened)
    np.testing.assert_array_equal(
        opened[3].planes.image(plane(0)), Planes(image, limits=(contrast.low, contrast.high)).image(plane(0))
    )
    assert opened[3].planes.preprocessing == opened[0].planes.preprocessing


def test_a_stack_whose_intensities_changed_has_a_new_contrast_from_then_on(
    tiny_predictor: Predictor, encoded: list[int], tmp_path: Path
) -> None:
    image = STACK.astype(np.uint16)
    for z in range(4):
        open_embedder(tiny_predictor, image, tmp_path).prepare(plane(z))
    image[1] *= 20
    for _ in range(2):
        changed = open_embedder(tiny_predictor, image, tmp_path)
        changed.prepare(plane(0))
        assert changed.planes.contrast == Planes(image).contrast
    assert len(encoded) == 5


def test_each_channel_keeps_its_contrast(tiny_predictor: Predictor, tmp_path: Path) -> None:
    image = np.stack([STACK, 2 * STACK.astype(np.uint16)])
    shown = Plane((2, 3), (0, 1, 0, 0))

    def open_() -> Planes:
        planes = Planes(image, "czyx", channels="c")
        Embedder(planes, tiny_predictor, EmbeddingCache(planes, tiny_predictor, tmp_path)).prepare(shown)
        return planes

    before = open_()
    image[:, 3] += 30
    after = open_()
    assert after.preprocessing == before.preprocessing != Planes(image, "czyx", channels="c").preprocessing


def test_what_lies_in_a_file_is_looked_at_once_a_visit(
    tiny_predictor: Predictor, encoded: list[int], tmp_path: Path
) -> None:
    stored = zarr.create_array(tmp_path / "image.zarr", shape=STACK.shape, dtype=np.uint8)
    stored[:] = STACK
    lazy = Counting(STACK.copy())
    embedder = open_embedder(tiny_predictor, lazy)
    embedder.prepare(plane(1))
    reads = lazy.reads
    embedder.prepare(plane(1))
    assert lazy.reads == reads
    lazy.data[1, 3, 4] ^= 255
    embedder.look_again(plane(1))
    embedder.prepare(plane(1))
    assert (lazy.reads, len(encoded)) == (reads + 1, 2)


def test_two_who_want_the_same_plane_share_its_encoding(
    tiny_predictor: Predictor, encoded: list[int]
) -> None:
    embedder = open_embedder(tiny_predictor, STACK)
    threads = [
        threading.Thread(target=embedder.prepare, args=(plane(2),), kwargs={"background": background})
        for background in (True, False, False)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)
    assert len(encoded) == 1


def test_the_background_pauses_while_the_user_waits(tiny_predictor: Predictor) -> None:
    embedder = open_embedder(tiny_predictor, STACK)
    steps: list[float] = []
    begun, ended = threading.Event(), threading.Event()

    def report(done: float) -> None:
        steps.append(done)
        begun.set()

    def encode() -> None:
        embedder.prepare(plane(3), report, background=True)
        ended.set()

    worker = threading.Thread(target=encode)
    with embedder.first():
        worker.start()
        assert begun.wait(PATIENCE_S)
        assert not ended.wait(0.3)
        assert set(steps) == {steps[0]}
    assert ended.wait(PATIENCE_S)
    worker.join(PATIENCE_S)
    assert steps[-1] == 1


def test_a_call_that_waits_can_be_cancelled(tiny_predictor: Predictor) -> None:
    """The plane is being encoded by somebody who pauses; whoever waits for it may give up."""
    embedder = open_embedder(tiny_predictor, STACK)
    begun, go_on = threading.Event(), threading.Event()

    def hold(_done: float) -> None:
        begun.set()
        assert go_on.wait(PATIENCE_S)

    def give_up(_done: float) -> None:
        raise KeyboardInterrupt

    worker = threading.Thread(target=embedder.prepare, args=(plane(0), hold))
    worker.start()
    assert begun.wait(PATIENCE_S)
    with pytest.raises(KeyboardInterrupt):
        embedder.prepare(plane(0), give_up)
    go_on.set()
    worker.join(PATIENCE_S)
    assert embedder.is_made(plane(0))


def test_ready_planes_are_those_of_now_and_of_earlier(tiny_predictor: Predictor, tmp_path: Path) -> None:
    open_embedder(tiny_predictor, STACK, tmp_path).prepare(plane(2))
    embedder = open_embedder(tiny_predictor, STACK, tmp_path)
    assert not embedder.is_made(plane(2))
    embedder.prepare(plane(0))
    assert embedder.ready((1, 2)).ravel().tolist() == [True, False, True, False]
    in_memory = open_embedder(tiny_predictor, STACK)
    in_memory.prepare(plane(1))
    assert in_memory.ready((1, 2)).ravel().tolist() == [False, True, False, False]


def test_a_plane_that_went_to_make_room_is_not_made(
    tiny_predictor: Predictor, encoded: list[int], tmp_path: Path
) -> None:
    planes, room = Planes(STACK, "zyx"), bytes_on_disk(tiny_predictor.embedding_shape)
    cache = EmbeddingCache(planes, tiny_predictor, tmp_path, Budget(1, 2 * room))
    embedder = Embedder(planes, tiny_predictor, cache)
    for z in range(4):
        embedder.prepare(plane(z))
    made = [embedder.is_made(plane(z)) for z in range(4)]
    assert (made[0], made[3]) == (False, True)
    assert embedder.ready((1, 2)).ravel().tolist() == made
    embedder.prepare(plane(0))
    assert len(encoded) == 5
    in_memory = Embedder(planes, tiny_predictor, EmbeddingCache(planes, tiny_predictor, None, Budget(1)))
    for z in range(4):
        in_memory.prepare(plane(z))
    assert in_memory.ready((1, 2)).ravel().tolist() == [False, False, False, True]


def test_a_large_plane_waits_for_its_prompts(tiny_predictor: Predictor, encoded: list[int]) -> None:
    embedder = open_embedder(tiny_predictor, np.zeros((2, 300, 200), np.uint8))
    embedder.prepare(plane(0))
    assert (encoded, embedder.whole(plane(0))) == ([], None)


def test_ready_tiles_and_what_was_seen_of_a_large_plane(tiny_predictor: Predictor, tmp_path: Path) -> None:
    planes = Planes(np.arange(2 * 300 * 420, dtype=np.uint32).reshape(2, 300, 420), "zyx")
    tiling = tiny_predictor.tiling((300, 420))
    tile, plane = tiling.central(0, (200, 300)), Plane((1, 2), (1, 0, 0))
    embedder = Embedder(planes, tiny_predictor, EmbeddingCache(planes, tiny_predictor, tmp_path))
    assert embedder.at_hand(plane, tile) is None and embedder.seen(plane) is None
    made = embedder.embed(plane, tile)
    assert embedder.at_hand(plane, tile) is made
    assert embedder.ready_tiles(plane) == {tile}
    seen = embedder.seen(plane)
    assert seen is not None and seen[0] == tile
    np.testing.assert_array_equal(seen[1], planes.image(plane, *tile.index))
    assert embedder.seen(Plane((1, 2), (0, 0, 0))) is None

    later = Embedder(planes, tiny_predictor, EmbeddingCache(planes, tiny_predictor, tmp_path))
    later.prepare(plane)
    assert later.ready_tiles(plane) == {tile}
