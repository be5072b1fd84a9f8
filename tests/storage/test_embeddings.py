"""A plane is encoded once, and nothing stale or damaged is ever taken for its embedding."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from numpy.typing import NDArray

from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.results import Embedding
from napari_sam.inference.tiling import Tile, Tiling
from napari_sam.model.sam import CONFIGS
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.storage import embedding_store
from napari_sam.storage.embedding_store import EmbeddingStore, bytes_on_disk
from napari_sam.storage.embeddings import Budget, EmbeddingCache
from napari_sam.storage.eviction import KeptChunk, surplus
from seeded import seeded_image, seeded_predictor

STACK = np.stack([seeded_image(40, 50, seed=z)[..., 0] for z in range(4)])
PLANE = Plane((1, 2), (2, 0, 0))
TILE = Tile(0, 0, 0, 40, 50)
DIGEST, OTHER_DIGEST = bytes(range(32)), bytes(range(32, 64))

Open = Callable[..., EmbeddingCache]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "embeddings"


@pytest.fixture
def open_cache(nano_predictor: Predictor, folder: Path) -> Open:
    """Open the cache of ``STACK`` as a new process would: with an empty memory."""

    def open_(
        predictor: Predictor = nano_predictor, image: NDArray[np.generic] = STACK, name: str = "image"
    ) -> EmbeddingCache:
        return EmbeddingCache(Planes(image, name=name), predictor, folder)

    return open_


@pytest.fixture(scope="module")
def embedding(nano_predictor: Predictor) -> Embedding:
    return nano_predictor.encode(STACK[2])


@pytest.fixture
def chunks(folder: Path, open_cache: Open, embedding: Embedding) -> dict[str, Path]:
    """Store ``PLANE`` and give the file of each of its chunks."""
    open_cache().put(PLANE, TILE, DIGEST, embedding)
    (store,) = folder.glob("*.zarr")
    return {name: store / name / "c" / "2" / rest for name, rest in (("features", "0/0/0"), ("digests", "0"))}


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


class TestMemory:
    def test_keeps_the_very_embedding(self, nano_predictor: Predictor, embedding: Embedding) -> None:
        cache = EmbeddingCache(Planes(STACK), nano_predictor, folder=None)
        assert cache.get(PLANE, TILE, DIGEST) is None
        cache.put(PLANE, TILE, DIGEST, embedding)
        assert cache.get(PLANE, TILE, DIGEST) is embedding
        assert cache.get(PLANE, TILE, OTHER_DIGEST) is None

    def test_drops_the_least_recently_used(self, nano_predictor: Predictor, embedding: Embedding) -> None:
        cache = EmbeddingCache(Planes(STACK), nano_predictor, None, Budget(2 * embedding.nbytes))
        first, second, third = (bytes([z]) * 32 for z in range(3))
        cache.put(PLANE, TILE, first, embedding)
        cache.put(PLANE, TILE, second, embedding)
        cache.get(PLANE, TILE, first)
        cache.put(PLANE, TILE, third, embedding)
        kept = [cache.get(PLANE, TILE, digest) is not None for digest in (first, second, third)]
        assert kept == [True, False, True]

    def test_keeps_the_latest_however_large(self, nano_predictor: Predictor, embedding: Embedding) -> None:
        cache = EmbeddingCache(Planes(STACK), nano_predictor, None, Budget(1))
        for digest in (OTHER_DIGEST, DIGEST):
            cache.put(PLANE, TILE, digest, embedding)
        assert cache.get(PLANE, TILE, DIGEST) is embedding
        assert cache.get(PLANE, TILE, OTHER_DIGEST) is None


class TestDisk:
    def test_is_found_after_reopening(self, open_cache: Open, embedding: Embedding) -> None:
        open_cache().put(PLANE, TILE, DIGEST, embedding)
        again = open_cache().get(PLANE, TILE, DIGEST)
        assert again is not None
        assert (again.geometry, again.model) == (embedding.geometry, embedding.model)
        torch.testing.assert_close(again.features, embedding.rounded().features, rtol=0, atol=0)

    def test_what_is_stored_gives_the_same_masks(
        self, nano_predictor: Predictor, open_cache: Open, embedding: Embedding
    ) -> None:
        open_cache().put(PLANE, TILE, DIGEST, embedding)
        again = open_cache().get(PLANE, TILE, DIGEST)
        assert again is not None
        for prompt in (Prompt([(20, 25)]), Prompt(box=(5, 6, 30, 40))):
            full, stored = (nano_predictor.predict(x, prompt) for x in (embedding, again))
            assert full.masks.any((1, 2)).all()
            assert min(map(iou, full.masks, stored.masks)) >= 0.995
            np.testing.assert_allclose(full.scores, stored.scores, atol=1e-3)

    @pytest.mark.parametrize(
        "plane",
        [
            pytest.param(Plane((1, 2), (0, 0, 0)), id="first"),
            pytest.param(Plane((1, 2), (3, 0, 0)), id="last"),
            pytest.param(Plane((2, 0), (0, 39, 0)), id="XZ, columns first"),
        ],
    )
    def test_planes_do_not_mix(self, open_cache: Open, embedding: Embedding, plane: Plane) -> None:
        cache = open_cache()
        cache.put(PLANE, TILE, DIGEST, embedding)
        assert open_cache().get(plane, TILE, DIGEST) is None
        tile = Tile(0, 0, 0, *plane.shape(STACK.shape))
        cache.put(plane, tile, OTHER_DIGEST, embedding)
        found = open_cache().get(plane, tile, OTHER_DIGEST)
        assert found is not None
        assert found.geometry.original == plane.shape(STACK.shape)
        assert open_cache().get(PLANE, TILE, DIGEST) is not None

    def test_other_pixels_are_a_miss(self, open_cache: Open, embedding: Embedding) -> None:
        open_cache().put(PLANE, TILE, DIGEST, embedding)
        assert open_cache().get(PLANE, TILE, OTHER_DIGEST) is None

    def test_new_pixels_replace_the_old(self, open_cache: Open, embedding: Embedding) -> None:
        open_cache().put(PLANE, TILE, OTHER_DIGEST, embedding)
        open_cache().put(PLANE, TILE, DIGEST, embedding)
        assert open_cache().get(PLANE, TILE, OTHER_DIGEST) is None
        assert open_cache().get(PLANE, TILE, DIGEST) is not None

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(lambda: {"predictor": seeded_predictor(CONFIGS["nano"], seed=1)}, id="weights"),
            pytest.param(lambda: {"image": STACK[:, :39]}, id="shape"),
            pytest.param(lambda: {"image": 255 - STACK}, id="pixels"),
            pytest.param(lambda: {"image": STACK[::-1]}, id="order"),
        ],
    )
    def test_what_differs_has_a_store_of_its_own(
        self, folder: Path, open_cache: Open, embedding: Embedding, other: Callable[[], dict[str, object]]
    ) -> None:
        open_cache().put(PLANE, TILE, DIGEST, embedding)
        cache = open_cache(**other())
        assert cache.get(PLANE, TILE, DIGEST) is None
        cache.put(PLANE, TILE, DIGEST, embedding)
        assert len(list(folder.glob("*.zarr"))) == 2
        assert open_cache().get(PLANE, TILE, DIGEST) is not None

    def test_an_image_is_found_under_another_name_and_after_edits(
        self, open_cache: Open, embedding: Embedding
    ) -> None:
        image = STACK.copy()
        for z in range(4):
            open_cache(image=image, name=f"after {z} edits").put(*add_tile(*numbered(z)), embedding)
            image[z] = 255 - image[z]
        cache = open_cache(image=image)
        assert [cache.get(*add_tile(*numbered(z))) is not None for z in range(4)] == [True] * 4

    def test_holds_numbers_and_json_only(self, folder: Path, chunks: dict[str, Path]) -> None:
        files = {path for path in folder.rglob("*") if path.is_file()}
        for path in files - set(chunks.values()):
            assert path.name == "zarr.json" or path.parent.name == "images"
            json.loads(path.read_text())
        assert sum(file.stat().st_size for file in chunks.values()) <= 2 * 256 * 64 * 64
        assert chunks["digests"].read_bytes()[:32] == DIGEST


def halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def zero(file: Path) -> None:
    """What a file system may leave after a power cut: the length is right, the content is not there."""
    file.write_bytes(bytes(file.stat().st_size))


def turn_one_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("chunk", ["features", "digests"])
@pytest.mark.parametrize("damage", [Path.unlink, empty, halve, zero, turn_one_bit], ids=lambda x: x.__name__)
def test_a_damaged_chunk_is_a_miss_and_is_written_again(
    open_cache: Open,
    embedding: Embedding,
    chunks: dict[str, Path],
    chunk: str,
    damage: Callable[[Path], None],
) -> None:
    whole = chunks[chunk].read_bytes()
    damage(chunks[chunk])
    cache = open_cache()
    assert cache.get(PLANE, TILE, DIGEST) is None
    cache.put(PLANE, TILE, DIGEST, embedding)
    assert cache.problem is None
    assert chunks[chunk].read_bytes() == whole
    assert open_cache().get(PLANE, TILE, DIGEST) is not None


@pytest.mark.parametrize("where", ["zarr.json", "features/zarr.json", "digests/zarr.json"])
@pytest.mark.parametrize("content", [None, "", "garbage", "[]"])
def test_a_store_with_damaged_metadata_is_replaced(
    folder: Path,
    open_cache: Open,
    embedding: Embedding,
    chunks: dict[str, Path],
    where: str,
    content: str | None,
) -> None:
    (store,) = folder.glob("*.zarr")
    if content is None:
        (store / where).unlink()
    else:
        (store / where).write_text(content)
    cache = open_cache()
    assert cache.get(PLANE, TILE, DIGEST) is None
    cache.put(*add_tile(*numbered(0)), embedding)
    assert cache.problem is None
    assert open_cache().get(*add_tile(*numbered(0))) is not None
    assert open_cache().get(PLANE, TILE, DIGEST) is not None, "what was finished stays"


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(OSError(errno.ESTALE, "Stale file handle"), id="a network disk that is gone"),
        pytest.param(OSError(errno.ETIMEDOUT, "Connection timed out"), id="one that is slow"),
        pytest.param(OSError(errno.EMFILE, "Too many open files"), id="too many files"),
        pytest.param(RuntimeError("cannot schedule new futures after shutdown"), id="the end of Python"),
    ],
)
def test_a_failure_to_write_deletes_nothing_and_is_tried_again_later(
    open_cache: Open, embedding: Embedding, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    cache, store = open_cache(), embedding_store._write
    for number in range(2):
        cache.put(*add_tile(*numbered(number)), embedding)
    failures = [error, error]

    def fail_twice(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        store(*arguments)

    monkeypatch.setattr(embedding_store, "_write", fail_twice)
    monkeypatch.setattr(embedding_store, "_MAKING_S", 0)
    cache.put(PLANE, TILE, DIGEST, embedding)
    assert not failures
    assert cache.problem is not None and (getattr(error, "strerror", None) or str(error)) in cache.problem
    assert not cache.is_on_disk and cache.get(PLANE, TILE, DIGEST) is embedding
    assert all(open_cache().get(*add_tile(*numbered(number))) is not None for number in range(2))

    cache.put(PLANE, TILE, DIGEST, embedding)
    assert open_cache().get(PLANE, TILE, DIGEST) is None, "too early"
    monkeypatch.setattr(cache, "_again", 0)
    cache.put(PLANE, TILE, DIGEST, embedding)
    assert cache.problem is None
    assert open_cache().get(PLANE, TILE, DIGEST) is not None


def test_a_disk_that_cannot_be_written_leaves_the_memory(
    nano_predictor: Predictor, tmp_path: Path, embedding: Embedding
) -> None:
    (tmp_path / "file").write_text("kept")
    cache = EmbeddingCache(Planes(STACK), nano_predictor, tmp_path / "file" / "embeddings")
    assert cache.get(PLANE, TILE, DIGEST) is None
    assert cache.problem is None
    cache.put(PLANE, TILE, DIGEST, embedding)
    assert cache.problem is not None
    assert cache.problem.startswith("Embeddings are kept in memory only:")
    assert str(tmp_path / "file" / "embeddings") in cache.problem
    assert cache.get(PLANE, TILE, DIGEST) is embedding
    cache.put(Plane((1, 2), (0, 0, 0)), TILE, OTHER_DIGEST, embedding)
    assert cache.get(Plane((1, 2), (0, 0, 0)), TILE, OTHER_DIGEST) is embedding


def numbered(number: int) -> tuple[Plane, bytes]:
    return Plane((1, 2), (number, 0, 0)), bytes([number]) * 32


def bytes_in(folder: Path) -> int:
    """What the embeddings in a folder take."""
    return sum(file.stat().st_size for file in folder.glob("*/features/c/**/0") if file.is_file())


class TestBudget:
    def test_the_least_recently_used_of_all_images_goes(
        self, nano_predictor: Predictor, folder: Path, open_cache: Open, embedding: Embedding
    ) -> None:
        other = open_cache(image=255 - STACK)
        for number in range(4):
            plane, digest = numbered(number)
            other.put(plane, TILE, digest, embedding)
        budget = bytes_in(folder) - 1
        for age, mark in enumerate(sorted(folder.glob("*/digests/c/*/0"))):
            os.utime(mark, (age, age))
        assert open_cache(image=255 - STACK).get(*add_tile(*numbered(0))) is not None  # used a moment ago
        small = EmbeddingCache(Planes(STACK), nano_predictor, folder, Budget(disk_bytes=budget))
        small.put(PLANE, TILE, DIGEST, embedding)
        kept = [open_cache(image=255 - STACK).get(*add_tile(*numbered(number))) for number in range(4)]
        assert [found is not None for found in kept] == [True, False, True, True]
        assert open_cache().get(PLANE, TILE, DIGEST) is not None
        assert bytes_in(folder) <= budget + 1

    def test_what_went_to_make_room_is_not_held(
        self, nano_predictor: Predictor, folder: Path, embedding: Embedding
    ) -> None:
        budget = Budget(1, 2 * bytes_on_disk(nano_predictor.embedding_shape))
        cache = EmbeddingCache(Planes(STACK), nano_predictor, folder, budget)
        for number in range(4):
            cache.put(*add_tile(*numbered(number)), embedding)
        held = [cache.holds(*add_tile(*numbered(number))) for number in range(4)]
        assert held[0] is False and held[-1] is True
        assert cache.kept((1, 2)).ravel().tolist() == held
        assert [cache.keeps(numbered(number)[0], TILE) for number in range(4)] == held
        assert not cache.holds(numbered(3)[0], TILE, DIGEST), "other pixels"
        assert cache.dropped > 0

    @pytest.mark.parametrize(
        ("on_disk", "budget", "room", "why"),
        [
            pytest.param(True, Budget(1, 10 * 2**21 + 200), 10, None, id="all of it"),
            pytest.param(
                True,
                Budget(2**40, 9 * 2**21 + 180),
                9,
                "Embeddings may take 0.0176 GiB on disk: room for 9 of 10 planes, which need 0.0195 GiB.",
                id="one too many",
            ),
            pytest.param(
                False,
                Budget(2**23, 2**40),
                2,
                "Embeddings may take 0.00781 GiB in memory: room for 2 of 10 planes, which need 0.0391 GiB.",
                id="in memory",
            ),
            pytest.param(
                True, Budget(1, 1), 1, "Embeddings may take 9.31e-10 GiB on disk", id="the one shown"
            ),
        ],
    )
    def test_tells_how_much_of_a_stack_it_can_hold(
        self,
        nano_predictor: Predictor,
        folder: Path,
        on_disk: bool,
        budget: Budget,
        room: int,
        why: str | None,
    ) -> None:
        """An embedding takes at most 2 MiB on disk, with its head and checksum, and 4 MiB in memory."""
        cache = EmbeddingCache(Planes(STACK), nano_predictor, folder if on_disk else None, budget)
        found, told = cache.room_for(10)
        assert found == room
        assert told is None if why is None else told is not None and told.startswith(why)

    @pytest.mark.parametrize(
        ("budget", "gone"), [(30, []), (29, [1]), (22, [1, 0]), (12, [1, 0]), (0, [1, 0, 2])], ids=str
    )
    def test_a_tenth_is_freed_beyond_need(self, tmp_path: Path, budget: int, gone: list[int]) -> None:
        used = (2.0, 1.0, 3.0)
        chunks = [KeptChunk(tmp_path / str(n), tmp_path, 10, when) for n, when in enumerate(used)]
        assert [int(chunk.mark.name) for chunk in surplus(chunks, budget)] == gone


def add_tile(plane: Plane, digest: bytes) -> tuple[Plane, Tile, bytes]:
    return plane, TILE, digest


def test_what_is_kept_is_told_plane_by_plane(
    folder: Path, open_cache: Open, embedding: Embedding, chunks: dict[str, Path]
) -> None:
    open_cache().put(Plane((2, 0), (0, 39, 0)), Tile(0, 0, 0, 50, 4), DIGEST, embedding)
    cache = open_cache()
    assert cache.kept((1, 2)).tolist() == [[[False]], [[False]], [[True]], [[False]]]
    assert np.flatnonzero(cache.kept((2, 0))).tolist() == [39]
    chunks["digests"].unlink()
    assert not cache.kept((1, 2)).any()
    assert not EmbeddingCache(Planes(STACK), cache._predictor, None).kept((1, 2)).any()


def test_tiles_of_a_large_plane_do_not_mix(nano_predictor: Predictor, folder: Path) -> None:
    planes = Planes(np.zeros((2, 1100, 1400), np.uint8))

    def open_() -> EmbeddingCache:
        return EmbeddingCache(planes, nano_predictor, folder)

    tiles = [
        Tiling((1100, 1400), 512).central(level, at)
        for level, at in ((0, (0, 0)), (0, (800, 900)), (1, (0, 0)))
    ]
    for number, tile in enumerate(tiles):
        image = seeded_image(tile.height, tile.width, seed=number)
        open_().put(Plane((1, 2), (1, 0, 0)), tile, bytes([number]) * 32, nano_predictor.encode(image))
    for number, tile in enumerate(tiles):
        found = open_().get(Plane((1, 2), (1, 0, 0)), tile, bytes([number]) * 32)
        assert found is not None and found.geometry.original == (tile.height, tile.width)
        assert open_().get(Plane((1, 2), (0, 0, 0)), tile, bytes([number]) * 32) is None


def test_chunks_and_marks_of_two_processes_that_mix_are_not_used(
    open_cache: Open, embedding: Embedding, chunks: dict[str, Path]
) -> None:
    """Both encoded the plane, one of them after an edit; the chunk is of the one, the mark of the other."""
    mark = chunks["digests"].read_bytes()
    edited = dataclasses.replace(embedding, features=embedding.features + 1)
    open_cache().put(PLANE, TILE, OTHER_DIGEST, edited)
    chunks["digests"].write_bytes(mark)
    assert open_cache().get(PLANE, TILE, DIGEST) is None
    assert open_cache().get(PLANE, TILE, OTHER_DIGEST) is None


def test_a_full_disk_leaves_the_memory(open_cache: Open, embedding: Embedding) -> None:
    """A file may not grow here: the system answers as it does on a full disk, with an error when writing."""
    cache = open_cache()
    with small_files():
        cache.put(PLANE, TILE, DIGEST, embedding)
    assert cache.problem is not None and cache.problem.startswith("Embeddings are kept in memory only:")
    assert cache.get(PLANE, TILE, DIGEST) is embedding
    assert open_cache().get(PLANE, TILE, DIGEST) is None


@contextmanager
def small_files() -> Iterator[None]:
    """Let no file become longer than 100 kB."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


