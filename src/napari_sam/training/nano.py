"""Train the bundled model: ``python -m napari_sam.training.nano DATA --out RUN``.

The recipe is SAM's own (Kirillov et al., "Segment Anything", 2023, appendix A) on small crops: a sampled
point or a jittered box, the best of three masks, focal and dice loss, a score head, then rounds in which a
corrective click and the previous logits are the prompt. A run that was stopped goes on from its last
checkpoint, with the same batches as an uninterrupted one.
"""

from __future__ import annotations

import argparse
import copy
import csv
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from napari_sam.inference.predictor import Predictor
from napari_sam.model.sam import CONFIGS, Sam
from napari_sam.training.crops import Batch, sample_batch
from napari_sam.training.data import SYNTHETIC_WEIGHT, TRAINING_SETS, AnnotatedImage, read_set
from napari_sam.training.losses import prompt_losses, proposal_loss
from napari_sam.training.rounds import Rounds
from napari_sam.training.synthetic import draw_set
from napari_sam.training.validation import validate
from napari_sam.weights.loading import ModelIdentity

_PREFETCHED = 3
_HIGHEST_FREQUENCY = 6.0
# Sides of the large crops, as multiples of the small ones'.
_ENLARGED = (4 / 3, 4 / 3, 2, 2, 8 / 3)


@dataclass(frozen=True)
class Recipe:
    """Every number of the training.

    The learning rate rises over ``warmup`` steps, stays, and falls to zero over the last ``cooldown`` share
    of ``steps``; so a run can be lengthened until the fall begins.

    From step ``enlarge_at`` on, a share ``large`` of the steps has crops of up to the model's whole input,
    and the batch norms keep their statistics: with small crops alone the decoder never meets the many
    distant tokens of a whole plane, and marks other objects too.

    ``proposals`` weighs the loss of the proposal head, which sees every pixel and so teaches the encoder much
    at each step; ``half`` takes the products in bfloat16.
    """

    steps: int = 8000
    crops: int = 8
    objects: int = 6
    side: int = 192
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    warmup: int = 200
    cooldown: float = 0.35
    enlarge_at: int = 2000
    large: float = 0.8
    correction: float = 0.15
    rounds: int = 3
    average: float = 0.998
    proposals: float = 1.0
    half: bool = True
    clip: float = 1.0
    seed: int = 0
    checkpoint_every: int = 250
    validate_every: int = 500
    validation_images: int = 20
    synthetic_images: int = 160

    def rate(self, step: int) -> float:
        """Learning rate of ``step``."""
        fall = max(1.0, self.cooldown * self.steps)
        return self.learning_rate * max(0.0, min(1.0, (step + 1) / self.warmup, (self.steps - step) / fall))


@dataclass(frozen=True)
class Layout:
    """How many crops of which side, with how many prompted objects each, one step has."""

    crops: int
    objects: int
    side: int

    @classmethod
    def of(cls, recipe: Recipe, step: int, largest: int) -> Layout:
        """Choose the layout of ``step``, with about as many tokens times prompts as any other step has."""
        rng = np.random.default_rng([recipe.seed, step, 1])
        if step < recipe.enlarge_at or rng.random() >= recipe.large:
            return cls(recipe.crops, recipe.objects, recipe.side)
        side = min(largest, 32 * round(recipe.side * float(rng.choice(_ENLARGED)) / 32))
        shrunk = (recipe.side / side) ** 2
        crops = max(1, round(recipe.crops * shrunk))
        return cls(crops, max(1, round(recipe.crops * recipe.objects * shrunk / crops)), side)


class Trainer:
    """One training run: the model, its running average, the optimiser and the step reached."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.device = device
        self.step = 0
        self.sam = Sam(CONFIGS["nano"])
        spread_frequencies(self.sam)
        self.sam.to(device)
        self.average = copy.deepcopy(self.sam).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            _decayed(self.sam, recipe.weight_decay), betas=(0.9, 0.99), fused=True
        )

    def save(self, path: Path) -> None:
        """Write everything that a resumed run needs, replacing the file in one move."""
        state = {
            "step": self.step,
            "recipe": asdict(self.recipe),
            "sam": self.sam.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint that `save` wrote."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.step = state["step"]
        self.sam.load_state_dict(state["sam"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Do one step and return its losses and the mean IoU of its first round."""
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate(self.step)
        self.sam.train()
        if self.step >= recipe.enlarge_at:
            for module in self.sam.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        # Rounds and corrective clicks depend on the step alone, so a resumed run repeats them.
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + self.step)
        extra = torch.rand(recipe.rounds - 1, generator=generator)
        rounds = 1 + int((extra < recipe.correction).cumprod(0).sum())
        losses, first_iou = [], 0.0
        # The weights stay in full precision; products in half of it take half the time where the processor
        # knows them. Attention of a few tokens trains faster as plain products than as the fused call.
        half = torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.half)
        with half, sdpa_kernel(SDPBackend.MATH):
            prompted = Rounds(self.sam, batch, self.device, generator)
            for logits, scores, target in prompted.run(rounds):
                loss, iou = prompt_losses(logits, scores, target)
                losses.append(loss.mean())
                if len(losses) == 1:
                    first_iou = float(iou[:, 1:].max(1).values.mean())
            assert self.sam.proposal_head is not None
            maps = self.sam.proposal_head(prompted.embedded)
        proposals = proposal_loss(maps.float(), batch.maps.to(self.device))
        total = torch.stack(losses).mean() + recipe.proposals * proposals
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.sam.parameters(), recipe.clip)
        self.optimizer.step()
        self._update_average()
        self.step += 1
        return {"loss": float(total.detach()), "iou": first_iou, "proposals": float(proposals.detach())}

    @torch.no_grad()
    def _update_average(self) -> None:
        """Follow the weights (and the batch norms' statistics) slowly, faster in the beginning."""
        decay = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        for kept, new in zip(self.average.state_dict().values(), self.sam.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)

    def predictor(self) -> Predictor:
        """Give a predictor of the averaged weights as they are now."""
        return Predictor(self.average, ModelIdentity("nano", f"step {self.step}"), self.device)


