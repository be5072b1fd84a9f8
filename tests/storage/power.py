"""A disk whose power goes: what was not forced is not on it afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from napari_sam.storage import forcing


class Disk:
    """What is on the disk itself of a folder: the names in each folder, and what is in the files.

    Files of the ledger are left alone, since SQLite forces these.

    Parameters
    ----------
    folder
        All that is in it now is on the disk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[int, dict[str, int]] = {}
        self._contents: dict[int, bytes] = {}
        for place in (folder, *folder.rglob("*")):
            self._keep(place)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """See what is forced."""
        real = forcing._force_one

        def force_one(place: Path) -> None:
            real(place)
            if place.exists():
                self._keep(place)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(forcing, "_force_one", force_one)
            yield

    def lose_power(self) -> None:
        """Leave what is on the disk itself; a file of which only the name is there is empty."""
        self._restore(self._folder)

    def _keep(self, place: Path) -> None:
        number = place.stat().st_ino
        if place.is_dir():
            self._names[number] = {x.name: x.stat().st_ino for x in place.iterdir()}
        else:
            self._contents[number] = place.read_bytes()

    def _restore(self, folder: Path) -> None:
        names = self._names.get(folder.stat().st_ino, {})
        for place in folder.iterdir():
            if place.name.startswith("ledger"):
                continue
            if place.name not in names:
                shutil.rmtree(place) if place.is_dir() else place.unlink()
        for name, number in names.items():
            place = folder / name
            if place.is_dir():
                self._restore(place)
            elif not name.startswith("ledger"):
                place.write_bytes(self._contents.get(number, b""))
