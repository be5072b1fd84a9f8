"""Small noisy images are smoothed before they are enlarged; all others reach the model as they are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_sam.inference.noise import noise_share, without_grain


def cells(noise: float, colours: bool = False) -> NDArray[np.uint8]:
    """Four bright discs, contrast 100, with noise of the given deviation."""
    y, x = np.mgrid[:96, :120]
    inside = np.any([np.hypot(y - a, x - b) < 14 for a in (24, 70) for b in (30, 85)], axis=0)
    picture = 60 + 100.0 * inside
    if colours:
        picture = np.stack([picture] * 3, axis=2)
    noisy = picture + np.random.default_rng(0).normal(0, noise, picture.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("noise", [4.0, 15.0, 40.0])
def test_the_share_is_that_of_the_noise(noise: float) -> None:
    contrast = np.hypot(cells(0).std(), noise)
    assert noise_share(cells(noise)) == pytest.approx(noise / contrast, rel=0.15)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(cells(0), id="no noise"),
        pytest.param(np.full((50, 60), 9, np.uint8), id="constant"),
        pytest.param(np.array([[0, 255]], np.uint8), id="two pixels"),
        pytest.param(np.arange(200, dtype=np.uint8)[None].repeat(90, 0), id="a slope"),
    ],
)
def test_outlines_and_slopes_are_no_noise(image: NDArray[np.uint8]) -> None:
    assert noise_share(image) == 0.0


@pytest.mark.parametrize("colours", [False, True], ids=["grey", "colours"])
def test_grain_is_smoothed(colours: bool) -> None:
    clean, noisy = (cells(noise, colours).astype(float) for noise in (0, 60))
    smooth = without_grain(cells(60, colours), 4.0)
    assert smooth.shape == noisy.shape and smooth.dtype == np.uint8
    assert np.abs(smooth - clean).mean() < 0.6 * np.abs(noisy - clean).mean()


@pytest.mark.parametrize(
    ("noise", "enlarged"), [(60, 1.0), (60, 0.5), (10, 4.0)], ids=["as it is", "scaled down", "little noise"]
)
def test_other_images_are_not_touched(noise: float, enlarged: float) -> None:
    image = cells(noise)
    assert without_grain(image, enlarged) is image
