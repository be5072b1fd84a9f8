"""One zarr store of embeddings: a chunk for each, and a mark that says when it is whole, and of what."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from napari_sam.inference.fixed_point import FixedPoint
from napari_sam.storage.errors import UNREADABLE

_DIGEST_BYTES = 32
_CHECKSUM_BYTES = 4  # of a mark, and at the end of a chunk's file
_HEADER_BYTES = 16  # at the beginning of a chunk's file
# For so long a store that cannot be read may be one that another process has just begun.
_MAKING_S = 0.2
# What is not mended by trying again.
_NOT_WRITABLE = {
    *(errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.EIO),
    *(errno.ENOSPC, errno.ENOTDIR, errno.EPERM, errno.EROFS),
}
_log = logging.getLogger(__name__)

_Arrays = tuple["zarr.Array[Any]", "zarr.Array[Any]"]


class EmbeddingStore:
    """Embeddings on disk, by number, in 16 bits a value; made when the first is written.

    A chunk holds the steps of a `FixedPoint`. Its mark is written after it, and holds the digest of the
    pixels that the embedding was computed from, a checksum, and what a step is worth in each channel. Without
    its mark a chunk counts as not there, with another one as of other pixels. So what was interrupted, torn,
    edited or mixed by two processes is never used.

    Parameters
    ----------
    path
        Folder of the store.
    count
        How many embeddings it can hold.
    shape
        That of each embedding's features.
    """

    def __init__(self, path: Path, count: int, shape: tuple[int, ...]) -> None:
        self._path = path
        self._count = count
        self._shape = shape
        self._opened: _Arrays | None = None

    def read(self, number: int, digest: bytes) -> FixedPoint | None:
        """Read an embedding if its mark says that it is whole and of the pixels with this digest."""
        try:
            features, marks = self._arrays()
            mark = np.asarray(marks[number]).tobytes()
            if mark[:_DIGEST_BYTES] != digest or len(mark) != _mark_bytes(self._shape):
                return None
            if features.shape[1:] != self._shape:  # before they are read: damaged metadata may say any size
                return None
            steps = np.asarray(features[number])
        except FileNotFoundError:
            return None
        except UNREADABLE as error:
            # A chunk that is torn or corrupt is as good as none: the plane is encoded again.
            _log.info("Embedding %d in %s cannot be read (%s); it is made anew.", number, self._path, error)
            return None
        scales = np.frombuffer(mark, "<f4", offset=_DIGEST_BYTES + _CHECKSUM_BYTES).reshape(2, -1)
        if mark != _mark(digest, steps, scales):
            return None
        self.touch(number)
        return FixedPoint(torch.from_numpy(steps), *torch.from_numpy(scales.astype(np.float32)))

    def write(self, number: int, digest: bytes, features: FixedPoint) -> None:
        """Write an embedding; one of `UNREADABLE` is raised where that cannot be done, and others stay."""
        try:
            _write(self._arrays(create=True), number, digest, features)
        except UNREADABLE as error:
            self._opened = None
            if getattr(error, "errno", None) in _NOT_WRITABLE:
                raise
            # Another process may be making the store at this moment; then it is whole a moment later.
            time.sleep(_MAKING_S)
            self._drop_damaged_metadata()
            try:
                _write(self._arrays(create=True), number, digest, features)
            except UNREADABLE:
                self._opened = None
                raise

    def holds(self, number: int, digest: bytes) -> bool:
        """Whether there is an embedding of the pixels with this digest, going by its mark alone."""
        with suppress(OSError):
            return self._mark_file(number).read_bytes()[:_DIGEST_BYTES] == digest
        return False

    def has(self, number: int) -> bool:
        """Whether there is an embedding, of whatever pixels."""
        return self._mark_file(number).exists()

    def touch(self, number: int) -> None:
        """Note that an embedding is of use now: what was not used for longest goes first."""
        with suppress(OSError):  # not there, or on a read-only disk
            os.utime(self._mark_file(number))

    def numbers(self) -> list[int]:
        """List the numbers of all embeddings."""
        folder = self._path / "digests" / "c"
        with suppress(OSError):
            # A process that was killed may have left the folder without the mark.
            return [
                int(entry.name)
                for entry in os.scandir(folder)
                if entry.name.isdigit() and (folder / entry.name / "0").exists()
            ]
        return []

    def _mark_file(self, number: int) -> Path:
        """Give the file in which zarr keeps a mark."""
        return self._path / "digests" / "c" / str(number) / "0"

    def _arrays(self, create: bool = False) -> _Arrays:
        """Open, or make, the arrays of features and of marks."""
        if self._opened is not None and (not create or (self._path / "zarr.json").exists()):
            return self._opened
        if create:
            opened = self._make(self._path)
        else:
            group = zarr.open_group(self._path, mode="r+")
            opened = _array(group, "features"), _array(group, "digests")
        self._opened = opened
        return opened

    def _make(self, place: Path | MemoryStore) -> _Arrays:
        """Open the arrays for writing, and make what is missing of them."""
        group = zarr.open_group(place, mode="a", zarr_format=3)
        features = group.require_array(
            "features",
            shape=(self._count, *self._shape),
            chunks=(1, *self._shape),
            dtype=np.int16,
            # About a quarter less, in two milliseconds; the checksum is that of what is decompressed.
            compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), Crc32cCodec()],
        )
        marks = group.require_array(
            "digests",
            shape=(self._count, _mark_bytes(self._shape)),
            chunks=(1, _mark_bytes(self._shape)),
            dtype=np.uint8,
            compressors=None,
        )
        return features, marks

    def _drop_damaged_metadata(self) -> None:
        """Delete the metadata that are not as this module writes them, for `_make` to make anew.

        The embeddings stay, whatever made the metadata unreadable: a mark tells if one is whole.
        """
        wanted: dict[str, Buffer] = {}
        self._make(MemoryStore(wanted))
        for name, content in wanted.items():
            file = self._path / name
            with suppress(FileNotFoundError):
                if not _same_json(file.read_bytes(), content.to_bytes()):
                    _log.warning("The metadata in %s are damaged and are written anew.", file)
                    file.unlink()


def bytes_on_disk(shape: tuple[int, ...]) -> int:
    """Give the largest size of an embedding's file, whose features have this shape."""
    return int(np.prod(shape)) * np.dtype(np.int16).itemsize + _HEADER_BYTES + _CHECKSUM_BYTES


