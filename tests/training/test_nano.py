"""A short training goes on where it stopped, and what it exports is the bundled model's kind of file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file, save_file
from skimage.io import imread, imsave

from napari_sam.inference.loading import load_predictor
from napari_sam.inference.prompts import Prompt
from napari_sam.matching import iou
from napari_sam.model.sam import CONFIGS
from napari_sam.training.chance import Chance
from napari_sam.training.crops import Batch, sample_batch
from napari_sam.training.curves import PICTURE, VALIDATION
from napari_sam.training.data import TRAINING_SETS, VALIDATION_SETS, AnnotatedImage
from napari_sam.training.hardware import HALVES, Hardware
from napari_sam.training.images import TrainingImages
from napari_sam.training.nano import train
from napari_sam.training.recipe import Layout, Recipe
from napari_sam.training.trainer import Trainer, export
from napari_sam.training.validation import score_objects
from napari_sam.weights.loading import load_model

RECIPE = Recipe(
    steps=4,
    crops=2,
    objects=2,
    side=64,
    warmup=1,
    checkpoint_every=2,
    validate_every=4,
    validation_images=1,
    synthetic_images=1,
)


def opened(half: str | None = None) -> Fabric:
    """A processor that computes in full or in half precision."""
    fabric = Hardware("cpu", half=half or "auto").open(half=half is not None)
    fabric.launch()
    return fabric


CPU = opened()


def discs(size: int = 96) -> AnnotatedImage:
    """Four bright discs on a dark ground."""
    rows, columns = np.ogrid[:size, :size]
    labels = np.zeros((size, size), np.int32)
    for number, (row, column) in enumerate([(24, 24), (24, 72), (72, 24), (72, 72)], start=1):
        labels[np.hypot(rows - row, columns - column) < 12] = number
    return AnnotatedImage("discs", np.where(labels > 0, 220, 30).astype(np.uint8), labels)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder, one image in each set."""
    root = tmp_path_factory.mktemp("data")
    image = discs()
    for folder in (*(source.folder for source in TRAINING_SETS), *VALIDATION_SETS):
        (root / folder).mkdir(parents=True, exist_ok=True)
        imsave(root / folder / "discs_image.png", image.image, check_contrast=False)
        imsave(root / folder / "discs_labels.png", image.labels.astype(np.uint8), check_contrast=False)
    return root


@pytest.fixture(autouse=True)
def one_thread(use_cores: Callable[[int], None]) -> None:
    """Sums in the same order on every machine."""
    use_cores(1)


def batch_of(step: int, crops: int = RECIPE.crops) -> Batch:
    images = TrainingImages([(1.0, [discs()])], torch.device("cpu"))
    layout = Layout(crops, RECIPE.objects, RECIPE.side)
    return sample_batch(Chance(torch.Generator().manual_seed(step)), images, layout, CONFIGS["nano"])


