"""What passes between a session and the thread that predicts: a request, a preview, a response."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_sam.inference.prompts import Prompt
from napari_sam.inference.tiles import PlanePrediction
from napari_sam.planes import Plane


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


@dataclass(frozen=True, eq=False)
class Response:
    """The answer to a request; ``preview`` is None where only the embedding was asked for."""

    request: Request
    preview: Preview | None
