"""Batches that are made where the model is trained: the device cuts, turns, changes and prompts crops.

A graphics card asks for more crops than several cores make. What is drawn at random is as in
`napari_sam.training.crops`, and beside it crops are turned by any angle and stretched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_sam.model.sam import SamConfig
from napari_sam.training import crops as on_host
from napari_sam.training.crops import Batch
from napari_sam.training.device_images import DeviceImages, Placement
from napari_sam.training.device_looks import change_looks_of
from napari_sam.training.distances import depths, proposal_targets
from napari_sam.training.recipe import Layout, Recipe

# The share of crops that are turned by any angle, not by right ones alone; that are stretched; how much.
_TURNED, _STRETCHED, _STRETCH = 0.3, 0.3, 0.2
# Depths beyond this are not told apart where a point is put well inside of an object.
_DEEP = 32


@dataclass(frozen=True, eq=False)
class DeviceBatches:
    """The batch of every step, as the process ``rank`` sees it; the same on the same kind of device."""

    recipe: Recipe
    images: DeviceImages
    config: SamConfig
    rank: int = 0

    def ahead(self, first: int) -> Iterator[Batch]:
        """Give the batches from step ``first`` on; the device makes them while the host prepares the next."""
        generator = torch.Generator(self.images.device)
        for step in range(first, self.recipe.steps):
            seed = self.recipe.crops_seed(step, self.rank).generate_state(1)[0]
            generator.manual_seed(int(seed))
            layout = self.recipe.layout_of(step, self.config.image_size)
            yield sample_on_device(generator, self.images, layout, self.config)


@torch.no_grad()
def sample_on_device(
    generator: torch.Generator, images: DeviceImages, layout: Layout, config: SamConfig
) -> Batch:
    """Draw the crops of a ``layout`` and its objects in each, on the device of ``images``.

    Of a crop that shows too little of any object, another one stands in its place.
    """
    draw = _Draw(generator, images.device)
    side, objects = layout.side, layout.objects
    placement = _place(draw, images, layout.crops, side, config.image_size)
    labels = images.labels_at(placement).long()
    chosen, good = _choose(draw, images, placement, labels, objects)
    taken = _instead(good)
    labels, chosen = labels[taken], chosen[taken]
    usual = (images.usual_sides[placement.numbers] * placement.scales)[taken]
    pixels = change_looks_of(images.pixels_at(placement)[taken], usual, generator)
    padding = torch.tensor(on_host.PADDING, dtype=torch.uint8, device=images.device)[:, None, None]
    pixels = torch.where(images.inside(placement)[taken][:, None], pixels, padding)
    masks = (labels[:, None] == chosen[:, :, None, None]).flatten(0, 1)
    steps = (config.image_size - side) // config.encoder.patch + 1
    offsets = (draw.uniform(layout.crops, 2) * steps).floor().long() * config.encoder.patch
    shift = offsets.repeat_interleave(objects, 0)
    return Batch(
        pixels,
        offsets,
        masks,
        _points(draw, masks, depths(labels, _DEEP).repeat_interleave(objects, 0)) + shift,
        _boxes(draw, masks) + shift.repeat(1, 2),
        draw.true(on_host.BY_BOX, len(masks)),
        proposal_targets(labels, images.most_labels),
    )


@dataclass(frozen=True, eq=False)
class _Draw:
    """Random numbers on a device."""

    generator: torch.Generator
    device: torch.device

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.device)

    def true(self, share: float, count: int) -> Tensor:
        return self.uniform(count) < share

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)


def _place(draw: _Draw, images: DeviceImages, count: int, side: int, image_size: int) -> Placement:
    """Choose images, scales and windows around an object, turned and stretched."""
    numbers = torch.multinomial(images.chances, count, replacement=True, generator=draw.generator)
    sizes = images.sizes[numbers].flip(1).float()  # width, height
    scales = _scales(draw, images, numbers, image_size)
    half = (side / scales / 2)[:, None]
    among = (draw.uniform(count) * images.object_counts[numbers]).floor().long()
    middles = images.middles[images.first_objects[numbers] + among]
    middles = middles + 2 * half * draw.uniform(count, 2, low=-0.3, high=0.3)
    middles = torch.minimum(torch.maximum(middles, half), torch.maximum(sizes - half, half))
    turns = math.pi / 2 * (4 * draw.uniform(count)).floor()
    turns = turns + draw.true(_TURNED, count) * draw.uniform(count, low=-math.pi / 4, high=math.pi / 4)
    mirrored = torch.where(draw.true(0.5, count), -1.0, 1.0)
    stretch = draw.true(_STRETCHED, count) * draw.uniform(count, low=-_STRETCH, high=_STRETCH)
    along = (torch.arange(side, device=draw.device) + 0.5 - side / 2)[None]
    u = (along * (mirrored * stretch.exp() / scales)[:, None])[:, None, :]
    v = (along * ((-stretch).exp() / scales)[:, None])[:, :, None]
    cos, sin = turns.cos()[:, None, None], turns.sin()[:, None, None]
    x = middles[:, 0, None, None] + cos * u - sin * v
    y = middles[:, 1, None, None] + sin * u + cos * v
    return Placement(numbers, x, y, scales)


def _scales(draw: _Draw, images: DeviceImages, numbers: Tensor, image_size: int) -> Tensor:
    """Choose the model's pixels per pixel of each image."""
    count = len(numbers)
    least, most = (math.log(x) for x in on_host.OBJECT_SIDES)
    wanted = draw.uniform(count, low=least, high=most).exp()
    by_objects = (wanted / images.usual_sides[numbers]).clamp(max=on_host.MOST_ENLARGED)
    fitting = image_size / images.sizes[numbers].amax(1)
    own = (fitting < 1) & draw.true(on_host.UNSCALED, count)
    least, most = (math.log(x) for x in on_host.SCALES)
    by_image = torch.where(own, 1.0, fitting) * draw.uniform(count, low=least, high=most).exp()
    return torch.where(draw.true(on_host.BY_OBJECTS, count), by_objects, by_image)


