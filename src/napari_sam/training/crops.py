"""What one training step sees: random crops with random looks, objects in them, and prompts for these.

All is made by tensor operations, many crops at once, on the device that holds the images; so a graphics card
does not wait for crops that processors make.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from napari_sam.model.sam import SamConfig
from napari_sam.training.chance import Chance
from napari_sam.training.distances import depths, proposal_targets
from napari_sam.training.images import Placement, TrainingImages
from napari_sam.training.looks import change_looks
from napari_sam.training.recipe import Layout

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
# The share of crops that are turned by any angle, not by right ones alone; that are stretched; how much.
TURNED, STRETCHED, STRETCH = 0.3, 0.3, 0.2
# The share of objects that are prompted by a box, and of these boxes the share that is not tight.
BY_BOX = 0.4
JITTERED = 0.5
# The share of prompts that are clicks on the ground, so many pixels from all objects or more: their masks are
# to be scored with zero.
ON_GROUND, FROM_OBJECTS = 0.1, 3
# What padding looks like before normalisation: close to the mean that becomes zero.
PADDING = (124, 116, 104)
# Depths beyond this are not told apart where a point is put well inside of an object.
_DEEP = 32
# Crops that are tried at least: of two or three, now and then none would show an object.
_LEAST_TRIED = 4
# How often that many are tried anew where none of them shows an object.
_MOST_TRIES = 50


@dataclass(frozen=True, eq=False)
class Batch:
    """Crops and, for ``objects`` of each, the mask with a point on it and a box around it.

    Some of the masks are empty: their points lie on the ground, and their boxes say nothing.

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


@torch.no_grad()
def sample_batch(chance: Chance, images: TrainingImages, layout: Layout, config: SamConfig) -> Batch:
    """Draw the crops of a ``layout`` and its objects in each, on the device of ``images`` and of ``chance``.

    Of a crop that shows too little of any object, another one stands in its place.

    Raises
    ------
    ValueError
        If all crops that are tried show too little.
    """
    side, objects = layout.side, layout.objects
    for _ in range(_MOST_TRIES):
        tried = place(chance, images, max(layout.crops, _LEAST_TRIED), side, config.image_size)
        labels = images.labels_at(tried).long()
        chosen, good = _choose(chance, images, tried, labels, objects)
        if good.any():
            break
    else:
        raise ValueError(
            f"No crop of {side} pixels shows an object of {MIN_AREA} pixels or more; see that the labels of "
            "the training images hold such objects."
        )
    taken = _good_ones(good, layout.crops)
    placement, labels, chosen = tried.some(taken), labels[taken], chosen[taken]
    usual = images.usual_sides[placement.numbers] * placement.scales
    pixels = change_looks(images.pixels_at(placement), usual, chance)
    padding = torch.tensor(PADDING, dtype=torch.uint8, device=images.device)[:, None, None]
    inside = images.inside(placement)
    pixels = torch.where(inside[:, None], pixels, padding)
    depth = depths(torch.where(inside, labels, -1) + 1, _DEEP)  # of the ground too, which is an object here
    ground = (inside & (labels == 0) & (depth >= FROM_OBJECTS - 1)).repeat_interleave(objects, 0)
    on_ground = chance.true(ON_GROUND, len(ground)) & ground.any(1).any(1)
    on_ground = on_ground[:, None, None]
    masks = (labels[:, None] == chosen[:, :, None, None]).flatten(0, 1) & ~on_ground
    steps = (config.image_size - side) // config.encoder.patch + 1
    offsets = (chance.uniform(layout.crops, 2) * steps).floor().long() * config.encoder.patch
    shift = offsets.repeat_interleave(objects, 0)
    return Batch(
        pixels,
        offsets,
        masks,
        _points(chance, masks | (ground & on_ground), depth.repeat_interleave(objects, 0)) + shift,
        _boxes(chance, masks) + shift.repeat(1, 2),
        chance.true(BY_BOX, len(masks)) & ~on_ground[:, 0, 0],
        proposal_targets(labels, images.most_labels),
    )


