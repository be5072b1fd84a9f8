"""Close-ups: a square around each mask, what the network sees in it, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from napari_sam.model.close_up import (
    _LEAST_CONTRAST,
    VIEW,
    CloseUp,
    _pixels,
    bounded,
    features_of,
    views_of,
)
from napari_sam.model.prompt_encoder import NEGATIVE, POSITIVE
from napari_sam.model.sam import CONFIGS, Sam, brightness
from napari_sam.model.squares import placed, sampled, scaled, scaled_together, squares_around

# Logits of half the resolution of a 120 x 160 image.
STRIDE, SIZE = 2, (60, 80)
PIXELS, MASK, POINTS, NEGATIVES, BOX = range(5)


def disc(row: float, column: float, radius: float) -> Tensor:
    """Logits (1, 60, 80) of a disc; the numbers are in pixels of the image."""
    y, x = torch.meshgrid(*(STRIDE * (torch.arange(n) + 0.5) for n in SIZE), indexing="ij")
    return (radius - torch.hypot(y - row, x - column))[None]


def click(x: float, y: float, label: int = POSITIVE) -> tuple[Tensor, Tensor]:
    return torch.tensor([[[x, y]]]), torch.tensor([[label]])


def middle(square: Tensor) -> list[float]:
    return (square[:2] + square[2] / 2).tolist()


class TestSquares:
    def test_a_disc_spans_half_of_its_square(self) -> None:
        square = squares_around(disc(50, 90, 16), STRIDE, None, None)[0]
        assert middle(square) == pytest.approx([90, 50], abs=1)
        assert 2 * 16 / int(square[2]) == pytest.approx(4 / 7, abs=0.03)

    def test_a_few_stray_pixels_hardly_matter(self) -> None:
        logits = disc(50, 90, 16)
        alone = squares_around(logits, STRIDE, None, None)[0]
        logits[0, 2, 3] = 5.0
        square = squares_around(logits, STRIDE, None, None)[0]
        assert int(square[2]) < 1.3 * int(alone[2])

    def test_a_box_counts_more_than_the_mask(self) -> None:
        box = torch.tensor([[19.5, 29.5, 59.5, 49.5]])
        square = squares_around(disc(90, 140, 10), STRIDE, None, box)[0]
        assert middle(square) == pytest.approx([40, 40], abs=1)
        assert int(square[2]) == pytest.approx(1.75 * 40, abs=1)

    @pytest.mark.parametrize(("x", "y"), [(90, 50), (130, 50), (60, 90)])
    def test_a_positive_point_lies_inside(self, x: int, y: int) -> None:
        left, top, side = squares_around(disc(50, 90, 16), STRIDE, click(x, y), None)[0].tolist()
        assert left < x < left + side and top < y < top + side
        assert left < 74 and left + side > 106, "the mask still lies inside too"

    def test_a_negative_point_changes_nothing(self) -> None:
        with_it, without = (
            squares_around(disc(50, 90, 16), STRIDE, p, None) for p in (click(5, 5, NEGATIVE), None)
        )
        assert torch.equal(with_it, without)

    def test_an_empty_mask_has_its_square_around_the_click(self) -> None:
        square = squares_around(torch.full((1, *SIZE), -5.0), STRIDE, click(70, 33), None)[0]
        assert middle(square) == pytest.approx([70.5, 33.5], abs=1)
        assert int(square[2]) == 16

    def test_parts_of_the_logits_lie_where_their_origin_is(self) -> None:
        whole = squares_around(disc(50, 90, 16), STRIDE, click(90, 50), None)
        part = disc(50, 90, 16)[:, 10:50, 20:80]
        origin = torch.tensor([[40, 20]])
        found = squares_around(part, STRIDE, click(90, 50), None, origin)
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-4)

    def test_a_pixel_at_the_threshold_moves_nothing(self) -> None:
        """As one does that is on another side of it in half precision."""
        logits = disc(50, 90, 16)
        squares = []
        for value in (-0.001, 0.001):
            logits[0, 2, 3] = value
            squares.append(squares_around(logits, STRIDE, None, None))
        torch.testing.assert_close(*squares, rtol=0, atol=0.1)


class TestScaling:
    @pytest.mark.parametrize(
        "square",
        [(20, 30, 100), (-10, 60, 90), (40, 40, 16), (0, 0, VIEW)],
        ids=["less", "beside", "more", "same"],
    )
    def test_of_whole_pixels_is_pytorch_s(self, square: tuple[int, int, int]) -> None:
        image, (x, y, side) = torch.rand(1, 120, 160), square
        padded = F.pad(image, (200, 200, 200, 200))[
            None, :, 200 + y : 200 + y + side, 200 + x : 200 + x + side
        ]
        expected = F.interpolate(padded, VIEW, mode="bilinear", antialias=True)[0]
        torch.testing.assert_close(scaled(image, square, VIEW), expected, rtol=0, atol=1e-6)

    def test_changes_as_little_as_the_square_does(self) -> None:
        image = torch.rand(1, 120, 160)
        one, other = (scaled(image, (20, 30, side), VIEW) for side in (79.999, 80.001))
        torch.testing.assert_close(one, other, rtol=0, atol=5e-3)


SQUARES = st.tuples(st.floats(-80, 110), st.floats(-80, 90), st.floats(16, 150))
INSIDE, ACROSS, AROUND, BESIDE = (20, 15, 30.5), (-9.25, 50, 40), (-20, -10, 140), (-80.5, 5, 60)


class TestScalingTogether:
    """Many squares at once, as a graphics card takes them, are what each is by itself."""

    IMAGES = torch.randint(0, 256, (2, 70, 90), generator=torch.Generator().manual_seed(0)).float()

    @given(st.lists(st.tuples(st.integers(0, 1), SQUARES), min_size=1, max_size=4))
    @example([(0, INSIDE), (1, ACROSS), (0, AROUND), (1, BESIDE)])
    def test_the_same_pixels(self, chosen: list[tuple[int, tuple[float, float, float]]]) -> None:
        which, squares = (torch.tensor(each) for each in zip(*chosen, strict=True))
        together = scaled_together(self.IMAGES, which, squares, VIEW)
        pairs = zip(which.tolist(), squares.tolist(), strict=True)
        alone = torch.cat([scaled(self.IMAGES[n, None], square, VIEW) for n, square in pairs])
        torch.testing.assert_close(together, alone, rtol=0, atol=0.02)

    @given(st.lists(st.tuples(st.integers(0, 1), SQUARES), min_size=1, max_size=4))
    @example([(0, INSIDE), (1, ACROSS), (0, AROUND), (1, BESIDE)])
    def test_the_same_contrast(self, chosen: list[tuple[int, tuple[float, float, float]]]) -> None:
        which, squares = (torch.tensor(each) for each in zip(*chosen, strict=True))
        together = scaled_together(self.IMAGES, which, squares, VIEW, _LEAST_CONTRAST)
        pairs = zip(which.tolist(), squares.tolist(), strict=True)
        alone = torch.cat([_pixels(self.IMAGES[n, None], square) for n, square in pairs])
        torch.testing.assert_close(together, alone, rtol=0, atol=0.03)


class TestViews:
    SQUARE = torch.tensor([[60, 20, 64]])  # one pixel of the view is one of the image

    def drawn(
        self, image: Tensor, points: tuple[Tensor, Tensor] | None = None, boxes: Tensor | None = None
    ) -> Tensor:
        return views_of(image, None, self.SQUARE, disc(50, 90, 16), STRIDE, points, boxes)[0]

    def test_pixels_lie_where_the_prompts_lie(self) -> None:
        image = torch.full((1, 1, 120, 160), 20.0)
        image[0, 0, 40:55, 80:110] = 200
        view = self.drawn(image, points=click(83, 52), boxes=torch.tensor([[79.5, 39.5, 109.5, 54.5]]))
        bright = view[PIXELS] > 0
        assert torch.equal(view[BOX] > 0.5, bright)
        assert bright[20:35, 20:50].all() and int(bright.sum()) == 15 * 30
        assert np.unravel_index(int(view[POINTS].argmax()), (VIEW, VIEW)) == pytest.approx((32, 23), abs=2)
        assert view[POINTS, 32, 23] == 1
        assert not view[NEGATIVES].any()
        assert view[MASK, 30, 30] > 0.9 and view[MASK, 30, 60] < -0.9

    @pytest.mark.parametrize(("factor", "offset"), [(0.3, 10.0), (1.0, 40.0), (-1.0, 255.0)])
    def test_contrast_is_the_same_in_all(self, factor: float, offset: float) -> None:
        image = torch.randint(0, 200, (1, 1, 120, 160)).float()
        view, other = (self.drawn(x)[PIXELS] for x in (image, factor * image + offset))
        torch.testing.assert_close(other, view * np.sign(factor), rtol=0.2, atol=0.02)

    def test_beside_the_image_all_is_even(self) -> None:
        image = torch.rand(1, 1, 60, 90) * 200
        view = self.drawn(image)[PIXELS]
        assert not view[41:].any() and not view[:, 31:].any() and view[:39, :29].any()

    def test_what_is_far_from_the_image_is_even_too(self) -> None:
        assert not self.drawn(torch.rand(1, 1, 10, 20))[PIXELS].any()


class TestWayBack:
    def test_a_mask_comes_back_to_its_place(self) -> None:
        logits, squares = disc(50, 90, 16), torch.tensor([[54, 22, 70]])
        view = sampled(logits[:, None], squares, STRIDE, VIEW)[:, 0]
        back = placed(view, squares, SIZE, (STRIDE, STRIDE))
        wrong = (back > 0) != (logits > 0)
        assert wrong.sum() <= 0.02 * (logits > 0).sum()

    def test_beside_the_square_is_no_mask(self) -> None:
        back = placed(torch.full((1, VIEW, VIEW), 5.0), torch.tensor([[40, 20, 64]]), SIZE, (STRIDE, STRIDE))
        expected = torch.zeros(SIZE, dtype=torch.bool)
        expected[10:42, 20:52] = True
        assert torch.equal(back[0] > 0, expected)

    def test_a_part_is_cut_out_of_the_whole(self) -> None:
        view, squares = torch.randn(1, VIEW, VIEW), torch.tensor([[40, 20, 50]])
        whole = placed(view, squares, (70, 90), (1.4, 1.6))
        part = placed(view, squares, (20, 30), (1.4, 1.6), (15, 25))
        torch.testing.assert_close(part, whole[:, 15:35, 25:55], rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def sam() -> Sam:
    return Sam(CONFIGS["nano"]).eval()


class TestModel:
    def test_an_embedding_carries_the_brightness_of_its_image(self, sam: Sam) -> None:
        images = torch.randint(0, 256, (1, 3, 130, 512), dtype=torch.uint8)
        with torch.inference_mode():
            embedding = sam.encode(images)
        assert embedding.shape == (1, sam.config.embedding_width, 64, 64)
        pixels = sam.pixels(embedding.half())
        assert torch.equal(pixels[..., :130, :].float(), brightness(images))
        assert sam.features(embedding).shape[1] == sam.config.features_width

    def test_each_view_is_looked_at_by_itself(self) -> None:
        network = CloseUp(8).eval()
        views, features = torch.randn(3, 5, VIEW, VIEW), torch.randn(3, 8, 16, 16)
        with torch.inference_mode():
            logits, scores = network(views, features)
            alone = network(views[1:2], features[1:2])
        assert logits.shape == (3, VIEW, VIEW) and scores.shape == (3,)
        torch.testing.assert_close(alone[0][0], logits[1], rtol=0, atol=1e-4)
        torch.testing.assert_close(alone[1][0], scores[1], rtol=0, atol=1e-4)

    def test_features_are_those_of_the_square(self) -> None:
        embedding = torch.arange(20.0)[None, None, None, :].expand(1, 1, 20, 20)  # the token's column
        found = features_of(embedding, torch.tensor([[32, 16, 64]]), 8)
        torch.testing.assert_close(found[0, 0, 5], 4 + (torch.arange(16) + 0.5) / 2 - 0.5)


def test_scores_are_at_most_one_and_keep_their_order() -> None:
    """A network overshoots; those below 0.95 are as it says."""
    said = torch.linspace(-0.2, 1.1, 100)
    scores = bounded(said)
    assert (scores.diff() > 0).all() and scores.max() <= 1
    assert torch.equal(scores[said < 0.95], said[said < 0.95])
