"""One letter per axis: checked, read from what a file or a reader says of the image, or guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Letters for images of up to seven axes, the last ones first; a stack of planes is rather one in depth.
_LETTERS, _STACK = "nmtczyx", "zyx"
# The letter of the samples of an RGB or RGBA image.
SAMPLES = "s"


def default_axes(ndim: int, rgb: bool = False) -> str:
    """Guess the letters: ``"zyx"`` for three axes, and so on.

    Raises
    ------
    ValueError
        If there are too few axes for a plane, or too many to guess.
    """
    spatial = ndim - rgb
    if spatial < 2:
        raise ValueError(f"An array of {ndim} axes{' with colours' if rgb else ''} has no plane.")
    letters = _LETTERS if spatial > len(_STACK) else _STACK
    if spatial > len(letters):
        raise ValueError(
            f"Images have at most {len(letters)} axes, this one has {spatial}; give their letters."
        )
    return letters[-spatial:] + SAMPLES * rgb


def check_axes(text: str, shape: Sequence[int]) -> str:
    """Give the letters that a user typed for an image of ``shape``, colours left out, in lower case.

    Raises
    ------
    ValueError
        If they are not one different letter for each axis.
    """
    axes = "".join(text.lower().replace(",", " ").split())
    if not _fits(axes, len(shape)):
        some = default_axes(len(shape)) if 2 <= len(shape) <= len(_LETTERS) else _LETTERS
        raise ValueError(
            f"The axes {text!r} do not fit an image of shape {tuple(shape)}; give {len(shape)} different "
            f"letters but s, such as {some}."
        )
    return axes


def known_axes(labels: Sequence[str]) -> str | None:
    """Give the first letters of the axes' labels; None where these say nothing."""
    axes = "".join(str(label)[:1].lower() for label in labels)
    return axes if _fits(axes, len(labels)) else None


def axes_in_metadata(metadata: Mapping[str, Any], shape: Sequence[int]) -> str | None:
    """Read what a reader wrote of an image of ``shape``: OME-Zarr's ``multiscales``, or ``axes``.

    These may still name the channels that the reader gave layers of their own.
    """
    ome = metadata.get("ome")
    described = ome if isinstance(ome, Mapping) else metadata
    multiscales = described.get("multiscales")
    found: Any = described.get("axes", metadata.get("axes"))
    if isinstance(multiscales, Sequence) and multiscales and isinstance(multiscales[0], Mapping):
        found = multiscales[0].get("axes", found)
    if not isinstance(found, Sequence):
        return None
    names = [str(x.get("name", "") if isinstance(x, Mapping) else x) for x in found]
    axes = known_axes(names)
    return None if axes is None else without_channels(axes, len(shape))


def axes_of_layer(axes: str, file_shape: Sequence[int], shape: Sequence[int]) -> str | None:
    """Fit the axes of a file to a layer that was read from it.

    Channels may have got layers of their own, and axes of one index may have been left out; None where the
    layer is something else.
    """
    axes = axes.removesuffix(SAMPLES)
    lengths = dict(zip(axes, file_shape, strict=False))
    for kept in (axes, axes.replace("c", "")):
        for fitting in (kept, "".join(x for x in kept if lengths.get(x) != 1)):
            if [lengths[x] for x in fitting] == list(shape) and _fits(fitting, len(shape)):
                return fitting
    return None


def without_channels(axes: str, ndim: int) -> str | None:
    """Leave the channels out if there is one letter too many; None where the number does not fit."""
    if len(axes) == ndim + 1:
        axes = axes.replace("c", "")
    return axes if len(axes) == ndim else None


def _fits(axes: str, ndim: int) -> bool:
    different = len(set(axes)) == len(axes) == ndim
    return different and axes.isascii() and axes.isalpha() and SAMPLES not in axes
