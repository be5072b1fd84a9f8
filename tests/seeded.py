"""Weights, images and prompts that are the same on every machine, for parity checks and fast tests.

Both the official code and ours are fed with them: `benchmarks/reference.py` writes what the official code
gives, the tests compare.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_sam.inference.coordinates import Geometry
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.results import Prediction
from napari_sam.model.conv_encoder import ConvConfig
from napari_sam.model.image_encoder import ViTConfig
from napari_sam.model.sam import Sam, SamConfig
from napari_sam.model.two_way_transformer import DecoderConfig
from napari_sam.weights.loading import ModelIdentity

# Of nano's architecture with this seed no mask of the tests is empty.
NANO_SEED = 3

# A vision transformer that encodes in milliseconds. Its 16 x 16 grid is no multiple of the window, so the
# padding of windows is exercised too.
SMALL_VIT = SamConfig(
    "small_vit",
    ViTConfig(width=64, depth=4, heads=4, global_blocks=(1, 3), window=5),
    image_size=256,
    decoder=DecoderConfig(width=32, heads=4, mlp=64, score_hidden=48),
)


def seeded_state_dict(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    """Return a tensor for each of ``{key: shape}``; its values depend on the key, the shape and the seed.

    Norm scales and batch-norm variances are near one, matrices have a standard deviation of
    1 / sqrt(fan-in), all else 0.1; integer counters are zero. The frequency matrix of the positional
    encoding is standard normal.
    """
    state = {}
    for key, shape in shapes.items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.zeros(shape, dtype=torch.int64)
            continue
        rng = np.random.default_rng([zlib.crc32(key.encode()), seed])
        values = rng.standard_normal(shape).astype(np.float32)
        if key.endswith("positional_encoding_gaussian_matrix"):
            pass
        elif key.endswith("running_var"):
            values = 1 + 0.1 * np.abs(values)
        elif key.endswith(".weight") and len(shape) == 1:
            values = 1 + 0.1 * values
        elif key.endswith(".weight"):
            values /= np.sqrt(np.prod(shape[1:]))
        else:
            values *= 0.1
        state[key] = torch.from_numpy(values.astype(np.float32))
    return state


def seeded_image(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return a (height, width, 3) image of smooth, coloured blobs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    image = np.zeros((height, width, 3))
    for _ in range(24):
        cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        radius = rng.uniform(0.02, 0.12) * max(height, width)
        colour = rng.uniform(0.2, 1.0, 3)
        image += colour * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * radius**2))[..., None]
    return np.clip(255 * image / image.max(), 0, 255).round().astype(np.uint8)


def seeded_prompts(height: int, width: int, previous: NDArray[np.floating]) -> dict[str, Prompt]:
    """Return one prompt of every kind for a plane; ``previous`` are the logits that a mask prompt refines.

    Positions are fractions of the plane, most of them not at a pixel's centre.
    """
    one = [(0.43 * height, 0.38 * width)]
    several = [*one, (0.57 * height, 0.61 * width), (0.12 * height, 0.83 * width)]
    labels = [1, 1, 0]
    box = (0.21 * height, 0.17 * width, 0.71 * height, 0.64 * width)
    return {
        "point": Prompt(one),
        "points": Prompt(several, labels),
        "box": Prompt(box=box),
        "box_points": Prompt(several, labels, box),
        "mask": Prompt(mask=previous),
        "mask_point": Prompt([several[1]], mask=previous),
        "mask_points_box": Prompt(several, labels, box, mask=previous),
    }


def seeded_weights(config: SamConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return the seeded state dict of one of our architectures."""
    with torch.device("meta"):
        state = Sam(config).state_dict()
    return seeded_state_dict({key: tuple(tensor.shape) for key, tensor in state.items()}, seed)


def tiny_config() -> SamConfig:
    """Return an architecture like nano's that encodes in some milliseconds."""
    return SamConfig(
        "tiny",
        ConvConfig(stem=8, widths=(8, 16, 16, 16), depths=(1, 1, 1, 1)),
        image_size=128,
        decoder=DecoderConfig(width=32, heads=4, mlp=32, score_hidden=32),
    )


def seeded_model(config: SamConfig, seed: int = 0) -> Sam:
    """Build the model of an architecture with seeded weights."""
    with torch.device("meta"):
        sam = Sam(config)
    sam.load_state_dict(seeded_weights(config, seed), strict=True, assign=True)
    return sam.eval().requires_grad_(False)


def seeded_predictor(config: SamConfig, seed: int = 0) -> Predictor:
    """Build the public predictor of an architecture with seeded weights, on the CPU."""
    return predictor_of(seeded_model(config, seed), f"seeded {seed}")


def predictor_of(sam: Sam, name: str = "seeded") -> Predictor:
    """Build the public predictor of a model, on the CPU."""
    return Predictor(sam, ModelIdentity(sam.config.architecture, name), torch.device("cpu"))


def same(one: Prediction, other: Prediction) -> bool:
    """Whether two predictions agree but for rounding, which depends on where in memory the numbers lie."""
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("scores", "logits")]
    return all(a.shape == b.shape and np.allclose(a, b, rtol=0, atol=1e-5) for a, b in pairs) and bool(
        np.mean(one.masks != other.masks) <= 1e-4
    )


def interpolate_twice(logits: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Upscale (M, h, w) logits to the plane as the official code does: by way of the model's input."""
    side = geometry.image_size
    square = F.interpolate(logits[None], (side, side), mode="bilinear", align_corners=False)
    inside = square[..., : geometry.scaled[0], : geometry.scaled[1]]
    return F.interpolate(inside, geometry.original, mode="bilinear", align_corners=False)[0]
