"""From a model's name to its predictor, on the fastest device that is there."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from napari_sam.inference.predictor import Predictor
from napari_sam.model.compiling import check_compiler, compile_blocks
from napari_sam.model.folding import fold_norms
from napari_sam.model.precision import FULL, check_precision, offered, reduce_precision
from napari_sam.model.sam import CONFIGS
from napari_sam.weights.catalogue import model_row
from napari_sam.weights.loading import load_model


def load_predictor(
    model: str = "nano",
    checkpoint: str | Path | None = None,
    device: str | None = None,
    precision: str = FULL,
    compile: bool = False,  # noqa: A002 - torch's own word for it
) -> Predictor:
    """Load a model and its weights.

    Parameters
    ----------
    model
        Key of a model: ``"nano"`` ships with the package; ``"vit_b"``, ``"vit_b_lm"`` and the others that
        ``napari-sam models`` lists are downloaded at their first use.
    checkpoint
        Path of a ``.pth``, ``.pt`` or ``.safetensors`` file of that model's architecture, in the place of the
        published weights. Of a fine-tune that holds more than a SAM, the SAM is taken.
    device
        ``"cpu"``, ``"cuda"``, ``"mps"``; the fastest one present if left out.
    precision
        Of the image encoder: ``"float32"``, or ``"bfloat16"``, ``"float16"``, ``"int8"`` where the device
        gains from it (`napari_sam.precisions` tells). The masks nearly stay; see the page on speed.
    compile
        Whether the image encoder is compiled at its first use, on CUDA only: see `compile_blocks`.

    Raises
    ------
    ValueError
        If the model or the device is unknown, or gains nothing from the precision or from compilation.
    DownloadError
        If the weights are not here and cannot be downloaded; the message says where to put them by hand.
    CheckpointError
        If the file is missing, unreadable, or holds other keys or shapes than the model.
    """
    target = _device(device)
    # Before anything is downloaded.
    check_precision(CONFIGS[model_row(model).architecture], precision, target)
    if compile:
        check_compiler(target)
    sam, identity = load_model(model, checkpoint)
    fold_norms(sam)
    reduce_precision(sam, precision, target)
    if compile:
        compile_blocks(sam, target)
    return Predictor(sam, replace(identity, precision=precision), target)


def precisions(model: str = "nano", device: str | None = None) -> tuple[str, ...]:
    """Name the precisions of the image encoder from which a model gains on a device, ``"float32"`` first.

    Raises
    ------
    ValueError
        If the model or the device is unknown.
    """
    return offered(CONFIGS[model_row(model).architecture], _device(device))


def _device(name: str | None) -> torch.device:
    """Choose the fastest device, or the one named if it is there."""
    present = ["cpu"]
    if torch.backends.mps.is_available():
        present.insert(0, "mps")
    if torch.cuda.is_available():
        present.insert(0, "cuda")
    if name is None:
        return torch.device(present[0])
    with suppress(RuntimeError):  # what torch says of a name that it does not know
        device = torch.device(name)
        count = torch.cuda.device_count() if device.type == "cuda" else 1
        if device.type in present and (device.index or 0) < count:
            return device
    raise ValueError(f"The device {name!r} is not there; choose one of {', '.join(present)}.")
