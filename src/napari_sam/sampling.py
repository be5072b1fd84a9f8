"""A sample of an image's pixels that costs about the same however large its planes are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# From so many planes, evenly spread, and so many pixels of each where whole planes are looked at.
_PLANES, _PIXELS = 16, 256 * 256
# Planes of more pixels are sampled in blocks, and a coarser level serves if its planes still have as many.
_WHOLE = 1024 * 1024
# So many blocks at most; with small chunks so many. A chunk is read as a whole: so many pixels altogether.
_BLOCKS, _SMALL_BLOCKS, _READ = 64, 256, 2**26
# The side of a block where the array does not say how it is cut.
_SIDE = 256
# Steps that spread any number of points evenly over a square (Roberts' R2 sequence).
_STEPS = (0.7548776662466927, 0.5698402909980532)

Index = tuple[int | slice, ...]
# Where a chunk begins and ends along an axis.
Cut = tuple[int, int]


def sample(
    levels: Sequence[Any],
    displayed: tuple[int, int],
    fixed: Mapping[int, int],
    colours: bool = False,
    effort: int = 1,
) -> Iterator[NDArray[np.generic]]:
    """Read pixels that are spread over all planes; the same ones each time.

    Of planes up to about a model's input, and of arrays in memory, that is every n-th pixel of whole planes.
    Of larger ones, whose every chunk this would read, it is some blocks, each within one chunk, of the
    coarsest level that has enough pixels.

    Parameters
    ----------
    levels
        The image from fine to coarse.
    displayed
        The axes along which planes lie.
    fixed
        Axes that have one index only, such as that of a channel.
    colours
        Whether a last axis holds colours, which are read as they are.
    effort
        So many times as much of large planes is read.
    """
    finest = levels[0]
    in_memory = isinstance(finest, np.ndarray) and not isinstance(finest, np.memmap)
    if in_memory or _area(finest, displayed) <= _WHOLE:
        chosen, shape = finest, finest.shape[:-1] if colours else finest.shape
        indices = every_nth(shape, displayed, fixed)
    else:
        chosen = _coarsest(levels, displayed, fixed)
        shape = chosen.shape[:-1] if colours else chosen.shape
        indices = blocks(shape, getattr(chosen, "chunks", None), displayed, fixed, effort)
    for index in indices:
        yield np.asarray(chosen[index])


def every_nth(shape: Sequence[int], displayed: tuple[int, int], fixed: Mapping[int, int]) -> Iterator[Index]:
    """Give the indices of every n-th pixel of some planes, the first and the last among them."""
    lengths = _positions(shape, displayed, fixed)
    count = math.prod(lengths)
    step = max(1, int(np.sqrt(shape[displayed[0]] * shape[displayed[1]] / _PIXELS)))
    every = slice(None, None, step)
    for number in np.linspace(0, count - 1, min(count, _PLANES)).round().astype(int):
        yield _index(int(number), lengths, displayed, fixed, every, every)


def blocks(
    shape: Sequence[int], chunks: Any, displayed: tuple[int, int], fixed: Mapping[int, int], effort: int = 1
) -> Iterator[Index]:
    """Give the indices of blocks of some planes, each in a chunk of its own.

    Parameters
    ----------
    shape
        Of the array, that of colours left out.
    chunks
        How the array is cut, in zarr's or dask's words, colours or not; None where that is not known.
    displayed, fixed, effort
        See `sample`.
    """
    cuts = _cuts(shape, chunks, displayed)
    cost = math.prod(int(np.diff(cut).max()) for cut in cuts)
    wanted = max(_BLOCKS, min(_SMALL_BLOCKS, _PLANES * _PIXELS // cost))
    number_of_blocks = max(1, min(effort * wanted, effort * _READ // cost))
    lengths = _positions(shape, displayed, fixed)
    count = math.prod(lengths)
    number_of_planes = min(count, _PLANES, number_of_blocks)
    of_a_plane = number_of_blocks // number_of_planes
    chosen: dict[tuple[int, Cut, Cut], None] = {}  # in order, and each once
    for n in range(number_of_planes):
        plane = int((n + 0.5) * count / number_of_planes)
        for k in range(n * of_a_plane, (n + 1) * of_a_plane):
            rows, columns = (
                _chunk_at(cuts[axis], (0.5 + k * step) % 1)
                for axis, step in zip(displayed, _STEPS, strict=True)
            )
            chosen[plane, rows, columns] = None
    pixels = sum((bottom - top) * (right - left) for _, (top, bottom), (left, right) in chosen)
    step = math.ceil(np.sqrt(pixels / (_PLANES * _PIXELS)))
    for plane, rows, columns in chosen:
        yield _index(plane, lengths, displayed, fixed, slice(*rows, step), slice(*columns, step))


def _coarsest(levels: Sequence[Any], displayed: tuple[int, int], fixed: Mapping[int, int]) -> Any:
    """Choose the coarsest level whose planes have enough pixels, and that has the channels."""
    finest = levels[0].shape
    enough = [
        level
        for level in levels
        if len(level.shape) == len(finest)
        and _area(level, displayed) >= _WHOLE
        and all(level.shape[axis] == finest[axis] for axis in fixed)
    ]
    return min(enough, key=lambda level: _area(level, displayed))


def _area(array: Any, displayed: tuple[int, int]) -> int:
    return int(array.shape[displayed[0]]) * int(array.shape[displayed[1]])


def _positions(shape: Sequence[int], displayed: tuple[int, int], fixed: Mapping[int, int]) -> list[int]:
    """Give how many planes there are along each axis."""
    return [1 if axis in displayed or axis in fixed else int(n) for axis, n in enumerate(shape)]


def _index(
    plane: int,
    lengths: Sequence[int],
    displayed: tuple[int, int],
    fixed: Mapping[int, int],
    rows: slice,
    columns: slice,
) -> Index:
    """Give the index of a part of the plane with this number."""
    given: dict[int, int | slice] = {**fixed, displayed[0]: rows, displayed[1]: columns}
    position = np.unravel_index(plane, tuple(lengths))
    return tuple(given.get(axis, int(x)) for axis, x in enumerate(position))


def _cuts(shape: Sequence[int], chunks: Any, displayed: tuple[int, int]) -> list[NDArray[np.int64]]:
    """Give where the array is cut along each axis, both ends included."""
    known = isinstance(chunks, Sequence) and len(chunks) >= len(shape)
    cuts = []
    for axis, length in enumerate(shape):
        size = chunks[axis] if known else _SIDE if axis in displayed else 1
        if isinstance(size, Sequence):  # of each chunk its own, as in dask
            cuts.append(np.cumsum([0, *size]))
        else:
            cuts.append(np.append(np.arange(0, length, max(1, int(size))), length))
    return cuts


def _chunk_at(cuts: NDArray[np.int64], share: float) -> Cut:
    """Give where the chunk begins and ends that lies at this share of an axis."""
    number = int(np.searchsorted(cuts, share * cuts[-1], side="right")) - 1
    return int(cuts[number]), int(cuts[number + 1])
