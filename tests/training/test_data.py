"""The images that are read, and those that are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from skimage.io import imsave

from napari_sam.training import synthetic
from napari_sam.training.data import SYNTHETIC_KINDS, TRAINING_SETS, AnnotatedImage, read_pair, read_set
from napari_sam.training.synthetic import KINDS, draw, draw_set
from napari_sam.training.synthetic_looks import section
from napari_sam.training.synthetic_shapes import SIDE, bodies

LABELS = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40) // 300
RAMP = np.arange(30 * 40).reshape(30, 40)


@pytest.mark.parametrize(
    ("suffix", "image", "shape"),
    [
        pytest.param(".png", (RAMP % 256).astype(np.uint8), (30, 40), id="grey bytes"),
        pytest.param(".tif", (40 * RAMP).astype(np.uint16), (30, 40), id="16-bit"),
        pytest.param(".tif", RAMP.astype(np.float32), (30, 40), id="floats"),
        pytest.param(".png", np.stack([RAMP % 251] * 4, -1).astype(np.uint8), (30, 40, 3), id="RGBA"),
    ],
)
def test_a_pair_is_read(
    tmp_path: Path, suffix: str, image: NDArray[np.generic], shape: tuple[int, ...]
) -> None:
    path = tmp_path / f"field_7_image{suffix}"
    imsave(path, image, check_contrast=False)
    imsave(tmp_path / f"field_7_labels{suffix}", LABELS, check_contrast=False)
    read = read_pair(path)
    assert (read.name, read.image.shape, read.image.dtype) == ("field_7", shape, np.uint8)
    assert_array_equal(read.labels, LABELS)
    if image.ndim == 3:
        assert_array_equal(read.image, image[..., :3])
    else:
        assert (read.image.min(), read.image.max()) == (0, 255)


def test_a_set_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    for name in ("b", "c", "a"):
        imsave(tmp_path / f"{name}_image.png", (RAMP % 256).astype(np.uint8), check_contrast=False)
        imsave(tmp_path / f"{name}_labels.png", LABELS, check_contrast=False)
    (tmp_path / "notes.txt").write_text("not an image")
    assert [image.name for image in read_set(tmp_path)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        pytest.param(np.zeros((40, 40), np.uint8), "labels of .* have the shape", id="of another size"),
        pytest.param(np.zeros((*LABELS.shape, 2), np.uint8), "three or four colours", id="two colours"),
    ],
)
def test_a_pair_that_does_not_fit_is_named(tmp_path: Path, image: NDArray[np.uint8], message: str) -> None:
    tifffile.imwrite(tmp_path / "a_image.tif", image)
    tifffile.imwrite(tmp_path / "a_labels.tif", LABELS)
    with pytest.raises(ValueError, match=message):
        read_pair(tmp_path / "a_image.tif")


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_a_set_without_images_is_an_error(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=f"{folder} holds no NAME_image"):
        read_set(tmp_path / folder)


def test_every_set_names_its_source_and_licence() -> None:
    assert all(x.source and x.licence and x.shows and x.weight > 0 for x in TRAINING_SETS)
    assert len({x.folder for x in TRAINING_SETS}) == len(TRAINING_SETS)


@pytest.fixture(scope="module", params=sorted(KINDS))
def drawn(request: pytest.FixtureRequest) -> AnnotatedImage:
    return draw(np.random.default_rng(3), request.param)


def test_a_drawn_image_fills_the_range_and_has_objects(drawn: AnnotatedImage) -> None:
    assert (drawn.image.dtype, drawn.labels.shape) == (np.uint8, (SIDE, SIDE))
    assert drawn.image.shape in {(SIDE, SIDE), (SIDE, SIDE, 3)}
    assert np.ptp(drawn.image) > 150
    areas = np.bincount(drawn.labels.ravel())[1:]
    assert len(areas) > 2 and areas[areas > 0].min() >= 20


def test_drawn_objects_are_seen_where_the_labels_say(drawn: AnnotatedImage) -> None:
    """Their inside or their rim differs from the ground, on average over the picture."""
    ground = drawn.labels == 0
    rim = binary_dilation(ground, iterations=3) & ~ground
    near = binary_dilation(~ground, iterations=3) & ground
    levels = [float(drawn.image[part].mean()) for part in (near, rim, ~ground & ~rim) if part.any()]
    assert max(levels) - min(levels) > 5


@pytest.mark.parametrize("seed", range(3))
def test_a_section_shows_soft_nuclei_in_noise(seed: int) -> None:
    """They are brighter than the ground on the whole, though hardly any pixel is as its neighbour is."""
    labels = bodies(np.random.default_rng(seed))
    picture = section(np.random.default_rng(seed), labels)
    assert picture.shape == labels.shape and np.isfinite(picture).all()
    assert picture[labels > 0].mean() > 1.1 * picture[labels == 0].mean()
    assert_array_equal(picture, section(np.random.default_rng(seed), labels))
    assert np.abs(np.diff(picture, axis=1)).mean() > 0.005


def test_every_kind_is_weighed() -> None:
    assert SYNTHETIC_KINDS.keys() == KINDS.keys()
    assert all(weight > 0 for weight in SYNTHETIC_KINDS.values())


def test_a_drawn_set_is_the_same_for_the_same_seed() -> None:
    (one,), (again, next_one), (other,) = draw_set(1, seed=1), draw_set(2, seed=1), draw_set(1, seed=2)
    assert_array_equal(one.image, again.image)
    assert_array_equal(one.labels, again.labels)
    assert not np.array_equal(one.image, other.image)
    assert not np.array_equal(one.image, next_one.image)


def test_a_large_set_is_drawn_by_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image depends on its own seed, so it does not matter who draws it."""
    alone = draw_set(2, seed=3)
    monkeypatch.setattr(synthetic, "_MANY", 2)
    for one, other in zip(alone, draw_set(2, seed=3), strict=True):
        assert one.name == other.name
        assert_array_equal(one.image, other.image)
        assert_array_equal(one.labels, other.labels)
