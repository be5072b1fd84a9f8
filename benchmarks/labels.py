"""Measure what the labels store costs: a commit, undo and opening against the size of the volume, and memory.

``python benchmarks/labels.py`` prints Markdown tables. The session of the memory table is scripted: commits
all over the volume, edits, brush strokes, undo and redo, reading planes as a viewer does.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_sam.inference.prompts import Prompt
from napari_sam.objects.editing import Objects
from napari_sam.plane import Plane
from napari_sam.storage.labels import LabelsStore
from napari_sam.storage.ome import Geometry
from napari_sam.storage.origins import Making

VOLUMES = ((1, 512, 512), (10, 2048, 2048), (100, 2048, 2048), (1000, 2048, 2048))
MICRONS = (0.5, 0.2, 0.2)
_RADIUS = 20
_REPEATS = 40


def disc(shape: tuple[int, int], centre: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    rows, columns = np.ogrid[-_RADIUS : _RADIUS + 1, -_RADIUS : _RADIUS + 1]
    top, left = centre[0] - _RADIUS, centre[1] - _RADIUS
    mask[top : top + 2 * _RADIUS + 1, left : left + 2 * _RADIUS + 1] = np.hypot(rows, columns) <= _RADIUS
    return mask


def place(number: int, shape: tuple[int, ...]) -> tuple[Plane, tuple[int, int]]:
    """Give the plane and the centre of an object: all over the volume, and no two at one place."""
    rng = np.random.default_rng(number)
    row, column = (int(x) for x in rng.integers(_RADIUS + 1, np.array(shape[1:]) - _RADIUS - 1))
    return Plane((1, 2), (int(rng.integers(shape[0])), 0, 0)), (row, column)


def commit(store: LabelsStore, number: int, shape: tuple[int, ...]) -> float:
    """Seconds of one commit with its prompt, from a mask of the whole plane; the plane is there already."""
    plane, centre = place(number, shape)
    mask = disc((shape[1], shape[2]), centre)
    making = Making("click", Prompt([centre]), model="nano", weights_hash="0" * 64, score=0.9)
    began = time.perf_counter()
    store.commit(plane, mask, making, overlap="replace")
    return time.perf_counter() - began


def times(shape: tuple[int, ...], objects: int, folder: Path) -> dict[str, float]:
    """Median seconds of the steps on a volume that has many objects already."""
    store = LabelsStore.create(
        folder / "cells.zarr", shape, Geometry("zyx", MICRONS, None, ("micrometer",) * 3)
    )
    for number in range(objects):
        commit(store, number, shape)
    commits = [commit(store, objects + number, shape) for number in range(_REPEATS)]
    undos, redos = [], []
    for move, seconds in ((store.undo, undos), (store.redo, redos)):
        for _ in range(_REPEATS):
            began = time.perf_counter()
            assert move() is not None
            seconds.append(time.perf_counter() - began)
    strokes = []
    for number in range(_REPEATS):
        plane, (row, column) = place(number, shape)
        began = time.perf_counter()
        store.labels[plane.position[0], row - 5 : row + 6, column - 5 : column + 6] = 1
        strokes.append(time.perf_counter() - began)
    began = time.perf_counter()
    rows = Objects(store).rows()
    table = time.perf_counter() - began
    store.close()
    began = time.perf_counter()
    again = LabelsStore.open(folder / "cells.zarr", shape)
    opening = time.perf_counter() - began
    assert len(again.ledger.objects()) == len(rows)
    again.close()
    # The ledger of other programs' labels is made at their first opening: from the chunks that exist.
    (folder / "cells.zarr" / "ledger.sqlite").unlink()
    began = time.perf_counter()
    LabelsStore.open(folder / "cells.zarr", shape).close()
    taking_up = time.perf_counter() - began
    return {
        "commit": float(np.median(commits)),
        "slowest commit": max(commits),
        "undo": float(np.median(undos)),
        "redo": float(np.median(redos)),
        "brush": float(np.median(strokes)),
        "open": opening,
        "table": table,
        "first open": taking_up,
    }


def resident() -> int:
    """Bytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def session(shape: tuple[int, ...], objects: int, folder: Path) -> tuple[int, int]:
    """Bytes that a session on a volume adds to the process at its end, and at most on the way."""
    warm = LabelsStore.create(
        folder / "warm.zarr", (1, 512, 512), "zyx"
    )  # what zarr and SQLite load at first
    commit(warm, 0, (1, 512, 512))
    warm.close()
    before = most = resident()
    store = LabelsStore.create(folder / "cells.zarr", shape, "zyx")
    edits = Objects(store)
    for number in range(objects):
        commit(store, number, shape)
        plane, _ = place(number, shape)
        store.read(plane)
        if number % 10 == 9:
            edits.delete([store.ledger.objects()[0].label])
            store.labels[plane.position[0], :30, :30] = store.next_label
            store.end_stroke()
            store.undo()
            store.redo()
        most = max(most, resident())
    edits.rows()
    most = max(most, resident())
    return resident() - before, most - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=500, help="objects that are there before")
    parser.add_argument("--folder", type=Path, help="where the stores are made (default: a temporary one)")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        if options.memory:
            end, most = session(VOLUMES[-1], options.objects, Path(name))
            print(f"{end / 1e6:.0f} {most / 1e6:.0f}")
            return
        print(f"{platform.processor() or platform.machine()}, {options.objects} objects there before\n")
        columns = ("commit", "slowest commit", "undo", "redo", "brush", "open", "table", "first open")
        print(f"| volume | {' | '.join(f'{x}, ms' for x in columns)} |")
        print("| --- |" + " ---: |" * len(columns))
        for number, shape in enumerate(VOLUMES):
            folder = Path(name) / str(number)
            folder.mkdir()
            found = times(shape, options.objects, folder)
            figures = " | ".join(f"{1000 * found[x]:.1f}" for x in columns)
            print(f"| {' x '.join(map(str, shape))} | {figures} |", flush=True)
    # A process of its own, whose memory nothing else has filled before.
    command = [sys.executable, __file__, "--memory", "--objects", str(options.objects)]
    command += ["--folder", str(options.folder)] if options.folder else []
    end, most = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    volume = " x ".join(map(str, VOLUMES[-1]))
    print(f"\nA session of {options.objects} commits on {volume} adds {end} MB of memory, {most} MB at most.")


if __name__ == "__main__":
    main()
