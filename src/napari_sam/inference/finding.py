"""Objects that the model's own head finds: one point and one mask for each, tile by tile on large planes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

from napari_sam.inference.decoding import Decoded, Limits, between, decode_points
from napari_sam.inference.learned_prompts import learned_points
from napari_sam.inference.predictor import Embedding, Predictor
from napari_sam.inference.tiles import Tile, coarsest_level, level_tiles
from napari_sam.model.layers import Progress, ignore_progress
from napari_sam.runs import PixelBox


def objects_of(
    predictor: Predictor,
    embedding: Embedding,
    limits: Limits,
    at_once: int,
    progress: Progress = ignore_progress,
    crop: PixelBox | None = None,
) -> Iterator[Decoded]:
    """Find the objects of what was encoded, which lies at ``crop`` of the plane if it is not all of it.

    Of the masks of one point, the one with the highest score is given: the point means one object.
    """
    points = learned_points(predictor.object_maps(embedding), embedding.geometry)
    crop = (0, 0, *embedding.geometry.original) if crop is None else crop
    decoded = decode_points(predictor, embedding, points, limits, at_once, crop, progress)
    for _, candidates in groupby(decoded, key=lambda one: one.point):
        yield max(candidates, key=lambda one: one.score)


def objects_of_tiles(
    predictor: Predictor,
    shape: tuple[int, int],
    embed: Callable[[Tile], Embedding],
    limits: Limits,
    at_once: int,
    progress: Progress = ignore_progress,
) -> tuple[int, list[Decoded]]:
    """Find the objects of a plane of any size: how many tiles it has, and their masks.

    A large plane is looked at tile by tile at every scale. A mask that touches a border of its tile at which
    the plane goes on is left to another tile, which has it whole: tiles of one scale lie half a tile apart,
    and what is larger than that half is looked for at the next coarser scale, where smaller masks are in turn
    left to the finer one. The duplicates that neighbouring tiles give are left to the selection.
    """
    coarsest = coarsest_level(shape, predictor.image_size)
    tiles = [
        tile for level in range(coarsest + 1) for tile in level_tiles(shape, predictor.image_size, level)
    ]
    found: list[Decoded] = []
    for number, tile in enumerate(tiles):
        part = between(progress, number / len(tiles), (number + 1) / len(tiles))
        crop = (tile.row, tile.column, tile.row + tile.height, tile.column + tile.width)
        least = predictor.image_size << (tile.level - 1) >> 1 if tile.level else 0
        found += [
            one
            for one in objects_of(predictor, embed(tile), limits, at_once, part, crop)
            if _extent(one) > least and not _touches(one, crop, shape)
        ]
    return len(tiles), found


def _extent(one: Decoded) -> int:
    """Give the longer side of a mask's box."""
    row0, column0, row1, column1 = one.mask.box
    return max(row1 - row0, column1 - column0)


def _touches(one: Decoded, crop: PixelBox, shape: tuple[int, int]) -> bool:
    """Whether a mask has a pixel at a border of its tile at which the plane goes on."""
    return any(
        end == border != edge for end, border, edge in zip(one.mask.box, crop, (0, 0, *shape), strict=True)
    )
