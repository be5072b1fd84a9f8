"""What a training step sees: crops of annotated images, and prompts that lie on their objects."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_sam.inference.prompts_of_masks import tight_box
from napari_sam.model.sam import CONFIGS
from napari_sam.training import crops
from napari_sam.training.chance import Chance
from napari_sam.training.crops import (
    BY_BOX,
    JITTERED,
    MIN_AREA,
    ON_GROUND,
    PADDING,
    Batch,
    place,
    sample_batch,
)
from napari_sam.training.data import AnnotatedImage
from napari_sam.training.images import Placement, TrainingImages
from napari_sam.training.recipe import Layout

CONFIG = CONFIGS["nano"]
IMAGE_SIZE, PATCH = CONFIG.image_size, CONFIG.encoder.patch
LAYOUT = Layout(crops=6, objects=4, side=64)


def squares(height: int, width: int, colours: bool = False, side: int = 20) -> AnnotatedImage:
    """Bright squares on a dark ground, half their side apart, each a label of its own."""
    period = side * 3 // 2
    rows, columns = np.ogrid[:height, :width]
    inside = (rows % period < side) & (columns % period < side)
    numbers = 1 + rows // period * (width // period + 1) + columns // period
    image = np.where(inside, 200, 40).astype(np.uint8)
    labels = np.where(inside, numbers, 0).astype(np.int32)
    return AnnotatedImage("squares", np.stack([image] * 3, -1) if colours else image, labels)


SETS = [(0.7, [squares(300, 400)]), (0.3, [squares(100, 90, colours=True), squares(600, 40)])]


def chance_of(seed: int, device: str = "cpu") -> Chance:
    return Chance(torch.Generator(device).manual_seed(seed))


def batch_of(seed: int, device: str = "cpu", layout: Layout = LAYOUT) -> Batch:
    images = TrainingImages(SETS, torch.device(device))
    return sample_batch(chance_of(seed, device), images, layout, CONFIG).to(torch.device("cpu"))


def without_offsets(batch: Batch) -> tuple[Tensor, Tensor]:
    """The points and boxes in pixels of their crops."""
    shift = batch.offsets.repeat_interleave(len(batch.masks) // len(batch.images), 0)
    return batch.points - shift, batch.boxes - shift.repeat(1, 2)


def tight_boxes(masks: Tensor) -> Tensor:
    """The (x0, y0, x1, y1) of each mask, by numpy."""
    boxes = np.array([tight_box(mask) for mask in masks.numpy()], np.float32)
    return torch.from_numpy(boxes[:, [1, 0, 3, 2]])


def on_objects(batch: Batch) -> Tensor:
    """Which of the prompts have an object."""
    return batch.masks.any(1).any(1)


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=range(3))
def batch(request: pytest.FixtureRequest, device: str) -> Batch:
    return batch_of(request.param, device)


class TestBatch:
    def test_shapes(self, batch: Batch) -> None:
        crops, objects, side = LAYOUT.crops, LAYOUT.objects, LAYOUT.side
        shapes = {field.name: tuple(getattr(batch, field.name).shape) for field in dataclasses.fields(Batch)}
        assert shapes == {
            "images": (crops, 3, side, side),
            "offsets": (crops, 2),
            "masks": (crops * objects, side, side),
            "points": (crops * objects, 2),
            "boxes": (crops * objects, 4),
            "by_box": (crops * objects,),
            "maps": (crops, 4, side // 4, side // 4),
        }
        assert (batch.images.dtype, batch.masks.dtype) == (torch.uint8, torch.bool)

    def test_crops_lie_on_the_grid_inside_the_input(self, batch: Batch) -> None:
        assert (batch.offsets % PATCH == 0).all()
        assert batch.offsets.min() >= 0 and batch.offsets.max() <= IMAGE_SIZE - LAYOUT.side

    def test_every_mask_has_an_object_or_nothing(self, batch: Batch) -> None:
        areas = batch.masks.sum((1, 2))
        assert ((areas >= MIN_AREA) | (areas == 0)).all()
        assert (areas > 0).any()

    def test_objects_of_a_crop_do_not_overlap(self, batch: Batch) -> None:
        """They are different ones, or where the crop shows few of them, the very same."""
        for masks in batch.masks.split(LAYOUT.objects):
            different = torch.unique(masks.flatten(1), dim=0)
            assert different.sum(0).max() <= 1

    def test_points_lie_on_their_objects(self, batch: Batch) -> None:
        points, _ = without_offsets(batch)
        x, y = points.long().T
        assert batch.masks[torch.arange(len(points)), y, x].equal(on_objects(batch))

    def test_points_without_an_object_lie_beside_all(self, batch: Batch) -> None:
        points, _ = without_offsets(batch)
        foreground = batch.maps[:, 0].repeat_interleave(LAYOUT.objects, 0)
        x, y = points.long().T // 4
        found = foreground[torch.arange(len(points)), y, x]
        assert not found[~on_objects(batch)].any()
        assert not (batch.by_box & ~on_objects(batch)).any()

    def test_boxes_lie_around_their_objects(self, batch: Batch) -> None:
        """Within the jitter: a quarter of their sides."""
        boxes = without_offsets(batch)[1][on_objects(batch)]
        tight = tight_boxes(batch.masks[on_objects(batch)])
        spans = (tight[:, 2:] - tight[:, :2]).repeat(1, 2)
        assert ((boxes - tight).abs() <= 0.25 * spans + 1e-3).all()
        assert boxes.min() >= -0.5 and boxes.max() <= LAYOUT.side - 0.5

    def test_what_the_proposal_head_is_to_see_holds_all_prompted_objects(self, batch: Batch) -> None:
        masks = batch.masks.unflatten(0, (LAYOUT.crops, LAYOUT.objects)).any(1)[:, 2::4, 2::4]
        assert (batch.maps[:, 0] >= masks.float()).all()

    def test_is_the_same_for_the_same_seed(self, device: str) -> None:
        one, again, other = batch_of(5, device), batch_of(5, device), batch_of(6, device)
        for name, value in vars(one).items():
            assert torch.equal(value, getattr(again, name)), name
        assert not torch.equal(one.images, other.images)


def test_as_many_objects_are_prompted_in_each_way_as_is_said() -> None:
    batch = batch_of(0, layout=Layout(crops=60, objects=4, side=64))
    there = on_objects(batch)
    assert there.float().mean() == pytest.approx(1 - ON_GROUND, abs=0.05)
    assert batch.by_box[there].float().mean() == pytest.approx(BY_BOX, abs=0.1)
    boxes = without_offsets(batch)[1][there]
    tight = torch.isclose(boxes, tight_boxes(batch.masks[there]), atol=1e-3).all(1)
    assert tight.float().mean() == pytest.approx(1 - JITTERED, abs=0.1)


def test_half_of_the_points_lie_deep_inside() -> None:
    """Of a square, in its middle; the others are anywhere, which is seldom so deep."""
    images = TrainingImages([(1.0, [squares(512, 512, side=40)])], torch.device("cpu"))
    batch = sample_batch(chance_of(0), images, Layout(crops=40, objects=2, side=96), CONFIG)
    there = on_objects(batch)
    tight = tight_boxes(batch.masks[there])
    middles, spans = (tight[:, 2:] + tight[:, :2]) / 2, tight[:, 2:] - tight[:, :2]
    points = without_offsets(batch)[0][there]
    central = ((points - middles).abs() <= 0.15 * spans + 1).all(1)
    assert 0.35 < central.float().mean() < 0.75


class TestPlaces:
    """Where crops lie in their images, before their looks change."""

    SIDE = 96

    @pytest.fixture
    def images(self) -> TrainingImages:
        return TrainingImages([(1.0, [squares(300, 400, side=60)])], torch.device("cpu"))

    def test_image_and_labels_are_turned_stretched_and_scaled_alike(self, images: TrainingImages) -> None:
        """Bright is what has a label, but for the corners, which interpolation rounds."""
        placement = place(chance_of(1), images, 30, self.SIDE, IMAGE_SIZE)
        inside = images.inside(placement)
        bright = images.pixels_at(placement)[:, 0] > 120
        labelled = images.labels_at(placement) > 0
        differing = ((bright != labelled) & inside).sum((1, 2)) / inside.sum((1, 2))
        assert differing.max() < 0.02
        assert not labelled[~inside].any()

    def test_crops_are_turned_by_right_angles_and_by_others(self, images: TrainingImages) -> None:
        placement = place(chance_of(2), images, 200, 8, IMAGE_SIZE)
        across = torch.stack([x[:, 0, -1] - x[:, 0, 0] for x in (placement.x, placement.y)], 1)
        angles = torch.atan2(across[:, 1], across[:, 0]).rad2deg()
        apart = (angles % 90 + 45) % 90 - 45
        right = apart.abs() < 0.01
        assert right.float().mean() == pytest.approx(0.7, abs=0.1)
        quarters = (angles[right] / 90).round().long() % 4
        assert (torch.bincount(quarters) > 20).all()

    def test_a_crop_has_its_size_whatever_it_is_stretched(self, images: TrainingImages) -> None:
        """What it is stretched along one axis it is shrunk along the other."""
        placement = place(chance_of(3), images, 50, 16, IMAGE_SIZE)
        (xu, yu), (xv, yv) = (
            [(x.diff(dim=axis)[:, 0, 0]) for x in (placement.x, placement.y)] for axis in (2, 1)
        )
        area = (xu * yv - yu * xv).abs() * placement.scales.square()
        torch.testing.assert_close(area, torch.ones(50), rtol=1e-2, atol=0)

    @pytest.mark.parametrize(("scale", "seen"), [(2.0, True), (1.0, True), (0.5, False), (0.3, False)])
    def test_stripes_that_are_too_fine_become_grey(self, scale: float, seen: bool) -> None:
        """A smaller crop is made of a smaller image, so that nothing flickers."""
        stripes = np.where(np.arange(256)[:, None] % 2, 255, 0).repeat(256, 1).astype(np.uint8)
        item = AnnotatedImage("stripes", stripes, np.ones((256, 256), np.int32))
        images = TrainingImages([(1.0, [item])], torch.device("cpu"))
        along = (torch.arange(40) + 0.5) / scale
        y, x = torch.meshgrid(along, along, indexing="ij")
        placement = Placement(torch.tensor([0]), x[None], y[None], torch.tensor([scale]))
        levels = images.pixels_at(placement)
        if seen:
            assert levels.std() > 60
        else:
            torch.testing.assert_close(levels, torch.full_like(levels, 127.5), rtol=0, atol=1)


def test_beside_the_image_is_padding() -> None:
    """Of an image that is narrower than the crops; no object lies there."""
    images = TrainingImages([(1.0, [squares(600, 40)])], torch.device("cpu"))
    batch = sample_batch(chance_of(4), images, LAYOUT, CONFIG)
    inside = images.inside(place(chance_of(4), images, LAYOUT.crops, LAYOUT.side, IMAGE_SIZE))
    padded = ~inside
    assert padded.any() and inside.any()
    colours = batch.images.permute(0, 2, 3, 1)
    assert (colours[padded] == torch.tensor(PADDING, dtype=torch.uint8)).all()
    assert not batch.masks[padded.repeat_interleave(LAYOUT.objects, 0)].any()


@pytest.mark.parametrize("count", [1, 12])
def test_a_crop_that_shows_no_object_is_replaced(count: int) -> None:
    """One of the images has a dot that is too small in most of its crops."""
    dot = np.zeros((2000, 2000), np.int32)
    dot[1000, 1000] = 1
    dots = AnnotatedImage("a dot", np.zeros(dot.shape, np.uint8), dot)
    images = TrainingImages([(0.7, [dots]), (0.3, [squares(300, 300)])], torch.device("cpu"))
    for seed in range(3):
        batch = sample_batch(chance_of(seed), images, Layout(count, 3, 48), CONFIG)
        assert len(batch.images) == count
        areas = batch.masks.sum((1, 2))
        assert ((areas >= MIN_AREA) | (areas == 0)).all()
        assert (batch.maps[:, 0] > 0).flatten(1).any(1).all(), "an object in each crop"


def test_where_no_crop_shows_an_object_it_is_tried_again() -> None:
    """A dot that is seen in the crops of a tenth alone: of four crops often in none."""
    dot = np.zeros((2000, 2000), np.int32)
    dot[1000:1003, 1000:1003] = 1
    dots = AnnotatedImage("a dot", np.zeros(dot.shape, np.uint8), dot)
    images = TrainingImages([(1.0, [dots])], torch.device("cpu"))
    for seed in range(5):
        batch = sample_batch(chance_of(seed), images, Layout(1, 3, 48), CONFIG)
        assert (batch.maps[:, 0] > 0).any(), "the dot is in the crop"
        assert batch.masks.sum((1, 2)).max() < 48 * 48 / 2, "and not what is beside it"


def test_objects_that_no_crop_shows_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "MIN_AREA", 48 * 48 + 1)
    images = TrainingImages([(1.0, [squares(300, 300)])], torch.device("cpu"))
    with pytest.raises(ValueError, match="No crop of 48 pixels shows an object of 2305 pixels"):
        sample_batch(chance_of(0), images, Layout(1, 3, 48), CONFIG)


class TestImages:
    def test_those_without_an_object_are_left_out(self) -> None:
        empty = AnnotatedImage("empty", np.zeros((50, 60), np.uint8), np.zeros((50, 60), np.int32))
        images = TrainingImages([(1.0, [empty, squares(90, 90)])], torch.device("cpu"))
        assert images.sizes.tolist() == [[90, 90]]
        with pytest.raises(ValueError, match="None of the training images has an object"):
            TrainingImages([(1.0, [empty])], torch.device("cpu"))

    def test_a_set_is_drawn_as_often_as_it_weighs(self) -> None:
        images = TrainingImages(SETS, torch.device("cpu"))
        assert images.chances.tolist() == pytest.approx([0.7, 0.15, 0.15])
        numbers = place(chance_of(0), images, 2000, 4, IMAGE_SIZE).numbers
        assert (numbers == 0).float().mean() == pytest.approx(0.7, abs=0.03)

    @pytest.mark.parametrize("factor", [1, 7])
    def test_objects_are_counted_whatever_their_numbers(self, factor: int) -> None:
        item = squares(90, 60)
        item = dataclasses.replace(item, labels=factor * item.labels)
        images = TrainingImages([(1.0, [item])], torch.device("cpu"))
        assert images.object_counts.tolist() == [6] and images.most_labels == 7
        assert images.areas[0, 1:].tolist() == [400] * 6
        assert images.middles[:2].tolist() == [[10, 10], [40, 10]]
        assert images.usual_sides.item() == 20
