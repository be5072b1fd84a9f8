"""Many objects of a plane are predicted together, and each is what it would be alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_sam.inference.batches import predict_several
from napari_sam.inference.loading import load_predictor
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.tiles import PlaneEmbeddings, predict_plane
from napari_sam.matching import iou

SHAPE = (300, 420)
CENTRES = [(40, 60), (60, 330), (150, 200), (240, 90), (250, 360), (140, 60)]


@pytest.fixture(scope="module")
def cells() -> NDArray[np.uint8]:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    inside = np.any([np.hypot(y - row, x - column) < 18 for row, column in CENTRES], axis=0)
    noise = np.random.default_rng(0).normal(0, 4, SHAPE)
    return np.clip(40 + 140 * inside + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def nano() -> Predictor:
    return load_predictor("nano", device="cpu")


@pytest.mark.parametrize(
    "prompts",
    [
        pytest.param([Prompt([point]) for point in CENTRES], id="points"),
        pytest.param(
            [Prompt(box=(row - 20, column - 19, row + 20, column + 19)) for row, column in CENTRES],
            id="boxes",
        ),
        pytest.param(
            [
                Prompt([CENTRES[0]]),
                Prompt(box=(40, 310, 80, 350)),
                Prompt([CENTRES[2], (200, 260)], [1, 0]),
                Prompt([CENTRES[3]]),
            ],
            id="a mix",
        ),
    ],
)
def test_each_is_what_it_would_be_alone(
    nano: Predictor, cells: NDArray[np.uint8], prompts: list[Prompt]
) -> None:
    embed = PlaneEmbeddings(nano, cells)
    told: list[float] = []
    together = predict_several(nano, SHAPE, prompts, embed, told.append)
    assert len(together) == len(prompts) and told[-1] == 1 and told == sorted(told)
    for prompt, found in zip(prompts, together, strict=True):
        alone = predict_plane(nano, SHAPE, prompt, embed)
        assert found.tile == alone.tile
        assert iou(found.masks[found.best], alone.masks[alone.best]) > 0.999
        assert found.scores.max() == pytest.approx(alone.scores.max(), abs=1e-4)
        assert iou(found.masks[found.best], found.masks[found.best] & (cells > 100)) > 0.8


def test_a_point_beside_an_object_changes_no_other(nano: Predictor, cells: NDArray[np.uint8]) -> None:
    """It is not drawn as a mask, but those on objects are, as they would be alone."""
    embed, point = PlaneEmbeddings(nano, cells), Prompt([CENTRES[0]])
    alone = predict_plane(nano, SHAPE, point, embed)
    found, _ = predict_several(nano, SHAPE, [point, Prompt([(200, 200)], [0])], embed)
    assert found.scores.max() == pytest.approx(alone.scores.max(), abs=1e-4)
    assert iou(found.masks[found.best], alone.masks[alone.best]) > 0.999


def test_on_a_large_plane_each_has_its_own_tile(tiny_predictor: Predictor) -> None:
    shape = (600, 800)
    plane = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    embed = PlaneEmbeddings(tiny_predictor, plane)
    prompts = [Prompt([(60.0, 70.0)]), Prompt([(500.0, 700.0)]), Prompt(box=(300, 300, 330, 340))]
    for prompt, found in zip(prompts, predict_several(tiny_predictor, shape, prompts, embed), strict=True):
        alone = predict_plane(tiny_predictor, shape, prompt, embed)
        assert (found.tile, found.shape) == (alone.tile, shape)
        assert iou(found.masks[found.best], alone.masks[alone.best]) > 0.99


def test_prompts_that_are_not_alike_are_no_batch(nano: Predictor, cells: NDArray[np.uint8]) -> None:
    embedding = nano.encode(cells)
    for other in (Prompt(box=(1, 2, 30, 40)), Prompt([(4, 5)], [0])):
        with pytest.raises(ValueError, match="not alike"):
            nano.predict_batch(embedding, [Prompt([(4, 5)]), other])
    assert nano.predict_batch(embedding, []) == []


def test_an_empty_prompt_among_several_is_named(nano: Predictor, cells: NDArray[np.uint8]) -> None:
    embedding = nano.encode(cells)
    for prompts in ([Prompt([(4, 5)]), Prompt()], [Prompt(box=(1, 2, 30, 40)), Prompt()]):
        with pytest.raises(ValueError, match=r"prompt 1 of 2 \(counted from 0\) is empty"):
            nano.predict_batch(embedding, prompts)
        with pytest.raises(ValueError, match=r"prompt 1 of 2 \(counted from 0\) is empty"):
            predict_several(nano, cells.shape[:2], prompts, lambda _: embedding)
