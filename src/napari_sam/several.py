"""Several objects of a plane at once: one for each prompt, predicted together, committed one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from napari_sam.annotation import Session
from napari_sam.inference.batches import predict_several
from napari_sam.inference.prompts import Prompt
from napari_sam.plane import Plane
from napari_sam.previews import Preview
from napari_sam.progress import Progress, ignore_progress
from napari_sam.runs import pixel_box
from napari_sam.storage.changes import Claim, Overlap
from napari_sam.storage.painting import room_for


@dataclass(frozen=True, eq=False)
class SeveralRequest:
    """The objects that are to be predicted; ``generation`` is that of a `Request`.

    Those of which the preview is ``known`` need not be predicted.
    """

    generation: int
    plane: Plane
    prompts: tuple[Prompt, ...]
    known: Mapping[Prompt, Preview] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SeveralResponse:
    """The answer: a preview for each prompt, in their order."""

    request: SeveralRequest
    previews: tuple[Preview, ...]

    @property
    def scores(self) -> tuple[float, float]:
        """The lowest and the highest of the scores."""
        scores = [preview.score for preview in self.previews]
        return min(scores), max(scores)

    def in_order(self, claim: Claim) -> list[Preview]:
        """Give the previews in the order in which they are committed: the surest gets what several have.

        It comes first, and last where each takes the pixels of those before it.
        """
        return sorted(
            self.previews,
            key=lambda preview: preview.score if claim.overlap == "replace" else -preview.score,
        )


def request_several(
    session: Session, prompts: Sequence[Prompt], before: SeveralResponse | None = None
) -> SeveralRequest:
    """Freeze what is to be computed for the shown plane; what was answered ``before`` for it holds."""
    request = session.request()
    known = {}
    if before is not None and before.request.plane == request.plane:
        known = {preview.prompt: preview for preview in before.previews}
    return SeveralRequest(request.generation, request.plane, tuple(prompts), known)


def run_several(
    session: Session, request: SeveralRequest, progress: Progress = ignore_progress
) -> SeveralResponse:
    """Predict the objects: slow, free of side effects but for the cache, safe in any thread."""
    plane, embedder = request.plane, session.embedder
    shape = plane.shape(session.planes.shape)
    unknown = [prompt for prompt in request.prompts if prompt not in request.known]
    previews = dict(request.known)
    if unknown:
        with embedder.first():
            found = predict_several(
                session.predictor,
                shape,
                unknown,
                lambda tile: embedder.embed(plane, tile, progress),
                progress,
            )
        pairs = zip(unknown, found, strict=True)
        previews |= {prompt: Preview(plane, prompt, one, one.best) for prompt, one in pairs}
    return SeveralResponse(request, tuple(previews[prompt] for prompt in request.prompts))


def commit_several(
    session: Session, response: SeveralResponse, overlap: Overlap = "keep", inside: int | None = None
) -> list[int]:
    """Write an object for each preview, and clear the prompts of the plane.

    Each is a step of its own; the surest gets the pixels that several of them have. What leaves nothing to
    write, such as what lies wholly under objects that are there already, is left out. For ``overlap`` and
    ``inside`` see `Session.commit`.

    Returns
    -------
    list of int
        The labels of what was written and is there: with ``"replace"``, a surer one may have taken all
        pixels of another.

    Raises
    ------
    ValueError
        If ``overlap`` and ``inside`` do not belong together.
    LabelsError
        If the store cannot be written; what is written by then stays.
    """
    claim = Claim(overlap, inside)
    labels = [label for label in commit_each(session, response, claim) if label is not None]
    session.clear_prompt()
    return [label for label in labels if session.store.ledger.object(label) is not None]


def commit_each(session: Session, response: SeveralResponse, claim: Claim) -> Iterator[int | None]:
    """Write an object at each step, in the order of `SeveralResponse.in_order`; the prompts stay.

    Yields
    ------
    int or None
        Its label; None where nothing was left to write. For errors see `commit_several`.
    """
    for preview in response.in_order(claim):
        if not _is_left(session, preview, claim):
            yield None
            continue
        making = session.making("click", preview.prompt, preview.score)
        step = session.store.commit(
            preview.plane, preview.mask, making, overlap=claim.overlap, inside=claim.inside
        )
        session.committed.emit(step)
        yield step.label


def _is_left(session: Session, preview: Preview, claim: Claim) -> bool:
    """Whether a mask has pixels that it may take; only the labels in its box are read."""
    box = pixel_box(preview.mask)
    if box is None:
        return False
    index = slice(box[0], box[2]), slice(box[1], box[3])
    block, mask = session.store.block, preview.mask[index]
    return room_for(block, preview.plane, index, mask, claim) > 0


def annotate_each(session: Session, prompts: Sequence[Prompt], overlap: Overlap = "keep") -> list[int]:
    """Predict and commit an object for each prompt of the shown plane, and wait for it.

    Examples
    --------
    >>> boxes = [(10, 20, 50, 60), (80, 15, 120, 70)]  # doctest: +SKIP
    >>> annotate_each(session, [Prompt(box=box) for box in boxes])  # doctest: +SKIP
    [1, 2]
    """
    return commit_several(session, run_several(session, request_several(session, prompts)), overlap)
