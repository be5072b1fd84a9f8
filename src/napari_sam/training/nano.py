"""Train the bundled model: ``python -m napari_sam.training.nano DATA --out RUN``.

A run that was stopped goes on from its last checkpoint, with the same batches as an uninterrupted one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_sam.training.batches import Batches
from napari_sam.training.crops import Batch
from napari_sam.training.curves import draw_curves, open_tables
from napari_sam.training.data import (
    SYNTHETIC_WEIGHT,
    TRAINING_SETS,
    VALIDATION_SETS,
    AnnotatedImage,
    read_set,
)
from napari_sam.training.hardware import HALVES, KINDS, Hardware
from napari_sam.training.images import TrainingImages
from napari_sam.training.recipe import LEARNERS, Recipe
from napari_sam.training.synthetic import draw_set
from napari_sam.training.trainer import Trainer, export
from napari_sam.training.validation import score_objects

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Steps whose mean is one row of the log.
_LOGGED = 50
# Objects of each image that are prompted in a validation.
_VALIDATED_OBJECTS = 25


def train(data: Path, out: Path, recipe: Recipe, fabric: Fabric, weights: Path | None = None) -> None:
    """Run or resume a training in ``out``, which gets checkpoints, tables, curves and ``nano.safetensors``.

    Parameters
    ----------
    data
        Folder with the sets of `napari_sam.training.data`.
    recipe
        The numbers of the training.
    fabric
        The devices, launched; every process calls this.
    weights
        What a new run begins with, instead of random weights.
    """
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, fabric)
    checkpoint = out / "last.pt"
    if checkpoint.exists():
        _tell_changes(fabric, trainer.restore(checkpoint), recipe)
        fabric.print(f"resumed at step {trainer.step}", flush=True)
    elif weights is not None:
        trainer.begin_with(weights)
    measured = {name: _some(read_set(data / name), recipe.validation_images) for name in VALIDATION_SETS}
    # No process goes on before all have read the checkpoint, which the first writes anew.
    fabric.barrier()
    run = _Run(out, trainer, measured)
    for batch in batches_of(trainer, training_sets(data, recipe)):
        run.log(trainer.train_step(batch))
        if trainer.step % recipe.checkpoint_every == 0 or trainer.step == recipe.steps:
            run.keep()
        if trainer.step % recipe.validate_every == 0 or trainer.step == recipe.steps:
            run.validate()


class _Run:
    """What a training writes into its folder; only its first process writes."""

    def __init__(self, out: Path, trainer: Trainer, held_out: Mapping[str, Sequence[AnnotatedImage]]) -> None:
        self._out = out
        self._trainer = trainer
        self._fabric = trainer.fabric
        self._held_out = held_out
        self._recent: list[dict[str, Tensor]] = []
        self._began = time.perf_counter()
        self._tables = open_tables(out, trainer.step) if self._fabric.is_global_zero else None

    def log(self, measured: dict[str, Tensor]) -> None:
        """Remember the measures of a step, and write their means now and then."""
        self._recent.append(measured)
        step = self._trainer.step
        if step % _LOGGED and step != self._trainer.recipe.steps:
            return
        names = list(measured)
        means = torch.stack([torch.stack([x[name] for x in self._recent]).mean() for name in names])
        together = self._fabric.all_reduce(means)
        assert isinstance(together, Tensor)
        row = dict(zip(names, together.tolist(), strict=True))
        seconds = (time.perf_counter() - self._began) / len(self._recent)
        self._recent.clear()
        if self._tables is not None:
            rate = self._trainer.recipe.rate(step - 1)
            self._tables[0].append({"step": step, **row, "rate": rate, "seconds": seconds})
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in row.items())
        self._fabric.print(f"step {step}  {numbers}  {seconds:.2f} s/step", flush=True)
        self._began = time.perf_counter()

    def keep(self) -> None:
        """Write the checkpoint and the weights."""
        if self._fabric.is_global_zero:
            trainer = self._trainer
            draw_curves(self._out)
            trainer.save(self._out / "last.pt")
            origin = f"step {trainer.step} of {trainer.recipe}"
            export(trainer.average, self._out / "nano.safetensors", origin)

    def validate(self) -> None:
        """Measure every set, each process a part of its images, and write the means over its objects."""
        fabric, began = self._fabric, time.perf_counter()
        for name, images in self._held_out.items():
            mine = images[fabric.global_rank :: fabric.world_size]
            scores = score_objects(self._trainer.predictor(), mine, _VALIDATED_OBJECTS)
            sums = [len(scores), sum(x.click for x in scores), sum(x.box for x in scores)]
            total = fabric.all_reduce(torch.tensor(sums, device=fabric.device).float(), reduce_op="sum")
            assert isinstance(total, Tensor)
            objects, click, box = total.tolist()
            row = {"click": click / max(1, objects), "box": box / max(1, objects)}
            if self._tables is not None:
                step = self._trainer.step
                self._tables[1].append({"step": step, "set": name, "objects": int(objects), **row})
            fabric.print(f"{name}  click {row['click']:.3f}  box {row['box']:.3f}", flush=True)
        if self._tables is not None:
            draw_curves(self._out)
        # A step's time in the log is that of training alone.
        self._began += time.perf_counter() - began


def batches_of(trainer: Trainer, sets: Sequence[tuple[float, Sequence[AnnotatedImage]]]) -> Iterator[Batch]:
    """Give the batches of the steps that are left; a graphics card makes its own, else a processor does."""
    fabric = trainer.fabric
    device = fabric.device if fabric.device.type == "cuda" else torch.device("cpu")
    images = TrainingImages(sets, device)
    batches = Batches(trainer.recipe, images, trainer.sam.config, fabric.global_rank)
    return batches.ahead(trainer.step)


def training_sets(data: Path, recipe: Recipe) -> list[tuple[float, list[AnnotatedImage]]]:
    """Read and draw the images that are learned from, with the weight of each set."""
    sets = [(source.weight, read_set(data / source.folder)) for source in TRAINING_SETS]
    return [*sets, (SYNTHETIC_WEIGHT, draw_set(recipe.synthetic_images, recipe.seed))]


def _some(images: list[AnnotatedImage], most: int) -> list[AnnotatedImage]:
    """Pick at most ``most`` of the images, evenly."""
    if len(images) <= most:
        return images
    return [images[int(number)] for number in np.linspace(0, len(images) - 1, most).round()]


def _tell_changes(fabric: Fabric, before: Recipe, now: Recipe) -> None:
    """Say which numbers differ from those of the checkpoint."""
    kept = asdict(before)
    for name, value in asdict(now).items():
        if kept[name] != value:
            fabric.print(f"{name} was {kept[name]} and is {value} now", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m napari_sam.training.nano", description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the data sets of napari_sam.training.data")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run, resumed if it was begun")
    parser.add_argument("--device", default="auto", choices=KINDS)
    parser.add_argument("--devices", type=int, default=1, help="processes, each on a device of its own")
    parser.add_argument("--half-type", default="auto", choices=HALVES, help="what --half computes in")
    parser.add_argument("--weights", type=Path, help="file that a new run begins with")
    for option in fields(Recipe):
        name, default = f"--{option.name.replace('_', '-')}", option.default
        if isinstance(default, bool):
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=default)
        else:
            choices = LEARNERS if option.name == "learns" else None
            parser.add_argument(name, type=type(default), default=default, choices=choices)
    options = parser.parse_args(arguments)
    recipe = Recipe(**{option.name: getattr(options, option.name) for option in fields(Recipe)})
    fabric = Hardware(options.device, options.devices, options.half_type).open(recipe.half)
    fabric.launch()
    train(options.data, options.out, recipe, fabric, options.weights)


if __name__ == "__main__":
    main()
