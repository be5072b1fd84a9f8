"""The mask that a click would give, before it: from what is encoded already, and nothing else."""

from __future__ import annotations

from napari_sam.annotation import Session
from napari_sam.inference.prompts import Point, Prompt
from napari_sam.inference.results import Embedding
from napari_sam.inference.tiles import predict_plane
from napari_sam.inference.tiling import Tile
from napari_sam.plane import Plane
from napari_sam.previews import Preview


class _NotReady(Exception):
    """Raised where a tile is not encoded yet."""


def mask_under(session: Session, plane: Plane, point: Point) -> Preview | None:
    """Predict the object under a (row, column) of ``plane``; None where that would take an encoding.

    It is what a click there gives, unless that click looks at a tile that is not encoded yet. Safe in any
    thread; the session's own preview stays.
    """
    shape = plane.shape(session.planes.shape)
    prompt = Prompt([point]).inside(shape)

    def embed(tile: Tile) -> Embedding:
        embedding = session.embedder.at_hand(plane, tile)
        if embedding is None:
            raise _NotReady
        return embedding

    with session.embedder.first():
        for tile in (None, session.predictor.tiling(shape).plan(prompt)):
            try:
                found = predict_plane(session.predictor, shape, prompt, embed, tile=tile)
            except _NotReady:
                continue
            return Preview(plane, prompt, found, found.best)
    return None
