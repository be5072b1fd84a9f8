"""What the user prompts on each plane, and what a prompt that he changes keeps of the one before it."""

from __future__ import annotations

from dataclasses import dataclass

from napari_sam.inference.prompts import Prompt
from napari_sam.inference.refinement import first_step
from napari_sam.plane import Plane

_NOTHING = Prompt()


@dataclass(frozen=True, eq=False)
class PlanePrompt:
    """A prompt on its plane.

    Attributes
    ----------
    prompt
        Points, box and mask.
    candidate
        Which answer to the first step the user chose; None as long as he chose none.
    target
        The object that the prompt is about; None for a new one.
    given
        Whether it is as the ledger gave it: nothing of it is lost where another takes its place.
    """

    prompt: Prompt = _NOTHING
    candidate: int | None = None
    target: int | None = None
    given: bool = False

    @property
    def is_unfinished(self) -> bool:
        """Whether the user has pointed at something, which must not be lost."""
        return not self.prompt.is_empty and not self.given

    def changed_to(self, prompt: Prompt) -> PlanePrompt:
        """Give what becomes of it where the user points at more, or less, of the same plane.

        It is about the same object until all is cleared. A candidate that was chosen stays the one that
        further points refine, as long as the first step is the same.
        """
        if prompt.is_empty:
            return PlanePrompt()
        same_start = first_step(prompt) == first_step(self.prompt)
        return PlanePrompt(prompt, self.candidate if same_start else None, self.target)


class PlanePrompts:
    """One `PlanePrompt` for each plane: an empty one where nothing was prompted.

    It is always replaced as a whole, so that nothing of another object's prompt is left.
    """

    def __init__(self) -> None:
        self._of: dict[Plane, PlanePrompt] = {}

    def __getitem__(self, plane: Plane) -> PlanePrompt:
        return self._of.get(plane, PlanePrompt())

    def __setitem__(self, plane: Plane, value: PlanePrompt) -> None:
        if value.prompt.is_empty:
            self._of.pop(plane, None)
        else:
            self._of[plane] = value
