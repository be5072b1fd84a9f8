"""A prompt is checked when it is made; what depends on the plane, when it meets one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_sam.inference.prompts import Prompt


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"points": [(1, 2)], "labels": [1, 0]}, "1 points have 2 labels", id="a label too many"),
        pytest.param({"labels": [1]}, "0 points have 1 labels", id="a label without a point"),
        pytest.param({"points": [(1, 2)], "labels": [2]}, "label 2 is unknown; use 1", id="label 2"),
        pytest.param({"points": [(1, 2)], "labels": [-1]}, "label -1 is unknown", id="label -1"),
        pytest.param({"points": [(1, 2)], "labels": [0.5]}, r"label 0\.5 is unknown", id="half a label"),
        pytest.param({"points": [(1, np.nan)]}, r"\(1\.0, nan\) is not finite", id="point at NaN"),
        pytest.param({"points": (1, 2)}, "not a list of pairs", id="a bare point"),
        pytest.param({"points": [(0, 1, 2)]}, "not a list of pairs", id="a point with three coordinates"),
        pytest.param({"box": (3, 4, 3, 9)}, "no area; drag", id="box without height"),
        pytest.param({"box": (3, 4, 8, 4)}, "no area; drag", id="box without width"),
        pytest.param({"box": (3, 4, np.inf, 9)}, "in finite numbers", id="endless box"),
        pytest.param({"points": [(1, 2)], "labels": [[1]]}, r"label \[1\] is unknown", id="label in a list"),
        pytest.param({"box": 5}, "The box 5 is not", id="a number as box"),
        pytest.param({"box": (None, 0, 1, 2)}, "None, 0, 1, 2.* in finite numbers", id="a box with a gap"),
        pytest.param({"box": (3, 4, 5)}, "is not \\(row0, column0", id="box of three numbers"),
        pytest.param({"mask": np.ones((4, 4), np.uint8)}, "uint8.*labels == label", id="labels as mask"),
        pytest.param({"mask": np.ones((1, 4, 4))}, r"shape \(1, 4, 4\)", id="stack of masks"),
        pytest.param({"mask": np.full((4, 4), np.nan)}, "not all finite", id="logits with NaN"),
    ],
)
def test_mistakes_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Prompt(**fields)


def test_points_are_positive_unless_labelled() -> None:
    assert Prompt([(1, 2), (3, 4)]).labels == (1, 1)


def test_arrays_become_plain_numbers() -> None:
    prompt = Prompt(np.array([[1, 2]], np.int16), np.array([True]), box=np.array([1, 2, 3, 4]))
    assert prompt == Prompt([(1.0, 2.0)], [1], (1.0, 2.0, 3.0, 4.0))


def test_a_box_may_be_drawn_from_any_corner() -> None:
    assert Prompt(box=(9, 2, 3, 8)).box == (3, 2, 9, 8)


@pytest.mark.parametrize(
    ("prompt", "is_empty", "is_ambiguous"),
    [
        pytest.param(Prompt(), True, False, id="nothing"),
        pytest.param(Prompt([(1, 2)]), False, True, id="a point"),
        pytest.param(Prompt([(1, 2), (3, 4)]), False, False, id="two points"),
        pytest.param(Prompt(box=(1, 2, 3, 4)), False, False, id="a box"),
        pytest.param(Prompt([(1, 2)], mask=np.ones((4, 4))), False, False, id="a point and a mask"),
    ],
)
def test_only_a_single_point_is_ambiguous(prompt: Prompt, is_empty: bool, is_ambiguous: bool) -> None:
    assert (prompt.is_empty, prompt.is_ambiguous) == (is_empty, is_ambiguous)


@pytest.mark.parametrize("point", [(-0.5, -0.5), (9.5, 19.5), (0, 19)], ids=str)
def test_a_plane_reaches_half_a_pixel_beyond_its_outer_centres(point: tuple[float, float]) -> None:
    assert Prompt([point]).inside((10, 20)).points == (point,)


def test_a_box_is_cut_at_the_outer_edges() -> None:
    assert Prompt(box=(-5, 3, 99, 99)).inside((10, 20)).box == (-0.5, 3, 9.5, 19.5)


@pytest.mark.parametrize(
    ("point", "onto"),
    [
        pytest.param((19.6875, 3.0), (19.0, 3.0), id="beside the last row"),
        pytest.param((4.0, 60.0), (4.0, 29.0), id="beside the last column"),
        pytest.param((-0.6, -9.0), (0.0, 0.0), id="before the first pixel"),
        pytest.param((19.4, -0.5), (19.4, -0.5), id="on the outermost pixels"),
    ],
)
def test_a_point_beside_a_plane_goes_to_the_nearest_pixel(
    point: tuple[float, float], onto: tuple[float, float]
) -> None:
    box = (1.0, 2.0, 3.0, 4.0)
    moved = Prompt([(5.0, 6.0), point], [1, 0], box).onto((20, 30))
    assert moved == Prompt([(5.0, 6.0), onto], [1, 0], box)
    assert moved.inside((20, 30)) == moved
