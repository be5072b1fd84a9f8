"""Draw what the masks look like, failures included: ``python benchmarks/failures.py DATA``.

For each data set a page with the worst, middling and best of a sample of objects, for one click at the
innermost point and for the tight box. Dashed is the truth, bold the mask with the highest score.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from prompt_quality import objects_of
from quality import BENCHMARKS, images_of

from napari_sam import Predictor, Prompt, load_predictor
from napari_sam.inference.prompts_of_masks import innermost_point, tight_box
from napari_sam.inference.tiles import PlaneEmbeddings, PlanePrediction, predict_plane
from napari_sam.matching import iou
from napari_sam.training.data import AnnotatedImage

_IN_A_ROW = 4
# A picture shows this many times the sides of the object and the mask, and at least so many pixels.
_MARGIN, _LEAST = 1.6, 32
_TRUTH, _MASK = "#37e05a", "#ff2fd0"
_COLOURS = 96


@dataclass(frozen=True, eq=False)
class Example:
    """One prompted object: the piece of the plane that shows it, the prompt, the IoU and the score.

    ``corner`` is the (row, column) of the piece in the plane.
    """

    image: NDArray[np.uint8]
    truth: NDArray[np.bool_]
    mask: NDArray[np.bool_]
    corner: tuple[int, int]
    prompt: Prompt
    iou: float
    score: float

    @classmethod
    def of(
        cls, plane: NDArray[np.uint8], truth: NDArray[np.bool_], predicted: PlanePrediction, prompt: Prompt
    ) -> Example:
        """Cut the object and its mask out of the plane."""
        mask, score = predicted.mask(predicted.best), float(predicted.scores[predicted.best])
        rows, columns = np.nonzero(truth | mask)
        spans = max(_LEAST, _MARGIN * (np.ptp(rows) + 1), _MARGIN * (np.ptp(columns) + 1))
        middle = np.array([rows.min() + rows.max() + 1, columns.min() + columns.max() + 1]) / 2
        low = np.maximum(middle - spans / 2, 0).astype(int)
        high = np.ceil(middle + spans / 2).astype(int)
        shown = np.s_[low[0] : high[0], low[1] : high[1]]
        pieces = (plane[shown].copy(), truth[shown].copy(), mask[shown].copy())
        return cls(*pieces, (int(low[0]), int(low[1])), prompt, iou(mask, truth), score)


def examples(
    predictor: Predictor, images: Iterable[AnnotatedImage], most: int
) -> tuple[list[Example], list[Example]]:
    """Prompt at most ``most`` objects of each image by a click, and by a box."""
    clicks, boxes = [], []
    for item in images:
        embeddings = PlaneEmbeddings(predictor, item.image)
        for truth in objects_of(item, most):
            for prompt, kept in (
                (Prompt([innermost_point(truth)]), clicks),
                (Prompt(box=tight_box(truth)), boxes),
            ):
                predicted = predict_plane(predictor, (truth.shape[0], truth.shape[1]), prompt, embeddings)
                kept.append(Example.of(item.image, truth, predicted, prompt))
    return clicks, boxes


def page(title: str, clicks: Sequence[Example], boxes: Sequence[Example], path: Path) -> None:
    """Draw the page of a set as a PNG of few colours."""
    figure = Figure(figsize=(2 * _IN_A_ROW * 1.25, 4.4), layout="constrained")
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(3, 2 * _IN_A_ROW)
    for first, name, kind in ((0, "click", clicks), (_IN_A_ROW, "box", boxes)):
        ranked = sorted(kind, key=lambda x: x.iou)
        middle = max(0, (len(ranked) - _IN_A_ROW) // 2)
        rows = (
            ("worst", ranked[:_IN_A_ROW]),
            ("middling", ranked[middle : middle + _IN_A_ROW]),
            ("best", ranked[-_IN_A_ROW:]),
        )
        for number, (label, chosen) in enumerate(rows):
            for column in range(_IN_A_ROW):
                axes = grid[number, first + column]
                axes.set(xticks=[], yticks=[])
                if column < len(chosen):
                    _draw(axes, chosen[column])
            grid[number, first].set_ylabel(f"{name}, {label}", fontsize=8)
    figure.savefig(path, dpi=100)
    Image.open(path).convert("RGB").quantize(_COLOURS).save(path, optimize=True)


def _draw(axes: Axes, example: Example) -> None:
    """Draw one object with its outlines and its prompt."""
    row0, column0 = example.corner
    axes.imshow(example.image, cmap=None if example.image.ndim == 3 else "gray", vmin=0, vmax=255)
    for mask, colour, style in ((example.mask, _MASK, "-"), (example.truth, _TRUTH, "--")):
        if mask.any():
            # Padded, so that the outline goes around an object at the plane's edge too.
            axes.contour(
                np.arange(-1, mask.shape[1] + 1),
                np.arange(-1, mask.shape[0] + 1),
                np.pad(mask, 1).astype(float),
                levels=[0.5],
                colors=colour,
                linestyles=style,
                linewidths=1.4,
            )
    if example.prompt.box is not None:
        top, left, bottom, right = np.array(example.prompt.box) - (row0, column0, row0, column0)
        axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], "w:", linewidth=0.8)
    else:
        ((row, column),) = example.prompt.points
        axes.plot(column - column0, row - row0, "+", color="yellow", markersize=6)
    height, width = example.truth.shape
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.set_title(f"IoU {example.iou:.2f}, said {example.score:.2f}", fontsize=7, pad=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the data sets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs" / "images")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--device")
    parser.add_argument("--only", nargs="*", help="sets to draw, such as dsb2018/val; all if left out")
    parser.add_argument("--most", type=int, default=2, help="objects per image, evenly picked")
    parser.add_argument("--most-images", type=int, default=10, help="images per set, evenly picked")
    options = parser.parse_args()
    predictor = load_predictor(options.model, options.checkpoint, options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    for benchmark in BENCHMARKS:
        if options.only and benchmark.folder not in options.only:
            continue
        images = list(images_of(benchmark, options.data))
        picked = np.linspace(0, len(images) - 1, min(len(images), options.most_images)).round().astype(int)
        # Where a set has few images, each gives more objects.
        most = max(options.most, -(-10 * options.most // len(picked)))
        clicks, boxes = examples(predictor, [images[number] for number in picked], most)
        means = [f"{np.mean([x.iou for x in kind]):.2f}" for kind in (clicks, boxes)]
        title = (
            f"{benchmark.folder}: {len(clicks)} objects, mean IoU {means[0]} by a click, {means[1]} by a box"
        )
        path = options.out / f"nano_{benchmark.folder.replace('/', '_')}.png"
        page(title, clicks, boxes, path)
        print(f"{path}: {title}, {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
