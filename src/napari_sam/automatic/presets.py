"""Settings that fit common kinds of objects, as a place to start from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from napari_sam.inference.automatic import Generation, suited_selection
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.proposals import Selection


@dataclass(frozen=True)
class Preset:
    """How masks are proposed and selected for one kind of objects.

    Attributes
    ----------
    name, use
        What it is called, and what it is for.
    generation, selection
        Its settings.
    """

    name: str
    use: str
    generation: Generation
    selection: Selection


def presets(predictor: Predictor) -> tuple[Preset, ...]:
    """Give the presets for a model, the one to begin with first.

    A model that finds objects by itself places its prompts on them, so grids are for the other models.
    """
    base = suited_selection(predictor)
    dense, coarse = (
        (Generation(), Generation())
        if predictor.finds_objects
        else (Generation(points_per_side=64), Generation(points_per_side=16))
    )
    return (
        Preset("everything", "Objects of all sizes.", Generation(), base),
        Preset(
            "small cells",
            "Many objects up to some 40 pixels across.",
            dense,
            replace(base, min_area=10, max_area=1600),
        ),
        Preset(
            "large cells",
            "Objects from some 20 pixels across on.",
            coarse,
            replace(base, min_area=300, min_mask_region_area=100),
        ),
    )
