"""What is drawn on a plane means one object, or several; nothing that is drawn gets lost."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from skimage.draw import polygon

from napari_sam.inference.shapes import Area, Drawing, Stroke, ellipse, spread

SHAPE = (60, 90)  # not square, so that a swapped axis fails
SQUARE = Area(((10.0, 50.0), (10.0, 80.0), (30.0, 80.0), (30.0, 50.0)))
TRIANGLE = Area(((40.0, 5.0), (58.0, 5.0), (58.0, 45.0)))

rows, columns = st.floats(0, SHAPE[0] - 1), st.floats(0, SHAPE[1] - 1)
points = st.tuples(rows, columns)


def boxes(draw: st.DrawFn) -> Area:
    row, column = draw(st.tuples(st.floats(0, 50), st.floats(0, 80)))
    height, width = draw(st.tuples(st.floats(1, 9), st.floats(1, 9)))
    return Area(
        ((row, column), (row, column + width), (row + height, column + width), (row + height, column))
    )


@st.composite
def drawings(draw: st.DrawFn) -> Drawing:
    clicks = draw(st.lists(points, max_size=5))
    labels = draw(st.lists(st.sampled_from([0, 1]), min_size=len(clicks), max_size=len(clicks)))
    paths = draw(st.lists(st.tuples(st.lists(points, min_size=2, max_size=6), st.booleans()), max_size=3))
    return Drawing(
        tuple(clicks),
        tuple(labels),
        tuple(Stroke(tuple(path), positive) for path, positive in paths),
        tuple(boxes(draw) for _ in range(draw(st.integers(0, 3)))),
    )


class TestAStroke:
    @given(st.lists(points, min_size=2, max_size=8))
    def test_is_points_on_its_line_at_equal_distances(self, path: list[tuple[float, float]]) -> None:
        line = np.array(path)
        length = np.hypot(*np.diff(line, axis=0).T).sum()
        spaced = spread(path)
        assert 1 <= len(spaced) <= 6
        fine = np.concatenate([np.linspace(a, b, 400) for a, b in pairwise(line)])
        for point in spaced:
            assert np.hypot(*(fine - point).T).min() <= length / 400 + 1e-6

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            pytest.param([(5, 7)], [(5, 7)], id="a dot"),
            pytest.param([(5, 7), (5, 7)], [(5, 7)], id="a click with the brush"),
            pytest.param([(5, 7), (5, 13)], [(5, 10)], id="a short one"),
            pytest.param([(0, 10), (0, 34)], [(0, 14), (0, 22), (0, 30)], id="a long one"),
            pytest.param([(0, 0), (0, 6), (6, 6)], [(0, 3), (3, 6)], id="round a corner"),
        ],
    )
    def test_cases(self, path: list[tuple[float, float]], expected: list[tuple[float, float]]) -> None:
        np.testing.assert_allclose(spread(path), expected)


class TestAnArea:
    def test_that_is_upright_says_all_by_its_box(self) -> None:
        assert SQUARE.is_box and SQUARE.box == (10, 50, 30, 80)
        turned = Area(((10, 50), (20, 80), (40, 70), (30, 40)))
        assert not turned.is_box and not TRIANGLE.is_box

    @given(st.lists(st.tuples(st.floats(-9, 70), st.floats(-9, 99)), min_size=3, max_size=9))
    def test_is_filled_as_another_library_does_it(self, corners: list[tuple[float, float]]) -> None:
        """But for pixels on the line, of which that one counts some, and slivers, which have a rule here."""
        line = np.array([*corners, corners[0]])
        filled, other = Area(tuple(corners)).fill(SHAPE), np.zeros(SHAPE, bool)
        other[polygon(*line[:-1].T, SHAPE)] = True
        assume(min(np.count_nonzero(filled), np.count_nonzero(other)) > 1)
        for row, column in np.argwhere(filled != other):
            along = np.concatenate([np.linspace(a, b, 3000) for a, b in pairwise(line)])
            assert np.hypot(*(along - (row, column)).T).min() < 0.05

    def test_on_a_large_plane_touches_its_own_box_only(self) -> None:
        """What a hundred million pixels take would keep the window waiting."""
        corners = ellipse([(5000, 5000), (5000, 5200), (5100, 5200), (5100, 5000)]).corners
        shape = (10_000, 10_000)
        tracemalloc.start()
        began = tracemalloc.get_traced_memory()[0]
        prompt = Drawing(areas=(Area(corners),)).as_one(shape)
        again = Drawing(areas=(Area(corners),)).as_one(shape).inside(shape)
        most = tracemalloc.get_traced_memory()[1] - began
        tracemalloc.stop()
        assert again.mask is prompt.mask, "and nobody has to compare the pixels of two masks"
        assert most < 1.1 * shape[0] * shape[1], "the mask itself, whose memory is given as it is touched"

    def test_holds_the_pixels_whose_centres_are_inside(self) -> None:
        row, column = np.mgrid[: SHAPE[0], : SHAPE[1]]
        inside = (row <= 58) & (column >= 5) & ((row - 40) / 18 >= (column - 5) / 40)
        mask = TRIANGLE.fill(SHAPE)
        assert (mask & ~inside).sum() + (inside & ~mask).sum() < 30  # those on the line itself

    @given(st.tuples(rows, columns), st.floats(2, 15), st.floats(2, 15))
    def test_an_ellipse_touches_the_sides_of_its_box(
        self, middle: tuple[float, float], height: float, width: float
    ) -> None:
        row, column = middle
        corners = [(row + a * height, column + b * width) for a, b in ((-1, -1), (-1, 1), (1, 1), (1, -1))]
        area = ellipse(corners)
        expected = (row - height, column - width, row + height, column + width)
        np.testing.assert_allclose(area.box, expected, rtol=1e-3, atol=1e-6)
        assert not area.is_box

    @pytest.mark.parametrize(
        "sliver", [((3.2, 4.1), (3.3, 4.1), (3.3, 4.2)), ((-9.0, 95.0), (1.0, 99), (0, 89))]
    )
    def test_is_never_empty(self, sliver: tuple[tuple[float, float], ...]) -> None:
        assert Area(sliver).fill(SHAPE).sum() >= 1


class TestAsOneObject:
    def test_one_rectangle_is_a_box(self) -> None:
        prompt = Drawing(((5.0, 6.0),), (0,), areas=(SQUARE,)).as_one(SHAPE)
        assert (prompt.points, prompt.labels, prompt.box) == (((5, 6),), (0,), SQUARE.box)
        assert prompt.mask is None

    def test_a_closed_line_is_a_box_and_a_mask(self) -> None:
        prompt = Drawing(areas=(TRIANGLE,)).as_one(SHAPE)
        assert prompt.box == TRIANGLE.box and prompt.mask is not None
        np.testing.assert_array_equal(prompt.mask, TRIANGLE.fill(SHAPE))

    def test_several_areas_are_the_box_around_them_and_their_union(self) -> None:
        labels = np.zeros(SHAPE, bool)
        labels[0, 89] = True
        prompt = Drawing(areas=(TRIANGLE, SQUARE), mask=labels).as_one(SHAPE)
        assert prompt.box == (10, 5, 58, 80) and prompt.mask is not None
        np.testing.assert_array_equal(prompt.mask, TRIANGLE.fill(SHAPE) | SQUARE.fill(SHAPE) | labels)

    def test_strokes_are_points_those_on_the_object_first(self) -> None:
        drawing = Drawing(
            strokes=(Stroke(((1, 2), (1, 4)), positive=False), Stroke(((30, 40), (30, 52)), positive=True))
        )
        prompt = drawing.as_one(SHAPE)
        assert prompt.points == ((30, 43), (30, 49), (1, 3)) and prompt.labels == (1, 1, 0)

    def test_what_lies_beside_the_plane_is_left_out(self) -> None:
        outside = Area(((10.0, 95.0), (10.0, 99.0), (30.0, 99.0), (30.0, 95.0)))
        assert Drawing(((70.0, 5.0),), (1,), areas=(outside,)).as_one(SHAPE).is_empty


class TestAsManyObjects:
    def test_each_area_and_each_click_beside_them_is_one(self) -> None:
        drawing = Drawing(
            points=((20.0, 60.0), (5.0, 5.0), (8.0, 20.0), (6.0, 7.0)),
            labels=(1, 1, 1, 0),
            areas=(SQUARE, TRIANGLE),
        )
        many = drawing.as_many(SHAPE)
        assert [prompt.box for prompt in many] == [SQUARE.box, TRIANGLE.box, None, None]
        assert [prompt.points for prompt in many] == [((20, 60),), (), ((5, 5), (6, 7)), ((8, 20),)]
        assert [prompt.labels for prompt in many] == [(1,), (), (1, 0), (1,)]

    def test_an_object_of_some_labels_is_one(self) -> None:
        mask = np.zeros(SHAPE, bool)
        mask[20:30, 40:50] = True
        (prompt,) = Drawing(points=((18.0, 45.0),), labels=(0,), mask=mask).as_many(SHAPE)
        assert prompt.mask is not None and prompt.mask.sum() == 100 and prompt.labels == (0,)

    def test_a_mask_in_a_rectangle_is_the_same_object(self) -> None:
        """So an undone lasso comes back: as its box, drawn as a rectangle, and its mask."""
        lasso = Drawing(areas=(TRIANGLE,)).as_one(SHAPE)
        row0, column0, row1, column1 = TRIANGLE.box
        corners = ((row0, column0), (row0, column1), (row1, column1), (row1, column0))
        back = Drawing(areas=(SQUARE, Area(corners)), mask=lasso.mask).as_many(SHAPE)
        assert [prompt.box for prompt in back] == [SQUARE.box, TRIANGLE.box]
        assert back[0].mask is None and back[1].mask is lasso.mask

    def test_a_mask_beside_a_rectangle_is_another_object(self) -> None:
        mask = TRIANGLE.fill(SHAPE)
        many = Drawing(areas=(SQUARE,), mask=mask).as_many(SHAPE)
        assert [prompt.box for prompt in many] == [SQUARE.box, None] and many[1].mask is mask

    def test_clicks_beside_objects_alone_are_none(self) -> None:
        assert Drawing(points=((18.0, 45.0),), labels=(0,)).as_many(SHAPE) == []

    @given(drawings())
    def test_nothing_is_lost_and_nothing_counts_twice(self, drawing: Drawing) -> None:
        one, many = drawing.as_one(SHAPE), drawing.as_many(SHAPE)
        together = sorted(
            pair for prompt in many for pair in zip(prompt.points, prompt.labels or (), strict=True)
        )
        expected = sorted(zip(one.points, one.labels or (), strict=True))
        assert together == (expected if many else [])
        assert len(many) >= len(drawing.areas)
        assert bool(many) == bool(drawing.areas or 1 in (one.labels or ()))
        for prompt in many:
            assert prompt.box is not None or (prompt.labels or (0,))[0] == 1
