"""The image that labels were made of, opened as it was seen when they were made."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_sam.axes import SAMPLES
from napari_sam.channels import Composite
from napari_sam.planes import AS_IT_IS, ArrayLike, Planes
from napari_sam.storage.errors import explained
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.opening import LEDGER
from napari_sam.storage.reading import read_array


def image_of(store: LabelsStore, path: str | Path) -> Planes:
    """Open the image that labels were made of, colours included, with the contrast that they were made with.

    Raises
    ------
    LabelsError
        If the file, or the ledger, cannot be read.
    ValueError
        If it is another image: one of another shape.
    """
    path = Path(path).expanduser()
    array, _ = read_array(path)
    wanted, axes = tuple(store.array.shape), store.geometry.axes
    with explained(store.path / LEDGER):
        recorded = Counter(x.making.preprocessing for x in store.ledger.each_origin())
    composite = _channels(recorded)
    if composite is not None:
        axis = -1 if composite.axis is None else axes.find(composite.axis)
        if axis < 0:
            raise ValueError(
                f"The labels were made of {len(composite.channels)} layers together, not of {path} alone; "
                "replay them in Python, with `ChannelArrays` of these."
            )
        count = len(composite.channels)
        together = _fitted(array, tuple(count if x == axis else n for x, n in enumerate(wanted)))
        if together is not None:
            return Planes(together, axes, name=path.stem, channels=composite)
    for samples in ((), (3,), (4,)):
        fitting = _fitted(array, (*wanted, *samples))
        if fitting is not None:
            letters = axes + SAMPLES * len(samples)
            return Planes(fitting, letters, name=path.stem, limits=_contrast(recorded))
    raise ValueError(
        f"{path} has shape {tuple(array.shape)}, the labels {wanted}; give the image that they were made of."
    )


def _fitted(array: ArrayLike, shape: tuple[int, ...]) -> ArrayLike | None:
    """Put in or leave out axes of one index, so that an array has a shape; None where that takes more.

    Files, and what reads them, drop such axes or add them.
    """
    if tuple(array.shape) == shape:
        return array
    if [n for n in array.shape if n != 1] != [n for n in shape if n != 1]:
        return None
    if isinstance(array, np.ndarray):
        return array.reshape(shape)
    return _Reshaped(array, shape)


class _Reshaped:
    """An array with other axes of one index, still read only where it is indexed.

    It takes whole numbers and slices, as a `Plane` gives them.
    """

    def __init__(self, array: ArrayLike, shape: tuple[int, ...]) -> None:
        self._array, self.shape, self.dtype = array, shape, array.dtype

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        whole = (*key, *[slice(None)] * (len(self.shape) - len(key)))
        kept = iter([x for x, n in zip(whole, self.shape, strict=True) if n != 1])
        block = np.asarray(self._array[tuple(0 if n == 1 else next(kept) for n in self._array.shape)])
        lengths = [
            len(range(*x.indices(n))) for x, n in zip(whole, self.shape, strict=True) if isinstance(x, slice)
        ]
        return block.reshape(lengths)


def _channels(recorded: Counter[str]) -> Composite | None:
    """Give the channels as most prompts were made with them; None if that was one alone."""
    return next((Composite.read(text) for text, _ in recorded.most_common() if text), None)


def _contrast(recorded: Counter[str]) -> tuple[float, float] | None:
    """Give the two intensities that most prompts were made with; None if there were none."""
    for text, _ in recorded.most_common():
        if text == AS_IT_IS:
            return None
        with suppress(ValueError):
            low, high = map(float, text.removeprefix("contrast ").split(":"))
            if low < high:  # a constant image has none
                return low, high
    return None
