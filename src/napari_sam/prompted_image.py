"""One image that is prompted: the shown plane, the prompt on each plane, and the preview of what it means.

Neither Qt nor napari is known here, nor where masks are written. The slow method, `PromptedImage.run`, may
run in any thread, all others belong to one.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_sam.encoding import Embedder
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Box, Point, Prompt
from napari_sam.inference.tiles import predict_plane
from napari_sam.plane import Plane
from napari_sam.plane_prompts import PlanePrompt, PlanePrompts
from napari_sam.planes import Planes
from napari_sam.prefetching import Travel, whole_stack
from napari_sam.previews import Preview, Request, Response, shown_first
from napari_sam.progress import Progress, ignore_progress
from napari_sam.storage.embeddings import EmbeddingCache

_log = logging.getLogger(__name__)


class PromptedImage:
    """Prompt one model on the planes of one image. Signals (psygnal) tell a view what changed.

    Attributes
    ----------
    plane_changed, prompt_changed, preview_changed
        Emitted without arguments.
    noticed
        Emitted with a message that the user should read.
    """

    plane_changed = Signal()
    prompt_changed = Signal()
    preview_changed = Signal()
    noticed = Signal(str)

    def __init__(self, planes: Planes, predictor: Predictor, cache: EmbeddingCache) -> None:
        self.planes = planes
        self.predictor = predictor
        self.embedder = Embedder(planes, predictor, cache)
        self._plane = planes.first
        self._prompts = PlanePrompts()
        self._preview: Preview | None = None
        self._generation = 0
        self._told_problem = False

    # What is shown

    @property
    def plane(self) -> Plane:
        """The plane on which prompts are set and previews made."""
        return self._plane

    @property
    def prompt(self) -> Prompt:
        """The prompt on the shown plane."""
        return self._prompts[self._plane].prompt

    @property
    def preview(self) -> Preview | None:
        """What the prompt of the shown plane gave, if it was computed."""
        return self._preview

    def go_to(self, **position: int) -> None:
        """Show another plane: ``session.go_to(z=12)``; axes that are not named stay.

        Raises
        ------
        ValueError
            For an axis that the image has not, or that is displayed, or an index outside it.
        TypeError
            If an index is no whole number.
        """
        indices = list(self._plane.position)
        for axis, index in position.items():
            number = self.planes.axis_across(self._plane, axis)
            try:
                indices[number] = operator.index(index)
            except TypeError:
                raise TypeError(f"{axis}={index!r} is no index of a plane; give a whole number.") from None
        self.show(Plane.at(self._plane.displayed, indices))

    def show(self, plane: Plane) -> None:
        """Show ``plane``; each plane keeps its own prompt."""
        self.planes.check(plane)
        if plane != self._plane:
            self._plane = plane
            self.embedder.look_again(plane)
            self.clear_preview()
            self.plane_changed.emit()

    # Prompts

    def set_prompt(self, prompt: Prompt) -> None:
        """Replace the prompt of the shown plane.

        Raises
        ------
        ValueError
            If a point or the whole box lies outside the plane.
        """
        prompt = prompt.inside(self._plane.shape(self.planes.shape))
        if prompt != self.prompt:
            self._put_prompt(self._plane, self._prompts[self._plane].changed_to(prompt))

    def set_points(self, points: Sequence[Point], labels: Sequence[int] | None = None) -> None:
        """Replace the points; labels are 1 (on the object) or 0 (beside it), all 1 if left out."""
        self.set_prompt(Prompt(points, labels, self.prompt.box, self.prompt.mask))

    def add_point(self, point: Point, label: int = 1) -> None:
        """Add a point ``(row, column)``."""
        old = self.prompt
        self.set_points([*old.points, point], [*(old.labels or ()), label])

    def set_box(self, box: Box | None) -> None:
        """Replace the box ``(row0, column0, row1, column1)``; None takes it away."""
        self.set_prompt(replace(self.prompt, box=box))

    def clear_prompt(self) -> None:
        """Take all prompts of the shown plane away."""
        self.set_prompt(Prompt())

    # Previews

    def request(self, preview: bool = True) -> Request:
        """Freeze what is to be computed now; without ``preview``, the embedding of the plane alone."""
        here = self._prompts[self._plane]
        prompt = here.prompt if preview else Prompt()
        return Request(self._generation, self._plane, prompt, here.candidate)

    def run(self, request: Request, progress: Progress = ignore_progress) -> Response:
        """Compute the answer: slow, free of side effects but for the cache, safe in any thread.

        ``progress`` is told the share of the encoding that is done; what it raises ends the run.
        """
        plane, prompt, candidate = request.plane, request.prompt, request.candidate
        if prompt.is_empty:
            self.embedder.prepare(plane, progress)
            return Response(request, None)
        shape = plane.shape(self.planes.shape)
        with self.embedder.first():
            found = predict_plane(
                self.predictor,
                shape,
                prompt,
                lambda tile: self.embedder.embed(plane, tile, progress),
                candidate,
            )
        return Response(request, Preview(plane, prompt, found, shown_first(found, prompt, candidate)))

    def encode_all(self, progress: Progress = ignore_progress) -> int:
        """Encode all planes that lie as the shown one does, beginning with that, and wait for it.

        ``progress`` is told the share of it that is done; what it raises ends the call, and what was encoded
        stays. Large planes, of which prompts choose the tiles, are left out. Where the budget of the
        embeddings has not room for all of them, that is told (`noticed`, and logged), and as many are encoded
        as there is room for.

        Returns
        -------
        int
            How many planes are ready at the end.
        """
        shape = self.planes.shape
        travel = Travel.default(self._plane, shape, self.planes.axes)
        return self.embedder.prepare_all(
            list(whole_stack(self._plane, shape, travel)), self._notice_shortage, progress
        )

    def _notice_shortage(self, message: str) -> None:
        _log.warning(message)  # a script may listen to no signal
        self.noticed.emit(message)

    def ready(self) -> NDArray[np.bool_]:
        """Tell of each plane that lies as the shown one does whether it was encoded; see `Embedder.ready`."""
        return self.embedder.ready(self._plane.displayed)

    def accept(self, response: Response) -> bool:
        """Show an answer, unless the session has moved on since it was asked for."""
        if (problem := self.embedder.cache.problem) and not self._told_problem:
            self._told_problem = True
            self.noticed.emit(problem)
        if response.request.generation != self._generation:
            return False
        if response.preview is not None:
            self._preview = response.preview
            self.preview_changed.emit()
        return True

    def predict(self) -> Preview | None:
        """Compute and show the preview of the prompt as it is now, and wait for it."""
        self.accept(self.run(self.request()))
        return self._preview

    def next_candidate(self) -> None:
        """Show the candidate with the next lower score, after the last the first again.

        One that runs out of its tile of a large plane is whole after the next `predict`.
        """
        if self._preview is None or len(self._preview.scores) < 2:
            return
        self._preview = shown = self._preview.next()
        self._prompts[self._plane] = replace(self._prompts[self._plane], candidate=shown.chosen)
        self._generation += 1  # an answer under way would show the first candidate again
        self.preview_changed.emit()
        if shown.found.runs_out(shown.chosen):
            self.prompt_changed.emit()

    def _put_prompt(self, plane: Plane, value: PlanePrompt) -> None:
        """Replace all that is prompted on ``plane``."""
        self._prompts[plane] = value
        self.clear_preview()
        self.prompt_changed.emit()

    def clear_preview(self) -> None:
        """Take the preview away, also one that is on its way; the prompt stays."""
        self._generation += 1
        if self._preview is not None:
            self._preview = None
            self.preview_changed.emit()
