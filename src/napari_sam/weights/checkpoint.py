"""Read a checkpoint that comes from elsewhere: no code in it is ever run, and only SAM's part is taken."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from napari_sam.weights.compact import expanded

SHOWN_KEYS = 3
# What a file with weights may be called.
SUFFIXES = (".pth", ".pt", ".safetensors")
# Every key of a SAM, or of the head that nano has besides, begins with one of these, perhaps behind a prefix
# that a wrapper gave it.
_PART = re.compile(r"(^|.*?\.)(?:image_encoder|prompt_encoder|mask_decoder|proposal_head|close_up)\.")


class CheckpointError(ValueError):
    """A file that cannot be used as a checkpoint of the chosen model; the message says why."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """SAM's part of a file.

    Attributes
    ----------
    state
        ``{key: tensor}`` with the official keys, on the CPU, as the file has them; what it has in 8 bits, as
        float32 where a model can use it.
    left_out
        What else the file holds, in words.
    """

    state: dict[str, Tensor]
    left_out: tuple[str, ...] = ()


def read_checkpoint(
    path: Path, mapped: bool = False, model: Mapping[str, Tensor] | None = None
) -> Checkpoint:
    """Read the SAM in a ``.pth``, ``.pt`` or ``.safetensors`` file.

    Plain weights are taken as they are. Of a training's checkpoint, such as micro-sam's, the dictionary with
    the most SAM weights is taken, and a prefix like ``sam.`` or ``module.`` is cut off.

    Parameters
    ----------
    path
        The file.
    mapped
        Leave the weights in the file until they are used. A file that is written anew in place while it is
        mapped ends the process, so this is for files that nobody writes. Weights in 8 bits are read at once.
    model
        The state of the model that it is for: only what that has becomes floats, see `expanded`.

    Raises
    ------
    CheckpointError
        If there is no such file, it is damaged, holds anything but plain data, no weights, or weights in 8
        bits without the scales that belong to them.
    """
    check_presence(path)
    try:
        content = _content(path, mapped)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # foreign bytes make the unpickler raise nearly every type there is
        raise CheckpointError(f"{path} could not be read as a checkpoint: {_reason(error)}") from error
    if not isinstance(content, Mapping):
        raise _no_weights(path, type(content).__name__)
    return _expanded(path, _sam_part(path, content), model)


def check_presence(path: Path) -> None:
    """Raise a `CheckpointError` if there is no such file."""
    if not path.is_file():
        kinds = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        raise CheckpointError(f"There is no checkpoint at {path}; choose an existing {kinds} file.")


def _content(path: Path, mapped: bool) -> object:
    """Read what the file holds, without running anything that it may ask for."""
    if path.suffix.lower() == ".safetensors":
        state = safetensors.torch.load_file(path)
        return state if mapped else {key: value.clone() for key, value in state.items()}
    # Files of torch before 1.6 are no zip archives and cannot be mapped.
    is_archive = zipfile.is_zipfile(path)
    if is_archive:
        _check_members(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and is_archive)


def _check_members(path: Path) -> None:
    """Refuse an archive with compressed members: PyTorch writes none, and a small one may fill the memory."""
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("compressed members")


def _sam_part(path: Path, content: Mapping[object, object]) -> Checkpoint:
    """Take the dictionary with the most SAM weights, without the prefix that most of them have."""
    found = Counter(
        (name, match[1])
        for name, weights in _dictionaries(content)
        for key in weights
        if isinstance(key, str) and (match := _PART.match(key))
    )
    if not found:
        # No SAM, or one without any key that is known: the model will name what is missing.
        if content and not all(isinstance(value, Tensor) for value in content.values()):
            raise _no_weights(path, f"the keys {', '.join(str(key) for key in [*content][:SHOWN_KEYS])}")
        return Checkpoint({str(key): value for key, value in content.items() if isinstance(value, Tensor)})
    (name, prefix), _ = found.most_common(1)[0]
    state: dict[str, Tensor] = {}
    others: dict[object, object] = {}
    for key, value in dict(_dictionaries(content))[name].items():
        short = str(key).removeprefix(prefix)
        if not str(key).startswith(prefix) or (match := _PART.match(short)) is None or match[1]:
            others[short] = value
        elif isinstance(value, Tensor):
            state[short] = value
        else:
            raise _no_weights(path, f"{type(value).__name__} as {key}")
    beside = {} if name is None else {key: value for key, value in content.items() if key != name}
    return Checkpoint(state, (*_in_words(beside), *_in_words(others)))


def _expanded(path: Path, read: Checkpoint, model: Mapping[str, Tensor] | None) -> Checkpoint:
    """Make floats of the weights that `compacted` stored in 8 bits."""
    try:
        return replace(read, state=expanded(read.state, model))
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged: {error}. Copy or export the file anew, or choose another one."
        ) from error


def _dictionaries(content: Mapping[object, object]) -> Iterator[tuple[object, Mapping[object, object]]]:
    """Give the dictionary itself, named None, and those directly in it."""
    yield None, content
    for key, value in content.items():
        if key is not None and isinstance(value, Mapping):
            yield key, value


def _in_words(content: Mapping[object, object]) -> list[str]:
    """Name what a dictionary holds: tensors by the first word of their keys, the network they belong to."""
    counts: Counter[str] = Counter()
    for key, value in content.items():
        if isinstance(value, Mapping):
            counts[str(key)] += sum(isinstance(x, Tensor) for x in value.values())
        else:
            counts[str(key).partition(".")[0]] += isinstance(value, Tensor)
    return [f"{name} ({count} tensors)" if count > 1 else name for name, count in counts.items()]


def _no_weights(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        f"{path} holds no plain dictionary of weights but {found}; save the model's state dict alone."
    )


def _reason(error: Exception) -> str:
    """Say why a file cannot be read. PyTorch's own text would advise to load it without safety."""
    if foreign := re.search(r"GLOBAL (\S+)", str(error)):
        return (
            f"it holds the Python object {foreign[1]}, not only weights, and could run code. Programs that "
            "train save such files. Export the weights alone where it was made (in micro-sam by "
            "micro_sam.util.export_custom_sam_model), and choose that file."
        )
    return (
        "it is damaged or of another format. Choose a .pth or .pt file with plain weights, or a .safetensors "
        "file."
    )
