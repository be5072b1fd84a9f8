"""A folder of embeddings that stays within its budget: what was not used for longest goes."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# After an eviction so much of the budget is free, so that the next one is not due at once.
_SLACK = 0.1


@dataclass(frozen=True)
class KeptChunk:
    """One embedding on disk: its files, its size, and when it was last used (seconds since the epoch)."""

    mark: Path
    features: Path
    nbytes: int
    used: float


def surplus(chunks: Iterable[KeptChunk], budget: int) -> list[KeptChunk]:
    """Choose what has to go so that ``chunks`` fit into ``budget`` bytes: nothing if they do already."""
    oldest_first = sorted(chunks, key=lambda chunk: chunk.used)
    total = sum(chunk.nbytes for chunk in oldest_first)
    if total <= budget:
        return []
    gone = []
    for chunk in oldest_first:
        if total <= budget * (1 - _SLACK):
            break
        gone.append(chunk)
        total -= chunk.nbytes
    return gone


def kept_chunks(folder: Path) -> Iterator[KeptChunk]:
    """List the embeddings in all stores of ``folder``."""
    for features in folder.glob("*.zarr/features/c/*"):
        mark = features.parents[2] / "digests" / "c" / features.name / "0"
        with suppress(OSError):  # another process may evict as well
            size = sum(file.stat().st_size for file in features.rglob("*") if file.is_file())
            used = (mark if mark.exists() else features).stat().st_mtime
            yield KeptChunk(mark, features, size, used)


def make_room(folder: Path, budget: int) -> tuple[int, int]:
    """Delete the least recently used embeddings of all images until ``folder`` is within ``budget`` bytes.

    The mark goes before the features, so that at no moment it stands for what is not there.

    Returns
    -------
    tuple of int
        The bytes that are left, and how many embeddings were deleted.
    """
    chunks = list(kept_chunks(folder))
    gone = surplus(chunks, budget)
    for chunk in gone:
        with suppress(OSError):
            chunk.mark.unlink(missing_ok=True)
        shutil.rmtree(chunk.features, ignore_errors=True)
        with suppress(OSError):
            chunk.mark.parent.rmdir()
    return sum(chunk.nbytes for chunk in chunks) - sum(chunk.nbytes for chunk in gone), len(gone)
