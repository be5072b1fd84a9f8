"""The numbers of a training: its schedule, what one step holds, and the seeds of all that is random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Sides of the large crops, as multiples of the small ones'.
_ENLARGED = (4 / 3, 4 / 3, 2, 2, 8 / 3)
# What is drawn at random in a step, each from a stream of its own.
_CROPS, _LAYOUT, _ROUNDS, _CLICKS = range(4)

LEARNERS = ("all", "close-ups", "scores")


@dataclass(frozen=True)
class Recipe:
    """Every number of the training but the shares of the data, which stand in `napari_sam.training.data`.

    The learning rate rises over ``warmup`` steps, stays, and falls to zero over the last ``cooldown`` share
    of ``steps``; so a run can be lengthened until the fall begins.

    From step ``enlarge_at`` on, a share ``large`` of the steps has crops of up to the model's whole input:
    with small crops alone the decoder never meets the many distant tokens of a whole plane, and marks other
    objects too. From step ``freeze_norms_at`` on the encoder's batch norms keep their statistics; a batch of
    few crops has none to learn from.

    ``proposals`` weighs the loss of the proposal head, which sees every pixel and so teaches the encoder much
    at each step. It is cheap, and the mask decoder is not: it decodes the prompts of only the share
    ``decoded`` of the crops. ``half`` takes the products in half precision. With ``freeze_stages`` the
    convolutions above the feature pyramid stay as they are, which halves the time of a step. ``learns`` says
    what does: all of the model, the close-ups alone, or of these what scores their masks, so that no mask
    changes. Each process of a run takes ``crops`` crops.
    """

    steps: int = 8000
    crops: int = 12
    objects: int = 6
    decoded: float = 0.34
    side: int = 192
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    warmup: int = 200
    cooldown: float = 0.35
    enlarge_at: int = 2000
    freeze_norms_at: int = 2000
    large: float = 0.8
    correction: float = 0.15
    rounds: int = 3
    average: float = 0.998
    proposals: float = 1.0
    half: bool = True
    freeze_stages: bool = False
    learns: str = "all"
    clip: float = 1.0
    seed: int = 0
    checkpoint_every: int = 250
    validate_every: int = 500
    validation_images: int = 20
    synthetic_images: int = 160

    def __post_init__(self) -> None:
        if self.learns not in LEARNERS:
            raise ValueError(f"Of nano can learn {', '.join(LEARNERS)}, not {self.learns!r}; choose one.")
        for name, least in (("steps", 1), ("crops", 1), ("objects", 1), ("rounds", 1), ("warmup", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; give a whole number from {least} on.")

    def rate(self, step: int) -> float:
        """Learning rate of ``step``."""
        fall = max(1.0, self.cooldown * self.steps)
        return self.learning_rate * max(
            0.0, min(1.0, (step + 1) / max(1, self.warmup), (self.steps - step) / fall)
        )

    def crops_seed(self, step: int, rank: int) -> np.random.SeedSequence:
        """Seed of the crops that the process ``rank`` sees in ``step``."""
        return self._seed(step, _CROPS, rank)

    def clicks_seed(self, step: int, rank: int) -> int:
        """Seed of the corrective clicks that the process ``rank`` makes in ``step``."""
        return int(self._seed(step, _CLICKS, rank).generate_state(1)[0])

    def rounds_of(self, step: int) -> int:
        """How often the prompts of ``step`` are decoded, in all processes: once, and maybe again."""
        extra = np.random.default_rng(self._seed(step, _ROUNDS)).random(max(0, self.rounds - 1))
        return 1 + int((extra < self.correction).cumprod().sum())

    def layout_of(self, step: int, largest: int) -> Layout:
        """Choose the layout of ``step``, with about as many tokens times prompts as any other step has."""
        rng = np.random.default_rng(self._seed(step, _LAYOUT))
        if step < self.enlarge_at or rng.random() >= self.large:
            return Layout(self.crops, self.objects, self.side)
        side = min(largest, 32 * round(self.side * float(rng.choice(_ENLARGED)) / 32))
        shrunk = (self.side / side) ** 2
        crops = max(1, round(self.crops * shrunk))
        return Layout(crops, max(1, round(self.crops * self.objects * shrunk / crops)), side)

    def _seed(self, step: int, stream: int, rank: int = 0) -> np.random.SeedSequence:
        return np.random.SeedSequence([self.seed, step, stream, rank])


@dataclass(frozen=True)
class Layout:
    """How many crops of which side, with how many prompted objects each, one step has in each process."""

    crops: int
    objects: int
    side: int