class TestTrainer:
    def test_learns(self) -> None:
        """The loss of a batch that is seen again and again falls."""
        trainer = Trainer(Recipe(steps=100, side=64, warmup=1, rounds=1), CPU)
        losses = [float(trainer.train_step(batch_of(0))["loss"]) for _ in range(8)]
        assert losses[-1] < 0.8 * losses[0]
        assert trainer.step == 8

    # Processors without half precision convert, which takes long.
    @pytest.mark.parametrize("half", [None, *(pytest.param(x, marks=pytest.mark.slow) for x in HALVES[1:])])
    def test_goes_on_from_its_checkpoint_as_if_never_stopped(self, half: str | None, tmp_path: Path) -> None:
        whole, first = (Trainer(RECIPE, opened(half)) for _ in range(2))
        steps, crops = (4, 2) if half is None else (2, 1)
        for step in range(steps):
            expected = whole.train_step(batch_of(step, crops))
        for step in range(steps // 2):
            first.train_step(batch_of(step, crops))
        first.save(tmp_path / "last.pt")
        resumed = Trainer(RECIPE, opened(half))
        resumed.restore(tmp_path / "last.pt")
        for step in range(resumed.step, steps):
            found = resumed.train_step(batch_of(step, crops))
        assert found == expected
        scales = [trainer.fabric.strategy.precision.state_dict().get("scale") for trainer in (resumed, whole)]
        assert scales[0] == scales[1] and (scales[0] is not None) == (half == "float16")
        for part in ("sam", "average"):
            states = (getattr(trainer, part).state_dict() for trainer in (resumed, whole))
            for one, other in zip(*(state.values() for state in states), strict=True):
                assert torch.equal(one, other)

    def test_exports_what_the_predictor_loads(self, tmp_path: Path) -> None:
        trainer = Trainer(RECIPE, CPU)
        path = tmp_path / "nano.safetensors"
        export(trainer.average, path, "a test")
        numbers = sum(value.numel() for value in trainer.average.state_dict().values())
        assert path.stat().st_size < 1.25 * numbers  # bytes; most weights have one, the others two
        assert [file.name for file in tmp_path.iterdir()] == ["nano.safetensors"]
        loaded, image = load_predictor("nano", path, device="cpu"), discs().image
        full, stored = (x.predict(x.encode(image), Prompt([(24, 24)])) for x in (trainer.predictor(), loaded))
        assert iou(full.masks, stored.masks) > 0.95

    def test_what_it_exports_is_within_half_a_step_of_its_weights(self, tmp_path: Path) -> None:
        trainer = Trainer(RECIPE, CPU)
        path = tmp_path / "nano.safetensors"
        export(trainer.average, path, "a test")
        file, loaded = load_file(path), load_model("nano", path)[0].state_dict()
        assert torch.int8 in {value.dtype for value in file.values()}
        for key, value in trainer.average.state_dict().items():
            if file[key].dtype == torch.int8:
                half_steps = 0.5001 * file[f"{key}_scale"][:, None, None, None]
                assert ((loaded[key] - value).abs() <= half_steps).all()
            else:
                torch.testing.assert_close(loaded[key], value, rtol=2**-11, atol=2**-25)  # of float16

    @pytest.mark.parametrize("kind", ["in 8 bits", "in half precision"])
    def test_begins_with_what_was_exported(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "nano.safetensors"
        given = Trainer(RECIPE, CPU).sam
        if kind == "in 8 bits":
            export(given, path, "a test")
        else:
            save_file(
                {k: x.half() if x.is_floating_point() else x for k, x in given.state_dict().items()}, path
            )
        trainer = Trainer(replace(RECIPE, seed=1), CPU)
        trainer.begin_with(path)
        expected = load_model("nano", path)[0].state_dict()
        for mine in (trainer.sam, trainer.average):
            assert all(torch.equal(value, expected[key]) for key, value in mine.state_dict().items())

    def test_begins_with_given_weights_and_leaves_frozen_stages_as_they_are(self, tmp_path: Path) -> None:
        export(Trainer(RECIPE, CPU).sam, tmp_path / "nano.safetensors", "a test")
        trainer = Trainer(replace(RECIPE, seed=1, freeze_stages=True), CPU)
        trainer.begin_with(tmp_path / "nano.safetensors")
        before = {key: value.clone() for key, value in trainer.sam.state_dict().items()}
        trainer.train_step(batch_of(0))
        changed = {
            key for key, value in trainer.sam.named_parameters() if not torch.equal(value, before[key])
        }
        frozen = {key for key in before if key.startswith(("image_encoder.stem.", "image_encoder.stages."))}
        assert frozen and not changed & frozen
        assert any(key.startswith("image_encoder.refine.") for key in changed)

    def test_the_close_ups_learn_alone(self, tmp_path: Path) -> None:
        """From weights of an earlier version, which have none, nothing else changes, statistics included."""
        earlier = tmp_path / "earlier.safetensors"
        state = Trainer(RECIPE, CPU).sam.state_dict()
        save_file({key: value for key, value in state.items() if not key.startswith("close_up.")}, earlier)
        trainer = Trainer(replace(RECIPE, seed=1, learns="close-ups"), CPU)
        trainer.begin_with(earlier)
        before = {key: value.clone() for key, value in trainer.sam.state_dict().items()}
        batch = batch_of(0)
        losses = [float(trainer.train_step(batch)["loss"]) for _ in range(6)]
        assert losses[-1] < losses[0]
        after = trainer.sam.state_dict()
        changed = {key for key in before if not torch.equal(after[key], before[key])}
        assert {key.split(".")[0] for key in changed} == {"close_up"}

    def test_the_scores_learn_alone(self) -> None:
        """So masks stay as they are, to the last bit."""
        trainer = Trainer(replace(RECIPE, learns="scores"), CPU)
        before = {key: value.clone() for key, value in trainer.sam.state_dict().items()}
        trainer.train_step(batch_of(0))
        after = trainer.sam.state_dict()
        changed = {key for key in before if not torch.equal(after[key], before[key])}
        assert changed and all(key.startswith("close_up.score.") for key in changed)

    def test_what_cannot_learn_is_named(self) -> None:
        with pytest.raises(ValueError, match="all, close-ups, scores, not 'masks'; choose one"):
            replace(RECIPE, learns="masks")

    def test_exports_a_number_that_half_precision_cannot_hold_as_it_is(self, tmp_path: Path) -> None:
        """A batch norm whose variance became infinite in the file would put out its channel."""
        trainer = Trainer(RECIPE, CPU)
        key = "image_encoder.smooth.0.norm.running_var"
        trainer.average.state_dict()[key][3] = 123456.0
        path = tmp_path / "nano.safetensors"
        export(trainer.average, path, "a test")
        state = load_file(path)
        assert state[key][3] == 123456.0
        assert all(value.isfinite().all() for value in state.values())


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.1), (4, 0.5), (9, 1.0), (50, 1.0), (60, 1.0), (80, 0.5), (99, 0.025), (100, 0.0)],
)
def test_the_learning_rate_rises_stays_and_falls(step: int, rate: float) -> None:
    recipe = Recipe(steps=100, learning_rate=1.0, warmup=10, cooldown=0.4)
    assert recipe.rate(step) == pytest.approx(rate)