_END_WHILE_PLANES_ARE_ENCODED = """
import sys
import threading
import numpy as np
from pathlib import Path
from napari_sam.encoding import Embedder
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.prefetching import Prefetcher
from napari_sam.storage.embeddings import EmbeddingCache
from seeded import seeded_predictor, tiny_config

predictor = seeded_predictor(tiny_config())
planes = Planes(np.arange(4000 * 40 * 50, dtype=np.uint32).reshape(4000, 40, 50), "zyx")
made = predictor.encode(planes.image(Plane((1, 2), (0, 0, 0))))
predictor.encode = lambda image, progress: made
cache = EmbeddingCache(planes, predictor, Path(sys.argv[1]))
enough = threading.Event()

def tell(report):
    assert cache.problem is None, cache.problem
    print(report.plane.position[0], flush=True)
    if report.done == 30:
        enough.set()

prefetcher = Prefetcher(Embedder(planes, predictor, cache), planes.shape, tell)
prefetcher.follow(Plane((1, 2), (0, 0, 0)))
prefetcher.encode_all()
enough.wait()
"""


def test_python_may_end_while_planes_are_encoded(tmp_path: Path) -> None:
    """As when a console or a notebook's kernel is left with a session open: no finished plane is lost."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    command = [sys.executable, "-c", _END_WHILE_PLANES_ARE_ENCODED, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    told = set(done.stdout.split())
    assert len(told) >= 30
    assert told <= {mark.parent.name for mark in tmp_path.glob("*/digests/c/*/0")}


# Makes a process for each line that it reads, which encodes from that plane on until it is killed. Encoding
# itself is left out, so that the kills hit the writing.
_ENCODE_UNTIL_KILLED = """
import os
import sys
from pathlib import Path
import numpy as np
import torch
torch.set_num_threads(1)
from napari_sam.encoding import Embedder
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.storage.embeddings import EmbeddingCache
from seeded import seeded_predictor, tiny_config

