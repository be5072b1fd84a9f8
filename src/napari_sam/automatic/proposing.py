"""Proposals for the planes of a session: those that were made before, or made from its embeddings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_sam.annotation import Session
from napari_sam.inference.automatic import (
    EmbeddedPlane,
    Generation,
    nothing_to_see,
    prompts_of,
    propose,
)
from napari_sam.inference.proposals import Proposals
from napari_sam.plane import Plane
from napari_sam.progress import Progress, ignore_progress


def propose_plane(
    session: Session,
    plane: Plane | None = None,
    generation: Generation | None = None,
    progress: Progress = ignore_progress,
) -> Proposals:
    """Propose masks for all objects of one plane of a session's image; safe in any thread.

    What was proposed before for the same pixels, by the same model in the same way, is looked up, also after
    a restart; else what was encoded before is. What is made now is kept; only the embeddings of crops, which
    nothing else needs, are not.

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
    digest = session.planes.digest(raw)
    proposals = session.proposal_files.get(digest, generation)
    if proposals is None:
        proposals = _made(session, plane, raw, generation, progress)
        session.proposal_files.put(digest, generation, proposals)
    return proposals


def _made(
    session: Session, plane: Plane, raw: NDArray[np.generic], generation: Generation, progress: Progress
) -> Proposals:
    """Ask the model."""
    if generation.crop_n_layers > 0:
        return propose(session.predictor, session.planes.shown(raw), generation, progress)
    session.embedder.look_again(plane)  # the embedding has to be of the pixels that were just read
    latest = 0.0

    def told(done: float) -> None:
        nonlocal latest
        latest = done
        progress(done)

    embedded = EmbeddedPlane(
        plane.shape(session.planes.shape),
        # How far the encoding of one tile is says nothing of all; but here, too, the work can be ended.
        lambda tile: session.embedder.embed(plane, tile, lambda _done: progress(latest)),
    )
    return propose(session.predictor, embedded, generation, told)
