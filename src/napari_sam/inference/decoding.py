"""Many points of one embedding become compact masks, without a batch of full-size logits in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import inf

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_sam.inference.close_ups import window_of
from napari_sam.inference.cores import Cores
from napari_sam.inference.masks import upscale_window
from napari_sam.inference.point_decoder import PointDecoder
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.results import Embedding
from napari_sam.inference.windows import POINT_WINDOW, Windows, cut_off, window_sides
from napari_sam.model.mask_decoder import PassingMasks
from napari_sam.model.upscaling import UPSCALING
from napari_sam.progress import Progress, ignore_progress
from napari_sam.runs import MaskRuns, PixelBox

# On a CPU so many parts of the points may be decoded side by side, each of so many points together.
_MOST_PARTS, _LEAST_POINTS = 4, 8


@dataclass(frozen=True)
class Limits:
    """What a mask must reach to be kept.

    Attributes
    ----------
    score
        The predicted IoU must be higher; 0 keeps all.
    stability
        The stability must be at least this; 0 keeps all.
    offset
        By how much the threshold of the logits is moved to measure the stability.
    """

    score: float
    stability: float
    offset: float


@dataclass(frozen=True, eq=False)
class Decoded:
    """One mask of a plane.

    Attributes
    ----------
    mask
        Its run lengths.
    score, stability
        Predicted IoU, and the IoU of the masks at a higher and a lower threshold of the logits.
    point
        The ``(row, column)`` that it was prompted by, in pixels of the plane.
    crop
        The part of the plane that was encoded.
    """

    mask: MaskRuns
    score: float
    stability: float
    point: tuple[float, float]
    crop: PixelBox

    def is_cut_off(self, shape: tuple[int, int], tolerance: int) -> bool:
        """Whether it comes near to a border of its crop at which a plane of ``shape`` goes on.

        As in the official code, a box ends at its last pixel and a crop behind it.
        """
        row0, column0, row1, column1 = self.mask.box
        return any(
            abs(end - border) <= tolerance < abs(end - edge)
            for end, border, edge in zip(
                (row0, column0, row1 - 1, column1 - 1), self.crop, (0, 0, *shape), strict=True
            )
        )


def decode_points(
    predictor: Predictor,
    embedding: Embedding,
    points: NDArray[np.floating],
    limits: Limits,
    at_once: int,
    crop: PixelBox,
    progress: Progress = ignore_progress,
) -> Iterator[Decoded]:
    """Decode each of (N, 2) points ``(row, column)`` by itself and give those of its masks that pass.

    The score is known before a mask is upscaled, so those that fail it cost least. The stability is measured
    in the plane's own pixels, as the official code does: on the low-resolution logits it would be another
    number. Empty masks are left out.

    A model that was trained on parts of planes decodes each point in a window of the embedding; points of
    which a mask runs into its border are decoded anew on the whole.

    Parameters
    ----------
    predictor, embedding
        The model, and what it made of the plane or of a crop.
    points
        In pixels of what was encoded.
    limits
        What to keep.
    at_once
        Points whose low-resolution logits are in memory together.
    crop
        Where on the plane that lies.
    progress
        Told the share of points that is done.
    """
    decoder = predictor.point_decoder(embedding)
    grid = decoder.embedding_side
    side = POINT_WINDOW if decoder.learned_from_parts else grid
    on_cpu = embedding.features.device.type == "cpu"
    members = np.arange(len(points))
    done, told = 0, 0.0
    size = min(at_once, max(_LEAST_POINTS, at_once // _MOST_PARTS)) if on_cpu else at_once
    with Cores(min(_MOST_PARTS, len(points) // size) if on_cpu else 1) as cores:
        while len(members):
            again: list[int] = []
            before = done
            decode = partial(_part, decoder, embedding, points, side, limits, crop)
            if side == grid:
                decoder.prepare()
            parts = [members[first : first + size] for first in range(0, len(members), size)]
            for some, (decoded, cut) in zip(parts, cores.map(decode, parts), strict=True):
                yield from decoded
                again += cut
                done += len(some)
                # What is to be done anew is known bit by bit.
                told = max(told, done / (before + len(members) + len(again)))
                progress(told)
            members, side = np.array(again, np.intp), grid
    progress(1.0)


def _part(
    decoder: PointDecoder,
    embedding: Embedding,
    points: NDArray[np.floating],
    side: int,
    limits: Limits,
    crop: PixelBox,
    some: NDArray[np.intp],
) -> tuple[list[Decoded], list[int]]:
    """Decode some of the points in windows of a side: their masks, and those whose masks are cut off."""
    grid = decoder.embedding_side
    windows = Windows.around(_tokens(points[some], embedding), side, grid)
    found = decoder.passing(points[some], _least(limits), windows)
    cut, prompts = _cut_off(found, windows, grid), found.prompts.cpu()
    whole = ~torch.isin(prompts, prompts[cut])  # of a point all masks or none
    again = sorted(set(some[prompts[cut].numpy()].tolist()))
    return list(_decoded(found.of(whole), embedding, points[some], windows, limits, crop)), again


def decode_objects(
    predictor: Predictor,
    embedding: Embedding,
    points: NDArray[np.floating],
    radii: NDArray[np.floating],
    limits: Limits,
    at_once: int,
    crop: PixelBox,
    progress: Progress = ignore_progress,
) -> Iterator[Decoded]:
    """Decode the object at each of (N, 2) points and give of its masks the one with the highest score.

    Each is decoded in a window of the embedding that suits its size; a mask that reaches the window's border
    is decoded anew on the whole embedding. A model that redraws masks from close up does so with these.

    Parameters
    ----------
    radii
        (N,) of the objects as they are expected, in pixels of the model's input.
    predictor, embedding, points, limits, at_once, crop, progress
        As in `decode_points`.
    """
    decoder = predictor.point_decoder(embedding)
    grid = decoder.embedding_side
    sides = window_sides(radii * grid / embedding.geometry.image_size, grid)
    # Where masks are redrawn, their scores are not yet known when they are decoded.
    least = -inf if decoder.looks_closer else _least(limits)
    done = 0
    for side in sorted(set(sides.tolist()) | {grid}):
        members = np.flatnonzero(sides == side)
        for first in range(0, len(members), at_once):
            some = members[first : first + at_once]
            windows = Windows.around(_tokens(points[some], embedding), side, grid)
            found = decoder.best_passing(points[some], least, windows)
            cut = _cut_off(found, windows, grid)
            again = some[found.prompts.cpu()[cut].numpy()]
            sides[again] = grid
            kept = found.of(~cut)
            if decoder.looks_closer:
                yield from _closer(decoder, kept, embedding, points[some], windows, limits, crop)
            else:
                yield from _decoded(kept, embedding, points[some], windows, limits, crop)
            done += len(some) - len(again)
            progress(done / len(points))


def _tokens(points: NDArray[np.floating], embedding: Embedding) -> NDArray[np.float64]:
    """Give (N, 2) points ``(row, column)`` of the plane in tokens of its embedding."""
    geometry = embedding.geometry
    token = geometry.image_size / embedding.features.shape[-1]
    inside: NDArray[np.float64] = geometry.points_to_input(points).numpy()[:, ::-1] / token
    return inside


def _cut_off(found: PassingMasks, windows: Windows | None, grid: int) -> Tensor:
    """Tell of each mask whether it runs out of the window of its prompt."""
    its = None if windows is None else windows.of(found.prompts.cpu().numpy())
    return cut_off(found.logits > 0, its, grid)


def _decoded(
    found: PassingMasks,
    embedding: Embedding,
    points: NDArray[np.floating],
    windows: Windows | None,
    limits: Limits,
    crop: PixelBox,
) -> Iterator[Decoded]:
    """Give the masks that are stable enough, in the plane's pixels."""
    grid = embedding.features.shape[-1]
    for prompt, score, logits in zip(
        found.prompts.tolist(), found.scores.tolist(), found.logits, strict=True
    ):
        place = (0, 0)
        if windows is not None:
            row, column = windows.corners[prompt].tolist()
            place = (UPSCALING * row, UPSCALING * column)
        levels = (limits.offset, 0.0, -limits.offset)
        masks, first = upscale_window(logits[None], embedding.geometry, place, UPSCALING * grid, levels)
        one = _stable(masks[:, 0].cpu().numpy(), first, score, points[prompt], limits, crop)
        if one is not None:
            yield one


