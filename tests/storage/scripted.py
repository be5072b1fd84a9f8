"""A session as a list of operations, done on a store by a process that may be killed, or on plain arrays.

Run as a program it is that process: for each line of its input it starts a child that goes on with the
session, kills it with SIGKILL so many seconds after it has opened the store, and answers with a line. A
negative number counts from the start of the child.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_sam.plane import Plane
from napari_sam.storage.labels import LabelsStore

# Four chunks a plane, and masks over their borders, so that a write can be interrupted between two files.
SHAPE = (2, 560, 600)
_MIDDLE = 512


@dataclass(frozen=True, eq=False)
class Operation:
    """One thing that the session does; which of the fields count depends on ``kind``."""

    kind: str
    plane: int
    mask: NDArray[np.bool_]
    box: tuple[slice, slice]
    label: int


def operation(number: int) -> Operation:
    """Give the operation of this number: always the same."""
    rng = np.random.default_rng(number)
    kind = rng.choice(
        ["commit", "brush", "erase", "undo", "redo", "delete"], p=[0.4, 0.2, 0.1, 0.15, 0.1, 0.05]
    )
    row, column = rng.integers(_MIDDLE - 40, _MIDDLE + 40, 2)
    radius = rng.integers(5, 35)
    rows, columns = np.ogrid[: SHAPE[1], : SHAPE[2]]
    mask = np.hypot(rows - row, columns - column) <= radius
    box = (slice(row - 8, row + 9), slice(column - 8, column + 9))
    return Operation(str(kind), int(rng.integers(SHAPE[0])), mask, box, int(rng.integers(1, 6)))


def do(store: LabelsStore, todo: Operation) -> None:
    """Do it on a store."""
    if todo.kind == "commit":
        if (todo.mask & (store.read(Plane((1, 2), (todo.plane, 0, 0))) == 0)).any():
            store.commit(Plane((1, 2), (todo.plane, 0, 0)), todo.mask)
    elif todo.kind == "brush":
        store.labels[(todo.plane, *todo.box)] = todo.label
    elif todo.kind == "erase":
        store.labels[(todo.plane, *todo.box)] = 0
    elif todo.kind == "delete":
        labels = store.labels
        labels[np.asarray(store.array[:]) == todo.label] = 0
    elif todo.kind == "undo":
        store.undo()
    else:
        store.redo()
    store.end_stroke()


@dataclass
class Model:
    """The same on arrays in memory, in the simplest way there is."""

    states: list[NDArray[np.uint32]] = field(default_factory=lambda: [np.zeros(SHAPE, np.uint32)])
    cursor: int = 0
    highest: int = 0

    @property
    def volume(self) -> NDArray[np.uint32]:
        return self.states[self.cursor]

    def do(self, todo: Operation) -> None:
        if todo.kind == "undo":
            self.cursor = max(0, self.cursor - 1)
            return
        if todo.kind == "redo":
            self.cursor = min(len(self.states) - 1, self.cursor + 1)
            return
        after = self.volume.copy()
        if todo.kind == "commit":
            after[todo.plane][todo.mask & (after[todo.plane] == 0)] = self.highest + 1
        elif todo.kind == "delete":
            after[after == todo.label] = 0
        else:
            after[(todo.plane, *todo.box)] = todo.label if todo.kind == "brush" else 0
        if not np.array_equal(after, self.volume):
            self.states = [*self.states[: self.cursor + 1], after]
            self.cursor += 1
            self.highest = max(self.highest, int(after.max()))


def _go_on(path: Path, done: Path, opened: int) -> None:
    """Do one operation after the other, and note each when it is done."""
    store = LabelsStore.open(path, SHAPE)
    os.write(opened, b"!")
    with done.open("r+b", buffering=0) as file:
        number = int(file.read())
        while True:
            do(store, operation(number))
            number += 1
            file.seek(0)
            file.write(b"%012d" % number)


def _serve(path: Path, done: Path) -> None:
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _go_on(path, done, writing)
        os.close(writing)
        if float(line) >= 0:
            os.read(reading, 1)
        time.sleep(abs(float(line)))
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        # Anything but the kill is a fault of the session.
        print("killed" if os.WIFSIGNALED(status) else "ended by itself", flush=True)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), Path(sys.argv[2]))