def _choose(
    draw: _Draw, images: DeviceImages, placement: Placement, labels: Tensor, objects: int
) -> tuple[Tensor, Tensor]:
    """Choose visible objects of each crop, some again if they are few: (B, objects), and (B,) if any is."""
    b = len(labels)
    seen = labels.new_zeros(b, images.most_labels)
    seen.scatter_add_(1, labels.flatten(1), torch.ones_like(labels.flatten(1)))
    whole = images.areas[placement.numbers] * placement.scales[:, None].square()
    visible = (seen >= on_host.MIN_AREA) & (seen >= on_host.MIN_VISIBLE * whole)
    visible[:, 0] = False
    keys = torch.where(visible, draw.uniform(*visible.shape), -1.0)
    found = keys.argsort(1, descending=True)
    count = visible.sum(1)
    turn = torch.arange(objects, device=labels.device) % count[:, None].clamp(min=1)
    return found.gather(1, turn), count > 0


def _instead(good: Tensor) -> Tensor:
    """Give the (B,) number of the crop that is taken for each: itself, or one of the ``good`` ones."""
    own = torch.arange(len(good), device=good.device)
    first_good = (~good).to(torch.uint8).argsort(stable=True)
    return torch.where(good, own, first_good[own % good.sum().clamp(min=1)])


def _points(draw: _Draw, masks: Tensor, depth: Tensor) -> Tensor:
    """Give a point (x, y) on each of (B, h, w) masks: well inside of it or anywhere."""
    inside = draw.true(0.5, len(masks))[:, None, None]
    keys = torch.where(inside, depth, 0.0) + draw.uniform(*masks.shape)
    place = torch.where(masks, keys, -1.0).flatten(1).argmax(1)
    return torch.stack([place % masks.shape[2], place // masks.shape[2]], 1).float()


def _boxes(draw: _Draw, masks: Tensor) -> Tensor:
    """Give the box (x0, y0, x1, y1) of each mask, tight or off by up to a tenth of its sides."""
    low, high = [], []
    for along in (1, 2):  # columns, rows
        taken = masks.any(along).to(torch.uint8)
        low.append(taken.argmax(1) - 0.5)
        high.append(taken.shape[1] - 0.5 - taken.flip(1).argmax(1))
    boxes = torch.stack(low + high, 1)
    count = len(boxes)
    spans = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    deviation = 0.1 * draw.uniform(count, 1) * draw.true(on_host.JITTERED, count)[:, None]
    jitter = (draw.normal(count, 4) * deviation).clamp(-0.25, 0.25) * spans
    return (boxes + jitter).clamp(-0.5, masks.shape[-1] - 0.5)
