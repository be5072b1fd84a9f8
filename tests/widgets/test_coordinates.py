"""A mask lies on the pixels under the click, wherever and however napari shows the image. No window here."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points
from numpy.typing import NDArray

from napari_sam.annotation import Session
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.results import Embedding
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.storage.embeddings import EmbeddingCache
from napari_sam.storage.labels import LabelsStore
from napari_sam.widgets.coordinates import (
    PlaneNotShown,
    data_to_world,
    plane_transform,
    positions_on_image,
    shown_plane,
    transform_of,
    world_units,
)
from napari_sam.widgets.made_layers import make_layers
from napari_sam.widgets.session_layers import SessionLayers
from seeded import seeded_image
from widgets.driving import all_made, prompt_layers_of

# No two lengths are equal, so that a swapped axis fails.
SHAPE = (6, 40, 56)
STACK = np.stack([seeded_image(*SHAPE[1:], seed=z)[..., 0] for z in range(SHAPE[0])])
UNITS = {"pixel": 1.0, "nm": 1.0, "um": 1000.0, "mm": 1e6}


@dataclass(frozen=True)
class Shown:
    """How napari shows the image: its transform, its levels, the other layer, and the order of the axes."""

    transform: dict[str, Any]
    multiscale: bool
    other: tuple[tuple[int, ...], dict[str, Any]]
    order: tuple[int, ...]

    def viewer(self) -> tuple[ViewerModel, Image]:
        viewer = ViewerModel()
        data = [STACK, STACK[:, ::2, ::2]] if self.multiscale else STACK
        image = viewer.add_layer(Image(data, name="cells", multiscale=self.multiscale, **self.transform))
        shape, arguments = self.other
        viewer.add_layer(Points(np.array([np.zeros(len(shape)), np.array(shape) - 1.0]), **arguments))
        extra = viewer.dims.ndim - 3
        viewer.dims.order = (*range(extra), *(axis + extra for axis in self.order))
        return viewer, image


def rotation(degrees: float, axes: tuple[int, int]) -> NDArray[np.float64]:
    angle, turned = np.deg2rad(degrees), np.eye(3)
    a, b = axes
    turned[a, a] = turned[b, b] = np.cos(angle)
    turned[a, b], turned[b, a] = -np.sin(angle), np.sin(angle)
    return turned


@st.composite
def shown_images(draw: st.DrawFn) -> Shown:
    """Images anywhere, turned and sheared only within the displayed axes."""
    order = draw(st.permutations(range(3)))
    turned = tuple(sorted(order[1:]))
    numbers, sizes = st.floats(-30, 30), st.floats(0.05, 20)
    shear = np.zeros(3)  # napari's order: of the axes (0, 1), (0, 2), (1, 2)
    shear[[(0, 1), (0, 2), (1, 2)].index(turned)] = draw(st.floats(-1, 1))
    unit = draw(st.sampled_from(sorted(UNITS)))
    affine = np.eye(4)
    affine[:3, :3] = rotation(draw(st.sampled_from([0, 30, 90, -135])), turned) * draw(sizes)
    affine[:3, 3] = draw(st.tuples(numbers, numbers, numbers))
    transform = {
        "scale": draw(st.tuples(sizes, sizes, sizes)),
        "translate": draw(st.tuples(numbers, numbers, numbers)),
        "rotate": rotation(draw(st.floats(-180, 180)), turned),
        "shear": shear,
        "affine": affine,
        "units": (unit,) * 3,
    }
    ndim = draw(st.integers(2, 5))
    others = "pixel" if unit == "pixel" else draw(st.sampled_from(["nm", "um", "mm"]))
    other = ((3,) * ndim, {"units": (others,) * ndim})
    return Shown(transform, draw(st.booleans()), other, tuple(order))


def click(viewer: ViewerModel, layer: Points, image: Image, position: NDArray[np.float64]) -> None:
    """Add a point as napari does where the canvas is clicked that shows a position of the image."""
    world = (data_to_world(image, world_units(viewer)) @ [*position, 1.0])[:-1]
    cursor = np.array(viewer.dims.point)
    for axis in viewer.dims.displayed:
        cursor[axis] = world[axis - viewer.dims.ndim]
    layer.add(layer.world_to_data(cursor))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """napari warns of oblique planes, which are what some tests are about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Non-orthogonal slicing")
        yield


@cache
def embedding_of(predictor: Predictor, plane: Plane) -> Embedding:
    return predictor.encode(Planes(STACK, "zyx").image(plane))


