"""Embeddings that were computed once: the latest in memory, all of them in a zarr store on disk."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray

from napari_sam.inference.fixed_point import FixedPoint
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.results import Embedding
from napari_sam.inference.tiling import Tile, Tiling
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.storage.embedding_store import EmbeddingStore, bytes_on_disk
from napari_sam.storage.errors import UNREADABLE, reason_of
from napari_sam.storage.eviction import make_room
from napari_sam.storage.known_images import KnownImage, find_image, fingerprint_of, keep_image

# Part of every store's name: raise it when the way from a plane to the model's input, or the store, changes.
_PREPROCESSING = 5
# After so long a disk that could not be written is tried again.
_AGAIN_S = 60.0
# What is written before the folder is looked through for the first time.
_UNSEEN = 64 * 2**20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Budget:
    """How much the embeddings may take.

    Attributes
    ----------
    memory_bytes
        In memory, for one image; the least recently used is dropped first.
    disk_bytes
        In the folder, for all its images; the least recently used of all is deleted first.
    """

    memory_bytes: int = 2**30
    disk_bytes: int = 20 * 2**30


DEFAULT_BUDGET = Budget()


def default_folder() -> Path:
    """The folder of the user's cache that holds the embeddings."""
    return platformdirs.user_cache_path("napari-sam") / "embeddings"


def folder_beside(image_path: Path) -> Path:
    """The folder beside an image's file that holds its embeddings, to be moved and shared with it."""
    return image_path.parent / f"{image_path.name}.embeddings"