predictor = seeded_predictor(tiny_config())
planes = Planes(np.load(sys.argv[1]), "zyx")
made = predictor.encode(planes.image(Plane((1, 2), (0, 0, 0))))
predictor.encode = lambda image, progress: made


def work(first):
    cache = EmbeddingCache(planes, predictor, Path(sys.argv[2]))
    embedder = Embedder(planes, predictor, cache)
    for number in range(first, planes.shape[0]):
        embedder.prepare(Plane((1, 2), (number, 0, 0)))
        assert cache.problem is None, cache.problem
        os.write(1, f"{number}\\n".encode())


for line in sys.stdin:
    if (child := os.fork()) == 0:
        work(int(line))
        os._exit(0)
    os.write(1, f"pid {child}\\n".encode())
    os.waitpid(child, 0)
    os.write(1, b"end\\n")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_kill_at_any_moment_loses_no_finished_plane_and_leaves_no_torn_one(
    tiny_predictor: Predictor, tmp_path: Path
) -> None:
    """Fifty processes, each killed at a random moment of its writing, go on where the one before was."""
    stack = np.random.default_rng(0).integers(0, 256, (20_000, 4, 5), dtype=np.uint8)
    np.save(tmp_path / "stack.npy", stack)
    (tmp_path / "encode.py").write_text(_ENCODE_UNTIL_KILLED)
    planes, folder = Planes(stack, "zyx"), tmp_path / "cache"
    made = tiny_predictor.encode(planes.image(Plane((1, 2), (0, 0, 0)))).rounded()
    tile = Tile(0, 0, 0, 4, 5)
    random = np.random.default_rng(0)
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    helper = subprocess.Popen(
        [sys.executable, str(tmp_path / "encode.py"), str(tmp_path / "stack.npy"), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
    )
    assert helper.stdin is not None and helper.stdout is not None
    done = torn = 0
    for _ in range(50):
        helper.stdin.write(f"{done}\n")
        helper.stdin.flush()
        lines = iter(helper.stdout.readline, "end\n")
        pid = int(next(line for line in lines if line.startswith("pid")).split()[1])
        time.sleep(random.uniform(0.02, 0.15))
        os.kill(pid, signal.SIGKILL)
        first, done = done, max([done, *(int(line) + 1 for line in lines if line.strip().isdigit())])
        cache = EmbeddingCache(planes, tiny_predictor, folder)
        for number in range(first, done + 2):
            plane = Plane((1, 2), (number, 0, 0))
            found = cache.get(plane, tile, planes.digest(planes.read(plane)))
            assert found is not None or number >= done
            if found is not None:
                assert torch.equal(found.features, made.features)
        torn += any(folder.glob(f"*/features/c/{done}/**/*"))
    helper.communicate()
    assert done > 50
    assert torn > 0  # some were killed between the first byte of a chunk and its mark


def test_features_of_another_size_are_a_miss_before_they_are_read(tmp_path: Path) -> None:
    """Metadata may say that a chunk is larger than any memory."""
    marks = np.ones((4, 32 + 4 + 2 * 8 * 4), np.uint8)
    group = zarr.create_group(tmp_path / "store.zarr", zarr_format=3)
    group.create_array("features", shape=(4, 10**7, 10**7, 9), chunks=(1, 1, 1, 1), dtype=np.int16)
    group.create_array("digests", data=marks, chunks=(1, marks.shape[1]))
    assert EmbeddingStore(tmp_path / "store.zarr", 4, (8, 4, 4)).read(0, b"\1" * 32) is None