def mask_at(predictor: Predictor, plane: Plane, point: tuple[float, float]) -> NDArray[np.bool_]:
    found = predictor.predict(embedding_of(predictor, plane), Prompt([point]))
    mask: NDArray[np.bool_] = found.masks[found.best]
    return mask


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shown=shown_images(), data=st.data())
def test_the_mask_lands_on_the_pixels_under_the_click(
    tiny_predictor: Predictor, shown: Shown, data: st.DataObject
) -> None:
    viewer, image = shown.viewer()
    pixel = np.array([data.draw(st.integers(0, n - 1)) for n in SHAPE])
    between = np.array([data.draw(st.sampled_from([-0.375, 0.0, 0.25])) for _ in SHAPE])
    displayed = tuple(axis - viewer.dims.ndim + 3 for axis in viewer.dims.displayed)
    between[[axis for axis in range(3) if axis not in displayed]] = 0
    world = data_to_world(image, world_units(viewer)) @ [*pixel, 1.0]
    for axis in range(3):
        if axis not in displayed:
            viewer.dims.set_point(axis - 3, world[axis])

    plane = shown_plane(viewer, image)
    assert plane == Plane.at((displayed[0], displayed[1]), pixel.tolist())
    if not shown.multiscale:
        np.testing.assert_array_equal(image._slice.image.raw, Planes(STACK, "zyx").read(plane))

    layers = prompt_layers_of(viewer, image)
    click(viewer, layers.points, image, pixel + between)
    prompt = layers.read(plane)
    point = (pixel + between)[list(displayed)]
    np.testing.assert_allclose(prompt.points, [point], atol=1e-5)
    # Under the identity transform: the position itself.
    expected = mask_at(tiny_predictor, plane, (float(point[0]), float(point[1])))
    mask = mask_at(tiny_predictor, plane, prompt.points[0])
    np.testing.assert_array_equal(mask, expected)

    units = world_units(viewer)
    preview = viewer.add_layer(
        Labels(plane.to_block(mask.astype(np.uint8)), **plane_transform(image, plane, units))
    )
    labels = viewer.add_layer(Labels(np.zeros(SHAPE, np.uint8), **transform_of(image, units)))
    for layer, at in ((preview, np.where(np.isin(range(3), displayed), pixel, 0)), (labels, pixel)):
        found = positions_on_image(layer, at[None], image, world_units(viewer))[0]
        np.testing.assert_allclose(found, pixel, atol=1e-4)


@pytest.mark.parametrize(
    ("transform", "order"),
    [
        pytest.param({"rotate": rotation(20, (0, 1))}, (0, 1, 2), id="rotated out of the plane"),
        pytest.param({"rotate": rotation(20, (1, 2))}, (1, 0, 2), id="rotated within XY, seen as XZ"),
        pytest.param({"shear": (0.4, 0.0, 0.0)}, (0, 1, 2), id="sheared out of the plane"),
        pytest.param(
            {"affine": np.pad(rotation(9, (0, 2)), (0, 1)) + np.diag([0, 0, 0, 1])},
            (0, 1, 2),
            id="turned by the affine",
        ),
    ],
)
def test_a_plane_that_cuts_obliquely_through_the_pixels_is_refused(
    transform: dict[str, Any], order: tuple[int, int, int]
) -> None:
    viewer, image = Shown(transform, False, ((3, 3, 3), {}), order).viewer()
    with pytest.raises(PlaneNotShown, match="cuts obliquely through its pixels: remove that rotation"):
        shown_plane(viewer, image)


@pytest.mark.parametrize("step", range(11))
def test_halfway_between_two_planes_the_one_that_napari_shows_counts(step: int) -> None:
    viewer, image = Shown({"scale": (2.0, 1.0, 1.0)}, False, ((12, 3, 3), {}), (0, 1, 2)).viewer()
    viewer.dims.set_point(0, step)
    plane = shown_plane(viewer, image)
    layers = prompt_layers_of(viewer, image)
    np.testing.assert_array_equal(image._slice.image.raw, STACK[plane.position[0]])
    click(viewer, layers.points, image, np.array([0.0, 11.0, 30.0]))
    assert layers.read(plane).points == ((11.0, 30.0),)


def test_beside_the_stack_there_is_no_plane() -> None:
    viewer, image = Shown({}, False, ((20, 3, 3), {}), (0, 1, 2)).viewer()
    viewer.dims.set_point(0, 15)
    with pytest.raises(PlaneNotShown, match="'cells' has no plane here"):
        shown_plane(viewer, image)


@pytest.mark.skipif(not hasattr(ViewerModel().dims, "units"), reason="this napari has no units of the world")
def test_our_layers_follow_the_image_into_the_units_of_a_finer_layer(
    tiny_predictor: Predictor, tmp_path: Path
) -> None:
    """napari gets the position of a click wrong on a layer whose units are not those of the world."""
    viewer = ViewerModel()
    image = viewer.add_layer(Image(STACK, scale=(2.0, 0.5, 0.5), units=("um",) * 3))
    planes = Planes(STACK, "zyx")
    store = LabelsStore.create(tmp_path / "cells.zarr", planes.shape, "zyx")
    session = Session(planes, tiny_predictor, store, EmbeddingCache(planes, tiny_predictor, None))
    layers = SessionLayers(viewer, image, session, all_made(make_layers(viewer, image, session)))
    viewer.add_layer(Image(np.zeros((3, 8, 8)), scale=(500.0,) * 3, units=("nm",) * 3, name="fine"))
    viewer.dims.set_point(0, 3 * 2000)
    plane = layers.shown_plane()
    assert plane.position == (3, 0, 0)
    click(viewer, layers.prompts.points, image, np.array([3.0, 10.25, 41.0]))
    assert layers.prompts.read(plane).points == ((10.25, 41.0),)
    image.translate = (0.0, 7.0, 0.0)
    assert layers.prompts.read(plane).points == ((10.25, 41.0),)
    assert image.units == Image(STACK, units=("um",) * 3).units
    layers.close()
    session.close()
