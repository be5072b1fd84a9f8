"""Every prompt has a tile around it, every tile its place in the plane and its own number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_sam.inference.prompts import Prompt
from napari_sam.inference.tiling import Tile, Tiling

SIDE = 512
SIDES = st.integers(1, 20_000)
SHARES = st.tuples(st.floats(0, 1), st.floats(0, 1))


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside: NDArray[np.bool_] = np.hypot(rows - centre[0], columns - centre[1]) <= radius
    return inside


@pytest.mark.parametrize(
    ("shape", "level"),
    [
        ((40, 50), 0),
        ((768, 300), 0),
        ((769, 300), 1),
        ((1536, 9), 1),
        ((9, 1537), 2),
        ((20_000, 20_000), 5),
    ],
    ids=str,
)
def test_the_coarsest_level_is_the_whole_plane(shape: tuple[int, int], level: int) -> None:
    tiling = Tiling(shape, SIDE)
    assert tiling.coarsest == level
    assert tiling.whole == tiling.central(level, (3, 4)) == Tile(level, 0, 0, *shape)


@pytest.mark.parametrize(
    ("prompt", "tile"),
    [
        pytest.param(Prompt([(600, 900)]), Tile(0, 256, 768, 512, 512), id="a click"),
        pytest.param(Prompt([(0, 0)]), Tile(0, 0, 0, 512, 512), id="in the first corner"),
        pytest.param(Prompt([(1199, 2999)]), Tile(0, 688, 2488, 512, 512), id="in the last corner"),
        pytest.param(Prompt([(600, 900), (600, 1400)]), Tile(1, 176, 512, 1024, 1024), id="far clicks"),
        pytest.param(Prompt(box=(500, 900, 700, 1200)), Tile(0, 256, 768, 512, 512), id="a box"),
        pytest.param(Prompt(box=(490, 480, 530, 540)), Tile(0, 256, 256, 512, 512), id="over a seam"),
        pytest.param(Prompt(box=(300, 700, 900, 1300)), Tile(1, 176, 512, 1024, 1024), id="a large box"),
        pytest.param(Prompt(box=(-9, -9, 1300, 3100)), Tile(2, 0, 0, 1200, 3000), id="a box around all"),
        pytest.param(
            Prompt([(600, 900)], box=(500, 2700, 700, 2900)),
            Tile(2, 0, 0, 1200, 3000),
            id="box and click",
        ),
        pytest.param(
            Prompt(mask=disc((1200, 3000), (600, 900), 20)), Tile(0, 256, 768, 512, 512), id="a mask"
        ),
        pytest.param(Prompt([(600, 900)], mask=np.zeros((256, 256))), Tile(2, 0, 0, 1200, 3000), id="logits"),
    ],
)
def test_tiles_of_a_large_plane(prompt: Prompt, tile: Tile) -> None:
    assert Tiling((1200, 3000), SIDE).plan(prompt.inside((1200, 3000))) == tile


@given(height=SIDES, width=SIDES, share=SHARES, level=st.integers(0, 6))
def test_a_click_is_central(height: int, width: int, share: tuple[float, float], level: int) -> None:
    """A quarter of a tile from every border, but that of the plane, and never outside the plane."""
    at = (share[0] * (height - 1), share[1] * (width - 1))
    tile = Tiling((height, width), SIDE).central(level, at)
    for start, length, end, position in zip(
        (tile.row, tile.column), (tile.height, tile.width), (height, width), at, strict=True
    ):
        assert 0 <= start <= position <= start + length - 1 <= end - 1
        quarter = SIDE * 2**level / 4 - 1
        assert start == 0 or position - start >= quarter
        assert start + length == end or start + length - 1 - position >= quarter


@given(height=SIDES, width=SIDES, one=SHARES, other=SHARES)
def test_every_box_has_a_tile_around_it(
    height: int, width: int, one: tuple[float, float], other: tuple[float, float]
) -> None:
    (row0, row1), (column0, column1) = (
        sorted((a * (length - 1), b * (length - 1)))
        for a, b, length in zip(one, other, (height, width), strict=True)
    )
    assume(row0 < row1 and column0 < column1)
    box = (row0, column0, row1, column1)
    tile = Tiling((height, width), SIDE).plan(Prompt(box=box))
    assert tile.holds(box, (height, width))
    inside = tile.prompt(Prompt([(row0, column1)], box=box))
    assert inside.inside((tile.height, tile.width)) == inside
    assert (inside.points[0][0] + tile.row, inside.points[0][1] + tile.column) == pytest.approx(
        (row0, column1)
    )


@pytest.mark.parametrize(
    ("shape", "tile"),
    [
        pytest.param((1200, 3000), Tile(-1, 512, 768, 256, 256), id="of a large plane"),
        pytest.param((701, 1000), Tile(-1, 445, 744, 256, 256), id="in its corner"),
        pytest.param((700, 640), Tile(-1, 350, 290, 350, 350), id="of a plane that is one tile"),
        pytest.param((300, 700), Tile(-1, 0, 350, 300, 350), id="of a wide plane"),
    ],
)
def test_tiny_objects_are_enlarged(shape: tuple[int, int], tile: Tile) -> None:
    tiling = Tiling(shape, SIDE, small=24)
    assert tiling.finest == -1
    assert tiling.central(-1, (640, 900)) == tile


def test_small_planes_are_enlarged_enough() -> None:
    assert Tiling((100, 255), SIDE, small=24).finest == 0
    assert len(Tiling((100, 255), SIDE, small=24)) == 1


@given(height=st.integers(1, 3000), width=st.integers(1, 3000), share=SHARES, other=SHARES)
def test_tiles_have_numbers_of_their_own(
    height: int, width: int, share: tuple[float, float], other: tuple[float, float]
) -> None:
    tiling = Tiling((height, width), SIDE, small=24)
    tiles = {
        tiling.central(level, (at[0] * (height - 1), at[1] * (width - 1)))
        for level in range(tiling.finest, tiling.coarsest + 1)
        for at in (share, other)
    }
    numbers = {tiling.number(tile) for tile in tiles}
    assert len(numbers) == len(tiles)
    assert all(0 <= number < len(tiling) for number in numbers)


@pytest.mark.parametrize("small", [0, 24])
@pytest.mark.parametrize("shape", [(60, 90), (300, 170), (700, 1500)])
def test_all_tiles_come_in_the_order_of_their_numbers(shape: tuple[int, int], small: int) -> None:
    tiling = Tiling(shape, 128, small)
    tiles = list(tiling.tiles())
    assert [tiling.number(tile) for tile in tiles] == list(range(len(tiling)))
    for tile in tiles:
        middle = (tile.row + (tile.height - 1) / 2, tile.column + (tile.width - 1) / 2)
        assert tiling.central(tile.level, middle) == tile
