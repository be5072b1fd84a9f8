"""The stack that ships with the package, and the demo on it that needs no display.

The data are described, with source and licence, in ``data/README.md``.
"""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from skimage.segmentation import find_boundaries

from napari_sam.annotation import Session
from napari_sam.inference.prompts import Prompt
from napari_sam.model.precision import FULL
from napari_sam.plane import Plane
from napari_sam.starting import open_session

NAME, AXES = "nuclei", "pyx"
# What the headless demo does: a plane and a prompt for each object.
STEPS = (
    (0, Prompt([(310, 144)])),
    (0, Prompt([(434, 411)])),
    (0, Prompt(box=(236, 178, 290, 234))),
    (2, Prompt([(423, 379)])),
    (2, Prompt([(284, 264)])),
)
_ZOOM = 2
_COLOURS = ((46, 230, 107), (255, 77, 109), (255, 210, 63), (63, 208, 255), (201, 120, 255), (255, 150, 60))


@dataclass(frozen=True, eq=False)
class _Annotated:
    """One object that the demo made."""

    plane: Plane
    prompt: Prompt
    label: int
    score: float


def demo_stack() -> NDArray[np.uint8]:
    """Read the stack: (P, Y, X) bytes, four fields of view."""
    with as_file(files("napari_sam") / "data" / "nuclei.tif") as path:
        return np.asarray(tifffile.imread(path))


def sample_data() -> list[tuple[NDArray[np.uint8], dict[str, Any], str]]:
    """Give the stack to napari's menu File > Open Sample."""
    return [(demo_stack(), {"name": NAME, "axis_labels": tuple(AXES)}, "image")]


def run_headless(out: Path, precision: str = FULL) -> Path:
    """Annotate the stack by script: the same session as the widget's, with clicks and a box.

    Parameters
    ----------
    out
        Folder in which a new folder gets ``labels.zarr`` and ``overlay.png``.
    precision
        See `load_predictor`.

    Returns
    -------
    Path
        The new folder.
    """
    folder = out.absolute() / f"{datetime.datetime.now().astimezone():%Y%m%d-%H%M%S-%f}"
    folder.mkdir(parents=True)
    stack = demo_stack()
    print(f"stack: {NAME}, {' x '.join(map(str, stack.shape))}")
    with _timed("open the session with the bundled model"):
        session = open_session(
            stack,
            axes=AXES,
            labels=folder / "labels.zarr",
            name=NAME,
            cache=folder / "embeddings",
            precision=precision,
        )
    made = [_annotate(session, index, prompt) for index, prompt in STEPS]
    picture = folder / "overlay.png"
    with _timed("draw the picture"):
        draw_overlay(session, made).save(picture)
    print(f"labels:  {session.store.path}\npicture: {picture}")
    return folder


def _annotate(session: Session, index: int, prompt: Prompt) -> _Annotated:
    """Prompt one object, print what came, and commit it."""
    session.go_to(p=index)
    with _timed(f"p={index}: encode the plane (or take it from the cache)"):
        session.run(session.request(preview=False))
    session.set_prompt(prompt)
    what = f"{len(prompt.points)} click(s)" if prompt.points else "box"
    with _timed(f"p={index}: mask of {what}"):
        preview = session.predict()
    assert preview is not None
    label = session.commit()
    print(f"  object {label}: score {preview.score:.2f}, {preview.mask.sum()} pixels")
    return _Annotated(preview.plane, prompt, label, preview.score)


def draw_overlay(session: Session, made: list[_Annotated]) -> Image.Image:
    """Draw each annotated plane with its masks, their outlines, and the prompts, side by side."""
    planes = list(dict.fromkeys(step.plane for step in made))
    tiles = [_draw_plane(session, plane, [x for x in made if x.plane == plane]) for plane in planes]
    picture = Image.new("RGB", (sum(tile.width for tile in tiles), tiles[0].height))
    left = 0
    for tile in tiles:
        picture.paste(tile, (left, 0))
        left += tile.width
    return picture


def _draw_plane(session: Session, plane: Plane, made: list[_Annotated]) -> Image.Image:
    grey = np.kron(session.planes.image(plane), np.ones((_ZOOM, _ZOOM), np.uint8))
    labels = np.kron(session.store.read(plane), np.ones((_ZOOM, _ZOOM), np.uint32))
    rgb = np.repeat(grey[..., None], 3, axis=2).astype(float)
    for step in made:
        colour = np.array(_COLOURS[(step.label - 1) % len(_COLOURS)])
        mask = labels == step.label
        rgb[mask] = 0.65 * rgb[mask] + 0.35 * colour
        rgb[find_boundaries(mask, mode="inner")] = colour
    picture = Image.fromarray(rgb.round().astype(np.uint8))
    canvas = ImageDraw.Draw(picture)
    for step in made:
        for (row, column), label in zip(step.prompt.points, step.prompt.labels or (), strict=True):
            x, y = _ZOOM * (column + 0.5), _ZOOM * (row + 0.5)
            fill = _COLOURS[0] if label else _COLOURS[1]
            canvas.ellipse((x - 5, y - 5, x + 5, y + 5), fill=fill, outline="black", width=2)
        if step.prompt.box is not None:
            row0, column0, row1, column1 = (_ZOOM * (x + 0.5) for x in step.prompt.box)
            canvas.rectangle((column0, row0, column1, row1), outline=_COLOURS[2], width=2)
    axis = session.planes.axes[0]
    canvas.text((8, 6), f"{axis} = {plane.position[0]}", fill="white", font_size=22)
    return picture


@contextmanager
def _timed(what: str) -> Iterator[None]:
    """Print how long a step took."""
    began = time.perf_counter()
    yield
    print(f"{time.perf_counter() - began:7.3f} s  {what}")
    sys.stdout.flush()
