"""The image that labels were made of, opened as it was seen when they were made."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path

from napari_sam.channels import Composite
from napari_sam.planes import Planes
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.reading import read_array
from napari_sam.storage.view import LedgerView


def image_of(store: LabelsStore, path: str | Path) -> Planes:
    """Open the image that labels were made of, colours included, with the contrast that they were made with.

    Raises
    ------
    LabelsError
        If the file cannot be read.
    ValueError
        If it is another image: one of another shape.
    """
    path = Path(path).expanduser()
    array, _ = read_array(path)
    shape, wanted = tuple(array.shape), tuple(store.array.shape)
    composite = _channels(store.ledger)
    if composite is not None:
        axis = -1 if composite.axis is None else store.geometry.axes.find(composite.axis)
        if axis < 0:
            raise ValueError(
                f"The labels were made of {len(composite.channels)} layers together, not of {path} alone; "
                "replay them in Python, with `ChannelArrays` of these."
            )
        count = len(composite.channels)
        if shape == tuple(count if x == axis else n for x, n in enumerate(wanted)):
            return Planes(array, store.geometry.axes, name=path.stem, channels=composite)
    colours = shape[:-1] == wanted and shape[-1] in (3, 4)
    if shape != wanted and not colours:
        raise ValueError(
            f"{path} has shape {shape}, the labels {wanted}; give the image that they were made of."
        )
    axes = store.geometry.axes + "s" * colours
    return Planes(array, axes, name=path.stem, limits=_contrast(store.ledger))


def _channels(ledger: LedgerView) -> Composite | None:
    """Give the channels as most prompts were made with them; None if that was one alone."""
    recorded = Counter(x.making.preprocessing for x in ledger.origins() if x.making.preprocessing)
    return Composite.read(recorded.most_common(1)[0][0]) if recorded else None


def _contrast(ledger: LedgerView) -> tuple[float, float] | None:
    """Give the two intensities that most prompts were made with; None if none are recorded."""
    recorded = Counter(x.making.preprocessing for x in ledger.origins())
    for text, _ in recorded.most_common():
        with suppress(ValueError):
            low, high = map(float, text.removeprefix("contrast ").split(":"))
            if low < high:  # a constant image has none
                return low, high
    return None