def test_a_run_that_broke_off_ends_like_one_that_did_not(data: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(data, whole, RECIPE, CPU)
    (broken / "nano.safetensors").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):  # at step 2, with its checkpoint written
        train(data, broken, RECIPE, CPU)
    (broken / "nano.safetensors").rmdir()
    train(data, broken, RECIPE, CPU)
    assert (broken / "nano.safetensors").read_bytes() == (whole / "nano.safetensors").read_bytes()
    rows = [(folder / VALIDATION).read_text().splitlines() for folder in (whole, broken)]
    assert rows[0] == rows[1]
    assert rows[0][0] == "step,set,objects,click,box"
    assert [row.split(",")[:2] for row in rows[0][1:]] == [["4", name] for name in VALIDATION_SETS]
    assert imread(broken / PICTURE).shape[:2] == (800, 1100)


def test_a_checkpoint_of_another_architecture_is_named(tmp_path: Path) -> None:
    trainer = Trainer(RECIPE, CPU)
    trainer.save(tmp_path / "last.pt")
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    state["sam"]["image_encoder.extra.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(ValueError, match=r"last\.pt does not fit .*extra\.weight.*another folder"):
        trainer.restore(tmp_path / "last.pt")


def test_a_checkpoint_of_the_first_version_is_read(tmp_path: Path) -> None:
    """It had no scaler, and fewer or other numbers in its recipe."""
    trainer = Trainer(RECIPE, CPU)
    trainer.save(tmp_path / "last.pt")
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    del state["scaler"], state["recipe"]["large"]
    torch.save({**state, "step": 3, "recipe": {**state["recipe"], "gone": 1}}, tmp_path / "last.pt")
    assert trainer.restore(tmp_path / "last.pt") == RECIPE
    assert trainer.step == 3


def test_data_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="dsb2018/val holds no NAME_image"):
        train(tmp_path, tmp_path / "run", RECIPE, CPU)


class TestValidation:
    def test_every_object_is_prompted(self, tmp_path: Path) -> None:
        trainer = Trainer(RECIPE, CPU)
        scores = score_objects(trainer.predictor(), [discs(), discs(110)], most=3)
        assert len(scores) == 6
        assert all(0 <= value <= 1 for score in scores for value in (score.click, score.box))

    @pytest.mark.parametrize(
        ("a", "b", "expected"),
        [
            pytest.param([1, 1, 0], [1, 1, 0], 1, id="equal"),
            pytest.param([1, 1, 0], [0, 1, 1], 1 / 3, id="overlapping"),
            pytest.param([1, 0, 0], [0, 0, 1], 0, id="apart"),
            pytest.param([0, 0, 0], [0, 0, 0], 1, id="both empty"),
        ],
    )
    def test_iou(self, a: list[int], b: list[int], expected: float) -> None:
        assert iou(np.array(a, bool), np.array(b, bool)) == pytest.approx(expected)
