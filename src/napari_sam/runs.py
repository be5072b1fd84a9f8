"""Masks and labels as run lengths: how many equal pixels follow each other, row by row."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from napari_sam.region import Region, common, relative_to, shape_of

# (row0, column0, row1, column1) in whole pixels, the ends left out.
PixelBox = tuple[int, int, int, int]
_LEVEL = 1
_FEW_LABELS = 2**20


@dataclass(frozen=True)
class MaskRuns:
    """One mask of a plane, cut to its box.

    Attributes
    ----------
    box
        ``(row0, column0, row1, column1)`` in whole pixels, the ends left out.
    area
        Number of pixels that are set.
    runs
        Their run lengths within the box; see `encode_runs`.
    """

    box: PixelBox
    area: int
    runs: bytes

    @classmethod
    def of(cls, mask: NDArray[np.bool_], origin: tuple[int, int] = (0, 0)) -> MaskRuns | None:
        """Encode an (H, W) mask whose first pixel lies at ``origin``; None for an empty one."""
        inner = pixel_box(mask)
        if inner is None:
            return None
        row0, column0, row1, column1 = inner
        inside = mask[row0:row1, column0:column1]
        box = (origin[0] + row0, origin[1] + column0, origin[0] + row1, origin[1] + column1)
        return cls(box, int(np.count_nonzero(inside)), encode_runs(inside))

    def mask(self) -> NDArray[np.bool_]:
        """Decode what lies within the box."""
        row0, column0, row1, column1 = self.box
        return decode_runs(self.runs, (row1 - row0, column1 - column0))

    def on(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Decode as an (H, W) mask of the whole plane."""
        whole = np.zeros(shape, bool)
        whole[self.index] = self.mask()
        return whole

    def within(self, window: Region) -> NDArray[np.bool_]:
        """Decode what lies within a window of the plane, wherever the box is."""
        there = np.zeros(shape_of(window), bool)
        if (both := common(window, self.index)) is not None:
            there[relative_to(window, both)] = self.mask()[relative_to(self.index, both)]
        return there

    @property
    def index(self) -> tuple[slice, slice]:
        """The box as an index into the plane."""
        return slice(self.box[0], self.box[2]), slice(self.box[1], self.box[3])


def pixel_box(mask: NDArray[np.bool_]) -> PixelBox | None:
    """Give the box around the pixels that are set; None if there are none."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def outer_edges(box: PixelBox) -> tuple[float, float, float, float]:
    """Give ``(row0, column0, row1, column1)`` along the outer edges of a box's pixels."""
    row0, column0, row1, column1 = box
    return row0 - 0.5, column0 - 0.5, row1 - 0.5, column1 - 0.5


def label_boxes(labels: NDArray[np.integer[Any]]) -> Iterator[tuple[int, Region]]:
    """Give each label of an array, 0 left out, with the box around its pixels; what is negative is none."""
    if labels.max(initial=0) <= _FEW_LABELS:
        for number, box in enumerate(find_objects(labels), 1):
            if box is not None:
                yield number, box
        return
    # Numbered anew: the time and memory of find_objects grow with the highest label.
    found, numbers = np.unique(labels, return_inverse=True)
    shift = int(found[0] != 0)
    for number, box in enumerate(find_objects(numbers.reshape(labels.shape) + shift), 1):
        if box is not None and found[number - shift] > 0:
            yield int(found[number - shift]), box


def encode_runs(mask: NDArray[np.bool_]) -> bytes:
    """Encode a mask: the lengths of its runs, the first one of background, compressed by zlib.

    These are the counts of COCO's uncompressed run lengths, but row by row.
    """
    flat = mask.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate([[0] if flat.size and flat[0] else [], [0], edges, [flat.size]])
    return zlib.compress(np.diff(bounds).astype("<u4").tobytes(), _LEVEL)


def decode_runs(data: bytes, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Give the mask that `encode_runs` encoded.

    Raises
    ------
    ValueError
        If the runs are not those of a mask of ``shape``.
    """
    counts = run_lengths(data, shape)
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(shape)


def run_lengths(data: bytes, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Give the lengths of the runs that `encode_runs` encoded, the first one of background.

    Raises
    ------
    ValueError
        If they are not those of a mask of ``shape``.
    """
    size = shape[0] * shape[1]
    counts = np.frombuffer(_inflate(data, 4 * (size + 2)), "<u4").astype(np.int64)
    if counts.sum() != size:
        raise ValueError(f"The run lengths are of {counts.sum()} pixels, the mask {shape} has {size}.")
    return counts


def column_runs(runs: MaskRuns, shape: tuple[int, int]) -> list[int]:
    """Give the run lengths of a mask on its whole plane, column by column, the first one of background."""
    columns, rows = np.nonzero(runs.mask().T)
    flat = (columns + runs.box[1]) * shape[0] + rows + runs.box[0]
    breaks = np.flatnonzero(np.diff(flat) > 1)
    starts = flat[np.concatenate([[0], breaks + 1])]
    ends = flat[np.concatenate([breaks, [flat.size - 1]])] + 1
    bounds = np.concatenate([[0], np.stack([starts, ends], axis=1).ravel(), [shape[0] * shape[1]]])
    counts = np.diff(bounds)
    return [int(x) for x in (counts if counts[-1] else counts[:-1])]


def compressed_counts(counts: Sequence[int]) -> str:
    """Give COCO's run lengths as the string that its own programs compress them to.

    From the fourth on, a count is told as its difference to the last but one. Numbers become digits of five
    bits, the lowest first; the last one carries the sign, and a sixth bit tells that another follows. 48 is
    added so that each digit is a printable character. Source: ``rleToString`` in ``common/maskApi.c`` of
    https://github.com/cocodataset/cocoapi.
    """
    characters = []
    for number, count in enumerate(counts):
        left = count - counts[number - 2] if number > 2 else count
        follows = True
        while follows:
            digit, left = left & 31, left >> 5
            follows = left != (-1 if digit & 16 else 0)
            characters.append(chr(48 + digit + (32 if follows else 0)))
    return "".join(characters)


def encode_labels(block: NDArray[np.integer[Any]]) -> bytes:
    """Encode labels of any shape: the length and the label of each run, compressed by zlib."""
    flat = block.ravel()
    starts = (
        np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1]) if flat.size else np.empty(0, int)
    )
    lengths = np.diff(np.append(starts, flat.size))
    return zlib.compress(np.stack([lengths, flat[starts].astype(np.int64)]).astype("<i8").tobytes(), _LEVEL)


def decode_labels(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[np.integer[Any]]:
    """Give the labels that `encode_labels` encoded.

    Raises
    ------
    ValueError
        If the runs are not those of a block of ``shape``.
    """
    size = int(np.prod(shape))
    lengths, labels = np.frombuffer(_inflate(data, 16 * size), "<i8").reshape(2, -1)
    if (lengths < 1).any() or lengths.sum() != size:
        raise ValueError(f"The run lengths are of {lengths.sum()} pixels, the block {shape} has {size}.")
    block: NDArray[np.integer[Any]] = np.repeat(labels, lengths).astype(dtype).reshape(shape)
    return block


def _inflate(data: bytes, most: int) -> bytes:
    """Decompress at most so many bytes: a small file must not become a large one."""
    decoder = zlib.decompressobj()
    try:
        plain = decoder.decompress(data, max(most, 1))
    except zlib.error as error:
        raise ValueError(f"The run lengths are damaged ({error}).") from error
    if not decoder.eof:
        raise ValueError("The run lengths are damaged: there are too many, or too few.")
    return plain