@torch.no_grad()
def spread_frequencies(sam: Sam) -> None:
    """Give the random positional encoding frequencies up to six times SAM's, evenly spread.

    SAM's own wavelengths are about half the image; to tell a nucleus from its neighbour by them takes far
    longer to learn than by shorter ones.
    """
    matrix = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    matrix *= torch.logspace(0, 1, matrix.shape[1], base=_HIGHEST_FREQUENCY)


def export(sam: Sam, path: Path, origin: str) -> None:
    """Write the weights in half precision as ``safetensors``, with their ``origin``, in one move."""
    state = {key: _halved(value).contiguous().cpu() for key, value in sam.state_dict().items()}
    partial = path.with_suffix(".partial")
    save_file(state, partial, {"origin": origin})
    partial.replace(path)


def _halved(value: Tensor) -> Tensor:
    """Give a tensor in half precision, or as it is where that cannot hold it: a variance may be too large."""
    if not value.is_floating_point():
        return value
    half = value.half()
    return half if half.isfinite().all() else value


def train(data: Path, out: Path, recipe: Recipe, device: torch.device) -> None:
    """Run or resume a training in ``out``, which gets checkpoints, tables and ``nano.safetensors``."""
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, device)
    checkpoint = out / "last.pt"
    if checkpoint.exists():
        trainer.restore(checkpoint)
        print(f"resumed at step {trainer.step}", flush=True)
    sets = [(source.weight, read_set(data / source.folder)) for source in TRAINING_SETS]
    sets.append((SYNTHETIC_WEIGHT, draw_set(recipe.synthetic_images, recipe.seed)))
    held_out = read_set(data / "dsb2018/val")[:: max(1, 76 // recipe.validation_images)]
    began, first = time.perf_counter(), trainer.step
    recent: list[dict[str, float]] = []
    for batch in _batches(recipe, sets, trainer.step):
        recent.append(trainer.train_step(batch))
        step = trainer.step
        if step % 50 == 0:
            seconds = (time.perf_counter() - began) / (step - first)
            row = {key: np.mean([x[key] for x in recent]) for key in recent[0]}
            _append(out / "log.csv", {"step": step, **row, "seconds": seconds})
            numbers = "  ".join(f"{key} {value:.3f}" for key, value in row.items())
            print(f"step {step}  {numbers}  {seconds:.2f} s/step", flush=True)
            recent.clear()
        if step % recipe.checkpoint_every == 0 or step == recipe.steps:
            trainer.save(checkpoint)
            export(trainer.average, out / "nano.safetensors", f"step {step} of {recipe}")
        if step % recipe.validate_every == 0 or step == recipe.steps:
            measured = validate(trainer.predictor(), held_out)
            _append(out / "validation.csv", {"step": step, **measured})
            print("  ".join(f"{key} {value:.3f}" for key, value in measured.items()), flush=True)


def _batches(recipe: Recipe, sets: list[tuple[float, list[AnnotatedImage]]], first: int) -> Iterator[Batch]:
    """Make the batches ahead in a thread; each depends on the seed and its step alone."""
    config = CONFIGS["nano"]

    def make(step: int) -> Batch:
        rng = np.random.default_rng([recipe.seed, step])
        size = config.image_size
        layout = Layout.of(recipe, step, size)
        return sample_batch(rng, sets, layout.crops, layout.objects, layout.side, size, config.encoder.patch)

    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(make, step) for step in range(first, min(first + _PREFETCHED, recipe.steps))]
        for step in range(first, recipe.steps):
            batch = ahead.pop(0).result()
            if step + _PREFETCHED < recipe.steps:
                ahead.append(pool.submit(make, step + _PREFETCHED))
            yield batch


def _decayed(sam: nn.Module, decay: float) -> list[dict[str, object]]:
    """Apply weight decay to matrices and convolutions only."""
    parameters = list(sam.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2 and p.shape[0] > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim < 2 or p.shape[0] == 1], "weight_decay": 0.0},
    ]


def _append(path: Path, row: dict[str, object]) -> None:
    """Add a row to a table, with a header if it is new."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m napari_sam.training.nano", description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the data sets of napari_sam.training.data")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run, resumed if it was begun")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for option in fields(Recipe):
        name, default = f"--{option.name.replace('_', '-')}", option.default
        if isinstance(default, bool):
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=default)
        else:
            parser.add_argument(name, type=type(default), default=default)
    options = parser.parse_args(arguments)
    recipe = Recipe(**{option.name: getattr(options, option.name) for option in fields(Recipe)})
    train(options.data, options.out, recipe, torch.device(options.device))


if __name__ == "__main__":
    main()
