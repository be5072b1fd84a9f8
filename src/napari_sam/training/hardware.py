"""What a training runs on: processes, devices and half precision, through Lightning Fabric.

Fabric comes with the extra ``training``. It starts the processes, averages their gradients and scales the
loss where float16 needs it; everything else of a step stays ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from napari_sam.model.precision import offered
from napari_sam.model.sam import CONFIGS

try:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision, Precision
    from lightning_fabric.strategies.ddp import DDPStrategy
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"The training needs {missing.name}, which is not installed; install 'napari-sam-stack[training]'."
    ) from missing

KINDS = ("auto", "cpu", "cuda", "mps")
HALVES = ("auto", "bfloat16", "float16")


@dataclass(frozen=True)
class Hardware:
    """Which kind of device, how many of them, and which half precision they compute in.

    ``kind`` is one of `KINDS` and ``half`` one of `HALVES`; ``devices`` counts the processes, one for each
    graphics card; on a processor each takes its share of the cores. ``auto`` takes a graphics card where
    there is one. It computes in bfloat16, in float16 on cards that lack it, and in full precision on
    processors that lack it: there the conversions make a step ten times slower.
    """

    kind: str = "auto"
    devices: int = 1
    half: str = "auto"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"The device {self.kind!r} is unknown; choose one of {', '.join(KINDS)}.")
        if self.half not in HALVES:
            raise ValueError(
                f"The half precision {self.half!r} is unknown; choose one of {', '.join(HALVES)}."
            )
        if self.devices < 1:
            raise ValueError(f"A training needs at least one device, not {self.devices}.")

    def open(self, half: bool) -> Fabric:
        """Prepare the devices, for half precision if ``half``; `Fabric.launch` starts the processes."""
        kind = self._found_kind()
        # A step without a mask among its prompts leaves the parameters for masks unused.
        strategy = "auto" if self.devices == 1 else DDPStrategy(find_unused_parameters=True)
        chosen = self._half_on(kind) if half else None
        precision = Precision() if chosen is None else HalfProducts(chosen, kind)
        return Fabric(accelerator=kind, devices=self.devices, strategy=strategy, plugins=[precision])

    def _found_kind(self) -> str:
        if self.kind != "auto":
            return self.kind
        return "cuda" if torch.cuda.is_available() else "cpu"

    def _half_on(self, kind: str) -> Literal["bf16-mixed", "16-mixed"] | None:
        gaining = offered(CONFIGS["nano"], torch.device(kind)) if self.half == "auto" else (self.half,)
        if "bfloat16" in gaining:
            return "bf16-mixed"
        return "16-mixed" if "float16" in gaining else None


class HalfProducts(MixedPrecision):
    """Products in half precision of inputs that stay as they are: half of a position is off by pixels."""

    def convert_input(self, data: Any) -> Any:
        """Leave ``data`` as they are."""
        return data
