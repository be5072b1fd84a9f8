"""Automatic masks: all objects of a plane, without a prompt.

The generator of the SAM paper (Kirillov et al., "Segment Anything", 2023, section 5 and appendix B) prompts
by a regular grid of points; a model that has a head for it says itself where objects are. Either way the
result are `Proposals`, from which thresholds choose without the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from napari_sam.contrast import stretched
from napari_sam.inference.decoding import Decoded, Limits, decode_points
from napari_sam.inference.finding import objects_of, objects_of_tiles
from napari_sam.inference.grid import GridCrop, layer_crops, layer_grids
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.proposals import GRID, LEARNED, Proposals, Selection
from napari_sam.inference.results import Embedding
from napari_sam.inference.tiling import Tile
from napari_sam.progress import Progress, between, ignore_progress

_POINTS_PER_SIDE = 32
# A mask that comes so near to the border of a crop, where the plane goes on, is taken to be cut off. In
# pixels; the official code's number.
_NEAR_BORDER = 20
# The share of the progress of one crop that its encoding is.
_ENCODING = 0.2

# What suits the bundled model, see `suited_selection`.
_LEARNED_SELECTION = Selection(
    pred_iou_thresh=0.62,
    stability_score_thresh=0.3,
    box_nms_thresh=0.5,
    crop_nms_thresh=0.5,
    max_overlap=0.2,
)
_GRID_SELECTION = replace(_LEARNED_SELECTION, pred_iou_thresh=0.55, max_overlap=0.5)


@dataclass(frozen=True)
class Generation:
    """How proposals are made; names and defaults of the official `SamAutomaticMaskGenerator`.

    Attributes
    ----------
    points_per_side
        Points along one side of the grid; None if ``point_grids`` are given.
    points_per_batch
        Points whose low-resolution masks are in memory together. It changes no result.
    crop_n_layers
        Layers of crops that are encoded by themselves beside the whole plane: the n-th has 2 ** n along each
        side.
    crop_overlap_ratio
        The share of the plane's shorter side by which crops of the first layer overlap.
    crop_n_points_downscale_factor
        By so much fewer points per side has each next layer.
    point_grids
        A grid for the plane and one for each layer of crops: (N, 2) positions ``(row, column)`` as fractions
        of the sides (the official ones are ``(x, y)``).
    stability_score_offset
        By how much the threshold of the logits is moved to measure the stability. It belongs here since
        the stability is measured once; its threshold belongs to the `Selection`.
    prompts
        ``"learned"``: by the points that the model's own head finds, as many as there are objects.
        ``"grid"``: by the grid. None: learned where the model has the head, unless ``points_per_side`` or
        ``crop_n_layers`` differs from its default or ``point_grids`` are given.
    score_floor, stability_floor
        Masks below are not kept, so that no time and memory goes into what nobody will want. The thresholds
        of a selection cannot be lower.

    Raises
    ------
    ValueError
        For a value outside its range, or settings that exclude each other.
    """

    points_per_side: int | None = _POINTS_PER_SIDE
    points_per_batch: int = 64
    crop_n_layers: int = 0
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: Sequence[Sequence[tuple[float, float]] | NDArray[np.floating]] | None = None
    stability_score_offset: float = 1.0
    prompts: str | None = None
    score_floor: float = 0.4
    stability_floor: float = 0.1

    def __post_init__(self) -> None:
        if (self.points_per_side is None) == (self.point_grids is None):
            raise ValueError("Give either points_per_side or point_grids, and None for the other.")
        for name, least in (
            ("points_per_side", 1),
            ("points_per_batch", 1),
            ("crop_n_layers", 0),
            ("crop_n_points_downscale_factor", 1),
        ):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Integral) and int(value) >= least):
                raise ValueError(f"{name} is {value}; give a whole number from {least} on.")
        for name in ("crop_overlap_ratio", "score_floor", "stability_floor"):
            value = getattr(self, name)
            if not (isfinite(value) and 0 <= value <= 1):
                raise ValueError(f"{name} is {value}; give a number from 0 to 1.")
        if not (isfinite(self.stability_score_offset) and self.stability_score_offset >= 0):
            raise ValueError(
                f"stability_score_offset is {self.stability_score_offset}; give 0 or a positive number."
            )
        if self.prompts not in (None, LEARNED, GRID):
            raise ValueError(f"prompts is {self.prompts!r}; choose {LEARNED!r} or {GRID!r}, or None.")
        if self.prompts == LEARNED and self.asks_for_grid:
            raise ValueError(
                "Learned prompts use no grid and no crops; leave points_per_side, point_grids and "
                "crop_n_layers at their defaults, or choose prompts='grid'."
            )
        if self.point_grids is not None:
            object.__setattr__(self, "point_grids", self._checked_grids(self.point_grids))

    @property
    def asks_for_grid(self) -> bool:
        """Whether something is set that only the grid knows."""
        return self.points_per_side != _POINTS_PER_SIDE or self.crop_n_layers > 0

    @property
    def limits(self) -> Limits:
        """What a mask must reach to be proposed."""
        return Limits(self.score_floor, self.stability_floor, self.stability_score_offset)

    def grids(self) -> tuple[NDArray[np.float64], ...]:
        """Give the grid of the plane and of each layer of crops, (N, 2) fractions ``(row, column)``."""
        if self.point_grids is not None:
            return tuple(np.asarray(grid, np.float64) for grid in self.point_grids)
        assert self.points_per_side is not None
        return layer_grids(self.points_per_side, self.crop_n_layers, self.crop_n_points_downscale_factor)

    def _checked_grids(
        self, grids: Sequence[Sequence[tuple[float, float]] | NDArray[np.floating]]
    ) -> tuple[tuple[tuple[float, float], ...], ...]:
        """Give the grids as tuples, which compare and hash."""
        if len(grids) != self.crop_n_layers + 1:
            raise ValueError(
                f"There are {len(grids)} point_grids for {self.crop_n_layers} layers of crops; give one for "
                "the plane and one for each layer."
            )
        arrays = [np.asarray(grid, np.float64) for grid in grids]
        for grid in arrays:
            if grid.ndim != 2 or grid.shape[1] != 2 or not len(grid) or not ((grid >= 0) & (grid <= 1)).all():
                raise ValueError(
                    f"A point grid has shape {grid.shape}; give (N, 2) fractions (row, column) from 0 to 1."
                )
        return tuple(tuple((float(row), float(column)) for row, column in grid) for grid in arrays)


@dataclass(frozen=True, eq=False)
class EmbeddedPlane:
    """A plane of which embeddings are at hand, or are made elsewhere when they are asked for.

    Attributes
    ----------
    shape
        (H, W) of the plane.
    embed
        Gives the embedding of a tile, such as what looks into a cache first.
    """

    shape: tuple[int, int]
    embed: Callable[[Tile], Embedding]


# What proposals can be made from.
Source = NDArray[np.generic] | Embedding | EmbeddedPlane


def propose(
    predictor: Predictor,
    plane: Source,
    generation: Generation | None = None,
    progress: Progress = ignore_progress,
) -> Proposals:
    """Propose masks for all objects of a plane.

    Parameters
    ----------
    predictor
        The model.
    plane
        (H, W) or (H, W, 3), any real dtype as in `Predictor.encode`; or its embedding, which saves the
        encoding; or an `EmbeddedPlane`. Crops need the plane itself, since each is encoded.
    generation
        How; the defaults if left out.
    progress
        Told the share that is done; what it raises ends the call.

    Returns
    -------
    proposals
        None at all, with a ``message``, for a plane without pixels or of one value.

    Raises
    ------
    ValueError
        As `Predictor.encode` and `Predictor.predict`; for crops of an embedding; for learned prompts of a
        model that has no head for them.
    """
    generation = Generation() if generation is None else generation
    prompts = prompts_of(predictor, generation)
    if isinstance(plane, Embedding):
        shape = plane.geometry.original
    elif isinstance(plane, EmbeddedPlane):
        shape = plane.shape
    else:
        plane = np.asarray(plane)
        shape = (plane.shape[0], plane.shape[1]) if plane.ndim > 1 else (0, 0)
        if (message := nothing_to_see(plane)) is not None:
            return Proposals(shape, prompts=prompts, message=message)
        plane = stretched(plane)
    find = _from_head if prompts == LEARNED else _from_grid
    return _table(shape, find(predictor, plane, shape, generation, progress), prompts, generation)


def prompts_of(predictor: Predictor, generation: Generation) -> str:
    """Say how a model is prompted: ``"learned"`` or ``"grid"``.

    Raises
    ------
    ValueError
        If learned prompts are asked of a model that has no head for them.
    """
    if generation.prompts == LEARNED and not predictor.finds_objects:
        raise ValueError(
            f"{predictor.identity.architecture} has no head that finds objects; choose prompts='grid', or "
            "the model 'nano'."
        )
    if generation.prompts is not None:
        return generation.prompts
    return LEARNED if predictor.finds_objects and not generation.asks_for_grid else GRID


def suited_selection(predictor: Predictor, generation: Generation | None = None) -> Selection:
    """Give the selection to begin with: the paper's, or of a model whose logits are flatter, its own.

    The paper's thresholds were chosen for ViT-H, those of ``nano`` on its training images.
    """
    prompts = prompts_of(predictor, Generation() if generation is None else generation)
    if not predictor.finds_objects:
        return Selection()
    return _LEARNED_SELECTION if prompts == LEARNED else _GRID_SELECTION


def nothing_to_see(plane: NDArray[np.generic]) -> str | None:
    """Say why a plane can hold no object: it has no pixels, or one value; None if it can."""
    if plane.size == 0:
        return f"The plane of shape {plane.shape} has no pixels, so there is nothing to find."
    channels = plane.reshape(-1, plane.shape[2] if plane.ndim == 3 else 1)
    if all(_is_constant(channels[:, number]) for number in range(channels.shape[1])):
        return "All pixels of the plane have the same value, so there is nothing to find."
    return None


def _is_constant(values: NDArray[np.generic]) -> bool:
    """Whether no two finite values differ."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    return finite.size == 0 or bool(finite.min() == finite.max())


