"""Whole volumes of labels: which parts of a zarr array were ever written, and which objects are in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from napari_sam.plane import Plane, Position
from napari_sam.progress import Progress, ignore_progress, reporting
from napari_sam.region import Region
from napari_sam.runs import MaskRuns, label_boxes
from napari_sam.storage.errors import LabelsError
from napari_sam.storage.origins import Making, Origin


def written_regions(array: zarr.Array[Any]) -> list[Region]:
    """Give the index of every chunk (or shard of chunks) that exists in the store."""
    sides = array.shards or array.chunks
    return [chunk_region(number, sides, array.shape) for number in sorted(written_chunks(array))]


def written_chunks(array: zarr.Array[Any]) -> Iterator[tuple[int, ...]]:
    """Give the number of every chunk (or shard of chunks) that exists in the store, as they are found."""
    folder = array_folder(array)
    sides = array.shards or array.chunks
    counts = [-(-n // side) for n, side in zip(array.shape, sides, strict=True)]
    if folder is None:
        yield from product(*map(range, counts))
        return
    for file in folder.rglob("*"):
        # c/0/1 or c.0.1 in zarr v3, 0/1 or 0.1 in v2.
        parts = re.split("[/.]", file.relative_to(folder).as_posix().removeprefix("c"))
        parts = parts[len(parts) - array.ndim :]
        if file.is_file() and len(parts) == array.ndim and all(x.isdigit() for x in parts):
            number = tuple(map(int, parts))
            if all(x < n for x, n in zip(number, counts, strict=True)):
                yield number


def chunks_under(array: zarr.Array[Any], regions: Iterable[Region]) -> Iterator[Region]:
    """Give every chunk (or shard of chunks) under some regions, each once."""
    sides = array.shards or array.chunks
    for number in sorted(numbers_under(array, regions)):
        yield chunk_region(number, sides, array.shape)


def numbers_under(array: zarr.Array[Any], regions: Iterable[Region]) -> set[tuple[int, ...]]:
    """Give the number of every chunk (or shard of chunks) under some regions."""
    sides = array.shards or array.chunks
    return {
        number
        for region in regions
        for number in product(
            *(range(x.start // n, (x.stop - 1) // n + 1) for x, n in zip(region, sides, strict=True))
        )
    }


def chunk_region(number: Sequence[int], sides: Sequence[int], shape: Sequence[int]) -> Region:
    """Give what the chunk with this number along each axis covers of an array."""
    return tuple(
        slice(i * side, min((i + 1) * side, n)) for i, side, n in zip(number, sides, shape, strict=True)
    )


def array_folder(array: zarr.Array[Any]) -> Path | None:
    """Give the folder of an array; None if it is kept elsewhere than in files."""
    root = getattr(array.store_path.store, "root", None)
    return None if root is None else Path(root) / array.store_path.path


def chunk_file(array: zarr.Array[Any], chunk: Region) -> Path | None:
    """Give the file in which a chunk (or shard of chunks) is kept, which need not exist; None as above."""
    if (folder := array_folder(array)) is None:
        return None
    sides = array.shards or array.chunks
    number = tuple(x.start // n for x, n in zip(chunk, sides, strict=True))
    return folder / array.metadata.encode_chunk_key(number)


def remainders(array: zarr.Array[Any]) -> Iterator[Path]:
    """Give the files that zarr had begun to write when its process was killed."""
    if (folder := array_folder(array)) is not None:
        yield from (x for x in folder.rglob("*.partial") if x.is_file())


def objects_in(
    array: Any, regions: Sequence[Region] | None = None, progress: Progress = ignore_progress
) -> Iterator[tuple[Position, Origin]]:
    """Go through the objects of a volume, plane by plane of its last two axes, one of them in memory.

    Parameters
    ----------
    array
        Anything with a shape that numpy can index.
    regions
        The only parts that hold anything.
    progress
        Told the share of the planes that were looked at.

    Yields
    ------
    tuple
        The plane's position, and the object's mask on it as an imported `Origin`.
    """
    for position, (rows, columns) in reporting(_windows(array.shape, regions), progress, 0.0, 1.0):
        labels = np.asarray(array[(*position, rows, columns)])
        if (highest := int(labels.max(initial=0))) > np.iinfo(np.int64).max:
            raise LabelsError(f"The label {highest} is too large; labels go up to {np.iinfo(np.int64).max}.")
        plane = Plane.own(position)
        for label, (inner_rows, inner_columns) in label_boxes(labels):
            corner = (rows.start + inner_rows.start, columns.start + inner_columns.start)
            mask = MaskRuns.of(labels[inner_rows, inner_columns] == label, corner)
            assert mask is not None  # the box is that of its pixels
            yield position, Origin(label, plane, mask, Making("import"))


def _windows(
    shape: Sequence[int], regions: Sequence[Region] | None
) -> list[tuple[Position, tuple[slice, slice]]]:
    """Give each plane to be looked at, in order, and the part of it around the regions."""
    if regions is None:
        return [
            (position, (slice(0, shape[-2]), slice(0, shape[-1]))) for position in np.ndindex(*shape[:-2])
        ]
    parts: dict[Position, list[Region]] = {}
    for region in regions:
        for offset in np.ndindex(*(x.stop - x.start for x in region[:-2])):
            position = tuple(int(x.start + i) for x, i in zip(region[:-2], offset, strict=True))
            parts.setdefault(position, []).append(region[-2:])
    return [(position, _around(inside)) for position, inside in sorted(parts.items(), key=lambda x: x[0])]


def _around(parts: Sequence[Region]) -> tuple[slice, slice]:
    """Give the rows and columns that hold some parts of a plane."""
    rows, columns = (
        slice(min(x[axis].start for x in parts), max(x[axis].stop for x in parts)) for axis in (0, 1)
    )
    return rows, columns
