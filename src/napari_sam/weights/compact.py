"""Store large convolution weights in 8 bits, with a scale for each output channel, and read them again.

Only the file is smaller: models compute with floats. Jacob et al., "Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference" (2018), with symmetric steps and the weights alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# What is appended to the key of a weight in 8 bits to make the key of its scales.
SCALE = "_scale"
# Weights with fewer numbers add little to a file, and the thin first layers among them feed all others.
LARGE = 65_536
_WEIGHT = "weight"
# Steps on either side of zero; -128 is not used, so that both have as many.
_STEPS = 127


def compacted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a state as it is stored: large convolutions in 8 bits, all else in half precision.

    A convolution's ``weight`` of at least `LARGE` numbers becomes int8 in -127..127. Beside it, under its key
    with ``_scale``, stand the steps of its output channels: (C_out,) float32, each channel's largest
    magnitude / 127. What half precision cannot hold stays as it is.

    Returns
    -------
    dict
        The tensors under their keys; `expanded` gives every weight within half a step of what it was.
    """
    stored = {}
    for key, value in state.items():
        if _is_large_convolution(key, value):
            stored[key], stored[key + SCALE] = _in_steps(value.float())
        else:
            stored[key] = _halved(value)
    return stored


def expanded(state: Mapping[str, Tensor], model: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Give a stored state with its weights in 8 bits as float32; all other tensors are those of ``state``.

    Parameters
    ----------
    state
        As `compacted` gives it.
    model
        The model's own state. What it does not have, or has in another shape, stays in 8 bits: a small file
        may name the same numbers a thousand times, and the floats of each take memory of their own. Left out,
        all become floats.

    Raises
    ------
    ValueError
        If a weight in 8 bits lacks its scales, scales lack their weight, or the two do not fit; the message
        names the key.
    """
    weights = [key for key, value in state.items() if _is_compact(value)]
    scales = {key + SCALE for key in weights}
    for key in state:
        if key.endswith(_WEIGHT + SCALE) and key not in scales:
            weight = key.removesuffix(SCALE)
            raise ValueError(f"{key} are the scales of {weight}, which is no plain convolution in 8 bits")
    floats = {}
    for key in weights:
        steps = _steps_of(key, state)
        if model is None or (key in model and model[key].shape == state[key].shape):
            floats[key] = state[key] * _per_channel(steps)
    return {key: floats.get(key, value) for key, value in state.items() if key not in scales}


def _is_large_convolution(key: str, value: Tensor) -> bool:
    """Whether a tensor is stored in 8 bits. A table of positions has four dimensions too, but no channels."""
    large = key.endswith(_WEIGHT) and value.ndim == 4 and value.numel() >= LARGE
    # One number that is not finite would spoil its channel.
    return large and value.is_floating_point() and bool(value.isfinite().all())


def _is_compact(value: Tensor) -> bool:
    """Whether a tensor is as `compacted` stores a convolution.

    A tensor that repeats its numbers is not: a small file may claim one that no memory holds. Like all that
    is of another type than the model's, it is refused where keys and shapes are checked.
    """
    return value.dtype == torch.int8 and value.ndim == 4 and is_plain(value) and value.is_contiguous()


def is_plain(value: Tensor) -> bool:
    """Whether a tensor is a plain array in memory; of what is nested not even the shape can be asked."""
    strided = value.layout == torch.strided and not value.is_nested
    return strided and value.device.type == "cpu" and not value.is_quantized


def _in_steps(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Give a (C_out, C_in, h, w) weight in steps, and (C_out,) how large the steps are."""
    largest = weight.abs().amax(dim=(1, 2, 3))
    # Not zero, so that a channel of zeros stays one.
    scale = (largest / _STEPS).clamp(min=torch.finfo(weight.dtype).tiny)
    return (weight / _per_channel(scale)).round().to(torch.int8), scale


def _steps_of(key: str, state: Mapping[str, Tensor]) -> Tensor:
    """Give the steps of the weight ``key`` as float32; halves would add an error to that of the steps."""
    weight, scale = state[key], state.get(key + SCALE)
    if scale is None:
        raise ValueError(f"{key} is in 8 bits, but its scales {key}{SCALE} are missing")
    channels = (len(weight),)
    if not (scale.is_floating_point() and is_plain(scale) and scale.is_contiguous()):
        raise ValueError(f"{key}{SCALE} holds no plain floats but {scale.dtype}")
    if scale.shape != channels:
        raise ValueError(f"{key}{SCALE} has the shape {tuple(scale.shape)} instead of {channels}")
    steps = scale.float()
    if not (steps.isfinite() & (steps > 0)).all():
        raise ValueError(f"{key}{SCALE} holds numbers that are not finite, or not above zero")
    return steps


def _per_channel(scale: Tensor) -> Tensor:
    return scale[:, None, None, None]  # (C_out, 1, 1, 1)


def _halved(value: Tensor) -> Tensor:
    """Give a tensor in half precision, or as it is where that cannot hold it: a variance may be too large."""
    if not value.is_floating_point():
        return value
    half = value.half()
    return half if half.isfinite().all() else value
