"""An image is known again by its pixels, and what is kept of it is never taken for more than it is."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from numpy.typing import NDArray

from napari_sam.contrast import Contrast
from napari_sam.planes import Planes
from napari_sam.storage.known_images import KnownImage, find_image, fingerprint_of, keep_image

SHAPES = [(50, 40, 50), (2, 40, 50), (40, 50), (3, 2500, 7000)]
KEPT = KnownImage("key-1", ("a", "b", "c", "d"), (Contrast(100.0, 500.0),))


def noise(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_edited_plane_or_corner_changes_the_fingerprint_in_few_places(shape: tuple[int, ...]) -> None:
    edited = noise(shape)
    edited[tuple(slice(n // 2) for n in shape)] ^= 1
    one, other = (fingerprint_of(Planes(image)) for image in (noise(shape), edited))
    assert 6 <= len(one) == len(other) <= 10
    changed = sum(a != b for a, b in zip(one, other, strict=True))
    assert 1 <= changed <= len(one) / 2


def test_the_fingerprint_is_that_of_the_pixels_however_they_lie() -> None:
    image = noise((9, 40, 50))
    given = [Planes(image, name="one"), Planes(da.from_array(image)), Planes(np.asfortranarray(image))]
    assert len(set(map(fingerprint_of, given))) == 1


@pytest.mark.parametrize(
    ("fingerprint", "found"),
    [
        pytest.param(("a", "b", "c", "d"), True, id="the same"),
        pytest.param(("a", "b", "x", "y"), True, id="half of it"),
        pytest.param(("a", "x", "y", "z"), False, id="less"),
        pytest.param(("d", "c", "b", "a"), False, id="the same planes in another order"),
        pytest.param(("", "", "", ""), False, id="not to be read"),
    ],
)
def test_an_image_is_known_by_half_of_its_places(
    tmp_path: Path, fingerprint: tuple[str, ...], found: bool
) -> None:
    keep_image(tmp_path, KEPT)
    assert find_image(tmp_path, "key", fingerprint) == (KEPT if found else None)
    assert find_image(tmp_path, "other", fingerprint) is None


def test_empty_places_of_other_images_are_no_likeness(tmp_path: Path) -> None:
    keep_image(tmp_path, KnownImage("key-1", ("0", "0", "0", "0", "a", "b")))
    assert find_image(tmp_path, "key", ("0", "0", "0", "0", "c", "d")) is None


def test_the_image_that_is_most_alike_is_found(tmp_path: Path) -> None:
    for number, last in enumerate(("x", "d", "y")):
        keep_image(tmp_path, KnownImage(f"key-{number}", ("a", "b", "c", last)))
    found = find_image(tmp_path, "key", ("a", "b", "c", "d"))
    assert found is not None and found.name == "key-1"


@pytest.mark.parametrize("content", ["", "garbage", "[]", "{}", '{"fingerprint": 3, "contrasts": [[1]]}'])
def test_a_damaged_record_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    keep_image(tmp_path, KEPT)
    (tmp_path / "images" / "key-1.json").write_text(content)
    assert find_image(tmp_path, "key", KEPT.fingerprint) is None
    keep_image(tmp_path, KEPT)
    assert find_image(tmp_path, "key", KEPT.fingerprint) == KEPT


@pytest.mark.parametrize(
    ("sampled", "kept"),
    [
        pytest.param((Contrast(100.0, 500.0),), True, id="the same"),
        pytest.param((Contrast(0.0, 600.0),), True, id="a quarter of the range"),
        pytest.param((Contrast(100.0, 601.0),), False, id="brighter"),
        pytest.param((Contrast(-1.0, 500.0),), False, id="darker"),
        pytest.param((Contrast(100.0, 500.0),) * 2, False, id="of two channels"),
    ],
)
def test_limits_are_recalled_while_those_of_now_are_close(sampled: tuple[Contrast, ...], kept: bool) -> None:
    assert KEPT.recalled(sampled) == (KEPT.contrasts if kept else sampled)
