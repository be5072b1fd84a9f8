"""Meta's own Segment Anything (``segment-anything==1.0``), loaded to be compared with.

It imports torchvision for four small calls. Where no torchvision fits the installed torch, a folder with a
stand-in for those calls can be given instead.
"""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_sam.inference.prompts import Prompt
from napari_sam.model.conv_encoder import ConvConfig
from napari_sam.model.image_encoder import ViTConfig
from napari_sam.model.sam import Sam, SamConfig

# The parts that are not in the official model.
_OWN = ("image_encoder.", "proposal_head.")


def add_option(parser: ArgumentParser) -> None:
    """Add the option ``--torchvision-stand-in`` to a benchmark's command line."""
    parser.add_argument(
        "--torchvision-stand-in",
        type=Path,
        metavar="FOLDER",
        help="folder with a stand-in package torchvision, used only where the real one cannot be imported",
    )


def load_official(torchvision_stand_in: Path | None = None) -> ModuleType:
    """Import and return `segment_anything`.

    Raises
    ------
    SystemExit
        If it, or torchvision and a stand-in for it, is missing; the message says what to install.
    """
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError):  # the latter two: built for another torch
        if torchvision_stand_in is None:
            raise SystemExit(
                "torchvision cannot be imported; install the build that matches torch, or name a folder with "
                "a stand-in by --torchvision-stand-in."
            ) from None
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        sys.path.insert(0, str(torchvision_stand_in))
    try:
        return importlib.import_module("segment_anything")
    except ImportError as error:
        raise SystemExit(
            f"segment_anything cannot be imported ({error}); run: "
            "python -m pip install --no-deps segment-anything==1.0"
        ) from None


def build_official(official: ModuleType, config: SamConfig) -> torch.nn.Module:
    """Build the official model of ``config``: by its own registry, or for other sizes from its classes."""
    if config.architecture in official.sam_model_registry:
        return official.sam_model_registry[config.architecture]()
    encoder, decoder = config.encoder, config.decoder
    assert isinstance(encoder, ViTConfig), "the official code has vision transformers only"
    modeling = official.modeling
    return modeling.Sam(
        modeling.ImageEncoderViT(
            img_size=config.image_size,
            patch_size=encoder.patch,
            embed_dim=encoder.width,
            depth=encoder.depth,
            num_heads=encoder.heads,
            mlp_ratio=encoder.mlp_ratio,
            out_chans=decoder.width,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=encoder.window,
            global_attn_indexes=encoder.global_blocks,
        ),
        modeling.PromptEncoder(
            embed_dim=decoder.width,
            image_embedding_size=(config.grid, config.grid),
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=16,
        ),
        modeling.MaskDecoder(
            transformer_dim=decoder.width,
            transformer=modeling.TwoWayTransformer(
                depth=decoder.depth,
                embedding_dim=decoder.width,
                num_heads=decoder.heads,
                mlp_dim=decoder.mlp,
            ),
            iou_head_hidden_dim=decoder.score_hidden,
        ),
    ).eval()


def official_with_encoder(official: ModuleType, sam: Sam) -> torch.nn.Module:
    """Build the official model around the image encoder of one of ours, which may be of any architecture."""
    config = sam.config
    assert isinstance(config.encoder, ConvConfig), "the others have an encoder in the official code"
    # A transformer that takes no memory, to be replaced.
    any_encoder = ViTConfig(width=64, depth=1, heads=1, global_blocks=(), patch=config.encoder.patch)
    with torch.device("meta"):
        model = build_official(official, replace(config, encoder=any_encoder))
    state = {key: value for key, value in sam.state_dict().items() if not key.startswith(_OWN)}
    model.image_encoder = None
    model.load_state_dict(state, strict=True, assign=True)
    model.image_encoder = sam.image_encoder
    model.image_encoder.img_size = config.image_size
    return _finished(model)


def _finished(sam: torch.nn.Module) -> torch.nn.Module:
    """Add the two buffers that are in no checkpoint."""
    sam.pixel_mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
    sam.pixel_std = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    return sam.eval().requires_grad_(False)


class OfficialPredictor:
    """The official predictor, asked with our `Prompt`: the one place that turns it to Meta's convention."""

    def __init__(self, official: ModuleType, config: SamConfig, state: Mapping[str, torch.Tensor]) -> None:
        with torch.device("meta"):
            sam = build_official(official, config)
        sam.load_state_dict(state, strict=True, assign=True)
        self.sam = _finished(sam)
        self._predictor = official.SamPredictor(self.sam)

    def encode(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed a (H, W, 3) image and keep it: (C, grid, grid)."""
        self._predictor.set_image(image)
        return self._predictor.get_image_embedding()[0].numpy()

    def predict(
        self, prompt: Prompt, multimask: bool
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
        """Predict from the kept image: full-size masks, scores, low-resolution logits."""
        points = np.array(prompt.points)[:, ::-1] if prompt.points else None
        return self._predictor.predict(
            point_coords=points,
            point_labels=np.array(prompt.labels) if prompt.points else None,
            box=None if prompt.box is None else np.array(prompt.box)[[1, 0, 3, 2]],
            mask_input=None if prompt.mask is None else prompt.mask[None],
            multimask_output=multimask,
        )


def _allowing_none(suppress: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Let a suppression take no boxes, as torchvision's own does and a stand-in may not."""

    def allowing(boxes: torch.Tensor, *rest: torch.Tensor, **settings: float) -> torch.Tensor:
        return suppress(boxes, *rest, **settings) if len(boxes) else torch.empty(0, dtype=torch.int64)

    return allowing


def generate_official(
    official: ModuleType, sam: torch.nn.Module, image: NDArray[np.uint8], settings: Mapping[str, object]
) -> list[dict[str, Any]]:
    """Let the official generator make its records of the masks of a (H, W) or (H, W, 3) image."""
    generating = importlib.import_module(f"{official.__name__}.automatic_mask_generator")
    generating.batched_nms = _allowing_none(generating.batched_nms)
    colour = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    return official.SamAutomaticMaskGenerator(sam, **settings).generate(colour)
