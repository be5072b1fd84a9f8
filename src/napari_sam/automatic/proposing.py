"""Proposals for the planes of a session, made from the embeddings that its cache keeps."""

from __future__ import annotations

from napari_sam.annotation import Session
from napari_sam.inference.automatic import (
    EmbeddedPlane,
    Generation,
    nothing_to_see,
    prompts_of,
    propose,
)
from napari_sam.inference.proposals import Proposals
from napari_sam.model.layers import Progress, ignore_progress
from napari_sam.planes import Plane


def propose_plane(
    session: Session,
    plane: Plane | None = None,
    generation: Generation | None = None,
    progress: Progress = ignore_progress,
) -> Proposals:
    """Propose masks for all objects of one plane of a session's image; safe in any thread.

    What was encoded before is looked up, and what is encoded now is kept; only crops, which nothing else
    needs, are not.

    Parameters
    ----------
    session
        Its image, model and embeddings.
    plane
        The one that is shown, if left out.
    generation
        How; see `Generation`.
    progress
        Told the share that is done; what it raises ends the call.

    Returns
    -------
    proposals
        To be chosen from with `Proposals.select`.

    Raises
    ------
    ValueError
        If there is no such plane, or the model cannot be prompted in that way.
    """
    plane = session.plane if plane is None else plane
    generation = Generation() if generation is None else generation
    raw = session.planes.read(plane)
    if (message := nothing_to_see(raw)) is not None:
        prompts = prompts_of(session.predictor, generation)
        return Proposals(plane.shape(session.planes.shape), prompts=prompts, message=message)
    if generation.crop_n_layers > 0:
        return propose(session.predictor, session.planes.shown(raw), generation, progress)
    embedded = EmbeddedPlane(
        plane.shape(session.planes.shape),
        lambda tile: session.embedder.embed(plane, tile, lambda _done: progress(0.0)),
    )
    return propose(session.predictor, embedded, generation, progress)
