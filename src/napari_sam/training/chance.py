"""Random numbers of any shape, drawn where they are used: on a processor or on a graphics card."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Chance:
    """What a ``generator`` draws, on its device."""

    generator: torch.Generator

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draw numbers between ``low`` and ``high``."""
        drawn = torch.rand(shape, generator=self.generator, device=self.generator.device)
        return low + (high - low) * drawn

    def true(self, share: float, *shape: int) -> Tensor:
        """Draw truth values of which about ``share`` are true."""
        return self.uniform(*shape) < share

    def normal(self, *shape: int) -> Tensor:
        """Draw normal numbers of mean zero and deviation one."""
        return torch.randn(shape, generator=self.generator, device=self.generator.device)
