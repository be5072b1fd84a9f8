"""Tensors that no checkpoint of ours holds."""

from __future__ import annotations

import torch
from torch import Tensor


def nested(dtype: torch.dtype) -> Tensor:
    """A tensor of tensors of several sizes, of which not even the shape can be asked.

    It is made without the call whose first use warns that such tensors may change.
    """
    numbers, sizes = torch.zeros(5, dtype=dtype), torch.tensor([[2], [3]])
    return torch._nested_view_from_buffer(numbers, sizes, torch.tensor([[1], [1]]), torch.tensor([0, 2]))
