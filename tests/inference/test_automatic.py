"""All objects of a plane without a prompt: by the grid as Meta's generator does, and by the model's head."""

from __future__ import annotations

import json
import math
import weakref
from pathlib import Path

import dask.array as da
import numpy as np
import pytest

from automatic_cases import QUICK, Case, generate_ours, pairwise_iou, real_image
from napari_sam.contrast import Contrast
from napari_sam.demo import demo_stack
from napari_sam.inference.automatic import (
    GRID,
    LEARNED,
    EmbeddedPlane,
    Generation,
    prompts_of,
    propose,
    suited_selection,
)
from napari_sam.inference.loading import load_predictor
from napari_sam.inference.overlaps import label_image
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.proposals import Selection
from napari_sam.inference.records import records
from napari_sam.inference.results import Embedding
from napari_sam.inference.tiles import PlaneEmbeddings
from napari_sam.weights.loading import load_model
from seeded import seeded_image

REFERENCE = Path(__file__).parents[1] / "data" / "reference_automatic.npz"
FEW = Generation(points_per_side=3, prompts=GRID, score_floor=0, stability_floor=0)


@pytest.fixture(scope="module")
def nano() -> Predictor:
    """Give the bundled model with its own weights."""
    return load_predictor("nano", device="cpu")


def test_the_reference_was_made_with_the_bundled_weights() -> None:
    with np.load(REFERENCE) as reference:
        assert str(reference["weights"]) == load_model("nano")[1].weights_hash, (
            "nano has other weights than the reference was made with; write it anew: "
            "python benchmarks/reference.py --only automatic"
        )


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.name)
def test_the_masks_are_those_of_the_official_generator(case: Case) -> None:
    """Each official mask has ours at an IoU of 0.99 with the same record, and none of ours is beside them."""
    shape = real_image(case.image).shape[:2]
    with np.load(REFERENCE) as reference:
        bits, theirs = reference[case.name], json.loads(str(reference[f"{case.name}/records"]))
    count = 8 * len(bits) // np.prod(shape)
    official = np.unpackbits(bits, count=count * np.prod(shape)).reshape(count, *shape).astype(bool)
    ours = records(*generate_ours(case))
    ious = pairwise_iou(list(official), [record.pop("segmentation") for record in ours])
    assert count > 3 and ious.shape == (count, count)
    assert ious.max(0).min() >= 0.99 and ious.max(1).min() >= 0.99
    # Other processors may draw a pixel of a border otherwise.
    tolerances = {"area": 20, "bbox": 1, "predicted_iou": 1e-3, "stability_score": 0.01}
    for record, number in zip(theirs, ious.argmax(1), strict=True):
        assert list(ours[number]) == list(record)
        for key, value in record.items():
            np.testing.assert_allclose(ours[number][key], value, rtol=0, atol=tolerances.get(key, 1e-6))


def test_nano_finds_nuclei_by_itself(nano: Predictor) -> None:
    plane = demo_stack()[2]
    proposals = propose(nano, plane)
    assert proposals.prompts == LEARNED and proposals.shape == plane.shape
    selected = proposals.select(suited_selection(nano))
    labels = label_image(selected)
    assert len(selected) >= 10 and len(np.unique(labels)) == len(selected) + 1
    assert plane[labels > 0].mean() > 2 * plane[labels == 0].mean()
    for name in ("scores", "stability", "areas", "boxes", "points", "crops"):
        assert len(getattr(proposals, name)) == len(proposals)


def test_an_embedding_gives_what_the_plane_gives(tiny_predictor: Predictor) -> None:
    plane = seeded_image(60, 80)
    embedding = tiny_predictor.encode(plane)
    elsewhere = EmbeddedPlane((60, 80), PlaneEmbeddings(tiny_predictor, plane))
    made = [propose(tiny_predictor, source, FEW) for source in (plane, embedding, elsewhere)]
    assert len(made[0]) > 0
    assert made[0].masks == made[1].masks == made[2].masks


def test_other_dtypes_are_stretched_once_for_all_crops(tiny_predictor: Predictor) -> None:
    crops = Generation(points_per_side=2, crop_n_layers=1, prompts=GRID, score_floor=0, stability_floor=0)
    plane = seeded_image(60, 80)[..., 0].astype(np.float32) * 7 + 100
    one, other = (propose(tiny_predictor, x, crops) for x in (plane, Contrast.of(plane).apply(plane)))
    assert one.crop_count == 5 and one.masks == other.masks


@pytest.mark.parametrize(
    "plane",
    [
        np.zeros((40, 50), np.uint8),
        np.full((40, 50), np.nan),
        np.full((9, 9, 3), 7, np.uint16),
        np.empty((0, 5)),
    ],
    ids=["black", "no number", "gray", "no pixels"],
)
def test_a_plane_without_contents_gives_no_masks_and_says_so(nano: Predictor, plane: np.ndarray) -> None:
    proposals = propose(nano, plane)
    assert len(proposals) == 0 and proposals.message is not None
    assert "nothing to find" in str(proposals.select().message)


