"""Any n-D array as 2-D planes in the 0-255 that the models expect, reading only what is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_sam.axes import SAMPLES, default_axes
from napari_sam.channels import ChannelArrays, Composite
from napari_sam.contrast import Contrast, without_hot_pixels
from napari_sam.plane import Plane
from napari_sam.sampling import sample

# How hard a sample looks for the stack's intensities, at first and where it found but one.
_EFFORTS = (1, 16)
# A plane's index and its masks are made for planes up to this side.
LARGEST_SIDE = 2**16
# The record of an image to whose intensities nothing was done, see `Planes.preprocessing`.
AS_IT_IS = "contrast none"
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


class Planes:
    """The 2-D planes of an image.

    Parameters
    ----------
    data
        Array of two dimensions or more, or a list of such from fine to coarse (multiscale: the finest is
        used, and of large planes a coarser one for the contrast); or `ChannelArrays`.
    axes
        One letter per axis, such as ``"tzyx"`` or ``("t", "z", "y", "x")``; ``"s"`` last for the samples of
        an RGB or RGBA image, which may be left out. Letters are made up from the end of ``"nmtczyx"`` if all
        are left out, and then ``rgb`` says whether the last axis holds colours.
    rgb
        Whether the last axis holds colours; known from ``axes`` if these are given.
    name
        What the image is called, for messages.
    limits
        The two intensities that become 0 and 255; percentiles of the whole stack if left out, but for colours
        of unsigned bytes, which are seen as they are then. Channels that are seen together have limits of
        their own.
    channels
        How the channels are seen together, as colours: a `Composite`; or the letter of the axis along which
        they lie, to show them all in napari's colours. That axis has one index then. Left out, such an axis
        is one to move along.

    Attributes
    ----------
    axes, shape
        Letter and length of every axis, that of colours left out.
    channels
        The composite, or None.
    channel_axis
        Number of the axis whose channels are seen together, or None.
    sampled
        The limits in use that were not given, but sampled or recalled; none before they were needed.
    recall
        May give limits that were used before in the place of those that were sampled, of which it is told.

    Raises
    ------
    ValueError
        If the array has fewer than two axes, no pixels or no real dtype, or ``axes`` or ``channels`` do not
        fit it, or the limits are not a lower and a higher number.
    """

    def __init__(
        self,
        data: ArrayLike | Sequence[ArrayLike] | ChannelArrays,
        axes: str | Sequence[str] | None = None,
        rgb: bool = False,
        name: str = "image",
        limits: tuple[float, float] | None = None,
        channels: Composite | str | None = None,
    ) -> None:
        self.name = name
        self.sampled: tuple[Contrast, ...] = ()
        self.recall: Callable[[tuple[Contrast, ...]], tuple[Contrast, ...]] | None = None
        self.limits = None if limits is None else _limits(limits)
        self._levels = [_levels(x) for x in (data.arrays if isinstance(data, ChannelArrays) else [data])]
        self._arrays = [levels[0] for levels in self._levels]
        _check_alike(self._arrays)
        self._data = self._arrays[0]
        shape = tuple(int(n) for n in self._data.shape)
        axes = None if axes is None else "".join(axes).lower()  # tifffile, for one, writes capitals
        if axes is None:
            axes = default_axes(len(shape), rgb)
        elif len(axes) == len(shape) - 1 and shape[-1] in (3, 4) and SAMPLES not in axes:
            axes += SAMPLES
        if not axes or len(axes) != len(shape) or len(set(axes)) != len(axes):
            raise ValueError(
                f"The axes {axes!r} do not fit an array of shape {shape}; "
                f"give {len(shape)} different letters, the last one {SAMPLES!r} if it holds colours."
            )
        self.rgb = axes[-1] == SAMPLES
        if self.rgb and shape[-1] not in (3, 4):
            raise ValueError(f"The last axis 's' of {axes!r} has length {shape[-1]}; colours have 3 or 4.")
        self.axes = axes.removesuffix(SAMPLES)
        self.shape = shape[:-1] if self.rgb else shape
        if len(self.shape) < 2:
            raise ValueError(f"The image of shape {shape} has no plane; it needs two axes or more.")
        if 0 in shape:
            raise ValueError(f"The image of shape {shape} has no pixels.")
        for array in self._arrays:
            if np.dtype(array.dtype).kind not in "buif":
                raise ValueError(f"The image's dtype {array.dtype} is not a real number; convert it first.")
        self.channels, self.channel_axis = self._composite(channels)
        if self.channel_axis is not None:
            lengths = enumerate(self.shape)
            self.shape = tuple(1 if axis == self.channel_axis else n for axis, n in lengths)

    def name_of(self, plane: Plane) -> str:
        """Say where a plane is, such as ``t 3, z 12``; nothing where the image has no other like it."""
        left_out = (*plane.displayed, self.channel_axis)
        places = enumerate(zip(self.axes, plane.position, self.shape, strict=True))
        return ", ".join(f"{axis} {x}" for i, (axis, x, n) in places if n > 1 and i not in left_out)

    def axis_across(self, plane: Plane, letter: str) -> int:
        """Find the axis with this letter, along which one moves from a plane to others that lie as it does.

        Raises
        ------
        ValueError
            If the image has none, or the plane shows it.
        """
        number = self.axes.find(letter.lower()) if len(letter) == 1 else -1
        if number < 0 or number in plane.displayed:
            free = [x for i, x in enumerate(self.axes) if i not in plane.displayed]
            raise ValueError(f"{letter!r} is no axis to move along; this plane moves along {free or 'none'}.")
        return number

    def _composite(self, channels: Composite | str | None) -> tuple[Composite | None, int | None]:
        """Check that the channels fit the arrays, and find their axis."""
        if channels is None:
            if len(self._arrays) > 1:
                raise ValueError("Say how the arrays of several channels are seen together, in `channels`.")
            return None, None
        if not isinstance(channels, str | Composite):
            raise ValueError(f"{channels!r} names no channels; give the letter of their axis, such as 'c'.")
        channels = channels.lower() if isinstance(channels, str) else channels
        letter = channels if isinstance(channels, str) else channels.axis
        axis = None if letter is None else self.axes.find(letter)
        if self.rgb or axis == -1 or (axis is not None and (len(letter or "") != 1 or self.ndim < 3)):
            colours = " of colours" if self.rgb else ""
            raise ValueError(
                f"There is no axis {letter!r} of channels in {self.axes!r}{colours}; name another."
            )
        count = len(self._arrays) if axis is None else self.shape[axis]
        if isinstance(channels, str):
            channels = Composite.along(channels, count)
        if len(channels.channels) != count or (axis is not None and len(self._arrays) > 1):
            raise ValueError(
                f"The image has {count} channels, but {len(channels.channels)} are described; "
                "give one for each."
            )
        return channels, axis

    @property
    def ndim(self) -> int:
        """Number of axes, that of colours not counted."""
        return len(self.shape)

    @property
    def last_displayed(self) -> tuple[int, int]:
        """The last two axes but that of channels: what is displayed unless something else is asked for."""
        rows, columns = [axis for axis in range(self.ndim) if axis != self.channel_axis][-2:]
        return (rows, columns)

    @property
    def first(self) -> Plane:
        """The plane that is shown first: along the last two axes, at the beginning of the others."""
        return Plane.at(self.last_displayed, (0,) * self.ndim)

    def check(self, plane: Plane) -> None:
        """Raise a `ValueError` if the plane is not one of this image's."""
        if sorted(set(plane.displayed) & set(range(self.ndim))) != sorted(plane.displayed):
            raise ValueError(
                f"A plane cannot lie along the axes {plane.displayed}; give two of 0 to {self.ndim - 1}."
            )
        if self.channel_axis in plane.displayed:
            raise ValueError(
                f"The channels along {self.axes[self.channel_axis]} are seen together: "
                "display two other axes."
            )
        if len(plane.position) != self.ndim:
            raise ValueError(
                f"The position {plane.position} has not one index for each axis of {self.axes!r}."
            )
        height, width = plane.shape(self.shape)
        if max(height, width) > LARGEST_SIDE:
            raise ValueError(
                f"The plane of {height} x {width} pixels is larger than {LARGEST_SIDE} on a side; "
                "annotate a crop of it, or a coarser level."
            )
        for axis, index, length in zip(self.axes, plane.position, self.shape, strict=True):
            if not 0 <= index < length:
                raise ValueError(f"There is no plane {axis}={index}; {axis} goes from 0 to {length - 1}.")

    @property
    def in_memory(self) -> bool:
        """Whether reading costs nothing; where it does not, pixels are looked at once per visit."""
        return all(isinstance(x, np.ndarray) and not isinstance(x, np.memmap) for x in self._arrays)

    def read(
        self, plane: Plane, rows: slice = slice(None), columns: slice = slice(None)
    ) -> NDArray[np.generic]:
        """Read the plane's own intensities, or a part of them.

        Returns
        -------
        numpy.ndarray
            (H, W); (H, W, 3) for a colour image; (H, W, visible channels) where these are seen together.
        """
        self.check(plane)
        if self.channels is None:
            return plane.to_plane(self._block(plane, rows, columns))
        blocks = [plane.to_plane(self._block(plane, rows, columns, x)) for x in self.channels.visible]
        return np.stack(blocks, axis=-1)

    def _block(
        self, plane: Plane, rows: slice, columns: slice, channel: int | None = None
    ) -> NDArray[np.generic]:
        """Read a part of a plane, of one channel if there are several, as it lies in the array."""
        index, array = plane.index(rows, columns), self._data
        if channel is not None and self.channel_axis is None:
            array = self._arrays[channel]
        elif channel is not None:
            index = tuple(channel if axis == self.channel_axis else x for axis, x in enumerate(index))
        block = np.asarray(array[index])
        return block[..., :3] if self.rgb else block

    def image(
        self, plane: Plane, rows: slice = slice(None), columns: slice = slice(None)
    ) -> NDArray[np.uint8]:
        """Read the plane, or a part of it, as the model sees it: see `shown`."""
        return self.shown(self.read(plane, rows, columns))

    def shown(self, raw: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Bring intensities that were read to 0-255, with the same contrast for all planes.

        Colour images of unsigned bytes stay as they are, unless limits were given, and channels that are seen
        together become colours.
        """
        if self._is_seen_as_it_is:
            return raw.astype(np.uint8, copy=False)
        if raw.size <= _PIXELS_AT_ONCE:
            return self._shown(raw)
        step = max(1, _PIXELS_AT_ONCE * raw.shape[0] // raw.size)
        parts = [self._shown(raw[start : start + step]) for start in range(0, raw.shape[0], step)]
        return np.concatenate(parts)

    @property
    def _is_seen_as_it_is(self) -> bool:
        """Whether no limits apply: these are colours of unsigned bytes, and none were given."""
        return self.rgb and np.dtype(self._data.dtype) == np.uint8 and self.limits is None

    def _shown(self, raw: NDArray[np.generic]) -> NDArray[np.uint8]:
        if self.channels is not None:
            return self.channels.picture(raw, self._contrasts)
        return without_hot_pixels(self.contrast.apply(raw))

    def digest(self, raw: NDArray[np.generic]) -> bytes:
        """Name what a model sees of these intensities: the SHA-256 of their values, shape, and contrast."""
        if self.channels is not None:
            seen = repr((self.channels, self._contrasts))
        else:
            seen = repr(None if self._is_seen_as_it_is else self.contrast)
        digest = hashlib.sha256(f"{raw.shape} {raw.dtype.str} {seen}".encode())
        digest.update(np.ascontiguousarray(raw).data)
        return digest.digest()

    @cached_property
    def contrast(self) -> Contrast:
        """The intensities that become 0 and 255: the limits, or percentiles of a sample of the stack."""
        if self.limits is not None:
            return self.limits
        return self._recalled([None])[0]

    @cached_property
    def _contrasts(self) -> tuple[Contrast, ...]:
        """The limits of each visible channel."""
        if self.channels is None:
            return ()
        given = {number: self.channels.channels[number].limits for number in self.channels.visible}
        unknown = [number for number, limits in given.items() if limits is None]
        sampled = dict(zip(unknown, self._recalled(unknown), strict=True))
        return tuple(
            sampled[number] if limits is None else Contrast.between(*limits)
            for number, limits in given.items()
        )

    def _recalled(self, channels: Sequence[int | None]) -> tuple[Contrast, ...]:
        """Sample limits for the channels, None for an image without, and ask if others were used before."""
        sampled = tuple(self._sampled(channel) for channel in channels)
        self.sampled = sampled if self.recall is None else self.recall(sampled)
        return self.sampled

    @property
    def preprocessing(self) -> str:
        """How intensities become what the model sees, in words for the record."""
        if self.channels is not None:
            return self.channels.record(self._contrasts)
        if self._is_seen_as_it_is:
            return AS_IT_IS
        return f"contrast {self.contrast.low!r}:{self.contrast.high!r}"

    def key(self) -> str:
        """Name all of this image but its pixels, and how it is seen, in one short hash.

        What it is called does not matter: others may have that name, and it may get another.
        """
        text = repr((self.axes, self.shape, str(self._data.dtype), self.rgb))
        if self.limits is not None:
            text += repr(self.limits)
        if self.channels is not None:
            text += repr((self.channels, [str(array.dtype) for array in self._arrays]))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _sampled(self, channel: int | None = None) -> Contrast:
        """Take the contrast of a sample of the stack; of one channel, if asked for."""
        levels, fixed = self._levels[0], {}
        if channel is not None and self.channel_axis is None:
            levels = self._levels[channel]
        elif channel is not None and self.channel_axis is not None:
            fixed = {self.channel_axis: channel}
        contrast = Contrast(0.0, 0.0)
        for effort in _EFFORTS:  # a sample of one intensity has missed what there is
            parts = sample(levels, self.last_displayed, fixed, self.rgb, effort)
            contrast = Contrast.of(
                np.concatenate([(part[..., :3] if self.rgb else part).ravel() for part in parts])
            )
            if contrast.low < contrast.high:
                break
        return contrast


def _limits(limits: Any) -> Contrast:
    """Take two intensities as limits."""
    if np.shape(limits) != (2,):
        raise ValueError(f"The contrast {limits!r} is not two intensities; give such as (0, 255), or none.")
    return Contrast.between(*limits)


def _levels(data: ArrayLike | Sequence[ArrayLike]) -> Sequence[ArrayLike]:
    """Give the levels of a multiscale list; an array is the only one."""
    levels: Sequence[Any] = data if isinstance(data, Sequence) else [data]
    if not levels or not all(hasattr(level, "shape") and hasattr(level, "dtype") for level in levels):
        raise ValueError(f"A {type(data).__name__} is not an image; give an array or a list of arrays.")
    if any(level.shape == levels[0].shape for level in levels[1:]):
        raise ValueError(
            f"A list of {len(levels)} arrays is one image from fine to coarse, but two have the shape "
            f"{levels[0].shape}; stack planes into one array."
        )
    return levels


def _check_alike(arrays: Sequence[ArrayLike]) -> None:
    """Raise a `ValueError` unless the channels' arrays have one shape."""
    shapes = [tuple(array.shape) for array in arrays]
    if len(set(shapes)) != 1:
        raise ValueError(f"The channels have the shapes {shapes}; give arrays of one shape.")