def _closer(
    decoder: PointDecoder,
    found: PassingMasks,
    embedding: Embedding,
    points: NDArray[np.floating],
    windows: Windows | None,
    limits: Limits,
    crop: PixelBox,
) -> Iterator[Decoded]:
    """Redraw masks from close up, and give those that pass then, in the plane's pixels."""
    prompts = found.prompts.cpu().numpy()
    if not len(prompts):
        return
    its = None if windows is None else windows.of(prompts)
    close_ups, scores = decoder.closer(points[prompts], found.logits, its)
    for number, (prompt, score) in enumerate(zip(prompts.tolist(), scores.tolist(), strict=True)):
        if score > _least(limits):
            logits, first = window_of(close_ups.one(number), embedding.geometry)
            levels = np.stack([logits.numpy() > level for level in (limits.offset, 0.0, -limits.offset)])
            one = _stable(levels, first, score, points[prompt], limits, crop)
            if one is not None:
                yield one


def _stable(
    levels: NDArray[np.bool_],
    first: tuple[int, int],
    score: float,
    point: NDArray[np.floating],
    limits: Limits,
    crop: PixelBox,
) -> Decoded | None:
    """Give a mask with its stability; None if it is empty or not stable enough.

    The stability is the IoU of the masks at thresholds above and below the usual one: ``levels`` (3, h, w)
    are the mask at the higher, the usual and the lower one, on the pixels of the crop from ``first`` on.
    """
    inner, mask, outer = levels
    union = np.count_nonzero(outer)
    if not union or (stability := np.count_nonzero(inner) / union) < limits.stability:
        return None
    runs = MaskRuns.of(mask, (crop[0] + first[0], crop[1] + first[1]))
    if runs is None:
        return None
    place = (float(point[0]) + crop[0], float(point[1]) + crop[1])
    return Decoded(runs, score, stability, place, crop)


def _least(limits: Limits) -> float:
    """Give what a score must exceed."""
    return limits.score if limits.score > 0 else -inf
