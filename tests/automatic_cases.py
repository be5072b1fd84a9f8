"""Settings and real images on which our automatic masks are compared with those of Meta's generator.

`benchmarks/automatic.py` runs both programs on `CASES`; `benchmarks/reference.py` writes what Meta's gives
for `QUICK`, which the tests compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from skimage import data as pictures

from napari_sam.demo import demo_stack
from napari_sam.inference.automatic import GRID, Generation, propose
from napari_sam.inference.proposals import Proposals, Selected, Selection
from napari_sam.model.mask_decoder import MaskDecoder
from napari_sam.model.sam import Sam
from napari_sam.weights.loading import load_model
from seeded import predictor_of

# Of nano's flat logits none passes the default stability, so they are made steeper, by its last weights.
_STEEP = 8


@dataclass(frozen=True)
class Case:
    """Settings by the official names; what is not named has its default.

    ``grid`` are points ``(row, column)``, as fractions, in place of a regular grid.
    """

    name: str
    image: str
    settings: Mapping[str, float] = field(default_factory=dict)
    steep: bool = False
    grid: tuple[tuple[float, float], ...] = ()

    @property
    def official_settings(self) -> Mapping[str, object]:
        """The settings as the official generator takes them: its points are ``(x, y)``."""
        if not self.grid:
            return self.settings
        return {**self.settings, "points_per_side": None, "point_grids": [np.array(self.grid)[:, ::-1]]}


_LOW = {"pred_iou_thresh": 0.6, "stability_score_thresh": 0.5}
_LOWER = {"pred_iou_thresh": 0.3, "stability_score_thresh": 0.3}
_LESS, _FEW = {"points_per_side": 16}, {"points_per_side": 10}
# Twice as dense in one direction as in the other, so that exchanged axes show.
_SCATTERED = tuple((row / 8, column / 17) for row in range(1, 8) for column in range(1, 17))
_TWO_LAYERS = {
    **_LOWER,
    "crop_n_layers": 2,
    "crop_n_points_downscale_factor": 2,
    "crop_overlap_ratio": 0.25,
    "crop_nms_thresh": 0.5,
}
CASES = (
    Case("defaults, steep", "coins", steep=True),
    Case("a layer of crops, steep", "coins", {"crop_n_layers": 1, "points_per_side": 16}, steep=True),
    Case("lower thresholds", "nuclei", {**_LOW, **_LESS}),
    Case("colour, steep", "tissue", {**_LOWER, **_LESS}, steep=True),
    Case("a tall crop", "tall", {**_LOW, **_LESS}),
    Case("a small piece", "small", {**_LOW, **_LESS}),
    Case(
        "other offset",
        "coins",
        {**_LOW, **_LESS, "stability_score_offset": 0.25, "stability_score_thresh": 0.9},
    ),
    Case("other suppression", "coins", {**_LOW, **_LESS, "box_nms_thresh": 0.3}),
    Case(
        "fewer points in crops",
        "coins",
        {**_LOW, **_LESS, "crop_n_layers": 1, "crop_n_points_downscale_factor": 2},
    ),
    Case("no small regions", "coins", {**_LOW, **_LESS, "min_mask_region_area": 200}),
    Case("two layers of crops, steep", "small", {**_TWO_LAYERS, "points_per_side": 12}, steep=True),
    Case("points of one's own", "nuclei", _LOWER, grid=_SCATTERED),
)
QUICK = (
    Case("default thresholds, steep", "coins", _FEW, steep=True),
    Case("lower thresholds", "nuclei", {**_LOW, **_FEW}),
    Case("a tall crop", "tall", {**_LOW, **_FEW, "box_nms_thresh": 0.4}),
    Case(
        "one layer of crops",
        "coins",
        {**_LOW, "points_per_side": 8, "crop_n_layers": 1, "crop_n_points_downscale_factor": 2},
    ),
    Case("no small regions", "coins", {**_LOW, **_FEW, "min_mask_region_area": 200}),
    Case("colour, steep", "tissue", {**_LOWER, **_FEW}, steep=True),
    Case("two layers of crops, steep", "small", {**_TWO_LAYERS, "points_per_side": 6}, steep=True),
    Case("points of one's own", "nuclei", _LOWER, grid=_SCATTERED),
)


@cache
def real_image(name: str) -> NDArray[np.uint8]:
    """Give a real image: of scikit-image, or of the package."""
    coins = pictures.coins()
    images: dict[str, NDArray[np.uint8]] = {
        "coins": coins,  # 303 x 384
        "nuclei": demo_stack()[2],  # 512 x 640
        "tissue": np.ascontiguousarray(pictures.immunohistochemistry()[:240, :300]),
        "tall": np.ascontiguousarray(coins[:, 40:170]),
        "small": np.ascontiguousarray(coins[20:101, 30:147]),
    }
    return images[name]


def nano(steep: bool) -> Sam:
    """Load nano without all that Meta's model lacks; with steeper logits if asked."""
    whole, _ = load_model("nano")
    plain = {
        "fine": False,
        "proposals": False,
        "draws_prompts": False,
        "close_up": False,
        "takes_grain": True,
        "centred": False,
    }
    sam = Sam(replace(whole.config, **plain)).eval()
    own = sam.state_dict()
    sam.load_state_dict({key: value for key, value in whole.state_dict().items() if key in own})
    decoder = sam.mask_decoder
    assert isinstance(decoder, MaskDecoder)
    if steep:
        for mlp in decoder.output_hypernetworks_mlps:
            for tensor in mlp.layers[-1].parameters():
                tensor.data *= _STEEP
    return sam


def generate_ours(case: Case) -> tuple[Proposals, Selected]:
    """Propose and select the masks of a case, keeping no proposal below its thresholds."""
    choosing = {name: value for name, value in case.settings.items() if hasattr(Selection, name)}
    proposing = {name: value for name, value in case.settings.items() if name not in choosing}
    if case.grid:
        proposing |= {"points_per_side": None, "point_grids": [case.grid]}
    selection = Selection(**choosing)
    generation = Generation(
        prompts=GRID,
        score_floor=selection.pred_iou_thresh,
        stability_floor=selection.stability_score_thresh,
        **proposing,
    )
    proposals = propose(predictor_of(nano(case.steep)), real_image(case.image), generation)
    return proposals, proposals.select(selection)


def pairwise_iou(a: list[NDArray[np.bool_]], b: list[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """Give the (A, B) IoU of each mask with each."""
    if not a or not b:
        return np.empty((len(a), len(b)))
    one, other = (np.stack(masks).reshape(len(masks), -1).astype(np.float32) for masks in (a, b))
    shared = one @ other.T
    return shared / (one.sum(1)[:, None] + other.sum(1) - shared)
