"""The stream of batches that a training takes, one for each step."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from napari_sam.model.sam import SamConfig
from napari_sam.training.chance import Chance
from napari_sam.training.crops import Batch, sample_batch
from napari_sam.training.images import TrainingImages
from napari_sam.training.recipe import Recipe

_PREFETCHED = 3


@dataclass(frozen=True, eq=False)
class Batches:
    """The batch of every step, as the process ``rank`` sees it.

    It depends on the recipe's seed, the step and the process alone, on the same kind of device.
    """

    recipe: Recipe
    images: TrainingImages
    config: SamConfig
    rank: int = 0

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> Batch:
        seed = int(self.recipe.crops_seed(step, self.rank).generate_state(1)[0])
        chance = Chance(torch.Generator(self.images.device).manual_seed(seed))
        layout = self.recipe.layout_of(step, self.config.image_size)
        return sample_batch(chance, self.images, layout, self.config)

    def ahead(self, first: int) -> Iterator[Batch]:
        """Give the batches from step ``first`` on, made while the steps before them train.

        On a processor a thread makes them. A graphics card makes each between two steps, in a moment, while
        this process already prepares what comes next.
        """
        steps = range(first, len(self))
        if self.images.device.type != "cpu":
            yield from map(self.__getitem__, steps)
            return
        with ThreadPoolExecutor(1) as pool:
            made = deque(pool.submit(self.__getitem__, step) for step in steps[:_PREFETCHED])
            for step in steps:
                batch = made.popleft().result()
                if step + _PREFETCHED in steps:
                    made.append(pool.submit(self.__getitem__, step + _PREFETCHED))
                yield batch
