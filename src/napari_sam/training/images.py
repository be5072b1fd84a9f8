"""All training images in the memory of a processor or of a graphics card, where crops of them are cut."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import find_objects
from torch import Tensor

from napari_sam.training.data import AnnotatedImage

# Each image is also kept half and a quarter as large, from which it is made smaller without aliasing.
_LEVELS = 3
# From this scale on an image is sampled from its own pixels, at half of it from the next level's.
_OWN_SCALE = 0.75


@dataclass(frozen=True, eq=False)
class Placement:
    """Where ``B`` square crops of ``side`` pixels lie in their images.

    Attributes
    ----------
    numbers
        (B,) the images.
    x, y
        (B, side, side) position of each pixel's middle, in pixels of the image from its corner.
    scales
        (B,) pixels of the crop per pixel of the image.
    """

    numbers: Tensor
    x: Tensor
    y: Tensor
    scales: Tensor

    def some(self, which: Tensor) -> Placement:
        """Give these of the crops."""
        return Placement(*(each[which] for each in (self.numbers, self.x, self.y, self.scales)))


class TrainingImages:
    """The images of weighted sets, one behind the other in one tensor, with a table of their objects.

    Parameters
    ----------
    sets
        Weights and annotated images. Images without an object are left out.
    device
        Where they are to lie.

    Raises
    ------
    ValueError
        If none of the images has an object.

    Attributes
    ----------
    chances
        (N,) how often each image is to be drawn.
    sizes
        (N, 2) height and width.
    usual_sides
        (N,) side of a usual object, see `AnnotatedImage.usual_side`.
    areas
        (N, L) pixels of each label; the labels are 1, 2, ... below L.
    middles
        (M, 2) middle (x, y) of the box of every object of every image.
    first_objects, object_counts
        (N,) where those of an image begin, and how many they are.
    """

    def __init__(self, sets: Sequence[tuple[float, Sequence[AnnotatedImage]]], device: torch.device) -> None:
        shown = [
            (weight / len(images), item) for weight, images in sets for item in images if item.labels.any()
        ]
        if not shown:
            raise ValueError("None of the training images has an object; check their labels.")
        with ThreadPoolExecutor() as pool:
            numbered = list(pool.map(_numbered, (item.labels for _, item in shown)))
            levels = list(pool.map(_levels, (item.image for _, item in shown)))
        self.device = device
        self.chances = torch.tensor([chance for chance, _ in shown], device=device)
        self.sizes = torch.tensor([labels.shape for labels in numbered], device=device)
        self.usual_sides = torch.tensor([item.usual_side for _, item in shown], device=device)
        self.most_labels = 1 + max(int(labels.max()) for labels in numbered)
        counts = np.stack([np.bincount(x.ravel(), minlength=self.most_labels) for x in numbered])
        self.areas = torch.from_numpy(counts).to(device)
        middles = [_middles(labels) for labels in numbered]
        self.middles = torch.from_numpy(np.concatenate(middles)).to(device)
        self.object_counts = torch.tensor([len(x) for x in middles], device=device)
        self.first_objects = self.object_counts.cumsum(0) - self.object_counts
        flat = [level.reshape(-1, 4) for each in levels for level in each]
        # The four bytes of a pixel as one number: so they are fetched together.
        self._pixels = torch.from_numpy(np.concatenate(flat)).view(torch.int32)[:, 0].to(device)
        extents = np.array([[level.shape[:2] for level in each] for each in levels])  # (N, levels, 2)
        self._extents = torch.from_numpy(extents).to(device)
        self._firsts = _begins(extents.prod(2)).to(device)
        self._labels = torch.from_numpy(np.concatenate([x.ravel() for x in numbered])).to(device)
        self._first_labels = _begins(extents[:, 0].prod(1)).to(device)

    def inside(self, placement: Placement) -> Tensor:
        """Say which pixels of crops lie in their images: (B, side, side)."""
        height, width = self.sizes[placement.numbers, :, None, None].unbind(1)
        x, y = placement.x, placement.y
        return (x >= 0) & (x < width) & (y >= 0) & (y < height)

    def labels_at(self, placement: Placement) -> Tensor:
        """Look up the labels of crops: (B, side, side), 0 beside the image."""
        width = self.sizes[placement.numbers, 1, None, None]
        column, row = placement.x.floor().long(), placement.y.floor().long()
        inside = self.inside(placement)
        first = self._first_labels[placement.numbers][:, None, None]
        places = first + torch.where(inside, row * width + column, 0)
        return torch.where(inside, self._labels[places], 0)

    def pixels_at(self, placement: Placement) -> Tensor:
        """Interpolate the colours of crops: (B, 3, side, side) of 0-255; beside an image its edge goes on."""
        wanted = torch.log2(_OWN_SCALE / placement.scales).ceil().clamp(0, _LEVELS - 1).long()
        extents = self._extents[placement.numbers, wanted]
        first = self._firsts[placement.numbers, wanted][:, None, None]
        height, width = extents[:, 0, None, None], extents[:, 1, None, None]
        sizes = self.sizes[placement.numbers]
        x = placement.x * (width / sizes[:, 1, None, None]) - 0.5
        y = placement.y * (height / sizes[:, 0, None, None]) - 0.5
        column, row = x.floor(), y.floor()
        right, below = (x - column)[..., None], (y - row)[..., None]
        column, row = column.long(), row.long()
        total: Tensor | None = None
        for down, down_share in ((0, 1 - below), (1, below)):
            in_row = first + torch.minimum((row + down).clamp(min=0), height - 1) * width
            for aside, aside_share in ((0, 1 - right), (1, right)):
                places = in_row + torch.minimum((column + aside).clamp(min=0), width - 1)
                colours = self._pixels[places].view(torch.uint8).unflatten(-1, (-1, 4))[..., :3]
                part = colours * (down_share * aside_share)
                total = part if total is None else total + part
        assert total is not None
        return total.permute(0, 3, 1, 2)


def _numbered(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Number the objects 1, 2, ... in the order of their labels."""
    present = np.bincount(labels.ravel()) > 0
    present[0] = False
    numbers: NDArray[np.int32] = (present.cumsum() * present).astype(np.int32)[labels]
    return numbers


def _middles(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Give the middles (x, y) of the objects' boxes, one row for each number."""
    boxes = find_objects(labels)
    return np.array([[(s.start + s.stop) / 2 for s in reversed(box)] for box in boxes], np.float32)


def _levels(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Give the image and its smaller levels as pixels of four bytes."""
    colours = Image.fromarray(image).convert("RGBA")
    halves = [
        (max(1, colours.width >> level), max(1, colours.height >> level)) for level in range(1, _LEVELS)
    ]
    return [np.asarray(colours), *(np.asarray(colours.resize(x, Image.Resampling.BOX)) for x in halves)]


def _begins(counts: NDArray[np.int64]) -> Tensor:
    """Say where each of some pieces of ``counts`` elements begins, if they lie one behind the other."""
    ends = counts.ravel().cumsum()
    return torch.from_numpy((ends - counts.ravel()).reshape(counts.shape))
