"""Open a checkpoint safely: no pickled code is ever run, and every key and shape is checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from napari_sam.model.sam import CONFIGS, Sam

_SHOWN_KEYS = 3


class CheckpointError(ValueError):
    """A file that cannot be used as a checkpoint of the chosen model; the message says why."""


@dataclass(frozen=True)
class ModelIdentity:
    """What gave a result: the architecture, the SHA-256 of the weights' file, the encoder's precision."""

    architecture: str
    weights_hash: str
    precision: str = "float32"


def load_model(model: str, checkpoint: str | Path | None = None) -> tuple[Sam, ModelIdentity]:
    """Build ``model`` with the weights of ``checkpoint``; `load_predictor` documents the arguments.

    Raises
    ------
    ValueError
        If the model is unknown or needs a checkpoint.
    CheckpointError
        If the file is missing, unreadable, or holds other keys or shapes than the model.
    """
    if model not in CONFIGS:
        raise ValueError(f"The model {model!r} is unknown; choose one of {', '.join(CONFIGS)}.")
    if checkpoint is not None:
        path = Path(checkpoint).expanduser()
        state, weights_hash = read_checkpoint(path)
    elif model == "nano":
        with as_file(files("napari_sam.weights") / "nano.safetensors") as path:
            state, weights_hash = read_checkpoint(path)
    else:
        raise ValueError(
            f"The model {model!r} needs a checkpoint: download its file from the section 'Model Checkpoints' "
            "of https://github.com/facebookresearch/segment-anything and give its path as checkpoint=."
        )
    with torch.device("meta"):  # no time is spent on initial values that the checkpoint replaces
        sam = Sam(CONFIGS[model])
    check_state(sam, state, path)
    sam.load_state_dict(state, strict=True, assign=True)
    return sam.eval().requires_grad_(False), ModelIdentity(model, weights_hash)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read weights as ``{key: tensor}`` with floats in single precision, and the SHA-256 of the file.

    Raises
    ------
    CheckpointError
        If there is no such file, or it is not a dictionary of tensors in one of the two formats.
    """
    if not path.is_file():
        raise CheckpointError(
            f"There is no checkpoint at {path}; choose an existing .pth or .safetensors file."
        )
    with path.open("rb") as file:
        weights_hash = hashlib.file_digest(file, "sha256").hexdigest()
    state: object
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # foreign bytes make the unpickler raise nearly every type there is
        raise CheckpointError(
            f"{path} could not be read as a checkpoint: {_reason(error)}. Choose a .pth file with "
            "plain weights or a .safetensors file."
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        found = type(state).__name__
        if isinstance(state, Mapping):
            found = f"the keys {', '.join(str(key) for key in [*state][:_SHOWN_KEYS])}"
        raise CheckpointError(
            f"{path} holds no plain dictionary of weights but {found}; save the model's state dict alone."
        )
    return {
        str(key): value.float() if value.is_floating_point() else value for key, value in state.items()
    }, weights_hash


def _reason(error: Exception) -> str:
    """Say why a file cannot be read. PyTorch's own text would advise to load it without safety."""
    if foreign := re.search(r"GLOBAL (\S+)", str(error)):
        return f"it holds the Python object {foreign[1]}, not only weights, and could run code"
    return "it is damaged or of another format"


def check_state(sam: Sam, state: Mapping[str, Tensor], path: Path) -> None:
    """Raise a `CheckpointError` that names the missing, foreign and misshapen keys, if there are any."""
    expected = {key: value.shape for key, value in sam.state_dict().items()}
    missing = [key for key in expected if key not in state]
    foreign = [key for key in state if key not in expected]
    misshapen = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(shape)}"
        for key, shape in expected.items()
        if key in state and state[key].shape != shape
    ]
    problems = [
        f"{len(keys)} {what} ({', '.join(keys[:_SHOWN_KEYS])}{', ...' if len(keys) > _SHOWN_KEYS else ''})"
        for what, keys in (("keys missing", missing), ("unknown keys", foreign), ("other shapes", misshapen))
        if keys
    ]
    if problems:
        raise CheckpointError(
            f"{path} is not a checkpoint of {sam.config.architecture}: {'; '.join(problems)}. "
            "Choose the model that the file belongs to, or another file."
        )
