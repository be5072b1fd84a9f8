"""The formats that objects are written in: what each is called, and which ending of a name stands for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExportFormat:
    """A way to write the objects of a store.

    Attributes
    ----------
    key
        What the command line calls it.
    title
        What a menu calls it.
    suffix
        What the file's name ends in.
    endings
        Those that stand for this format, of several with the same suffix; none where it has to be asked for
        by its key.
    also
        Other endings that say the same as the suffix.
    """

    key: str
    title: str
    suffix: str
    endings: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    def named(self, path: Path) -> Path:
        """Give ``path`` with the suffix after it, unless its name has one of the endings already."""
        endings = (self.suffix, *self.also)
        return path if path.name.lower().endswith(endings) else path.with_name(path.name + self.suffix)


_TIFF = (".tif", ".tiff")
FORMATS = {
    x.key: x
    for x in (
        ExportFormat("tiff", "Labels as TIFF", ".ome.tif", _TIFF, _TIFF),
        ExportFormat("coco", "COCO JSON", ".json", (".json",)),
        ExportFormat("geojson", "GeoJSON for QuPath", ".geojson", (".geojson",)),
        ExportFormat("shapes", "Polygons as napari's CSV", ".csv"),
        ExportFormat("csv", "Table of measures as CSV", ".csv", (".csv",)),
        ExportFormat("categories-tiff", "Categories as TIFF", ".ome.tif", also=_TIFF),
        ExportFormat("categories-zarr", "Categories as OME-Zarr", ".zarr"),
    )
}
BY_ENDING = {ending: x.key for x in FORMATS.values() for ending in x.endings}


def described() -> str:
    """List all formats in a sentence, with the endings that stand for them."""
    endings = [f"{x.key} ({', '.join(x.endings)})" if x.endings else x.key for x in FORMATS.values()]
    return f"{', '.join(endings[:-1])} or {endings[-1]}"
