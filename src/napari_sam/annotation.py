"""One image being annotated: the shown plane, the prompt on it, the preview, and what was committed.

Neither Qt nor napari is known here. The widget and a script call the same methods; the slow one,
`Session.run`, may run in any thread, all others belong to one.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_sam.encoding import Embedder
from napari_sam.inference.loading import load_predictor
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Box, Point, Prompt
from napari_sam.inference.tiles import predict_plane
from napari_sam.objects.editing import Objects
from napari_sam.plane import Plane
from napari_sam.plane_prompts import PlanePrompt, PlanePrompts
from napari_sam.planes import Planes
from napari_sam.prefetching import Travel, whole_stack
from napari_sam.previews import Preview, Request, Response, shown_first
from napari_sam.progress import Progress, ignore_progress
from napari_sam.replaying.replay import replay_labels
from napari_sam.replaying.report import Replay
from napari_sam.storage.changes import Overlap
from napari_sam.storage.embeddings import EmbeddingCache
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.origins import Making, Source
from napari_sam.storage.places import plane_of_step, plane_through, prompted
from napari_sam.storage.proposals import ProposalFiles
from napari_sam.storage.recorded import RecordedLabels
from napari_sam.storage.records import Step

_log = logging.getLogger(__name__)


class Session:
    """Annotate one image with one model into one labels store.

    Make it with `open_session`. Signals (psygnal) tell a view what changed.

    Attributes
    ----------
    objects
        The committed objects: to be measured, edited and put into categories.
    proposal_files
        The automatic masks that were proposed before, beside the embeddings.
    plane_changed, prompt_changed, preview_changed
        Emitted without arguments.
    committed, undone, redone
        Emitted with the `Step` that was written, taken back, or done again.
    noticed
        Emitted with a message that the user should read.
    """

    plane_changed = Signal()
    prompt_changed = Signal()
    preview_changed = Signal()
    committed = Signal(Step)
    undone = Signal(Step)
    redone = Signal(Step)
    noticed = Signal(str)

    def __init__(
        self, planes: Planes, predictor: Predictor, store: LabelsStore, cache: EmbeddingCache
    ) -> None:
        self.planes = planes
        self.predictor = predictor
        self.store = store
        self.objects = Objects(store)
        self.embedder = Embedder(planes, predictor, cache)
        self.proposal_files = ProposalFiles(cache.folder, predictor)
        self._plane = Plane.at(planes.last_displayed, (0,) * planes.ndim)
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
    def labels(self) -> RecordedLabels:
        """The labels on disk, an array of the image's shape, background 0; what is written can be undone."""
        return self.store.labels

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

    # Objects

    @property
    def target(self) -> int | None:
        """The object that the prompt of the shown plane refines; None for a new one, or if it is gone."""
        label = self._prompts[self._plane].target
        return None if label is None or self.store.ledger.object(label) is None else label

    def commit(self, overlap: Overlap = "keep", inside: int | None = None, label: int | None = None) -> int:
        """Write the previewed mask as an object, and clear the prompt.

        It becomes the next free label; or the object that was taken up, whose mask on this plane it replaces.

        Parameters
        ----------
        overlap, inside
            What becomes of pixels of other objects: ``"keep"`` leaves them, ``"replace"`` takes them, and
            ``"inside"`` takes those of the object ``inside`` only, and nothing of the background.
        label
            An object that the mask becomes part of.

        Returns
        -------
        int
            The object's label.

        Raises
        ------
        ValueError
            If there is no preview, or its mask leaves nothing to write.
        LabelsError
            If the store cannot be written; preview and prompt stay.
        """
        preview = self._preview
        if preview is None:
            raise ValueError("There is no preview to commit; set a point or a box and wait for its mask.")
        label = self.target if label is None else label
        candidate = self._prompts[preview.plane].candidate
        making = self.making("click", preview.prompt, preview.score, candidate)
        step = self.store.commit(
            preview.plane, preview.mask, making, label=label, overlap=overlap, inside=inside
        )
        self.clear_prompt()
        self.committed.emit(step)
        assert step.label is not None
        return step.label

    def announce(self, step: Step) -> None:
        """Tell those who listen of a step that another thread has written, with `LabelsStore.write_aside`."""
        self.store.changed.emit(step)
        self.committed.emit(step)

    def take_up(self, label: int) -> None:
        """Take an object up again: show its prompts, so that the next commit replaces its mask on that plane.

        On the shown plane if the object is there, else on the plane of its first prompts, or on one that lies
        as the shown plane does. What has no prompts, painted or imported, is its own mask prompt.

        Raises
        ------
        ValueError
            If there is no such object, or that plane has an unfinished prompt, which would be lost.
        """
        plane, ledger = self._plane, self.store.ledger
        origin = ledger.origin(label, plane)
        if origin is not None and origin.making.prompt.is_empty:
            origin = None
        if origin is None and self.store.mask_of(plane, label) is None:
            prompted = (x for x in ledger.each_origin(label) if not x.making.prompt.is_empty)
            origin = next(prompted, None)
            plane = plane_through(ledger, label, plane) if origin is None else origin.plane
        before = self._plane
        self.show(plane)  # first: whoever shows the plane may know of prompts there that came, or went
        if self._prompts[plane].is_unfinished:
            self.show(before)
            name = self.planes.name_of(plane)
            where = f"plane {name}" if name else "image"
            raise ValueError(f"Commit or clear the prompt of the {where} first; then take up another object.")
        if origin is not None:
            making = origin.making
            # Earlier versions recorded points of a grid beside thin planes, which nobody can predict from.
            prompt = making.prompt.onto(plane.shape(self.planes.shape))
            taken = PlanePrompt(prompt, making.candidate, label, given=True)
        else:
            taken = PlanePrompt(Prompt(mask=self.store.read(plane) == label), target=label, given=True)
        self._put_prompt(plane, taken)

    def undo(self) -> Step | None:
        """Take the last step back: a commit, an edit, a brush stroke; of this session or an earlier one.

        What was committed gives its plane the prompt, and the candidate, that it was made from, unless the
        user has begun another one there.

        Returns
        -------
        Step or None
            What was taken back; None if there is nothing.

        Raises
        ------
        LabelsError
            If the store cannot be written; nothing has changed then.
        """
        step = self.store.undo_aside()
        if step is not None:
            self.announce_undo(step)
        return step

    def announce_undo(self, step: Step) -> bool:
        """Tell those who listen of a step that `LabelsStore.undo_aside` took back, and show it.

        Returns
        -------
        bool
            Whether an unfinished prompt stays where that of the step would have come.
        """
        self.store.changed.emit(step)
        self.undone.emit(step)
        self.show(plane_of_step(self.store.ledger, step, self._plane))
        if (origin := prompted(self.store.ledger, step)) is None:
            return False
        if self._prompts[origin.plane].is_unfinished:
            return True
        target = step.label if step.kind == "refine" else None
        prompt = PlanePrompt(origin.making.prompt, origin.making.candidate, target, given=True)
        self._put_prompt(origin.plane, prompt)
        return False

    def redo(self) -> Step | None:
        """Do the step again that was taken back last, as long as nothing else was done since.

        Returns
        -------
        Step or None
            What was done again; None if there is nothing.

        Raises
        ------
        LabelsError
            If the store cannot be written; nothing has changed then.
        """
        step = self.store.redo_aside()
        if step is not None:
            self.announce_redo(step)
        return step

    def announce_redo(self, step: Step) -> None:
        """Tell those who listen of a step that `LabelsStore.redo_aside` did again, and show it."""
        self.store.changed.emit(step)
        self.redone.emit(step)
        self.show(plane_of_step(self.store.ledger, step, self._plane))
        origin = prompted(self.store.ledger, step)
        if origin is not None and origin.making.prompt == self._prompts[origin.plane].prompt:
            self._put_prompt(origin.plane, PlanePrompt())

    def replay(self, path: str | Path, model: str = "vit_b", checkpoint: str | Path | None = None) -> Replay:
        """Make all objects anew from their prompts with another model, in a new store at ``path``.

        See `replay_labels` for what becomes of each object, and `load_predictor` for the models.
        """
        return replay_labels(self.store, self.planes, load_predictor(model, checkpoint), path)

    def close(self) -> None:
        """End the session: another one may write to its labels then."""
        self.store.close()

    def making(
        self, source: Source, prompt: Prompt, score: float | None, candidate: int | None = None
    ) -> Making:
        """Say how a mask was made by this session's model."""
        identity = self.predictor.identity
        model = (identity.architecture, identity.weights_hash, self.planes.preprocessing)
        return Making(source, prompt, candidate, *model, score)

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
