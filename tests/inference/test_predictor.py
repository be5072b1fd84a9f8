"""The predictor's contract, shown on nano's architecture with seeded weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from napari_sam.inference import loading
from napari_sam.inference.coordinates import Geometry
from napari_sam.inference.loading import load_predictor
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.inference.results import Embedding
from napari_sam.model.sam import CONFIGS, SamConfig
from seeded import SMALL_VIT, same, seeded_image, seeded_predictor

SHAPE = (90, 121)
POINT = Prompt(points=[(40, 60)])


@pytest.fixture(scope="module")
def embedding(nano_predictor: Predictor) -> Embedding:
    return nano_predictor.encode(seeded_image(*SHAPE))


class TestEncode:
    def broken_floats() -> NDArray[np.float32]:
        plane = np.linspace(-3, 8, 90 * 121, dtype=np.float32).reshape(SHAPE)
        plane[0, :3] = np.nan, np.inf, -np.inf
        return plane

    @pytest.mark.parametrize(
        "plane",
        [
            pytest.param(seeded_image(*SHAPE), id="RGB"),
            pytest.param(seeded_image(*SHAPE).astype(np.float64) / 255, id="RGB in floats"),
            pytest.param(seeded_image(*SHAPE)[::-2, ::3, 1], id="not contiguous"),
            pytest.param(broken_floats(), id="floats with NaN and infinities"),
            pytest.param(np.full(SHAPE, np.nan), id="nothing but NaN"),
            pytest.param(np.eye(*SHAPE, dtype=bool), id="bool"),
            pytest.param(np.arange(90 * 121, dtype=np.uint16).reshape(SHAPE), id="16-bit"),
            pytest.param(-(10**12) * np.arange(90 * 121).reshape(SHAPE), id="negative 64-bit"),
            pytest.param(np.arange(12, dtype=">i4").reshape(3, 4), id="big-endian"),
            pytest.param(np.full(SHAPE, 7, np.uint16), id="constant"),
            pytest.param(np.full((1, 1), 255, np.uint8), id="1x1"),
            pytest.param(np.arange(2000, dtype=np.float32)[None], id="1x2000"),
            pytest.param(np.arange(5000, dtype=np.uint8)[:, None], id="5000x1"),
        ],
    )
    def test_takes_any_real_plane(self, nano_predictor: Predictor, plane: NDArray[np.generic]) -> None:
        before = plane.copy()
        embedding = nano_predictor.encode(plane)
        assert embedding.features.shape == (1, *nano_predictor.embedding_shape)
        assert torch.isfinite(embedding.features).all()
        assert embedding.geometry.original == plane.shape[:2]
        assert_array_equal(plane, before)
        prediction = nano_predictor.predict(embedding, Prompt([(0, 0)]))
        assert prediction.masks.shape == (3, *plane.shape[:2])

    @pytest.mark.parametrize(
        ("plane", "message"),
        [
            pytest.param(np.zeros((0, 5)), r"\(0, 5\) has no pixels", id="empty"),
            pytest.param(np.zeros((4, 0, 3)), "no pixels", id="empty RGB"),
            pytest.param(np.zeros(5), r"not \(5,\)", id="1-D"),
            pytest.param(np.zeros((5, 6, 4)), r"not \(5, 6, 4\)", id="four channels"),
            pytest.param(np.zeros((3, 5, 6, 3)), "select one plane", id="4-D"),
            pytest.param(np.zeros((5, 6), complex), "complex128 is not a real number", id="complex"),
            pytest.param(np.zeros((5, 6), "datetime64[s]"), "not a real number", id="dates"),
            pytest.param(np.full((5, 6), "a"), "not a real number", id="text"),
        ],
    )
    def test_refuses_what_is_no_real_plane(
        self, nano_predictor: Predictor, plane: NDArray[np.generic], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            nano_predictor.encode(plane)

    def test_grey_is_taken_as_three_equal_channels(self, nano_predictor: Predictor) -> None:
        grey = seeded_image(*SHAPE)[..., 0]
        one, three = (nano_predictor.encode(x).features for x in (grey, np.stack([grey] * 3, axis=-1)))
        assert torch.equal(one, three)

    def test_16_bit_intensities_are_stretched(self, nano_predictor: Predictor) -> None:
        """A camera's 12 bits, dim on a high background, are seen like the same picture in 8 bits."""
        grey = np.tile(np.arange(256, dtype=np.uint16), (16, 1))
        dim, full = (nano_predictor.encode(x).features for x in (900 + 2 * grey, 256 * grey))
        torch.testing.assert_close(dim, full)

    def test_reports_its_progress_to_the_end(self, nano_predictor: Predictor) -> None:
        reports: list[float] = []
        nano_predictor.encode(np.zeros((8, 8), np.uint8), progress=reports.append)
        assert reports == sorted(reports) and reports[-1] == 1

    @pytest.mark.parametrize("config", [SMALL_VIT, CONFIGS["vit_t"]], ids=lambda config: config.architecture)
    def test_can_be_stopped_inside_a_block(self, config: SamConfig) -> None:
        """A block of a large encoder takes seconds on a CPU; whoever cancels waits for a part of it only."""
        predictor = seeded_predictor(config)
        reports: list[float] = []

        def report(done: float) -> None:
            reports.append(done)
            if len(reports) == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            predictor.encode(seeded_image(*SHAPE), report)
        assert reports == [0, 0, 0], "three reports before the first block is done"


