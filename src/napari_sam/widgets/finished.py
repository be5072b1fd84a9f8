"""Prompts whose objects are written already, while the layers still hold them."""

from __future__ import annotations

from collections.abc import Sequence

from napari_sam.inference.prompts import Prompt
from napari_sam.plane import Plane
from napari_sam.storage.view import LedgerView


class FinishedPrompts:
    """Know of the prompts of each plane which are finished, so that no object is predicted and written twice.

    A prompt is finished as long as it stays as it is, and the object that was made of it is there.

    Parameters
    ----------
    ledger
        Knows which objects are there.
    """

    def __init__(self, ledger: LedgerView) -> None:
        self._ledger = ledger
        self._of: dict[Plane, list[tuple[Prompt, int]]] = {}

    def add(self, plane: Plane, finished: Sequence[tuple[Prompt, int]]) -> None:
        """Learn which objects, by their labels, were written from which prompts."""
        self._of[plane] = [*self._of.get(plane, ()), *finished]

    def left(self, plane: Plane, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Give those of the plane's prompts that are not finished; what is none of them is forgotten."""
        kept = [x for x in self._of.pop(plane, ()) if x[0] in prompts]
        if kept:
            self._of[plane] = kept
        finished = [prompt for prompt, _ in kept]
        return [prompt for prompt in prompts if prompt not in finished]

    def forget_gone(self) -> bool:
        """Let prompts be unfinished again whose objects are gone, as by an undo; say if there were any."""
        before = sum(map(len, self._of.values()))
        there = {label: self._ledger.object(label) is not None for x in self._of.values() for _, label in x}
        self._of = {plane: [x for x in pairs if there[x[1]]] for plane, pairs in self._of.items()}
        return sum(map(len, self._of.values())) < before