def _write(arrays: _Arrays, number: int, digest: bytes, features: FixedPoint) -> None:
    """Write a chunk, and its mark after it."""
    chunks, marks = arrays
    steps, scales = features.steps.numpy(), torch.stack([features.sizes, features.middles]).numpy()
    chunks[number] = steps
    marks[number] = np.frombuffer(_mark(digest, steps, scales), np.uint8)


def _mark_bytes(shape: tuple[int, ...]) -> int:
    """Give the size of the mark of an embedding whose features have this shape."""
    return _DIGEST_BYTES + _CHECKSUM_BYTES + 2 * shape[0] * np.dtype(np.float32).itemsize


def _mark(digest: bytes, steps: NDArray[np.int16], scales: NDArray[np.float32]) -> bytes:
    """Give the mark of a whole chunk: from which pixels it is, a checksum, and the sizes and middles."""
    worth = np.ascontiguousarray(scales, "<f4").tobytes()
    checksum = zlib.crc32(np.ascontiguousarray(steps, "<i2").data, zlib.crc32(worth))
    return digest + checksum.to_bytes(_CHECKSUM_BYTES, "little") + worth


def _same_json(one: bytes, other: bytes) -> bool:
    """Whether both are JSON and say the same."""
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    member = group[name]
    if not isinstance(member, zarr.Array):
        raise ValueError(f"{group.store_path}/{name} is not an array.")
    return member
