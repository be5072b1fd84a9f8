"""Points become compact masks, with the official code's stability."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from napari_sam.inference.decoding import Decoded, Limits, decode_objects, decode_points
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.runs import MaskRuns
from seeded import interpolate_twice, seeded_image

EVERYTHING = Limits(score=0.0, stability=0.0, offset=0.1)
POINTS = np.array([[20.0, 31.5], [70.25, 11.0], [44.0, 99.0]])


def decode(predictor: Predictor, limits: Limits = EVERYTHING, at_once: int = 64) -> list[Decoded]:
    embedding = predictor.encode(seeded_image(90, 120))
    return list(decode_points(predictor, embedding, POINTS, limits, at_once, (5, 7, 95, 127)))


def test_masks_and_scores_are_those_of_single_prompts(tiny_predictor: Predictor) -> None:
    embedding = tiny_predictor.encode(seeded_image(90, 120))
    decoded = decode(tiny_predictor)
    for row, column in POINTS:
        alone = tiny_predictor.predict(embedding, Prompt([(row, column)]))
        batch = [one for one in decoded if one.point == (row + 5, column + 7)]
        assert_allclose([one.score for one in batch], alone.scores, rtol=0, atol=1e-5)
        for one, mask in zip(batch, alone.masks, strict=True):
            assert np.mean(one.mask.on((95, 127))[5:, 7:] != mask) < 1e-3
            assert one.crop == (5, 7, 95, 127)


def test_the_stability_is_the_official_one(tiny_predictor: Predictor) -> None:
    """The IoU of the full-size masks at a higher and a lower threshold."""
    embedding = tiny_predictor.encode(seeded_image(90, 120))
    low = tiny_predictor.point_decoder(embedding).passing(POINTS, -np.inf).logits
    full = interpolate_twice(low, embedding.geometry)
    high, wide = ((full > level).flatten(1).sum(1) for level in (0.1, -0.1))
    expected = (high / wide)[(full > 0).flatten(1).any(1)]
    found = torch.tensor([one.stability for one in decode(tiny_predictor)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3, check_dtype=False)


@pytest.mark.parametrize("at_once", [1, 2])
def test_the_size_of_the_batches_changes_nothing(tiny_predictor: Predictor, at_once: int) -> None:
    one, other = decode(tiny_predictor), decode(tiny_predictor, at_once=at_once)
    assert [x.mask for x in one] == [x.mask for x in other]


MANY = np.random.default_rng(0).uniform((0, 0), (90, 120), (40, 2))


def test_parts_on_several_cores_give_what_one_gives(
    tiny_predictor: Predictor, use_cores: Callable[[int], None]
) -> None:
    embedding = tiny_predictor.encode(seeded_image(90, 120))

    def decode_many() -> list[Decoded]:
        return list(decode_points(tiny_predictor, embedding, MANY, EVERYTHING, 64, (0, 0, 90, 120)))

    use_cores(1)
    one = decode_many()
    use_cores(2)
    two = decode_many()
    assert len(one) > 100
    assert [(x.mask, x.score, x.point) for x in one] == [(x.mask, x.score, x.point) for x in two]


def test_a_run_that_is_stopped_leaves_no_thread(
    tiny_predictor: Predictor, use_cores: Callable[[int], None]
) -> None:
    embedding = tiny_predictor.encode(seeded_image(90, 120))

    def stop(done: float) -> None:
        raise InterruptedError(f"{done:.2f}")

    use_cores(2)
    with pytest.raises(InterruptedError, match=r"0\.40"):
        list(decode_points(tiny_predictor, embedding, MANY, EVERYTHING, 64, (0, 0, 90, 120), stop))
    assert not [thread for thread in threading.enumerate() if "napari-sam core" in thread.name]


def objects(predictor: Predictor, radii: list[float], at_once: int = 64) -> list[Decoded]:
    embedding = predictor.encode(seeded_image(90, 120))
    crop = (5, 7, 95, 127)
    return list(decode_objects(predictor, embedding, POINTS, np.array(radii), EVERYTHING, at_once, crop))


def test_of_each_object_the_best_mask(tiny_predictor: Predictor) -> None:
    """Objects that fit in no window are decoded on the whole embedding, as a prompt is."""
    embedding = tiny_predictor.encode(seeded_image(90, 120))
    best = objects(tiny_predictor, [900.0] * 3)
    alone = [tiny_predictor.predict(embedding, Prompt([tuple(point)])) for point in POINTS]
    assert_allclose([one.score for one in best], [one.scores.max() for one in alone], rtol=0, atol=1e-5)
    for one, prediction in zip(best, alone, strict=True):
        assert np.mean(one.mask.on((95, 127))[5:, 7:] != prediction.mask(prediction.best)) < 1e-3


def test_what_fails_the_limits_is_left_out(tiny_predictor: Predictor) -> None:
    everything = decode(tiny_predictor)
    score = float(np.median([one.score for one in everything]))
    limits = Limits(max(score, 1e-6), 0.3, 0.1)
    expected = [one.mask for one in everything if one.score > limits.score and one.stability >= 0.3]
    assert [one.mask for one in decode(tiny_predictor, limits)] == expected


@pytest.mark.parametrize(
    ("box", "cut"),
    [
        ((30, 30, 60, 60), False),
        ((0, 30, 60, 60), False),  # at the border of the plane, which does not go on there
        ((30, 82, 60, 95), True),  # 5 pixels from the end of the crop
        ((30, 60, 60, 79), False),  # 22 pixels from it
    ],
    ids=["inside", "at the plane's border", "near the crop's border", "far from it"],
)
def test_a_mask_near_a_border_of_its_crop_is_cut_off(box: tuple[int, int, int, int], cut: bool) -> None:
    one = Decoded(MaskRuns(box, 1, b""), 1.0, 1.0, (0.0, 0.0), (0, 0, 100, 100))
    assert one.is_cut_off((100, 200), tolerance=20) == cut
