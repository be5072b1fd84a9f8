"""Reduced precision of the image encoder, where the device gains from it.

Of SAM's vision transformers only the large products are reduced, those of linear layers and of attention;
what is added up over the blocks stays in single precision. The encoders of ``nano`` and MobileSAM, mostly
convolutions, are reduced as a whole (`HalfEncoder`), and so is what their blocks add up. The mask decoder,
which takes milliseconds, stays in single precision.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from napari_sam.model.folding import fold_norms
from napari_sam.model.image_encoder import ViTConfig
from napari_sam.model.layers import TokenLinear
from napari_sam.model.sam import Sam, SamConfig
from napari_sam.progress import Progress, ignore_progress

FULL = "float32"
_HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
# Tokens whose sums of products are held at once.
_TOKENS_AT_ONCE = 1024


def offered(config: SamConfig, device: torch.device) -> tuple[str, ...]:
    """Name the precisions from which an architecture gains on ``device``, full precision first."""
    if device.type == "cuda":
        return (FULL, "bfloat16", "float16") if torch.cuda.is_bf16_supported() else (FULL, "float16")
    if device.type == "mps":
        return (FULL, "float16")
    has_linears = isinstance(config.encoder, ViTConfig)
    gains = {"bfloat16": _cpu_has_bfloat16(), "int8": has_linears and _cpu_has_int8()}
    return (FULL, *(name for name, gained in gains.items() if gained))


def check_precision(config: SamConfig, precision: str, device: torch.device) -> None:
    """Raise a `ValueError` if an architecture gains nothing from a precision on ``device``."""
    choice = offered(config, device)
    if precision not in choice:
        raise ValueError(
            f"{config.architecture} gains nothing from the precision {precision!r} on {device}; choose "
            f"one of {', '.join(choice)}."
        )


def reduce_precision(sam: Sam, precision: str, device: torch.device) -> None:
    """Change the image encoder of ``sam`` in place.

    Raises
    ------
    ValueError
        If the architecture gains nothing from it on the device.
    """
    check_precision(sam.config, precision, device)
    if precision == FULL:
        return
    encoder = sam.image_encoder
    if not isinstance(sam.config.encoder, ViTConfig):
        sam.image_encoder = HalfEncoder(encoder, _HALVES[precision])
    elif precision == "int8":
        attention = torch.bfloat16 if _cpu_has_bfloat16() else torch.float32
        _replace_linears(encoder, lambda linear: Int8Linear(linear, attention))
    else:
        for module in encoder.modules():
            if isinstance(module, TokenLinear):
                module.to(_HALVES[precision])


class Int8Linear(nn.Module):
    """A linear layer of 8-bit products: each row of the weights, and each token as it comes, has a scale.

    Dettmers et al., "LLM.int8()" (2022), call it vector-wise quantisation.

    Parameters
    ----------
    linear
        The layer whose weights are rounded.
    out_dtype
        Of the results, and so of what is computed from them.
    """

    rows: Tensor
    scales: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear, out_dtype: torch.dtype) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scales = _scales(weight)
        self.register_buffer("rows", (weight / scales).round_().to(torch.int8))
        self.register_buffer("scales", scales[:, 0].contiguous())
        self.register_buffer("bias", linear.bias.detach().float())
        self._out_dtype = out_dtype

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.reshape(-1, x.shape[-1])
        pieces = [self._apply_to(some) for some in tokens.split(_TOKENS_AT_ONCE)]
        return torch.cat(pieces).reshape(*x.shape[:-1], -1)

    def _apply_to(self, tokens: Tensor) -> Tensor:
        tokens = tokens.float()
        scales = _scales(tokens)
        sums = torch._int_mm((tokens / scales).round_().to(torch.int8), self.rows.T)  # noqa: SLF001
        return sums.float().mul_(scales).mul_(self.scales).add_(self.bias).to(self._out_dtype)


def _scales(rows: Tensor) -> Tensor:
    """Give what each row is divided by to lie between -127 and 127: (N, 1)."""
    return rows.abs().amax(1, keepdim=True).clamp_(min=1e-12) / 127


class HalfEncoder(nn.Module):
    """An encoder that computes wholly in half precision and is asked in single.

    What its blocks add up is in half precision too. Its batch norms become part of the convolutions before
    them: in ``nano`` some variances are beyond what float16 holds.
    """

    def __init__(self, encoder: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        fold_norms(encoder)
        self.inner = encoder.to(dtype)
        self._dtype = dtype

    def forward(self, images: Tensor, progress: Progress = ignore_progress) -> Tensor:
        return self.inner(images.to(self._dtype), progress).float()  # type: ignore[no-any-return]


def _replace_linears(module: nn.Module, replacement: Callable[[nn.Linear], nn.Module]) -> None:
    for name, child in module.named_children():
        if isinstance(child, TokenLinear):
            setattr(module, name, replacement(child))
        else:
            _replace_linears(child, replacement)


def _cpu_has_bfloat16() -> bool:
    """Say whether the processor multiplies bfloat16 itself; where it only converts, nothing is gained."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001


def _cpu_has_int8() -> bool:
    """Say whether the processor sums 8-bit products itself."""
    return bool(torch.cpu._is_vnni_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001
