"""The formats that a labels store is written in for other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from napari_sam.exporting.coco import coco_lines
from napari_sam.exporting.geojson import geojson_lines
from napari_sam.exporting.names import BY_ENDING, FORMATS
from napari_sam.exporting.shapes import shapes_lines
from napari_sam.exporting.tiff import write_tiff
from napari_sam.objects.category_labels import CategoryLabels
from napari_sam.objects.measuring import measure_all, write_rows
from napari_sam.plane import Plane
from napari_sam.progress import Progress, ignore_progress
from napari_sam.storage.aside import clear_up, file_aside
from napari_sam.storage.changes import Labels
from napari_sam.storage.errors import LabelsError, reason_of
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ome import LEVEL, make_group
from napari_sam.storage.snapshot import snapshot
from napari_sam.storage.view import LedgerView

_Write = Callable[[LabelsStore, Path, Progress], None]


def export_labels(
    store: LabelsStore,
    path: str | Path,
    format: str | None = None,  # noqa: A002 - the word that everybody looks for
    *,
    overwrite: bool = False,
    progress: Progress = ignore_progress,
) -> Path:
    """Write the objects of a store for other programs; one plane is in memory at a time.

    Others may go on writing into it: objects and categories are those of the beginning.

    Parameters
    ----------
    store
        It may be open for reading only.
    path
        The new file, or folder of a zarr array. It appears when it is whole, also where two exports have the
        same name.
    format
        ``"tiff"`` (labels), ``"coco"``, ``"geojson"``, ``"shapes"`` (polygons as napari's table), ``"csv"``
        (measures), ``"categories-tiff"`` or ``"categories-zarr"`` (numbers of categories); if left out, what
        the name's ending stands for.
    overwrite
        Whether a file that is there is replaced; a folder never is.
    progress
        Told the share that is done; what it raises ends the export, and nothing is left of it.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    LabelsError
        If the format is unknown, ``path`` is taken or cannot be written.
    """
    path = Path(path).expanduser()
    key = _format_of(path) if format is None else format
    if key not in FORMATS:
        raise LabelsError(f"The format {key!r} is unknown; choose {', '.join(FORMATS)}.")
    try:
        _check_free(path, overwrite)
        clear_up(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_aside(path) as partial:
            _WRITERS[key](store, partial, progress)
            _check_free(path, overwrite)  # another export may have been faster
    except OSError as error:
        raise LabelsError(
            f"{path} cannot be written ({reason_of(error)}); choose another name or folder."
        ) from error
    return path


def _format_of(path: Path) -> str:
    """Choose the format that the ending of a file's name stands for."""
    if (key := BY_ENDING.get(path.suffix.lower())) is None:
        raise LabelsError(
            f"The ending of {path.name!r} stands for no format; choose one of {', '.join(BY_ENDING)}, or "
            f"say which format it has: {', '.join(FORMATS)}."
        )
    return key


def _check_free(path: Path, overwrite: bool) -> None:
    if path.exists() and (path.is_dir() or not overwrite):
        raise LabelsError(f"{path} exists already; choose another name.")


def _labels_tiff(store: LabelsStore, path: Path, progress: Progress) -> None:
    with snapshot(store.ledger) as seen:
        planes = _own_planes(store, lambda plane: _as_begun(store, seen, plane), progress)
        write_tiff(path, planes, store.array.shape, store.array.dtype, store.geometry)


def _as_begun(store: LabelsStore, seen: LedgerView, plane: Plane) -> Labels:
    """Give the labels of a plane as they were when the export began.

    That is what is on the disk, with what was written there past the ledger, until others write again.
    """
    if not seen.is_outdated:
        labels = store.read(plane)
        if not seen.is_outdated:  # the ledger learns of a step before its pixels are written
            return labels
    everything = (slice(0, n) for n in plane.shape(store.array.shape))
    return plane.from_block(seen.block(plane.region(*everything), store.array.dtype))


def _categories_tiff(store: LabelsStore, path: Path, progress: Progress) -> None:
    with snapshot(store.ledger) as seen:
        classes = CategoryLabels(store, seen)
        planes = _own_planes(store, lambda plane: classes[plane.index()], progress)
        write_tiff(path, planes, classes.shape, classes.dtype, store.geometry)


def _categories_zarr(store: LabelsStore, path: Path, progress: Progress) -> None:
    with snapshot(store.ledger) as seen:
        classes, positions = CategoryLabels(store, seen), seen.positions()
        make_group(path, classes.shape, store.geometry, classes.dtype)
        target = zarr.open_group(path, mode="r+")[LEVEL]
        assert isinstance(target, zarr.Array)
        for number, position in enumerate(positions, 1):  # planes without objects take no file
            target[position] = classes[position]
            progress(number / len(positions))


def _table(store: LabelsStore, path: Path, progress: Progress) -> None:
    with snapshot(store.ledger) as seen:
        write_rows(measure_all(seen, store.geometry), store.geometry.axes, path)
    progress(1.0)


def _text(lines: Callable[[LabelsStore, Progress], Iterator[str]]) -> _Write:
    def write(store: LabelsStore, path: Path, progress: Progress) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines(store, progress))

    return write


def _own_planes(
    store: LabelsStore, read: Callable[[Plane], NDArray[np.integer]], progress: Progress
) -> Iterator[NDArray[np.integer]]:
    """Read the array's own planes in order."""
    shape = store.array.shape
    count = int(np.prod(shape[:-2]))
    for number, position in enumerate(np.ndindex(*shape[:-2]), 1):
        yield read(Plane.own(position))
        progress(number / count)


_WRITERS: dict[str, _Write] = {
    "tiff": _labels_tiff,
    "coco": _text(coco_lines),
    "geojson": _text(geojson_lines),
    "shapes": _text(shapes_lines),
    "csv": _table,
    "categories-tiff": _categories_tiff,
    "categories-zarr": _categories_zarr,
}
