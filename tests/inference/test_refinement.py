"""Clicks correct the mask of the ones before, in the same way whether they come one by one or at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.refinement import first_step, predict_refined
from napari_sam.inference.results import Embedding
from seeded import same, seeded_image

SHAPE = (90, 121)
BOX = (10.0, 20.0, 60.0, 80.0)
A, B, C = (40.0, 60.0), (50.0, 70.0), (12.0, 99.0)
MASK = np.eye(*SHAPE, dtype=bool)


@pytest.fixture(scope="module")
def embedding(nano_predictor: Predictor) -> Embedding:
    return nano_predictor.encode(seeded_image(*SHAPE))


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        pytest.param(Prompt([A]), Prompt([A]), id="one point"),
        pytest.param(Prompt([A, B, C], [1, 1, 0]), Prompt([A]), id="the first of several"),
        pytest.param(
            Prompt([A, B, C], [0, 0, 1]), Prompt([A, B, C], [0, 0, 1]), id="up to the first positive"
        ),
        pytest.param(Prompt([A, B, C], [0, 1, 1]), Prompt([A, B], [0, 1]), id="and no further"),
        pytest.param(Prompt([A, B], [0, 0]), Prompt([A, B], [0, 0]), id="negative ones alone"),
        pytest.param(Prompt(box=BOX), Prompt(box=BOX), id="a box"),
        pytest.param(Prompt([A, B], [0, 1], BOX), Prompt(box=BOX), id="the box before its points"),
        pytest.param(
            Prompt([A, B], [1, 0], mask=MASK), Prompt([A, B], [1, 0], mask=MASK), id="all with a mask"
        ),
        pytest.param(Prompt(), Prompt(), id="nothing"),
    ],
)
def test_what_stands_for_itself(prompt: Prompt, expected: Prompt) -> None:
    assert first_step(prompt) == expected


@pytest.mark.parametrize(
    "prompt",
    [
        pytest.param(Prompt([A]), id="one point"),
        pytest.param(Prompt([A], [0]), id="one negative point"),
        pytest.param(Prompt([A, B], [0, 1]), id="a positive point after a negative one"),
        pytest.param(Prompt(box=BOX), id="a box"),
        pytest.param(Prompt([A, B], mask=MASK), id="points on a mask"),
    ],
)
def test_one_step_is_a_plain_prediction(
    nano_predictor: Predictor, embedding: Embedding, prompt: Prompt
) -> None:
    refined = predict_refined(nano_predictor, embedding, prompt)
    assert same(refined, nano_predictor.predict(embedding, prompt))


def test_a_mask_alone_is_asked_with_its_box(nano_predictor: Predictor, embedding: Embedding) -> None:
    rows, columns = np.nonzero(MASK)
    box = (rows.min() - 0.5, columns.min() - 0.5, rows.max() + 0.5, columns.max() + 0.5)
    refined = predict_refined(nano_predictor, embedding, Prompt(mask=MASK))
    assert same(refined, nano_predictor.predict(embedding, Prompt(box=box, mask=MASK)))


class TestSeveralSteps:
    def test_points_refine_the_best_candidate(self, nano_predictor: Predictor, embedding: Embedding) -> None:
        """What a user does by hand: click, look, click again."""
        first = nano_predictor.predict(embedding, Prompt([A]))
        second = nano_predictor.predict(embedding, Prompt([A, B], [1, 0], mask=first.logits[first.best]))
        third = nano_predictor.predict(embedding, Prompt([A, B, C], [1, 0, 1], mask=second.logits[0]))
        refined = predict_refined(nano_predictor, embedding, Prompt([A, B, C], [1, 0, 1]))
        assert same(refined, third)
        assert not same(refined, nano_predictor.predict(embedding, Prompt([A, B, C], [1, 0, 1])))

    @pytest.mark.parametrize("candidate", range(3))
    def test_or_the_candidate_that_was_chosen(
        self, nano_predictor: Predictor, embedding: Embedding, candidate: int
    ) -> None:
        first = nano_predictor.predict(embedding, Prompt([A]))
        second = nano_predictor.predict(embedding, Prompt([A, B], mask=first.logits[candidate]))
        assert same(predict_refined(nano_predictor, embedding, Prompt([A, B]), candidate), second)

    @pytest.mark.parametrize("candidate", [None, 2], ids=["no candidate", "a candidate of a point"])
    def test_points_refine_a_box(
        self, nano_predictor: Predictor, embedding: Embedding, candidate: int | None
    ) -> None:
        first = nano_predictor.predict(embedding, Prompt(box=BOX))
        second = nano_predictor.predict(embedding, Prompt([A], [0], BOX, mask=first.logits[0]))
        assert same(predict_refined(nano_predictor, embedding, Prompt([A], [0], BOX), candidate), second)

    @settings(max_examples=5)
    @given(
        st.lists(st.tuples(st.integers(0, 89), st.integers(0, 120), st.booleans()), min_size=2, max_size=4),
        st.sampled_from([None, BOX]),
    )
    def test_the_result_depends_on_the_prompt_alone(
        self,
        nano_predictor: Predictor,
        embedding: Embedding,
        clicks: list[tuple[int, int, bool]],
        box: tuple[float, float, float, float] | None,
    ) -> None:
        prompts = [
            Prompt([click[:2] for click in clicks[:count]], [int(click[2]) for click in clicks[:count]], box)
            for count in range(1, 1 + len(clicks))
        ]
        one_by_one = [predict_refined(nano_predictor, embedding, prompt) for prompt in prompts]
        assert same(predict_refined(nano_predictor, embedding, prompts[-1]), one_by_one[-1])
        assert one_by_one[-1].masks.shape == (1, *SHAPE)


def test_an_empty_prompt_is_refused(nano_predictor: Predictor, embedding: Embedding) -> None:
    with pytest.raises(ValueError, match="prompt is empty"):
        predict_refined(nano_predictor, embedding, Prompt())
