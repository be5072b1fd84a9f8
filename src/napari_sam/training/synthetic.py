"""Drawn images with exact labels, of kinds, shapes and contrasts that the real training sets lack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from napari_sam.contrast import Contrast
from napari_sam.training.data import SYNTHETIC_KINDS, AnnotatedImage
from napari_sam.training.synthetic_looks import (
    Picture,
    axons,
    fluorescence,
    membranes,
    neurites,
    phase_contrast,
    section,
    stained,
)
from napari_sam.training.synthetic_shapes import Labels, bodies, fibres, rods, tissue

# So many images, each a third of a second, are drawn by as many processes as there are cores.
_MANY = 64


@dataclass(frozen=True)
class Kind:
    """What one kind of image shows: each of its shapes may have each of its looks."""

    shapes: tuple[Callable[[np.random.Generator], Labels], ...]
    looks: tuple[Callable[[np.random.Generator, Labels], Picture], ...]


KINDS = {
    "cells": Kind((bodies,), (fluorescence, phase_contrast, stained)),
    "sections": Kind((bodies,), (section,)),
    "bacteria": Kind((rods,), (fluorescence, phase_contrast)),
    "filaments": Kind((fibres,), (fluorescence, phase_contrast)),
    "membranes": Kind((tissue,), (membranes,)),
    "myelin": Kind((bodies,), (axons,)),
    "neurites": Kind((tissue,), (neurites,)),
}


def draw_set(count: int, seed: int) -> list[AnnotatedImage]:
    """Draw ``count`` images, the same for the same ``seed``, of the kinds that `SYNTHETIC_KINDS` weighs."""
    seeds = [[seed, number] for number in range(count)]
    if count < _MANY:
        return [_draw_seeded(each) for each in seeds]
    # Begun anew, since a process that has threads and a graphics card cannot be copied.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return list(pool.map(_draw_seeded, seeds, chunksize=4))


def _draw_seeded(seed: Sequence[int]) -> AnnotatedImage:
    return draw(np.random.default_rng(seed))


def draw(rng: np.random.Generator, kind: str | None = None) -> AnnotatedImage:
    """Draw an image of ``kind``, one of `KINDS`, or of one that is chosen by its weight.

    Its name is that of the kind; it is grey, or where it is of a stained tissue, in colours.
    """
    if kind is None:
        weights = np.array(list(SYNTHETIC_KINDS.values()))
        kind = str(rng.choice(list(SYNTHETIC_KINDS), p=weights / weights.sum()))
    chosen = KINDS[kind]
    labels = chosen.shapes[int(rng.integers(len(chosen.shapes)))](rng)
    picture = chosen.looks[int(rng.integers(len(chosen.looks)))](rng, labels)
    if picture.ndim == 3:
        return AnnotatedImage(kind, np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8), labels)
    return AnnotatedImage(kind, Contrast.of(picture).apply(picture), labels)