def _from_head(
    predictor: Predictor,
    plane: Source,
    shape: tuple[int, int],
    generation: Generation,
    progress: Progress,
) -> tuple[int, list[Decoded]]:
    """Prompt by the points that the model's head finds: how many tiles were encoded, and their masks."""
    if isinstance(plane, Embedding):
        return 1, list(objects_of(predictor, plane, generation.limits, generation.points_per_batch, progress))
    embed = _tile_encoder(predictor, plane) if isinstance(plane, np.ndarray) else plane.embed
    return objects_of_tiles(predictor, shape, embed, generation.limits, generation.points_per_batch, progress)


def _tile_encoder(predictor: Predictor, plane: NDArray[np.generic]) -> Callable[[Tile], Embedding]:
    """Give what encodes a tile and keeps nothing: each is asked for once, and all together take gigabytes."""
    return lambda tile: predictor.encode(plane[tile.index])


def _from_grid(
    predictor: Predictor,
    plane: Source,
    shape: tuple[int, int],
    generation: Generation,
    progress: Progress,
) -> tuple[int, list[Decoded]]:
    """Prompt the plane and its crops by the points of a grid: how many were encoded, and their masks."""
    crops = layer_crops(shape, generation.crop_n_layers, generation.crop_overlap_ratio)
    grids = generation.grids()
    embed = _crop_encoder(predictor, plane, shape, len(crops) > 1)
    found: list[Decoded] = []
    for number, crop in enumerate(crops):
        start, encoded, stop = ((number + share) / len(crops) for share in (0, _ENCODING, 1))
        embedding = embed(crop, between(progress, start, encoded))
        decoded = decode_points(
            predictor,
            embedding,
            grids[crop.layer] * embedding.geometry.original,
            generation.limits,
            generation.points_per_batch,
            crop.box,
            between(progress, encoded, stop),
        )
        found += [one for one in decoded if not one.is_cut_off(shape, _NEAR_BORDER)]
    return len(crops), found


