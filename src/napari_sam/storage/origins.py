"""How each plane of an object was made: the prompts and the model, or the brush; and its place in a row."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_sam.inference.prompts import Prompt
from napari_sam.plane import Plane
from napari_sam.planes import LARGEST_SIDE
from napari_sam.runs import MaskRuns, decode_runs, encode_runs

Source = Literal["click", "automatic", "propagated", "brush", "import"]
NO_PROMPT = Prompt()
# The logits of no model have more a side; they are decompressed at once.
_MOST_LOGITS = 4096


@dataclass(frozen=True, eq=False)
class Making:
    """How a mask was made.

    Attributes
    ----------
    source
        ``"click"``, ``"automatic"``, ``"propagated"``, ``"brush"`` or ``"import"``.
    prompt, candidate
        What the model was asked, and which of its three answers was refined or taken.
    model, weights_hash
        The architecture and the SHA-256 of the weights' file; empty without a model.
    preprocessing
        How the plane's intensities became the model's; empty without a model.
    score
        The model's estimate of the mask's IoU.
    """

    source: Source
    prompt: Prompt = NO_PROMPT
    candidate: int | None = None
    model: str = ""
    weights_hash: str = ""
    preprocessing: str = ""
    score: float | None = None


@dataclass(frozen=True, eq=False)
class Origin:
    """What made one plane of an object, so that it can be refined, or made anew with another model.

    Attributes
    ----------
    label
        The object.
    plane
        Where it was made, with the axes that were displayed.
    mask
        The whole mask as it was accepted, before other objects kept what was theirs.
    time
        ISO 8601, UTC; that of the step that records it where left out.
    """

    label: int
    plane: Plane
    mask: MaskRuns
    making: Making
    time: str = ""


def encode_prompt(prompt: Prompt) -> tuple[str, bytes | None]:
    """Give a prompt as JSON, and its mask, if it has one, as bytes."""
    text: dict[str, Any] = {"points": prompt.points, "labels": prompt.labels, "box": prompt.box}
    if prompt.mask is None:
        return json.dumps(text), None
    text["mask"] = {"shape": prompt.mask.shape, "logits": prompt.mask.dtype != bool}
    if prompt.mask.dtype == bool:
        return json.dumps(text), encode_runs(prompt.mask.astype(bool))
    return json.dumps(text), zlib.compress(prompt.mask.astype("<f4").tobytes(), 1)


def decode_prompt(text: str, mask: bytes | None) -> Prompt:
    """Give the prompt that `encode_prompt` encoded.

    Raises
    ------
    ValueError
        If that is damaged.
    """
    try:
        stored = json.loads(text)
        box = None if stored["box"] is None else tuple(stored["box"])
        prompt = Prompt([tuple(x) for x in stored["points"]], stored["labels"], box)
        if mask is None:
            return prompt
        height, width = (int(n) for n in stored["mask"]["shape"])
        decoded = _decode_mask(mask, (height, width), stored["mask"]["logits"])
        return replace(prompt, mask=decoded)
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise ValueError(f"The ledger holds a damaged prompt ({error}).") from error


def _decode_mask(
    mask: bytes, shape: tuple[int, int], logits: bool
) -> NDArray[np.bool_] | NDArray[np.float32]:
    if not all(0 < n <= (_MOST_LOGITS if logits else LARGEST_SIDE) for n in shape):
        raise ValueError(f"a mask of {shape[0]} x {shape[1]} pixels")
    if not logits:
        return decode_runs(mask, shape)
    plain = zlib.decompressobj().decompress(mask, 4 * shape[0] * shape[1])
    return np.frombuffer(plain, "<f4").reshape(shape).astype(np.float32)


def origin_to_row(origin: Origin, time: str) -> dict[str, Any]:
    """Give an origin as the columns of the table ``origins``."""
    making = origin.making
    text, mask = encode_prompt(making.prompt)
    row0, column0, row1, column1 = origin.mask.box
    return {
        "label": origin.label,
        "displayed": json.dumps(origin.plane.displayed),
        "position": json.dumps(origin.plane.position),
        "source": making.source,
        "time": origin.time or time,
        "prompt": text,
        "prompt_mask": mask,
        "candidate": making.candidate,
        "model": making.model,
        "weights_hash": making.weights_hash,
        "preprocessing": making.preprocessing,
        "score": making.score,
        "area": origin.mask.area,
        "row0": row0,
        "column0": column0,
        "row1": row1,
        "column1": column1,
        "runs": origin.mask.runs,
    }


def plane_from_row(row: Any) -> Plane:
    """Give the plane of a row of the table ``origins``."""
    rows, columns = json.loads(row["displayed"])
    return Plane((rows, columns), tuple(json.loads(row["position"])))


def origin_from_row(row: Any) -> Origin:
    """Give the origin of a row of the table ``origins``."""
    making = Making(
        row["source"],
        decode_prompt(row["prompt"], row["prompt_mask"]),
        row["candidate"],
        row["model"],
        row["weights_hash"],
        row["preprocessing"],
        row["score"],
    )
    return Origin(
        row["label"],
        plane_from_row(row),
        MaskRuns((row["row0"], row["column0"], row["row1"], row["column1"]), row["area"], row["runs"]),
        making,
        row["time"],
    )
