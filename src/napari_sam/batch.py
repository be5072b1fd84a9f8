"""The automatic masks of one image file, as the command line makes them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from skimage.io import imread

from napari_sam.annotation import Session
from napari_sam.automatic.masks import PlaneMasks
from napari_sam.automatic.writing import commit_masks
from napari_sam.inference.automatic import Generation, propose, suited_selection
from napari_sam.inference.overlaps import Rule, label_image
from napari_sam.inference.predictor import Predictor
from napari_sam.planes import Planes
from napari_sam.progress import Progress, ignore_progress
from napari_sam.storage.aside import clear_up, file_aside, folder_aside
from napari_sam.storage.embeddings import EmbeddingCache
from napari_sam.storage.errors import UNREADABLE, reason_of
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.reading import first_series

_TIFF = (".tif", ".tiff")
# The axis of colours, in tifffile's letters.
_COLOURS = "S"


def label_file(
    image: Path,
    labels: Path,
    predictor: Predictor,
    generation: Generation | None = None,
    thresholds: Mapping[str, Any] | None = None,
    rule: Rule = "smaller",
    progress: Progress = ignore_progress,
    channel_axis: int | None = None,
) -> int:
    """Find the objects of an image file and write their labels: how many there are.

    Parameters
    ----------
    image
        A plane, gray or RGB: TIFF, PNG, and what else scikit-image reads. Of a TIFF with several series or
        levels the first is taken.
    labels
        ``.tif`` for a label image, ``.zarr`` for a labels store with its ledger. It must not exist, and
        appears when it is whole.
    predictor
        The model.
    generation, rule
        See `Generation` and `label_image`.
    channel_axis
        Number of the axis of the file whose channels are seen together, in napari's colours.
    thresholds
        What differs from the selection that suits the model, by the names of `Selection`.

    Raises
    ------
    ValueError
        If the image is no plane, the labels have another ending, or no mask is left; the message says why.
    OSError
        See `check_files`.
    """
    check_files(image, labels)
    planes = _planes_in(image, channel_axis)
    plane = planes.first
    generation = Generation() if generation is None else generation
    selection = replace(suited_selection(predictor, generation), **(thresholds or {}))
    proposals = propose(predictor, planes.image(plane), generation, progress)
    selected = proposals.select(selection)
    if selected.message is not None:
        raise ValueError(selected.message)
    if labels.suffix.lower() in _TIFF:
        painted = label_image(selected, rule)
        _write_image(labels, painted)
        return int(np.count_nonzero(np.unique(painted)))
    with folder_aside(labels) as folder, closing(_session(planes, predictor, folder)) as session:
        commit_masks(session, [PlaneMasks.of(plane, proposals, selected, rule)])
        return len(session.store.ledger.objects())


def check_files(image: Path, labels: Path) -> None:
    """Check that an image is there and that its labels can be written, before a model is loaded.

    Raises
    ------
    ValueError
        If the labels have another ending than ``.tif``, ``.tiff`` and ``.zarr``.
    FileExistsError
        If the labels are there already.
    FileNotFoundError
        If there is no image, or no folder for the labels' file; that of a store is made.
    """
    if not image.is_file():
        raise FileNotFoundError(f"There is no image {image}; give the file of one.")
    if labels.suffix.lower() not in (*_TIFF, ".zarr"):
        raise ValueError(f"Labels cannot be written as {labels.name!r}; give a name with .tif or .zarr.")
    if labels.exists():
        raise FileExistsError(f"{labels} exists; give another name, or remove it first.")
    if labels.suffix.lower() in _TIFF and not labels.parent.is_dir():
        raise FileNotFoundError(f"The labels {labels} have no folder {labels.parent}; make it first.")


def _session(planes: Planes, predictor: Predictor, labels: Path) -> Session:
    """Begin the labels of planes; they keep the contrast with which the model has seen them."""
    store = LabelsStore.create(labels, planes.shape, planes.axes)
    return Session(planes, predictor, store, EmbeddingCache(planes, predictor, folder=None))


def _write_image(path: Path, painted: NDArray[np.integer[Any]]) -> None:
    clear_up(path)
    is_ome = path.name.lower().endswith((".ome.tif", ".ome.tiff"))
    with file_aside(path) as partial:
        tifffile.imwrite(partial, painted, compression="zlib", ome=is_ome)


def _planes_in(image: Path, channel_axis: int | None) -> Planes:
    """Open the one plane of an image: gray, RGB, or of several channels seen together."""
    found, axes = _read(image)
    if channel_axis is not None:
        return _together(found, channel_axis)
    colours = axes.find(_COLOURS)
    if found.ndim == 2 and colours < 0:
        return Planes(found)
    if found.ndim == 3 and colours >= 0 and found.shape[colours] in (3, 4):
        return Planes(np.moveaxis(found, colours, -1)[..., :3], rgb=True)  # transparency shows nothing
    raise ValueError(
        f"{image} has shape {found.shape}, which is not one plane, gray or RGB; give one plane of it, or, of "
        "an image of several channels, the number of their axis (--channel-axis)."
    )


def _read(image: Path) -> tuple[NDArray[np.generic], str]:
    """Read an image with a letter for each axis, ``"S"`` for colours."""
    try:
        if image.suffix.lower() in _TIFF:
            # scikit-image would guess the colours of a TIFF by their number, and move that axis.
            with tifffile.TiffFile(image) as file:
                series = first_series(file)
                return series.asarray(), series.axes
        found = np.asarray(imread(image))
    except (*UNREADABLE, SyntaxError) as error:  # the last is Pillow's, of a broken PNG
        raise ValueError(f"{image} cannot be read ({reason_of(error)}); choose another file.") from error
    return found, "YX" + _COLOURS if found.ndim == 3 else "YX"


def _together(found: NDArray[np.generic], channel_axis: int) -> Planes:
    """Open one plane of several channels."""
    if found.ndim != 3 or not -3 <= channel_axis < 3:
        raise ValueError(
            f"The image of shape {found.shape} has no plane with an axis {channel_axis} of channels; "
            "give one of three axes, and the number of that of the channels."
        )
    return Planes(np.moveaxis(found, channel_axis, 0), "cyx", channels="c")
