"""Windows of the embedding: large enough for the object, inside the embedding, around the point."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_sam.inference.decoding import Limits, decode_objects, decode_points
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.windows import Windows, cut_off, window_sides
from napari_sam.model.mask_decoder import CANDIDATES
from seeded import seeded_image, seeded_predictor, tiny_config


def test_a_larger_object_has_a_larger_window() -> None:
    assert window_sides(np.array([0.5, 3.9, 4.5, 6.5, 40.0]), 64).tolist() == [16, 24, 32, 64, 64]


def test_no_window_is_larger_than_the_embedding() -> None:
    assert window_sides(np.array([1.0, 3.0, 9.0]), 20).tolist() == [16, 20, 20]


def test_windows_lie_around_their_points_and_inside() -> None:
    points = np.array([[30.0, 41.5], [2.0, 63.0], [63.5, 0.2]])
    windows = Windows.around(points, 16, 64)
    assert windows is not None and windows.corners.tolist() == [[22, 34], [0, 48], [48, 0]]
    assert Windows.around(points, 64, 64) is None


@pytest.mark.parametrize(
    ("pixel", "corner", "touches"),
    [
        ((0, 30), (3, 5), True),
        ((0, 30), (0, 5), False),  # there the embedding ends too
        ((63, 30), (47, 5), True),
        ((63, 30), (48, 5), False),
        ((30, 0), (3, 5), True),
        ((30, 63), (3, 48), False),
        ((30, 30), (3, 5), False),
    ],
)
def test_a_mask_at_the_border_of_its_window(
    pixel: tuple[int, int], corner: tuple[int, int], touches: bool
) -> None:
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0][pixel] = True
    windows = Windows(np.array([corner, corner]), 16)
    assert cut_off(masks, windows, 64).tolist() == [touches, False]
    assert cut_off(masks, None, 64).tolist() == [False, False]


@pytest.fixture(scope="module", params=["not drawn", "drawn", "redrawn"])
def wide_predictor(request: pytest.FixtureRequest) -> Predictor:
    """A tiny predictor whose embedding of 32 x 32 tokens has room for windows, with drawn prompts or not."""
    drawn, closer = request.param != "not drawn", request.param == "redrawn"
    config = replace(tiny_config(), image_size=256, proposals=drawn, draws_prompts=drawn, close_up=closer)
    return seeded_predictor(config)


def test_a_window_is_decoded_as_an_embedding_of_its_own(wide_predictor: Predictor) -> None:
    """All prompts together, each in its window, give what each gives alone on that part."""
    embedding = wide_predictor.encode(seeded_image(180, 256))
    points = np.array([[20.0, 31.5], [150.0, 11.0], [90.0, 249.0]])
    windows = Windows.around(points / 8, 16, 32)
    assert windows is not None
    found = wide_predictor.point_decoder(embedding).best_passing(points, -np.inf, windows)
    assert found.prompts.tolist() == [0, 1, 2] and found.logits.shape == (3, 64, 64)
    sam = wide_predictor._sam
    positive = torch.ones(1, 1, dtype=torch.int64)
    for number, (row, column) in enumerate(windows.corners.tolist()):
        part = (..., slice(row, row + 16), slice(column, column + 16))
        xy = embedding.geometry.points_to_input(points[number])[None]
        with torch.inference_mode():
            sparse, dense = sam.prompt_encoder((xy, positive))
            if sam.config.draws_prompts:
                maps = torch.from_numpy(wide_predictor.object_maps(embedding))[None]
                inside = maps[..., 2 * row : 2 * row + 32, 2 * column : 2 * column + 32]
                drawn = sam.draw(inside, (xy - 8 * torch.tensor([column, row]), positive))
                assert drawn is not None
                dense = sam.prompt_encoder.embed_masks(drawn)
            pe = sam.image_pe()[part]
            logits, scores = sam.mask_decoder(
                sam.features(embedding.features)[part], pe, sparse, dense, CANDIDATES
            )
        best = int(scores[0].argmax())
        assert found.candidates[number] == CANDIDATES[best]
        torch.testing.assert_close(found.scores[number], scores[0, best], rtol=0, atol=1e-5)
        torch.testing.assert_close(found.logits[number], logits[0, best], rtol=0, atol=1e-4)


def test_each_object_gives_one_mask_at_most(wide_predictor: Predictor) -> None:
    """Small ones from their windows; what runs out of its window, from the whole embedding."""
    embedding = wide_predictor.encode(seeded_image(180, 256))
    points = np.array([[20.0, 31.5], [150.0, 11.0], [90.0, 249.0]])
    limits = Limits(score=0.0, stability=0.0, offset=0.1)
    crop = (5, 7, 185, 263)
    shares: list[float] = []
    objects = list(
        decode_objects(wide_predictor, embedding, points, np.full(3, 8.0), limits, 2, crop, shares.append)
    )
    where = [one.point for one in objects]
    assert len(set(where)) == len(where) > 0
    assert set(where) <= {(row + 5, column + 7) for row, column in points}
    assert all(one.mask.box[0] >= 5 and one.mask.box[1] >= 7 for one in objects)
    assert shares[-1] == 1.0


def test_nothing_comes_of_scores_that_none_reaches(wide_predictor: Predictor) -> None:
    embedding = wide_predictor.encode(seeded_image(180, 256))
    limits = Limits(score=1e6, stability=0.0, offset=0.1)
    points = np.array([[20.0, 31.5], [150.0, 11.0]])
    for radii in ([1.0, 1.0], [30.0, 30.0]):
        assert not list(
            decode_objects(wide_predictor, embedding, points, np.array(radii), limits, 1, (0, 0, 180, 256))
        )
    assert not list(decode_points(wide_predictor, embedding, points, limits, 1, (0, 0, 180, 256)))