class TestPredict:
    @pytest.mark.parametrize(
        ("prompt", "multimask", "masks"),
        [
            pytest.param(POINT, None, 3, id="a single point may mean the part or the whole"),
            pytest.param(Prompt([(40, 60), (50, 70)]), None, 1, id="two points"),
            pytest.param(Prompt(box=(10, 20, 60, 80)), None, 1, id="a box"),
            pytest.param(Prompt([(40, 60)], box=(10, 20, 60, 80)), None, 1, id="a point in a box"),
            pytest.param(Prompt([(40, 60)], mask=np.ones(SHAPE, bool)), None, 1, id="a point on a mask"),
            pytest.param(Prompt(mask=np.ones(SHAPE, bool)), None, 1, id="a mask"),
            pytest.param(POINT, False, 1, id="one mask asked for"),
            pytest.param(Prompt(box=(10, 20, 60, 80)), True, 3, id="three asked for"),
        ],
    )
    def test_number_of_masks(
        self,
        nano_predictor: Predictor,
        embedding: Embedding,
        prompt: Prompt,
        multimask: bool | None,
        masks: int,
    ) -> None:
        prediction = nano_predictor.predict(embedding, prompt, multimask)
        assert (prediction.masks.shape, prediction.masks.dtype) == ((masks, *SHAPE), bool)
        assert (prediction.scores.shape, prediction.scores.dtype) == ((masks,), np.float32)
        assert (prediction.logits.shape, prediction.logits.dtype) == ((masks, 256, 256), np.float32)
        assert prediction.scores[prediction.best] == prediction.scores.max()

    def test_order_of_calls_does_not_matter(self, nano_predictor: Predictor) -> None:
        planes = [seeded_image(*SHAPE, seed=seed) for seed in (1, 2)]
        first, second = (nano_predictor.encode(plane) for plane in planes)
        before = nano_predictor.predict(first, POINT)
        nano_predictor.predict(second, Prompt(box=(1, 2, 30, 40)))
        assert same(nano_predictor.predict(first, POINT), before)
        assert same(nano_predictor.predict(nano_predictor.encode(planes[0]), POINT), before)
        assert not same(nano_predictor.predict(second, POINT), before)

    def test_results_share_no_memory(self, nano_predictor: Predictor, embedding: Embedding) -> None:
        one, other = (nano_predictor.predict(embedding, POINT) for _ in range(2))
        one.masks[:] = True
        one.logits[:] = 0
        assert same(nano_predictor.predict(embedding, POINT), other)

    def test_results_are_frozen(self, nano_predictor: Predictor, embedding: Embedding) -> None:
        prediction = nano_predictor.predict(embedding, POINT)
        for result in (embedding, prediction, embedding.geometry, POINT):
            field = dataclasses.fields(result)[0].name
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(result, field, None)

    def test_a_box_partly_outside_is_cut_at_the_border(
        self, nano_predictor: Predictor, embedding: Embedding
    ) -> None:
        inside = Prompt(box=(-0.5, 50, 40, 120.5))
        outside = Prompt(box=(-20, 50, 40, 1000))
        assert same(nano_predictor.predict(embedding, outside), nano_predictor.predict(embedding, inside))

    def test_read_only_logits_refine(self, nano_predictor: Predictor, embedding: Embedding) -> None:
        logits = nano_predictor.predict(embedding, POINT, multimask=False).logits[0]
        refined = nano_predictor.predict(embedding, Prompt(POINT.points, mask=logits))
        logits.flags.writeable = False
        assert same(nano_predictor.predict(embedding, Prompt(POINT.points, mask=logits)), refined)
        assert not np.array_equal(refined.logits[0], logits)

    @pytest.mark.parametrize(
        ("prompt", "message"),
        [
            pytest.param(Prompt(), "prompt is empty; give at least one point", id="empty"),
            pytest.param(Prompt([(90, 3)]), r"row 90, column 3\) lies outside .* 90 x 121", id="point below"),
            pytest.param(Prompt([(5, 5), (-1, 3)]), "row -1, column 3", id="point above"),
            pytest.param(Prompt([(60, 121.5)]), r"column 121\.5.*columns from 0 to 120", id="point beside"),
            pytest.param(Prompt(box=(95, 5, 120, 20)), "lies outside the plane of 90 x 121", id="box below"),
            pytest.param(
                Prompt(mask=np.ones((121, 90), bool)), r"\(121, 90\), the plane \(90, 121\)", id="turned mask"
            ),
            pytest.param(Prompt(mask=np.zeros((90, 121), bool)), "mask prompt has no pixel", id="empty mask"),
            pytest.param(
                Prompt(mask=np.ones((64, 64), np.float32)), r"\(64, 64\).*\(256, 256\)", id="foreign logits"
            ),
        ],
    )
    def test_refuses_a_prompt_that_does_not_fit(
        self, nano_predictor: Predictor, embedding: Embedding, prompt: Prompt, message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            nano_predictor.predict(embedding, prompt)

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param({"config": SMALL_VIT}, id="another architecture"),
            pytest.param({"config": CONFIGS["nano"], "seed": 1}, id="other weights"),
        ],
    )
    def test_refuses_the_embedding_of_another_model(
        self, embedding: Embedding, other: Mapping[str, object]
    ) -> None:
        with pytest.raises(ValueError, match="made by nano with other weights"):
            seeded_predictor(**other).predict(embedding, POINT)