class EmbeddingCache:
    """The embeddings of one image by one model; safe to use from several threads and processes.

    On disk they are one `EmbeddingStore` per pair of displayed axes, with one embedding per tile (most planes
    are one tile).

    Beside the stores it is written down how an image is known again, and with which contrast it was encoded:
    see `KnownImage`. The planes use that contrast again.

    Parameters
    ----------
    planes, predictor
        The image and the model.
    folder
        Where the stores of all images lie; None keeps embeddings in memory only.
    budget
        How much may stay in memory and on disk.

    Attributes
    ----------
    problem
        Why embeddings are kept in memory only at the moment, although there is a folder; or None.
    dropped
        Grows whenever embeddings may have gone that were at hand before.
    """

    def __init__(
        self,
        planes: Planes,
        predictor: Predictor,
        folder: Path | None,
        budget: Budget = DEFAULT_BUDGET,
    ) -> None:
        self._planes = planes
        self._predictor = predictor
        self._folder = folder
        self._memory_bytes = budget.memory_bytes
        self._disk_bytes = budget.disk_bytes
        # What may still be written before the folder is looked through again. Of thousands of embeddings that
        # takes a second, for which the first mask should not wait.
        self._room = min(_UNSEEN, budget.disk_bytes // 16)
        self._memory: OrderedDict[bytes, Embedding] = OrderedDict()
        self._memory_used = 0
        self._stores: dict[tuple[int, int], EmbeddingStore] = {}
        self._image: KnownImage | None = None
        self._is_image_kept = False
        if folder is not None:
            planes.recall = lambda sampled: self._known_image().recalled(sampled)
        self._lock = threading.Lock()
        self._image_lock = threading.Lock()
        self._disk_lock = threading.Lock()
        self._again = 0.0
        # Whether something in memory may be gone from the disk.
        self._deletes = False
        self.problem: str | None = None
        self.dropped = 0

    def get(self, plane: Plane, tile: Tile, digest: bytes) -> Embedding | None:
        """Give the embedding of the tile if its pixels still have ``digest``."""
        with self._lock:
            if (kept := self._memory.get(digest)) is not None:
                self._memory.move_to_end(digest)
                return kept
        store = self._store(plane.displayed)
        stored = None if store is None else store.read(self._number(plane, tile), digest)
        if stored is None:
            return None
        embedding = self._predictor.embedding_from(stored.features().numpy(), (tile.height, tile.width))
        self._remember(digest, embedding)
        return embedding

    def put(self, plane: Plane, tile: Tile, digest: bytes, embedding: Embedding) -> None:
        """Keep an embedding.

        A disk that is full, read-only or out of reach costs nothing but the cache on disk: `problem` then
        says why, and embeddings stay in memory. After a minute the disk is tried again.
        """
        self._remember(digest, embedding)
        store = self._store(plane.displayed)
        if store is None or (self.problem is not None and time.monotonic() < self._again):
            return
        stored = FixedPoint.of(embedding.features[0].cpu())
        with self._disk_lock:
            try:
                self._keep_image()
                self._make_room(bytes_on_disk(self._predictor.embedding_shape))
                store.write(self._number(plane, tile), digest, stored)
                self.problem = None
            except UNREADABLE as error:
                problem = (
                    f"Embeddings are kept in memory only: {self._folder} cannot be written "
                    f"({reason_of(error)})."
                )
                if problem != self.problem:
                    _log.warning(problem)
                self.problem, self._again = problem, time.monotonic() + _AGAIN_S

    @property
    def folder(self) -> Path | None:
        """Where the stores of all images lie; None in memory only."""
        return self._folder

    @property
    def is_on_disk(self) -> bool:
        """Whether what is put here outlives the memory."""
        return self._folder is not None and self.problem is None

    def remembers(self, digest: bytes) -> bool:
        """Whether the embedding of these pixels is in memory."""
        with self._lock:
            return digest in self._memory

    def holds(self, plane: Plane, tile: Tile, digest: bytes) -> bool:
        """Whether the embedding of the tile with these pixels is in memory or on disk."""
        store = self._store(plane.displayed)
        return self.remembers(digest) or (
            store is not None and store.holds(self._number(plane, tile), digest)
        )

    def touch(self, plane: Plane, tile: Tile) -> None:
        """Note that the tile's embedding is of use now: of all on disk it goes last."""
        if (store := self._store(plane.displayed)) is not None:
            store.touch(self._number(plane, tile))

    def keeps(self, plane: Plane, tile: Tile) -> bool:
        """Whether the disk holds an embedding of the tile, of whatever pixels."""
        store = self._store(plane.displayed)
        return store is not None and store.has(self._number(plane, tile))

    def room_for(self, planes: int) -> tuple[int, str | None]:
        """Tell how many of so many planes of one tile can be kept at once, and if not all, why.

        On disk, or in memory where nothing is written. What is kept of other images does not count: it was
        used longer ago, and goes first.
        """
        shape = self._predictor.embedding_shape
        if self.is_on_disk:
            where, budget, each = "on disk", self._disk_bytes, bytes_on_disk(shape)
        else:
            where, budget, each = "in memory", self._memory_bytes, int(np.prod(shape)) * 4
        room = max(1, budget // each)
        if planes <= room:
            return planes, None
        return room, (
            f"Embeddings may take {_size(budget)} {where}: room for {room} of {planes} planes, which need "
            f"{_size(each * planes)}. To encode them all, give them more (Cache ..., or in a script "
            "open_session(budget=...)) and start anew."
        )

    def kept(self, displayed: tuple[int, int]) -> NDArray[np.bool_]:
        """Tell of each plane along ``displayed`` whether the disk holds an embedding of it, or of a part.

        The shape is that of the image, 1 along the displayed axes. Whether its pixels are still the same is
        seen only when it is used.
        """
        lengths = self._lengths(displayed)
        found = np.zeros(int(np.prod(lengths)), np.bool_)
        found[np.array(self._marked(displayed), int) // len(self._tiling(displayed))] = True
        return found.reshape(lengths)

    def kept_tiles(self, plane: Plane) -> set[int]:
        """Give the numbers of the plane's tiles of which the disk holds an embedding; see `kept`."""
        tiles = len(self._tiling(plane.displayed))
        first = tiles * int(np.ravel_multi_index(plane.position, self._lengths(plane.displayed)))
        return {number - first for number in self._marked(plane.displayed) if 0 <= number - first < tiles}

    def _marked(self, displayed: tuple[int, int]) -> list[int]:
        """List the numbers of all tiles of which the disk holds an embedding."""
        store = self._store(displayed)
        return [] if store is None else store.numbers()

    def _remember(self, digest: bytes, embedding: Embedding) -> None:
        with self._lock:
            if (old := self._memory.pop(digest, None)) is not None:
                self._memory_used -= old.nbytes
            self._memory[digest] = embedding
            self._memory_used += embedding.nbytes
            while len(self._memory) > 1 and self._memory_used > self._memory_bytes:
                self._memory_used -= self._memory.popitem(last=False)[1].nbytes
                self.dropped += self._deletes or not self.is_on_disk

    def _make_room(self, nbytes: int) -> None:
        """Look through the folder, and delete what was not used for longest, once so much may be too much."""
        assert self._folder is not None
        self._room -= nbytes
        if self._room < 0:
            left, deleted = make_room(self._folder, self._disk_bytes)
            self._room = (self._disk_bytes - left) // 2
            if deleted:
                self._deletes = True
                self.dropped += 1

    def _store(self, displayed: tuple[int, int]) -> EmbeddingStore | None:
        """Give the store of planes along these axes; None in memory only."""
        if self._folder is None:
            return None
        if displayed not in self._stores:
            count = int(np.prod(self._lengths(displayed))) * len(self._tiling(displayed))
            path = self._folder / self._name(displayed)
            self._stores[displayed] = EmbeddingStore(path, count, self._predictor.embedding_shape)
        return self._stores[displayed]

    def _name(self, displayed: tuple[int, int]) -> str:
        """Name the store by its layout and all that an embedding depends on besides the pixels."""
        identity = self._predictor.identity
        model = (identity.weights_hash, identity.precision, _PREPROCESSING)
        parts = (*model, self._known_image().name, displayed, len(self._tiling(displayed)))
        key = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
        return f"{identity.architecture}-{key}.zarr"

    def _known_image(self) -> KnownImage:
        """Know the image again, or for a new one: its pixels are read for that, once."""
        assert self._folder is not None
        with self._image_lock:
            if self._image is None:
                key, fingerprint = self._planes.key(), fingerprint_of(self._planes)
                found = find_image(self._folder, key, fingerprint)
                self._image = found or KnownImage.new(key, fingerprint)
                self._is_image_kept = found is not None and found.fingerprint == fingerprint
                self._image = replace(self._image, fingerprint=fingerprint)
            return self._image

    def _keep_image(self) -> None:
        """Write down how the image is known again, and its contrast, where that is new."""
        assert self._folder is not None
        image = self._known_image()
        # None were needed where they are given, or where pixels are what the model sees.
        contrasts = self._planes.sampled or image.contrasts
        if not self._is_image_kept or contrasts != image.contrasts:
            self._image = replace(image, contrasts=contrasts)
            keep_image(self._folder, self._image)
            self._is_image_kept = True

    def _lengths(self, displayed: tuple[int, int]) -> tuple[int, ...]:
        return tuple(1 if axis in displayed else n for axis, n in enumerate(self._planes.shape))

    def _tiling(self, displayed: tuple[int, int]) -> Tiling:
        """Give the tiles of a plane along these axes."""
        height, width = (self._planes.shape[axis] for axis in displayed)
        return self._predictor.tiling((height, width))

    def _number(self, plane: Plane, tile: Tile) -> int:
        """Number the tile among those of all planes with its displayed axes."""
        number = int(np.ravel_multi_index(plane.position, self._lengths(plane.displayed)))
        tiling = self._tiling(plane.displayed)
        return number * len(tiling) + tiling.number(tile)


def _size(nbytes: int) -> str:
    """Say it in the unit of the settings."""
    return f"{nbytes / 2**30:.3g} GiB"
