"""The labels of one image in an OME-Zarr store: a commit writes only the chunks under its mask."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from ome_zarr_models.v05.axes import Axis
from ome_zarr_models.v05.multiscales import Dataset, Multiscale

from napari_sam.planes import Plane

# No side of a chunk is longer than this; smaller planes are one chunk each.
_CHUNK_SIDE = 1024
_LEVEL = "0"
_SPACE, _TIME, _CHANNEL = "zyx", "t", "c"


class LabelsError(ValueError):
    """A labels store that cannot be used with the image; the message says why."""


@dataclass(frozen=True, eq=False)
class Commit:
    """What one commit changed: enough to take it back.

    ``region`` is the index of the changed box in the volume, ``before`` and ``after`` its contents, rows
    first.
    """

    label: int
    plane: Plane
    region: tuple[int | slice, ...]
    before: NDArray[np.integer[Any]]
    after: NDArray[np.integer[Any]]


class LabelsStore:
    """A ``uint32`` volume of instance labels, background 0, as a zarr v3 array on disk.

    Use `create`, `open` or `open_or_create`. The store is an OME-Zarr label image (NGFF 0.5) with one level,
    where NGFF knows the image's axes. Integer arrays of other programs can be opened too.
    """

    def __init__(self, path: Path, array: zarr.Array[Any]) -> None:
        self.path = path
        self.array = array
        self._highest = _highest_label(array)

    @classmethod
    def create(
        cls, path: str | Path, shape: Sequence[int], axes: str, scale: Sequence[float] | None = None
    ) -> LabelsStore:
        """Make an empty store.

        Parameters
        ----------
        path
            Folder that does not exist yet, or is empty.
        shape, axes
            Those of the image, colours left out.
        scale
            Size of a pixel along each axis; one if left out.

        Raises
        ------
        LabelsError
            If there is something at ``path`` already, or it cannot be written.
        """
        path = Path(path).expanduser()
        if scale is not None and len(scale) != len(shape):
            raise LabelsError(f"The scale {list(scale)} has not one number for each axis of {axes!r}.")
        chunks = [min(n, _CHUNK_SIDE) if axis >= len(shape) - 2 else 1 for axis, n in enumerate(shape)]
        # Made aside and moved in one step, so that a crash leaves no half of a store under this name.
        partial = path.with_name(f".{path.name}.partial")
        try:
            if _is_taken(path):
                raise LabelsError(f"{path} exists already; open it, or choose another name.")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            attributes = _ome_attributes(path.stem, axes, scale)
            group = zarr.create_group(partial, zarr_format=3, attributes=attributes)
            group.create_array(
                _LEVEL, shape=tuple(shape), chunks=tuple(chunks), dtype=np.uint32, dimension_names=list(axes)
            )
            if path.exists():
                path.rmdir()  # it is empty: a file dialog made it
            partial.rename(path)
        except OSError as error:
            raise LabelsError(
                f"The labels cannot be stored at {path} ({error.strerror or error}); choose another folder."
            ) from error
        return cls.open(path, shape)

    @classmethod
    def open(cls, path: str | Path, shape: Sequence[int] | None = None) -> LabelsStore:
        """Open a store with all that was annotated in it.

        Raises
        ------
        LabelsError
            If ``path`` holds no such store, or an image's intensities, or its shape is not ``shape``.
        """
        path = Path(path).expanduser()
        try:
            node = zarr.open(path, mode="r+")
            array = node[_LEVEL] if isinstance(node, zarr.Group) and _LEVEL in node else node
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LabelsError(
                f"{path} is no labels store, or not a whole one; choose another folder or a new name."
            ) from error
        if not isinstance(array, zarr.Array) or array.dtype.kind not in "iu":
            raise LabelsError(
                f"{path} holds no integer array '{_LEVEL}'; choose a labels store or a new name."
            )
        if _is_intensities(node.attrs.asdict()):
            raise LabelsError(
                f"{path} is an OME-Zarr image, not labels; choose a labels store or a new name."
            )
        if shape is not None and array.shape != tuple(shape):
            raise LabelsError(
                f"The labels at {path} have shape {array.shape}, the image {tuple(shape)}; "
                "choose the store that belongs to this image, or a new name."
            )
        return cls(path, array)

    @classmethod
    def open_or_create(
        cls, path: str | Path, shape: Sequence[int], axes: str, scale: Sequence[float] | None = None
    ) -> LabelsStore:
        """Open the store at ``path`` if there is one, else make it; an empty folder becomes a store."""
        if _is_taken(Path(path).expanduser()):
            return cls.open(path, shape)
        return cls.create(path, shape, axes, scale)

    @property
    def next_label(self) -> int:
        """The label of the next new object: one more than the highest that was ever used."""
        return self._highest + 1

    def note_label(self, label: int) -> None:
        """Learn of a label that was painted by hand, so that it is not given to another object."""
        self._highest = max(self._highest, int(label))

    def commit(self, plane: Plane, mask: NDArray[np.bool_]) -> Commit:
        """Write ``mask`` into its plane as a new object; pixels of other objects stay as they are.

        Raises
        ------
        ValueError
            If nothing of the mask is left: it is empty, or covers only what is annotated already.
        LabelsError
            If the store cannot be written, or its dtype holds no further label; nothing has changed then.
        """
        if mask.shape != (shape := plane.shape(self.array.shape)):
            raise ValueError(f"The mask has shape {mask.shape}, the plane {shape}; give a mask of the plane.")
        if not mask.any():
            raise ValueError("The mask is empty; there is nothing to commit.")
        rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
        box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        region = plane.index(*box)
        before = plane.to_plane(np.asarray(self.array[region]))
        free = mask[box] & (before == 0)
        if not free.any():
            raise ValueError(
                f"The mask covers only what is already annotated (label {before[mask[box]][0]}); "
                "erase that first."
            )
        if self.next_label > np.iinfo(before.dtype).max:
            raise LabelsError(
                f"The labels at {self.path} are {before.dtype} and hold no label beyond {self._highest}; "
                "go on in a new store."
            )
        after = np.where(free, before.dtype.type(self.next_label), before)
        commit = Commit(self.next_label, plane, region, before, after)
        # First: a write that fails half-way must not leave its number to another object.
        self.note_label(commit.label)
        try:
            self._write(commit.plane, commit.region, commit.after)
        except LabelsError:
            with suppress(LabelsError):  # what was written of it, in the first of several chunks
                self._write(commit.plane, commit.region, commit.before)
            raise
        return commit

    def undo(self, commit: Commit) -> None:
        """Take a commit back: its object's pixels become background; later changes of others stay."""
        now = commit.plane.to_plane(np.asarray(self.array[commit.region]))
        self._write(commit.plane, commit.region, np.where(now == commit.label, commit.before, now))

    def read(self, plane: Plane) -> NDArray[np.integer[Any]]:
        """Read the labels of one plane: (H, W)."""
        return plane.to_plane(np.asarray(self.array[plane.index()]))

    def _write(self, plane: Plane, region: tuple[int | slice, ...], values: NDArray[Any]) -> None:
        try:
            self.array[region] = plane.to_plane(values)
        except OSError as error:
            raise LabelsError(
                f"The labels at {self.path} cannot be written ({error.strerror or error}). "
                "Free some space or make the folder writable, and try again."
            ) from error


