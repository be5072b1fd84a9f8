"""One write at a time within a process: whichever thread writes, the others are refused, and none waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

# How long a process that ends, or one that opens the store again, waits for a write that is being ended.
_PATIENCE_S = 60.0


class WriteTurn:
    """Whose turn it is to write into one store.

    A thread that has the turn can take it again; others cannot until it was given back as often.
    """

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._holder: int | None = None
        self._depth = 0
        self._afterwards: Callable[[], object] | None = None

    def take(self) -> bool:
        """Take the turn, or say that another thread has it."""
        me = threading.get_ident()
        with self._state:
            if self._holder not in (None, me):
                return False
            self._holder, self._depth = me, self._depth + 1
            return True

    def give_back(self) -> None:
        """Let others write, and do what waited for that."""
        with self._state:
            self._depth -= 1
            if self._depth:
                return
            self._holder, afterwards, self._afterwards = None, self._afterwards, None
            self._state.notify_all()
        if afterwards is not None:
            afterwards()

    def when_free(self, action: Callable[[], object]) -> None:
        """Do something at once if no other thread writes, else let that thread do it when it is done."""
        with self._state:
            if self._holder not in (None, threading.get_ident()):
                self._afterwards = action
                return
        action()

    def wait(self) -> None:
        """Wait until nobody writes, if it does not last too long."""
        with self._state:
            self._state.wait_for(lambda: self._holder in (None, threading.get_ident()), _PATIENCE_S)


class LeavingFolders:
    """The folders of stores that were closed in the middle of a write, until that has ended."""

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._folders: list[Path] = []

    def add(self, folder: Path) -> None:
        """Note that a store is about to be let go."""
        with self._state:
            self._folders.append(folder.resolve())

    def remove(self, folder: Path) -> None:
        """Note that it was."""
        with self._state:
            self._folders.remove(folder.resolve())
            self._state.notify_all()

    def wait(self, folder: Path) -> None:
        """Wait until no store in a folder is about to be let go."""
        with self._state:
            self._state.wait_for(lambda: folder.resolve() not in self._folders, _PATIENCE_S)


leaving = LeavingFolders()
