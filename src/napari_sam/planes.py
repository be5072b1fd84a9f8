"""Any n-D array as 2-D planes in the 0-255 that the models expect, reading only what is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_sam.contrast import Contrast

# The stack's contrast is taken from so many evenly spread planes, and so many pixels of each.
_SAMPLED_PLANES = 16
_SAMPLED_PIXELS = 256 * 256
# A plane's index and its masks are made for planes up to this side.
_LARGEST_SIDE = 2**16
# So many pixels are brought to 0-255 at once: it takes several times their memory.
_PIXELS_AT_ONCE = 2**24


class ArrayLike(Protocol):
    """What numpy, dask and zarr arrays have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis."""

    @property
    def dtype(self) -> Any:
        """What numpy makes a dtype of."""

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True)
class Plane:
    """One 2-D plane of an n-D array.

    Attributes
    ----------
    displayed
        The array axes that are the plane's rows and its columns.
    position
        Index along every axis; 0 along the two displayed ones.
    """

    displayed: tuple[int, int]
    position: tuple[int, ...]

    @classmethod
    def at(cls, displayed: tuple[int, int], position: Sequence[int]) -> Plane:
        """Make the plane through ``position``, whatever that says along the displayed axes."""
        return cls(displayed, tuple(0 if axis in displayed else int(x) for axis, x in enumerate(position)))

    def index(self, rows: slice = slice(None), columns: slice = slice(None)) -> tuple[int | slice, ...]:
        """Give the index into the array of these rows and columns; `to_plane` orders what it returns."""
        by_axis = dict(zip(self.displayed, (rows, columns), strict=True))
        return tuple(by_axis.get(axis, x) for axis, x in enumerate(self.position))

    def to_plane(self, block: NDArray[Any]) -> NDArray[Any]:
        """Turn a block read at `index` so that rows come first; its own inverse for 2-D blocks."""
        return block if self.displayed[0] < self.displayed[1] else np.swapaxes(block, 0, 1)

    def shape(self, array_shape: Sequence[int]) -> tuple[int, int]:
        """Height and width of the plane in an array of ``array_shape``."""
        return (array_shape[self.displayed[0]], array_shape[self.displayed[1]])


class Planes:
    """The 2-D planes of an image.

    Parameters
    ----------
    data
        Array of two dimensions or more, or a list of such from fine to coarse (multiscale: the finest is
        used).
    axes
        One letter per axis, such as ``"tzyx"``; ``"s"`` last for the samples of an RGB or RGBA image. Letters
        are made up from the end of ``"tczyx"`` if left out.
    rgb
        Whether the last axis holds colours; known from ``axes`` if that is given.
    name
        What the image is called, for messages and for telling its cache from others'.
    limits
        The two intensities that become 0 and 255; percentiles of the whole stack if left out.

    Raises
    ------
    ValueError
        If the array has fewer than two axes, no pixels or no real dtype, or ``axes`` do not fit it, or the
        limits are not a lower and a higher number.
    """

    def __init__(
        self,
        data: ArrayLike | Sequence[ArrayLike],
        axes: str | None = None,
        rgb: bool = False,
        name: str = "image",
        limits: tuple[float, float] | None = None,
    ) -> None:
        self.name = name
        self.limits = None if limits is None else Contrast.between(*limits)
        self._data = _finest_level(data)
        shape = tuple(int(n) for n in self._data.shape)
        if axes is None:
            axes = _default_axes(len(shape), rgb)
        if not axes or len(axes) != len(shape) or len(set(axes)) != len(axes):
            raise ValueError(
                f"The axes {axes!r} do not fit an array of shape {shape}; "
                f"give {len(shape)} different letters."
            )
        self.rgb = axes[-1] == "s"
        if self.rgb and shape[-1] not in (3, 4):
            raise ValueError(f"The last axis 's' of {axes!r} has length {shape[-1]}; colours have 3 or 4.")
        self.axes = axes.removesuffix("s")
        self.shape = shape[:-1] if self.rgb else shape
        if len(self.shape) < 2:
            raise ValueError(f"The image of shape {shape} has no plane; it needs two axes or more.")
        if 0 in shape:
            raise ValueError(f"The image of shape {shape} has no pixels.")
        if np.dtype(self._data.dtype).kind not in "buif":
            raise ValueError(f"The image's dtype {self._data.dtype} is not a real number; convert it first.")

    @property
    def ndim(self) -> int:
        """Number of axes, that of colours not counted."""
        return len(self.shape)

    @property
    def last_displayed(self) -> tuple[int, int]:
        """The last two axes: what is displayed unless something else is asked for."""
        return (self.ndim - 2, self.ndim - 1)

    def check(self, plane: Plane) -> None:
        """Raise a `ValueError` if the plane is not one of this image's."""
        if sorted(set(plane.displayed) & set(range(self.ndim))) != sorted(plane.displayed):
            raise ValueError(
                f"A plane cannot lie along the axes {plane.displayed}; give two of 0 to {self.ndim - 1}."
            )
        if len(plane.position) != self.ndim:
            raise ValueError(
                f"The position {plane.position} has not one index for each axis of {self.axes!r}."
            )
        height, width = plane.shape(self.shape)
        if max(height, width) > _LARGEST_SIDE:
            raise ValueError(
                f"The plane of {height} x {width} pixels is larger than {_LARGEST_SIDE} on a side; "
                "annotate a crop of it, or a coarser level."
            )
        for axis, index, length in zip(self.axes, plane.position, self.shape, strict=True):
            if not 0 <= index < length:
                raise ValueError(f"There is no plane {axis}={index}; {axis} goes from 0 to {length - 1}.")

    @property
    def in_memory(self) -> bool:
        """Whether reading costs nothing; where it does not, pixels are looked at once per visit."""
        return isinstance(self._data, np.ndarray) and not isinstance(self._data, np.memmap)

    def read(
        self, plane: Plane, rows: slice = slice(None), columns: slice = slice(None)
    ) -> NDArray[np.generic]:
        """Read the plane's own intensities, or a part of them: (H, W), or (H, W, 3) for a colour image."""
        self.check(plane)
        block = np.asarray(self._data[plane.index(rows, columns)])
        return plane.to_plane(block[..., :3] if self.rgb else block)

    def image(
        self, plane: Plane, rows: slice = slice(None), columns: slice = slice(None)
    ) -> NDArray[np.uint8]:
        """Read the plane, or a part of it, as the model sees it: see `shown`."""
        return self.shown(self.read(plane, rows, columns))

    def shown(self, raw: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Bring intensities that were read to 0-255, with the same contrast for all planes.

        Colour images of unsigned bytes stay as they are.
        """
        if self.rgb and raw.dtype == np.uint8:
            return raw.astype(np.uint8, copy=False)
        if raw.size <= _PIXELS_AT_ONCE:
            return self.contrast.apply(raw)
        shown = np.empty(raw.shape, np.uint8)
        step = max(1, _PIXELS_AT_ONCE * raw.shape[0] // raw.size)
        for start in range(0, raw.shape[0], step):
            shown[start : start + step] = self.contrast.apply(raw[start : start + step])
        return shown

    def digest(self, raw: NDArray[np.generic]) -> bytes:
        """Name what a model sees of these intensities: the SHA-256 of their values, shape, and contrast."""
        contrast = None if self.rgb and raw.dtype == np.uint8 else self.contrast
        digest = hashlib.sha256(repr((raw.shape, raw.dtype.str, contrast)).encode())
        digest.update(np.ascontiguousarray(raw).data)
        return digest.digest()

    @cached_property
    def contrast(self) -> Contrast:
        """The intensities that become 0 and 255: the limits, or percentiles of a sample of the stack."""
        if self.limits is not None:
            return self.limits
        return Contrast.of(np.concatenate([part.ravel() for part in self._sample()]))

    @property
    def preprocessing(self) -> str:
        """How intensities become what the model sees, in words for the record."""
        return "contrast none" if self.rgb else f"contrast {self.contrast.low!r}:{self.contrast.high!r}"

    def key(self) -> str:
        """Name this image in one short hash, for a cache of what was computed from it."""
        text = repr((self.name, self.axes, self.shape, str(self._data.dtype), self.rgb))
        if self.limits is not None:
            text += repr(self.limits)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _sample(self) -> Iterator[NDArray[np.generic]]:
        """Read every n-th pixel of some planes, spread over all other axes."""
        displayed = self.last_displayed
        lengths = self.shape[:-2]
        count = int(np.prod(lengths))
        step = max(1, int(np.sqrt(np.prod(self.shape[-2:]) / _SAMPLED_PIXELS)))
        for number in np.linspace(0, count - 1, min(count, _SAMPLED_PLANES)).round().astype(int):
            position = np.unravel_index(number, lengths) if lengths else ()
            plane = Plane.at(displayed, (*(int(x) for x in position), 0, 0))
            block = np.asarray(self._data[plane.index(slice(None, None, step), slice(None, None, step))])
            yield block[..., :3] if self.rgb else block


def _finest_level(data: ArrayLike | Sequence[ArrayLike]) -> ArrayLike:
    """Take the first level of a multiscale list; leave an array as it is."""
    levels: Sequence[Any] = data if isinstance(data, Sequence) else [data]
    if not levels or not all(hasattr(level, "shape") and hasattr(level, "dtype") for level in levels):
        raise ValueError(f"A {type(data).__name__} is not an image; give an array or a list of arrays.")
    if any(level.shape == levels[0].shape for level in levels[1:]):
        raise ValueError(
            f"A list of {len(levels)} arrays is one image from fine to coarse, but two have the shape "
            f"{levels[0].shape}; stack planes into one array."
        )
    finest: ArrayLike = levels[0]
    return finest


def _default_axes(ndim: int, rgb: bool) -> str:
    """Guess the names of the axes: ``"zyx"`` for three, and so on."""
    spatial = ndim - rgb
    if spatial < 2:
        raise ValueError(f"An array of {ndim} axes{' with colours' if rgb else ''} has no plane.")
    names = "nmtczyx" if spatial > 3 else "zyx"
    if spatial > len(names):
        raise ValueError(
            f"Images have at most {len(names)} axes, this one has {spatial}; give their letters."
        )
    return names[-spatial:] + ("s" if rgb else "")
