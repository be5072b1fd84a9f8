"""Segment Anything for image stacks, in napari and in scripts.

Nothing heavy is loaded by ``import napari_sam``: each public name brings its module when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_sam.annotation import Session
    from napari_sam.automatic.masks import PlaneMasks
    from napari_sam.automatic.proposing import propose_plane
    from napari_sam.automatic.stack import StackRun, planes_along
    from napari_sam.automatic.writing import commit_masks
    from napari_sam.inference.automatic import EmbeddedPlane, Generation, propose, suited_selection
    from napari_sam.inference.loading import load_predictor, precisions
    from napari_sam.inference.overlaps import label_image
    from napari_sam.inference.predictor import Predictor
    from napari_sam.inference.prompts import Prompt
    from napari_sam.inference.proposals import Proposals, Selected, Selection
    from napari_sam.inference.records import records
    from napari_sam.inference.results import Embedding, Prediction
    from napari_sam.inference.tiles import PlaneEmbeddings, PlanePrediction, predict_plane
    from napari_sam.linking import Linking, link, suited_linking
    from napari_sam.plane import Plane
    from napari_sam.planes import Planes
    from napari_sam.propagating.writing import propagate
    from napari_sam.starting import open_session
    from napari_sam.widgets.annotate import session

__version__ = "0.1.0"

_HOMES = {
    "EmbeddedPlane": "inference.automatic",
    "Embedding": "inference.results",
    "Generation": "inference.automatic",
    "Linking": "linking",
    "Plane": "plane",
    "PlaneEmbeddings": "inference.tiles",
    "PlaneMasks": "automatic.masks",
    "PlanePrediction": "inference.tiles",
    "Planes": "planes",
    "Prediction": "inference.results",
    "Predictor": "inference.predictor",
    "Prompt": "inference.prompts",
    "Proposals": "inference.proposals",
    "Selected": "inference.proposals",
    "Selection": "inference.proposals",
    "Session": "annotation",
    "StackRun": "automatic.stack",
    "commit_masks": "automatic.writing",
    "label_image": "inference.overlaps",
    "link": "linking",
    "load_predictor": "inference.loading",
    "open_session": "starting",
    "planes_along": "automatic.stack",
    "precisions": "inference.loading",
    "predict_plane": "inference.tiles",
    "propagate": "propagating.writing",
    "propose": "inference.automatic",
    "propose_plane": "automatic.proposing",
    "records": "inference.records",
    "session": "widgets.annotate",
    "suited_linking": "linking",
    "suited_selection": "inference.automatic",
}

__all__ = [
    "EmbeddedPlane",
    "Embedding",
    "Generation",
    "Linking",
    "Plane",
    "PlaneEmbeddings",
    "PlaneMasks",
    "PlanePrediction",
    "Planes",
    "Prediction",
    "Predictor",
    "Prompt",
    "Proposals",
    "Selected",
    "Selection",
    "Session",
    "StackRun",
    "commit_masks",
    "label_image",
    "link",
    "load_predictor",
    "open_session",
    "planes_along",
    "precisions",
    "predict_plane",
    "propagate",
    "propose",
    "propose_plane",
    "records",
    "session",
    "suited_linking",
    "suited_selection",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'napari_sam' has no attribute {name!r}")
    value = getattr(import_module(f"napari_sam.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
