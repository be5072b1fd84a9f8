"""Build a model with weights: the bundled ones, the catalogue's or a file's; keys and shapes are checked."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import Tensor

from napari_sam.model.precision import FULL
from napari_sam.model.sam import CONFIGS, Sam
from napari_sam.weights.catalogue import ModelRow, model_row
from napari_sam.weights.checkpoint import (
    SHOWN_KEYS,
    Checkpoint,
    CheckpointError,
    check_presence,
    read_checkpoint,
)
from napari_sam.weights.compact import is_plain
from napari_sam.weights.download import fetch, terminal_report
from napari_sam.weights.folder import Weights

__all__ = ["CheckpointError", "ModelIdentity", "load_model"]

# How much of what a file holds besides a SAM is named.
_SHOWN_LEFT_OUT = 6
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelIdentity:
    """What gave a result: the architecture, the SHA-256 of the weights' file, the encoder's precision.

    ``notes`` are what the user should know of these weights; they make no difference to a result.
    """

    architecture: str
    weights_hash: str
    precision: str = FULL
    notes: tuple[str, ...] = field(default=(), compare=False)


def load_model(model: str, checkpoint: str | Path | None = None) -> tuple[Sam, ModelIdentity]:
    """Build ``model`` with the weights of ``checkpoint``; `load_predictor` documents the arguments.

    Weights in the folder of models stay in their file until they are used: loading takes hardly any memory.
    A user's own file is read at once: some program may write it anew.

    Raises
    ------
    ValueError
        If the model is unknown.
    CheckpointError
        If the file is missing, unreadable, or holds other keys or shapes than the model, or a user's own
        one numbers that are not finite.
    DownloadError, WrongFileError
        If the weights cannot be downloaded, or are not the published ones.
    """
    row = model_row(model)
    with _weights(row, checkpoint) as weights:
        with torch.device("meta"):  # no time is spent on initial values that the checkpoint replaces
            sam = Sam(CONFIGS[row.architecture])
        read = read_checkpoint(weights.path, mapped=checkpoint is None, model=sam.state_dict())
        check_state(sam, read.state, weights.path)
        if checkpoint is not None:
            _check_finite(read.state, weights.path)
    sam.load_state_dict(_in_single_precision(read.state), strict=True, assign=True)
    notes = (*weights.notes, *_left_out(weights.path, read))
    for note in notes:
        _log.warning(note)
    return sam.eval().requires_grad_(False), ModelIdentity(row.architecture, weights.sha256, notes=notes)


@contextmanager
def _weights(row: ModelRow, checkpoint: str | Path | None) -> Iterator[Weights]:
    """Give the file to load, downloaded if need be."""
    if checkpoint is not None:
        path = Path(checkpoint).expanduser()
        yield Weights(path, _sha256(path))
    elif row.is_bundled:
        with as_file(files("napari_sam.weights") / f"{row.key}.safetensors") as path:
            yield Weights(path, _sha256(path))
    else:
        with terminal_report(row) as report:
            weights = fetch(row, report)
        yield weights


def _sha256(path: Path) -> str:
    check_presence(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _in_single_precision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Widen weights that were stored in less; those in single precision stay where they are."""
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def _left_out(path: Path, read: Checkpoint) -> tuple[str, ...]:
    if not read.left_out:
        return ()
    shown = ", ".join(read.left_out[:_SHOWN_LEFT_OUT])
    more = len(read.left_out) - _SHOWN_LEFT_OUT
    rest = f" and {more} more" if more > 0 else ""
    return (f"{path.name} holds more than a SAM; only that was loaded. Left out: {shown}{rest}.",)


def check_state(sam: Sam, state: Mapping[str, Tensor], path: Path) -> None:
    """Raise a `CheckpointError` that names the missing, foreign and unfit keys, if there are any."""
    expected = sam.state_dict()
    missing = [key for key in expected if key not in state]
    foreign = [key for key in state if key not in expected]
    present = [(key, value, state[key]) for key, value in expected.items() if key in state]
    misshapen = [
        f"{key} {tuple(found.shape)} instead of {tuple(value.shape)}"
        for key, value, found in present
        if is_plain(found) and found.shape != value.shape
    ]
    mistyped = [
        f"{key} {found.dtype}"
        for key, value, found in present
        if not (is_plain(found) and (found.shape != value.shape or _is_same_kind(found, value)))
    ]
    problems = [
        f"{len(keys)} {what} ({', '.join(keys[:SHOWN_KEYS])}{', ...' if len(keys) > SHOWN_KEYS else ''})"
        for what, keys in (
            ("keys missing", missing),
            ("unknown keys", foreign),
            ("other shapes", misshapen),
            ("other types", mistyped),
        )
        if keys
    ]
    if problems:
        raise CheckpointError(
            f"{path} is not a checkpoint of {sam.config.architecture}: {'; '.join(problems)}. "
            "Choose the model that the file belongs to, or another file."
        )


def _check_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse what a training that went astray has left: masks would be empty or end in an error."""
    for key, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise CheckpointError(
                f"{path} holds numbers in {key} that are not finite: its training went astray. Choose an "
                "earlier checkpoint of that training, or another file."
            )


def _is_same_kind(found: Tensor, expected: Tensor) -> bool:
    """Whether a tensor holds numbers of the kind that the model has there."""
    return found.dtype == expected.dtype or (found.is_floating_point() and expected.is_floating_point())
