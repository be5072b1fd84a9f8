"""Random crops with random looks and the objects in them: what one training step sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt, maximum, maximum_position
from torch import Tensor

from napari_sam.model.proposal_head import OFFSET_UNIT, TAUGHT
from napari_sam.runs import PixelBox, pixel_box
from napari_sam.training.data import AnnotatedImage
from napari_sam.training.looks import change_looks

# Objects smaller than this (in pixels of the model's input), or cut off by more than this share, are not
# asked for.
MIN_AREA = 12
MIN_VISIBLE = 0.4
SCALES = (0.6, 2.2)
# The share of crops that are scaled so that a usual object of the image has a side between these, in pixels
# of the model's input; but not more than so many times enlarged.
BY_OBJECTS, OBJECT_SIDES, MOST_ENLARGED = 0.3, (12.0, 150.0), 6.0
# The share of crops from images larger than the model's input that are taken at the image's own scale, as
# tiles of it are.
UNSCALED = 0.5
# Pixels of the model's input per pixel of the proposal maps.
MAP_STRIDE = 4
# Random positions that are tried to find one on an object.
_ANCHOR_TRIES = 30
# The share of objects that are prompted by a box, and of these boxes the share that is not tight.
BY_BOX = 0.4
JITTERED = 0.5
# Crops that are tried to find one with an object.
_CROP_TRIES = 1000
# What padding looks like before normalisation: close to the mean that becomes zero.
PADDING = (124, 116, 104)


@dataclass(frozen=True, eq=False)
class Crop:
    """A (side, side, 3) piece of an image in the model's pixels and the boolean masks of some objects.

    ``maps`` is what the proposal head is to say of all objects, see `proposal_target`.
    """

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    maps: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Batch:
    """Crops and, for ``objects`` of each, the mask with a point on it and a box around it.

    Positions are ``(x, y)`` in the model's square input, in which every crop has a random ``offset``, so
    that all positions of the square are learned although the crops are small.
    """

    images: Tensor  # (I, 3, side, side) uint8
    offsets: Tensor  # (I, 2) x, y in pixels, multiples of the patch
    masks: Tensor  # (I * objects, side, side) bool
    points: Tensor  # (I * objects, 2)
    boxes: Tensor  # (I * objects, 4)
    by_box: Tensor  # (I * objects,) bool: prompted by the box, else by the point
    maps: Tensor  # (I, 4, side / 4, side / 4) target of the proposal head

    def to(self, device: torch.device) -> Batch:
        """Copy all to ``device``."""
        return Batch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


def sample_batch(
    rng: np.random.Generator,
    sets: Sequence[tuple[float, Sequence[AnnotatedImage]]],
    crops: int,
    objects: int,
    side: int,
    image_size: int,
    patch: int,
) -> Batch:
    """Draw ``crops`` crops of the ``sets``, each with its weight, and ``objects`` objects in each."""
    chosen = [_sample_crop(rng, sets, objects, side, image_size) for _ in range(crops)]
    offsets = rng.integers(0, (image_size - side) // patch + 1, (crops, 2)) * patch
    masks = np.concatenate([crop.masks for crop in chosen])
    shift = np.repeat(offsets, objects, axis=0)
    points = np.stack([_point(rng, mask) for mask in masks]) + shift
    boxes = np.stack([_box(rng, mask, side) for mask in masks]) + np.tile(shift, 2)
    return Batch(
        torch.from_numpy(np.stack([crop.image for crop in chosen])).permute(0, 3, 1, 2),
        torch.from_numpy(offsets),
        torch.from_numpy(masks),
        torch.from_numpy(points).float(),
        torch.from_numpy(boxes).float(),
        torch.from_numpy(rng.random(len(masks)) < BY_BOX),
        torch.from_numpy(np.stack([crop.maps for crop in chosen])),
    )


def innermost_point(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Give the (row, column) of ``mask`` farthest from its border; the plane's edge counts as border."""
    row0, column0, row1, column1 = _box_of(mask)
    depth = distance_transform_edt(np.pad(mask[row0:row1, column0:column1], 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return int(row + row0), int(column + column0)


def tight_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Give ``(row0, column0, row1, column1)`` along the outer edges of the mask's pixels."""
    row0, column0, row1, column1 = _box_of(mask)
    return (row0 - 0.5, column0 - 0.5, row1 - 0.5, column1 - 0.5)


def _box_of(mask: NDArray[np.bool_]) -> PixelBox:
    box = pixel_box(mask)
    assert box is not None, "an object has a pixel"
    return box


def proposal_target(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Make the maps that the proposal head learns from (side, side) labels: (4, side / 4, side / 4).

    Foreground; closeness to the innermost point (1 there, falling to 0 at the border); and on objects the
    offset (x, y) to that point in units of ``OFFSET_UNIT``.
    """
    seen = labels[MAP_STRIDE // 2 :: MAP_STRIDE, MAP_STRIDE // 2 :: MAP_STRIDE]
    maps = np.zeros((TAUGHT, *seen.shape), np.float32)
    numbers = np.unique(seen[seen > 0])
    if not len(numbers):
        return maps
    padded = np.pad(seen, 1)
    inner = np.logical_and.reduce(
        [seen == np.roll(padded, s, a)[1:-1, 1:-1] for s in (-1, 1) for a in (0, 1)]
    )
    depth = distance_transform_edt(np.pad(inner, 1))[1:-1, 1:-1] + 1.0
    rank = np.searchsorted(numbers, seen)
    rank[seen == 0] = 0
    deepest = np.asarray(maximum(depth, seen, numbers))
    middles = np.array(maximum_position(depth, seen, numbers))
    on_object = seen > 0
    maps[0] = on_object
    maps[1] = on_object * depth / deepest[rank]
    for channel, axis in ((2, 1), (3, 0)):
        here = np.arange(seen.shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1))
        maps[channel] = on_object * (middles[rank, axis] - here) * (MAP_STRIDE / OFFSET_UNIT)
    return maps


def _sample_crop(
    rng: np.random.Generator,
    sets: Sequence[tuple[float, Sequence[AnnotatedImage]]],
    objects: int,
    side: int,
    image_size: int,
) -> Crop:
    """Try crops until one holds an object."""
    for _ in range(_CROP_TRIES):
        item = _choose(rng, sets)
        scale = _scale(rng, item, image_size)
        window = _window(rng, item.labels, side, scale)
        image, labels = _cut(item, window, side, scale)
        found = _visible_objects(item.labels, labels, scale)
        if len(found):
            image, labels = _turn(rng, image, labels)
            chosen = np.resize(rng.permutation(found), objects)
            masks = np.stack([labels == number for number in chosen])
            return Crop(change_looks(rng, image), masks, proposal_target(labels))
    raise ValueError(
        f"Of {_CROP_TRIES} crops none holds an object of {MIN_AREA} pixels; check the labels of the sets."
    )


def _scale(rng: np.random.Generator, item: AnnotatedImage, image_size: int) -> float:
    """Choose the model's pixels per pixel of the image."""
    if rng.random() < BY_OBJECTS:
        wanted = float(np.exp(rng.uniform(*np.log(OBJECT_SIDES))))
        return min(MOST_ENLARGED, wanted / item.usual_side)
    fitting = image_size / max(item.labels.shape)
    base = 1.0 if fitting < 1 and rng.random() < UNSCALED else fitting
    return base * float(np.exp(rng.uniform(*np.log(SCALES))))


def _choose(
    rng: np.random.Generator, sets: Sequence[tuple[float, Sequence[AnnotatedImage]]]
) -> AnnotatedImage:
    weights = np.array([weight for weight, _ in sets])
    _, images = sets[int(rng.choice(len(sets), p=weights / weights.sum()))]
    return images[int(rng.integers(len(images)))]


def _window(
    rng: np.random.Generator, labels: NDArray[np.int32], side: int, scale: float
) -> tuple[int, int, int, int]:
    """Choose (row, column, height, width) in the image's pixels, mostly around an object."""
    span = max(1, round(side / scale))
    middle = rng.uniform(0, labels.shape)
    for _ in range(_ANCHOR_TRIES):
        if labels[tuple(middle.astype(int))]:
            middle += rng.uniform(-0.3, 0.3, 2) * span
            break
        middle = rng.uniform(0, labels.shape)
    corner = np.clip(middle - span / 2, 0, np.maximum(0, np.array(labels.shape) - span)).astype(int)
    return (int(corner[0]), int(corner[1]), min(span, labels.shape[0]), min(span, labels.shape[1]))


def _cut(
    item: AnnotatedImage, window: tuple[int, int, int, int], side: int, scale: float
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Cut the window out and scale it; what lies beyond the image is padding, below and on the right."""
    row, column, height, width = window
    inside = np.s_[row : row + height, column : column + width]
    size = (min(side, max(1, round(width * scale))), min(side, max(1, round(height * scale))))
    picture = Image.fromarray(np.ascontiguousarray(item.image[inside]))
    scaled = np.array(picture.resize(size, Image.Resampling.BILINEAR))
    image = np.full((side, side, 3), PADDING, np.uint8)
    image[: size[1], : size[0]] = scaled[..., None] if scaled.ndim == 2 else scaled
    numbers = Image.fromarray(np.ascontiguousarray(item.labels[inside]))
    labels = np.zeros((side, side), np.int32)
    labels[: size[1], : size[0]] = np.array(numbers.resize(size, Image.Resampling.NEAREST))
    return image, labels


def _visible_objects(whole: NDArray[np.int32], labels: NDArray[np.int32], scale: float) -> NDArray[np.intp]:
    """Name the objects of which enough is seen."""
    seen = np.bincount(labels.ravel())
    full = np.bincount(whole.ravel(), minlength=len(seen))[: len(seen)] * scale**2
    enough = (seen >= MIN_AREA) & (seen >= MIN_VISIBLE * full)
    enough[0] = False
    return np.nonzero(enough)[0]


def _turn(
    rng: np.random.Generator, image: NDArray[np.uint8], labels: NDArray[np.int32]
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Flip and rotate by right angles."""
    quarter = int(rng.integers(4))
    image, labels = np.rot90(image, quarter), np.rot90(labels, quarter)
    if rng.random() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return image, labels


def _point(rng: np.random.Generator, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Give a point (x, y) on the object: its innermost one or any."""
    if rng.random() < 0.5:
        row, column = innermost_point(mask)
    else:
        positions = np.argwhere(mask)
        row, column = positions[rng.integers(len(positions))]
    return np.array([column, row], float)


def _box(rng: np.random.Generator, mask: NDArray[np.bool_], side: int) -> NDArray[np.float64]:
    """Give the box (x0, y0, x1, y1), tight or, as SAM was trained, off by up to a tenth of its sides."""
    row0, column0, row1, column1 = tight_box(mask)
    spans = np.array([column1 - column0, row1 - row0] * 2)
    deviation = 0.1 * rng.random() * (rng.random() < JITTERED)
    jitter = np.clip(rng.normal(size=4) * deviation, -0.25, 0.25) * spans
    box: NDArray[np.float64] = np.clip(np.array([column0, row0, column1, row1]) + jitter, -0.5, side - 0.5)
    return box
