"""Channels are seen together as napari shows them, and only what is shown is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from napari_sam.channels import Channel, ChannelArrays, Composite
from napari_sam.contrast import Contrast
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.plane import Plane
from napari_sam.planes import Planes
from napari_sam.replaying.image import image_of
from napari_sam.starting import open_session

SHAPE = (4, 5, 6)
RED, GREEN = Channel("red", (0, 100)), Channel("green", (0, 1000))


def ramp(top: float) -> NDArray[np.uint16]:
    """A stack that goes up to ``top`` from left to right, differently on each plane."""
    z, _, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return (top * x / (SHAPE[2] - 1) / (z + 1)).astype(np.uint16)


DIM, BRIGHT = ramp(100), ramp(1000)[:, :, ::-1]


def picture(planes: Planes, z: int = 0) -> NDArray[np.uint8]:
    return planes.image(Plane.at(planes.last_displayed, [z if x == "z" else 0 for x in planes.axes]))


@pytest.mark.parametrize(
    ("axes", "order"),
    [
        pytest.param("czyx", (0, 1, 2, 3), id="first"),
        pytest.param("zcyx", (1, 0, 2, 3), id="second, as ImageJ has it"),
        pytest.param("zyxc", (1, 2, 3, 0), id="last"),
    ],
)
def test_the_axis_of_channels_may_be_anywhere(axes: str, order: tuple[int, ...]) -> None:
    array = np.stack([DIM, BRIGHT]).transpose(order)
    planes = Planes(array, axes, channels=Composite((RED, GREEN), "c"))
    axis = axes.index("c")
    assert planes.channel_axis == axis
    assert planes.shape == tuple(1 if x == "c" else n for x, n in zip(axes, array.shape, strict=True))
    seen = picture(planes, z=1)
    assert seen.shape == (5, 6, 3)
    assert_allclose(seen[..., 0], 255.0 * DIM[1] / 100.0, atol=1)
    assert_allclose(seen[..., 1], 255.0 * BRIGHT[1] / 1000.0, atol=1)
    assert not seen[..., 2].any()


def test_arrays_of_their_own_make_the_same_picture() -> None:
    along = Planes(np.stack([DIM, BRIGHT]), "czyx", channels=Composite((RED, GREEN), "c"))
    alone = Planes(
        ChannelArrays([DIM, [BRIGHT, BRIGHT[:, ::2, ::2]]]), "zyx", channels=Composite((RED, GREEN))
    )
    assert (alone.shape, alone.axes, alone.channel_axis) == (SHAPE, "zyx", None)
    assert_array_equal(picture(alone, 2), picture(along, 2))


def test_a_plane_across_the_stack_is_turned_with_its_colours() -> None:
    planes = Planes(np.stack([DIM, BRIGHT]), "czyx", channels=Composite((RED, GREEN), "c"))
    seen = planes.image(Plane.at((3, 1), (0, 0, 2, 0)))
    assert_allclose(seen[..., 0], 255.0 * DIM[:, 2].T / 100.0, atol=1)
    assert_allclose(seen[..., 1], 255.0 * BRIGHT[:, 2].T / 1000.0, atol=1)


def test_by_letter_channels_have_the_colours_that_napari_gives_and_limits_of_their_own() -> None:
    planes = Planes(np.stack([DIM, BRIGHT]), "czyx", channels="c")
    seen = picture(planes)
    assert_array_equal(seen[..., 0], seen[..., 2])  # magenta, beside green
    assert seen[0, -1].tolist() == [255, 0, 255] and seen[0, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        pytest.param((Channel("red"), Channel("green")), (100, 200, 0), id="added"),
        pytest.param((Channel("gray"), Channel("cyan")), (100, 255, 255), id="up to white"),
        pytest.param((Channel("red", visible=False), Channel("green")), (0, 200, 0), id="one hidden"),
        pytest.param((Channel("red"), Channel("green", opacity=0.5)), (100, 100, 0), id="half transparent"),
        pytest.param(
            (Channel("gray"), Channel("green", opacity=0.5, blending="translucent")),
            (50, 150, 50),
            id="veiled",
        ),
        pytest.param((Channel("gray"), Channel("green", blending="opaque")), (0, 200, 0), id="covered"),
        pytest.param(
            (Channel(("#ffffff", "#ff0000")), Channel(("#ffffff", "#00ff00"), blending="minimum")),
            (55, 155, 55),
            id="inverted",
        ),
        pytest.param(
            (Channel("gray"), Channel("green", blending="multiplicative")), (0, 78, 0), id="multiplied"
        ),
        pytest.param((Channel("red", gamma=0.5), Channel("green", gamma=2)), (160, 157, 0), id="gamma"),
        pytest.param(
            (Channel(("#000000", "#0000ff", "#ffffff")), Channel("gray", visible=False)),
            (0, 0, 200),
            id="colours between",
        ),
    ],
)
def test_channels_are_blended_as_on_the_canvas(
    channels: tuple[Channel, ...], expected: tuple[int, ...]
) -> None:
    composite = Composite(channels)
    raw = np.full((2, 3, 2), (100, 200))[..., list(composite.visible)]
    seen = composite.picture(raw, [Contrast(0, 255)] * len(composite.visible))
    assert seen.shape == (2, 3, 3)
    assert_allclose(seen[1, 2], expected, atol=1)


def test_only_the_chunks_of_visible_channels_of_the_plane_are_read(tmp_path: Path) -> None:
    store = zarr.storage.LocalStore(tmp_path / "image.zarr")
    array = zarr.create_array(store, shape=(3, *SHAPE), chunks=(1, 1, 5, 6), dtype="u2")
    array[:] = np.stack([DIM, BRIGHT, DIM])
    read: list[tuple[Any, ...]] = []

    class Watched:
        shape, dtype = array.shape, array.dtype

        def __getitem__(self, key: tuple[Any, ...]) -> Any:
            read.append(key)
            return array[key]

    channels = (RED, GREEN, Channel("blue", visible=False))
    picture(Planes(Watched(), "czyx", channels=Composite(channels, "c")), z=2)
    everything = slice(None)
    assert read == [(0, 2, everything, everything), (1, 2, everything, everything)]


def test_whatever_changes_the_picture_changes_the_digest_and_the_key() -> None:
    array = np.stack([DIM, BRIGHT])

    def named(*channels: Channel) -> tuple[str, bytes]:
        planes = Planes(array, "czyx", channels=Composite(channels, "c"))
        raw = planes.read(Plane.at(planes.last_displayed, (0, 1, 0, 0)))
        return planes.key(), planes.digest(raw)

    looks = [
        (RED, GREEN),
        (GREEN, RED),
        (Channel("blue", (0, 100)), GREEN),
        (Channel("red", (0, 101)), GREEN),
        (Channel("red", (0, 100), gamma=0.9), GREEN),
        (Channel("red", (0, 100), opacity=0.9), GREEN),
        (Channel("red", (0, 100), visible=False), GREEN),
        (Channel("red"), GREEN),
    ]
    assert len({x[0] for look in looks if (x := named(*look))}) == len(looks)
    assert len({x[1] for look in looks if (x := named(*look))}) == len(looks)
    assert named(RED, GREEN) == named(RED, GREEN)
    assert Planes(array, "czyx").key() not in {named(*look)[0] for look in looks}


def test_the_record_of_a_composite_gives_it_again_with_its_limits() -> None:
    planes = Planes(np.stack([DIM, BRIGHT]), "czyx", channels="c")
    again = Composite.read(planes.preprocessing)
    assert again is not None and again.axis == "c"
    assert again.channels[1].limits == (0.0, 1000.0)
    repeated = Planes(np.stack([DIM, BRIGHT]), "czyx", channels=again)
    assert_array_equal(picture(repeated), picture(planes))
    assert Composite.read("contrast 0.0:7.0") is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"channels": "t"}, "no axis 't' of channels in 'czyx'", id="no such axis"),
        pytest.param(
            {"channels": Composite((RED,), "c")}, "has 2 channels, but 1 are described", id="too few"
        ),
        pytest.param(
            {"channels": Composite((RED, GREEN))}, "has 1 channels, but 2", id="an array is missing"
        ),
        pytest.param({"axes": "czys", "channels": "c"}, "length 6; colours have 3 or 4", id="not of colours"),
    ],
)
def test_channels_that_do_not_fit_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Planes(np.stack([DIM, BRIGHT]), **{"axes": "czyx", **arguments})


def test_arrays_of_channels_must_be_described_and_alike() -> None:
    with pytest.raises(ValueError, match="how the arrays of several channels are seen together"):
        Planes(ChannelArrays([DIM, BRIGHT]), "zyx")
    with pytest.raises(ValueError, match=r"shapes \[\(4, 5, 6\), \(3, 5, 6\)\]; give arrays of one shape"):
        Planes(ChannelArrays([DIM, BRIGHT[1:]]), "zyx", channels=Composite((RED, GREEN)))


def test_a_plane_along_the_axis_of_channels_is_refused() -> None:
    planes = Planes(np.stack([DIM, BRIGHT]), "czyx", channels="c")
    with pytest.raises(ValueError, match="channels along c are seen together: display two other axes"):
        planes.read(Plane.at((0, 3), (0, 0, 0, 0)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: Channel("puce"), "'puce' is not known; give '#rrggbb', or one of", id="colour"),
        pytest.param(lambda: Channel(("#000000",)), "give '#rrggbb'", id="one colour"),
        pytest.param(lambda: Channel("red", (5, 5)), "not a lower and a higher", id="limits"),
        pytest.param(lambda: Channel("red", gamma=0), "gamma 0 of a channel is not above 0", id="gamma"),
        pytest.param(lambda: Channel("red", opacity=2), "opacity 2 .* between 0 and 1", id="opacity"),
        pytest.param(
            lambda: Channel("red", blending="screen"), "blended 'screen'; choose additive", id="blending"
        ),
        pytest.param(
            lambda: Composite((Channel("red", visible=False),)), "show at least one", id="none visible"
        ),
    ],
)
def test_what_is_no_channel_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_session_sees_the_channels_together_and_has_labels_for_all_of_them(
    tiny_predictor: Predictor, tmp_path: Path
) -> None:
    array = np.stack([np.pad(x, ((0, 0), (10, 20), (10, 30))) for x in (DIM, BRIGHT)], axis=1)
    session = open_session(
        array, "zcyx", tiny_predictor, tmp_path / "cells.zarr", channels="c", cache=tmp_path
    )
    session.go_to(z=2)
    session.add_point((12.0, 13.0))
    session.predict()
    _tile, seen = session.embedder.seen(session.plane) or (None, np.empty(0))
    assert seen.shape == (35, 46, 3) and (seen[..., 0] != seen[..., 1]).any()
    assert session.labels.shape == (4, 1, 35, 46)
    with pytest.raises(ValueError, match="There is no plane c=1"):
        session.go_to(c=1)
    session.close()


def test_a_replay_sees_the_channels_as_they_were_seen(tiny_predictor: Predictor, tmp_path: Path) -> None:
    array = np.stack([np.pad(x, ((0, 0), (10, 20), (10, 30))) for x in (DIM, BRIGHT)], axis=1)
    np.save(tmp_path / "image.npy", array)
    looks = Composite((RED, Channel("cyan", gamma=0.7)), "c")
    session = open_session(
        array, "zcyx", tiny_predictor, tmp_path / "cells.zarr", channels=looks, cache=tmp_path
    )
    mask = np.zeros((35, 46), bool)
    mask[12:20, 9:30] = True
    making = session.making("click", Prompt([(13.0, 14.0)]), 0.9)
    session.store.commit(session.plane, mask, making)
    again = image_of(session.store, tmp_path / "image.npy")
    assert_array_equal(again.image(session.plane), session.planes.image(session.plane))
    session.close()

    alone = Composite(looks.channels)
    arrays = ChannelArrays([array[:, 0], array[:, 1]])
    session = open_session(
        arrays, "zyx", tiny_predictor, tmp_path / "other.zarr", channels=alone, cache=tmp_path
    )
    making = session.making("click", Prompt([(13.0, 14.0)]), 0.9)
    session.store.commit(session.plane, mask, making)
    with pytest.raises(ValueError, match=r"made of 2 layers together, not of .*; replay them in Python"):
        image_of(session.store, tmp_path / "image.npy")
    session.close()
