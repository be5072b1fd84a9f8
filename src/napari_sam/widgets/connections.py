"""Every connect has its disconnect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Connections:
    """Connections that are undone together; for Qt's, psygnal's and napari's signals alike."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, Callable[..., Any]]] = []

    def add(self, signal: Any, handler: Callable[..., Any]) -> None:
        """Connect ``handler``, a function or a method, and remember to disconnect it.

        PyQt6 keeps a `partial` or a ``lambda`` for ever when it is disconnected, with all that it knows.
        """
        signal.connect(handler)
        self._made.append((signal, handler))

    def add_all(self, *pairs: tuple[Any, Callable[..., Any]]) -> None:
        """Connect the handler of each signal."""
        for signal, handler in pairs:
            self.add(signal, handler)

    def close(self) -> None:
        """Disconnect all."""
        while self._made:
            signal, handler = self._made.pop()
            signal.disconnect(handler)
