"""`torch.compile` of the image encoder, block by block."""

from __future__ import annotations

import torch
from torch import nn

from napari_sam.model.sam import Sam


def compile_blocks(sam: Sam, device: torch.device) -> None:
    """Have the blocks of the image encoder compiled at their first use, which takes up to a minute.

    Blocks by themselves, not the encoder as a whole: between them it reports its progress and can be stopped.
    The numbers stay but for rounding.

    Raises
    ------
    ValueError
        On other devices than CUDA: on a CPU the code as it stands is faster than what the compiler makes.
    """
    check_compiler(device)
    compile_lists(sam.image_encoder)


def check_compiler(device: torch.device) -> None:
    """Raise a `ValueError` if nothing is gained on ``device`` by compiling."""
    if device.type != "cuda":
        raise ValueError(f"torch.compile gains nothing on {device}; leave compile=True out.")


def compile_lists(encoder: nn.Module) -> None:
    """Mark every module that stands in a list, as the blocks of an encoder do, for compilation."""
    for module in encoder.modules():
        if isinstance(module, nn.ModuleList):
            for block in module:
                block.compile()
