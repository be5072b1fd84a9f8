"""The training as a command: killed and begun again, and in several processes."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.io import imsave

from napari_sam.model.sam import CONFIGS
from napari_sam.training.batches import Batches
from napari_sam.training.data import TRAINING_SETS, VALIDATION_SETS, AnnotatedImage
from napari_sam.training.hardware import Hardware
from napari_sam.training.images import TrainingImages
from napari_sam.training.nano import training_sets
from napari_sam.training.recipe import Recipe
from napari_sam.training.trainer import StepLosses, Trainer

# From the first step on the batch norms keep their statistics: then the gradient of two processes is the mean
# of theirs. No step of this seed has a second round, in which one changed pixel changes a click.
RECIPE = Recipe(
    steps=3,
    crops=1,
    objects=2,
    side=64,
    warmup=1,
    enlarge_at=0,
    freeze_norms_at=0,
    large=0.0,
    rounds=1,
    half=False,
    clip=1e9,
    checkpoint_every=1,
    validate_every=3,
    validation_images=2,
    synthetic_images=1,
)


def discs(number: int) -> AnnotatedImage:
    """Four discs on a ground whose brightness differs from image to image."""
    rows, columns = np.ogrid[:96, :120]
    labels = np.zeros((96, 120), np.int32)
    for label, (row, column) in enumerate([(24, 30), (24, 90), (72, 30), (72, 90)], start=1):
        labels[np.hypot(rows - row, columns - column) < 10 + number] = label
    return AnnotatedImage(
        f"discs{number}", np.where(labels > 0, 220, 30 + 20 * number).astype(np.uint8), labels
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder, two images in each set."""
    root = tmp_path_factory.mktemp("data")
    for folder in dict.fromkeys((*(source.folder for source in TRAINING_SETS), *VALIDATION_SETS)):
        (root / folder).mkdir(parents=True)
        for number in range(2):
            item = discs(number)
            imsave(root / folder / f"{item.name}_image.png", item.image, check_contrast=False)
            labels = item.labels.astype(np.uint8)
            imsave(root / folder / f"{item.name}_labels.png", labels, check_contrast=False)
    return root


@pytest.fixture
def one_thread(use_cores: Callable[[int], None]) -> dict[str, str]:
    """Compute in one thread, here and in processes with this environment, so that sums have one order.

    Batch norms over the few views of a small step make a rounding error a thousand times larger.
    """
    use_cores(1)
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def command(data: Path, out: Path, recipe: Recipe, *further: str) -> list[str]:
    """The command that trains with ``recipe``."""
    options = []
    for name, value in vars(recipe).items():
        flag = name.replace("_", "-")
        options += (
            [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
        )
    module = "napari_sam.training.nano"
    return [sys.executable, "-m", module, str(data), "--out", str(out), "--device", "cpu", *options, *further]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_process_has_batches_of_its_own() -> None:
    """Which depend on the seed, the step and the process alone, whether a thread makes them or not."""
    images = TrainingImages([(1.0, [discs(0), discs(1)])], torch.device("cpu"))
    batches = [Batches(RECIPE, images, CONFIGS["nano"], rank) for rank in (0, 1)]
    first, second = (list(x.ahead(0)) for x in batches)
    later = list(batches[1].ahead(2))
    assert [len(x) for x in (first, second, later)] == [3, 3, 1]
    assert not any(torch.equal(one.images, other.images) for one, other in zip(first, second, strict=True))
    for name, value in vars(second[2]).items():
        assert torch.equal(value, getattr(later[0], name)) and torch.equal(
            value, getattr(batches[1][2], name)
        )


@pytest.mark.slow
def test_a_killed_run_ends_like_one_that_was_not(data: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(data, whole, RECIPE), check=True)
    run = subprocess.Popen(command(data, killed, RECIPE))
    while not (killed / "last.pt").exists():
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    step = torch.load(killed / "last.pt", weights_only=True)["step"]
    assert step < RECIPE.steps, "it was killed too late to show anything"
    subprocess.run(command(data, killed, RECIPE), check=True)
    assert (killed / "nano.safetensors").read_bytes() == (whole / "nano.safetensors").read_bytes()
    assert rows(killed / "validation.csv") == rows(whole / "validation.csv")


@pytest.mark.slow
def test_two_processes_take_the_mean_of_their_gradients(
    data: Path, tmp_path: Path, one_thread: dict[str, str]
) -> None:
    recipe = replace(RECIPE, steps=1, validate_every=1)
    ran = subprocess.run(
        command(data, tmp_path, recipe, "--devices", "2"),
        check=True,
        capture_output=True,
        text=True,
        env=one_thread,
    )
    assert ran.stdout.count("step 1 ") == 1, "only the first process speaks"
    # The sets have two images of four objects each, one image for each process.
    assert [row["objects"] for row in rows(tmp_path / "validation.csv")] == ["8"] * len(VALIDATION_SETS)
    assert [row["step"] for row in rows(tmp_path / "log.csv")] == ["1"]

    fabric = Hardware("cpu").open(half=False)
    fabric.launch()
    trainer = Trainer(recipe, fabric)
    losses = StepLosses(trainer.sam, RECIPE.learns).eval()
    assert trainer.sam.close_up is not None
    trainer.sam.close_up.train()  # its batch norms go on with the statistics of the batch
    images = TrainingImages(training_sets(data, recipe), torch.device("cpu"))
    for rank in (0, 1):
        clicks = torch.Generator().manual_seed(recipe.clicks_seed(0, rank))
        batch = Batches(recipe, images, CONFIGS["nano"], rank)[0]
        (losses(batch, 1, clicks, 1, recipe.proposals)["loss"] / 2).backward()
    state = torch.load(tmp_path / "last.pt", weights_only=True)["optimizer"]
    compared = 0
    for kept, group in zip(state["param_groups"], trainer.optimizer.param_groups, strict=True):
        for number, parameter in zip(kept["params"], group["params"], strict=True):
            if parameter.grad is not None:
                # After one step the first moment is a tenth of the gradient.
                moment = state["state"][number]["exp_avg"]
                torch.testing.assert_close(10 * moment, parameter.grad, rtol=1e-3, atol=1e-4)
                compared += 1
    assert compared > 100
