"""Write the reference numbers of the parity tests: what Meta's own code gives.

    python benchmarks/reference.py [--torchvision-stand-in FOLDER] [--out tests/data]

Weights, images and prompts come from ``tests/seeded.py``, so only the results are stored: of the small
vision transformer nearly all, of ViT-B a strided sample. Masks are packed bits of full-size masks. The first
of the four results of a prompt is the single mask, the others are the three candidates.

The automatic masks are made with the bundled weights on real images, so they must be written anew when the
weights change: ``--only automatic``. Meta's code needs OpenCV for one of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray

_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT / "tests"))

from official import (  # noqa: E402
    OfficialPredictor,
    add_option,
    build_official,
    generate_official,
    load_official,
    official_with_encoder,
)

from automatic_cases import QUICK, nano, real_image  # noqa: E402
from napari_sam.model.sam import CONFIGS, SamConfig  # noqa: E402
from napari_sam.weights.loading import load_model  # noqa: E402
from seeded import SMALL_VIT, seeded_image, seeded_prompts, seeded_state_dict  # noqa: E402

# The longer side above and below the model's 256, odd, thin, tall; and one that needs no resizing.
_SMALL_SHAPES = [(201, 163), (47, 311), (389, 64), (256, 256), (5, 90)]
_VIT_B_SHAPES = [(601, 803)]
# Every how many-th value is kept of embeddings (C, h, w), logits (M, h, w) and masks (M, H, W).
_SMALL_STEPS = {"embedding": (2, 1, 1), "logits": (1, 4, 4), "masks": (1, 1, 1)}
_VIT_B_STEPS = {"embedding": (8, 4, 4), "logits": (1, 8, 8), "masks": (1, 2, 2)}


def main() -> None:
    """Run the official code and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=_ROOT / "tests" / "data", help="folder to write to")
    parser.add_argument("--only", choices=("prompts", "automatic"), help="write only these")
    add_option(parser)
    arguments = parser.parse_args()
    official = load_official(arguments.torchvision_stand_in)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.only != "prompts":
        path = arguments.out / "reference_automatic.npz"
        np.savez_compressed(path, **_automatic(official))
        print(f"{path}: {path.stat().st_size} bytes")
    if arguments.only == "automatic":
        return

    shapes = {name: _shapes(official, CONFIGS[name]) for name in ("vit_b", "vit_l", "vit_h")}
    path = arguments.out / "state_dict_shapes.json"
    path.write_text(json.dumps(shapes, separators=(",", ":")).replace("},", "},\n") + "\n")
    print(f"{path}: {path.stat().st_size} bytes")
    for config, images, steps in (
        (SMALL_VIT, _SMALL_SHAPES, _SMALL_STEPS),
        (CONFIGS["vit_b"], _VIT_B_SHAPES, _VIT_B_STEPS),
    ):
        path = arguments.out / f"reference_{config.architecture}.npz"
        predictor = OfficialPredictor(official, config, seeded_state_dict(_shapes(official, config)))
        np.savez_compressed(path, **_reference(predictor, images, steps))
        print(f"{path}: {path.stat().st_size} bytes")


def _shapes(official: object, config: SamConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        state = build_official(official, config).state_dict()
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def _automatic(official: ModuleType) -> dict[str, NDArray[np.generic]]:
    """Collect ``{"<case>": masks as packed bits}``, their records as JSON, and the hash of the weights."""
    results: dict[str, NDArray[np.generic]] = {"weights": np.array(load_model("nano")[1].weights_hash)}
    for case in QUICK:
        model = official_with_encoder(official, nano(case.steep))
        records = generate_official(official, model, real_image(case.image), case.official_settings)
        masks = [record.pop("segmentation") for record in records]
        results[case.name] = np.packbits(np.stack(masks))
        results[f"{case.name}/records"] = np.array(json.dumps(records))
        print(f"{case.name}: {len(masks)} masks")
    return results


def _reference(
    predictor: OfficialPredictor,
    images: list[tuple[int, int]],
    steps: dict[str, tuple[int, int, int]],
) -> dict[str, NDArray[np.generic]]:
    """Collect ``{"<height>x<width>/<prompt>/<what>": array}`` and the steps themselves."""
    results: dict[str, NDArray[np.generic]] = {f"steps/{what}": np.array(s) for what, s in steps.items()}
    for height, width in images:
        image = f"{height}x{width}"
        results[f"{image}/embedding"] = _sample(
            predictor.encode(seeded_image(height, width)), steps["embedding"]
        )
        first = seeded_prompts(height, width, previous=np.zeros((1, 1), np.float32))["point"]
        previous = predictor.predict(first, multimask=False)[2][0]
        for name, prompt in seeded_prompts(height, width, previous).items():
            single, candidates = (predictor.predict(prompt, multimask) for multimask in (False, True))
            masks, scores, logits = (np.concatenate(pair) for pair in zip(single, candidates, strict=True))
            results[f"{image}/{name}/scores"] = scores
            results[f"{image}/{name}/logits"] = _sample(logits, steps["logits"])
            results[f"{image}/{name}/masks"] = np.packbits(_sample(masks, steps["masks"]))
    return results


def _sample(array: NDArray[np.generic], steps: tuple[int, int, int]) -> NDArray[np.generic]:
    return array[tuple(slice(None, None, step) for step in steps)]


if __name__ == "__main__":
    main()
