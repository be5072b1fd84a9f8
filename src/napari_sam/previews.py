"""What passes between a session and the thread that predicts: a request, a preview, a response."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_sam.inference.prompts import Prompt
from napari_sam.inference.tiles import PlanePrediction
from napari_sam.plane import Plane


@dataclass(frozen=True, eq=False)
class Request:
    """What is to be computed: frozen, so that it can be handed to another thread.

    ``generation`` counts the changes of the session; an answer to an older one is stale. An empty prompt asks
    for the plane's embedding alone.
    """

    generation: int
    plane: Plane
    prompt: Prompt
    candidate: int | None


@dataclass(frozen=True, eq=False)
class Preview:
    """The masks that a prompt gave on a plane, and which of them is shown.

    Attributes
    ----------
    found
        The candidates, and the tile of the plane that they were found on.
    chosen
        Index of the shown one.
    """

    plane: Plane
    prompt: Prompt
    found: PlanePrediction
    chosen: int

    @property
    def masks(self) -> NDArray[np.bool_]:
        """(M, H, W) boolean candidates."""
        return self.found.masks

    @property
    def scores(self) -> NDArray[np.float32]:
        """(M,) estimated IoU of each."""
        return self.found.scores

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The shown (H, W) mask."""
        return self.found.mask(self.chosen)

    @property
    def score(self) -> float:
        """The estimated IoU of the shown mask."""
        return float(self.scores[self.chosen])

    def next(self) -> Preview:
        """Give the preview that shows the candidate with the next lower score; after the last the first."""
        order = np.argsort(-self.scores, kind="stable").tolist()
        return replace(self, chosen=order[(order.index(self.chosen) + 1) % len(order)])


def shown_first(found: PlanePrediction, prompt: Prompt, candidate: int | None) -> int:
    """Tell which mask a preview begins with: the chosen candidate of a single point, else the best."""
    if prompt.is_ambiguous and candidate is not None:
        return min(candidate, len(found.scores) - 1)
    return found.best


@dataclass(frozen=True, eq=False)
class Response:
    """The answer to a request; ``preview`` is None where only the embedding was asked for."""

    request: Request
    preview: Preview | None
