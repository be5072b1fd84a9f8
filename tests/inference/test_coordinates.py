"""Planes of any shape fit the model's square, and positions go there and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_sam.inference.coordinates import Geometry
from napari_sam.inference.masks import upscale_masks
from seeded import seeded_image

SIDES = st.integers(1, 20_000)


@pytest.mark.parametrize(
    ("original", "scaled"),
    [((512, 512), (512, 512)), ((100, 200), (256, 512)), ((3, 1), (512, 171)), ((1, 2000), (1, 512))],
    ids=str,
)
def test_the_longer_side_fills_the_input(original: tuple[int, int], scaled: tuple[int, int]) -> None:
    assert Geometry.fit(original, 512).scaled == scaled


@given(height=SIDES, width=SIDES, image_size=st.sampled_from([256, 512, 1024]))
def test_every_shape_fits(height: int, width: int, image_size: int) -> None:
    geometry = Geometry.fit((height, width), image_size)
    assert max(geometry.scaled) == image_size
    assert min(geometry.scaled) >= 1


@given(
    height=SIDES,
    width=SIDES,
    share=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_points_keep_their_place(height: int, width: int, share: tuple[float, float]) -> None:
    """Rows become y and columns x, each the same share of its side."""
    geometry = Geometry.fit((height, width), 1024)
    [[x, y]] = geometry.points_to_input([(share[0] * height, share[1] * width)]).double().numpy()
    np.testing.assert_allclose((y, x), np.multiply(share, geometry.scaled), rtol=1e-6, atol=1e-6)


@given(height=SIDES, width=SIDES, share=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_centred_points_lie_where_the_pixels_do(height: int, width: int, share: tuple[float, float]) -> None:
    """The outer edges of the plane are those of the scaled image, and what lies between is scaled alike."""
    geometry = Geometry.fit((height, width), 1024, centred=True)
    place = (share[0] * height - 0.5, share[1] * width - 0.5)
    [[x, y]] = geometry.points_to_input([place]).double().numpy()
    np.testing.assert_allclose((y + 0.5, x + 0.5), np.multiply(share, geometry.scaled), rtol=1e-6, atol=1e-4)


@given(
    height=SIDES, width=SIDES, centred=st.booleans(), point=st.tuples(st.floats(0, 1e3), st.floats(0, 1e3))
)
def test_points_come_back(height: int, width: int, centred: bool, point: tuple[float, float]) -> None:
    geometry = Geometry.fit((height, width), 512, centred)
    [[x, y]] = geometry.points_to_input([point]).double().numpy()
    np.testing.assert_allclose(geometry.points_from_input(np.array([(y, x)]))[0], point, rtol=1e-5, atol=1e-3)


def test_a_box_is_two_corners() -> None:
    assert Geometry.fit((100, 200), 400).box_to_input((10, 20, 30, 40)).tolist() == [40, 20, 80, 60]
    centred = Geometry.fit((100, 200), 400, centred=True)
    assert centred.box_to_input((9.5, 19.5, 29.5, 39.5)).tolist() == [39.5, 19.5, 79.5, 59.5]


@pytest.mark.parametrize("shape", [(40, 70), (200, 60), (1, 300), (64, 64)], ids=str)
def test_images_are_scaled_and_grey_is_repeated(shape: tuple[int, int]) -> None:
    geometry = Geometry.fit(shape, 64)
    grey = geometry.scale_image(seeded_image(*shape)[..., 0])
    assert grey.shape == (1, 3, *geometry.scaled)
    assert torch.equal(grey[0, 0], grey[0, 2])


@pytest.mark.parametrize("image_size", [512, 1024])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_line_stays_one_however_thin_it_is(width: int, image_size: int) -> None:
    mask = np.zeros((1500, 1500), bool)
    mask[600 : 600 + width, 300:1200] = True
    logits = Geometry.fit(mask.shape, image_size).mask_to_input(mask, image_size // 4)
    rows, columns = np.nonzero(logits.numpy() > 0)
    unit = 1500 / (image_size // 4)
    assert set(rows) <= set(range(int(600 / unit) - 1, int(602 / unit) + 2))
    assert np.ptp(columns) == pytest.approx(900 / unit, abs=2)


@pytest.mark.parametrize("shape", [(300, 420), (700, 130), (64, 64)], ids=str)
def test_a_mask_survives_the_way_to_logits_and_back(shape: tuple[int, int]) -> None:
    """All but the border: it lies between the low-resolution pixels."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = np.hypot((y / shape[0] - 0.45) / 0.3, (x / shape[1] - 0.6) / 0.25) < 1
    geometry = Geometry.fit(shape, 512)
    logits = geometry.mask_to_input(mask, side=256)
    assert logits.shape == (256, 256) and logits.min() == -10 and logits.max() == 10
    back = upscale_masks(logits[None], geometry)[0].numpy()
    assert back.shape == shape
    assert (back & mask).sum() / (back | mask).sum() > 0.96