class TestStoredEmbedding:
    def test_gives_the_same_masks(self, nano_predictor: Predictor, embedding: Embedding) -> None:
        rebuilt = nano_predictor.embedding_from(embedding.features[0].numpy(), SHAPE)
        assert same(nano_predictor.predict(rebuilt, POINT), nano_predictor.predict(embedding, POINT))

    def test_features_of_another_shape_are_refused(self, nano_predictor: Predictor) -> None:
        with pytest.raises(ValueError, match=r"\(96, 8, 8\).*\(256, 64, 64\)"):
            nano_predictor.embedding_from(np.zeros((96, 8, 8), np.float16), SHAPE)

    def test_says_its_size(self, embedding: Embedding) -> None:
        assert embedding.nbytes == 4 * 256 * 64 * 64
        assert embedding.geometry == Geometry(original=SHAPE, scaled=(381, 512), image_size=512, centred=True)


@pytest.mark.parametrize("name", ["abacus", "cpu:x", "cpu:7", "cuda:99", "meta", ""])
def test_an_absent_device_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' is not there; choose one of .*cpu"):
        load_predictor("nano", device=name)


@pytest.mark.parametrize(
    ("wish", "message"),
    [({"precision": "int9"}, "gains nothing from the precision 'int9'"), ({"compile": True}, "on cpu")],
    ids=str,
)
def test_what_cannot_be_is_told_before_a_download(
    wish: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "load_model", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(ValueError, match=message):
        load_predictor("vit_h", device="cpu", **wish)
