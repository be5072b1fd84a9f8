"""Several channels as one picture of colours: how each is shown, and what they make together."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_sam.contrast import Contrast, without_hot_pixels

Blending = Literal["additive", "translucent", "opaque", "minimum", "multiplicative"]

# napari's own, and the order in which it gives them to channels.
COLOURS = {
    "gray": "#ffffff",
    "red": "#ff0000",
    "green": "#00ff00",
    "blue": "#0000ff",
    "cyan": "#00ffff",
    "magenta": "#ff00ff",
    "yellow": "#ffff00",
}
_TWO = ("magenta", "green")
_MANY = ("cyan", "yellow", "magenta", "red", "green", "blue")
_HEX = re.compile(r"#[0-9a-f]{6}")
# The first word of the record of a composite.
_RECORDED = "channels "


@dataclass(frozen=True)
class Channel:
    """How one channel is shown.

    Attributes
    ----------
    colours
        From the lowest intensity to the highest, evenly spread, as ``"#rrggbb"``; one colour alone, or its
        name (gray, red, green, blue, cyan, magenta, yellow), is reached from black.
    limits
        The intensities that get the first and the last colour; robust percentiles of the channel in the whole
        stack if left out.
    gamma
        The power that intensities between the limits, as shares of one, are raised to.
    opacity
        Share of the colours that is laid over what lies below.
    blending
        How that is done, in napari's words.
    visible
        Whether the channel is shown at all; what is not is not read.

    Raises
    ------
    ValueError
        For a value that none of these can have.
    """

    colours: str | tuple[str, ...] = "gray"
    limits: tuple[float, float] | None = None
    gamma: float = 1.0
    opacity: float = 1.0
    blending: Blending = "additive"
    visible: bool = True

    def __post_init__(self) -> None:
        given = self.colours
        colours = ("#000000", COLOURS.get(given, given)) if isinstance(given, str) else tuple(given)
        colours = tuple(colour.lower() for colour in colours)
        wrong = next((x for x in colours if not _HEX.fullmatch(x)), None)
        if wrong is not None or len(colours) < 2:
            raise ValueError(
                f"The colour {wrong or given!r} is not known; give '#rrggbb', or one of {', '.join(COLOURS)}."
            )
        object.__setattr__(self, "colours", colours)
        if self.limits is not None:
            low, high = self.limits
            limits = Contrast.between(low, high)
            object.__setattr__(self, "limits", (limits.low, limits.high))
        if not (math.isfinite(self.gamma) and self.gamma > 0):
            raise ValueError(f"The gamma {self.gamma} of a channel is not above 0.")
        if not 0 <= self.opacity <= 1:
            raise ValueError(f"The opacity {self.opacity} of a channel is not between 0 and 1.")
        if self.blending not in get_args(Blending):
            raise ValueError(
                f"Channels cannot be blended {self.blending!r}; choose {', '.join(get_args(Blending))}."
            )

    @property
    def table(self) -> NDArray[np.float32]:
        """The colours of 256 intensities, evenly spread between the limits: (256, 3), from 0 to 255."""
        given = np.array([[int(x[i : i + 2], 16) for i in (1, 3, 5)] for x in self.colours], np.float64)
        places = np.linspace(0, len(given) - 1, 256)
        between = [np.interp(places, np.arange(len(given)), column) for column in given.T]
        return np.stack(between, axis=1).astype(np.float32)


@dataclass(frozen=True)
class Composite:
    """The picture that channels make together, from the lowest to the topmost.

    Attributes
    ----------
    channels
        One for each index along the axis, or for each array; at least one of them visible.
    axis
        Letter of the axis along which the channels lie; None where each is an array of its own
        (`ChannelArrays`).
    """

    channels: tuple[Channel, ...]
    axis: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if not self.visible:
            raise ValueError("No channel is visible; show at least one.")

    @classmethod
    def along(cls, axis: str, count: int) -> Composite:
        """Show ``count`` channels along an axis in the colours that napari gives them."""
        names = ("gray",) if count == 1 else _TWO if count == 2 else _MANY
        return cls(tuple(Channel(names[number % len(names)]) for number in range(count)), axis)

    @classmethod
    def read(cls, text: str) -> Composite | None:
        """Give the composite of which `record` made this text; None if it did not."""
        if not text.startswith(_RECORDED):
            return None
        found = json.loads(text.removeprefix(_RECORDED))
        channels = [
            Channel(**{**x, "colours": tuple(x["colours"]), "limits": x["limits"] and tuple(x["limits"])})
            for x in found["channels"]
        ]
        return cls(tuple(channels), found["axis"])

    def record(self, contrasts: Sequence[Contrast]) -> str:
        """Write the composite down, with the limits that its visible channels had; see `read`."""
        had = iter(contrasts)
        channels = [replace(x, limits=_limits(next(had))) if x.visible else x for x in self.channels]
        found = {"axis": self.axis, "channels": [asdict(x) for x in channels]}
        return _RECORDED + json.dumps(found, separators=(",", ":"))

    @property
    def visible(self) -> tuple[int, ...]:
        """Numbers of the channels that are shown."""
        return tuple(number for number, channel in enumerate(self.channels) if channel.visible)

    @cached_property
    def _shown(self) -> list[tuple[Channel, NDArray[np.float32]]]:
        return [(x, x.table) for x in self.channels if x.visible]

    def picture(self, raw: NDArray[np.generic], contrasts: Sequence[Contrast]) -> NDArray[np.uint8]:
        """Blend the visible channels over black.

        Parameters
        ----------
        raw
            Their intensities: (H, W, visible channels).
        contrasts
            The limits of each.

        Returns
        -------
        numpy.ndarray
            Colours, (H, W, 3).
        """
        picture = np.zeros((*raw.shape[:2], 3), np.float32)
        for number, ((channel, table), contrast) in enumerate(zip(self._shown, contrasts, strict=True)):
            source = table[without_hot_pixels(contrast.apply(raw[..., number], channel.gamma))]
            picture = _blended(picture, source, channel, lowest=number == 0)
        return np.rint(picture).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class ChannelArrays:
    """Arrays of one shape, each a channel of the same image.

    Attributes
    ----------
    arrays
        What `Planes` takes as an image: arrays, or lists of them from fine to coarse.
    """

    arrays: Sequence[Any] = field(repr=False)


def _blended(
    below: NDArray[np.float32], source: NDArray[np.float32], channel: Channel, lowest: bool
) -> NDArray[np.float32]:
    """Lay a channel over what lies below it, as napari's canvas does."""
    share = np.float32(channel.opacity)
    if channel.blending == "minimum":
        return source if lowest else np.minimum(below, source)
    if channel.blending == "additive" or lowest:
        return np.minimum(below + share * source, np.float32(255))
    if channel.blending == "multiplicative":
        return below * source / np.float32(255)
    if channel.blending == "opaque":
        return source
    return share * source + (1 - share) * below


def _limits(contrast: Contrast) -> tuple[float, float] | None:
    """Give the limits as far as they can be given again: a constant channel has none."""
    return (contrast.low, contrast.high) if contrast.low < contrast.high else None