def _is_taken(path: Path) -> bool:
    """Whether there is anything at ``path`` but an empty folder."""
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def _highest_label(array: zarr.Array[Any]) -> int:
    """Find the highest label, reading only the chunks that were ever written."""
    highest = 0
    for region in _written_regions(array):
        highest = max(highest, int(np.asarray(array[region]).max(initial=0)))
    return highest


def _written_regions(array: zarr.Array[Any]) -> list[tuple[slice, ...]]:
    """Give the index of every chunk (or shard of chunks) that exists in the store."""
    store_path = array.store_path
    root = getattr(store_path.store, "root", None)
    if root is None:
        return [tuple(slice(None) for _ in array.shape)]
    folder = Path(root) / store_path.path
    sides = array.shards or array.chunks
    regions = []
    for file in folder.rglob("*"):
        # c/0/1 or c.0.1 in zarr v3, 0/1 or 0.1 in v2.
        numbers = re.split("[/.]", file.relative_to(folder).as_posix().removeprefix("c"))
        numbers = numbers[len(numbers) - array.ndim :]
        if file.is_file() and len(numbers) == array.ndim and all(x.isdigit() for x in numbers):
            starts = (int(x) * side for x, side in zip(numbers, sides, strict=True))
            regions.append(tuple(slice(x, x + side) for x, side in zip(starts, sides, strict=True)))
    return regions


def _is_intensities(attributes: dict[str, Any]) -> bool:
    """Whether OME-Zarr metadata, of NGFF 0.5 or older, describe an image that is not one of labels."""
    ome = attributes.get("ome", attributes)
    return "multiscales" in ome and "image-label" not in ome


def _ome_attributes(name: str, axes: str, scale: Sequence[float] | None) -> dict[str, Any]:
    """Describe the image after NGFF 0.5.

    That knows two to five axes: time, then channel, then two or three in space. For any others there are no
    words, and the dimension names of the array have to do.
    """
    types = {_TIME: "time", _CHANNEL: "channel", **dict.fromkeys(_SPACE, "space")}
    factors = [1.0] * len(axes) if scale is None else [float(x) for x in scale]
    try:
        multiscale = Multiscale(
            axes=[Axis(name=axis, type=types.get(axis.lower())) for axis in axes],
            datasets=(Dataset.build(path=_LEVEL, scale=factors, translation=None),),
            name=name,
        )
    except ValueError:
        return {}
    return {
        "ome": {
            "version": "0.5",
            "multiscales": [multiscale.model_dump(exclude_none=True)],
            "image-label": {"version": "0.5"},
        }
    }
