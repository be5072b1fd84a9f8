"""Prompts of any place and size on planes of any size find a tile, and the seams do not show."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_sam.inference.loading import load_predictor
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.refinement import predict_refined
from napari_sam.inference.results import Embedding
from napari_sam.inference.tiles import PlaneEmbeddings, predict_plane
from napari_sam.inference.tiling import Tile
from seeded import same, seeded_image

SIDE = 512


@pytest.fixture(scope="module")
def nano() -> Predictor:
    """The model that ships with the package: its masks mean something."""
    return load_predictor("nano", device="cpu")


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside: NDArray[np.bool_] = np.hypot(rows - centre[0], columns - centre[1]) <= radius
    return inside


def picture(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A bright object on a dim, slightly noisy background."""
    noise = np.random.default_rng(0).normal(0, 4, mask.shape)
    return np.clip(40 + 140 * mask + noise, 0, 255).astype(np.uint8)


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


class Counted:
    """Embeddings of a plane that remember which tiles were asked for."""

    def __init__(self, predictor: Predictor, image: NDArray[np.generic]) -> None:
        self.tiles: list[Tile] = []
        self._embeddings = PlaneEmbeddings(predictor, image)

    def __call__(self, tile: Tile) -> Embedding:
        self.tiles.append(tile)
        return self._embeddings(tile)


class TestSmallPlanes:
    @pytest.mark.parametrize("shape", [(90, 121), (700, 301)], ids=str)
    def test_are_one_tile(self, nano_predictor: Predictor, shape: tuple[int, int]) -> None:
        image = seeded_image(*shape)
        prompt = Prompt([(40.0, 60.0), (50.0, 70.0)], [1, 0])
        prediction = predict_plane(nano_predictor, shape, prompt, PlaneEmbeddings(nano_predictor, image))
        assert prediction.tile.covers(shape)
        expected = predict_refined(nano_predictor, nano_predictor.encode(image), prompt)
        assert same(prediction.inside, expected)
        assert np.array_equal(prediction.masks, prediction.inside.masks)

    def test_refuse_a_prompt_outside(self, nano_predictor: Predictor) -> None:
        embed = PlaneEmbeddings(nano_predictor, np.zeros((900, 800), np.uint8))
        with pytest.raises(ValueError, match=r"point .* lies outside the plane of 900 x 800"):
            predict_plane(nano_predictor, (900, 800), Prompt([(3, 800)]), embed)


class TestLargePlanes:
    SHAPE = (1100, 1700)

    @pytest.mark.parametrize(
        "prompt",
        [
            pytest.param(Prompt([(515, 763)]), id="click"),
            pytest.param(Prompt(box=(488, 744, 536, 792)), id="box"),
        ],
    )
    def test_seams_do_not_show(self, nano: Predictor, prompt: Prompt) -> None:
        """An object where four tiles meet has the mask that it has in an image of its own."""
        object_ = disc(self.SHAPE, (512, 768), 24)
        image = picture(object_)
        tiled = predict_plane(nano, self.SHAPE, prompt, PlaneEmbeddings(nano, image))
        assert (tiled.tile.height, tiled.tile.width) == (SIDE, SIDE)
        crop = Tile(0, 312, 468, 512, 512)
        alone = nano.predict(nano.encode(image[crop.index]), crop.prompt(prompt))
        mask = tiled.masks[tiled.best]
        assert iou(mask[crop.index], alone.masks[alone.best]) >= 0.95
        assert iou(mask, object_) >= 0.85

    def test_a_tiny_object_is_looked_at_enlarged(self, nano: Predictor) -> None:
        """A click on a disc of eleven pixels; its box says as much as an enlarged look."""
        object_ = disc(self.SHAPE, (515, 763), 5)
        image = picture(object_)
        for prompt, levels in ((Prompt([(515, 763)]), [0, -1]), (Prompt(box=(510, 758, 520, 768)), [0])):
            embed = Counted(nano, image)
            found = predict_plane(nano, self.SHAPE, prompt, embed)
            assert [tile.level for tile in embed.tiles] == levels
            assert iou(found.masks[found.best], object_) >= 0.85

    def test_an_object_too_large_for_its_tile_is_found_on_a_coarser_level(self, nano: Predictor) -> None:
        """The mask is that of the whole plane, which an untiled click would give."""
        object_ = disc(self.SHAPE, (512, 768), 80)
        image = picture(object_)
        embed = Counted(nano, image)
        prompt = Prompt([(515, 763)])
        tiled = predict_plane(nano, self.SHAPE, prompt, embed)
        assert [tile.level for tile in embed.tiles][:2] == [0, 1]
        untiled = nano.predict(nano.encode(image), prompt)
        assert iou(tiled.masks[tiled.best], untiled.masks[untiled.best]) >= 0.95
        assert iou(tiled.masks[tiled.best], object_) >= 0.9

    def test_a_mask_that_runs_out_of_its_tile_is_made_anew(self, nano_predictor: Predictor) -> None:
        """With meaningless masks, which fill whatever tile they are made on."""
        image = seeded_image(900, 1500)
        prompt = Prompt([(300.0, 900.0)])
        first = nano_predictor.tiling((900, 1500)).plan(prompt)
        embed = Counted(nano_predictor, image)
        cut = predict_plane(nano_predictor, (900, 1500), prompt, embed, tile=first)
        assert cut.runs_out(cut.best)
        for candidate in (None, 0, 1, 2):
            found = predict_plane(nano_predictor, (900, 1500), prompt, embed, candidate)
            assert not found.runs_out(found.best if candidate is None else candidate)
            assert found.tile.level > first.level

    def test_a_click_on_a_huge_plane_encodes_one_tile(self, nano: Predictor) -> None:
        image = np.zeros((20_000, 20_000), np.uint8)  # memory that is provided when it is looked at
        part = (slice(12_200, 12_800), slice(15_700, 16_300))
        object_ = disc((600, 600), (300, 300), 24)
        image[part] = picture(object_)
        embed = Counted(nano, image)
        prediction = predict_plane(nano, image.shape, Prompt([(12_500, 16_000)]), embed)
        assert [(tile.height, tile.width) for tile in embed.tiles] == [(512, 512)]
        assert iou(prediction.masks[prediction.best][part], object_) >= 0.8

    def test_tiles_share_one_contrast(self, nano_predictor: Predictor) -> None:
        """An empty tile is not stretched to noise."""
        image = picture(disc(self.SHAPE, (200, 200), 60)).astype(np.float32) / 7
        tile = Tile(0, 512, 1024, 512, 512)
        features = PlaneEmbeddings(nano_predictor, image)(tile).features
        alone = nano_predictor.encode(image[tile.index]).features
        assert not np.allclose(features, alone, atol=1e-2)
        low, high = np.percentile(image, (0.1, 99.9))
        stretched = np.clip(np.rint((image - low) / (high - low) * 255), 0, 255).astype(np.uint8)
        np.testing.assert_allclose(features, nano_predictor.encode(stretched[tile.index]).features, atol=0.3)