def place(chance: Chance, images: TrainingImages, count: int, side: int, image_size: int) -> Placement:
    """Choose images, scales and windows around an object, turned and stretched."""
    numbers = torch.multinomial(images.chances, count, replacement=True, generator=chance.generator)
    sizes = images.sizes[numbers].flip(1).float()  # width, height
    scales = _scales(chance, images, numbers, image_size)
    half = (side / scales / 2)[:, None]
    among = (chance.uniform(count) * images.object_counts[numbers]).floor().long()
    middles = images.middles[images.first_objects[numbers] + among]
    middles = middles + 2 * half * chance.uniform(count, 2, low=-0.3, high=0.3)
    middles = torch.minimum(torch.maximum(middles, half), torch.maximum(sizes - half, half))
    turns = math.pi / 2 * (4 * chance.uniform(count)).floor()
    turns = turns + chance.true(TURNED, count) * chance.uniform(count, low=-math.pi / 4, high=math.pi / 4)
    mirrored = torch.where(chance.true(0.5, count), -1.0, 1.0)
    stretch = chance.true(STRETCHED, count) * chance.uniform(count, low=-STRETCH, high=STRETCH)
    along = (torch.arange(side, device=images.device) + 0.5 - side / 2)[None]
    u = (along * (mirrored * stretch.exp() / scales)[:, None])[:, None, :]
    v = (along * ((-stretch).exp() / scales)[:, None])[:, :, None]
    cos, sin = turns.cos()[:, None, None], turns.sin()[:, None, None]
    x = middles[:, 0, None, None] + cos * u - sin * v
    y = middles[:, 1, None, None] + sin * u + cos * v
    return Placement(numbers, x, y, scales)


def _scales(chance: Chance, images: TrainingImages, numbers: Tensor, image_size: int) -> Tensor:
    """Choose the model's pixels per pixel of each image."""
    count = len(numbers)
    least, most = (math.log(x) for x in OBJECT_SIDES)
    wanted = chance.uniform(count, low=least, high=most).exp()
    by_objects = (wanted / images.usual_sides[numbers]).clamp(max=MOST_ENLARGED)
    fitting = image_size / images.sizes[numbers].amax(1)
    own = (fitting < 1) & chance.true(UNSCALED, count)
    least, most = (math.log(x) for x in SCALES)
    by_image = torch.where(own, 1.0, fitting) * chance.uniform(count, low=least, high=most).exp()
    return torch.where(chance.true(BY_OBJECTS, count), by_objects, by_image)


def _choose(
    chance: Chance, images: TrainingImages, placement: Placement, labels: Tensor, objects: int
) -> tuple[Tensor, Tensor]:
    """Choose visible objects of each crop, some again if they are few: (B, objects), and (B,) if any is."""
    b = len(labels)
    seen = labels.new_zeros(b, images.most_labels)
    seen.scatter_add_(1, labels.flatten(1), torch.ones_like(labels.flatten(1)))
    whole = images.areas[placement.numbers] * placement.scales[:, None].square()
    visible = (seen >= MIN_AREA) & (seen >= MIN_VISIBLE * whole)
    visible[:, 0] = False
    keys = torch.where(visible, chance.uniform(*visible.shape), -1.0)
    found = keys.argsort(1, descending=True)
    count = visible.sum(1)
    turn = torch.arange(objects, device=labels.device) % count[:, None].clamp(min=1)
    return found.gather(1, turn), count > 0


def _good_ones(good: Tensor, count: int) -> Tensor:
    """Give the numbers of ``count`` crops: the ``good`` ones, some of them again if they are fewer."""
    first_good = (~good).to(torch.uint8).argsort(stable=True)
    return first_good[torch.arange(count, device=good.device) % good.sum().clamp(min=1)]


def _points(chance: Chance, masks: Tensor, depth: Tensor) -> Tensor:
    """Give a point (x, y) on each of (B, h, w) masks: well inside of it or anywhere."""
    inside = chance.true(0.5, len(masks))[:, None, None]
    keys = torch.where(inside, depth, 0.0) + chance.uniform(*masks.shape)
    place = torch.where(masks, keys, -1.0).flatten(1).argmax(1)
    return torch.stack([place % masks.shape[2], place // masks.shape[2]], 1).float()


def _boxes(chance: Chance, masks: Tensor) -> Tensor:
    """Give the box (x0, y0, x1, y1) of each mask, tight or off by up to a tenth of its sides."""
    low, high = [], []
    for along in (1, 2):  # columns, rows
        taken = masks.any(along).to(torch.uint8)
        low.append(taken.argmax(1) - 0.5)
        high.append(taken.shape[1] - 0.5 - taken.flip(1).argmax(1))
    boxes = torch.stack(low + high, 1)
    count = len(boxes)
    spans = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    deviation = 0.1 * chance.uniform(count, 1) * chance.true(JITTERED, count)[:, None]
    jitter = (chance.normal(count, 4) * deviation).clamp(-0.25, 0.25) * spans
    return (boxes + jitter).clamp(-0.5, masks.shape[-1] - 0.5)
