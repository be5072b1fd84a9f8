"""Start to annotate an image: its planes, a model, a labels store and a cache become a session."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import platformdirs

from napari_sam.annotation import Session
from napari_sam.axes import SAMPLES, known_axes
from napari_sam.channels import ChannelArrays, Composite
from napari_sam.inference.loading import load_predictor
from napari_sam.inference.predictor import Predictor
from napari_sam.model.precision import FULL
from napari_sam.planes import ArrayLike, Planes
from napari_sam.storage.embeddings import DEFAULT_BUDGET, Budget, EmbeddingCache, default_folder
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ome import Geometry

# In bytes: some file systems take 143, and a store's name ends in a few more.
_LONGEST_NAME = 100
_SUFFIX = ".labels.zarr"
# Endings of image files that their labels' names do not repeat.
_LEFT_OUT = (".tif", ".tiff", ".zarr")


def open_session(
    image: ArrayLike | Sequence[ArrayLike] | ChannelArrays,
    axes: str | Sequence[str] | None = None,
    model: str | Predictor = "nano",
    labels: str | Path | None = None,
    *,
    rgb: bool = False,
    scale: Sequence[float] | None = None,
    translation: Sequence[float] | None = None,
    units: Sequence[str | None] | None = None,
    name: str = "image",
    checkpoint: str | Path | None = None,
    device: str | None = None,
    precision: str = FULL,
    compile: bool = False,  # noqa: A002 - torch's own word for it
    contrast: tuple[float, float] | None = None,
    channels: Composite | str | None = None,
    cache: str | Path | None = None,
    budget: Budget = DEFAULT_BUDGET,
) -> Session:
    """Start to annotate an image, without a viewer.

    Parameters
    ----------
    image, axes, rgb, name, channels
        See `Planes`. Axes that are left out are those of the labels, if there are any.
    model, checkpoint, device, precision, compile
        See `load_predictor`; a model that is loaded already is taken as it is.
    labels
        Folder of the labels store, opened if it exists; a new one in the user's data folder if left out.
    scale, translation, units
        Size of a pixel, position of the first one, and unit, such as ``"micrometer"``, along each axis; kept
        with new labels.
    contrast
        The two intensities that the model sees as black and white, such as the layer's contrast limits;
        robust percentiles of the whole stack if left out, but for 8-bit colours, which are seen as they are
        then.
    cache
        Folder of the embeddings; the user's cache folder if left out. `storage.embeddings.folder_beside`
        names one that can be moved with the image.
    budget
        How much the embeddings may take.

    Raises
    ------
    ValueError
        If the image has no planes, the model cannot be loaded, or the labels do not fit the image.

    Examples
    --------
    >>> session = open_session(stack, axes="zyx", labels="cells.zarr")  # doctest: +SKIP
    >>> session.go_to(z=12)  # doctest: +SKIP
    >>> session.add_point((40, 51))  # doctest: +SKIP
    >>> session.predict().score  # doctest: +SKIP
    0.93
    >>> session.commit()  # doctest: +SKIP
    1
    """
    planes = Planes(image, axes, rgb, name, contrast, channels)
    if isinstance(model, Predictor):
        predictor = model
    else:
        predictor = load_predictor(model, checkpoint, device, precision, compile)
    path = default_labels_path(name) if labels is None else Path(labels)
    geometry = Geometry(planes.axes, scale, translation, units)
    folder = default_folder() if cache is None else Path(cache).expanduser()
    store = LabelsStore.open_or_create(path, planes.shape, geometry)
    with ExitStack() as on_failure:
        on_failure.callback(store.close)  # else it stays locked for as long as somebody keeps the error
        named = known_axes(store.geometry.axes)
        if axes is None and named not in (None, planes.axes):
            planes = Planes(image, f"{named}" + SAMPLES * rgb, rgb, name, contrast, channels)
        session = Session(planes, predictor, store, EmbeddingCache(planes, predictor, folder, budget))
        on_failure.pop_all()
    return session


def default_labels_path(name: str, image_path: Path | None = None, scene: str | None = None) -> Path:
    """Choose where the labels of an image go.

    Beside the image's file, if its folder can be written, else into the user's data folder, under a name that
    is the file's own: there they are found again. Those of an image without a file go into the data folder
    under a name that is not taken, since another image of the same name may be meant.

    Parameters
    ----------
    name
        What the image is called.
    image_path
        Its file, if it has one.
    scene
        Which of several images in that file it is; None for the first one, or the only one.
    """
    folder = _data_folder()
    if image_path is not None:
        # Those of cells.png are not taken for those of cells.tif beside it.
        is_plain = image_path.suffix.lower() in _LEFT_OUT
        stem = image_path.stem.removesuffix(".ome") if is_plain else image_path.name
        stem = stem if scene is None else f"{stem}.scene-{_plain(scene)}"
        if os.access(image_path.parent, os.W_OK):
            return _beside(image_path.parent, stem)
        return folder / _marked(stem, f"{image_path.absolute()} {stem}")
    stem = _cut(_plain(name), _LONGEST_NAME) or "image"
    path, number = folder / f"{stem}{_SUFFIX}", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{_SUFFIX}"
    return path


def labels_before(path: Path) -> Path | None:
    """Give the latest labels whose name kept `default_labels_path` from a lower number, if there are any.

    They may be of this image, which has no file to be known by, or of another one.
    """
    stem, _, number = path.name.removesuffix(_SUFFIX).rpartition("-")
    if not stem or not number.isdecimal() or path.parent != _data_folder():
        return None
    earlier = path.with_name(f"{stem}{_SUFFIX}" if number == "2" else f"{stem}-{int(number) - 1}{_SUFFIX}")
    return earlier if earlier.exists() else None


def _data_folder() -> Path:
    return platformdirs.user_data_path("napari-sam") / "labels"


def _beside(folder: Path, stem: str) -> Path:
    path = folder / f"{stem}{_SUFFIX}"
    if len(os.fsencode(stem)) <= _LONGEST_NAME:
        return path
    with suppress(OSError):  # it may be longer than any name can be
        if path.exists():
            return path
    return folder / _marked(stem, stem)


def _marked(stem: str, whole: str) -> str:
    """Name labels by a stem, which may be cut: those of another whole have another name."""
    ending = "-" + hashlib.sha256(os.fsencode(whole)).hexdigest()[:8]
    return f"{_cut(stem, _LONGEST_NAME - len(ending))}{ending}{_SUFFIX}"


def _plain(name: str) -> str:
    """Replace the signs of a name that not every file system takes."""
    return "".join(x if x.isalnum() or x in "-_." else "_" for x in name)


def _cut(name: str, longest: int) -> str:
    """Cut a name to so many bytes, between two letters."""
    return os.fsencode(name)[:longest].decode(errors="ignore")
