"""What a labels store finds in its folder: the array, its metadata, and the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import zarr

from napari_sam.storage.aside import clear_up, file_aside
from napari_sam.storage.errors import UNREADABLE, LabelsError, reason_of
from napari_sam.storage.forcing import force
from napari_sam.storage.ledger import Ledger
from napari_sam.storage.ome import finest_level, is_intensities
from napari_sam.storage.volumes import objects_in, written_regions

LEDGER = "ledger.sqlite"


def open_array(path: Path, shape: Sequence[int] | None) -> zarr.Array[Any]:
    """Open the array of labels at, or in, a folder, and check that it is one."""
    wrong = f"{path} is no labels store, or not a whole one; choose another folder or a new name."
    try:
        node = zarr.open(path, mode="r+")
        attributes = node.attrs.asdict()
    except UNREADABLE as error:
        raise LabelsError(wrong) from error
    if is_intensities(attributes):
        raise LabelsError(f"{path} is an OME-Zarr image, not labels; choose a labels store or a new name.")
    try:
        level = finest_level(attributes)
        array = node[level] if isinstance(node, zarr.Group) and level in node else node
    except UNREADABLE as error:
        raise LabelsError(wrong) from error
    if not isinstance(array, zarr.Array) or array.dtype.kind not in "iu":
        raise LabelsError(f"{path} holds no integer array '{level}'; choose a labels store or a new name.")
    if shape is not None and array.shape != tuple(shape):
        raise LabelsError(
            f"The labels at {path} have shape {array.shape}, the image {tuple(shape)}; "
            "choose the store that belongs to this image, or a new name."
        )
    return array


def open_ledger(path: Path, array: zarr.Array[Any], read_only: bool) -> Ledger:
    """Open the ledger of a store; one that has none yet gets it, with the objects that are there."""
    if (path / LEDGER).exists():
        return Ledger.open(path / LEDGER, read_only)
    if read_only:
        ledger = Ledger.in_memory()
        with _readable(path):
            ledger.take_up(objects_in(array, written_regions(array)))
        return ledger
    clear_up(path / LEDGER)
    with file_aside(path / LEDGER) as partial, closing(Ledger.create(partial)) as ledger, _readable(path):
        ledger.take_up(objects_in(array, written_regions(array)))
    force([path])
    return Ledger.open(path / LEDGER)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say what is to be done where labels that have no ledger yet cannot be read."""
    try:
        yield
    except LabelsError:
        raise
    except UNREADABLE as error:
        raise LabelsError(
            f"A part of the labels at {path} cannot be read ({reason_of(error)}); restore their files, or "
            "choose another store."
        ) from error


def attributes_above(path: Path, array: zarr.Array[Any]) -> dict[str, Any]:
    """Read the metadata of the group that holds the array, or of the array itself."""
    if array.path:
        return zarr.open_group(path, mode="r").attrs.asdict()
    return array.attrs.asdict()
