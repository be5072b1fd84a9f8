"""Batches made ahead of the steps that take them; each depends on seed, step and process alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from torch.utils.data import DataLoader, Dataset

from napari_sam.model.sam import SamConfig
from napari_sam.training.crops import Batch, sample_batch
from napari_sam.training.data import AnnotatedImage
from napari_sam.training.recipe import Recipe

_PREFETCHED = 3

WeightedSets = Sequence[tuple[float, Sequence[AnnotatedImage]]]


@dataclass(frozen=True, eq=False)
class Batches(Dataset[Batch]):
    """The batch of every step, as the process ``rank`` sees it."""

    recipe: Recipe
    sets: WeightedSets
    config: SamConfig
    rank: int = 0

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> Batch:
        size, patch = self.config.image_size, self.config.encoder.patch
        layout = self.recipe.layout_of(step, size)
        rng = np.random.default_rng(self.recipe.crops_seed(step, self.rank))
        return sample_batch(rng, self.sets, layout.crops, layout.objects, layout.side, size, patch)

    def ahead(self, first: int, workers: int = 0) -> Iterator[Batch]:
        """Give the batches from step ``first`` on, made by a thread or by ``workers`` processes.

        A thread is enough beside a processor that trains; a graphics card asks for batches faster than one
        core makes them.
        """
        if workers:
            steps = range(first, len(self))
            yield from DataLoader(
                self,
                batch_size=None,
                sampler=steps,
                num_workers=workers,
                prefetch_factor=_PREFETCHED,
                multiprocessing_context="spawn",
            )
            return
        with ThreadPoolExecutor(1) as pool:
            made = [pool.submit(self.__getitem__, step) for step in self._range(first, first + _PREFETCHED)]
            for step in range(first, len(self)):
                batch = made.pop(0).result()
                made += [
                    pool.submit(self.__getitem__, later)
                    for later in self._range(step + _PREFETCHED, step + _PREFETCHED + 1)
                ]
                yield batch

    def _range(self, first: int, end: int) -> range:
        return range(first, min(end, len(self)))