def _crop_encoder(
    predictor: Predictor, plane: Source, shape: tuple[int, int], cropped: bool
) -> Callable[[GridCrop, Progress], Embedding]:
    """Give what encodes a crop, or knows the embedding of the whole plane."""
    if isinstance(plane, np.ndarray):

        def encode(crop: GridCrop, progress: Progress) -> Embedding:
            row0, column0, row1, column1 = crop.box
            return predictor.encode(plane[row0:row1, column0:column1], progress)

        return encode
    if cropped:
        raise ValueError(
            "Crops are encoded by themselves; give the plane, not its embedding, or no crop layers."
        )
    if isinstance(plane, Embedding):
        return lambda _crop, _progress: plane
    return lambda _crop, _progress: plane.embed(predictor.tiling(shape).whole)


def _table(
    shape: tuple[int, int], found: tuple[int, Sequence[Decoded]], prompts: str, generation: Generation
) -> Proposals:
    """Put side by side what was found in so many parts."""
    count, rows = found
    return Proposals(
        shape,
        tuple(row.mask for row in rows),
        np.array([row.score for row in rows], np.float32),
        np.array([row.stability for row in rows], np.float32),
        np.array([row.mask.area for row in rows], np.int64),
        np.array([row.mask.box for row in rows], np.int64).reshape(-1, 4),
        np.array([row.point for row in rows], np.float64).reshape(-1, 2),
        np.array([row.crop for row in rows], np.int64).reshape(-1, 4),
        prompts,
        generation.score_floor,
        generation.stability_floor,
        count,
    )
