"""A plane is encoded once, and nothing stale or damaged is ever taken for its embedding."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_sam.inference.predictor import Embedding, Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.model.sam import CONFIGS
from napari_sam.planes import Plane, Planes
from napari_sam.storage.embeddings import EmbeddingCache
from seeded import seeded_image, seeded_predictor

STACK = np.stack([seeded_image(40, 50, seed=z)[..., 0] for z in range(4)])
PLANE = Plane((1, 2), (2, 0, 0))
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
    open_cache().put(PLANE, DIGEST, embedding)
    (store,) = folder.iterdir()
    return {name: store / name / "c" / "2" / rest for name, rest in (("features", "0/0/0"), ("digests", "0"))}


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


class TestMemory:
    def test_keeps_the_very_embedding(self, nano_predictor: Predictor, embedding: Embedding) -> None:
        cache = EmbeddingCache(Planes(STACK), nano_predictor, folder=None)
        assert cache.get(PLANE, DIGEST) is None
        cache.put(PLANE, DIGEST, embedding)
        assert cache.get(PLANE, DIGEST) is embedding
        assert cache.get(PLANE, OTHER_DIGEST) is None

    def test_drops_the_least_recently_used(self, nano_predictor: Predictor, embedding: Embedding) -> None:
        cache = EmbeddingCache(Planes(STACK), nano_predictor, None, memory_bytes=2 * embedding.nbytes)
        first, second, third = (bytes([z]) * 32 for z in range(3))
        cache.put(PLANE, first, embedding)
        cache.put(PLANE, second, embedding)
        cache.get(PLANE, first)
        cache.put(PLANE, third, embedding)
        kept = [cache.get(PLANE, digest) is not None for digest in (first, second, third)]
        assert kept == [True, False, True]

    def test_keeps_the_latest_however_large(self, nano_predictor: Predictor, embedding: Embedding) -> None:
        cache = EmbeddingCache(Planes(STACK), nano_predictor, None, memory_bytes=1)
        for digest in (OTHER_DIGEST, DIGEST):
            cache.put(PLANE, digest, embedding)
        assert cache.get(PLANE, DIGEST) is embedding
        assert cache.get(PLANE, OTHER_DIGEST) is None


class TestDisk:
    def test_is_found_after_reopening(self, open_cache: Open, embedding: Embedding) -> None:
        open_cache().put(PLANE, DIGEST, embedding)
        again = open_cache().get(PLANE, DIGEST)
        assert again is not None
        assert (again.geometry, again.model) == (embedding.geometry, embedding.model)
        torch.testing.assert_close(again.features, embedding.features, rtol=1e-3, atol=1e-3)

    def test_half_precision_gives_the_same_masks(
        self, nano_predictor: Predictor, open_cache: Open, embedding: Embedding
    ) -> None:
        open_cache().put(PLANE, DIGEST, embedding)
        again = open_cache().get(PLANE, DIGEST)
        assert again is not None
        for prompt in (Prompt([(20, 25)]), Prompt(box=(5, 6, 30, 40))):
            full, half = (nano_predictor.predict(x, prompt) for x in (embedding, again))
            assert full.masks.any((1, 2)).all()
            assert min(map(iou, full.masks, half.masks)) >= 0.99
            np.testing.assert_allclose(full.scores, half.scores, atol=1e-2)

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
        cache.put(PLANE, DIGEST, embedding)
        assert open_cache().get(plane, DIGEST) is None
        cache.put(plane, OTHER_DIGEST, embedding)
        found = open_cache().get(plane, OTHER_DIGEST)
        assert found is not None
        assert found.geometry.original == plane.shape(STACK.shape)
        assert open_cache().get(PLANE, DIGEST) is not None

    def test_other_pixels_are_a_miss(self, open_cache: Open, embedding: Embedding) -> None:
        open_cache().put(PLANE, DIGEST, embedding)
        assert open_cache().get(PLANE, OTHER_DIGEST) is None

    def test_new_pixels_replace_the_old(self, open_cache: Open, embedding: Embedding) -> None:
        open_cache().put(PLANE, OTHER_DIGEST, embedding)
        open_cache().put(PLANE, DIGEST, embedding)
        assert open_cache().get(PLANE, OTHER_DIGEST) is None
        assert open_cache().get(PLANE, DIGEST) is not None

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(lambda: {"predictor": seeded_predictor(CONFIGS["nano"], seed=1)}, id="weights"),
            pytest.param(lambda: {"image": STACK[:, :39]}, id="shape"),
            pytest.param(lambda: {"name": "other"}, id="name"),
        ],
    )
    def test_what_differs_has_a_store_of_its_own(
        self, folder: Path, open_cache: Open, embedding: Embedding, other: Callable[[], dict[str, object]]
    ) -> None:
        open_cache().put(PLANE, DIGEST, embedding)
        cache = open_cache(**other())
        assert cache.get(PLANE, DIGEST) is None
        cache.put(PLANE, DIGEST, embedding)
        assert len(list(folder.iterdir())) == 2

    def test_holds_numbers_and_json_only(self, folder: Path, chunks: dict[str, Path]) -> None:
        files = {path for path in folder.rglob("*") if path.is_file()}
        for path in files - set(chunks.values()):
            assert path.name == "zarr.json"
            json.loads(path.read_text())
        assert chunks["features"].stat().st_size == 2 * 96 * 64 * 64 + 4  # with its checksum
        assert chunks["digests"].read_bytes() == DIGEST


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
    assert cache.get(PLANE, DIGEST) is None
    cache.put(PLANE, DIGEST, embedding)
    assert cache.problem is None
    assert chunks[chunk].read_bytes() == whole
    assert open_cache().get(PLANE, DIGEST) is not None


@pytest.mark.parametrize("where", ["zarr.json", "features/zarr.json", "digests/zarr.json"])
@pytest.mark.parametrize("content", [None, "", "garbage", "[]"])
def test_damaged_metadata_are_a_miss_and_no_error(
    folder: Path,
    open_cache: Open,
    embedding: Embedding,
    chunks: dict[str, Path],
    where: str,
    content: str | None,
) -> None:
    (store,) = folder.iterdir()
    if content is None:
        (store / where).unlink()
    else:
        (store / where).write_text(content)
    cache = open_cache()
    assert cache.get(PLANE, DIGEST) is None
    cache.put(PLANE, DIGEST, embedding)
    assert cache.get(PLANE, DIGEST) is embedding
    assert (open_cache().get(PLANE, DIGEST) is None) == (cache.problem is not None)


def test_a_disk_that_cannot_be_written_leaves_the_memory(
    nano_predictor: Predictor, tmp_path: Path, embedding: Embedding
) -> None:
    (tmp_path / "file").write_text("kept")
    cache = EmbeddingCache(Planes(STACK), nano_predictor, tmp_path / "file" / "embeddings")
    assert cache.get(PLANE, DIGEST) is None
    assert cache.problem is None
    cache.put(PLANE, DIGEST, embedding)
    assert cache.problem is not None
    assert cache.problem.startswith("Embeddings are kept in memory only:")
    assert str(tmp_path / "file" / "embeddings") in cache.problem
    assert cache.get(PLANE, DIGEST) is embedding
    cache.put(Plane((1, 2), (0, 0, 0)), OTHER_DIGEST, embedding)
    assert cache.get(Plane((1, 2), (0, 0, 0)), OTHER_DIGEST) is embedding
