"""Prompts drawn as masks, from maps on which three discs vote for their middles."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from napari_sam.model.prompt_encoder import NEGATIVE, PADDING, POSITIVE
from napari_sam.model.proposal_head import CHANNELS, OFFSET_UNIT
from napari_sam.model.sam import CONFIGS, Sam
from napari_sam.model.votes import drawn_boxes, drawn_points, voted_boxes

SIZE = (24, 32)  # of the maps, which have a pixel for 4 x 4 of the input
# Row, column and radius in pixels of the maps; the first two touch.
DISCS = ((10, 8, 5), (10, 19, 5), (20, 28, 3))


def disc(row: int, column: int, radius: int) -> Tensor:
    y, x = torch.meshgrid(*(torch.arange(n) for n in SIZE), indexing="ij")
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2


@pytest.fixture
def maps() -> Tensor:
    """What a perfect head says: foreground, offsets to the middles, and the usual reach."""
    maps = torch.zeros(1, CHANNELS, *SIZE)
    maps[:, 0] = -8
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in SIZE), indexing="ij")
    for row, column, radius in DISCS:
        here = disc(row, column, radius)
        maps[0, 0, here] = 8
        maps[0, 2, here] = ((column - x) * 4 / OFFSET_UNIT)[here]
        maps[0, 3, here] = ((row - y) * 4 / OFFSET_UNIT)[here]
    return maps


def clicks(*places: tuple[int, int]) -> Tensor:
    """One prompt of clicks at places (row, column) of the maps, as (x, y) in the input: (1, N, 2)."""
    return torch.tensor([[(4.0 * column + 1, 4.0 * row + 2) for row, column in places]])


@pytest.mark.parametrize("number", range(3))
def test_a_click_anywhere_on_an_object_draws_it_alone(maps: Tensor, number: int) -> None:
    row, column, radius = DISCS[number]
    for place in ((row, column), (row - radius, column), (row, column + radius)):
        drawn = drawn_points(maps, clicks(place), torch.tensor([[POSITIVE]]), pixel=4)
        assert drawn.shape == (1, 1, *SIZE)
        assert torch.equal(drawn[0, 0] > 0, disc(*DISCS[number]))


def test_positive_clicks_draw_the_objects_of_all_of_them(maps: Tensor) -> None:
    points = clicks((10, 8), (20, 28), (10, 19), (0, 0))
    labels = torch.tensor([[POSITIVE, POSITIVE, NEGATIVE, PADDING]])
    drawn = drawn_points(maps, points, labels, pixel=4)[0, 0] > 0
    assert torch.equal(drawn, disc(*DISCS[0]) | disc(*DISCS[2]))


def test_a_click_outside_the_maps_is_that_at_their_border(maps: Tensor) -> None:
    outside, border = (
        drawn_points(maps, clicks(place), torch.tensor([[POSITIVE]]), pixel=4) for place in ((-3, 8), (0, 8))
    )
    assert torch.equal(outside, border)


def test_prompts_have_each_their_own_maps_or_share_one(maps: Tensor) -> None:
    mirrored = maps.flip(3) * torch.tensor([1, 1, -1, 1, 1])[:, None, None]
    points, labels = torch.cat([clicks((10, 8)), clicks((10, 12))]), torch.full((2, 1), POSITIVE)
    first, second = drawn_points(torch.cat([maps, mirrored]), points, labels, pixel=4)[:, 0] > 0
    assert torch.equal(first, disc(*DISCS[0])) and torch.equal(second, disc(10, 31 - 19, 5))
    shared = drawn_points(maps, points, labels, pixel=4)[:, 0] > 0
    assert torch.equal(shared, torch.stack([disc(*DISCS[0])] * 2))


@pytest.mark.parametrize("slack", [0.0, 4.0], ids=["tight", "a pixel of the maps too wide"])
def test_a_box_draws_the_object_that_its_inner_pixels_vote_for(maps: Tensor, slack: float) -> None:
    row, column, radius = DISCS[1]
    low, high = -4 * radius - slack, 4 * radius + 3 + slack
    box = torch.tensor([[4 * column + low, 4 * row + low, 4 * column + high, 4 * row + high]])
    assert torch.equal(voted_boxes(maps, box, pixel=4)[0, 0] > 0, disc(row, column, radius))


def test_a_box_smaller_than_a_pixel_of_the_maps_draws_what_is_under_it(maps: Tensor) -> None:
    box = torch.tensor([[33.2, 41.2, 33.6, 41.6]])  # in the pixel (10, 8)
    assert torch.equal(voted_boxes(maps, box, pixel=4)[0, 0] > 0, disc(*DISCS[0]))


def test_the_ellipse_touches_the_sides_of_its_box() -> None:
    box = torch.tensor([[9.5, 19.5, 49.5, 39.5]])  # x0, y0, x1, y1 along the edges of pixels
    drawn = drawn_boxes(box, (24, 32), pixel=2)[0, 0] > 0
    rows, columns = drawn.any(1).nonzero()[:, 0], drawn.any(0).nonzero()[:, 0]
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (10, 19, 5, 24)  # in pixels of two
    assert drawn.sum().item() == pytest.approx(torch.pi / 4 * 20 * 10, rel=0.05)


@pytest.fixture(scope="module")
def sam() -> Sam:
    return Sam(CONFIGS["nano"]).eval()


class TestNano:
    """What the whole model draws, twice as fine as its maps: as its mask prompts are."""

    def test_a_prompt_is_drawn_as_fine_as_a_mask_prompt(self, sam: Sam, maps: Tensor) -> None:
        points = (clicks((10, 8)), torch.tensor([[POSITIVE]]))
        box = torch.tensor([[12.0, 20.0, 53.0, 61.0]])
        for drawn in (sam.draw(maps, points), sam.draw(maps, None, box), sam.draw(maps, points, box)):
            assert drawn is not None and drawn.shape == (1, 1, 2 * SIZE[0], 2 * SIZE[1])
            assert drawn[0, 0, 20, 16] > 3 and drawn[0, 0, 20, 38] < 0

    def test_negative_clicks_alone_draw_nothing(self, sam: Sam, maps: Tensor) -> None:
        assert sam.draw(maps, (clicks((10, 8)), torch.tensor([[NEGATIVE]]))) is None

    def test_the_head_reads_the_fine_features_where_they_lie(self, sam: Sam) -> None:
        """Moving the embedding by a token moves the maps by two pixels, away from the borders."""
        assert sam.proposal_head is not None
        embedding = torch.randn(1, sam.config.features_width, 12, 12)
        with torch.inference_mode():
            # The group norm sees the whole map; so the borders' part in it is moved along.
            maps, moved = (sam.proposal_head(x) for x in (embedding, embedding.roll((1, 1), (2, 3))))
        torch.testing.assert_close(
            moved[..., 6:-6, 6:-6], maps.roll((2, 2), (2, 3))[..., 6:-6, 6:-6], rtol=0, atol=0.2
        )
