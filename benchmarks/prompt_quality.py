"""How prompts fare beyond the plain click and box: more clicks, other looks of an image, the background."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from skimage.transform import resize

from napari_sam import Predictor, Prompt
from napari_sam.inference.prompts_of_masks import innermost_point, tight_box
from napari_sam.inference.tiles import PlaneEmbeddings, predict_plane
from napari_sam.matching import iou
from napari_sam.training.data import AnnotatedImage

TARGET, MOST_CLICKS = 0.85, 10
_CLICKS_ON_BACKGROUND = 5


@dataclass(frozen=True)
class Variation:
    """Another look of the images, or other prompts; the masks should stay as good."""

    name: str
    image: Callable[[AnnotatedImage], AnnotatedImage] = lambda item: item
    point: Callable[[NDArray[np.bool_]], tuple[float, float]] = innermost_point
    box: Callable[[NDArray[np.bool_]], tuple[float, float, float, float]] = tight_box


def clicks_needed(predictor: Predictor, embeddings: PlaneEmbeddings, truth: NDArray[np.bool_]) -> int:
    """Count the clicks until the IoU is `TARGET`, at most `MOST_CLICKS`.

    The first is at the innermost point; each further one at the innermost point of the largest error, as
    Sofiiuk et al., "Reviving Iterative Training with Mask Guidance" (2021), measure it.
    """
    points, labels = [innermost_point(truth)], [1]
    while True:
        found = predict_plane(predictor, _shape(truth), Prompt(points, labels), embeddings)
        mask = found.mask(found.best)
        if len(points) == MOST_CLICKS or iou(mask, truth) >= TARGET:
            return len(points)
        missed, surplus = truth & ~mask, mask & ~truth
        depths = [distance_transform_edt(np.pad(x, 1)).max() if x.any() else 0.0 for x in (missed, surplus)]
        label = int(depths[0] >= depths[1])
        points.append(innermost_point(missed if label else surplus))
        labels.append(label)


def ious(
    predictor: Predictor, images: Iterable[AnnotatedImage], most: int, variation: Variation
) -> NDArray[np.float64]:
    """Give (N, 2) the IoU of one click and of one box on at most ``most`` objects of each image."""
    found = []
    for original in images:
        item = variation.image(original)
        embeddings = PlaneEmbeddings(predictor, item.image)
        for truth in objects_of(item, most):
            row = []
            for prompt in (Prompt([variation.point(truth)]), Prompt(box=variation.box(truth))):
                prediction = predict_plane(predictor, _shape(truth), prompt, embeddings)
                row.append(iou(prediction.mask(prediction.best), truth))
            found.append(row)
    return np.array(found)


def background_scores(predictor: Predictor, images: Iterable[AnnotatedImage]) -> NDArray[np.float64]:
    """Give the scores that clicks far from all objects get."""
    scores = []
    for item in images:
        depth = distance_transform_edt(item.labels == 0)
        far = np.argwhere(depth > 0.5 * depth.max())
        embeddings = PlaneEmbeddings(predictor, item.image)
        for row, column in far[:: -(-len(far) // _CLICKS_ON_BACKGROUND)]:
            prompt = Prompt([(int(row), int(column))])
            scores.append(predict_plane(predictor, _shape(item.labels), prompt, embeddings).scores.max())
    return np.array(scores)


def objects_of(item: AnnotatedImage, most: int) -> Iterator[NDArray[np.bool_]]:
    """Give the masks of at most ``most`` objects, evenly picked."""
    numbers = np.unique(item.labels[item.labels > 0])
    for number in numbers[:: max(1, -(-len(numbers) // most))]:
        yield item.labels == number


def variations() -> tuple[Variation, ...]:
    """Give all of them, the plain one first; what is random in them is the same at every call."""
    rng = np.random.default_rng(0)

    def off_centre(mask: NDArray[np.bool_]) -> tuple[float, float]:
        depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        inside = np.argwhere(depth >= 0.5 * depth.max())
        row, column = inside[rng.integers(len(inside))]
        return int(row), int(column)

    def jittered(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
        box = np.array(tight_box(mask))
        spans = np.tile(box[2:] - box[:2], 2)
        return tuple((box + rng.uniform(-0.1, 0.1, 4) * spans).tolist())  # type: ignore[return-value]

    def looks(change: Callable[[NDArray[np.uint8]], NDArray[np.generic]]) -> Callable[..., AnnotatedImage]:
        return lambda item: replace(item, image=change(item.image))

    def noisy(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        grain = rng.normal(0, 0.05 * 255, image.shape[:2])
        grain = grain if image.ndim == 2 else grain[..., None]
        return np.clip(image + grain, 0, 255).astype(np.uint8)

    def as_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)

    return (
        Variation("as they are"),
        Variation("clicks off the centre", point=off_centre),
        Variation("boxes off by a tenth", box=jittered),
        Variation("half as large", _scaled(0.5)),
        Variation("twice as large", _scaled(2.0)),
        Variation("inverted", looks(lambda image: 255 - image)),
        Variation("noise of 5 %", looks(noisy)),
        Variation("16 bit", looks(lambda image: 100 + 37 * image.astype(np.uint16))),
        Variation("three equal channels", looks(as_rgb)),
    )


def _scaled(factor: float) -> Callable[[AnnotatedImage], AnnotatedImage]:
    """Scale image and labels; objects that vanish are left out."""

    def scaled(item: AnnotatedImage) -> AnnotatedImage:
        shape = tuple(max(1, round(n * factor)) for n in item.labels.shape)
        image = resize(item.image, (*shape, *item.image.shape[2:]), order=1, preserve_range=True)
        labels = resize(item.labels, shape, order=0, preserve_range=True, anti_aliasing=False)
        return replace(item, image=np.rint(image).astype(np.uint8), labels=labels.astype(np.int32))

    return scaled


def _shape(mask: NDArray[np.generic]) -> tuple[int, int]:
    return mask.shape[0], mask.shape[1]
