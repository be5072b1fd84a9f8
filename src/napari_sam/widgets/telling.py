"""How the user is told something: one way for all who do, and the words of an error."""

from __future__ import annotations

from typing import Protocol

from napari.utils.notifications import show_error


class Tell(Protocol):
    """Say something; a problem is what keeps the user from going on."""

    def __call__(self, text: str, problem: bool = False) -> None:
        """Say it."""


class ShowsStatus(Protocol):
    """A panel with a line for what is said."""

    def show_status(self, text: str, problem: bool = False) -> None:
        """Show it until something else is said."""


def tell(panel: ShowsStatus, text: str, problem: bool = False) -> None:
    """Say it in the panel; a problem in napari's notifications too."""
    panel.show_status(text, problem)
    if problem:
        show_error(text)


def words_of(error: Exception) -> str:
    """Say what went wrong, also where the error itself has nothing to say."""
    return str(error) or type(error).__name__
