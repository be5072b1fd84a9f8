"""Embeddings that were computed once: the latest in memory, all of them in a zarr store on disk."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec

from napari_sam.inference.predictor import Embedding, Predictor
from napari_sam.planes import Plane, Planes

# Part of every store's name: raise it when the way from a plane to the model's input changes.
_PREPROCESSING = 1
_DIGEST_BYTES = 32
# What zarr raises where a store's files are missing, damaged or not as this module writes them.
_DAMAGES = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError)
_log = logging.getLogger(__name__)


def default_folder() -> Path:
    """The folder of the user's cache that holds the embeddings."""
    return platformdirs.user_cache_path("napari-sam") / "embeddings"


class EmbeddingCache:
    """The embeddings of one image by one model; safe to use from several threads.

    On disk they are one zarr array per pair of displayed axes, a chunk per plane, in half precision. Beside
    it stands a digest of the pixels that each plane was computed from, written after the chunk: without it
    the chunk counts as not there, with another one as of other pixels. So an unfinished write or an edited
    plane is never used. A checksum in each chunk tells a damaged one.

    Parameters
    ----------
    planes, predictor
        The image and the model.
    folder
        Where the stores of all images lie; None keeps embeddings in memory only.
    memory_bytes
        How much may stay in memory; the least recently used is dropped first.
    """

    def __init__(
        self, planes: Planes, predictor: Predictor, folder: Path | None, memory_bytes: int = 2**30
    ) -> None:
        self._planes = planes
        self._predictor = predictor
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._memory: OrderedDict[bytes, Embedding] = OrderedDict()
        self._lock = threading.Lock()
        self.problem: str | None = None

    def get(self, plane: Plane, digest: bytes) -> Embedding | None:
        """Give the embedding of the plane if its pixels still have ``digest``."""
        with self._lock:
            if (kept := self._memory.get(digest)) is not None:
                self._memory.move_to_end(digest)
                return kept
        features = self._read(plane, digest)
        if features is None:
            return None
        embedding = self._predictor.embedding_from(features, plane.shape(self._planes.shape))
        self._remember(digest, embedding)
        return embedding

    def put(self, plane: Plane, digest: bytes, embedding: Embedding) -> None:
        """Keep an embedding.

        A disk that is full or read-only costs nothing but the cache on disk: `problem` then says why, and
        embeddings stay in memory from there on.
        """
        self._remember(digest, embedding)
        if self._folder is None or self.problem is not None:
            return
        number = self._number(plane)
        try:
            features, digests = self._arrays(plane.displayed, create=True)
            digests[number] = 0  # until the new chunk is whole, neither it nor the old one is valid
            features[number] = embedding.features[0].cpu().numpy().astype(np.float16)
            digests[number] = np.frombuffer(digest, np.uint8)
        except _DAMAGES as error:
            reason = getattr(error, "strerror", None) or error
            self.problem = f"Embeddings are kept in memory only: {self._folder} cannot be written ({reason})."
            _log.warning(self.problem)

    def _remember(self, digest: bytes, embedding: Embedding) -> None:
        with self._lock:
            self._memory[digest] = embedding
            self._memory.move_to_end(digest)
            while len(self._memory) > 1 and sum(e.nbytes for e in self._memory.values()) > self._memory_bytes:
                self._memory.popitem(last=False)

    def _read(self, plane: Plane, digest: bytes) -> NDArray[np.float16] | None:
        """Read the plane's chunk if its digest says that it is whole and of the same pixels."""
        if self._folder is None:
            return None
        number = self._number(plane)
        try:
            features, digests = self._arrays(plane.displayed, create=False)
            if bytes(np.asarray(digests[number]).tobytes()) != digest:
                return None
            stored = np.asarray(features[number])
        except FileNotFoundError:
            return None
        except _DAMAGES as error:
            # A chunk that is torn or corrupt is as good as none: the plane is encoded again.
            _log.info("The embedding of %s could not be read (%s); it is made anew.", plane, error)
            return None
        # A chunk that is gone reads as NaN.
        whole = stored.shape == self._predictor.embedding_shape and np.isfinite(stored).all()
        return stored if whole else None

    def _arrays(self, displayed: tuple[int, int], create: bool) -> tuple[zarr.Array[Any], zarr.Array[Any]]:
        """Open, or make, the arrays of features and of digests for planes along these axes."""
        assert self._folder is not None
        path = self._folder / self._name(displayed)
        if not create:
            group = zarr.open_group(path, mode="r")
            return _array(group, "features"), _array(group, "digests")
        group = zarr.open_group(path, mode="a", zarr_format=3)
        count = int(np.prod(self._lengths(displayed)))
        shape = self._predictor.embedding_shape
        features = group.require_array(
            "features",
            shape=(count, *shape),
            chunks=(1, *shape),
            dtype=np.float16,
            fill_value=np.nan,
            compressors=Crc32cCodec(),
        )
        digests = group.require_array(
            "digests",
            shape=(count, _DIGEST_BYTES),
            chunks=(1, _DIGEST_BYTES),
            dtype=np.uint8,
            compressors=None,
        )
        return features, digests

    def _name(self, displayed: tuple[int, int]) -> str:
        """Name the store by all that an embedding depends on besides the pixels."""
        identity = self._predictor.identity
        parts = (identity.weights_hash, identity.precision, _PREPROCESSING, self._planes.key(), displayed)
        key = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
        return f"{identity.architecture}-{key}.zarr"

    def _lengths(self, displayed: tuple[int, int]) -> tuple[int, ...]:
        return tuple(1 if axis in displayed else n for axis, n in enumerate(self._planes.shape))

    def _number(self, plane: Plane) -> int:
        """Number the plane among all with its displayed axes."""
        return int(np.ravel_multi_index(plane.position, self._lengths(plane.displayed)))


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    member = group[name]
    if not isinstance(member, zarr.Array):
        raise ValueError(f"{group.store_path}/{name} is not an array.")
    return member
