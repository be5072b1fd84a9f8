"""One image being annotated: what is prompted on it becomes objects, which can be undone and refined.

Neither Qt nor napari is known here. The widget and a script call the same methods.
"""

from __future__ import annotations

from pathlib import Path

from psygnal import Signal

from napari_sam.inference.loading import load_predictor
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.objects.editing import Objects
from napari_sam.plane_prompts import PlanePrompt
from napari_sam.planes import Planes
from napari_sam.prompted_image import PromptedImage
from napari_sam.replaying.replay import replay_labels
from napari_sam.replaying.report import Replay
from napari_sam.storage.changes import Overlap
from napari_sam.storage.embeddings import EmbeddingCache
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.origins import Making, Source
from napari_sam.storage.places import plane_of_step, plane_through, prompted
from napari_sam.storage.proposals import ProposalFiles
from napari_sam.storage.recorded import RecordedLabels
from napari_sam.storage.records import Step, as_label


class Session(PromptedImage):
    """Annotate one image with one model into one labels store.

    Make it with `open_session`. Signals (psygnal) tell a view what changed.

    Attributes
    ----------
    objects
        The committed objects: to be measured, edited and put into categories.
    proposal_files
        The automatic masks that were proposed before, beside the embeddings.
    committed, undone, redone
        Emitted with the `Step` that was written, taken back, or done again.
    """

    committed = Signal(Step)
    undone = Signal(Step)
    redone = Signal(Step)

    def __init__(
        self, planes: Planes, predictor: Predictor, store: LabelsStore, cache: EmbeddingCache
    ) -> None:
        super().__init__(planes, predictor, cache)
        self.store = store
        self.objects = Objects(store)
        self.proposal_files = ProposalFiles(cache.folder, predictor)

    @property
    def labels(self) -> RecordedLabels:
        """The labels on disk, an array of the image's shape, background 0; what is written can be undone."""
        return self.store.labels

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
        self.store.check_writable()
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
        label = as_label(label)
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

    def replay(
        self, path: str | Path, model: str | Predictor = "vit_b", checkpoint: str | Path | None = None
    ) -> Replay:
        """Make all objects anew from their prompts with another model, in a new store at ``path``.

        See `replay_labels` for what becomes of each object, and `load_predictor` for the models; one that is
        loaded already is taken as it is.
        """
        predictor = model if isinstance(model, Predictor) else load_predictor(model, checkpoint)
        return replay_labels(self.store, self.planes, predictor, path)

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
