"""What is computed of an embedding once, for all prompts on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from torch import Tensor

from napari_sam.inference.results import Embedding

T = TypeVar("T")


class OfLast(Generic[T]):
    """Compute something of an embedding's features, and keep it for the embedding that was asked last.

    Threads may share it: one of them computes anew what another has just replaced.
    """

    def __init__(self, compute: Callable[[Tensor], T]) -> None:
        self._compute = compute
        self._kept: tuple[Embedding, T] | None = None

    def __call__(self, embedding: Embedding, features: Tensor) -> T:
        """Give what was computed of ``features``, those of ``embedding`` on the model's device."""
        kept = self._kept  # another thread may put its own there
        if kept is None or kept[0] is not embedding:
            kept = self._kept = (embedding, self._compute(features))
        return kept[1]