@pytest.mark.parametrize(
    ("plane", "message"),
    [
        (np.arange(9.0), r"not \(9,\)"),
        (np.arange(12.0).reshape(3, 4) * 1j, "complex128 is not a real number"),
        (np.arange(36).reshape(3, 3, 4), r"not \(3, 3, 4\)"),
    ],
    ids=["1-D", "complex", "four channels"],
)
@pytest.mark.parametrize("prompts", [LEARNED, GRID])
def test_what_is_no_plane_is_refused(nano: Predictor, plane: np.ndarray, message: str, prompts: str) -> None:
    with pytest.raises(ValueError, match=message):
        propose(nano, plane, Generation(prompts=prompts))


def test_any_array_is_a_plane(tiny_predictor: Predictor) -> None:
    image = seeded_image(60, 80)[..., 0]
    direct, lazy = propose(tiny_predictor, image, FEW), propose(tiny_predictor, da.from_array(image), FEW)
    assert lazy.masks == direct.masks


def test_progress_rises_to_one_and_can_end_the_work(tiny_predictor: Predictor) -> None:
    said: list[float] = []
    propose(tiny_predictor, seeded_image(60, 80), FEW, said.append)
    assert said == sorted(said) and said[-1] == 1

    def cancel(done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        propose(tiny_predictor, seeded_image(60, 80), FEW, cancel)


def test_own_grids_are_rows_and_columns(tiny_predictor: Predictor) -> None:
    own = Generation(
        points_per_side=None, point_grids=[[(0.25, 0.5)]], prompts=GRID, score_floor=0, stability_floor=0
    )
    proposals = propose(tiny_predictor, seeded_image(60, 80), own)
    assert len(proposals) and proposals.points.tolist() == [[15.0, 40.0]] * len(proposals)


@pytest.mark.parametrize(
    ("settings", "prompts"),
    [({}, LEARNED), ({"prompts": GRID}, GRID), ({"points_per_side": 8}, GRID), ({"crop_n_layers": 1}, GRID)],
    ids=["default", "asked for", "by its points", "by its crops"],
)
def test_the_grid_is_used_where_it_is_asked_for(
    nano: Predictor, settings: dict[str, int], prompts: str
) -> None:
    assert prompts_of(nano, Generation(**settings)) == prompts


def test_a_model_without_the_head_uses_the_grid(tiny_predictor: Predictor) -> None:
    assert prompts_of(tiny_predictor, Generation()) == GRID
    assert suited_selection(tiny_predictor) == Selection()
    with pytest.raises(ValueError, match="tiny has no head that finds objects; choose prompts='grid'"):
        propose(tiny_predictor, seeded_image(60, 80), Generation(prompts=LEARNED))


def test_crops_need_the_plane(tiny_predictor: Predictor) -> None:
    embedding = tiny_predictor.encode(seeded_image(60, 80))
    with pytest.raises(ValueError, match="give the plane, not its embedding"):
        propose(tiny_predictor, embedding, Generation(crop_n_layers=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"points_per_side": None}, "either points_per_side or point_grids"),
        ({"points_per_side": 0}, "points_per_side is 0"),
        ({"points_per_side": 3.5}, "points_per_side is 3.5; give a whole number"),
        ({"points_per_batch": math.nan}, "points_per_batch is nan"),
        ({"crop_overlap_ratio": 2}, "crop_overlap_ratio is 2"),
        ({"stability_score_offset": -1}, "stability_score_offset is -1"),
        ({"prompts": "magic"}, "prompts is 'magic'"),
        ({"prompts": LEARNED, "crop_n_layers": 1}, "Learned prompts use no grid"),
        ({"points_per_side": None, "point_grids": []}, "There are 0 point_grids"),
        ({"points_per_side": None, "point_grids": [[(2.0, 0.5)]]}, "fractions"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Generation(**settings)


def test_the_embeddings_of_tiles_are_not_kept(nano: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a plane of 16000 x 16000 pixels take 20 GiB."""
    made: list[weakref.ref[Embedding]] = []
    there: list[int] = []

    def encode(plane: np.ndarray, *_: object) -> Embedding:
        there.append(sum(one() is not None for one in made))
        embedding = Predictor.encode(nano, plane)
        made.append(weakref.ref(embedding))
        return embedding

    monkeypatch.setattr(nano, "encode", encode)
    plane = np.zeros((100, 1200), np.uint8)
    plane[40:60, 40:60] = 200
    proposals = propose(nano, plane)
    assert len(proposals) > 0
    assert len(there) == proposals.crop_count > 4
    assert max(there) <= 1  # the one before, to which the predictor may be asked again


def test_a_large_plane_is_looked_at_tile_by_tile(nano: Predictor) -> None:
    """Each coin is found in the copies as in the piece alone, once, and none is cut at a tile's border."""
    proposals = propose(nano, np.tile(real_image("coins"), (1, 3)))  # 303 x 1152
    assert proposals.crop_count > 3
    found = label_image(proposals.select(suited_selection(nano)))
    alone = propose(nano, real_image("coins")).select(suited_selection(nano))
    assert 2.5 * len(alone) <= len(np.unique(found)) - 1 <= 3.5 * len(alone)
    for border in range(256, 1152, 256):  # no mask has a straight edge along one
        edge = (found[:, border - 1] != found[:, border]).sum()
        assert edge < 40
