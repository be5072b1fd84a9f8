"""The planes that the user will see next are encoded first, and nothing goes on that is not wanted."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_sam.encoding import Embedder
from napari_sam.inference.predictor import Predictor
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.prefetching import Prefetcher, Report, Travel, neighbours, whole_stack
from napari_sam.storage import embedding_store
from napari_sam.storage.embedding_store import bytes_on_disk
from napari_sam.storage.embeddings import Budget, EmbeddingCache
from seeded import seeded_image

SHAPE = (3, 12, 40, 50)
PATIENCE_S = 60


def plane(z: int, t: int = 0) -> Plane:
    return Plane((2, 3), (t, z, 0, 0))


class TestOrder:
    @pytest.mark.parametrize(
        ("z", "direction", "expected"),
        [
            pytest.param(5, 1, [6, 4, 7, 3, 8, 2], id="up"),
            pytest.param(5, -1, [4, 6, 3, 7, 2, 8], id="down"),
            pytest.param(0, 1, [1, 2, 3], id="at the first"),
            pytest.param(11, 1, [10, 9, 8], id="at the last"),
        ],
    )
    def test_of_neighbours(self, z: int, direction: int, expected: list[int]) -> None:
        found = neighbours(plane(z, t=1), SHAPE, Travel(1, direction), reach=3)
        assert found == [plane(n, t=1) for n in expected]

    def test_an_image_of_one_plane_has_no_neighbours(self) -> None:
        only = Plane((0, 1), (0, 0))
        assert neighbours(only, (40, 50), Travel.default(only, (40, 50))) == []
        assert list(whole_stack(only, (40, 50), Travel.default(only, (40, 50)))) == [only]

    @given(
        z=st.integers(0, 11), t=st.integers(0, 2), direction=st.sampled_from([1, -1]), axis=st.integers(0, 1)
    )
    def test_the_whole_stack_is_each_plane_once(self, z: int, t: int, direction: int, axis: int) -> None:
        order = list(whole_stack(plane(z, t), SHAPE, Travel(axis, direction)))
        assert order[0] == plane(z, t)
        assert sorted(x.position for x in order) == [(a, b, 0, 0) for a in range(3) for b in range(12)]

    @pytest.mark.parametrize(
        ("axes", "shape", "axis"),
        [
            pytest.param("tzcyx", (90, 5, 3, 40, 50), "z", id="z before t, and c never"),
            pytest.param("tcyx", (3, 4, 40, 50), "t", id="t"),
            pytest.param("tzcyx", (9, 1, 3, 40, 50), "t", id="t, of one z"),
            pytest.param("cpyx", (3, 90, 40, 50), "p", id="the longest"),
            pytest.param("TZCYX", (9, 5, 3, 40, 50), "Z", id="capitals"),
        ],
    )
    def test_a_user_goes_through_the_stack_first(self, axes: str, shape: tuple[int, ...], axis: str) -> None:
        shown = Plane((len(shape) - 2, len(shape) - 1), (0,) * len(shape))
        assert Travel.default(shown, shape, axes) == Travel(axes.index(axis), 1)

    @pytest.mark.parametrize(
        ("old", "new", "travel"),
        [
            pytest.param(plane(4), plane(5), Travel(1, 1), id="up"),
            pytest.param(plane(4), plane(1), Travel(1, -1), id="a jump down"),
            pytest.param(plane(4), plane(4, t=1), Travel(0, 1), id="in time"),
            pytest.param(plane(4), plane(5, t=1), Travel(9, 9), id="both: as before"),
            pytest.param(plane(4), plane(4), Travel(9, 9), id="not at all: as before"),
            pytest.param(plane(4), Plane((1, 3), (0, 0, 7, 0)), Travel(2, 1), id="another view"),
        ],
    )
    def test_follows_the_user(self, old: Plane, new: Plane, travel: Travel) -> None:
        assert Travel.between(old, new, Travel(9, 9), SHAPE) == travel


class Told(list[Report]):
    """What a prefetcher tells."""

    def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, self
            time.sleep(0.005)


@pytest.fixture
def embedder(tiny_predictor: Predictor) -> Embedder:
    stack = np.stack([seeded_image(40, 50, seed=n)[..., 0] for n in range(36)]).reshape(SHAPE)
    planes = Planes(stack, "tzyx")
    return Embedder(planes, tiny_predictor, EmbeddingCache(planes, tiny_predictor, None))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def prefetcher(embedder: Embedder, told: Told) -> Iterator[Prefetcher]:
    made = Prefetcher(embedder, SHAPE, told.append)
    yield made
    made.close()
    told.wait(lambda: not made._thread.is_alive())


def test_neighbours_are_encoded_nearest_first(prefetcher: Prefetcher, told: Told, embedder: Embedder) -> None:
    embedder.prepare(plane(3))
    prefetcher.follow(plane(2))
    prefetcher.follow(plane(3))
    told.wait(lambda: not prefetcher.is_busy)
    made = [report.plane for report in told]
    assert made[-10:] == [plane(n) for n in (4, 2, 5, 1, 6, 0, 7, 8, 9, 10, 11)][-10:]
    assert all((report.total, report.problem) == (0, None) for report in told)
    assert embedder.ready((2, 3))[0].all()


def test_the_whole_stack_tells_how_far_it_is(prefetcher: Prefetcher, told: Told, embedder: Embedder) -> None:
    prefetcher.follow(plane(11, t=2))
    prefetcher.encode_all()
    told.wait(lambda: not prefetcher.is_busy)
    assert embedder.ready((2, 3)).all()
    whole = [report for report in told if report.total]
    assert [report.done for report in whole] == sorted(report.done for report in whole)
    assert (whole[-1].done, whole[-1].total) == (36, 36)
    estimates = [report.remaining_s for report in whole if report.remaining_s is not None]
    assert len(estimates) > 20 and min(estimates[:-1]) > estimates[-1] == 0


def test_cancelled_it_keeps_what_is_done(prefetcher: Prefetcher, told: Told, embedder: Embedder) -> None:
    prefetcher.follow(plane(0))
    prefetcher.encode_all()
    told.wait(lambda: any(report.total and report.plane for report in told))
    prefetcher.cancel()
    told.wait(lambda: not prefetcher.is_busy)
    ready = int(embedder.ready((2, 3)).sum())
    assert 2 <= ready < 36
    assert ready == len({report.plane for report in told if report.plane})


def test_closed_in_the_middle_it_leaves_no_thread(embedder: Embedder, told: Told) -> None:
    prefetcher = Prefetcher(embedder, SHAPE, told.append)
    prefetcher.follow(plane(0))
    prefetcher.encode_all()
    told.wait(lambda: len(told) > 0)
    prefetcher.close()
    count = len(told)
    prefetcher._thread.join(PATIENCE_S)
    assert not any(x.name == "napari-sam prefetch" for x in threading.enumerate())
    assert len(told) == count


class Broken:
    """A stack of 40 planes of which some cannot be read."""

    shape, dtype = (40, 40, 50), np.dtype(np.uint8)

    def __init__(self, planes: Iterable[int]) -> None:
        self.planes = set(planes)

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[np.generic]:
        z = key[0]
        assert isinstance(z, int)
        if z in self.planes:
            raise OSError("the disk is gone")
        return seeded_image(40, 50, seed=z)[key[1:]][..., 0]


MakePrefetcher = Callable[..., Prefetcher]


@pytest.fixture
def make_prefetcher(tiny_predictor: Predictor, told: Told) -> Iterator[MakePrefetcher]:
    """Make a prefetcher of a stack of 40 planes that stands at plane z = 3, whose neighbours are done."""
    made: list[Prefetcher] = []

    def make(unreadable: Iterable[int] = (), folder: Path | None = None, **budget: int) -> Prefetcher:
        planes = Planes(Broken(unreadable), "zyx", limits=(0, 255))
        cache = EmbeddingCache(planes, tiny_predictor, folder, Budget(**budget))
        made.append(Prefetcher(Embedder(planes, tiny_predictor, cache), planes.shape, told.append))
        made[-1].follow(at(3))
        told.wait(lambda: not made[-1].is_busy)
        return made[-1]

    yield make
    for prefetcher in made:
        prefetcher.close()


def at(z: int) -> Plane:
    return Plane((1, 2), (z, 0, 0))


def problems(told: Told) -> list[str]:
    return [report.problem for report in told if report.problem is not None]


def ready(prefetcher: Prefetcher) -> list[int]:
    return np.flatnonzero(prefetcher._embedder.ready((1, 2))).tolist()


def test_an_image_that_cannot_be_read_is_told_once(make_prefetcher: MakePrefetcher, told: Told) -> None:
    make_prefetcher(range(40))
    assert problems(told) == ["z 4 could not be encoded: the disk is gone"]


def test_a_neighbour_that_cannot_be_read_stands_in_nobodys_way(
    make_prefetcher: MakePrefetcher, told: Told
) -> None:
    prefetcher = make_prefetcher([5])
    prefetcher.follow(at(4))
    told.wait(lambda: not prefetcher.is_busy)
    assert problems(told) == ["z 5 could not be encoded: the disk is gone"]
    assert set(range(13)) - {4, 5} <= set(ready(prefetcher))


def test_a_failure_where_the_user_was_keeps_no_plane_from_being_encoded_where_he_is(
    tiny_predictor: Predictor, told: Told
) -> None:
    reading, moved = threading.Event(), threading.Event()

    class Slow(Broken):
        def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[np.generic]:
            if key[0] == 4:
                reading.set()
                moved.wait(PATIENCE_S)
            return super().__getitem__(key)

    planes = Planes(Slow([4]), "zyx", limits=(0, 255))
    cache = EmbeddingCache(planes, tiny_predictor, None)
    prefetcher = Prefetcher(Embedder(planes, tiny_predictor, cache), planes.shape, told.append)
    prefetcher.follow(at(3))
    assert reading.wait(PATIENCE_S)
    prefetcher.follow(at(30))
    moved.set()
    told.wait(lambda: not prefetcher.is_busy)
    prefetcher.close()
    assert {29, 31, 32} <= set(ready(prefetcher))


def test_the_whole_stack_leaves_out_what_cannot_be_read_and_says_so_at_its_end(
    make_prefetcher: MakePrefetcher, told: Told
) -> None:
    prefetcher = make_prefetcher([20, 30])
    prefetcher.encode_all()
    told.wait(lambda: not prefetcher.is_busy)
    assert ready(prefetcher) == [z for z in range(40) if z not in (20, 30)]
    assert problems(told) == ["2 of 40 planes could not be encoded: z 20; z 30 (the disk is gone)."]
    assert told[-1].problem is not None and told[-1].done == told[-1].total


def test_the_whole_stack_ends_where_the_source_is_gone(make_prefetcher: MakePrefetcher, told: Told) -> None:
    prefetcher = make_prefetcher(range(15, 40))
    prefetcher.encode_all()
    told.wait(lambda: not prefetcher.is_busy)
    assert ready(prefetcher) == list(range(15))
    (problem,) = problems(told)
    assert problem == (
        "16 of 40 planes could not be encoded: z 15; z 16; z 17; z 18; z 19; z 20; z 21; z 22 and 8 more "
        "(the disk is gone). After so many in a row the rest was not tried."
    )


def test_of_a_stack_that_is_larger_than_the_budget_a_part_is_encoded(
    make_prefetcher: MakePrefetcher, told: Told, tiny_predictor: Predictor, tmp_path: Path
) -> None:
    each = bytes_on_disk(tiny_predictor.embedding_shape)
    prefetcher = make_prefetcher(folder=tmp_path, memory_bytes=1, disk_bytes=20 * each)
    assert prefetcher.encode_all() == 20
    told.wait(lambda: not prefetcher.is_busy)
    assert ready(prefetcher) == list(range(3, 23))
    first, last = problems(told)
    assert first == last and "room for 20 of 40 planes" in last


def test_a_disk_that_becomes_full_ends_the_whole_stack_and_is_told_once(
    make_prefetcher: MakePrefetcher, told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prefetcher, store, left = make_prefetcher(folder=tmp_path), embedding_store._write, iter(range(5))

    def fill(*arguments: Any) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        store(*arguments)

    monkeypatch.setattr(embedding_store, "_write", fill)
    prefetcher.encode_all()
    told.wait(lambda: not prefetcher.is_busy)
    before = ready(prefetcher)
    assert set(before) == set(range(17))  # 12 around the shown one, 5 more or so; the last in memory
    prefetcher.follow(at(25))
    told.wait(lambda: not prefetcher.is_busy)
    assert set(ready(prefetcher)) > set(before)
    (problem,) = problems(told)
    assert problem.startswith(f"Embeddings are kept in memory only: {tmp_path} cannot be written (No space")
    assert problem.endswith("The rest of the stack is not encoded; do it again when the disk can be written.")
