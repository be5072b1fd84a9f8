"""Objects that the model's own head finds: one point and one mask for each, tile by tile on large planes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from napari_sam.inference.decoding import Decoded, Limits, decode_objects
from napari_sam.inference.learned_prompts import learned_points
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.results import Embedding
from napari_sam.inference.tiling import Tile, Tiling
from napari_sam.progress import Progress, between, ignore_progress
from napari_sam.runs import PixelBox

# The share of the progress before objects are looked for enlarged.
_UNENLARGED = 0.5


def objects_of(
    predictor: Predictor,
    embedding: Embedding,
    limits: Limits,
    at_once: int,
    progress: Progress = ignore_progress,
) -> Iterator[Decoded]:
    """Find the objects of a plane of which there is only an embedding: of each point its best mask."""
    points, radii = learned_points(predictor.object_maps(embedding), embedding.geometry)
    crop = (0, 0, *embedding.geometry.original)
    return decode_objects(predictor, embedding, points, radii, limits, at_once, crop, progress)


def objects_of_tiles(
    predictor: Predictor,
    shape: tuple[int, int],
    embed: Callable[[Tile], Embedding],
    limits: Limits,
    at_once: int,
    progress: Progress = ignore_progress,
) -> tuple[int, list[Decoded]]:
    """Find the objects of a plane of any size: how many tiles were looked at, and the masks.

    A large plane is looked at tile by tile at every scale. Each tile is asked for the points that lie most
    central in it; tiles of one scale lie half a tile apart, so an object that is smaller than that half is
    whole in the tile of its middle. What touches a border at which the plane goes on is left to the next
    coarser scale, where masks that are small enough for the finer one are in turn left to that. Where most is
    tiny, it is looked for again enlarged.
    """
    tiling = predictor.tiling(shape)

    def within(tile: Tile, part: Progress) -> list[Decoded]:
        crop = (tile.row, tile.column, tile.row + tile.height, tile.column + tile.width)
        embedding = embed(tile)
        points, radii = learned_points(predictor.object_maps(embedding), embedding.geometry)
        central = np.array(
            [tiling.central(tile.level, point) == tile for point in (points + crop[:2]).tolist()], bool
        )
        objects = decode_objects(
            predictor, embedding, points[central], radii[central], limits, at_once, crop, part
        )
        return [one for one in objects if not _touches(one, crop, shape)]

    tiles = [tile for level in range(tiling.coarsest + 1) for tile in tiling.of_level(level)]
    found: list[Decoded] = []
    for number, tile in enumerate(tiles):
        part = between(progress, _UNENLARGED * number / len(tiles), _UNENLARGED * (number + 1) / len(tiles))
        least = predictor.image_size << (tile.level - 1) >> 1 if tile.level else 0
        found += [one for one in within(tile, part) if _extent(one) > least]
    enlarged = _to_enlarge(found, tiling)
    for number, tile in enumerate(enlarged):
        done, then = (number / len(enlarged), (number + 1) / len(enlarged))
        part = between(progress, *(_UNENLARGED + (1 - _UNENLARGED) * share for share in (done, then)))
        found += [one for one in within(tile, part) if _is_tiny(one, tiling)]
    progress(1.0)
    return len(tiles) + len(enlarged), found


def _to_enlarge(found: list[Decoded], tiling: Tiling) -> list[Tile]:
    """Name the enlarged tiles of a plane of tiny objects: half of what was found, by area, or more is tiny.

    Counted by number, the debris between large cells would be worth an enlarged look, which it is not.
    """
    if tiling.finest == 0:
        return []
    tiny = [one for one in found if _is_tiny(one, tiling)]
    if 2 * sum(one.mask.area for one in tiny) < sum(one.mask.area for one in found):
        return []
    return sorted({tiling.central(-1, one.point) for one in tiny})


def _is_tiny(one: Decoded, tiling: Tiling) -> bool:
    """Whether a mask has less area, before anything is enlarged, than what the model knows well."""
    scale = 1.0 if tiling.coarsest else tiling.side / max(tiling.shape)
    return one.mask.area * scale**2 < tiling.small**2


def _extent(one: Decoded) -> int:
    """Give the longer side of a mask's box."""
    row0, column0, row1, column1 = one.mask.box
    return max(row1 - row0, column1 - column0)


def _touches(one: Decoded, crop: PixelBox, shape: tuple[int, int]) -> bool:
    """Whether a mask has a pixel at a border of its tile at which the plane goes on."""
    return any(
        end == border != edge for end, border, edge in zip(one.mask.box, crop, (0, 0, *shape), strict=True)
    )
